"""A simulated board behind a pseudo terminal."""

from __future__ import annotations

from d1_golden.fpga.uart import BITS, UartParams
from d1_golden.params import NodeParams

from d1_rtl.fpga.uart_node import UartNode
from d1_rtl.node.node import Node
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.terminal_board import TerminalBoard
from d1_rtl.sim.uart_line import UartLine

__all__ = ["SIMULATED_UART", "SerialBoard", "uart_node_model"]

#: Four cycles a bit, and a patience that suits the speed of a simulation.
SIMULATED_UART = UartParams(clock_hz=8_000_000, baud=2_000_000, resend_cycles=100_000)

#: Cycles of the model between two looks at the terminal.
_CHUNK_CYCLES = 2_000
#: Bytes that wait for the line at most, like those in the adapter of a real board.
_QUEUE_BYTES = 256


class SerialBoard(TerminalBoard):
    """Runs a design with a serial port behind a pseudo terminal.

    Time of the design goes on while the host sends, while the design sends, and while it is busy;
    otherwise only slowly.

    Parameters
    ----------
    model
        A design with the ports `clk`, `rst`, `rx` and `tx`, RTL or a netlist, and `busy` if it
        has one. The board runs it alone while it is plugged in.
    params
        Clock and rate of its UART.

    """

    def __init__(self, model: NativeModel, params: UartParams) -> None:
        super().__init__()
        self._model, self._params = model, params
        self._has_busy = "busy" in model.ports
        # Whatever the design owes comes within this time, or after it has sent again.
        self._patience = 2 * params.patience + 1000 * BITS * params.modulus // params.step

    def power_on(self) -> None:
        """Reset the design."""
        self._model.reset()
        self._line = UartLine(self._model, self._params)
        self._awake = 0

    @property
    def listens(self) -> bool:
        """Whether little enough waits for the line."""
        return self._line.unsent < _QUEUE_BYTES

    def step(self, line: bytes) -> tuple[bytes, bool]:
        """Let some cycles pass."""
        self._line.send(line)
        came = self._line.run(_CHUNK_CYCLES)
        active = self._line.unsent > 0 or came or (self._has_busy and self._model.get("busy"))
        self._awake = self._patience if active else self._awake - _CHUNK_CYCLES
        return came, self._awake > 0


def uart_node_model(params: NodeParams) -> NativeModel:
    """Return the simulated design of a board's node, for `SerialBoard` with `SIMULATED_UART`."""
    return NativeModel(
        UartNode(Node(params, gated=False), SIMULATED_UART),
        name=f"uart_node_{params.name}",
        design_key=f"{params!r} {SIMULATED_UART!r}",
    )
