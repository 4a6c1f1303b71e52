"""What one lane is and which row its words belong to, told by its markers."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import WORD_BITS, LinkParams
from d1_golden.serdes.receiver import MARKER_LOSS

from .blocks import ROW_BITS, Marker, StoredWord, SyncHeader, aligned_lane_layout, is_marker
from .receive_gearbox import received_blocks

__all__ = ["LaneAligner"]


class LaneAligner(wiring.Component):
    """Numbers the words of a lane by its markers, and turns them over if its wires are crossed.

    A marker of this lane gives the number of its own row; words after it count on from there. What
    comes in is to be stored in the same cycle; what markers say is in `lane` in the cycle after.
    A lane that has not got a marker of its own for four intervals does not arrive any more.

    Crossed wires invert every bit, sync headers included, and descrambling keeps that: the marker
    of an inverted lane is a data word, the complement of a marker. A data word that looks like
    that by chance turns a lane over only before it has had a marker, and the next marker turns it
    back.

    Golden twin: the fields of `lane` in `d1_golden.serdes.receiver.ReceiveState`.

    Parameters
    ----------
    params
        The link.
    index
        Which lane this is.

    Members
    -------
    i : In(stream of Block, always ready)
        Descrambled blocks.
    locked : In(1)
        Block lock of the wire they came from.
    forget : In(1)
        From now on they come from another one.
    store : Out(1)
        There is a word to be stored.
    row : Out(8)
        Number of its row.
    stored : Out(StoredWord)
    inverted : Out(1)
        The wires are crossed.
    lane : Out(aligned_lane_layout(params))

    Raises
    ------
    ValueError
        If there is no such lane.
    """

    i: stream.Interface
    locked: Signal
    forget: Signal
    store: Signal
    row: Signal
    stored: Any
    inverted: Signal
    lane: Any

    def __init__(self, params: LinkParams, *, index: int):
        if not 0 <= index < params.lanes:
            raise ValueError(f"index must be in 0..{params.lanes - 1}, not {index!r}")
        self._params, self._index = params, index
        super().__init__(
            {
                "i": In(received_blocks()),
                "locked": In(1),
                "forget": In(1),
                "store": Out(1),
                "row": Out(ROW_BITS),
                "stored": Out(StoredWord),
                "inverted": Out(1),
                "lane": Out(aligned_lane_layout(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        lane, block = self.lane, self.stored.block
        marker: Any = data.View(Marker, block.word[: WORD_BITS // 2])
        shows_marker, own, crossed = Signal(), Signal(), Signal()
        turned = self.inverted.replicate(len(Value.cast(block)))
        m.d.comb += [
            Value.cast(block).eq(Value.cast(self.i.payload) ^ turned),
            shows_marker.eq((block.header == SyncHeader.CONTROL) & is_marker(block.word)),
            crossed.eq((block.header == SyncHeader.DATA) & is_marker(~block.word)),
            self.store.eq(self.i.valid & self.locked),
            own.eq(self.store & shows_marker & (marker.lane == self._index)),
            self.stored.marker.eq(own),
            self.row.eq(Mux(own, marker.row, lane.write)),
            lane.moved.eq(own & lane.marked & (marker.row != lane.write)),
        ]
        silence = MARKER_LOSS * self._params.marker_interval
        silent = Signal(range(silence + 1))  # words since the last marker
        with m.If(self.store):
            m.d.sync += lane.write.eq(self.row + 1)
            with m.If(own):
                m.d.sync += [lane.marked.eq(1), lane.mirrored.eq(0), silent.eq(0)]
                m.d.sync += [
                    lane.mode.eq(marker.mode),
                    lane.peer.up.eq(marker.up),
                    lane.peer.arriving.eq(marker.lanes),
                ]
            with m.Else():
                m.d.sync += self.inverted.eq(self.inverted ^ (crossed & ~lane.marked))
                with m.If(shows_marker & (marker.lane == self._params.lanes - 1 - self._index)):
                    m.d.sync += lane.mirrored.eq(1)
                with m.If(silent == silence):
                    m.d.sync += lane.marked.eq(0)
                with m.Else():
                    m.d.sync += silent.eq(silent + 1)
        with m.If(~self.locked | self.forget):
            m.d.sync += [lane.marked.eq(0), lane.mirrored.eq(0)]
        return m
