"""How the routing tables get into the routers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from d1.fabric.routing_tables import RoutingTables, routing_tables
from d1.fabric.table_loading import loading_steps
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import Plane, RouteEntry, RoutingState, route
from d1_golden.memory_map import (
    LOCAL_BITS,
    ROUTE_TABLE_BASE,
    ROUTE_TABLE_REGISTERS,
    RouterRegister,
    register_address,
)
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, Opcode
from d1_golden.params import DIES, PRESETS, DieParams


class Host:
    """The routers of a die, each by the golden rules of one packet, and a host at the doors."""

    def __init__(self, die: DieParams) -> None:
        self.die = die
        self.states = {Place(*place): RoutingState() for place in die.live_routers}

    def travel(self, plane: Plane, at: Place, packet: np.void) -> Place:
        """Return where a packet ends that starts at a router; a door if it leaves the die."""
        for _ in range(4 * len(self.die.places)):
            assert at in self.states, f"a packet is stuck before the dead router {at}"
            (port,) = route(plane, at, Port.LOCAL, packet, self.states[at]).outputs
            if port is Port.LOCAL:
                return at
            at = at.neighbour(port)
            if at[:2] not in self.die.places:
                return at
        raise AssertionError("a packet goes round for ever")

    def send(self, door: Place, packet: np.void) -> None:
        """Carry out a WRITE to a router that comes in at a door, and its acknowledgement."""
        assert packet["opcode"] == Opcode.WRITE
        assert packet["source"] == door.bits
        entry = next(p for p in map(door.neighbour, SIDES) if p[:2] in self.die.places)
        to = Place.from_bits(int(packet["address"]) >> LOCAL_BITS)
        assert self.travel(Plane.REQUEST, entry, packet) == to
        self.write(to, int(packet["address"]) & (1 << LOCAL_BITS) - 1, packet)
        if packet["flags"] & ACK_FLAG:
            assert self.travel(Plane.REPLY, to, packet)[:2] not in self.die.places

    def write(self, router: Place, offset: int, packet: np.void) -> None:
        """Put what a WRITE brings into the tables as the routers do, a register at a time."""
        state = self.states[router]
        for n in range(8):
            covered = int(packet["mask"]) >> 8 * n & 0xFF
            if not covered:
                continue
            assert covered == 0xFF
            value = int.from_bytes(packet["data"][8 * n : 8 * n + 8].tobytes(), "little")
            register = (offset - ROUTE_TABLE_BASE) // 8 + n
            fields = [value >> 4 * k & 0xF for k in range(16)]
            if register < ROUTE_TABLE_REGISTERS:
                half = 16 * (register % 2)
                state.entries[register // 2, half : half + 16] = fields
            else:
                assert offset + 8 * n == register_address(RouterRegister.EXITS)
                state.exits[:] = fields[:4]


def load(tables: RoutingTables) -> Host:
    host = Host(tables.die)
    for step in loading_steps(tables):
        assert [bool(flags & ACK_FLAG) for flags in step.packets["flags"]] == [
            *[False] * (len(step.packets) - 1),
            True,
        ]
        for packet in step.packets:
            host.send(step.door, packet)
    return host


def check(die: DieParams) -> None:
    tables = routing_tables(die)
    host = load(tables)
    for place, state in host.states.items():
        assert np.array_equal(state.entries, tables.entries[place.row - 1, place.column - 1])
        assert np.array_equal(state.exits, tables.exit_entries[place.row - 1, place.column - 1])


def test_without_dead_routers_there_is_nothing_to_load() -> None:
    assert loading_steps(routing_tables(DIES["d1"])) == []


@pytest.mark.parametrize("size", [(3, 3), (4, 3), (4, 4)])
@pytest.mark.parametrize("count", [1, 2])
def test_every_small_mesh_is_loaded_over_what_is_loaded_already(
    size: tuple[int, int], count: int
) -> None:
    whole = DieParams(name="test", node=PRESETS["tiny"], columns=size[0], rows=size[1])
    loaded = 0
    for dead in itertools.combinations(whole.places, count):
        die = replace(whole, dead_routers=dead)
        graph = nx.grid_2d_graph(range(1, size[0] + 1), range(1, size[1] + 1))
        graph.remove_nodes_from(dead)
        if nx.is_connected(graph):
            check(die)
            loaded += 1
    assert loaded > 0


def test_a_yard_that_no_straight_way_leads_into_is_loaded_by_routers_loaded_before() -> None:
    yard = ((3, 2), (2, 3), (4, 3), (3, 5), (2, 4))
    die = DieParams(name="test", node=PRESETS["tiny"], columns=6, rows=6, dead_routers=yard)
    check(die)


def test_the_die_is_loaded_with_no_more_packets_than_its_tables_have_lines() -> None:
    die = replace(DIES["d1"], dead_routers=((9, 10), (4, 5), (18, 1)))
    check(die)
    packets = np.concatenate([step.packets for step in loading_steps(routing_tables(die))])
    assert packets.dtype == PACKET_DTYPE
    assert len(packets) <= 9 * len(die.live_routers)


def test_dies_on_the_other_side_of_a_dead_edge_router_are_reached_by_another_door() -> None:
    die = DieParams(name="t", node=PRESETS["tiny"], columns=4, rows=4, dead_routers=((4, 2),))
    host = load(routing_tables(die))
    packet = np.zeros((), PACKET_DTYPE)
    packet["address"] = Place(1, 1, die_column=1).address()
    left = host.travel(Plane.REQUEST, Place(2, 2), packet)
    assert left.column == 5
    assert left.row != 2
    assert host.states[Place(3, 2)].exits[SIDES.index(Port.EAST)] != RouteEntry.DIMENSION_ORDER


def test_a_packet_to_a_dead_router_is_refused_where_it_starts() -> None:
    die = DieParams(name="t", node=PRESETS["tiny"], columns=4, rows=4, dead_routers=((3, 3),))
    host = load(routing_tables(die))
    packet = np.zeros((), PACKET_DTYPE)
    packet["address"] = Place(3, 3).address()
    for place, state in host.states.items():
        taken = route(Plane.REQUEST, place, Port.LOCAL, packet, state)
        assert taken.outputs == {Port.LOCAL}
        assert taken.control
