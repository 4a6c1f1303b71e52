"""A place of the mesh without its node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.place import PLACE_BITS
from d1_golden.fabric.ports import SIDES
from d1_golden.fabric.routing import Plane

from ..node.interfaces import packet_layout
from .interfaces import edge_access_layout, port_names
from .router import Router
from .router_control import RouterControl

__all__ = ["MeshStop"]


class MeshStop(wiring.Component):
    """Everything of a place but its node: the routers of both planes and their control.

    Every output, `ready` included, comes straight from a register, towards the node as well as
    towards the neighbours. A packet takes one cycle from any input to any output that is free:
    n hops, and the way into the last node, are n + 1 cycles from valid at `i_node_*` of the one
    stop to valid at `o_node_*` of the other. Each stream carries a packet per cycle, sustained.

    Golden twin: `d1_golden.fabric.mesh`, packets and cycles; `d1_golden.fabric.router_control`,
    registers and refusals.

    Members
    -------
    i_request_north, i_request_east, i_request_south, i_request_west : In(stream of a packet)
    o_request_north, o_request_east, o_request_south, o_request_west : Out(stream of a packet)
    i_reply_north, i_reply_east, i_reply_south, i_reply_west : In(stream of a packet)
    o_reply_north, o_reply_east, o_reply_south, o_reply_west : Out(stream of a packet)
        The links of each plane: `o_request_east` goes to `i_request_west` of the eastern
        neighbour, and so on.
    i_node_request, i_node_reply : In(stream of a packet)
        From `o_request` and `o_reply` of the node.
    o_node_request, o_node_reply : Out(stream of a packet)
        To `i_request` and `i_reply` of the node.
    place : In(32)
        Bits 55..24 of the addresses of this place.
    edge_access : Out(edge_access_layout())
    edge_read : In(64).array(4)
    edge_present : In(4)
        To the ends of links beside this place, as in `RouterControl`; all zero where there is none.
    idle : Out(1)
        Nothing is in the stop: every output stream is not valid, every input stream ready, and as
        long as no input is valid a clock cycle changes nothing, whatever the other inputs are.
        It shows the state after the last clock edge and depends on no input.
    """

    place: Signal
    edge_access: Any
    edge_read: Sequence[Signal]
    edge_present: Signal
    idle: Signal

    def __init__(self) -> None:
        packet = stream.Signature(packet_layout())
        planes = [plane.name.lower() for plane in Plane]
        sides = [f"{plane}_{side.name.lower()}" for plane in planes for side in SIDES]
        names = [*sides, *(f"node_{plane}" for plane in planes)]
        super().__init__(
            {
                **{f"i_{name}": In(packet) for name in names},
                **{f"o_{name}": Out(packet) for name in names},
                "place": In(PLACE_BITS),
                "edge_access": Out(edge_access_layout()),
                "edge_read": In(64).array(len(SIDES)),
                "edge_present": In(len(SIDES)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.control = control = RouterControl()
        routers = {plane: Router(plane) for plane in Plane}
        for plane, router in routers.items():
            name = plane.name.lower()
            m.submodules[name] = router
            wiring.connect(m, router.routing, control.routing[plane])
            m.d.comb += [router.place.eq(self.place), control.passed[plane].eq(router.passed)]
            for port in port_names():
                outer = f"node_{name}" if port == "local" else f"{name}_{port}"
                i, o = getattr(self, f"i_{outer}"), getattr(self, f"o_{outer}")
                wiring.connect(m, wiring.flipped(i), getattr(router, f"i_{port}"))
                wiring.connect(m, getattr(router, f"o_{port}"), wiring.flipped(o))
        wiring.connect(m, routers[Plane.REQUEST].o_control, control.i_request)
        wiring.connect(m, routers[Plane.REPLY].o_control, control.i_reply)
        wiring.connect(m, control.o_reply, routers[Plane.REPLY].i_control)
        m.d.comb += [
            control.place.eq(self.place),
            control.edge_present.eq(self.edge_present),
            *(
                inner.eq(outer)
                for inner, outer in zip(control.edge_read, self.edge_read, strict=True)
            ),
            self.edge_access.eq(control.edge_access),
            # What the control works on stands in an output register.
            self.idle.eq(Cat(router.idle for router in routers.values()).all()),
        ]
        return m
