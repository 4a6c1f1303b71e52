"""The gearboxes lose no bit, make none up and keep their order."""

from functools import partial

from amaranth.hdl import Assert, Assume, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_golden.serdes.params import BLOCK_BITS
from d1_rtl.serdes.deserializer import Deserializer
from d1_rtl.serdes.receive_gearbox import ReceiveGearbox
from d1_rtl.serdes.serializer import Serializer
from d1_rtl.serdes.transmit_gearbox import TransmitGearbox

from testbench.formal import Proof

#: Most bits that are on their way through a gearbox at once.
PLACES = 2 * BLOCK_BITS


class Sent(wiring.Component):
    """Some bit of some block, whichever `watch` and `bit` choose, is sent when those before it are.

    `ahead` counts the bits before it, so it comes at its place in the stream and nowhere else.
    """

    block: In(BLOCK_BITS)
    watch: In(1)
    bit: In(range(BLOCK_BITS))

    def __init__(self, width):
        self._width = width
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        width = self._width
        m.submodules.gearbox = gearbox = Serializer() if width == 1 else TransmitGearbox(width)
        level = Signal(range(PLACES))
        m.d.comb += [
            Assume(self.bit < BLOCK_BITS),
            gearbox.i.payload.eq(self.block),
            level.eq(gearbox.level),
            Assert(level < BLOCK_BITS),
            Assert((gearbox.waiting >> level == 0) | (width == 1)),
            # Something is always there to be sent.
            Assert(level + BLOCK_BITS * gearbox.i.ready >= width),
        ]
        watched, value, ahead = Signal(), Signal(), Signal(range(PLACES))
        due, expected = Signal(), Signal()  # the bit is on the lane in this cycle
        place = Signal(range(max(width, 2)))
        m.d.sync += due.eq(0)
        now, first = Signal(), Signal(range(PLACES))
        m.d.comb += [
            now.eq(watched | (self.watch & gearbox.i.ready)),
            first.eq(Mux(watched, ahead, level + self.bit)),
        ]
        with m.If(now):
            chosen = Mux(watched, value, self.block.bit_select(self.bit, 1))
            m.d.sync += [watched.eq(1), value.eq(chosen), ahead.eq(first - width)]
            with m.If(first < width):
                m.d.sync += [watched.eq(0), due.eq(1), place.eq(first), expected.eq(chosen)]
        with m.If(due):
            m.d.comb += Assert(gearbox.o.bit_select(place, 1) == expected)
        with m.If(watched):
            m.d.comb += Assert(ahead < level)
            m.d.comb += Assert(gearbox.waiting.bit_select(ahead, 1) == value)
        return m


class Received(wiring.Component):
    """Some bit that arrives, whichever `watch` and `bit` choose, is in its place in its block.

    With every cycle of `slip` the bits move by one place, and the oldest one is lost.
    """

    def __init__(self, width):
        self._width = width
        super().__init__(
            {"arrived": In(width), "bit": In(range(width)), "watch": In(1), "slip": In(1)}
        )

    def elaborate(self, platform):
        m = Module()
        width = self._width
        m.submodules.gearbox = gearbox = Deserializer() if width == 1 else ReceiveGearbox(width)
        level = gearbox.level
        waiting = (gearbox.arrived << level)[BLOCK_BITS:] if width == 1 else gearbox.waiting
        m.d.comb += [
            Assume(self.bit < width),
            gearbox.i.eq(self.arrived),
            gearbox.slip.eq(self.slip),
            Assert(level < BLOCK_BITS),
            Assert((waiting >> level == 0) | (width == 1)),
        ]
        watched, value, ahead = Signal(), Signal(), Signal(range(PLACES))
        due, expected, place = Signal(), Signal(), Signal(range(BLOCK_BITS))
        now, first, bits = Signal(), Signal(range(PLACES)), Signal(range(PLACES))
        m.d.comb += [
            now.eq(watched | self.watch),
            first.eq(Mux(watched, ahead, level + self.bit)),
            bits.eq(level + width - self.slip),
        ]
        m.d.sync += due.eq(0)
        # A block is there when its last bit is, and only then.
        complete = Signal()
        m.d.sync += complete.eq(bits >= BLOCK_BITS)
        m.d.comb += Assert(gearbox.o.valid == complete)
        with m.If(now):
            chosen = Mux(watched, value, self.arrived.bit_select(self.bit, 1))
            after = Signal(range(PLACES))
            m.d.comb += after.eq(first - self.slip)
            m.d.sync += [watched.eq(1), value.eq(chosen), ahead.eq(after)]
            with m.If(self.slip & (first == 0)):
                m.d.sync += watched.eq(0)
            with m.Elif(bits >= BLOCK_BITS):
                m.d.sync += ahead.eq(after - BLOCK_BITS)
                with m.If(after < BLOCK_BITS):
                    m.d.sync += [watched.eq(0), due.eq(1), place.eq(after), expected.eq(chosen)]
        with m.If(due):
            block = Value.cast(gearbox.o.payload)
            m.d.comb += Assert(gearbox.o.valid & (block.bit_select(place, 1) == expected))
        with m.If(watched):
            m.d.comb += Assert(ahead < level)
            m.d.comb += Assert(waiting.bit_select(ahead, 1) == value)
        return m


WIDTHS = (1, 20, 33, 56, 64)
PROOFS = (
    *(
        Proof(
            f"every bit of every block is sent once, in its place: width {width}",
            partial(Sent, width),
            depth=2,
            induction=True,
        )
        for width in WIDTHS
    ),
    *(
        Proof(
            f"every bit that arrives is in its place in its block, with slips: width {width}",
            partial(Received, width),
            depth=2,
            induction=True,
        )
        for width in WIDTHS
    ),
)
