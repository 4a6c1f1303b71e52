"""The serializer: blocks to a lane of one bit."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import BLOCK_BITS

from .transmit_gearbox import block_stream

__all__ = ["Serializer"]


class Serializer(wiring.Component):
    """Sends blocks bit by bit, the lowest first: the gearbox of a true serial lane.

    Latency 1 cycle from a block taken to its first bit; one block in 66 cycles. A shift register
    and a counter, where a gearbox has wide multiplexers.

    Golden twin: `d1_golden.serdes.gearbox.gear_down` with a width of 1.

    Members
    -------
    i : In(stream of Block, always valid)
    o : Out(1)
        What the lane carries.
    """

    i: stream.Interface
    o: Signal

    def __init__(self) -> None:
        #: Bits that wait, and their number. For proofs; nobody else looks at them.
        self.waiting = Signal(BLOCK_BITS - 1)
        self.level = Signal(range(BLOCK_BITS))
        super().__init__({"i": In(block_stream()), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        left, waiting = self.level, self.waiting
        m.d.comb += self.i.ready.eq(left == 0)
        with m.If(self.i.ready):
            m.d.sync += [
                Cat(self.o, waiting).eq(Value.cast(self.i.payload)),
                left.eq(BLOCK_BITS - 1),
            ]
        with m.Else():
            m.d.sync += [Cat(self.o, waiting).eq(waiting), left.eq(left - 1)]
        return m
