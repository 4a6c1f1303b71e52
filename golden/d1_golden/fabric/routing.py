"""Which way a packet goes at a router: the rules, for one packet at a time.

Golden twin of `d1_rtl.fabric.route_computation`. docs/router.md explains the rules.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from d1_golden.memory_map import (
    LOCAL_BITS,
    ROUTE_TABLE_SIDE,
    ROUTER_BASE,
    ROUTER_BITS,
)
from d1_golden.packet import Opcode

from .place import Place
from .ports import SIDES, Port

__all__ = [
    "ENTRY_BITS",
    "Plane",
    "Route",
    "RouteEntry",
    "RoutingState",
    "broadcast_outputs",
    "dimension_order",
    "entry_of_port",
    "is_router_register",
    "route",
]

#: Bits of an entry of the routing table.
ENTRY_BITS = 4


class Plane(enum.IntEnum):
    """The two networks that have nothing in common but the places they connect."""

    REQUEST = 0
    REPLY = 1


class RouteEntry(enum.IntEnum):
    """Where packets for a place leave a router; the values that have no name mean UNREACHABLE."""

    DIMENSION_ORDER = 0  #: first along the row to the place's column, then along the column
    LOCAL = 1
    NORTH = 2
    EAST = 3
    SOUTH = 4
    WEST = 5
    UNREACHABLE = 15  #: nowhere: the router's control refuses or drops the packet


def entry_of_port(port: Port) -> RouteEntry:
    """Return the entry that sends packets to a port."""
    return RouteEntry(port + 1)


@dataclass
class RoutingState:
    """What software may set at a router to change the ways of packets; zero after a reset.

    Parameters
    ----------
    entries
        `RouteEntry` of each place of the own die that the table holds, by row and column.
    exits
        `RouteEntry` of places of other dies by `SIDES`: the side on which their die is, seen from
        this one, east and west before north and south.
    core_disabled
        Whether nothing goes to the node.

    """

    entries: NDArray[np.uint8] = field(
        default_factory=lambda: np.zeros((ROUTE_TABLE_SIDE, ROUTE_TABLE_SIDE), np.uint8)
    )
    exits: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(len(SIDES), np.uint8))
    core_disabled: bool = False


@dataclass(frozen=True)
class Route:
    """Where a packet goes from a router.

    Parameters
    ----------
    outputs
        The ports that get a copy; a packet other than a BROADCAST has one.
    control
        Whether what goes to LOCAL is for the router's control and not for the node.

    """

    outputs: frozenset[Port]
    control: bool = False


def is_router_register(address: int) -> bool:
    """Return whether the local offset of an address is a router's and not the node's."""
    return (address & (1 << LOCAL_BITS) - 1) >> ROUTER_BITS == ROUTER_BASE >> ROUTER_BITS


def dimension_order(here: Place, to: Place) -> Port:
    """Return the way by dimension order: column before row, each with that of the die above it."""
    x, y = (here.die_column, here.column), (here.die_row, here.row)
    to_x, to_y = (to.die_column, to.column), (to.die_row, to.row)
    if to_x != x:
        return Port.EAST if to_x > x else Port.WEST
    if to_y != y:
        return Port.SOUTH if to_y > y else Port.NORTH
    return Port.LOCAL


def _entry(here: Place, to: Place, state: RoutingState) -> int:
    """Return the entry that holds for a destination."""
    if to.die_column != here.die_column:
        side = Port.EAST if to.die_column > here.die_column else Port.WEST
    elif to.die_row != here.die_row:
        side = Port.SOUTH if to.die_row > here.die_row else Port.NORTH
    elif to.column < ROUTE_TABLE_SIDE and to.row < ROUTE_TABLE_SIDE:
        return int(state.entries[to.row, to.column])
    else:
        return RouteEntry.DIMENSION_ORDER
    return int(state.exits[SIDES.index(side)])


def broadcast_outputs(here: Place, i: Port, near: Place, far: Place) -> frozenset[Port]:
    """Return the ways of a BROADCAST that came in at port `i`: its tree, seen from one router."""
    x, y = (here.die_column, here.column), (here.die_row, here.row)
    in_columns = (
        near.column <= here.column <= far.column
        and near.die_column <= here.die_column <= far.die_column
    )
    in_rows = near.row <= here.row <= far.row and near.die_row <= here.die_row <= far.die_row
    ways = {
        Port.LOCAL: in_columns and in_rows,
        # Along the row of the source, as far as the rectangle reaches; ...
        Port.EAST: i in (Port.LOCAL, Port.WEST) and x < (far.die_column, far.column),
        Port.WEST: i in (Port.LOCAL, Port.EAST) and x > (near.die_column, near.column),
        # ... from there, in each of its columns, to both ends of it.
        Port.SOUTH: in_columns and i is not Port.SOUTH and y < (far.die_row, far.row),
        Port.NORTH: in_columns and i is not Port.NORTH and y > (near.die_row, near.row),
    }
    return frozenset(port for port, taken in ways.items() if taken)


def route(
    plane: Plane, here: Place, i: Port, packet: np.void, state: RoutingState | None = None
) -> Route:
    """Return where a packet that came in at port `i` of a router goes.

    Parameters
    ----------
    plane
        Of the router. Requests go to their `address`, replies to their `source`.
    here
        Where the router is.
    i
        The input port; it matters to a BROADCAST only.
    packet
        A packet of `PACKET_DTYPE`.
    state
        Tables; without, those after a reset.

    """
    state = state or RoutingState()
    address = int(packet["address"])
    request = plane is Plane.REQUEST
    # Bits above those of a place are the destination's to refuse.
    to_bits = (address >> LOCAL_BITS) & 0xFFFF_FFFF if request else int(packet["source"])
    control = state.core_disabled or (request and is_router_register(address))
    if request and packet["opcode"] == Opcode.BROADCAST:
        far = Place.from_bits(int(packet["mask"]) & 0xFFFF_FFFF)
        ways = broadcast_outputs(here, i, Place.from_bits(to_bits), far)
        # A rectangle that is empty, or does not reach here, ends at the control, which drops it.
        return Route(ways, control) if ways else Route(frozenset({Port.LOCAL}), control=True)
    to = Place.from_bits(to_bits)
    entry = _entry(here, to, state)
    if entry > RouteEntry.WEST:
        return Route(frozenset({Port.LOCAL}), control=True)
    port = dimension_order(here, to) if entry == RouteEntry.DIMENSION_ORDER else Port(entry - 1)
    return Route(frozenset({port}), control)
