"""Scalar register file."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from ..multi_write_memory import multi_write_memory
from .interfaces import THREAD_BITS, ScalarResult

__all__ = ["RegisterFile", "ScalarRegister"]

_NUMBER_BITS = 5


class ScalarRegister(data.Struct):
    """A scalar register of a thread."""

    number: _NUMBER_BITS
    thread: THREAD_BITS


class RegisterFile(wiring.Component):
    """The registers x0..x31 of all threads; golden twin: `x` of the golden node.

    All are zero at power-up and keep their values from one start of a thread to the next. Reads
    are combinational and show the writes of this cycle too. Two writes of a cycle are never to the
    same register. x0 stays zero because nobody writes it: the decoder raises `writes_rd` for
    no instruction whose rd is x0.

    Parameters
    ----------
    params
        Number of threads.
    reads, writes
        Number of ports.

    Members
    -------
    registers : In(ScalarRegister).array(reads)
        Registers to read.
    values : Out(64).array(reads)
        Their values, in the same cycle.
    writes : In(ScalarResult).array(writes)
        What is written at the end of the cycle.
    """

    registers: Any
    values: Any
    writes: Any

    def __init__(self, params: NodeParams, *, reads: int, writes: int):
        self._threads = params.threads
        super().__init__(
            {
                "registers": In(ScalarRegister).array(reads),
                "values": Out(64).array(reads),
                "writes": In(ScalarResult).array(writes),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        store = multi_write_memory(
            m,
            "registers",
            shape=64,
            depth=self._threads << _NUMBER_BITS,
            writes=len(self.writes),
            platform=platform,
        )
        for result in self.writes:
            write = store.write_port()
            m.d.comb += [
                write.en.eq(result.valid),
                write.addr.eq(Cat(result.rd, result.thread)),
                write.data.eq(result.value),
            ]
        for register, value in zip(self.registers, self.values, strict=True):
            read = store.read_port(domain="comb")
            m.d.comb += [
                read.addr.eq(Cat(register.number, register.thread)),
                value.eq(read.data),
            ]
            for result in self.writes:
                same = (result.rd == register.number) & (result.thread == register.thread)
                with m.If(result.valid & same):
                    m.d.comb += value.eq(result.value)
        return m
