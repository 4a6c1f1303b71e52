"""A die: nodes and their mesh stops in a grid, with doors at its edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import Plane
from d1_golden.params import DieParams, NodeParams

from ..emit import mark_used, port_values
from ..node.interfaces import RetireSignature, packet_layout
from ..node.node import Node
from .mesh_stop import MeshStop

__all__ = [
    "STOP_MODULE",
    "Die",
    "DoorSignature",
    "Hop",
    "doors",
    "hops",
    "node_module",
    "stream_name",
]

#: What the module of `MeshStop` is called.
STOP_MODULE = "mesh_stop"


def node_module(params: NodeParams) -> str:
    """Return what the module of `Node` is called."""
    return f"node_{params.name}"


class Hop(NamedTuple):
    """A link from the stop at a place to what is next to it on one side.

    `to` is another place whose routers work, or a door.
    """

    place: Place
    side: Port

    @property
    def to(self) -> Place:
        """The place at the other end."""
        return self.place.neighbour(self.side)


def hops(params: DieParams) -> Iterator[Hop]:
    """Yield the links between live routers, each once for each direction."""
    live = {Place(*place) for place in params.live_routers}
    for place in params.live_routers:
        for side in SIDES:
            hop = Hop(Place(*place), side)
            if hop.to in live:
                yield hop


def doors(params: DieParams) -> Iterator[Hop]:
    """Yield the links that leave the die, those of a place in the order of `SIDES`."""
    inside = {Place(*place) for place in params.places}
    for place in params.live_routers:
        for side in SIDES:
            hop = Hop(Place(*place), side)
            if hop.to not in inside:
                yield hop


def stream_name(direction: str, plane: Plane, side: Port) -> str:
    """Return the name of a stream of `MeshStop`; `direction` is "i" or "o", LOCAL is the node."""
    plane_name = plane.name.lower()
    if side is Port.LOCAL:
        return f"{direction}_node_{plane_name}"
    return f"{direction}_{plane_name}_{side.name.lower()}"


class DoorSignature(wiring.Signature):
    """The streams of both planes at one place of the edge, seen from the die.

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
    o_request, o_reply : Out(stream.Signature(packet_layout()))
    """

    def __init__(self) -> None:
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                f"{direction}_{plane.name.lower()}": flow(packet)
                for plane in Plane
                for direction, flow in (("i", In), ("o", Out))
            }
        )


class Die(wiring.Component):
    """All nodes of a die with their mesh stops, as one design.

    For small grids, to compare `d1_rtl.sim.die_link.DieLink` with, and for synthesis: it contains
    no logic of its own. Where routers are dead there is nothing, and the links there are tied off:
    never valid, never ready.

    Nodes and stops are instances of modules that are converted on their own, once: `emit` wants
    their Verilog, under the names `node_module` and `STOP_MODULE`, in `modules`.

    Golden twin: `d1_golden.fabric.golden_die.GoldenDie`.

    Parameters
    ----------
    params
        The grid.

    Members
    -------
    doors : Out(DoorSignature()).array(n)
        In the order of `doors`.
    idle : Out(1).array(n)
        That of each live node, in the order of `DieParams.live_nodes`.
    retire : Out(RetireSignature(params.node)).array(n)
        Likewise.
    """

    doors: Sequence[Any]
    idle: Sequence[Signal]
    retire: Sequence[Any]

    def __init__(self, params: DieParams):
        self._params = params
        nodes = len(params.live_nodes)
        super().__init__(
            {
                "doors": Out(DoorSignature()).array(len(list(doors(params)))),
                "idle": Out(1).array(nodes),
                "retire": Out(RetireSignature(params.node)).array(nodes),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        stops: dict[Place, Any] = {}
        for column, row in self._params.live_routers:
            place = Place(column, row)
            stops[place] = stop = MeshStop()
            _instantiate(m, STOP_MODULE, stop, f"stop_{column}_{row}")
            m.d.comb += stop.place.eq(place.bits)
        for index, (column, row) in enumerate(self._params.live_nodes):
            place = Place(column, row)
            node = Node(self._params.node)
            _instantiate(m, node_module(self._params.node), node, f"node_{column}_{row}")
            m.d.comb += [node.node_id.eq(place.bits), self.idle[index].eq(node.idle)]
            wiring.connect(m, node.retire, wiring.flipped(self.retire[index]))
            for plane in Plane:
                own = plane.name.lower()
                o, i = (getattr(stops[place], stream_name(d, plane, Port.LOCAL)) for d in "oi")
                wiring.connect(m, o, getattr(node, f"i_{own}"))
                wiring.connect(m, getattr(node, f"o_{own}"), i)
        for plane in Plane:
            for hop in hops(self._params):
                o = getattr(stops[hop.place], stream_name("o", plane, hop.side))
                i = getattr(stops[hop.to], stream_name("i", plane, hop.side.opposite))
                wiring.connect(m, o, i)
            for door, hop in zip(self.doors, doors(self._params), strict=True):
                name = plane.name.lower()
                o, i = (getattr(stops[hop.place], stream_name(d, plane, hop.side)) for d in "oi")
                wiring.connect(m, o, wiring.flipped(getattr(door, f"o_{name}")))
                wiring.connect(m, wiring.flipped(getattr(door, f"i_{name}")), i)
        return m


def _instantiate(m: Module, module: str, component: wiring.Component, name: str) -> None:
    """Put an instance of a module, as which `component` is converted elsewhere, at its ports."""
    mark_used(component)
    ports = {
        f"{'i' if is_input else 'o'}_{port}": value
        for port, value, is_input in port_values(component)
    }
    m.submodules[name] = Instance(module, i_clk=ClockSignal(), i_rst=ResetSignal(), **ports)
