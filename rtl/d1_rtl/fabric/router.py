"""A router of one plane of the mesh."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.place import PLACE_BITS
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane

from ..node.interfaces import packet_layout
from .input_buffer import InputBuffer
from .interfaces import RoutingSignature, port_names
from .output_port import OutputPort
from .packet_store import PacketStore
from .route_computation import RouteComputation

__all__ = ["Router"]


class Router(wiring.Component):
    """Brings packets from five inputs to five outputs, each to where it is going.

    One cycle from an input to an output, one packet per cycle at every port, sustained, whatever
    the other ports do. Every output, `ready` included, comes straight from a register. Packets
    that take the same way keep their order; at an output the inputs take turns. A packet for
    several outputs (BROADCAST) goes to each when it is free.

    The LOCAL port has two streams each way: `local` is the node's, `control` that of
    `RouterControl`, which takes what the node must not get and enters its own replies. Both
    outputs share a register.

    Golden twin: `d1_golden.fabric.router`.

    Parameters
    ----------
    plane
        Whether packets are requests or replies.
    layout
        Of a packet, if not `packet_layout()`: any with the fields that the plane is routed by, so
        that tests and proofs can do without most of the payload.
    depth
        Packets that each input buffers.

    Members
    -------
    i_local, i_north, i_east, i_south, i_west, i_control : In(stream.Signature(layout))
    o_local, o_north, o_east, o_south, o_west, o_control : Out(stream.Signature(layout))
    place : In(32)
        Bits 55..24 of the addresses of this place.
    routing : Out(RoutingSignature())
        Tables of ways.
    passed : Out(5)
        Outputs by which a packet leaves in this cycle, the control's among LOCAL's.
    idle : Out(1)
        No packet is in the router: nothing changes until one comes. From registers.

    Raises
    ------
    ValueError
        If `depth` is less than 2.
    """

    i_local: Any
    i_control: Any
    o_control: Any
    place: Signal
    routing: Any
    passed: Signal
    idle: Signal

    def __init__(self, plane: Plane, *, layout: data.StructLayout | None = None, depth: int = 8):
        self._plane, self._depth = plane, depth
        self._layout = layout = layout or packet_layout()
        packet = stream.Signature(layout)
        super().__init__(
            {
                **{f"i_{name}": In(packet) for name in (*port_names(), "control")},
                **{f"o_{name}": Out(packet) for name in (*port_names(), "control")},
                "place": In(PLACE_BITS),
                "routing": Out(RoutingSignature()),
                "passed": Out(len(Port)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        buffers = [InputBuffer(self._depth) for _ in Port]
        outputs = [OutputPort() for _ in Port]
        m.submodules.store = store = PacketStore(self._layout, self._depth)
        for port, buffer, output in zip(Port, buffers, outputs, strict=True):
            name = port.name.lower()
            m.submodules[f"buffer_{name}"] = buffer
            m.submodules[f"output_{name}"] = output
            packet, taken = store.packet[port], store.o_packet[port]
            if port is Port.LOCAL:
                self._enter_local(m, buffer, packet)
                _leave(m, self.o_control, taken, output.control_valid, output.control_ready)
                m.d.comb += output.control.eq(Cat(b.o_control for b in buffers))
            else:
                _enter(m, getattr(self, f"i_{name}"), buffer, packet)
            _leave(m, getattr(self, f"o_{name}"), taken, output.valid, output.ready)
            self._compute_route(m, port, buffer, packet)
            m.d.comb += [
                output.requests.eq(Cat(b.requests[port] for b in buffers)),
                buffer.grants.eq(Cat(o.grants[port] for o in outputs)),
                store.valid[port].eq(buffer.valid),
                store.slot[port].eq(buffer.slot),
                store.grants[port].eq(output.grants),
            ]
            m.d.comb += [
                slot.eq(b.o_slots[port])
                for slot, b in zip(store.read_slot[port], buffers, strict=True)
            ]
        m.d.comb += [
            self.passed.eq(Cat(o.passed for o in outputs)),
            self.idle.eq(Cat(b.empty for b in buffers).all() & ~Cat(o.busy for o in outputs).any()),
        ]
        return m

    def _compute_route(self, m: Module, port: Port, buffer: InputBuffer, packet: Any) -> None:
        """Tell a buffer where the packet that arrives goes."""
        route = RouteComputation(self._plane, port, self._layout)
        m.submodules[f"route_{port.name.lower()}"] = route
        m.d.comb += [
            route.packet.eq(packet),
            route.place.eq(self.place),
            self.routing.index[port].eq(route.index),
            route.entry.eq(self.routing.entry[port]),
            route.exits.eq(self.routing.exits),
            route.core_disabled.eq(self.routing.core_disabled),
            buffer.outputs.eq(route.outputs),
            buffer.control.eq(route.control),
        ]

    def _enter_local(self, m: Module, buffer: InputBuffer, packet: Any) -> None:
        """Let the node in, and between two of its packets the control when it has one."""
        node, control = self.i_local, self.i_control
        node_ready, control_ready = Signal(init=1), Signal()
        turn = control.valid & ~control_ready
        m.d.sync += [
            node_ready.eq(buffer.room & ~turn),
            control_ready.eq(buffer.room & turn),
        ]
        m.d.comb += [
            node.ready.eq(node_ready),
            control.ready.eq(control_ready),
            buffer.valid.eq(Mux(control_ready, control.valid, node.valid & node_ready)),
            packet.eq(Mux(control_ready, control.payload, node.payload)),
        ]


def _leave(m: Module, o: stream.Interface, packet: Any, valid: Signal, ready: Signal) -> None:
    """Show the packet of an output."""
    m.d.comb += [o.valid.eq(valid), o.payload.eq(packet), ready.eq(o.ready)]


def _enter(m: Module, i: stream.Interface, buffer: InputBuffer, packet: Any) -> None:
    """Let the packets of a neighbour in."""
    ready = Signal(init=1)
    m.d.sync += ready.eq(buffer.room)
    m.d.comb += [
        i.ready.eq(ready),
        buffer.valid.eq(i.valid & ready),
        packet.eq(i.payload),
    ]
