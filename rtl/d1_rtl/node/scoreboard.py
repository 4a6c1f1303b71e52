"""Which vector and mask registers of a thread are waiting for a result."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MASK_BASE", "REGISTERS", "Scoreboard", "register_bit"]

#: Vector registers come first, mask registers from here on.
MASK_BASE = 32
#: Vector and mask registers of a thread.
REGISTERS = MASK_BASE + 8


def register_bit(used: ValueLike, number: Value, *, base: int = 0) -> Value:
    """Return the set of registers that has one element, or none if it is not used."""
    return Mux(used, Const(1 << base, REGISTERS) << number, 0)[:REGISTERS]


class Scoreboard(wiring.Component):
    """Remember the registers that an operation under way has still to write.

    A set of registers has one bit each: v0..v31, then m0..m7. `reserve` marks registers from the
    next cycle on, `write` takes marks off from the next cycle on. `ready` says, combinationally,
    that none of the registers in `uses` will be marked in the next cycle on account of operations
    before: an operation that reads in the next cycle may go.

    Golden twin: none; it keeps order, and the golden node has no other.
    """

    reserve: In(REGISTERS)  #: will be written later
    write: In(REGISTERS)  #: are written now
    uses: In(REGISTERS)  #: are asked about
    ready: Out(1)  #: none of these waits for a result that will not be there in the next cycle
    marked: Out(REGISTERS)  #: are waiting
    any: Out(1)  #: some register is waiting

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        left = Signal(REGISTERS)
        m.d.comb += [
            left.eq(self.marked & ~self.write),
            self.ready.eq(~(self.uses & left).any()),
            self.any.eq(self.marked.any()),
        ]
        m.d.sync += self.marked.eq(left | self.reserve)
        return m
