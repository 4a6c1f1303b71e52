"""One end of a link, whole: packets in and out on one side, eight lanes each way on the other."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import LinkParams

from ..node.interfaces import packet_layout
from .blocks import lanes_layout
from .end_counters import EndCounters
from .link_layer import LinkLayer
from .link_words import end_counters_layout, link_status_layout, report_layout
from .physical_layer import PhysicalLayer

__all__ = ["LinkEnd"]


class LinkEnd(wiring.Component):
    """Carries packets of both planes to the other end of its lanes and from it, all and in order.

    From a packet's entry at one idle end to its exit at the other one, 17 or 18 cycles on 8 lanes
    of 56 bits, and the way over the lanes; 0.95 of the lanes' bits are bits of packets when the
    link is full. `docs/link.md` has the link layer, `docs/lanes.md` what is below it.

    All outputs come straight from registers.

    Golden twin: `d1_golden.serdes.link_end`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
        Packets to send, by plane.
    o_request, o_reply : Out(stream.Signature(packet_layout()))
        Packets received. The planes do not wait for each other.
    lanes_o : Out(lanes_layout(params))
        What the lanes carry to the other end, `lane_width` bits of each in a cycle, bit 0 first.
    lanes_i : In(lanes_layout(params))
        What they carry from it, at any phase, each with any delay, crossed or in reverse order.
    retrain : In(1)
        Train the link again; the other end does so too. Nothing is lost.
    restart : In(1)
        Look for lanes and blocks anew. Nothing is lost.
    disabled : In(lanes)
        Wires that must not be used for receiving; with all of them the link is down.
    status : Out(link_status_layout(params))
    report : Out(report_layout())
        `valid` in one cycle after a reset of the other end: how many packets of each plane, the
        last that were sent, may not have left it.
    counters : Out(end_counters_layout())
    """

    i_request: Any
    i_reply: Any
    o_request: Any
    o_reply: Any
    lanes_o: Any
    lanes_i: Any
    retrain: Signal
    restart: Signal
    disabled: Signal
    status: Any
    report: Any
    counters: Any

    def __init__(self, params: LinkParams):
        self._params = params
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i_request": In(packet),
                "i_reply": In(packet),
                "o_request": Out(packet),
                "o_reply": Out(packet),
                "lanes_o": Out(lanes_layout(params)),
                "lanes_i": In(lanes_layout(params)),
                "retrain": In(1),
                "restart": In(1),
                "disabled": In(params.lanes),
                "status": Out(link_status_layout(params)),
                "report": Out(report_layout()),
                "counters": Out(end_counters_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.layer = layer = LinkLayer(self._params)
        m.submodules.physical = physical = PhysicalLayer(self._params)
        m.submodules.counters = counters = EndCounters(self._params)
        for name in ("i_request", "i_reply", "o_request", "o_reply"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(layer, name))
        wiring.connect(m, layer.o_row, physical.i)
        wiring.connect(m, physical.o, layer.i_row)
        m.d.comb += [
            self.lanes_o.eq(physical.lanes_o),
            physical.lanes_i.eq(self.lanes_i),
            physical.restart.eq(self.restart),
            physical.disabled.eq(self.disabled),
            layer.retrain.eq(self.retrain),
            layer.up.eq(physical.up),
            self.report.eq(layer.report),
            counters.bad_headers.eq(physical.bad_headers),
            counters.up.eq(physical.up),
            counters.report.eq(layer.report),
            self.counters.layer.eq(layer.counters),
            self.counters.lanes.eq(counters.counts),
            self.status.up.eq(physical.up),
            self.status.arriving.eq(physical.report.arriving),
            self.status.peer_up.eq(physical.peer.up),
            self.status.peer_arriving.eq(physical.peer.arriving),
            *(getattr(self.status, name).eq(getattr(layer, name)) for name in _TRAINING),
            *(getattr(self.status, name).eq(getattr(physical, name)) for name in _LANES),
        ]
        return m


#: What of the status the parts have under the same name.
_TRAINING = ("state", "session", "peer")
_LANES = ("transmit_mode", "receive_mode", "locked", "inverted", "reversed")
