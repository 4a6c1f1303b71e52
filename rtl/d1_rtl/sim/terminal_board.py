"""A model of a board behind a pseudo terminal, for the software that drives real ones."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import tty
from types import TracebackType
from typing import Self

__all__ = ["TerminalBoard"]

_READ_BYTES = 256
#: Seconds to wait for the host when nothing goes on.
_IDLE_SECONDS = 0.01


class TerminalBoard:
    """Runs a board behind a pseudo terminal, in a thread of its own.

    A context: entering plugs the board in, leaving unplugs it. What the board does is for a
    subclass to say: `power_on` and `step`.

    Members
    -------
    port : str
        What the host opens.

    """

    port: str

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def power_on(self) -> None:
        """Begin as after power-up."""
        raise NotImplementedError

    @property
    def listens(self) -> bool:
        """Whether `step` takes more bytes; those of the host wait in the terminal meanwhile."""
        return True

    def step(self, line: bytes) -> tuple[bytes, bool]:
        """Take bytes from the host; return bytes to it, and whether more may come by itself."""
        raise NotImplementedError

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
        """Power the board and make its port appear.

        Raises
        ------
        ValueError
            If it is plugged in.

        """
        if self._thread is not None:
            raise ValueError(f"board must be unplugged before it is plugged in, not at {self.port}")
        self._terminal, self._host_side = os.openpty()
        tty.setraw(self._host_side)
        os.set_blocking(self._terminal, False)
        self.port = os.ttyname(self._host_side)
        self.power_on()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run_until_stopped, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Take the board away, if it is there; the host's port fails from now on.

        Raises
        ------
        BaseException
            What went wrong in the model.

        """
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        os.close(self._host_side)
        os.close(self._terminal)
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run_until_stopped(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._error = error

    def _run(self) -> None:
        active, rest = True, b""
        while not self._stop.is_set():
            line, wait = b"", 0 if active else _IDLE_SECONDS
            if self.listens and select.select([self._terminal], [], [], wait)[0]:
                line = os.read(self._terminal, _READ_BYTES)
            came, active = self.step(line)
            rest += came
            if rest:
                with contextlib.suppress(BlockingIOError):  # the host reads too slowly
                    rest = rest[os.write(self._terminal, rest) :]
