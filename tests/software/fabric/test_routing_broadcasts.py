"""Which rectangles broadcasts may be sent to where routers are dead."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from d1.fabric.broadcast_trees import BroadcastTrees
from d1.fabric.channel_dependencies import Channels
from d1.fabric.routing_tables import RoutingTables, routing_tables
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import broadcast_outputs
from d1_golden.params import PRESETS, DieParams


def tables_of(columns: int, rows: int, *dead: tuple[int, int]) -> RoutingTables:
    return routing_tables(
        DieParams(name="test", node=PRESETS["tiny"], columns=columns, rows=rows, dead_routers=dead)
    )


def copies(
    tables: RoutingTables, source: tuple[int, int], near: tuple[int, int], far: tuple[int, int]
) -> tuple[set[tuple[int, int]], set[tuple[int, int]], bool]:
    """Return the routers passed, the places reached, and whether no turn on the way is forbidden.

    The copies are those of the golden router, one hop at a time.
    """
    die = tables.die
    channels = Channels.of(die)
    passed, reached, allowed = set(), set(), True
    entry, port = Place(*source), Port.LOCAL
    for side in SIDES:
        inside = Place(*source).neighbour(side)
        if source not in die.places and inside[:2] in die.places:
            entry, port = inside, side.opposite
    waiting = [(entry, port)]
    while waiting:
        here, i = waiting.pop()
        passed.add(here[:2])
        for o in broadcast_outputs(here, i, Place(*near), Place(*far)):
            if o is Port.LOCAL:
                reached.add(here[:2])
                continue
            before = here.neighbour(i)[:2] if i is not Port.LOCAL else None
            if before in die.live_routers and here[:2] in die.live_routers:
                channel = channels.router(*before) * 4 + i.opposite - 1
                allowed &= bool(tables.turns[channel, o - 1])
            waiting.append((here.neighbour(o), o.opposite))
    return passed, reached, allowed


def rectangles(columns: int, rows: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    spans = [
        list(itertools.combinations_with_replacement(range(1, side + 1), 2))
        for side in (columns, rows)
    ]
    return [((x, y), (x2, y2)) for (x, x2), (y, y2) in itertools.product(*spans)]


@pytest.mark.parametrize("dead", [(), ((3, 2),), ((2, 2), (4, 3)), ((1, 1), (5, 4), (3, 3))])
def test_a_rectangle_is_open_when_its_tree_lives_and_makes_only_turns_of_the_tables(dead) -> None:
    tables = tables_of(5, 4, *dead)
    live = set(tables.die.live_routers)
    outcomes = set()
    for source in live:
        trees = BroadcastTrees(tables, source)
        for near, far in rectangles(5, 4):
            passed, reached, allowed = copies(tables, source, near, far)
            expected = passed <= live and allowed
            assert trees.reaches(near, far) == expected, (source, near, far)
            if expected:
                assert trees.routers(near, far) == passed
                assert len(reached) == (far[0] - near[0] + 1) * (far[1] - near[1] + 1)
            outcomes.add((passed <= live, allowed))
    assert (True, True) in outcomes
    # A live tree is not enough: some make a turn that would close a circle with the routes.
    assert ((True, False) in outcomes) == bool(dead)


@pytest.mark.parametrize("door", [(0, 2), (6, 1), (4, 0), (1, 5)])
def test_from_a_door_a_rectangle_is_open_when_copies_get_everywhere_in_it(door) -> None:
    tables = tables_of(5, 4, (3, 3))
    live = set(tables.die.live_routers)
    trees = BroadcastTrees(tables, door)
    opened = 0
    for near, far in rectangles(5, 4):
        passed, reached, allowed = copies(tables, door, near, far)
        whole = set(itertools.product(range(near[0], far[0] + 1), range(near[1], far[1] + 1)))
        assert trees.reaches(near, far) == (passed <= live and allowed and reached == whole)
        opened += trees.reaches(near, far)
    assert opened > 3


@pytest.mark.parametrize("seed", range(8))
def test_a_set_of_places_is_split_into_open_rectangles_and_single_places(seed: int) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    places = list(itertools.product(range(1, 8), range(1, 7)))
    chosen = [places[index] for index in rng.choice(len(places), size=4, replace=False)]
    try:
        tables = tables_of(7, 6, *chosen[:3])
    except ValueError:
        tables = tables_of(7, 6, (4, 4))
    live = list(tables.die.live_routers)
    source = live[int(rng.integers(len(live)))]
    wanted = {place for place in live if rng.random() < 0.8}
    trees = BroadcastTrees(tables, source)
    parts, singles = trees.split(wanted)
    covered = list(singles)
    for near, far in parts:
        assert trees.reaches(near, far)
        covered += itertools.product(range(near[0], far[0] + 1), range(near[1], far[1] + 1))
    assert sorted(covered) == sorted(wanted)
    assert len(parts) + len(singles) < len(wanted)


def test_a_whole_die_without_dead_routers_is_one_rectangle_over_its_dead_cores() -> None:
    die = DieParams(
        name="test", node=PRESETS["tiny"], columns=6, rows=5, dead_cores=((6, 4), (6, 5))
    )
    trees = BroadcastTrees(routing_tables(die), (2, 3))
    assert trees.split(die.live_nodes) == ([((1, 1), (6, 5))], [])


@pytest.mark.parametrize("source", [(3, 2), (3, 5), (0, 0), (9, 2)])
def test_a_source_must_be_where_packets_enter(source: tuple[int, int]) -> None:
    tables = tables_of(4, 4, (3, 4), (3, 2))
    with pytest.raises(ValueError, match="source must be a live place of the die or a door"):
        BroadcastTrees(tables, source)


def test_the_routers_of_a_broadcast_that_must_not_be_sent_are_not_told() -> None:
    trees = BroadcastTrees(tables_of(4, 4, (3, 2)), (1, 2))
    with pytest.raises(ValueError, match=r"near and far must be corners that \(1, 2\) may send to"):
        trees.routers((2, 1), (4, 3))
