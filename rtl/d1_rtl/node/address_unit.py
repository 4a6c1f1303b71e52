"""Addresses of loads and stores, and the scalar ones' access to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import CONTROL_BASE, LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from .interfaces import ControlSignature, SramReadSignature, SramWriteSignature
from .micro_op import TrapCause, Unit

__all__ = ["AddressUnit"]

_LINE_LOG2 = LINE_BYTES.bit_length() - 1
_CONTROL_BIT = CONTROL_BASE.bit_length() - 1


class AddressUnit(wiring.Component):
    """Compute and check addresses, and carry scalar loads and stores to SRAM and control block.

    Golden twin: `addr`, `load` and `store` of the golden node.

    Address and `fault` are combinational, so an exception is known before there is any effect.
    While `valid` and not `fault`, the access is asked for; `done` is high in the cycle in which
    SRAM takes it, or, for the control block, in the cycle after it took it. The line of a load is
    on the SRAM port in the cycle after `done`; a control register's value is on `control_value` in
    the cycle of `done`. One access to SRAM per cycle, one access to the control block in two.

    Parameters
    ----------
    params
        Size of the SRAM and of a vector.

    Members
    -------
    valid : In(1)
    unit : In(Unit)
    size_log2 : In(2)
    base : In(64)
    immediate : In(signed(32))
    store_data : In(64)
    address : Out(64)
    fault : Out(1)
    cause : Out(TrapCause)
    done, from_control : Out(1)
    control_value : Out(64)
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    control : Out(ControlSignature())
    """

    valid: Signal
    unit: Signal
    size_log2: Signal
    base: Signal
    immediate: Signal
    store_data: Signal
    address: Signal
    fault: Signal
    cause: Signal
    done: Signal
    from_control: Signal
    control_value: Signal
    sram_read: Any
    sram_write: Any
    control: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "valid": In(1),
                "unit": In(Unit),
                "size_log2": In(2),
                "base": In(64),
                "immediate": In(signed(32)),
                "store_data": In(64),
                "address": Out(64),
                "fault": Out(1),
                "cause": Out(TrapCause),
                "done": Out(1),
                "from_control": Out(1),
                "control_value": Out(64),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
                "control": Out(ControlSignature()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        address, is_store = self.address, self.unit == Unit.STORE
        in_sram, in_control, misaligned, bad_register = (
            Signal(name=n) for n in ("in_sram", "in_control", "misaligned", "bad_register")
        )
        m.d.comb += [
            address.eq(self.base + self.immediate),
            in_sram.eq(address < self._params.sram_bytes),
            in_control.eq(address[_CONTROL_BIT] & ~address[LOCAL_BITS:].any()),
        ]
        with m.Switch(self.size_log2):
            for size in range(1, 4):
                with m.Case(size):
                    m.d.comb += misaligned.eq(address[:size].any())
        with m.Switch(self.unit):
            with m.Case(Unit.LOAD, Unit.STORE):
                with m.If(misaligned):
                    m.d.comb += self.fault.eq(1)
                    m.d.comb += self.cause.eq(
                        Mux(is_store, TrapCause.STORE_MISALIGNED, TrapCause.LOAD_MISALIGNED)
                    )
                with m.Else():
                    legal = in_sram | (in_control & (self.size_log2 == 3))
                    m.d.comb += self.fault.eq(~legal | bad_register)
                    m.d.comb += self.cause.eq(
                        Mux(is_store, TrapCause.STORE_ACCESS_FAULT, TrapCause.LOAD_ACCESS_FAULT)
                    )
            with m.Case(Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.MATRIX_MEMORY):
                vector_log2 = self._params.vector_bytes.bit_length() - 1
                m.d.comb += self.fault.eq(address[:vector_log2].any() | ~in_sram)
                m.d.comb += self.cause.eq(TrapCause.VECTOR_FAULT)
        active = self.valid & ~misaligned
        self._access_sram(m, active & in_sram, is_store)
        self._access_control(m, active & in_control & (self.size_log2 == 3), bad_register)
        return m

    def _access_sram(self, m: Module, active: Value, is_store: Value) -> None:
        """Ask for the line of a load, or write a store's bytes."""
        read, write = self.sram_read.request, self.sram_write.request
        data = Signal(64)
        mask = Signal(8)
        with m.Switch(self.size_log2):
            for size_log2 in range(4):
                bits = 8 << size_log2
                with m.Case(size_log2):
                    m.d.comb += data.eq(self.store_data[:bits].replicate(64 // bits))
                    m.d.comb += mask.eq((1 << (1 << size_log2)) - 1)
        m.d.comb += [
            read.valid.eq(active & (self.unit == Unit.LOAD)),
            read.payload.eq(self.address >> _LINE_LOG2),
            write.valid.eq(active & is_store),
            write.payload.line.eq(self.address >> _LINE_LOG2),
            write.payload.data.eq(data.replicate(LINE_BYTES // 8)),
            write.payload.mask.eq(mask << self.address[:_LINE_LOG2]),
        ]
        with m.If((read.valid & read.ready) | (write.valid & write.ready)):
            m.d.comb += self.done.eq(1)

    def _access_control(self, m: Module, active: Value, bad_register: Value) -> None:
        """Access a control register and wait a cycle for its answer."""
        request = self.control.request
        answered = Signal()
        is_scalar = (self.unit == Unit.LOAD) | (self.unit == Unit.STORE)
        m.d.comb += [
            request.valid.eq(active & is_scalar & ~answered),
            request.payload.address.eq(self.address[:_CONTROL_BIT]),
            request.payload.write.eq(self.unit == Unit.STORE),
            request.payload.data.eq(self.store_data),
            self.from_control.eq(answered),
            self.control_value.eq(self.control.data),
            bad_register.eq(answered & self.control.fault),
        ]
        m.d.sync += answered.eq(request.valid & request.ready)
        with m.If(answered):
            m.d.comb += self.done.eq(1)
