"""Frame encoder: packets to rows."""

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.frame import packet_row
from d1_golden.serdes.params import WORD_BITS, LinkParams

from .link_words import (
    control_word_layout,
    first_row_layout,
    plane_packet_layout,
    replayed_packet_layout,
    status_word_layout,
)

__all__ = ["FrameEncoder"]


class FrameEncoder(wiring.Component):
    """Makes the next row whenever one is asked for: of packets, of a frame's end, or of status.

    A frame begins when there is a packet, and ends when there is no other one where the next
    would begin. Combinational from packets and words to `o`.

    Golden twin: `d1_golden.serdes.link_layer`, `_make_row`.

    Parameters
    ----------
    params
        Lanes, and packets of a frame.

    Members
    -------
    i : In(stream.Signature(plane_packet_layout()))
        New packets.
    i_again : In(stream.Signature(replayed_packet_layout()))
        Packets that are sent again; those of one frame come without a pause.
    start : In(1)
        A frame may begin.
    go_on : In(1)
        A new packet may be added to a frame.
    again : In(1)
        Frames are made of `i_again`, not of `i`.
    abort : In(1)
        The frame that has begun is given up.
    status : In(status_word_layout())
        What a status row says.
    control : In(control_word_layout())
        What a control word says but for its packets' planes.
    pull : In(1)
        The row is taken. Until then it may become another one: it is made of what is there.
    o : Out(first_row_layout(params))
        The row, without CRC.
    idle : Out(1)
        No frame has begun.
    close : Out(1)
        The row that is taken ends a frame.
    told : Out(1)
        The row that is taken has a control word.
    """

    i: Any
    i_again: Any
    start: Signal
    go_on: Signal
    again: Signal
    abort: Signal
    status: Any
    control: Any
    pull: Signal
    o: Any
    idle: Signal
    close: Signal
    told: Signal

    def __init__(self, params: LinkParams):
        self._params = params
        super().__init__(
            {
                "i": In(stream.Signature(plane_packet_layout())),
                "i_again": In(stream.Signature(replayed_packet_layout())),
                "start": In(1),
                "go_on": In(1),
                "again": In(1),
                "abort": In(1),
                "status": In(status_word_layout()),
                "control": In(control_word_layout()),
                "pull": In(1),
                "o": Out(first_row_layout(params)),
                "idle": Out(1),
                "close": Out(1),
                "told": Out(1),
            }
        )
        self._row = Signal(range(params.frame_rows))
        self._held: Any = Signal(data.ArrayLayout(WORD_BITS, params.packet_words))
        self._held_last = Signal()  # it is the last of a frame that is sent again

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        slots = self._params.packet_slots
        row, out = self._row, self.o
        # A packet may begin in this row; the frame has room for it; it is there; it is taken.
        begins, fits, there, takes = (Signal(name=n) for n in ("begins", "fits", "there", "takes"))
        is_status = Signal()
        with m.Switch(row):
            for slot in range(slots + 1):
                with m.Case(packet_row(self._params, slot)):
                    m.d.comb += [begins.eq(1), fits.eq(slot != slots)]
        with m.If(row == 0):
            m.d.comb += there.eq(self.start & Mux(self.again, self.i_again.valid, self.i.valid))
        with m.Elif(self.again):
            m.d.comb += there.eq(~self._held_last)
        with m.Else():
            m.d.comb += there.eq(self.go_on & self.i.valid)
        m.d.comb += [
            self.idle.eq(row == 0),
            is_status.eq(self.abort | (self.idle & ~there)),
            takes.eq(begins & fits & there & ~self.abort & self.pull),
            self.i.ready.eq(takes & ~self.again),
            self.i_again.ready.eq(takes & self.again),
            self.close.eq(begins & ~(fits & there) & ~is_status & self.pull),
            self.told.eq((self.close | is_status) & self.pull),
            out.first.eq(is_status | self.idle),
        ]
        words, plane = self._packet(m)
        with m.If(takes):
            m.d.sync += [self._held.eq(words), self._held_last.eq(self.i_again.payload.last)]
        with m.If(self.abort | self.close):
            m.d.sync += row.eq(0)
        with m.Elif(self.pull & ~is_status):
            m.d.sync += row.eq(row + 1)
        replies = self._replies(m, takes, plane)
        self._fill(m, words, there)
        control: Any = Signal(control_word_layout())
        m.d.comb += [control.eq(self.control), control.replies.eq(Mux(self.close, replies, 0))]
        with m.If(is_status | self.close):
            m.d.comb += [out.row.controls[-1].eq(1), out.row.words[-1].eq(control)]
        with m.If(is_status):
            m.d.comb += [
                out.row.controls.eq(~0),
                out.row.words[0].eq(self.status),
                *(word.eq(0) for word in list(out.row.words)[1:-1]),
            ]
        return m

    def _packet(self, m: Module) -> tuple[Any, Signal]:
        """Return the packet that begins, as words, and its plane."""
        words = Signal(self._held.shape())
        plane = Signal()
        m.d.comb += [words.eq(self.i.payload.packet), plane.eq(self.i.payload.plane)]
        with m.If(self.again):
            m.d.comb += words.eq(self.i_again.payload.packet)
            m.d.comb += plane.eq(self.i_again.payload.plane)
        return words, plane

    def _replies(self, m: Module, takes: Value, plane: Value) -> Signal:
        """Collect the planes of a frame's packets."""
        replies = Signal(self.control.shape()["replies"].shape)
        with m.Switch(self._row):
            for slot in range(self._params.packet_slots):
                with m.Case(packet_row(self._params, slot)), m.If(takes):
                    m.d.sync += replies[slot].eq(plane)
                    if slot == 0:
                        m.d.sync += replies[1:].eq(0)
        return replies

    def _fill(self, m: Module, words: Any, there: Value) -> None:
        """Put the words of the packet that is held and of the one that begins into the row."""
        with m.Switch(self._row):
            for row in range(self._params.frame_rows):
                with m.Case(row):
                    for lane, slot, part in self._places(row):
                        word = self.o.row.words[lane]
                        if packet_row(self._params, slot) < row:
                            m.d.comb += word.eq(self._held[part])
                        elif slot < self._params.packet_slots:
                            m.d.comb += word.eq(Mux(there, words[part], 0))

    def _places(self, row: int) -> Iterator[tuple[int, int, int]]:
        """Yield lane, packet and word of the packet of each word of a row."""
        for lane in range(self._params.lanes):
            yield lane, *divmod(row * self._params.lanes + lane, self._params.packet_words)
