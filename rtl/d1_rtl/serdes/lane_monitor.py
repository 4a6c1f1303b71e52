"""Which lanes arrive here and at the other end."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import LinkParams
from d1_golden.serdes.receiver import patience_cycles

from .blocks import aligned_lane_layout, peer_report_layout

__all__ = ["LaneMonitor"]


class LaneMonitor(wiring.Component):
    """Waits for missing lanes a while, and says which ones are there when it has.

    A lane that comes late at the start, or has to be looked for again after a slip, does not make
    the other end change over to half of the lanes and back: only after `lane_patience` rows in
    which never all lanes were there does `arriving` follow what is there, until all are.

    What the other end says is taken from the lowest lane that arrives. Latency 1 cycle.

    Golden twin: the fields `arriving`, `wait` and `peer_*` in `ReceiveState` of
    `d1_golden.serdes.receiver`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    lanes : In(array of aligned_lane_layout(params))
    restart : In(1)
        Begin to wait anew.
    arriving : Out(lanes)
        Lanes that arrive, but for short breaks.
    peer : Out(peer_report_layout(params))
        The last that was heard from the other end.
    """

    lanes: Any
    restart: Signal
    arriving: Signal
    peer: Any

    def __init__(self, params: LinkParams):
        self._params = params
        super().__init__(
            {
                "lanes": In(data.ArrayLayout(aligned_lane_layout(params), params.lanes)),
                "restart": In(1),
                "arriving": Out(params.lanes),
                "peer": Out(peer_report_layout(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        lanes = [self.lanes[n] for n in range(self._params.lanes)]
        marked = Signal(len(lanes))
        m.d.comb += marked.eq(Cat(lane.marked for lane in lanes))
        patience = patience_cycles(self._params)
        waited = Signal(range(patience + 1))
        with m.If(self.restart):
            m.d.sync += [waited.eq(0), self.arriving.eq(0)]
        with m.Elif(marked.all()):
            m.d.sync += [waited.eq(0), self.arriving.eq(marked)]
        with m.Elif(waited == patience):
            m.d.sync += self.arriving.eq(marked)
        with m.Else():
            m.d.sync += waited.eq(waited + 1)
        for lane in reversed(lanes):  # the last assignment counts: that of the lowest lane
            with m.If(lane.marked):
                m.d.sync += self.peer.eq(lane.peer)
        return m
