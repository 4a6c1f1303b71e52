"""Integer arithmetic, logic and shifts."""

from collections.abc import Collection
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .micro_op import AluOp, OperandA

__all__ = ["Alu", "alu_operands"]


def alu_operands(slot: Any) -> tuple[Value, Value]:
    """Return the operands of the integer operation in a slot of `slot_layout()`."""
    uop = slot.uop
    a = Mux(uop.a == OperandA.RS1, slot.x1, Mux(uop.a == OperandA.PC, slot.pc, 0))
    return a, Mux(uop.b_immediate, uop.immediate, slot.x2)


class Alu(wiring.Component):
    """Compute one RV64I integer operation; golden twin: the `Unit.ALU` rows of `d1_golden.isa`.

    Combinational. On an FPGA there is one shifter, which shifts to the left what is reversed.

    Parameters
    ----------
    ops
        The operations that it has; the result of others is 0.

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

    def __init__(self, ops: Collection[AluOp] = tuple(AluOp)):
        self._ops = ops
        super().__init__()

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
        if platform is None:
            shifted_left: Value = a << shamt
            shifted_right = Cat(right, filler).as_signed() >> shamt
        else:
            entering = Mux(self.op == AluOp.SLL, a[::-1], right)
            shifted_right = Cat(entering, filler).as_signed() >> shamt
            shifted_left = shifted_right[:64][::-1]
        results = {
            AluOp.ADD: a + b,
            AluOp.SUB: a - b,
            AluOp.SLL: shifted_left,
            AluOp.SLT: a.as_signed() < b.as_signed(),
            AluOp.SLTU: a < b,
            AluOp.XOR: a ^ b,
            AluOp.SRL: shifted_right,
            AluOp.SRA: shifted_right,
            AluOp.OR: a | b,
            AluOp.AND: a & b,
        }
        with m.Switch(self.op):
            for op in self._ops:
                with m.Case(op):
                    m.d.comb += result.eq(results[op])
        m.d.comb += self.result.eq(
            Mux(self.word, Cat(result[:32], result[31].replicate(32)), result)
        )
        return m
