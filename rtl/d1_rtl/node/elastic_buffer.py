"""Elastic buffer: a short queue between two registers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import Module, Mux, ShapeCastable, ShapeLike, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ElasticBuffer"]


class ElasticBuffer(wiring.Component):
    """A queue whose every output, `i.ready` included, comes straight from a register.

    Latency 1 cycle; one transfer per cycle at either end, sustained, whatever the other end does.
    On an FPGA the entries are in a small memory, and `o.payload` comes from there.
    One with a shortcut has latency 0 while it is empty; then only `i.ready` and `level` come
    straight from registers.

    Golden twin: none; the order and contents of a stream do not change.

    Parameters
    ----------
    shape
        Shape of the payload.
    depth
        Entries, at least 2: with one the throughput would be halved.
    shortcut
        What comes into the empty queue is at `o` in the same cycle.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    level : Out(range(depth + 1))
        Entries in use.

    Raises
    ------
    ValueError
        If `depth` is less than 2.

    """

    i: stream.Interface
    o: stream.Interface
    level: Signal

    def __init__(self, shape: ShapeLike | ShapeCastable, *, depth: int = 2, shortcut: bool = False):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        self._depth = depth
        self._shortcut = shortcut
        #: The oldest first, which is the output. For proofs; nobody else looks at them.
        self.entries = [Signal(shape, name=f"entry_{n}") for n in range(depth)]
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        entries = self.entries
        i_ready = Signal(init=1)
        o_valid = Signal()
        m.d.comb += [
            self.i.ready.eq(i_ready),
            self.o.valid.eq(o_valid),
            self.o.payload.eq(entries[0]),
        ]
        passes = Signal()
        if self._shortcut:
            with m.If(~o_valid):
                m.d.comb += [
                    self.o.valid.eq(self.i.valid & i_ready),
                    self.o.payload.eq(self.i.payload),
                    passes.eq(self.o.ready),
                ]
        take = Signal()
        give = Signal()
        kept = Signal.like(self.level)  # entries that stay
        level = Signal.like(self.level)  # in the next cycle
        m.d.comb += [
            take.eq(self.i.valid & i_ready & ~passes),
            give.eq(self.o.ready & o_valid),
            kept.eq(self.level - give),
            level.eq(kept + take),
        ]
        m.d.sync += [self.level.eq(level), o_valid.eq(level != 0), i_ready.eq(level != self._depth)]
        if platform is None:
            self._move_up(m, take, give, kept)
        else:
            self._go_round(m, take, give)
        return m

    def _move_up(self, m: Module, take: Signal, give: Signal, kept: Signal) -> None:
        """Keep the entries in registers, the oldest in the first."""
        with m.If(give):
            for index, (entry, behind) in enumerate(pairwise(self.entries)):
                with m.If(kept > index):
                    m.d.sync += entry.eq(behind)
        with m.If(take), m.Switch(kept):
            for index, entry in enumerate(self.entries):
                with m.Case(index):
                    m.d.sync += entry.eq(self.i.payload)

    def _go_round(self, m: Module, take: Signal, give: Signal) -> None:
        """Keep the entries in a small memory, of which an FPGA has many."""
        rows: Any = memory.Memory(shape=self.i.payload.shape(), depth=self._depth, init=[])
        m.submodules.rows = rows
        first, free = (Signal(range(self._depth), name=name) for name in ("first", "free"))
        for place, moves in ((first, give), (free, take)):
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == self._depth - 1, 0, place + 1))
        read, write = rows.read_port(domain="comb"), rows.write_port()
        m.d.comb += [
            read.addr.eq(first),
            self.entries[0].eq(read.data),
            write.en.eq(take),
            write.addr.eq(free),
            write.data.eq(self.i.payload),
        ]
