"""What comes in each of the next cycles."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, ShapeLike, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ResultSchedule", "scheduled_layout"]


def scheduled_layout(note: ShapeLike) -> data.StructLayout:
    """Return the layout of a result that is to come: whether there is one, and a note about it."""
    return data.StructLayout({"used": 1, "note": note})


class ResultSchedule(wiring.Component):
    """Keep notes of results on their way to one port, and see that no two come in one cycle.

    A result that is entered in cycle t with `after` = n is on `due` in cycle t + n, and only then.
    It may enter if `free[n]`. One result enters in a cycle.

    Golden twin: none; it keeps order, and the golden node has no other.

    Parameters
    ----------
    longest
        The most cycles until a result, at least 1.
    note
        Shape of what is kept about a result.

    Members
    -------
    enter : In(scheduled_layout(note))
        A result that enters.
    after : In(range(longest + 1))
        Cycles until the result that enters, at least 1.
    free : Out(longest + 1)
        Bit n: no result that entered before comes in n cycles.
    due : Out(scheduled_layout(note))
        The result that comes in this cycle.
    any : Out(1)
        A result is on its way, or due.

    Raises
    ------
    ValueError
        If `longest` is less than 1.

    """

    enter: Any
    after: Signal
    free: Signal
    due: Any
    any: Signal

    def __init__(self, *, longest: int, note: ShapeLike):
        if longest < 1:
            raise ValueError(f"longest must be at least 1, not {longest!r}")
        self._longest, self._note = longest, note
        self._layout = scheduled_layout(note)
        super().__init__(
            {
                "enter": In(self._layout),
                "after": In(range(longest + 1)),
                "free": Out(longest + 1),
                "due": Out(self._layout),
                "any": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        # Bit n: a result comes n cycles from now. Its note is at the number of that cycle.
        coming = Signal(self._longest + 1)
        places = (self._longest).bit_length()
        notes: Any = memory.Memory(shape=self._note, depth=1 << places, init=[])
        m.submodules.notes = notes
        write, read = notes.write_port(), notes.read_port(domain="comb")
        now = Signal(places)
        entering = Mux(self.enter.used, Const(1, self._longest + 1) << self.after, 0)
        m.d.sync += [now.eq(now + 1), coming.eq((coming | entering) >> 1)]
        m.d.comb += [
            self.free.eq(~coming),
            write.en.eq(self.enter.used),
            write.addr.eq(now + self.after),
            write.data.eq(self.enter.note),
            read.addr.eq(now),
            self.due.used.eq(coming[0]),
            self.due.note.eq(read.data),
            self.any.eq(coming.any()),
        ]
        return m
