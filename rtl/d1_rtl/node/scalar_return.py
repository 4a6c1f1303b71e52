"""Scalars that leave the vector unit."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .elastic_buffer import ElasticBuffer
from .interfaces import THREAD_BITS

__all__ = ["ScalarDestination", "ScalarReturn", "vector_scalar_layout"]

#: Scalars that may be on their way at once: as many as it takes for one a cycle.
_DEPTH = 6


class ScalarDestination(data.Struct):
    """The scalar register that a result is for, or none."""

    valid: 1
    thread: THREAD_BITS
    rd: 5


def vector_scalar_layout() -> data.StructLayout:
    """Return the layout of a scalar result of a vector operation."""
    return data.StructLayout({"value": 64, "rd": 5, "thread": THREAD_BITS})


class ScalarReturn(wiring.Component):
    """Put scalar results and their destinations together; golden twin: none, it keeps order.

    A destination enters when its operation starts; the value comes over `i` a fixed number of
    cycles later and cannot be held off. The result is on `o` in the cycle after, and waits there.
    Destinations enter only while `room` is high, so there is a place for every value.

    Parameters
    ----------
    params
        Number of threads.

    Members
    -------
    enter : In(ScalarDestination)
    room : Out(1)
    i : In(stream.Signature(64, always_ready=True))
        Values, in the order of the destinations.
    o : Out(stream.Signature(vector_scalar_layout()))
    busy : Out(threads)
        A result of the thread is on its way or on `o`.
    """

    enter: Any
    room: Signal
    i: Any
    o: Any
    busy: Signal

    def __init__(self, params: NodeParams):
        self._threads = params.threads
        super().__init__(
            {
                "enter": In(ScalarDestination),
                "room": Out(1),
                "i": In(stream.Signature(64, always_ready=True)),
                "o": Out(stream.Signature(vector_scalar_layout())),
                "busy": Out(params.threads),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.destinations = destinations = ElasticBuffer(ScalarDestination, depth=_DEPTH)
        m.submodules.values = values = ElasticBuffer(64, depth=_DEPTH)
        m.d.comb += [
            self.room.eq(destinations.level < _DEPTH),
            destinations.i.valid.eq(self.enter.valid),
            destinations.i.payload.eq(self.enter),
            values.i.valid.eq(self.i.valid),
            values.i.payload.eq(self.i.payload),
            self.o.valid.eq(values.o.valid),
            self.o.payload.value.eq(values.o.payload),
            self.o.payload.thread.eq(destinations.o.payload.thread),
            self.o.payload.rd.eq(destinations.o.payload.rd),
            values.o.ready.eq(self.o.ready),
            destinations.o.ready.eq(self.o.valid & self.o.ready),
        ]
        for thread in range(self._threads):
            pending = Signal(range(_DEPTH + 1), name=f"pending_{thread}")
            enters = self.enter.valid & (self.enter.thread == thread)
            leaves = self.o.valid & self.o.ready & (self.o.payload.thread == thread)
            m.d.sync += pending.eq(pending + enters - leaves)
            m.d.comb += self.busy[thread].eq(Cat(pending).any())
        return m
