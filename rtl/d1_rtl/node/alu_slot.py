"""One ALU slot: integer operations and branches."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .alu import Alu, alu_operands
from .branch_unit import BranchUnit
from .micro_op import AluOp, BranchOp, Unit, slot_layout

__all__ = ["AluSlot"]


class AluSlot(wiring.Component):
    """Execute the ALU operation or branch in a slot; golden twin: these rows of the ISA table.

    Combinational.

    Members
    -------
    slot : In(slot_layout())
    value : Out(64)
    branches, taken, mispredicted, misaligned : Out(1)
    target, next_pc : Out(64)
    """

    #: The instruction.
    slot: In(slot_layout())
    #: Its result, if it is an ALU operation or a jump.
    value: Out(64)
    #: It is a branch or jump; it goes to `target`; the front end went elsewhere.
    branches: Out(1)
    taken: Out(1)
    mispredicted: Out(1)
    #: It goes to an address that is none of an instruction.
    misaligned: Out(1)
    target: Out(64)
    #: Where the thread goes on.
    next_pc: Out(64)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        slot, uop = self.slot, self.slot.uop
        m.submodules.alu = alu = Alu()
        m.submodules.branch = branch = BranchUnit()
        a, b = alu_operands(slot)
        m.d.comb += [
            alu.a.eq(a),
            alu.b.eq(b),
            alu.op.eq(AluOp(uop.op[:4])),
            alu.word.eq(uop.word),
            branch.op.eq(BranchOp(uop.op[:4])),
            branch.pc.eq(slot.pc),
            branch.x1.eq(slot.x1),
            branch.x2.eq(slot.x2),
            branch.immediate.eq(uop.immediate),
            self.branches.eq(slot.valid & (uop.unit == Unit.BRANCH)),
            self.taken.eq(branch.taken),
            self.target.eq(branch.target),
            self.value.eq(Mux(uop.unit == Unit.BRANCH, branch.link, alu.result)),
            self.next_pc.eq(Mux(branch.taken, branch.target, branch.link)),
            self.misaligned.eq(self.branches & branch.taken & branch.target[:2].any()),
            self.mispredicted.eq(
                self.branches
                & Mux(slot.predicted, ~branch.taken | (branch.target != slot.target), branch.taken)
            ),
        ]
        return m
