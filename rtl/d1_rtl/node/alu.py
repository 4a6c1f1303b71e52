"""Integer arithmetic, logic and shifts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .micro_op import AluOp

__all__ = ["Alu"]


class Alu(wiring.Component):
    """Compute one RV64I integer operation; golden twin: the `Unit.ALU` rows of `d1_golden.isa`.

    Combinational.

    Members
    -------
    op : In(AluOp)
    word : In(1)
    a, b : In(64)
    result : Out(64)

    Ref: The RISC-V Instruction Set Manual, Volume I, chapters 2.4 and 4.2.
    """

    #: What to compute.
    op: In(AluOp)
    #: Use the low 32 bits of the operands and sign-extend the low 32 bits of the result.
    word: In(1)
    #: First operand.
    a: In(64)
    #: Second operand; a shift takes its low 6 bits, or 5 with `word`.
    b: In(64)
    #: The result.
    result: Out(64)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        a, b = self.a, self.b
        shamt = Signal(6)
        # A right shift of 32 bits sees them extended as its kind wants.
        right = Signal(64)
        filler = Signal()
        m.d.comb += [
            shamt.eq(Mux(self.word, b[:5], b[:6])),
            filler.eq((self.op == AluOp.SRA) & Mux(self.word, a[31], a[63])),
            right.eq(Mux(self.word, Cat(a[:32], filler.replicate(32)), a)),
        ]
        result = Signal(64)
        with m.Switch(self.op):
            with m.Case(AluOp.ADD):
                m.d.comb += result.eq(a + b)
            with m.Case(AluOp.SUB):
                m.d.comb += result.eq(a - b)
            with m.Case(AluOp.SLL):
                m.d.comb += result.eq(a << shamt)
            with m.Case(AluOp.SLT):
                m.d.comb += result.eq(a.as_signed() < b.as_signed())
            with m.Case(AluOp.SLTU):
                m.d.comb += result.eq(a < b)
            with m.Case(AluOp.XOR):
                m.d.comb += result.eq(a ^ b)
            with m.Case(AluOp.SRL, AluOp.SRA):
                m.d.comb += result.eq(Cat(right, filler).as_signed() >> shamt)
            with m.Case(AluOp.OR):
                m.d.comb += result.eq(a | b)
            with m.Case(AluOp.AND):
                m.d.comb += result.eq(a & b)
        m.d.comb += self.result.eq(
            Mux(self.word, Cat(result[:32], result[31].replicate(32)), result)
        )
        return m
