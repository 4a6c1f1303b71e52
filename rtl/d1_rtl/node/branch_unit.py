"""Branches and jumps."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .micro_op import BranchOp

__all__ = ["BranchUnit"]


class BranchUnit(wiring.Component):
    """Decide a branch and compute where it goes; golden twin: the `Unit.BRANCH` rows of the ISA.

    Combinational.

    Members
    -------
    op : In(BranchOp)
    pc, x1, x2 : In(64)
    immediate : In(signed(32))
    taken : Out(1)
    target, link : Out(64)

    Ref: The RISC-V Instruction Set Manual, Volume I, chapter 2.5, "Control Transfer Instructions".
    """

    #: Which condition or jump.
    op: In(BranchOp)
    #: Address of the instruction.
    pc: In(64)
    #: The registers that are compared; `x1` is also the base of `jalr`.
    x1: In(64)
    x2: In(64)
    #: Offset of the target.
    immediate: In(signed(32))
    #: Whether the thread goes on at `target`.
    taken: Out(1)
    #: The target.
    target: Out(64)
    #: Address of the next instruction in memory, for the link register.
    link: Out(64)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        x1, x2 = self.x1, self.x2
        indirect = self.op == BranchOp.JALR
        target = Signal(64)
        m.d.comb += [
            target.eq(Mux(indirect, x1, self.pc) + self.immediate),
            self.target.eq(Cat(Const(0, 1), target[1:])),
            self.link.eq(self.pc + 4),
        ]
        with m.Switch(self.op):
            with m.Case(BranchOp.BEQ):
                m.d.comb += self.taken.eq(x1 == x2)
            with m.Case(BranchOp.BNE):
                m.d.comb += self.taken.eq(x1 != x2)
            with m.Case(BranchOp.BLT):
                m.d.comb += self.taken.eq(x1.as_signed() < x2.as_signed())
            with m.Case(BranchOp.BGE):
                m.d.comb += self.taken.eq(x1.as_signed() >= x2.as_signed())
            with m.Case(BranchOp.BLTU):
                m.d.comb += self.taken.eq(x1 < x2)
            with m.Case(BranchOp.BGEU):
                m.d.comb += self.taken.eq(x1 >= x2)
            with m.Case(BranchOp.JAL, BranchOp.JALR):
                m.d.comb += self.taken.eq(1)
        return m
