"""The barrier of a node's threads."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

__all__ = ["Barrier", "arrival_layout"]


def arrival_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a thread's arrival at a barrier: `mask` is the set it waits for.

    Bit n of `mask` is thread n; 0 stands for all threads of the node.
    """
    return data.StructLayout({"valid": 1, "mask": params.threads})


class Barrier(wiring.Component):
    """Let threads go on when all of their set wait; golden twin: `barrier` of the golden node.

    A thread arrives by holding `arrive` valid. When every thread of its set waits for the same
    set, all of them are released in the same cycle, combinationally. A thread always belongs to its
    own set, and threads that the node does not have belong to none.

    Parameters
    ----------
    params
        Number of threads.

    Members
    -------
    arrive : In(arrival_layout(params)).array(threads)
    release : Out(threads)
    """

    arrive: Any
    release: Signal

    def __init__(self, params: NodeParams):
        self._threads = params.threads
        super().__init__(
            {
                "arrive": In(arrival_layout(params)).array(params.threads),
                "release": Out(params.threads),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        everyone = (1 << self._threads) - 1
        masks = [Signal(self._threads, name=f"mask_{n}") for n in range(self._threads)]
        for thread, (mask, arrival) in enumerate(zip(masks, self.arrive, strict=True)):
            m.d.comb += mask.eq(Mux(arrival.mask == 0, everyone, arrival.mask | 1 << thread))
        for thread, mask in enumerate(masks):
            together = Cat(
                arrival.valid & (other == mask)
                for arrival, other in zip(self.arrive, masks, strict=True)
            )
            m.d.comb += self.release[thread].eq(self.arrive[thread].valid & (mask & ~together == 0))
        return m
