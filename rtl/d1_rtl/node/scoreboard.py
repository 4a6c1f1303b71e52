"""Which vector registers are waiting for a result."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterQuery", "Scoreboard"]


class RegisterQuery(data.Struct):
    """A register that an instruction uses, or does not."""

    used: 1
    number: 5


class Scoreboard(wiring.Component):
    """Remember the registers that an instruction under way has still to write.

    `reserve` marks a register from the next cycle on, `write` takes the mark off from the next
    cycle on. `ready` says, combinationally, that none of the registers asked about will be marked
    in the next cycle on account of instructions before: an instruction that reads in the next
    cycle may go. `clear_now` says that the first of them is not marked in this cycle, for one that
    reads at once.

    Golden twin: none; it keeps order, and the golden node has no other.

    Members
    -------
    reserve, write : In(RegisterQuery)
    queries : In(RegisterQuery).array(3)
    ready, clear_now : Out(1)
    any : Out(1)
    """

    #: A register that will be written later, and one that is written now.
    reserve: In(RegisterQuery)
    write: In(RegisterQuery)
    #: Registers asked about.
    queries: In(RegisterQuery).array(3)
    #: None of them is waiting for a result that will not be there in the next cycle.
    ready: Out(1)
    #: The first of them is not waiting for a result in this cycle.
    clear_now: Out(1)
    #: Some register is waiting.
    any: Out(1)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        marked = Signal(32)
        waits = Signal(len(self.queries))
        with m.If(self.write.used):
            m.d.sync += marked.bit_select(self.write.number, 1).eq(0)
        with m.If(self.reserve.used):
            m.d.sync += marked.bit_select(self.reserve.number, 1).eq(1)
        for index, query in enumerate(self.queries):
            written = self.write.used & (self.write.number == query.number)
            m.d.comb += waits[index].eq(query.used & marked.bit_select(query.number, 1) & ~written)
        first = self.queries[0]
        m.d.comb += [
            self.ready.eq(~waits.any()),
            self.clear_now.eq(~(first.used & marked.bit_select(first.number, 1))),
            self.any.eq(marked.any()),
        ]
        return m
