"""The execution stage of the scalar pipeline."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .address_unit import AddressUnit
from .alu import Alu
from .branch_unit import BranchUnit
from .csr_file import CsrFile
from .interfaces import ControlSignature, SramReadSignature, SramWriteSignature
from .issue import Forward
from .micro_op import (
    AluOp,
    BranchOp,
    CsrOp,
    FetchFault,
    OperandA,
    SystemOp,
    Trap,
    TrapCause,
    Unit,
    field,
    issued_layout,
)
from .muldiv import MulDiv
from .trap_unit import TrapUnit
from .vector_unit import vector_operation_layout
from .writeback import Completed

__all__ = ["Execute"]

_VECTOR_UNITS = (
    Unit.VECTOR_LOAD,
    Unit.VECTOR_STORE,
    Unit.VECTOR_CONVERT,
    Unit.VECTOR_SIMD,
    Unit.MATRIX,
    Unit.MATRIX_MEMORY,
)


class Execute(wiring.Component):
    """Execute scalar instructions, and pass vector and matrix instructions to the vector unit.

    An instruction stays on `i` until it is done: one cycle for the ALU, branches, CSRs and
    accesses to SRAM (and as long as their bank is taken), two cycles for the control block, 4 for
    a multiplication, 68 for a division, and for vector and matrix instructions until the vector
    unit takes them. Exceptions are known before an instruction has any effect, and all
    instructions before it have none: they are precise.

    Golden twin: the interpreter loop of the golden node.

    Parameters
    ----------
    params
        Size of the SRAM and of a vector.
    thread
        Number of the thread in its node.

    Members
    -------
    i : In(stream.Signature(issued_layout()))
    o_vector : Out(stream.Signature(vector_operation_layout()))
    completed : Out(Completed)
    result : Out(Forward)
    redirect, invalidate : Out(1)
    target : Out(64)
    stops : Out(1)
    trap : Out(Trap)
    running : In(1)
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    control : Out(ControlSignature())
    """

    i: Any
    o_vector: Any
    completed: Any
    result: Any
    redirect: Signal
    invalidate: Signal
    target: Signal
    stops: Signal
    trap: Any
    running: Signal
    sram_read: Any
    sram_write: Any
    control: Any

    def __init__(self, params: NodeParams, *, thread: int = 0):
        self._params = params
        self._thread = thread
        super().__init__(
            {
                "i": In(stream.Signature(issued_layout())),
                "o_vector": Out(stream.Signature(vector_operation_layout())),
                "completed": Out(Completed),
                "result": Out(Forward),
                "redirect": Out(1),
                "invalidate": Out(1),
                "target": Out(64),
                "stops": Out(1),
                "trap": Out(Trap),
                "running": In(1),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
                "control": Out(ControlSignature()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.trap_unit = trap_unit = TrapUnit()
        m.submodules.csr_file = csr_file = CsrFile(self._params, thread=self._thread)
        issued = self.i.payload
        raised, good = Signal(), Signal()
        m.d.comb += [
            raised.eq(self.i.valid & trap_unit.raised),
            good.eq(self.i.valid & ~trap_unit.raised),
            trap_unit.issued.eq(issued),
            self.trap.eq(trap_unit.trap),
            self.stops.eq(
                raised & ((csr_file.mtvec == 0) | (trap_unit.trap.cause == TrapCause.VECTOR_FAULT))
            ),
        ]
        done, value = Signal(), Signal(64)
        self._calculate(m, value)
        m.d.comb += done.eq(1)  # unless a unit below says otherwise
        self._multiply(m, good, done, value)
        branch = self._branch(m, trap_unit, value)
        address = self._address(m, trap_unit, done, value)
        self._pass_vector(m, csr_file, good, address, done)
        self._access_csr(m, csr_file, trap_unit, good, value)
        m.d.comb += self.i.ready.eq(done | raised)
        self._redirect(m, csr_file, branch, raised, good & done)
        self._complete(m, csr_file, good & done, value, address)
        return m

    def _calculate(self, m: Module, value: Value) -> None:
        """Connect the ALU."""
        issued, uop = self.i.payload, self.i.payload.uop
        m.submodules.alu = alu = Alu()
        with m.Switch(uop.a):
            with m.Case(OperandA.RS1):
                m.d.comb += alu.a.eq(issued.x1)
            with m.Case(OperandA.PC):
                m.d.comb += alu.a.eq(issued.pc)
        m.d.comb += [
            alu.op.eq(AluOp(uop.op)),
            alu.word.eq(uop.word),
            alu.b.eq(Mux(uop.b_immediate, uop.immediate, issued.x2)),
            value.eq(alu.result),
        ]

    def _multiply(self, m: Module, good: Value, done: Value, value: Value) -> None:
        """Connect the multiplier and divider, which take several cycles."""
        issued, uop = self.i.payload, self.i.payload.uop
        m.submodules.muldiv = muldiv = MulDiv()
        m.d.comb += [
            muldiv.i.payload.op.eq(uop.op),
            muldiv.i.payload.word.eq(uop.word),
            muldiv.i.payload.a.eq(issued.x1),
            muldiv.i.payload.b.eq(issued.x2),
            muldiv.o.ready.eq(1),
        ]
        with m.If(uop.unit == Unit.MULDIV):
            m.d.comb += [
                muldiv.i.valid.eq(good), done.eq(muldiv.o.valid), value.eq(muldiv.o.payload),
            ]  # fmt: skip

    def _branch(self, m: Module, trap_unit: TrapUnit, value: Value) -> BranchUnit:
        """Connect the branch unit."""
        issued, uop = self.i.payload, self.i.payload.uop
        m.submodules.branch = branch = BranchUnit()
        m.d.comb += [
            branch.op.eq(BranchOp(uop.op)),
            branch.pc.eq(issued.pc),
            branch.x1.eq(issued.x1),
            branch.x2.eq(issued.x2),
            branch.immediate.eq(uop.immediate),
            trap_unit.taken.eq(branch.taken),
            trap_unit.target.eq(branch.target),
        ]
        with m.If(uop.unit == Unit.BRANCH):
            m.d.comb += value.eq(branch.link)
        return branch

    def _address(self, m: Module, trap_unit: TrapUnit, done: Value, value: Value) -> AddressUnit:
        """Connect the address unit."""
        issued, uop = self.i.payload, self.i.payload.uop
        m.submodules.address_unit = unit = AddressUnit(self._params)
        for port in ("sram_read", "sram_write", "control"):
            wiring.connect(m, getattr(unit, port), wiring.flipped(getattr(self, port)))
        m.d.comb += [
            unit.valid.eq(self.i.valid & (issued.fault == FetchFault.NONE)),
            unit.unit.eq(uop.unit),
            unit.size_log2.eq(uop.size_log2),
            unit.base.eq(issued.x1),
            unit.immediate.eq(uop.immediate),
            unit.store_data.eq(issued.x2),
            trap_unit.address.eq(unit.address),
            trap_unit.address_fault.eq(unit.fault),
            trap_unit.address_cause.eq(unit.cause),
        ]
        with m.If((uop.unit == Unit.LOAD) | (uop.unit == Unit.STORE)):
            m.d.comb += [done.eq(unit.done), value.eq(unit.control_value)]
        return unit

    def _pass_vector(
        self, m: Module, csr_file: CsrFile, good: Value, address: AddressUnit, done: Value
    ) -> None:
        """Offer vector and matrix instructions to the vector unit."""
        operation, uop = self.o_vector.payload, self.i.payload.uop
        narrows = Signal()
        m.d.comb += [
            operation.uop.eq(uop),
            operation.insn.eq(self.i.payload.insn),
            operation.address.eq(address.address),
            operation.mcfp8a.eq(csr_file.mcfp8a),
            operation.mcfp8b.eq(csr_file.mcfp8b),
            operation.mcfp8c.eq(csr_file.mcfp8c),
            operation.mround.eq(csr_file.mround),
            operation.mseed.eq(csr_file.mseed),
            # Of the conversions those to a narrower format keep the rest of their destination.
            narrows.eq((uop.unit == Unit.VECTOR_CONVERT) & uop.reads_vd & csr_file.mround),
        ]
        with m.Switch(uop.unit):
            with m.Case(*_VECTOR_UNITS):
                m.d.comb += [
                    self.o_vector.valid.eq(good),
                    done.eq(self.o_vector.ready),
                    csr_file.draws_random.eq(good & self.o_vector.ready & narrows),
                ]

    def _access_csr(
        self, m: Module, csr_file: CsrFile, trap_unit: TrapUnit, good: Value, value: Value
    ) -> None:
        """Connect the CSR file to CSR instructions."""
        issued, uop = self.i.payload, self.i.payload.uop
        immediate = field(issued.insn, "imm_z")
        m.d.comb += [
            csr_file.number.eq(field(issued.insn, "csr")),
            csr_file.op.eq(CsrOp(uop.op)),
            csr_file.operand.eq(Mux(uop.a == OperandA.RS1, issued.x1, immediate)),
            csr_file.writes.eq((uop.op == CsrOp.CSRRW) | field(issued.insn, "rs1").any()),
            csr_file.commit.eq(good & (uop.unit == Unit.CSR)),
            csr_file.running.eq(self.running),
            trap_unit.csr_illegal.eq(csr_file.illegal),
        ]
        with m.If(uop.unit == Unit.CSR):
            m.d.comb += value.eq(csr_file.value)

    def _redirect(
        self, m: Module, csr_file: CsrFile, branch: BranchUnit, raised: Value, finished: Value
    ) -> None:
        """Send the thread elsewhere: branches, trap handler, return from it, changed code."""
        uop = self.i.payload.uop
        m.d.comb += [
            csr_file.take_trap.eq(raised & ~self.stops),
            csr_file.trap.eq(self.trap),
        ]
        with m.If(raised):
            m.d.comb += [self.redirect.eq(~self.stops), self.target.eq(csr_file.mtvec)]
        with m.Elif(uop.unit == Unit.BRANCH):
            m.d.comb += [self.redirect.eq(finished & branch.taken), self.target.eq(branch.target)]
        with m.Elif(uop.unit == Unit.SYSTEM), m.Switch(uop.op):
            with m.Case(SystemOp.MRET):
                m.d.comb += [
                    csr_file.mret.eq(finished), self.redirect.eq(finished),
                    self.target.eq(csr_file.mepc),
                ]  # fmt: skip
            with m.Case(SystemOp.FENCE_I):
                m.d.comb += [
                    self.invalidate.eq(finished), self.redirect.eq(finished),
                    self.target.eq(branch.link),
                ]  # fmt: skip
        # FENCE has nothing to wait for: accesses reach memory in order.

    def _complete(
        self, m: Module, csr_file: CsrFile, finished: Value, value: Value, address: AddressUnit
    ) -> None:
        """Hand the instruction to the write-back stage."""
        issued, uop = self.i.payload, self.i.payload.uop
        loads = (uop.unit == Unit.LOAD) & ~address.from_control
        rd = field(issued.insn, "rd")
        m.d.comb += [
            csr_file.retired.eq(finished),
            self.result.writes.eq(self.i.valid & uop.writes_rd),
            self.result.rd.eq(rd),
            self.result.known.eq(~loads),
            self.result.value.eq(value),
        ]
        m.d.sync += self.completed.valid.eq(finished)
        with m.If(finished):
            m.d.sync += [
                self.completed.pc.eq(issued.pc),
                self.completed.insn.eq(issued.insn),
                self.completed.writes.eq(uop.writes_rd),
                self.completed.rd.eq(rd),
                self.completed.value.eq(value),
                self.completed.loads.eq(loads),
                self.completed.offset.eq(address.address),
                self.completed.size_log2.eq(uop.size_log2),
                self.completed.unsigned.eq(uop.unsigned),
            ]
