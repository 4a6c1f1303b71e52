"""Routing tables around dead routers."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from d1.fabric import route_choice
from d1.fabric.channel_dependencies import Channels, DependencySet
from d1.fabric.deadlock_check import channel_dependency_graph, check_routes
from d1.fabric.routing_tables import RoutingTables, check_connected, routing_tables
from d1_golden.fabric.mesh import MeshModel
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import RouteEntry, dimension_order
from d1_golden.fabric.traffic import Pattern, random_traffic
from d1_golden.params import DIES, PRESETS, DieParams

D1 = DIES["d1"]


def a_die(columns: int, rows: int, *dead: tuple[int, int]) -> DieParams:
    return DieParams(
        name="test", node=PRESETS["tiny"], columns=columns, rows=rows, dead_routers=dead
    )


def grid(die: DieParams) -> nx.Graph:
    """Return the live routers and the links between them."""
    whole = nx.Graph(nx.grid_2d_graph(range(1, die.columns + 1), range(1, die.rows + 1)))
    whole.remove_nodes_from(die.dead_routers)
    return whole


def doors(die: DieParams) -> list[tuple[int, int]]:
    ends = (0, die.columns + 1), (0, die.rows + 1)
    return [
        *itertools.product(ends[0], range(1, die.rows + 1)),
        *itertools.product(range(1, die.columns + 1), ends[1]),
    ]


def beside(die: DieParams, door: tuple[int, int]) -> tuple[int, int]:
    return min(max(door[0], 1), die.columns), min(max(door[1], 1), die.rows)


def dependencies(tables: RoutingTables) -> nx.DiGraph:
    """Return what channels wait for, found by walking every route one hop at a time."""
    die = tables.die
    graph = nx.DiGraph()
    for to in [*die.live_routers, *(d for d in doors(die) if beside(die, d) in die.live_routers)]:
        for start in die.live_routers:
            port = tables.port(start, to)
            assert port is not None
            after = Place(*start).neighbour(port)[:2] if port is not Port.LOCAL else to
            if after in die.live_routers and after != to:
                then = tables.port(after, to)
                assert then is not None
                if Place(*after).neighbour(then)[:2] in die.places:  # nobody waits at a door
                    graph.add_edge((start, port), (after, then))
    for start, (before, after) in itertools.product(
        die.live_routers, itertools.product(SIDES, SIDES)
    ):
        through = Place(*start).neighbour(before)[:2]
        index = Channels.of(die).router(*start) * 4 + before - 1
        if tables.turns[index, after - 1] and (before == after or before.step[0]):
            graph.add_edge((start, before), (through, after))
    return graph


def check(tables: RoutingTables) -> None:
    """Check everything that tables promise, independently of how the product checks it."""
    die = tables.die
    live = set(die.live_routers)
    for start in live:
        for to in live:
            path = tables.path(start, to)
            assert path[-1] == to
            assert set(path) <= live
        for door in doors(die):
            if beside(die, door) in live:
                left = tables.path(start, door)[-1]
                along = 0 if door[0] in (0, die.columns + 1) else slice(None)
                assert np.array_equal(np.array(left)[along], np.array(door)[along])
                assert beside(die, left) in live
    walked = dependencies(tables)
    assert nx.is_directed_acyclic_graph(walked)
    by_order = tables.turns & Channels.of(die).dimension_order()
    graph = channel_dependency_graph(die, tables.routes, tables.exits, by_order)
    assert set(walked.edges) <= set(graph.edges)  # which has the ways to other dies as well


def random_dead(rng: np.random.Generator, die: DieParams, count: int) -> DieParams:
    """Return the die with some dead routers that leave the others connected."""
    while True:
        chosen = rng.choice(len(die.places), size=count, replace=False)
        candidate = replace(die, dead_routers=tuple(die.places[index] for index in chosen))
        if nx.is_connected(grid(candidate)):
            return candidate


def test_without_dead_routers_nothing_has_to_be_written() -> None:
    tables = routing_tables(D1)
    assert not tables.entries.any()
    assert not tables.exit_entries.any()
    assert tables.port((3, 4), (17, 2)) is Port.EAST


def test_entries_stand_only_where_the_way_is_not_that_of_dimension_order() -> None:
    die = a_die(5, 4, (3, 2))
    tables = routing_tables(die)
    for (column, row), to in itertools.product(die.live_routers, (*die.live_routers, *doors(die))):
        entry = tables.entries[row - 1, column - 1, to[1], to[0]]
        by_order = dimension_order(Place(column, row), Place(*to))
        assert entry != by_order + 1
        assert tables.port((column, row), to) == (by_order if entry == 0 else Port(entry - 1))


def test_a_route_is_that_of_dimension_order_where_nothing_is_in_its_way_or_near() -> None:
    tables = routing_tables(a_die(6, 6, (5, 5)))
    assert tables.path((1, 2), (3, 1)) == [(1, 2), (2, 2), (3, 2), (3, 1)]


def test_dead_places_and_doors_beside_them_are_unreachable_everywhere() -> None:
    die = a_die(4, 4, (1, 2), (3, 4))
    tables = routing_tables(die)
    for gone in ((1, 2), (0, 2), (3, 4), (3, 5), (9, 2), (0, 0)):
        for at in die.live_routers:
            assert tables.port(at, gone) is None
        with pytest.raises(ValueError, match=r"to must be a place or door with a live router, not"):
            tables.path((1, 1), gone)


@pytest.mark.parametrize("size", [(3, 3), (3, 4), (4, 3), (4, 4)])
@pytest.mark.parametrize("count", [1, 2])
def test_all_small_meshes_with_one_or_two_dead_routers_are_routed_or_refused(
    size: tuple[int, int], count: int
) -> None:
    outcomes: Counter[str] = Counter()
    for dead in itertools.combinations(a_die(*size).places, count):
        die = a_die(*size, *dead)
        if nx.is_connected(grid(die)):
            check(routing_tables(die))
            outcomes["routed"] += 1
        else:
            with pytest.raises(ValueError, match="must leave the live ones connected"):
                routing_tables(die)
            outcomes["refused"] += 1
    assert outcomes["routed"] > 0
    assert (outcomes["refused"] > 0) == (count == 2)


@pytest.mark.parametrize("seed", range(5))
def test_random_dead_routers_of_the_die_leave_all_live_ones_connected(seed: int) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    tables = routing_tables(random_dead(rng, D1, int(rng.integers(1, 7))))
    by_order = tables.turns & Channels.of(tables.die).dimension_order()
    check_routes(tables.die, tables.routes, tables.exits, by_order)
    shortest = dict(nx.all_pairs_shortest_path_length(grid(tables.die)))
    for start, to in rng.choice(tables.die.live_routers, size=(100, 2)):
        path = tables.path(tuple(start), tuple(to))
        assert path[-1] == tuple(to)
        assert len(path) - 1 >= shortest[tuple(start)][tuple(to)]


@pytest.mark.parametrize("seed", range(15))
def test_random_dead_routers_of_middling_meshes_leave_all_live_ones_connected(seed: int) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    columns, rows = (int(side) for side in rng.integers(2, 8, size=2))
    count = int(rng.integers(1, max(2, columns * rows // 5)))
    check(routing_tables(random_dead(rng, a_die(columns, rows), count)))


SHAPES = {
    "a wall with a gap": [(4, row) for row in (1, 2, 3, 5, 6)],
    "a wall with a gap at its end": [(column, 3) for column in (1, 2, 3, 4, 5, 6)],
    "the corners": [(1, 1), (7, 1), (1, 6), (7, 6)],
    "an edge row": [(column, 1) for column in range(1, 8)],
    "an edge column": [(7, row) for row in range(1, 7)],
    "two beside each other at an edge": [(3, 1), (4, 1)],
    "a diagonal": [(2, 2), (3, 3), (4, 4), (5, 5)],
    "a yard": [(3, 2), (3, 3), (3, 4), (4, 4), (5, 4), (5, 3)],
    "one in the middle": [(4, 3)],
    "a spiral": [(2, 2), (3, 2), (4, 2), (5, 2), (6, 2), (6, 3), (6, 4), (5, 5), (4, 5), (2, 4)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_walls_corners_and_edges_are_gone_round(shape: str) -> None:
    check(routing_tables(a_die(7, 6, *SHAPES[shape])))


@pytest.mark.parametrize(
    ("columns", "rows", "dead"), [(1, 5, (1, 1)), (6, 1, (6, 1)), (2, 2, (1, 2)), (2, 1, (1, 1))]
)
def test_the_smallest_meshes_lose_a_corner(columns: int, rows: int, dead: tuple[int, int]) -> None:
    check(routing_tables(a_die(columns, rows, dead)))


def test_the_error_names_what_is_cut_off_and_by_what() -> None:
    message = (
        r"dead_routers must leave the live ones connected, but \(1, 1\) cannot reach the "
        r"other 353: dead between them are \(1, 2\) and \(2, 1\)"
    )
    with pytest.raises(ValueError, match=message):
        check_connected(
            replace(D1, dead_routers=((2, 1), (1, 2), (9, 9), (9, 10), (9, 11), (9, 12)))
        )


def test_of_many_places_that_are_cut_off_the_error_names_a_few() -> None:
    wall = tuple((9, row) for row in range(1, 21))
    with pytest.raises(ValueError, match=r"\(8, 1\) and 152 more cannot reach the other 180"):
        check_connected(replace(D1, dead_routers=wall))


def test_equal_dies_have_equal_tables() -> None:
    die = a_die(6, 7, (3, 3), (5, 2))
    one, other = routing_tables(die), routing_tables(die)
    assert np.array_equal(one.routes, other.routes)
    assert np.array_equal(one.exits, other.exits)


def test_traffic_on_the_golden_mesh_arrives_in_order_by_the_tables() -> None:
    die = a_die(8, 8, (4, 4), (5, 6), (1, 3))
    tables = routing_tables(die)
    model = MeshModel(8, 8, entries=tables.entries.reshape(64, 32, 32), dead=die.dead_routers)
    traffic = random_traffic(
        Pattern.UNIFORM,
        *(8, 8),
        load=0.9,
        cycles=400,
        rng=np.random.default_rng(4),
        live=model.live,
    )
    run = model.run(traffic, 100_000, drain=True)
    assert (run.delivered, run.out_of_order, run.astray) == (traffic.packets, 0, 0)


def test_the_greatest_load_is_that_of_the_busiest_channel() -> None:
    die = a_die(5, 5, (3, 3))
    tables = routing_tables(die)
    passed = Counter(
        hop
        for start, to in itertools.permutations(die.live_routers, 2)
        for hop in itertools.pairwise(tables.path(start, to))
    )
    assert tables.greatest_load == max(passed.values())


def test_where_no_attempt_succeeds_the_turns_of_up_down_routing_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(route_choice._Search, "repair", lambda self: False)
    for dead in ([(3, 3)], [(2, 2), (3, 3), (4, 4)], SHAPES["a yard"]):
        check(routing_tables(a_die(7, 6, *dead)))


def test_a_table_with_a_circle_is_refused() -> None:
    die = a_die(2, 2)
    tables = routing_tables(die)
    routes = tables.routes.copy()
    # Everything two hops away goes clockwise.
    for at, to, port in (
        ((1, 1), (2, 2), Port.EAST),
        ((2, 1), (1, 2), Port.SOUTH),
        ((2, 2), (1, 1), Port.WEST),
        ((1, 2), (2, 1), Port.NORTH),
    ):
        routes[at[1] - 1, at[0] - 1, to[1], to[0]] = port + 1
    with pytest.raises(RuntimeError, match="channel dependencies must have no circle, but have"):
        check_routes(die, routes, tables.exits, np.zeros_like(tables.turns))


def test_a_table_that_leads_into_a_dead_router_is_refused() -> None:
    die = a_die(3, 2, (2, 2))
    tables = routing_tables(die)
    routes = tables.routes.copy()
    routes[1, 0, 2, 3] = RouteEntry.EAST
    with pytest.raises(RuntimeError, match=r"but \(1, 2\) misses 1 of them"):
        check_routes(die, routes, tables.exits, np.zeros_like(tables.turns))


def test_a_table_with_a_route_to_a_dead_router_is_refused() -> None:
    die = a_die(3, 2, (2, 2))
    tables = routing_tables(die)
    routes = tables.routes.copy()
    routes[0, 0, 2, 2] = RouteEntry.EAST
    with pytest.raises(RuntimeError, match="without a live router must be unreachable"):
        check_routes(die, routes, tables.exits, np.zeros_like(tables.turns))


def test_the_graph_of_a_row_has_a_dependency_for_each_pair_of_links_in_line() -> None:
    die = a_die(4, 1)
    tables = routing_tables(die)
    none = np.zeros_like(tables.turns)
    graph = channel_dependency_graph(die, tables.routes, tables.exits, none)
    assert sorted(graph.edges) == sorted(
        (((x, 1), side), ((x + side.step[0], 1), side))
        for x, side in ((1, Port.EAST), (2, Port.EAST), (4, Port.WEST), (3, Port.WEST))
    )


def test_a_set_of_dependencies_takes_only_what_closes_no_circle() -> None:
    channels = Channels.of(a_die(3, 3, (2, 2)))
    dependencies_of_all = channels.turns()
    chosen = DependencySet(channels, np.zeros_like(dependencies_of_all))
    order = np.random.default_rng(1).permutation(np.flatnonzero(dependencies_of_all))
    chosen.add(order)

    def graph() -> nx.DiGraph:
        return nx.DiGraph(
            (int(channel), int(channels.ends.reshape(-1)[channel] * 4 + side))
            for channel, side in np.argwhere(chosen.members)
        )

    assert nx.is_directed_acyclic_graph(graph())
    left_out = np.flatnonzero(dependencies_of_all & ~chosen.members)
    assert len(left_out) == 2  # the ring of eight routers is cut once each way round
    for candidate in left_out:
        chosen.force(int(candidate), np.ones(dependencies_of_all.shape))
        assert chosen.members.reshape(-1)[candidate]
        assert nx.is_directed_acyclic_graph(graph())


def test_a_set_of_dependencies_cannot_begin_with_a_circle() -> None:
    channels = Channels.of(a_die(2, 2))
    with pytest.raises(ValueError, match="first must be dependencies without a circle"):
        DependencySet(channels, channels.turns())
