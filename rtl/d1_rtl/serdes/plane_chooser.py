"""Plane chooser: which plane's packet goes next."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..node.interfaces import packet_layout
from ..node.sticky_arbiter import StickyArbiter
from .link_words import plane_packet_layout

__all__ = ["PlaneChooser"]


class PlaneChooser(wiring.Component):
    """Merges the packets of both planes, each of which goes only while it has credits.

    Combinational from inputs to `o`; planes take turns, and an offer stands until it is taken.

    Golden twin: `d1_golden.serdes.link_layer`, `_offer_plane`.

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
    free : In(2)
        Of each plane: a packet may be sent. Stays until one is taken.
    o : Out(stream.Signature(plane_packet_layout()))
    """

    i_request: In(stream.Signature(packet_layout()))
    i_reply: In(stream.Signature(packet_layout()))
    free: In(2)
    o: Out(stream.Signature(plane_packet_layout()))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.arbiter = arbiter = StickyArbiter(2)
        inputs: tuple[Any, ...] = (self.i_request, self.i_reply)
        taken = Signal()
        m.d.comb += [
            taken.eq(self.o.valid & self.o.ready),
            arbiter.taken.eq(taken),
            self.o.valid.eq(arbiter.grants.any()),
            self.o.payload.plane.eq(arbiter.grants[1]),
            self.o.payload.packet.eq(
                Mux(arbiter.grants[1], *(i.payload.as_value() for i in reversed(inputs)))
            ),
        ]
        for plane, i in enumerate(inputs):
            m.d.comb += [
                arbiter.requests[plane].eq(i.valid & self.free[plane]),
                i.ready.eq(taken & arbiter.grants[plane]),
            ]
        return m
