"""Choice of the threads whose instructions are decoded."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .interfaces import THREAD_BITS

__all__ = ["GROUPS", "ChosenThread", "ThreadChooser"]

#: Threads that are decoded in a cycle; the instructions of each form one issue group.
GROUPS = 2


class ChosenThread(data.Struct):
    """A thread that was chosen, or none."""

    valid: 1
    thread: THREAD_BITS


class ThreadChooser(wiring.Component):
    """Choose two threads a cycle, in turn; golden twin: none, threads do not order each other.

    The first choice moves on by one thread every cycle. Threads in `tired`, which could issue
    nothing in the cycle before, come after the others; as a thread that is not chosen is not tired
    in the next cycle, none waits for more than `2 * threads` cycles. Combinational but for the
    turn.

    Parameters
    ----------
    params
        Number of threads.

    Members
    -------
    eligible, tired : In(threads)
    chosen : Out(ChosenThread).array(2)
        Different threads; the second is valid only if the first is.
    """

    eligible: Signal
    tired: Signal
    chosen: Any

    def __init__(self, params: NodeParams):
        self._threads = params.threads
        super().__init__(
            {
                "eligible": In(params.threads),
                "tired": In(params.threads),
                "chosen": Out(ChosenThread).array(GROUPS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        turn = Signal(range(self._threads))
        if self._threads > 1:
            with m.If(self.eligible.any()):
                m.d.sync += turn.eq(Mux(turn == self._threads - 1, 0, turn + 1))
        left: Value = self.eligible
        for group, chosen in enumerate(self.chosen):
            fresh = Signal(self._threads, name=f"fresh_{group}")
            wanted = Signal(self._threads, name=f"wanted_{group}")
            taken = Signal(self._threads, name=f"taken_{group}")
            m.d.comb += [
                fresh.eq(left & ~self.tired),
                wanted.eq(Mux(fresh.any(), fresh, left)),
                chosen.valid.eq(wanted.any()),
                taken.eq(Mux(chosen.valid, 1 << chosen.thread, 0)),
            ]
            with m.Switch(turn):
                for first in range(self._threads):
                    with m.Case(first):
                        # The last assignment holds, so the first in turn comes last.
                        for step in reversed(range(self._threads)):
                            thread = (first + step) % self._threads
                            with m.If(wanted[thread]):
                                m.d.comb += chosen.thread.eq(thread)
            left = left & ~taken
        return m
