"""Ways of packets: dimension order, tables, other dies, trees of broadcasts."""

import itertools
from collections import Counter

import numpy as np
import pytest
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import (
    Plane,
    Route,
    RouteEntry,
    RoutingState,
    entry_of_port,
    route,
)
from d1_golden.memory_map import ROUTER_BASE
from d1_golden.packet import PACKET_DTYPE, Opcode

COLUMNS, ROWS = 4, 3
PLACES = [Place(c, r) for r in range(1, ROWS + 1) for c in range(1, COLUMNS + 1)]
CONTROL = Route(frozenset({Port.LOCAL}), control=True)


def to(place: Place, plane: Plane = Plane.REQUEST, offset: int = 0) -> np.void:
    packet = np.zeros(1, PACKET_DTYPE)
    packet["opcode"] = Opcode.WRITE if plane is Plane.REQUEST else Opcode.WRITE_REPLY
    # What the other plane goes by leads elsewhere.
    packet["source"] = Place(9, 9).bits if plane is Plane.REQUEST else place.bits
    packet["address"] = (place if plane is Plane.REQUEST else Place(9, 9)).address(offset)
    return packet[0]


def broadcast(near: Place, far: Place, offset: int = 0) -> np.void:
    packet = np.zeros(1, PACKET_DTYPE)
    packet["opcode"] = Opcode.BROADCAST
    packet["address"], packet["mask"] = near.address(offset), far.bits
    return packet[0]


def only(port: Port) -> Route:
    return Route(frozenset({port}))


def path(source: Place, packet: np.void, plane: Plane) -> list[Port]:
    """Return the ports by which a packet leaves each router on its way."""
    here, i, ports = source, Port.LOCAL, []
    while True:
        (port,) = route(plane, here, i, packet).outputs
        ports.append(port)
        if port is Port.LOCAL:
            return ports
        here, i = here.neighbour(port), port.opposite
        assert len(ports) < 100, "the packet must arrive"


@pytest.mark.parametrize("plane", Plane)
def test_packets_go_along_the_row_first_and_no_way_round(plane: Plane) -> None:
    for source, place in itertools.product(PLACES, repeat=2):
        right, down = place.column - source.column, place.row - source.row
        row = [Port.EAST if right > 0 else Port.WEST] * abs(right)
        column = [Port.SOUTH if down > 0 else Port.NORTH] * abs(down)
        assert path(source, to(place, plane), plane) == [*row, *column, Port.LOCAL]


def test_packets_for_other_dies_and_doors_go_to_the_edge_in_the_same_order() -> None:
    here = Place(3, 3, 2, 2)
    ways = {
        Place(1, 3, 3, 2): Port.EAST,
        Place(9, 3, 1, 2): Port.WEST,
        # The die's column comes before its row, and that before the place in it.
        Place(1, 1, 3, 1): Port.EAST,
        Place(1, 1, 1, 3): Port.WEST,
        # In the own die's column the packet goes to its own column first.
        Place(4, 1, 2, 3): Port.EAST,
        Place(3, 1, 2, 3): Port.SOUTH,
        Place(3, 9, 2, 1): Port.NORTH,
        Place(0, 1, 2, 2): Port.WEST,
        Place(19, 9, 2, 2): Port.EAST,
        Place(3, 0, 2, 2): Port.NORTH,
        Place(3, 21, 2, 2): Port.SOUTH,
        Place(3, 255, 2, 2): Port.SOUTH,
        here: Port.LOCAL,
    }
    for place, port in ways.items():
        assert route(Plane.REQUEST, here, Port.NORTH, to(place)) == only(port), place


@pytest.mark.parametrize("plane", Plane)
def test_an_entry_of_the_table_overrides_the_way_to_one_place(plane: Plane) -> None:
    here, place, beside = Place(2, 2), Place(3, 1), Place(3, 2)
    for port in Port:
        state = RoutingState()
        state.entries[place.row, place.column] = entry_of_port(port)
        assert route(plane, here, Port.LOCAL, to(place, plane), state) == only(port)
        assert route(plane, here, Port.LOCAL, to(beside, plane), state) == only(Port.EAST)


@pytest.mark.parametrize("entry", [6, 14, RouteEntry.UNREACHABLE])
def test_what_has_no_way_ends_at_the_control(entry: int) -> None:
    state = RoutingState()
    state.entries[1, 3] = entry
    for plane in Plane:
        assert route(plane, Place(2, 2), Port.EAST, to(Place(3, 1), plane), state) == CONTROL


def test_the_table_is_for_places_of_the_own_die_that_it_holds() -> None:
    state = RoutingState()
    state.entries[:] = RouteEntry.NORTH
    here = Place(2, 2, 1, 1)
    assert route(Plane.REQUEST, here, Port.EAST, to(here), state) == only(Port.NORTH)
    for place in (Place(32, 2, 1, 1), Place(3, 2, 2, 1)):
        assert route(Plane.REQUEST, here, Port.EAST, to(place), state) == only(Port.EAST)
    assert route(Plane.REQUEST, here, Port.EAST, to(Place(2, 32, 1, 1)), state) == only(Port.SOUTH)


