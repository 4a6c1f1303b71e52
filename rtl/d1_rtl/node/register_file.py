"""Scalar register file."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterFile"]


class RegisterFile(wiring.Component):
    """The registers x0..x31 of a thread; golden twin: `x` of the golden node.

    All are zero at power-up and keep their values from one start of the thread to the next. Reads
    are combinational and show the writes of all earlier cycles. x0 stays zero because nobody
    writes it: the decoder raises `writes_rd` for no instruction whose rd is x0.

    Members
    -------
    rs1, rs2 : In(5)
    x1, x2 : Out(64)
    write : In(1)
    rd : In(5)
    value : In(64)
    """

    #: Registers to read.
    rs1: In(5)
    rs2: In(5)
    #: Their values, in the same cycle.
    x1: Out(64)
    x2: Out(64)
    #: Write `value` to register `rd`.
    write: In(1)
    rd: In(5)
    value: In(64)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        registers: Any = memory.Memory(shape=64, depth=32, init=[])
        m.submodules.registers = registers
        write = registers.write_port()
        read1 = registers.read_port(domain="comb")
        read2 = registers.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.rd),
            write.data.eq(self.value),
            read1.addr.eq(self.rs1),
            read2.addr.eq(self.rs2),
            self.x1.eq(read1.data),
            self.x2.eq(read2.data),
        ]
        return m
