"""Vector register file."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from ..turns import TurnCounter
from .interfaces import THREAD_BITS

__all__ = ["VectorReadSignature", "VectorRegisterFile", "vector_write_layout"]

_REGISTERS = 32
_SLOTS = 2
_PORTS = ("a", "b", "c")


def vector_write_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a write: the value first, so that a simulator finds it aligned."""
    return data.StructLayout(
        {"value": 8 * params.vector_bytes, "number": range(_REGISTERS), "valid": 1}
    )


class VectorReadSignature(wiring.Signature):
    """How a slot reads three registers of a thread, seen from the slot.

    Members
    -------
    valid : Out(1)
        The slot reads; otherwise the values mean nothing.
    thread : Out(THREAD_BITS)
    number_a, number_b, number_c : Out(5)
    a, b, c : In(8 * vector_bytes)
        The values, in the same cycle.
    """

    def __init__(self, params: NodeParams):
        super().__init__(
            {"valid": Out(1), "thread": Out(THREAD_BITS)}
            | {f"number_{port}": Out(range(_REGISTERS)) for port in _PORTS}
            | {port: In(8 * params.vector_bytes) for port in _PORTS}
        )


class VectorRegisterFile(wiring.Component):
    """The registers v0..v31 of every thread; golden twin: `v` of the golden node.

    A bank of registers a thread, with three read ports and a write port: both slots read in one
    cycle because they never have operations of one thread. All are zero at power-up and keep their
    values through a reset. Reads are combinational and show the writes of all earlier cycles. On
    an FPGA a bank has one read port that takes turns (`Turns`): `a` is there in all of a cycle, `b`
    and `c` in its last turn.

    Parameters
    ----------
    params
        Threads, and size of a vector.

    Members
    -------
    slots : In(VectorReadSignature(params)).array(2)
        Of different threads when both are valid.
    writes : In(vector_write_layout(params)).array(threads)
        What is written to a register of each thread.
    """

    slots: Any
    writes: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "slots": In(VectorReadSignature(params)).array(_SLOTS),
                "writes": In(vector_write_layout(params)).array(params.threads),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        bits = 8 * self._params.vector_bytes
        banks: list[Any] = []
        for thread, wanted in enumerate(self.writes):
            bank: Any = memory.Memory(shape=bits, depth=_REGISTERS, init=[])
            m.submodules[f"bank_{thread}"] = bank
            banks.append(bank)
            write = bank.write_port()
            m.d.comb += [
                write.en.eq(wanted.valid),
                write.addr.eq(wanted.number),
                write.data.eq(wanted.value),
            ]
            if platform is None:
                for port in _PORTS:
                    value = self._read(m, bank, thread, f"number_{port}")
                    for slot in self.slots:
                        with m.If(slot.thread == thread):
                            m.d.comb += getattr(slot, port).eq(value)
        if platform is not None:
            self._read_in_turns(m, banks)
        return m

    def _read(self, m: Module, bank: Any, thread: int, number: str) -> Value:
        """Add a read port; return the register that the slot of the thread wants."""
        first, second = self.slots
        read = bank.read_port(domain="comb")
        numbers = (getattr(slot, number) for slot in (second, first))
        m.d.comb += read.addr.eq(Mux(second.valid & (second.thread == thread), *numbers))
        return read.data

    def _read_in_turns(self, m: Module, banks: list[Any]) -> None:
        """Add a read port for each bank, which takes turns."""
        m.submodules.turns = turns = TurnCounter()
        first, second = (
            Array((slot.number_a, slot.number_b, slot.number_c, slot.number_c))[turns.number]
            for slot in self.slots
        )
        values = [Signal(8 * self._params.vector_bytes, name=f"value_{n}") for n in range(_SLOTS)]
        for thread, bank in enumerate(banks):
            read = bank.read_port(domain="comb")
            in_second = self.slots[1].valid & (self.slots[1].thread == thread)
            m.d.comb += read.addr.eq(Mux(in_second, second, first))
            for slot, value in zip(self.slots, values, strict=True):
                with m.If(slot.thread == thread):
                    m.d.comb += value.eq(read.data)
        for number, (slot, value) in enumerate(zip(self.slots, values, strict=True)):
            a, b = (Signal.like(value, name=f"{port}_{number}", reset_less=True) for port in "ab")
            m.d.comb += [slot.a.eq(a), slot.b.eq(b), slot.c.eq(value)]
            with m.If(turns.number == 0):
                m.d.comb += slot.a.eq(value)
                m.d.turn += a.eq(value)
            with m.If(turns.number == 1):
                m.d.turn += b.eq(value)