def test_exits_override_the_ways_to_other_dies() -> None:
    here = Place(2, 2, 1, 1)
    other = {
        Port.NORTH: Place(2, 2, 1, 0),
        Port.EAST: Place(2, 2, 2, 0),  # its column of dies decides
        Port.SOUTH: Place(2, 2, 1, 2),
        Port.WEST: Place(2, 2, 0, 2),
    }
    for index, side in enumerate(SIDES):
        state = RoutingState()
        state.exits[index] = RouteEntry.LOCAL
        for towards, place in other.items():
            expected = Port.LOCAL if towards is side else towards
            assert route(Plane.REQUEST, here, Port.EAST, to(place), state) == only(expected)


def test_the_node_gets_no_request_to_router_registers_and_nothing_once_it_is_disabled() -> None:
    here, disabled = Place(2, 2), RoutingState(core_disabled=True)
    for offset in (ROUTER_BASE, ROUTER_BASE + 0xFFC0):
        assert route(Plane.REQUEST, here, Port.EAST, to(here, offset=offset)) == CONTROL
    for offset in (0, ROUTER_BASE - 64, ROUTER_BASE + 0x1_0000):
        assert route(Plane.REQUEST, here, Port.EAST, to(here, offset=offset)) == only(Port.LOCAL)
        assert route(Plane.REQUEST, here, Port.EAST, to(here, offset=offset), disabled) == CONTROL
    reply = to(here, Plane.REPLY)
    assert route(Plane.REPLY, here, Port.EAST, reply) == only(Port.LOCAL)
    assert route(Plane.REPLY, here, Port.EAST, reply, disabled) == CONTROL


def spread(source: Place, packet: np.void) -> tuple[Counter[Place], Counter[Place]]:
    """Return how often a broadcast is delivered at each place, and how often it is at a router."""
    delivered: Counter[Place] = Counter()
    seen: Counter[Place] = Counter()
    at = [(source, Port.LOCAL)]
    while at:
        here, i = at.pop()
        seen[here] += 1
        taken = route(Plane.REQUEST, here, i, packet)
        if taken.control:
            continue
        delivered[here] += Port.LOCAL in taken.outputs
        at += [(here.neighbour(o), o.opposite) for o in taken.outputs if o is not Port.LOCAL]
    return +delivered, seen


def test_a_broadcast_reaches_every_rectangle_from_everywhere_each_place_once() -> None:
    for source, near, far in itertools.product(PLACES, repeat=3):
        inside = {
            Place(c, r)
            for c in range(near.column, far.column + 1)
            for r in range(near.row, far.row + 1)
        }
        delivered, seen = spread(source, broadcast(near, far))
        assert delivered == Counter(inside), (source, near, far)
        if inside:
            assert set(seen.values()) == {1}, (source, near, far)
            # The tree is within what the source and the rectangle span.
            spanned = [*inside, source]
            for axis in ("column", "row"):
                values = [getattr(place, axis) for place in spanned]
                assert all(min(values) <= getattr(p, axis) <= max(values) for p in seen)


def test_a_rectangle_without_places_ends_at_the_control_where_it_goes_no_further() -> None:
    packet = broadcast(Place(2, 2), Place(2, 1))
    assert route(Plane.REQUEST, Place(2, 2), Port.SOUTH, packet) == CONTROL
    assert route(Plane.REQUEST, Place(2, 3), Port.LOCAL, packet) == only(Port.NORTH)
    # A rectangle that the packet has left behind, as one that a host sends in from the north.
    missed = broadcast(Place(3, 1), Place(4, 9))
    assert route(Plane.REQUEST, Place(2, 2), Port.NORTH, missed) == CONTROL


def test_a_rectangle_over_dies_has_the_same_columns_and_rows_in_each() -> None:
    packet = broadcast(Place(2, 3, 1, 1), Place(4, 5, 2, 1))
    for here, outputs in {
        Place(2, 3, 1, 1): {Port.LOCAL, Port.EAST, Port.SOUTH},
        Place(5, 4, 1, 1): {Port.EAST},  # between the columns of both dies
        Place(1, 4, 2, 1): {Port.EAST},
        Place(4, 4, 2, 1): {Port.LOCAL, Port.NORTH, Port.SOUTH},
    }.items():
        assert route(Plane.REQUEST, here, Port.WEST, packet) == Route(frozenset(outputs)), here


def test_a_broadcast_that_came_down_a_column_stays_in_it() -> None:
    packet = broadcast(Place(1, 1), Place(4, 3))
    here = Place(2, 2)
    assert route(Plane.REQUEST, here, Port.NORTH, packet).outputs == {Port.SOUTH, Port.LOCAL}
    assert route(Plane.REQUEST, here, Port.SOUTH, packet).outputs == {Port.NORTH, Port.LOCAL}
    state = RoutingState(core_disabled=True)
    assert route(Plane.REQUEST, here, Port.NORTH, packet, state).control
