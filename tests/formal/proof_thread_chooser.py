"""Two threads are chosen that may be, and one that waits for nothing is soon the first of them."""

from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_golden.params import PRESETS
from d1_rtl.node.thread_chooser import ThreadChooser

from testbench.formal import Proof

PARAMS = PRESETS["tiny"]
THREADS = PARAMS.threads


class _Choice(wiring.Component):
    """A chooser with free inputs, and any thread."""

    def __init__(self):
        self.chooser = ThreadChooser(PARAMS)
        members = {n: m for n, m in self.chooser.signature.members.items() if m.flow == In}
        super().__init__({**members, "thread": In(range(THREADS))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.chooser = chooser = self.chooser
        for name in self.signature.members:
            if name == "heads":
                for port, head in zip(chooser.heads, self.heads, strict=True):
                    m.d.comb += port.eq(head)
            elif name != "thread":
                m.d.comb += getattr(chooser, name).eq(getattr(self, name))
        self.claim(m, *chooser.chosen)
        return m

    def fresh(self, thread):
        """Return whether a thread may be chosen and waits for nothing."""
        return (self.eligible & ~self.waits).bit_select(thread, 1)


class Choices(_Choice):
    """The chosen threads are eligible and two of them whenever there are two; fresh ones first."""

    def claim(self, m, first, second):
        eligible, fresh = self.eligible, self.eligible & ~self.waits
        several = ((eligible & (eligible - 1))[:THREADS]).any()
        m.d.comb += [
            Assert(first.valid == eligible.any()),
            Assert(second.valid == several),
            Assert(~first.valid | eligible.bit_select(first.thread, 1)),
            Assert(~second.valid | eligible.bit_select(second.thread, 1)),
            Assert(~second.valid | (first.thread != second.thread)),
            Assert(~fresh.any() | self.fresh(first.thread)),
            # Who waits is second only if nobody else is left who does not.
            Assert(
                ~second.valid
                | self.fresh(second.thread)
                | ~self.fresh(self.thread)
                | (self.thread == first.thread)
            ),
        ]


class Turns(_Choice):
    """A thread that waits for nothing is first after the others were first once."""

    def claim(self, m, first, second):
        begun, before, waited = Signal(), Signal.like(self.thread), Signal(range(THREADS + 1))
        m.d.sync += [begun.eq(1), before.eq(self.thread)]
        is_first = first.valid & (first.thread == self.thread)
        m.d.sync += waited.eq(Mux(self.fresh(self.thread) & ~is_first, waited + 1, 0))
        m.d.comb += [
            Assume(~begun | (self.thread == before)),
            Assume(~self.keep),
            Assert(waited < THREADS),
        ]


class Keeps(_Choice):
    """A first choice that keeps its turn is first again unless it waits by then."""

    def claim(self, m, first, second):
        kept, keeper = Signal(), Signal.like(self.thread)
        m.d.sync += [kept.eq(first.valid & self.keep), keeper.eq(first.thread)]
        m.d.comb += Assert(~kept | ~self.fresh(keeper) | (first.thread == keeper))


PROOFS = (
    Proof("two threads are chosen, those that wait last", Choices, depth=2, induction=True),
    Proof(
        "a thread that waits for nothing is first after all others were once",
        Turns,
        depth=THREADS + 2,
        induction=True,
    ),
    Proof("a first choice that keeps its turn is first again", Keeps, depth=2, induction=True),
)
