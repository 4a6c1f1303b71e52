"""How words that were read become rows again."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import WORD_BITS, LinkParams

from .blocks import Marker, RowMode, StoredWord, SyncHeader, received_row_layout, required_lanes

__all__ = ["RowCollector"]


class RowCollector(wiring.Component):
    """Gives on rows of data, puts those together that came in two, and keeps marker rows.

    A row is a marker row if any of the lanes that carry data has its marker, so one good lane is
    enough. Combinational; a row that comes in two is given on with its second half.

    Golden twin: the fields `first_*` and `row_*` of `d1_golden.serdes.receiver.ReceiveState`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    words : In(array of StoredWord)
        One row of the lanes.
    valid : In(1)
        There is one.
    odd : In(1)
        Its number is odd.
    mode : In(RowMode)
    up : In(1)
        The bond is up.
    changes : Out(1)
        It is a marker row that says another mode.
    o : Out(stream of received_row_layout(params), always ready)
    """

    words: Any
    valid: Signal
    odd: Signal
    mode: Any
    up: Signal
    changes: Signal
    o: stream.Interface

    def __init__(self, params: LinkParams):
        self._params = params
        super().__init__(
            {
                "words": In(data.ArrayLayout(StoredWord, params.lanes)),
                "valid": In(1),
                "odd": In(1),
                "mode": In(RowMode),
                "up": In(1),
                "changes": Out(1),
                "o": Out(stream.Signature(received_row_layout(params), always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        lanes, half = self._params.lanes, self._params.lanes // 2
        stored = [self.words[n] for n in range(lanes)]
        full, high = self.mode == RowMode.FULL, self.mode == RowMode.HIGH
        markers, others = Signal(lanes), Signal(lanes)
        for n, word in enumerate(stored):
            mark: Any = data.View(Marker, word.block.word[: WORD_BITS // 2])
            m.d.comb += others[n].eq(mark.mode != self.mode)
        required = required_lanes(self.mode, lanes)
        row, marked, has_first = Signal(), Signal(), Signal()
        m.d.comb += [
            markers.eq(Cat(word.marker for word in stored) & required),
            marked.eq(markers.any()),
            row.eq(self.valid & self.up & ~marked),
            self.changes.eq(self.valid & self.up & (markers & others).any()),
            self.o.valid.eq(row & (full | (self.odd & has_first))),
        ]
        with m.If(self.valid):
            m.d.sync += has_first.eq(row & ~full & ~self.odd)
        with m.If(~self.up):
            m.d.sync += has_first.eq(0)
        first = [Signal(StoredWord, name=f"first_{n}") for n in range(half)]
        for n in range(half):
            half_word = Signal(StoredWord, name=f"half_{n}")
            m.d.comb += half_word.eq(Mux(high, stored[half + n], stored[n]))
            with m.If(row & ~self.odd):
                m.d.sync += first[n].eq(half_word)
            self._put(m, n, Mux(full, stored[n], first[n]))
            self._put(m, half + n, Mux(full, stored[half + n], half_word))
        return m

    def _put(self, m: Module, n: int, word: Any) -> None:
        """Make a word the one with number n of the row."""
        o: Any = self.o.payload
        stored: Any = Signal(StoredWord, name=f"row_{n}")
        header = stored.block.header
        m.d.comb += [
            stored.eq(word),
            o.row.words[n].eq(stored.block.word),
            o.row.controls[n].eq(header == SyncHeader.CONTROL),
            o.errors[n].eq(header[0] == header[1]),
        ]
