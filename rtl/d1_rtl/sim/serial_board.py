"""A simulated board behind a pseudo terminal, for the software that drives real ones."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import tty
from types import TracebackType
from typing import Self

from d1_golden.fpga.uart import BITS, UartParams

from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.uart_line import UartLine

__all__ = ["SerialBoard"]

#: Cycles of the model between two looks at the terminal.
_CHUNK_CYCLES = 2_000
#: Bytes of the host that wait for the line at most.
_QUEUE_BYTES = 4_096
#: Seconds to wait for the host when nothing goes on.
_IDLE_SECONDS = 0.01


class SerialBoard:
    """Runs a design with a serial port behind a pseudo terminal, in a thread of its own.

    Time of the design goes on while the host sends, while the design sends, and while it is busy;
    otherwise only slowly. A context: entering plugs the board in, leaving unplugs it.

    Parameters
    ----------
    model
        A design with the ports `clk`, `rst`, `rx` and `tx`, RTL or a netlist, and `busy` if it
        has one. The board runs it alone while it is plugged in.
    params
        Clock and rate of its UART.

    Members
    -------
    port : str
        What the host opens.

    """

    port: str

    def __init__(self, model: NativeModel, params: UartParams) -> None:
        self._model, self._params = model, params
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self.plug_in()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unplug()

    def plug_in(self) -> None:
        """Power the board, which resets it, and make its port appear."""
        if self._thread is not None:
            raise ValueError(f"board must be unplugged before it is plugged in, not at {self.port}")
        self._terminal, self._host_side = os.openpty()
        tty.setraw(self._host_side)
        os.set_blocking(self._terminal, False)
        self.port = os.ttyname(self._host_side)
        self._model.reset()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run_until_stopped, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Take the board away; the host's port fails from now on.

        Raises
        ------
        BaseException
            What went wrong in the simulation.

        """
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        os.close(self._host_side)
        os.close(self._terminal)
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run_until_stopped(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._error = error

    def _run(self) -> None:
        line = UartLine(self._model, self._params)
        has_busy = "busy" in self._model.ports
        # Whatever the design owes comes within this time, or after it has sent again.
        quiet_cycles = 2 * self._params.patience + 1000 * BITS * self._params.modulus
        awake = 0
        rest = b""
        while not self._stop.is_set():
            if line.unsent < _QUEUE_BYTES:
                wait = 0.0 if awake > 0 else _IDLE_SECONDS
                if select.select([self._terminal], [], [], wait)[0]:
                    with contextlib.suppress(BlockingIOError):
                        line.send(os.read(self._terminal, _QUEUE_BYTES))
            came = line.run(_CHUNK_CYCLES)
            rest += came
            if rest:
                with contextlib.suppress(BlockingIOError):  # the host reads too slowly
                    rest = rest[os.write(self._terminal, rest) :]
            active = line.unsent > 0 or came or (has_busy and self._model.get("busy"))
            awake = quiet_cycles if active else awake - _CHUNK_CYCLES
