"""The exits of routers: how packets go to other dies where a place has no link, or a dead one.

Packets to another die leave by the row, or the column, in which they come to the edge. Where that
has no link that works, the exits of its routers send them one row (or column) on, towards a row
that has one, until they are there. docs/dies.md tells why that is free of deadlock; it is checked
here for each set of exits before anybody loads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import product

import networkx as nx
import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import ENTRY_BITS, RouteEntry, entry_of_port
from d1_golden.machine import DieLinkEnd, MachineParams
from numpy.typing import NDArray

__all__ = ["check_exits", "exits_around", "exits_register"]

#: What each router does with packets for other dies, by `SIDES`.
Exits = dict[Place, dict[Port, RouteEntry]]
_ROWS = (Port.EAST, Port.WEST)
_COLUMNS = (Port.NORTH, Port.SOUTH)


def exits_register(exits: dict[Port, RouteEntry]) -> int:
    """Return what the register EXITS of a router holds."""
    return sum(
        exits.get(side, RouteEntry.DIMENSION_ORDER) << ENTRY_BITS * n
        for n, side in enumerate(SIDES)
    )


def exits_around(machine: MachineParams, down: Collection[DieLinkEnd] = ()) -> Exits:
    """Return the exits that lead to every die by links that work.

    Parameters
    ----------
    machine
        The machine.
    down
        Ends of links that do not work; a link with one such end carries nothing.

    Returns
    -------
    dict
        Of each place the entries that are not those of dimension order.

    Raises
    ------
    ValueError
        If no such exits are known: an edge has no link left, or there is no row, or column, that
        works between all dies to which the others can turn.

    """
    live = {end for end, other in machine.ends.items() if end not in down and other not in down}
    rows = list(_common(machine, live, _ROWS, machine.die.rows))
    columns = list(_common(machine, live, _COLUMNS, machine.die.columns))
    for row, column in product(rows, columns):
        exits = _turned(machine, live, row, column)
        if _fault(machine, live, exits) is None:
            return exits
    raise ValueError(
        f"links of machine {machine.name} must leave a way to every die, but without "
        f"{', '.join(map(str, down)) or 'more of them'} there is none"
    )


def check_exits(machine: MachineParams, down: Collection[DieLinkEnd], exits: Exits) -> None:
    """Walk all ways that exits make.

    Raises
    ------
    RuntimeError
        If a node cannot be reached from another one by links that work, or packets can wait for
        each other in a circle.

    """
    live = {end for end, other in machine.ends.items() if end not in down and other not in down}
    fault = _fault(machine, live, exits)
    if fault is not None:
        raise RuntimeError(fault)


def _common(
    machine: MachineParams, live: Collection[DieLinkEnd], sides: tuple[Port, Port], count: int
) -> Iterator[int]:
    """Yield the rows (columns) that have a live link at all joined edges, the last one first.

    With the last all others turn one way; then no packet turns after it has gone the other way.
    """
    joined = [
        (die, side)
        for die, side in product(machine.dies, sides)
        if machine.beside(die, side) is not None
    ]
    for position in range(count, 0, -1):
        if all(_end(machine, die, side, position) in live for die, side in joined):
            yield position


def _end(machine: MachineParams, die: tuple[int, int], side: Port, position: int) -> DieLinkEnd:
    """Return the end of the link that a row (column) has, or would have."""
    columns, rows = machine.die.columns, machine.die.rows
    column = {Port.EAST: columns, Port.WEST: 1}.get(side, position)
    row = {Port.NORTH: 1, Port.SOUTH: rows}.get(side, position)
    return DieLinkEnd(Place(column, row, *die), side)


def _turned(
    machine: MachineParams, live: Collection[DieLinkEnd], good_row: int, good_column: int
) -> Exits:
    """Return exits by which rows and columns without a live link turn to one that has one."""
    exits: Exits = {}
    for die, side in product(machine.dies, SIDES):
        if machine.beside(die, side) is None:
            continue
        in_rows = side in _ROWS
        good = good_row if in_rows else good_column
        count = machine.die.rows if in_rows else machine.die.columns
        forward, back = (Port.SOUTH, Port.NORTH) if in_rows else (Port.EAST, Port.WEST)
        dead = [n for n in range(1, count + 1) if _end(machine, die, side, n) not in live]
        ways = {n: forward if n < good else back for n in dead}
        if not in_rows:
            # Else dimension order would bring the packets back to their own column.
            ways |= {m: side for n, way in ways.items() if (m := n + way.step[0]) not in dead}
        for place in machine.die.places:
            way = ways.get(place[1] if in_rows else place[0])
            if way is not None:
                exits.setdefault(Place(*place, *die), {})[side] = entry_of_port(way)
    return exits


def _fault(machine: MachineParams, live: Collection[DieLinkEnd], exits: Exits) -> str | None:
    """Return what is wrong with exits, or None."""
    places = [Place(*place, *die) for die in machine.dies for place in machine.die.places]
    after, sides = _hops(machine, live, exits, places)
    count = len(places)
    # Where a packet is after ever more hops; a place that is lost stays so.
    there = np.concatenate([after, np.full((count, 1), count)], axis=1)
    for _ in range(count.bit_length()):
        there = np.take_along_axis(there, there, axis=1)
    lost = np.argwhere(there[:, :count] != np.arange(count)[:, None])
    if len(lost):
        to, start = places[lost[0][0]], places[lost[0][1]]
        return f"every node must be reached from every other one, but {to} is not from {start}"
    graph = _dependencies(after, sides)
    if nx.is_directed_acyclic_graph(graph):
        return None
    circle = ", ".join(
        f"{SIDES[channel % len(SIDES)].name} of {places[channel // len(SIDES)]}"
        for channel, _ in nx.find_cycle(graph)
    )
    return f"channel dependencies must have no circle, but have {circle}"


def _hops(
    machine: MachineParams,
    live: Collection[DieLinkEnd],
    exits: Exits,
    places: list[Place],
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return, by destination and place, the next place and the index of the side it is on.

    Of a destination itself that is itself, and side -1; where there is no way the number after the
    last place.
    """
    number = {place: index for index, place in enumerate(places)}
    neighbour = np.full((len(places), len(SIDES)), len(places))
    entry = np.zeros((len(places), len(SIDES)), np.intp)
    for place, index in number.items():
        for n, side in enumerate(SIDES):
            is_dead = DieLinkEnd(place, side) in machine.ends and (
                DieLinkEnd(place, side) not in live
            )
            beside = machine.next_place(place, side)
            if beside is not None and not is_dead:
                neighbour[index, n] = number[beside]
            entry[index, n] = exits.get(place, {}).get(side, RouteEntry.DIMENSION_ORDER)
    column, row, die_column, die_row = np.array(places).T
    x, y = die_column * 256 + column, die_row * 256 + row
    to = np.s_[:, None]
    side_of = {side: SIDES.index(side) for side in SIDES}
    across = np.where(x > x[to], side_of[Port.WEST], side_of[Port.EAST])
    along = np.where(y > y[to], side_of[Port.NORTH], side_of[Port.SOUTH])
    by_order = np.where(x != x[to], across, along)
    own_row, own_die = die_column == die_column[to], die_row == die_row[to]
    exit_side = np.where(own_row, along, across)
    chosen = np.take_along_axis(
        np.broadcast_to(entry.T[None], (len(places), *entry.T.shape)), exit_side[:, None], axis=1
    )[:, 0]
    chosen = np.where(own_row & own_die, RouteEntry.DIMENSION_ORDER, chosen)
    sides = np.where(chosen == RouteEntry.DIMENSION_ORDER, by_order, chosen - RouteEntry.NORTH)
    here = np.arange(len(places))
    after = neighbour[here, sides]
    np.fill_diagonal(after, here)
    np.fill_diagonal(sides, -1)
    return after, sides


def _dependencies(after: NDArray[np.intp], sides: NDArray[np.intp]) -> nx.DiGraph:
    """Return which channel a packet may wait for while it holds which."""
    count = len(after)
    then = np.take_along_axis(sides, after, axis=1)
    goes_on = then >= 0
    first = (np.arange(count) * len(SIDES) + sides)[goes_on]
    second = (after * len(SIDES) + then)[goes_on]
    graph = nx.DiGraph()
    graph.add_edges_from(np.unique(np.stack([first, second], axis=1), axis=0).tolist())
    return graph
