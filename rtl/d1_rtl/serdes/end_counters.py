"""Counters of what a link's end sees beside its link layer: lanes, and packets lost by resets."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import LinkParams

from .link_words import COUNT_BITS, lane_counters_layout, report_layout

__all__ = ["EndCounters"]


class EndCounters(wiring.Component):
    """Counts invalid sync headers, falls of the bond and packets that may be lost, modulo 2^32.

    Golden twin: `d1_golden.serdes.link_end`, `LANE_COUNTERS`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    bad_headers : In(lanes)
        Wires with block lock that show an invalid sync header in this cycle.
    up : In(1)
        Rows are delivered.
    report : In(report_layout())
    counts : Out(lane_counters_layout())
        From the next cycle on.
    """

    bad_headers: Signal
    up: Signal
    report: Any
    counts: Any

    def __init__(self, params: LinkParams):
        self._lanes = params.lanes
        super().__init__(
            {
                "bad_headers": In(params.lanes),
                "up": In(1),
                "report": In(report_layout()),
                "counts": Out(lane_counters_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        was_up = Signal()
        counts = self.counts
        bad = sum(self.bad_headers[n] for n in range(self._lanes))
        m.d.sync += [
            was_up.eq(self.up),
            counts.bad_headers.eq((counts.bad_headers + bad)[:COUNT_BITS]),
            counts.bond_losses.eq(counts.bond_losses + (was_up & ~self.up)),
        ]
        with m.If(self.report.valid):
            lost = (counts.lost_requests, counts.lost_replies)
            for plane, count in enumerate(lost):
                m.d.sync += count.eq(count + self.report.away[plane])
        return m
