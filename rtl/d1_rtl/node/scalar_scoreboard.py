"""Which scalar registers wait for a result."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .interfaces import THREAD_BITS, ScalarResult

__all__ = ["RegisterMark", "ScalarScoreboard"]

_REGISTERS = 32


class RegisterMark(data.Struct):
    """A scalar register whose result comes later than that of an ALU."""

    valid: 1
    thread: THREAD_BITS
    rd: 5


class ScalarScoreboard(wiring.Component):
    """Remember the scalar registers that an instruction under way has still to write.

    A mark is there from the cycle after `marks` on and goes with the result: `waiting` shows,
    combinationally, the marked registers whose result does not come in this cycle. A register is
    marked by one instruction at a time.

    Golden twin: none; it keeps order, and the golden node has no other.

    Parameters
    ----------
    params
        Number of threads.
    marks, results
        Number of ports.

    Members
    -------
    marks : In(RegisterMark).array(marks)
    results : In(ScalarResult).array(results)
    waiting : Out(32).array(threads)
    any : Out(threads)
        The thread has a marked register.
    """

    marks: Any
    results: Any
    waiting: Any
    any: Signal

    def __init__(self, params: NodeParams, *, marks: int, results: int):
        self._threads = params.threads
        super().__init__(
            {
                "marks": In(RegisterMark).array(marks),
                "results": In(ScalarResult).array(results),
                "waiting": Out(_REGISTERS).array(params.threads),
                "any": Out(params.threads),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        for thread in range(self._threads):
            marked = Signal(_REGISTERS, name=f"marked_{thread}")
            left: Value = marked
            for result in self.results:
                left = left & ~_bit(result, thread)
            m.d.comb += [self.waiting[thread].eq(left), self.any[thread].eq(marked.any())]
            added: Value = self.waiting[thread]
            for mark in self.marks:
                added = added | _bit(mark, thread)
            m.d.sync += marked.eq(added)
        return m


def _bit(item: Any, thread: int) -> Value:
    """Return the register of a mark or result of a thread as a bit of its registers."""
    return Mux(item.valid & (item.thread == thread), 1 << item.rd, 0)[:_REGISTERS]
