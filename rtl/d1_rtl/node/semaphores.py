"""The semaphores of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import SEMAPHORE_BITS
from d1_golden.params import NodeParams

from .interfaces import SemaphoreEvent, SemaphoreLinesSignature

__all__ = ["POSTERS", "Semaphores"]

#: Who may post in one cycle: the core, the packet door, the transfer engine.
POSTERS = 3


class Semaphores(wiring.Component):
    """Counts that threads wait for.

    All that happens in a cycle is counted in the next: first a write replaces the count or a take
    subtracts one, then every post adds one; the greatest count stays. A take of a count of 0 takes
    nothing; a take that meets a write is lost.

    Golden twin: `d1_golden.node.communication.spost` and `swait`.

    Parameters
    ----------
    params
        Number of semaphores.

    Members
    -------
    take : In(SemaphoreEvent)
        A thread goes on: only while `nonzero`.
    posts : In(SemaphoreEvent).array(POSTERS)
    nonzero : Out(semaphores)
    lines : In(SemaphoreLinesSignature(params))
        The counts, for the control block.
    """

    take: Any
    posts: Sequence[Any]
    nonzero: Signal
    lines: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "take": In(SemaphoreEvent),
                "posts": In(SemaphoreEvent).array(POSTERS),
                "nonzero": Out(params.semaphores),
                "lines": In(SemaphoreLinesSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        greatest = (1 << SEMAPHORE_BITS) - 1
        for index in range(self._params.semaphores):
            count = self.lines.values[index]
            taken = self.take.valid & (self.take.number == index) & (count != 0)
            posted = Cat(post.valid & (post.number == index) for post in self.posts)
            posts = sum((bit for bit in posted), start=Const(0))
            total = Signal(SEMAPHORE_BITS + 1, name=f"total_{index}")
            kept = Mux(self.lines.write[index], self.lines.data[index], count - taken)
            m.d.comb += [
                total.eq(kept[:SEMAPHORE_BITS] + posts),
                self.nonzero[index].eq(count != 0),
            ]
            with m.If(self.lines.write[index] | taken | posted.any()):
                m.d.sync += count.eq(Mux(total[-1], greatest, total))
        return m
