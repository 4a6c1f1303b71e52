"""The vector operations of a thread that have not started."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .vector_operation import prepared_operation_layout

__all__ = ["VectorQueue"]

_DEPTH = 8
#: Places that are kept free for an operation that is on its way when `room` falls.
_SPARE = 2


class VectorQueue(wiring.Component):
    """Keep up to 8 vector operations of a thread in order; golden twin: none, it keeps order.

    An operation that is pushed in cycle t is on `o` from cycle t + 1 on, if none is before it.

    Parameters
    ----------
    params
        Shape of the operations.

    Members
    -------
    i : In(stream.Signature(prepared_operation_layout(params), always_ready=True))
        Only in cycles with `room`, or in one after such a cycle.
    room : Out(1)
        At least 2 places are free.
    o : Out(stream.Signature(prepared_operation_layout(params)))
    loads, stores : Out(1)
        An operation that reads, or writes, memory is in the queue.
    """

    i: Any
    room: Signal
    o: Any
    loads: Signal
    stores: Signal

    def __init__(self, params: NodeParams):
        self._layout = prepared_operation_layout(params)
        super().__init__(
            {
                "i": In(stream.Signature(self._layout, always_ready=True)),
                "room": Out(1),
                "o": Out(stream.Signature(self._layout)),
                "loads": Out(1),
                "stores": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        entries: Any = memory.Memory(shape=self._layout, depth=_DEPTH, init=[])
        m.submodules.entries = entries
        write, read = entries.write_port(), entries.read_port(domain="comb")
        level = Signal(range(_DEPTH + 1))
        push, pop = self.i.valid, Signal()
        m.d.comb += [
            write.en.eq(push),
            write.data.eq(self.i.payload),
            self.o.payload.eq(read.data),
            self.o.valid.eq(level.any()),
            self.room.eq(level <= _DEPTH - _SPARE),
            pop.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += [
            write.addr.eq(write.addr + push),
            read.addr.eq(read.addr + pop),
            level.eq(level + push - pop),
        ]
        for name in ("loads", "stores"):
            count = Signal.like(level, name=f"{name}_inside")
            pushed = push & self.i.payload[name]
            popped = pop & self.o.payload[name]
            m.d.sync += count.eq(count + pushed - popped)
            m.d.comb += getattr(self, name).eq(Cat(count).any())
        return m
