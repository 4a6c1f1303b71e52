"""No operation goes whose registers still wait for a result of another one."""

from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_golden.params import PRESETS
from d1_rtl.node.interfaces import ScalarResult
from d1_rtl.node.scalar_scoreboard import RegisterMark, ScalarScoreboard
from d1_rtl.node.scoreboard import REGISTERS, Scoreboard

from testbench.formal import Proof

PARAMS = PRESETS["tiny"]
SCALARS = 32


def constant(m, value):
    """Assume that an input never changes."""
    first, before = Signal(init=1), Signal.like(value)
    m.d.sync += [first.eq(0), before.eq(value)]
    m.d.comb += Assume(first | (value == before))


class Vector(wiring.Component):
    """Operations go when the scoreboard is ready, mark what they will write, and write it later.

    Of one register, whichever, the results that are due are counted.
    """

    uses: In(REGISTERS)
    goes: In(1)
    destination: In(range(REGISTERS))
    has_destination: In(1)
    write: In(REGISTERS)
    register: In(range(REGISTERS))

    def elaborate(self, platform):
        m = Module()
        m.submodules.scoreboard = scoreboard = Scoreboard()
        starts = self.goes & scoreboard.ready
        reserve = Signal(REGISTERS)
        constant(m, self.register)
        due = Signal(3)

        def one(registers):
            return registers.bit_select(self.register, 1)

        with m.If(starts & self.has_destination):
            m.d.comb += reserve.eq(1 << self.destination)
        m.d.comb += [
            Assume(self.register < REGISTERS),
            Assume(self.destination < REGISTERS),
            # What an operation writes is among what it uses; there are no results but those due.
            Assume(~self.has_destination | self.uses.bit_select(self.destination, 1)),
            Assume(~one(self.write) | (due != 0)),
            scoreboard.uses.eq(self.uses),
            scoreboard.write.eq(self.write),
            scoreboard.reserve.eq(reserve),
        ]
        left = due - one(self.write)
        m.d.sync += due.eq(left + one(reserve))
        m.d.comb += [
            Assert(due <= 1),
            Assert(~starts | ~one(self.uses) | (left == 0)),
            # It does not hold off anybody without need either.
            Assert(scoreboard.ready | (self.uses != 1 << self.register) | (left != 0)),
            Assert(one(scoreboard.marked) == due),
        ]
        return m


class Scalar(wiring.Component):
    """The same of scalar registers: those shown as waiting are not marked again, nor others read.

    There are two marks and two results in a cycle, of any threads.
    """

    def __init__(self):
        super().__init__(
            {
                "marks": In(RegisterMark).array(2),
                "results": In(ScalarResult).array(2),
                "thread": In(range(PARAMS.threads)),
                "register": In(range(SCALARS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.scoreboard = scoreboard = ScalarScoreboard(PARAMS, marks=2, results=2)
        constant(m, self.register)
        constant(m, self.thread)

        def of(item):
            return item.valid & (item.thread == self.thread) & (item.rd == self.register)

        marks = [of(mark) for mark in self.marks]
        results = [of(result) for result in self.results]
        for name in ("marks", "results"):
            for port, item in zip(getattr(scoreboard, name), getattr(self, name), strict=True):
                m.d.comb += port.eq(item)
        due = Signal(3)
        left = Signal(3)
        waiting, pending = Signal(), Signal()
        for thread in range(PARAMS.threads):
            with m.If(self.thread == thread):
                m.d.comb += [
                    waiting.eq(scoreboard.waiting[thread].bit_select(self.register, 1)),
                    pending.eq(scoreboard.any[thread]),
                ]
        m.d.comb += [
            Assume(~(marks[0] & marks[1])),
            Assume(~(marks[0] | marks[1]) | ~waiting),
            Assume(results[0] + results[1] <= due),
            left.eq(due - results[0] - results[1]),
        ]
        m.d.sync += due.eq(left + marks[0] + marks[1])
        m.d.comb += [
            Assert(due <= 1),
            Assert(waiting == (left != 0)),
            Assert(pending | (due == 0)),
        ]
        return m


PROOFS = (
    Proof("no vector operation goes on a waiting register", Vector, depth=3, induction=True),
    Proof(
        "the waiting scalar registers are those with a result due", Scalar, depth=3, induction=True
    ),
)
