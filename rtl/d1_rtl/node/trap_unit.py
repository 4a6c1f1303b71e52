"""Exceptions of the instruction in execution."""

from amaranth.hdl import Module, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .micro_op import FetchFault, SystemOp, Trap, TrapCause, Unit, issued_layout

__all__ = ["TrapUnit"]


class TrapUnit(wiring.Component):
    """Tell whether an instruction raises an exception; golden twin: `trap` of the golden node.

    Combinational. An instruction has at most one exception that counts: a word that could not be
    fetched or decoded has no others, and every unit has one kind of its own.

    Members
    -------
    issued : In(issued_layout())
    taken : In(1)
    target : In(64)
    address : In(64)
    address_fault : In(1)
    address_cause : In(TrapCause)
    csr_illegal : In(1)
    raised : Out(1)
    trap : Out(Trap)

    Ref: The RISC-V Instruction Set Manual, Volume II: Privileged Architecture, chapter 3.1.15 and
    the following ones.
    """

    #: The instruction.
    issued: In(issued_layout())
    #: Where the branch unit goes.
    taken: In(1)
    target: In(64)
    #: What the address unit found.
    address: In(64)
    address_fault: In(1)
    address_cause: In(TrapCause)
    #: What the CSR file found.
    csr_illegal: In(1)
    #: There is an exception.
    raised: Out(1)
    #: Which.
    trap: Out(Trap)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        issued, uop = self.issued, self.issued.uop
        m.d.comb += self.trap.pc.eq(issued.pc)

        def exception(condition: ValueLike, cause: ValueLike, value: ValueLike) -> None:
            with m.If(condition):
                m.d.comb += [
                    self.raised.eq(1), self.trap.cause.eq(cause), self.trap.value.eq(value),
                ]  # fmt: skip

        with m.Switch(uop.unit):
            with m.Case(Unit.NONE):
                exception(1, TrapCause.ILLEGAL_INSTRUCTION, issued.insn)
            with m.Case(Unit.CSR):
                exception(self.csr_illegal, TrapCause.ILLEGAL_INSTRUCTION, issued.insn)
            with m.Case(Unit.BRANCH):
                misaligned = self.taken & self.target[:2].any()
                exception(misaligned, TrapCause.INSTRUCTION_MISALIGNED, self.target)
            with m.Case(Unit.SYSTEM):
                exception(uop.op == SystemOp.ECALL, TrapCause.ENVIRONMENT_CALL, 0)
                exception(uop.op == SystemOp.EBREAK, TrapCause.BREAKPOINT, issued.pc)
            with m.Default():
                exception(self.address_fault, self.address_cause, self.address)
        # Whatever the bits say that came instead of an instruction.
        with m.Switch(issued.fault):
            with m.Case(FetchFault.MISALIGNED):
                exception(1, TrapCause.INSTRUCTION_MISALIGNED, issued.pc)
            with m.Case(FetchFault.ACCESS):
                exception(1, TrapCause.INSTRUCTION_ACCESS_FAULT, issued.pc)
        return m
