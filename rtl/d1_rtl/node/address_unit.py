"""Addresses of loads and stores, the scalar ones' access to memory, and simple operations."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import CONTROL_BASE, LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from .alu import Alu, alu_operands
from .control_address_check import ControlAddressCheck
from .interfaces import ControlSignature, SramReadSignature, SramWriteSignature
from .micro_op import (
    SIMPLE_OPS,
    VECTOR_UNITS,
    AluOp,
    TrapCause,
    Unit,
    field,
    is_one_of,
    slot_layout,
)
from .writeback import Load

__all__ = ["AddressUnit"]

_LINE_LOG2 = LINE_BYTES.bit_length() - 1
_CONTROL_BIT = CONTROL_BASE.bit_length() - 1
_WORD_LOG2 = 2


class AddressUnit(wiring.Component):
    """Compute and check the address of one slot, and carry scalar accesses to memory.

    Its adder adds integers too, with logic beside it: the operations of `micro_op.SIMPLE_OPS`.

    Golden twin: `addr`, `load` and `store` of the golden node, `Unit.ALU` rows of the ISA table.

    Address, `value` and `fault` are combinational, so an exception is known before there is any
    effect. An access without fault is asked for while neither `killed` nor `hold` is high; `done`
    is high in the cycle in which SRAM or the control block takes it, for everything else at once.
    What was loaded is there in the cycle after, for the one who got `load`. One access per cycle.

    Parameters
    ----------
    params
        Size of the SRAM and of a vector.

    Members
    -------
    slot : In(slot_layout())
    killed : In(1)
        An instruction before this one raised an exception.
    hold : In(1)
        An access before this one comes first.
    address : Out(64)
    fault : Out(1)
    cause : Out(TrapCause)
    value : Out(64)
        Result of an integer operation.
    scalar, vector : Out(1)
        The instruction is a scalar load or store; it is a vector instruction.
    done : Out(1)
    load : Out(Load)
        A load that is taken in this cycle.
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    control : Out(ControlSignature())
    """

    slot: Any
    killed: Signal
    hold: Signal
    address: Signal
    fault: Signal
    cause: Signal
    value: Signal
    scalar: Signal
    vector: Signal
    done: Signal
    load: Any
    sram_read: Any
    sram_write: Any
    control: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "slot": In(slot_layout()),
                "killed": In(1),
                "hold": In(1),
                "address": Out(64),
                "fault": Out(1),
                "cause": Out(TrapCause),
                "value": Out(64),
                "scalar": Out(1),
                "vector": Out(1),
                "done": Out(1),
                "load": Out(Load),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
                "control": Out(ControlSignature()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        slot, uop, address = self.slot, self.slot.uop, self.address
        is_store = uop.unit == Unit.STORE
        in_sram, in_control, misaligned = (
            Signal(name=n) for n in ("in_sram", "in_control", "misaligned")
        )
        m.submodules.check = check = ControlAddressCheck(self._params)
        m.d.comb += [
            address.eq(self._add(m)),
            in_sram.eq(address < self._params.sram_bytes),
            check.address.eq(address[:_CONTROL_BIT]),
            in_control.eq(
                address[_CONTROL_BIT]
                & ~address[LOCAL_BITS:].any()
                & (uop.size_log2 == 3)
                & check.exists
            ),
            self.scalar.eq((uop.unit == Unit.LOAD) | is_store),
            self.vector.eq(is_one_of(uop.unit, *VECTOR_UNITS)),
        ]
        with m.Switch(uop.size_log2):
            for size in range(1, 4):
                with m.Case(size):
                    m.d.comb += misaligned.eq(address[:size].any())
        vector_log2 = self._params.vector_bytes.bit_length() - 1
        with m.Switch(uop.unit):
            with m.Case(Unit.LOAD, Unit.STORE):
                m.d.comb += self.fault.eq(misaligned | ~(in_sram | in_control))
                with m.If(misaligned):
                    m.d.comb += self.cause.eq(
                        Mux(is_store, TrapCause.STORE_MISALIGNED, TrapCause.LOAD_MISALIGNED)
                    )
                with m.Else():
                    m.d.comb += self.cause.eq(
                        Mux(is_store, TrapCause.STORE_ACCESS_FAULT, TrapCause.LOAD_ACCESS_FAULT)
                    )
            with m.Case(Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.MATRIX_MEMORY):
                parts = Mux(uop.broadcast, address[:_WORD_LOG2].any(), address[:vector_log2].any())
                m.d.comb += [
                    self.fault.eq(parts | ~in_sram),
                    self.cause.eq(TrapCause.VECTOR_FAULT),
                ]
        active = slot.valid & self.scalar & ~self.fault & ~self.killed & ~self.hold
        self._access_sram(m, active & in_sram, is_store)
        self._access_control(m, active & in_control, is_store)
        return m

    def _add(self, m: Module) -> Value:
        """Add the immediate to x[rs1], or execute an integer operation."""
        slot, uop = self.slot, self.slot.uop
        m.submodules.alu = alu = Alu(SIMPLE_OPS)
        a, b = alu_operands(slot)
        integer = uop.unit == Unit.ALU
        m.d.comb += [
            alu.op.eq(Mux(integer, uop.op[: len(alu.op.as_value())], AluOp.ADD)),
            alu.word.eq(integer & uop.word),
            alu.a.eq(Mux(integer, a, slot.x1)),
            alu.b.eq(Mux(integer, b, uop.immediate)),
            self.value.eq(alu.result),
        ]
        return alu.result

    def _access_sram(self, m: Module, active: Value, is_store: Value) -> None:
        """Ask for the line of a load, or write a store's bytes."""
        read, write = self.sram_read.request, self.sram_write.request
        uop, data, mask = self.slot.uop, Signal(64), Signal(8)
        with m.Switch(uop.size_log2):
            for size_log2 in range(4):
                bits = 8 << size_log2
                with m.Case(size_log2):
                    m.d.comb += data.eq(self.slot.x2[:bits].replicate(64 // bits))
                    m.d.comb += mask.eq((1 << (1 << size_log2)) - 1)
        m.d.comb += [
            read.valid.eq(active & ~is_store),
            read.payload.eq(self.address >> _LINE_LOG2),
            write.valid.eq(active & is_store),
            write.payload.line.eq(self.address >> _LINE_LOG2),
            write.payload.data.eq(data.replicate(LINE_BYTES // 8)),
            write.payload.mask.eq(mask << self.address[:_LINE_LOG2]),
        ]

    def _access_control(self, m: Module, active: Value, is_store: Value) -> None:
        """Ask for a control register, and say when the access is over."""
        request, slot = self.control.request, self.slot
        read, write = self.sram_read.request, self.sram_write.request
        taken = Signal()
        m.d.comb += [
            request.valid.eq(active),
            request.payload.address.eq(self.address[:_CONTROL_BIT]),
            request.payload.write.eq(is_store),
            request.payload.data.eq(slot.x2),
            taken.eq(
                (read.valid & read.ready)
                | (write.valid & write.ready)
                | (request.valid & request.ready)
            ),
            self.done.eq(~self.scalar | self.fault | self.killed | taken),
            self.load.valid.eq(taken & ~is_store),
            self.load.control.eq(request.valid),
            self.load.thread.eq(slot.thread),
            self.load.pc.eq(slot.pc),
            self.load.address.eq(self.address),
            self.load.writes.eq(slot.uop.writes_rd),
            self.load.rd.eq(field(slot.insn, "rd")),
            self.load.size_log2.eq(slot.uop.size_log2),
            self.load.unsigned.eq(slot.uop.unsigned),
        ]
