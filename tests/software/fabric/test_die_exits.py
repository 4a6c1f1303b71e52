"""Exits: ways to other dies around links that are not there or do not work."""

from dataclasses import replace

import pytest
from d1.fabric.die_exits import check_exits, exits_around, exits_register
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import RouteEntry
from d1_golden.machine import MACHINES, DieLinkEnd
from d1_golden.params import DieParams

TINY2 = MACHINES["tiny2"]
#: 4 rows and three links: one row of an edge between columns of dies has none.
TALL = DieParams(name="tall", node=TINY2.die.node, columns=3, rows=4)


def machine(columns, rows, links=3, die=TINY2.die):
    return replace(TINY2, name="some", die=die, columns=columns, rows=rows, edge_links=links)


def test_with_a_link_at_every_place_all_exits_are_those_of_dimension_order():
    for columns, rows in ((1, 1), (2, 1), (1, 3), (3, 3)):
        assert exits_around(machine(columns, rows)) == {}
        check_exits(machine(columns, rows), (), {})


def test_rows_without_a_link_turn_to_the_next_one():
    params = machine(2, 2, die=TALL)
    (without,) = {1, 2, 3, 4} - set(params.link_positions(Port.EAST))
    south = {RouteEntry.SOUTH}
    exits = exits_around(params)
    assert {(place.row, place[2:]) for place in exits} == {(without, die) for die in params.dies}
    assert all(set(entries.values()) == south for entries in exits.values())
    assert exits_register(exits[Place(1, without)]) == RouteEntry.SOUTH << 4


def test_the_two_rows_of_the_machines_die_without_links_have_exits():
    exits = exits_around(MACHINES["d1x2"])
    assert sorted({place.row for place in exits}) == [6, 13]
    assert len(exits) == 2 * 2 * 18


@pytest.mark.parametrize(("columns", "rows"), [(2, 1), (1, 2), (3, 1), (2, 2), (3, 2)])
def test_without_any_one_link_every_node_reaches_every_other_one(columns, rows):
    params = machine(columns, rows)
    for end in params.ends:
        exits = exits_around(params, [end])
        assert exits
        check_exits(params, [end], exits)
        with pytest.raises(RuntimeError, match="every node must be reached"):
            check_exits(params, [end], {})


def test_two_dead_links_of_three_leave_a_way_and_three_do_not():
    ends = TINY2.edge((0, 0), Port.EAST)
    for survivor in ends:
        exits = exits_around(TINY2, set(ends) - {survivor})
        check_exits(TINY2, set(ends) - {survivor}, exits)
    with pytest.raises(ValueError, match="links of machine tiny2 must leave a way to every die"):
        exits_around(TINY2, ends)


def test_exits_that_lead_round_in_a_circle_are_found():
    # In a die between two others: the upper row goes down to the east, the lower one up.
    params = machine(3, 1)
    exits = {}
    for column in (1, 2, 3):
        exits[Place(column, 1, 1, 0)] = {Port.EAST: RouteEntry.SOUTH, Port.WEST: RouteEntry.SOUTH}
        exits[Place(column, 3, 1, 0)] = {Port.EAST: RouteEntry.NORTH, Port.WEST: RouteEntry.NORTH}
    check_exits(params, (), exits)  # all turn towards the middle: no circle
    for column in (1, 2, 3):
        exits[Place(column, 2, 1, 0)] = {Port.EAST: RouteEntry.NORTH}
    exits[Place(1, 1, 1, 0)] = exits[Place(2, 1, 1, 0)] = {Port.WEST: RouteEntry.SOUTH}
    exits[Place(3, 1, 1, 0)] = {Port.WEST: RouteEntry.SOUTH}
    with pytest.raises(RuntimeError, match="channel dependencies must have no circle"):
        check_exits(params, (), exits)


def test_an_end_of_a_link_is_named_by_its_side_and_place():
    assert str(DieLinkEnd(Place(3, 2, 0, 1), Port.EAST)) == "east of (3, 2) of die (0, 1)"
