"""Link counters: how often something went wrong."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.link_layer import COUNTERS

from .link_words import counters_layout

__all__ = ["LinkCounters"]


class LinkCounters(wiring.Component):
    """Counts events, modulo 2^32.

    Golden twin: `d1_golden.serdes.link_layer`, `COUNTERS`.

    Members
    -------
    events : In(one bit for each of COUNTERS)
        What happens in this cycle.
    counts : Out(counters_layout())
        From the next cycle on.
    """

    events: In(data.StructLayout(dict.fromkeys(COUNTERS, 1)))
    counts: Out(counters_layout())

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        events: Any = self.events
        counts: Any = self.counts
        for name in COUNTERS:
            m.d.sync += counts[name].eq(counts[name] + events[name])
        return m
