"""The semaphores of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
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

    All that happens in a cycle is counted in the next: a take subtracts one, every post adds one,
    the greatest count stays. A write replaces the count and comes after all else of its cycle,
    because a packet posts one cycle after it writes. A take of a count of 0 takes nothing.

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
            total = Signal(SEMAPHORE_BITS + 1, name=f"total_{index}")
            added = sum((bit for bit in posted), start=Const(0))
            if platform is None:
                change = count - taken + added
            else:  # one carry chain, not two
                delta = Signal(signed(3), name=f"delta_{index}")
                m.d.comb += delta.eq(added - taken)
                change = count + delta
            m.d.comb += [
                total.eq(change),
                self.nonzero[index].eq(count != 0),
            ]
            with m.If(self.lines.write[index]):
                m.d.sync += count.eq(self.lines.data[index])
            with m.Elif(taken | posted.any()):
                m.d.sync += count.eq(Mux(total[-1], greatest, total))
        return m
