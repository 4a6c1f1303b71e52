"""How rows become words on lanes, and when marker rows go in between."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.block import MARKER_TYPE
from d1_golden.serdes.params import WORD_BITS, LinkParams

from .blocks import (
    ROW_BITS,
    Block,
    Marker,
    RowMode,
    SyncHeader,
    peer_report_layout,
    required_lanes,
    row_layout,
)

__all__ = ["RowDistributor"]


class RowDistributor(wiring.Component):
    """Makes a row of blocks whenever the lanes pull one: of a row that is offered, or of markers.

    Combinational from `i` to `o`. A marker row goes out when no row is offered, when the last one
    is `marker_interval` rows ago, and at once when there is news: something else arrives here, or
    other lanes do there, which changes how rows are spread from then on. With all lanes a row
    goes out at once; with half of them in two rows, the first of which has an even number, and
    marker rows come in pairs for that reason. Lanes that carry no data always carry markers.

    Rows are only taken while the other end says that it delivers them; until then there are
    markers, which is what it needs.

    Golden twin: `d1_golden.serdes.transmitter.transmit_cycle`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    i : In(stream of row_layout(params))
        Taken when its last word is.
    pull : In(1)
        The lanes take `o`.
    report : In(peer_report_layout(params))
        What arrives here: the other end is told.
    peer : In(peer_report_layout(params))
        What arrives at the other end.
    mode : Out(RowMode)
    o : Out(array of Block)
        What each lane gets next.
    """

    i: stream.Interface
    pull: Signal
    report: Any
    peer: Any
    mode: Any
    o: Any

    def __init__(self, params: LinkParams):
        self._params = params
        #: Number of the next row, rows since the last marker row, and whether the second half of a
        #: row comes next. For proofs; nobody else looks at them.
        self.row = Signal(ROW_BITS)
        self.since = Signal(range(params.marker_interval + 2))
        self.second = Signal()
        super().__init__(
            {
                "i": In(stream.Signature(row_layout(params))),
                "pull": In(1),
                "report": In(peer_report_layout(params)),
                "peer": In(peer_report_layout(params)),
                "mode": Out(RowMode),
                "o": Out(data.ArrayLayout(Block, params.lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        interval = self._params.marker_interval
        target = Signal(RowMode)
        row, since, second = self.row, self.since, self.second
        told = Signal(peer_report_layout(self._params))
        full = self.mode == RowMode.FULL
        must_mark, marker = Signal(), Signal()
        news = (target != self.mode) | (Value.cast(self.report) != Value.cast(told))
        due = since >= interval - 1
        m.d.comb += [
            target.eq(self._widest()),
            must_mark.eq(~second & (~self.peer.up | news | due | (~full & row[0]))),
            marker.eq(must_mark | (~second & ~self.i.valid)),
            self.i.ready.eq(self.pull & ~must_mark & (full | second)),
        ]
        with m.If(self.pull):
            m.d.sync += [
                row.eq(row + 1),
                second.eq(~marker & ~full & ~second),
                since.eq(since + 1),
            ]
            with m.If(marker):
                m.d.sync += [self.mode.eq(target), told.eq(self.report), since.eq(0)]
        self._fill(m, marker=marker, second=second, row=row, target=target)
        return m

    def _widest(self) -> Any:
        """Return the mode for the lanes that arrive at the other end, or the present one."""
        half = self._params.lanes // 2
        low, high = self.peer.arriving[:half].all(), self.peer.arriving[half:].all()
        one = Mux(low, RowMode.LOW, Mux(high, RowMode.HIGH, self.mode))
        return Mux(low & high, RowMode.FULL, one)

    def _fill(self, m: Module, *, marker: Any, second: Any, row: Any, target: Any) -> None:
        """Fill in the block of each lane."""
        lanes = self._params.lanes
        half = lanes // 2
        words, controls = self.i.payload.words, self.i.payload.controls
        carries = Signal(lanes)
        m.d.comb += carries.eq(Mux(marker, 0, required_lanes(self.mode, lanes)))
        for n in range(lanes):
            # In half of the lanes, lane n has word n modulo half of them, or that of the next half.
            low, high = n % half, n % half + half
            word, control = (
                Mux(self.mode == RowMode.FULL, values[n], Mux(second, values[high], values[low]))
                for values in (words, controls)
            )
            mark: Any = Signal(Marker, name=f"marker_{n}")
            m.d.comb += [
                mark.type.eq(MARKER_TYPE),
                mark.lane.eq(n),
                mark.mode.eq(Mux(marker, target, self.mode)),
                mark.up.eq(self.report.up),
                mark.row.eq(row),
                mark.lanes.eq(self.report.arriving),
            ]
            block = self.o[n]
            m.d.comb += [
                block.header.eq(SyncHeader.CONTROL),
                block.word[: WORD_BITS // 2].eq(mark),
                block.word[WORD_BITS // 2 :].eq(~Value.cast(mark)),
            ]
            with m.If(carries[n]):
                data_or_control = Mux(control, SyncHeader.CONTROL, SyncHeader.DATA)
                m.d.comb += [block.header.eq(data_or_control), block.word.eq(word)]
