"""Vector register file."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

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
    values through a reset. Reads are combinational and show the writes of all earlier cycles.

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
        first, second = self.slots
        for thread, wanted in enumerate(self.writes):
            bank: Any = memory.Memory(shape=bits, depth=_REGISTERS, init=[])
            m.submodules[f"bank_{thread}"] = bank
            write = bank.write_port()
            m.d.comb += [
                write.en.eq(wanted.valid),
                write.addr.eq(wanted.number),
                write.data.eq(wanted.value),
            ]
            for port in _PORTS:
                read = bank.read_port(domain="comb")
                numbers = (getattr(slot, f"number_{port}") for slot in (second, first))
                m.d.comb += read.addr.eq(Mux(second.valid & (second.thread == thread), *numbers))
                for slot in self.slots:
                    with m.If(slot.thread == thread):
                        m.d.comb += getattr(slot, port).eq(read.data)
        return m
