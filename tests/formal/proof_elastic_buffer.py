"""The elastic buffer is a queue: nothing is lost, made up, doubled, overtaken or overwritten."""

from functools import partial

from amaranth.hdl import Assert, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_rtl.node.elastic_buffer import ElasticBuffer

from testbench.formal import Proof

BITS = 8


class Queue(wiring.Component):
    """Some item that goes in, whichever `watch` chooses, comes out after those before it."""

    valid: In(1)
    payload: In(BITS)
    ready: In(1)
    watch: In(1)

    def __init__(self, depth, shortcut):
        self._depth = depth
        self._shortcut = shortcut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = ElasticBuffer(
            BITS, depth=self._depth, shortcut=self._shortcut
        )
        m.d.comb += [
            buffer.i.valid.eq(self.valid),
            buffer.i.payload.eq(self.payload),
            buffer.o.ready.eq(self.ready),
        ]
        takes, gives = buffer.i.valid & buffer.i.ready, buffer.o.valid & buffer.o.ready
        inside = Signal(range(self._depth + 2))  # items taken and not yet given
        passes = (inside == 0) & self._shortcut
        m.d.sync += inside.eq(inside + takes - gives)
        m.d.comb += [
            Assert(inside == buffer.level),
            Assert(inside <= self._depth),
            Assert(buffer.i.ready == (inside < self._depth)),
            Assert(buffer.o.valid == ((inside > 0) | (passes & self.valid))),
            Assert((inside > 0) | ~buffer.o.valid | (buffer.o.payload == self.payload)),
        ]

        # What is offered stays until it is taken.
        offered, waits = Signal(BITS), Signal()
        m.d.sync += [offered.eq(buffer.o.payload), waits.eq(buffer.o.valid & ~self.ready)]
        m.d.comb += Assert(~waits | (buffer.o.valid & (buffer.o.payload == offered)))

        watched, item, ahead = Signal(), Signal(BITS), Signal(range(self._depth + 1))
        with m.If(takes & self.watch & ~watched):
            m.d.sync += [watched.eq(1), item.eq(self.payload), ahead.eq(inside - gives)]
            with m.If(passes & gives):
                m.d.sync += watched.eq(0)
        with m.If(watched & gives):
            m.d.sync += [watched.eq(ahead != 0), ahead.eq(Mux(ahead == 0, 0, ahead - 1))]
        with m.If(watched):
            # The item is in its place, and comes out when nobody is ahead.
            m.d.comb += Assert(ahead < inside)
            m.d.comb += Assert((ahead != 0) | (buffer.o.payload == item))
            with m.Switch(ahead):
                for place, entry in enumerate(buffer.entries):
                    with m.Case(place):
                        m.d.comb += Assert(entry == item)
        return m


PROOFS = tuple(
    Proof(
        f"every item comes out once, unchanged and in order: {depth} deep{', shortcut' * shortcut}",
        partial(Queue, depth, shortcut),
        depth=3,
        induction=True,
    )
    for depth, shortcut in ((2, False), (3, False), (8, False), (2, True), (4, True))
)
