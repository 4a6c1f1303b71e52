"""Scalar register file."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from ..multi_write_memory import multi_write_memory
from ..turns import TURNS, TurnCounter
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
    no instruction whose rd is x0. On an FPGA every `TURNS` ports are one of a memory (`Turns`), and
    values are there in the last turn.

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
        depth = self._threads << _NUMBER_BITS
        if platform is None:
            store: Any = memory.Memory(shape=64, depth=depth, init=[])
            m.submodules.registers = store
            for result in self.writes:
                self._write(m, store, result)
            for register, value in zip(self.registers, self.values, strict=True):
                self._show_writes(m, register, self._read(m, store, register), value)
            return m

        m.submodules.turns = turns = TurnCounter()
        store = multi_write_memory(
            m,
            "registers",
            shape=64,
            depth=depth,
            writes=-(-len(self.writes) // TURNS),
            platform=platform,
            domain="turn",
        )
        for first in range(0, len(self.writes), TURNS):
            results = list(self.writes[first : first + TURNS])
            # The first once more, rather than the last: no result comes only in the first turn.
            results = [results[0]] * (TURNS - len(results)) + results
            self._write(m, store, Array(results)[turns.number], domain="turn")
        for first in range(0, len(self.values), TURNS):
            value = Signal(64, name=f"value_{first}")
            register = Array(_for_turns(self.registers, first))[turns.number]
            stored = self._read(m, store, register)
            self._show_writes(m, register, stored, value)
            *earlier, last = self.values[first : first + TURNS]
            m.d.comb += last.eq(value)
            for turn, output in enumerate(earlier):
                kept = Signal(64, name=f"kept_{first + turn}", reset_less=True)
                with m.If(turns.number == turn):
                    m.d.turn += kept.eq(value if turn else stored)
                if turn:
                    m.d.comb += output.eq(kept)
                else:  # what a load writes is not there in the first turn
                    self._show_writes(m, self.registers[first], kept, output)
        return m

    def _write(self, m: Module, store: Any, result: Any, domain: str = "sync") -> None:
        """Write a result."""
        write = store.write_port(domain=domain)
        m.d.comb += [
            write.en.eq(result.valid),
            write.addr.eq(Cat(result.rd, result.thread)),
            write.data.eq(result.value),
        ]

    def _read(self, m: Module, store: Any, register: Any) -> Value:
        """Return what is stored for a register."""
        read = store.read_port(domain="comb")
        m.d.comb += read.addr.eq(Cat(register.number, register.thread))
        return read.data

    def _show_writes(self, m: Module, register: Any, stored: Value, value: Value) -> None:
        """Make the value of a register: the result of this cycle, or what is stored."""
        m.d.comb += value.eq(stored)
        for result in self.writes:
            same = (result.rd == register.number) & (result.thread == register.thread)
            with m.If(result.valid & same):
                m.d.comb += value.eq(result.value)


def _for_turns(ports: Any, first: int) -> list[Any]:
    """Return the ports of a memory's port in each turn; the last serves what is left of turns."""
    return [ports[min(first + turn, len(ports) - 1)] for turn in range(TURNS)]
