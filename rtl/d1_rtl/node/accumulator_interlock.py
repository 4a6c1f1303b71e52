"""Which accumulators are in flight."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .interfaces import THREAD_BITS
from .matrix_unit import MatrixUnit

__all__ = ["AccumulatorInterlock", "accumulator_query_layout"]


def accumulator_query_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of an accumulator of a thread that an operation uses, or does not."""
    return data.StructLayout(
        {"used": 1, "acc": (params.accumulators - 1).bit_length(), "thread": THREAD_BITS}
    )


class AccumulatorInterlock(wiring.Component):
    """Tell which accumulators cannot be read yet; golden twin: none, it keeps order.

    The result of an operation that enters in cycle t can be read by one that enters in cycle
    t + `MatrixUnit.STEP_LATENCY` or later; in the cycles between, `free` is low for a query with
    the same accumulator. Combinational from `queries` to `free`.

    Parameters
    ----------
    params
        Threads and accumulators.

    Members
    -------
    enter : In(accumulator_query_layout(params))
        The accumulator that an operation which starts in this cycle will write.
    queries : In(accumulator_query_layout(params)).array(threads)
        Accumulators to be read.
    free : Out(threads)
        For each query: nothing in flight will write the accumulator.
    """

    enter: Any
    queries: Any
    free: Signal

    def __init__(self, params: NodeParams):
        self._threads = params.threads
        self._layout = accumulator_query_layout(params)
        super().__init__(
            {
                "enter": In(self._layout),
                "queries": In(self._layout).array(params.threads),
                "free": Out(params.threads),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        flight: list[Any] = [
            Signal(self._layout, name=f"entered_{n}_before")
            for n in range(1, MatrixUnit.STEP_LATENCY)
        ]
        for earlier, later in zip(flight, [self.enter, *flight], strict=False):
            m.d.sync += earlier.eq(later)
        for thread, query in enumerate(self.queries):
            meets = Cat(
                other.used & (other.thread == query.thread) & (other.acc == query.acc)
                for other in flight
            )
            m.d.comb += self.free[thread].eq(~(query.used & meets.any()))
        return m
