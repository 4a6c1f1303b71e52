"""Route computation: which outputs of a router a packet is for."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.place import PLACE_BITS
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import ENTRY_BITS, Plane, entry_of_port
from d1_golden.memory_map import LOCAL_BITS, ROUTE_TABLE_SIDE, ROUTER_BASE, ROUTER_BITS

from ..node.interfaces import Opcode
from .interfaces import RouteEntry

__all__ = ["RouteComputation", "is_router_register"]

_COORDINATE_BITS = 8
_TABLE_BITS = (ROUTE_TABLE_SIDE - 1).bit_length()


class RouteComputation(wiring.Component):
    """Tells where a packet goes from a router.

    Combinational: the lookup in the table is part of it.

    Golden twin: `d1_golden.fabric.routing.route`.

    Parameters
    ----------
    plane
        Of the router: requests go to their `address`, replies to their `source`.
    port
        Where the packet came in.
    layout
        Of the packet.

    Members
    -------
    packet : In(layout)
    place : In(32)
        Bits 55..24 of the addresses of this place.
    index : Out(10)
    entry : In(4)
        The lookup of the destination in the table.
    exits : In(16)
    core_disabled : In(1)
        As in `RoutingSignature`.
    outputs : Out(5)
        The ports that get a copy.
    control : Out(1)
        What goes to LOCAL is for the router's control, not for the node.
    """

    packet: Any
    place: Signal
    index: Signal
    entry: Signal
    exits: Signal
    core_disabled: Signal
    outputs: Signal
    control: Signal

    def __init__(self, plane: Plane, port: Port, layout: data.StructLayout):
        self._plane, self._port = plane, port
        super().__init__(
            {
                "packet": In(layout),
                "place": In(PLACE_BITS),
                "index": Out(2 * _TABLE_BITS),
                "entry": In(ENTRY_BITS),
                "exits": In(ENTRY_BITS * len(SIDES)),
                "core_disabled": In(1),
                "outputs": Out(len(Port)),
                "control": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        packet, here = self.packet, _Coordinates(self.place)
        if self._plane is Plane.REPLY:
            refused = self._unicast(m, here, _Coordinates(packet.source))
            m.d.comb += self.control.eq(self.core_disabled | refused)
            return m
        to = _Coordinates(packet.address[LOCAL_BITS : LOCAL_BITS + PLACE_BITS])
        own = self.core_disabled | is_router_register(packet.address)
        refused = self._unicast(m, here, to)
        m.d.comb += self.control.eq(own | refused)
        with m.If(packet.opcode == Opcode.BROADCAST):
            ways = self._broadcast(here, to, _Coordinates(packet.mask[:PLACE_BITS]))
            # A rectangle that is empty, or does not reach here, ends at the control.
            m.d.comb += [
                self.outputs.eq(Mux(ways.any(), ways, 1 << Port.LOCAL)),
                self.control.eq(own | ~ways.any()),
            ]
        return m

    def _unicast(self, m: Module, here: _Coordinates, to: _Coordinates) -> Value:
        """Send the packet one way, by dimension order or the table; return if it is refused."""
        entry: Any = Signal(RouteEntry)
        exits = {port: self.exits.word_select(n, ENTRY_BITS) for n, port in enumerate(SIDES)}
        east, south = to.die_column > here.die_column, to.die_row > here.die_row
        in_table = ~Cat(to.column[_TABLE_BITS:], to.row[_TABLE_BITS:]).any()
        m.d.comb += self.index.eq(Cat(to.column[:_TABLE_BITS], to.row[:_TABLE_BITS]))
        with m.If(to.die_column != here.die_column):
            m.d.comb += entry.eq(Mux(east, exits[Port.EAST], exits[Port.WEST]))
        with m.Elif(to.die_row != here.die_row):
            m.d.comb += entry.eq(Mux(south, exits[Port.SOUTH], exits[Port.NORTH]))
        with m.Elif(in_table):
            m.d.comb += entry.eq(self.entry)
        by_order = Signal(len(Port))
        with m.If(to.x != here.x):
            m.d.comb += by_order.eq(Mux(to.x > here.x, 1 << Port.EAST, 1 << Port.WEST))
        with m.Elif(to.y != here.y):
            m.d.comb += by_order.eq(Mux(to.y > here.y, 1 << Port.SOUTH, 1 << Port.NORTH))
        with m.Else():
            m.d.comb += by_order.eq(1 << Port.LOCAL)
        with m.Switch(entry):
            with m.Case(RouteEntry.DIMENSION_ORDER):
                m.d.comb += self.outputs.eq(by_order)
            for port in Port:
                with m.Case(entry_of_port(port)):
                    m.d.comb += self.outputs.eq(1 << port)
            with m.Default():
                m.d.comb += self.outputs.eq(1 << Port.LOCAL)
        return entry.as_value() > RouteEntry.WEST.value

    def _broadcast(self, here: _Coordinates, near: _Coordinates, far: _Coordinates) -> Value:
        """Return the ways of a BROADCAST: a bit for each port."""
        none = Const(0)
        in_columns = (
            (here.column >= near.column)
            & (here.column <= far.column)
            & (here.die_column >= near.die_column)
            & (here.die_column <= far.die_column)
        )
        in_rows = (
            (here.row >= near.row)
            & (here.row <= far.row)
            & (here.die_row >= near.die_row)
            & (here.die_row <= far.die_row)
        )
        ways = {
            Port.LOCAL: in_columns & in_rows,
            # Along the row of the source, as far as the rectangle reaches; ...
            Port.EAST: here.x < far.x if self._port in (Port.LOCAL, Port.WEST) else none,
            Port.WEST: here.x > near.x if self._port in (Port.LOCAL, Port.EAST) else none,
            # ... from there, in each of its columns, to both ends of it.
            Port.SOUTH: in_columns & (here.y < far.y) if self._port != Port.SOUTH else none,
            Port.NORTH: in_columns & (here.y > near.y) if self._port != Port.NORTH else none,
        }
        return Cat(ways[port] for port in Port)


class _Coordinates:
    """A place by its parts; x and y are those by which dimension order goes."""

    def __init__(self, place: Value):
        self.column, self.row, self.die_column, self.die_row = (
            place.word_select(n, _COORDINATE_BITS) for n in range(4)
        )
        self.x, self.y = Cat(self.column, self.die_column), Cat(self.row, self.die_row)


def is_router_register(address: Value) -> Value:
    """Return whether the local offset of an address is a router's and not the node's.

    Golden twin: `d1_golden.fabric.routing.is_router_register`.
    """
    return address[ROUTER_BITS:LOCAL_BITS] == ROUTER_BASE >> ROUTER_BITS
