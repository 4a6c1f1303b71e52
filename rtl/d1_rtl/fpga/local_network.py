"""Local network: the way of packets around a node that has no neighbours."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS

from d1_rtl.node.interfaces import Opcode, packet_layout
from d1_rtl.node.packet_door import is_between
from d1_rtl.node.sticky_arbiter import StickyArbiter

__all__ = ["LocalNetwork"]

_PLACE_BITS = 32


class LocalNetwork(wiring.Component):
    """Brings requests of a host and of the node to the node, and replies to who asked.

    The node's requests to itself come back to it, taking turns with those of the host; its
    requests to others are refused. Replies go back by their `source`: one that is the node's
    number must be of the node. Combinational.

    Golden twin: `d1_golden.packet.refuse`; bringing back is what `d1_golden.node.GoldenNode` does.

    Parameters
    ----------
    node_id
        Bits 55..24 of the node's address.

    Members
    -------
    i_host, i_own : In(stream.Signature(packet_layout()))
        Requests of the host and of the node.
    o_request : Out(stream.Signature(packet_layout()))
        Requests to the node.
    i_reply : In(stream.Signature(packet_layout()))
        Replies of the node.
    o_host, o_own : Out(stream.Signature(packet_layout()))
        Replies to the host and to the node. `data` of a FAULT_REPLY to the node is undefined.

    Raises
    ------
    ValueError
        If `node_id` is not in 1..2^32 - 1: the host's packets have 0.
    """

    i_host: In(stream.Signature(packet_layout()))
    i_own: In(stream.Signature(packet_layout()))
    o_request: Out(stream.Signature(packet_layout()))
    i_reply: In(stream.Signature(packet_layout()))
    o_host: Out(stream.Signature(packet_layout()))
    o_own: Out(stream.Signature(packet_layout()))

    def __init__(self, node_id: int):
        if not 1 <= node_id < 1 << _PLACE_BITS:
            raise ValueError(f"node_id must be in 1..2^32 - 1, not {node_id!r}")
        self._node_id = node_id
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.requests = requests = StickyArbiter(2)
        m.submodules.replies = replies = StickyArbiter(2)
        own, reply, out = (s.payload for s in (self.i_own, self.i_reply, self.o_own))
        to_node, to_others = _goes_to(own, self._node_id)
        returned = Signal()  # the copy that goes to the node itself has been taken
        returns, refuses, is_own, loops = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            returns.eq(self.i_own.valid & to_node & ~returned),
            refuses.eq(self.i_own.valid & to_others & (returned | ~to_node)),
            requests.requests.eq(Mux(self.i_host.valid, 1, 0) | Mux(returns, 2, 0)),
            requests.taken.eq(self.o_request.ready),
            self.o_request.valid.eq(requests.grants.any()),
            self.o_request.payload.eq(Mux(requests.grants[1], own, self.i_host.payload)),
            self.i_host.ready.eq(requests.grants[0] & self.o_request.ready),
            loops.eq(requests.grants[1] & self.o_request.ready),
        ]
        m.d.comb += [
            is_own.eq(reply.source == self._node_id),
            self.o_host.valid.eq(self.i_reply.valid & ~is_own),
            self.o_host.payload.eq(reply),
            replies.requests.eq(Mux(self.i_reply.valid & is_own, 1, 0) | Mux(refuses, 2, 0)),
            replies.taken.eq(self.o_own.ready),
            self.o_own.valid.eq(replies.grants.any()),
            out.eq(reply),
            self.i_reply.ready.eq(
                Mux(is_own, replies.grants[0] & self.o_own.ready, self.o_host.ready)
            ),
        ]
        refused = replies.grants[1] & self.o_own.ready
        with m.If(replies.grants[1]):
            m.d.comb += [out[name].eq(own[name]) for name in ("tag", "source", "address")]
            m.d.comb += [out.opcode.eq(Opcode.FAULT_REPLY), out.flags.eq(0), out.mask.eq(0)]
        m.d.comb += self.i_own.ready.eq(Mux(to_others, refused, loops))
        with m.If(self.i_own.ready):
            m.d.sync += returned.eq(0)
        with m.Elif(loops):
            m.d.sync += returned.eq(1)
        return m


def _goes_to(request: Any, node_id: int) -> tuple[Value, Value]:
    """Return whether a request goes to the node, and whether to others."""
    near, far = request.address[LOCAL_BITS:][:_PLACE_BITS], request.mask[:_PLACE_BITS]
    is_wide = (request.opcode == Opcode.BROADCAST) & (near != far)
    to_node = Mux(is_wide, is_between(Value.cast(node_id), near, far), near == node_id)
    return to_node, is_wide | (near != node_id)
