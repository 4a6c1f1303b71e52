"""Elastic buffer: a short queue between two registers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..turns import TURNS, TurnCounter, collected, word_of_turn

__all__ = ["ElasticBuffer"]


class ElasticBuffer(wiring.Component):
    """A queue whose every output, `i.ready` included, comes straight from a register.

    Latency 1 cycle; one transfer per cycle at either end, sustained, whatever the other end does.
    On an FPGA the entries are in a small memory, and `o.payload` comes from there; one with a
    `line` takes turns (`Turns`). One with a shortcut has latency 0 while it is empty; then only
    `i.ready` and `level` come straight from registers.

    Golden twin: none; the order and contents of a stream do not change.

    Parameters
    ----------
    shape
        Shape of the payload.
    depth
        Entries, at least 2: with one the throughput would be halved.
    shortcut
        What comes into the empty queue is at `o` in the same cycle.
    line
        The last field of the payload, if it is a line. On an FPGA it is shifted through: in each
        turn its words of that turn are at the upper end, and in the last turn all are in their
        places.
    steady
        What comes in has all of the line in its place in all turns, and is not shifted.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    level : Out(range(depth + 1))
        Entries in use.

    Raises
    ------
    ValueError
        If `depth` is less than 2, or `line` is not the last field.

    """

    i: stream.Interface
    o: stream.Interface
    level: Signal

    def __init__(
        self,
        shape: Any,
        *,
        depth: int = 2,
        shortcut: bool = False,
        line: str | None = None,
        steady: bool = False,
    ):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        if line is not None and line != list(shape.members)[-1]:
            raise ValueError(
                f"line must be the last field, {list(shape.members)[-1]}, not {line!r}"
            )
        self._line_bits = 0 if line is None else Shape.cast(shape.members[line]).width
        self._steady = steady
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
            return m
        first, free = self._go_round(m, take, give)
        if self._line_bits:
            self._shift_line(m, i_ready, first, free, o_valid)
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

    def _go_round(self, m: Module, take: Signal, give: Signal) -> tuple[Signal, Signal]:
        """Keep the entries, but for a line, in a small memory, of which an FPGA has many.

        Return the places of the oldest entry and of the next one.
        """
        first, free = (Signal(range(self._depth), name=name) for name in ("first", "free"))
        for place, moves in ((first, give), (free, take)):
            with m.If(moves):
                m.d.sync += place.eq(Mux(place == self._depth - 1, 0, place + 1))
        entry, oldest = Value.cast(self.i.payload), Value.cast(self.entries[0])
        bits = len(entry) - self._line_bits
        m.d.comb += oldest[:bits].eq(
            self._row(m, "rows", Cat(first), Cat(free), entry[:bits], take)
        )
        return first, free

    def _shift_line(
        self, m: Module, room: Signal, first: Signal, free: Signal, o_valid: Signal
    ) -> None:
        """Keep the words of a turn in a row of their own of a small memory.

        The free place is written whether or not something comes: that may be known in the last turn
        only.
        """
        m.submodules.turns = turns = TurnCounter()
        payload, output = Value.cast(self.i.payload), Value.cast(self.o.payload)
        line, width = payload[-self._line_bits :], self._line_bits // TURNS
        words: Value = word_of_turn(line, turns.number, width) if self._steady else line[-width:]
        oldest, next_one = (Cat(turns.number, place) for place in (first, free))
        kept = self._row(m, "lines", oldest, next_one, words, room, domain="turn")
        if self._shortcut:
            kept = Mux(o_valid, kept, words)
        m.d.comb += output[-self._line_bits :].eq(collected(m, kept, "line"))

    def _row(
        self,
        m: Module,
        name: str,
        first: Value,
        free: Value,
        written: Value,
        writes: Signal,
        domain: str = "sync",
    ) -> Value:
        """Add a memory of rows; return the first."""
        rows: Any = memory.Memory(shape=len(written), depth=1 << len(first), init=[])
        m.submodules[name] = rows
        read, write = rows.read_port(domain="comb"), rows.write_port(domain=domain)
        m.d.comb += [
            read.addr.eq(first),
            write.en.eq(writes),
            write.addr.eq(free),
            write.data.eq(written),
        ]
        return read.data
