"""Exceptions of the instructions that are issued alone."""

from amaranth.hdl import Module, Signal, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .micro_op import FetchFault, SystemOp, Trap, TrapCause, Unit, field, slot_layout
from .transfer_check import TransferCheck

__all__ = ["TrapUnit"]


class TrapUnit(wiring.Component):
    """Tell whether the instruction of the first ALU slot raises an exception of its own.

    Combinational. An instruction has at most one exception that counts: a word that could not be
    fetched or decoded has no others, and every unit has one kind of its own. Branches and accesses
    to memory are looked at in their slots.

    Golden twin: `trap` of the golden node.

    Parameters
    ----------
    params
        Size of the SRAM.

    Members
    -------
    slot : In(slot_layout())
    fault_pc : In(64)
    csr_illegal : In(1)
    raised : Out(1)
    trap : Out(Trap)

    Ref: The RISC-V Instruction Set Manual, Volume II: Privileged Architecture, chapter 3.1.15 and
    the following ones.
    """

    #: The instruction.
    slot: In(slot_layout())
    #: Address of an instruction that could not be fetched.
    fault_pc: In(64)
    #: What the CSR file found.
    csr_illegal: In(1)
    #: There is an exception.
    raised: Out(1)
    #: Which.
    trap: Out(Trap)

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        slot, uop = self.slot, self.slot.uop
        raised = Signal()
        m.submodules.transfer_check = check = TransferCheck(self._params)
        m.d.comb += [
            check.op.eq(uop.op),
            check.x1.eq(slot.x1),
            check.x2.eq(slot.x2),
            check.count.eq(field(slot.insn, "imm_lines")),
            self.raised.eq(slot.valid & raised),
            self.trap.pc.eq(slot.pc),
        ]

        def exception(condition: ValueLike, cause: ValueLike, value: ValueLike) -> None:
            with m.If(condition):
                m.d.comb += [
                    raised.eq(1), self.trap.cause.eq(cause), self.trap.value.eq(value),
                ]  # fmt: skip

        with m.Switch(uop.unit):
            with m.Case(Unit.NONE):
                exception(1, TrapCause.ILLEGAL_INSTRUCTION, slot.insn)
            with m.Case(Unit.CSR):
                exception(self.csr_illegal, TrapCause.ILLEGAL_INSTRUCTION, slot.insn)
            with m.Case(Unit.SYSTEM):
                exception(uop.op == SystemOp.ECALL, TrapCause.ENVIRONMENT_CALL, 0)
                exception(uop.op == SystemOp.EBREAK, TrapCause.BREAKPOINT, slot.pc)
            with m.Case(Unit.TRANSFER):
                exception(check.fault, check.cause, check.value)
        # Whatever the bits say that came instead of an instruction.
        for fault, cause in (
            (FetchFault.MISALIGNED, TrapCause.INSTRUCTION_MISALIGNED),
            (FetchFault.ACCESS, TrapCause.INSTRUCTION_ACCESS_FAULT),
            (FetchFault.HARDWARE, TrapCause.HARDWARE_ERROR),
        ):
            with m.If(slot.fault == fault):
                m.d.comb += self.trap.pc.eq(self.fault_pc)
            exception(slot.fault == fault, cause, self.fault_pc)
        return m
