"""What is on the FPGA of a board: a node, its serial door, clock, reset and lights."""

from typing import Any

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer  # type: ignore[import-untyped]
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.uart import BAUD, UartParams

from .boards import Board
from .pll import Pll, PllParams
from .uart_node import UartNode

__all__ = ["FpgaTop"]

#: The light of a running clock changes at least so often a second, and less than twice as often.
_CHANGES_PER_SECOND = 2


class FpgaTop(wiring.Component):
    """A node behind the serial door of a board.

    `clk` is the board's oscillator and `rst` a button, of no clock. A PLL makes the node's clock;
    the reset ends some cycles after the PLL has locked and the button was let go. Every level is
    that of the pin: inverted where the board wants it so.

    Golden twin: `d1_golden.fpga.endpoint.DeviceEnd` in front of `d1_golden.node.GoldenNode`.

    Parameters
    ----------
    node
        The node: a `Node` that is not `gated`, or whatever has its ports `i_request`, `o_reply`,
        `o_request`, `i_reply`, `node_id` and `idle`.
    board
        Oscillator, and which pins are inverted or held high.
    clock_hz
        The node's clock, that a PLL can make of the oscillator's.
    baud
        Bits per second of the serial line.

    Attributes
    ----------
    board, clock_hz
        As given.

    Members
    -------
    rx : In(1)
        Serial line from the host.
    tx : Out(1)
        Serial line to the host.
    alive : Out(1)
        Light: changes two to four times a second while the clock runs and nothing is reset.
    busy : Out(1)
        Light: the node is not idle.
    error : Out(1)
        Light: since the reset or the begin of the session a request was refused, by the node or
        because it was for another.
    one for each of `board.held_high` : Out(1)

    Raises
    ------
    ValueError
        If no PLL makes such a clock, or the clock is too slow for the serial line.
    """

    rx: Signal
    tx: Signal
    alive: Signal
    busy: Signal
    error: Signal

    def __init__(self, node: Any, board: Board, *, clock_hz: int, baud: int = BAUD):
        self._node = node
        self.board = board
        self.clock_hz = clock_hz
        self._pll = PllParams.of(input_hz=board.clock_hz, output_hz=clock_hz)
        self._uart = UartParams(clock_hz=clock_hz, baud=baud)
        super().__init__(
            {"rx": In(1), "tx": Out(1)}
            | dict.fromkeys(("alive", "busy", "error", *board.held_high), Out(1))
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        clock = ClockDomain("node")
        m.domains += clock
        m.submodules.pll = pll = Pll(self._pll)
        pressed = ResetSignal("sync") ^ self.board.is_inverted("rst")
        m.submodules.reset = ResetSynchronizer(pressed | ~pll.locked, domain="node")
        m.d.comb += ClockSignal("node").eq(pll.clk)
        m.submodules.system = system = DomainRenamer("node")(UartNode(self._node, self._uart))
        since = Signal((self.clock_hz // _CHANGES_PER_SECOND).bit_length())
        m.d.node += since.eq(since + 1)
        lights = {"alive": since[-1], "busy": system.busy, "error": system.error}
        m.d.comb += [
            system.rx.eq(self.rx),
            self.tx.eq(system.tx),
            *(getattr(self, name).eq(1) for name in self.board.held_high),
            *(
                getattr(self, name).eq(light ^ self.board.is_inverted(name))
                for name, light in lights.items()
            ),
        ]
        return m
