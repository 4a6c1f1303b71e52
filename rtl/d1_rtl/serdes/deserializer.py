"""The deserializer: a lane of one bit to blocks."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import BLOCK_BITS

from .receive_gearbox import received_blocks

__all__ = ["Deserializer"]


class Deserializer(wiring.Component):
    """Cuts a stream of bits into blocks, with bit slip: the gearbox of a true serial lane.

    Latency 1 cycle from the last bit of a block; one block in 66 cycles. Where blocks begin is
    anywhere at first, and one bit later with each cycle of `slip`, in which a bit is not counted.

    Golden twin: `d1_golden.serdes.gearbox.gear_up` with a width of 1.

    Members
    -------
    i : In(1)
        What arrives.
    slip : In(1)
        One bit is lost before the next block.
    o : Out(stream of Block, always ready)
    """

    i: Signal
    slip: Signal
    o: stream.Interface

    def __init__(self) -> None:
        #: The last bits, the newest on top; how many of them wait. For proofs; nobody else looks at
        #: them.
        self.arrived = Signal(BLOCK_BITS)
        self.level = Signal(range(BLOCK_BITS))
        super().__init__({"i": In(1), "slip": In(1), "o": Out(received_blocks())})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        count, arrived = self.level, self.arrived
        m.d.comb += self.o.payload.eq(arrived)
        m.d.sync += [arrived.eq(Cat(arrived[1:], self.i)), self.o.valid.eq(0)]
        with m.If(~self.slip):
            m.d.sync += count.eq(count + 1)
            with m.If(count == BLOCK_BITS - 1):
                m.d.sync += [count.eq(0), self.o.valid.eq(1)]
        return m
