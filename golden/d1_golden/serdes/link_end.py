"""One end of a link, whole: link layer and physical layer, clock by clock; compiled.

Golden twin of `d1_rtl.serdes.link_end`: every output has the value of the RTL's in every clock.
"""

from __future__ import annotations

__all__ = ["LANE_COUNTERS"]

#: What an end counts beside `d1_golden.serdes.link_layer.COUNTERS`, modulo 2^32, and what each is.
LANE_COUNTERS: dict[str, str] = {
    "bad_headers": "blocks with an invalid sync header, on all wires with block lock",
    "bond_losses": "times that rows stopped coming: a lane lost, or another number of lanes",
    "lost_requests": "requests that may not have left the other end before its resets",
    "lost_replies": "replies likewise",
}
