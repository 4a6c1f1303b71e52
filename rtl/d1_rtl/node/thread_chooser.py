"""Choice of the threads whose instructions are decoded."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .fetch_rows import previewed_threads
from .head_preview import Head
from .interfaces import THREAD_BITS

__all__ = ["ChosenThread", "ThreadChooser"]


class ChosenThread(data.Struct):
    """A thread that was chosen, or none."""

    valid: 1
    thread: THREAD_BITS


class ThreadChooser(wiring.Component):
    """Choose one or two threads a cycle, in turn; golden twin: none, threads have no order.

    The turn passes to the thread behind the first choice, unless `keep` says that this one waits
    for what others have taken: it is first again until it gets that, in whatever rhythm it becomes
    free. Threads in `waits`, which have a reason of their own to issue nothing, come after the
    others; one whose reasons are gone is first after at most `threads` turns of others. So nobody
    starves.

    The second choice is a thread that does not begin as the first one does, if there is one: two
    loads, or two stores, do not go in one cycle, and branches leave slots that are not used. Nor
    does it begin with a store while `store_free` is low. Combinational but for the turn.

    Parameters
    ----------
    params
        Number of threads, and of those that are chosen.

    Members
    -------
    eligible, waits : In(threads)
    heads : In(Head).array(threads)
        What the next instruction of each thread takes; none if one thread is chosen.
    store_free : In(1)
        The address slot for scalar stores is free.
    keep : In(1)
        The first choice keeps its turn. May depend on `chosen`.
    chosen : Out(ChosenThread).array(issue_groups)
        Different threads; the second is valid only if the first is.
    """

    eligible: Signal
    waits: Signal
    heads: Any
    store_free: Signal
    keep: Signal
    chosen: Any

    def __init__(self, params: NodeParams):
        self._threads = params.threads
        super().__init__(
            {
                "eligible": In(params.threads),
                "waits": In(params.threads),
                "heads": In(Head).array(previewed_threads(params)),
                "store_free": In(1),
                "keep": In(1),
                "chosen": Out(ChosenThread).array(params.issue_groups),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        turn = Signal(range(self._threads))
        if self._threads > 1:
            first = self.chosen[0]
            with m.If(first.valid & self.keep):
                m.d.sync += turn.eq(first.thread)
            with m.Elif(first.valid):
                after = Mux(first.thread == self._threads - 1, 0, first.thread + 1)
                m.d.sync += turn.eq(after)
        left: Value = self.eligible
        apart: Value = left
        for group, chosen in enumerate(self.chosen):
            fresh, best, wanted, taken = (
                Signal(self._threads, name=f"{name}_{group}")
                for name in ("fresh", "best", "wanted", "taken")
            )
            m.d.comb += [
                fresh.eq(left & ~self.waits),
                best.eq(fresh & apart),
                wanted.eq(Mux(best.any(), best, Mux(fresh.any(), fresh, left))),
                chosen.valid.eq(wanted.any()),
                taken.eq(Mux(chosen.valid, 1 << chosen.thread, 0)),
            ]
            with m.Switch(turn):
                for start in range(self._threads):
                    with m.Case(start):
                        # The last assignment holds, so the first in turn comes last.
                        for step in reversed(range(self._threads)):
                            thread = (start + step) % self._threads
                            with m.If(wanted[thread]):
                                m.d.comb += chosen.thread.eq(thread)
            left = left & ~taken
            if self.heads:
                head: Any = Signal(Head, name=f"first_{group}")
                m.d.comb += head.eq(Array(self.heads)[chosen.thread])
                apart = self._unlike(head)
        return m

    def _unlike(self, first: Any) -> Value:
        """Return the threads that can issue something beside one that begins with `first`."""
        return Cat(
            (head == Head.PLAIN) | ((head != first) & ((head != Head.STORE) | self.store_free))
            for head in self.heads
        )
