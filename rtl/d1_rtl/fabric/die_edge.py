"""A link to another die at a door of this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.ports import SIDES
from d1_golden.fabric.routing import Plane
from d1_golden.serdes.params import LinkParams

from ..node.elastic_buffer import ElasticBuffer
from ..node.interfaces import Opcode, packet_layout
from ..node.sticky_arbiter import StickyArbiter
from ..serdes.blocks import lanes_layout
from ..serdes.link_end import LinkEnd
from .edge_registers import EdgeRegisters
from .interfaces import edge_access_layout

__all__ = ["DieEdge"]

_COUNT_BITS = 32


class DieEdge(wiring.Component):
    """A link's end at a door: packets that leave by the door come in at a door of another die.

    Its registers are read and written by way of the routers' control of the place beside it, so
    packets reach them even while the link stands still. While all wires are disabled nothing more
    enters the link: requests are answered with FAULT_REPLY, broadcasts and replies dropped, both
    counted. What is in the link then stays there until it comes back.

    Every output comes straight from a register. A packet takes one cycle to the link's end, a
    reply from there one more; one packet of each plane in each direction and cycle, as far as the
    link carries them (`LinkEnd`). `read` holds a register two cycles after `access` names it.

    Golden twin: `d1_golden.fabric.golden_edge.GoldenEdge`, without time; of the link
    `d1_golden.serdes.link_end`, cycle by cycle.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
        What leaves the die.
    o_request, o_reply : Out(stream.Signature(packet_layout()))
        What comes in, refusals among the replies.
    lanes_o : Out(lanes_layout(params))
    lanes_i : In(lanes_layout(params))
    access : In(edge_access_layout())
        From the stop beside it.
    side : In(2)
        The side of that stop on which the link is, an index of `SIDES`. It never changes.
    read : Out(64)
    sent, received : Out(32).array(2)
        Packets of each plane that entered the link, and that came out of it, modulo 2^32.
    idle : Out(1)
        No packet is here outside the link.
    """

    i_request: Any
    i_reply: Any
    o_request: Any
    o_reply: Any
    lanes_o: Any
    lanes_i: Any
    access: Any
    side: Signal
    read: Signal
    sent: Sequence[Signal]
    received: Sequence[Signal]
    idle: Signal

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
                "access": In(edge_access_layout()),
                "side": In(range(len(SIDES))),
                "read": Out(64),
                "sent": Out(_COUNT_BITS).array(len(Plane)),
                "received": Out(_COUNT_BITS).array(len(Plane)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.link = link = LinkEnd(self._params)
        m.submodules.registers = registers = EdgeRegisters(self._params)
        m.submodules.requests = requests = ElasticBuffer(packet_layout())
        m.submodules.replies = replies = ElasticBuffer(packet_layout())
        m.submodules.enter = enter = ElasticBuffer(packet_layout())
        m.submodules.arbiter = arbiter = StickyArbiter(2)
        m.d.comb += [
            self.lanes_o.eq(link.lanes_o),
            link.lanes_i.eq(self.lanes_i),
            link.retrain.eq(registers.retrain),
            link.restart.eq(registers.restart),
            link.disabled.eq(registers.disabled),
            registers.status.eq(link.status),
            registers.counters.eq(link.counters),
            registers.access.eq(self.access),
            registers.side.eq(self.side),
            self.read.eq(registers.read),
        ]
        wiring.connect(m, wiring.flipped(self.i_request), requests.i)
        wiring.connect(m, wiring.flipped(self.i_reply), replies.i)
        wiring.connect(m, link.o_request, wiring.flipped(self.o_request))
        wiring.connect(m, enter.o, wiring.flipped(self.o_reply))

        # Requests that are refused and replies of the link take turns to enter the die.
        off, refused = Signal(), Signal()
        is_broadcast = requests.o.payload.opcode == Opcode.BROADCAST
        with m.If(~refused | requests.o.ready):  # a refusal that is offered is not withdrawn
            m.d.sync += off.eq(registers.off)
        m.d.comb += [
            refused.eq(off & requests.o.valid & ~is_broadcast),
            arbiter.requests.eq(Cat(link.o_reply.valid, refused)),
            arbiter.taken.eq(enter.i.ready & arbiter.grants.any()),
            enter.i.valid.eq(arbiter.grants.any()),
            link.o_reply.ready.eq(enter.i.ready & arbiter.grants[0]),
            link.i_request.payload.eq(requests.o.payload),
            link.i_request.valid.eq(requests.o.valid & ~off),
            link.i_reply.payload.eq(replies.o.payload),
            link.i_reply.valid.eq(replies.o.valid & ~off),
        ]
        with m.If(arbiter.grants[1]):
            m.d.comb += enter.i.payload.opcode.eq(Opcode.FAULT_REPLY)
            for name in ("tag", "source", "address"):
                m.d.comb += enter.i.payload[name].eq(requests.o.payload[name])
        with m.Else():
            m.d.comb += enter.i.payload.eq(link.o_reply.payload)
        with m.If(off):
            m.d.comb += [
                requests.o.ready.eq(is_broadcast | (enter.i.ready & arbiter.grants[1])),
                replies.o.ready.eq(1),
            ]
        with m.Else():
            m.d.comb += [
                requests.o.ready.eq(link.i_request.ready),
                replies.o.ready.eq(link.i_reply.ready),
            ]
        m.d.comb += registers.refused.eq(
            Cat(off & one.o.valid & one.o.ready for one in (requests, replies))
        )
        self._count(m, link)
        m.d.comb += self.idle.eq((requests.level == 0) & (replies.level == 0) & (enter.level == 0))
        return m

    def _count(self, m: Module, link: LinkEnd) -> None:
        """Count what enters the link and what comes out of it."""
        for counts, streams in (
            (self.sent, (link.i_request, link.i_reply)),
            (self.received, (link.o_request, link.o_reply)),
        ):
            for count, one in zip(counts, streams, strict=True):
                with m.If(one.valid & one.ready):
                    m.d.sync += count.eq(count + 1)
