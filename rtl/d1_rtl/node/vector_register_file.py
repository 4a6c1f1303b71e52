"""Vector register file."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

__all__ = ["VectorRegisterFile"]

_REGISTERS = 32


class VectorRegisterFile(wiring.Component):
    """The registers v0..v31 of a thread; golden twin: `v` of the golden node.

    All are zero at power-up and keep their values from one start of the thread to the next. Reads
    are combinational and show the writes of all earlier cycles: four reads and a write per cycle.

    Parameters
    ----------
    params
        Size of a vector.

    Members
    -------
    number_a, number_b, number_c, number_store : In(5)
        Registers to read: three operands, and the one that is stored to memory.
    a, b, c, store : Out(8 * vector_bytes)
    write : In(1)
    number : In(5)
    value : In(8 * vector_bytes)
    """

    number_a: Signal
    number_b: Signal
    number_c: Signal
    number_store: Signal
    a: Signal
    b: Signal
    c: Signal
    store: Signal
    write: Signal
    number: Signal
    value: Signal

    def __init__(self, params: NodeParams):
        bits = 8 * params.vector_bytes
        super().__init__(
            {
                "number_a": In(5),
                "number_b": In(5),
                "number_c": In(5),
                "number_store": In(5),
                "a": Out(bits),
                "b": Out(bits),
                "c": Out(bits),
                "store": Out(bits),
                "write": In(1),
                "number": In(5),
                "value": In(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        registers: Any = memory.Memory(shape=len(self.value), depth=_REGISTERS, init=[])
        m.submodules.registers = registers
        write = registers.write_port()
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.number),
            write.data.eq(self.value),
        ]
        for name in ("a", "b", "c", "store"):
            read = registers.read_port(domain="comb")
            m.d.comb += read.addr.eq(getattr(self, f"number_{name}"))
            m.d.comb += getattr(self, name).eq(read.data)
        return m
