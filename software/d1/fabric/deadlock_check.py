"""The independent check of routing tables: everything is reached, and nothing can deadlock.

It knows nothing of how the tables were made: it walks them.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import RouteEntry, entry_of_port
from d1_golden.params import DieParams
from numpy.typing import NDArray

__all__ = ["channel_dependency_graph", "check_routes"]

#: A channel: column and row of the router that it leaves, and the side.
Channel = tuple[tuple[int, int], Port]


def check_routes(
    die: DieParams,
    routes: NDArray[np.uint8],
    exits: NDArray[np.uint8],
    broadcast_turns: NDArray[np.bool_],
) -> None:
    """Check tables (members of `RoutingTables`).

    Raises
    ------
    RuntimeError
        If a live router does not reach a live place, a door beside one or a side of the die, if it
        has a route to anything else, or if packets can wait for each other in a circle.

    """
    graph = channel_dependency_graph(die, routes, exits, broadcast_turns)
    if not nx.is_directed_acyclic_graph(graph):
        circle = ", ".join(
            f"{Place(*place)} {side.name}" for (place, side), _ in nx.find_cycle(graph)
        )
        raise RuntimeError(f"channel dependencies must have no circle, but have {circle}")


def channel_dependency_graph(
    die: DieParams,
    routes: NDArray[np.uint8],
    exits: NDArray[np.uint8],
    broadcast_turns: NDArray[np.bool_],
) -> nx.DiGraph:
    """Walk every route and return the dependencies between channels, those of broadcasts included.

    Raises
    ------
    RuntimeError
        If a route does not end where it should, or there is none.

    """
    count = die.columns * die.rows
    live = np.array([place in set(die.live_routers) for place in die.places])
    entries, ends = _destinations(die, routes, exits)
    neighbours = np.stack([_neighbours(die, side) for side in SIDES], axis=1)
    # Where a packet is after a hop: at a router, well out of the mesh, or astray.
    out, astray = count, count + 1
    after = np.where(ends, out, astray)
    for side in SIDES:
        hops = (entries == entry_of_port(side)) & ~ends
        after = np.where(hops, neighbours[:, side - Port.NORTH], after)
    _check_ends(die, live, after, wanted=(ends & live).any(axis=1), entries=entries)
    used = broadcast_turns.copy()
    destinations, routers = np.nonzero((after < count) & live)
    before = entries[destinations, routers] - RouteEntry.NORTH
    then = after[destinations, routers]
    goes_on = after[destinations, then] < count
    onward = entries[destinations, then] - RouteEntry.NORTH
    used[(len(SIDES) * routers + before)[goes_on], onward[goes_on]] = True
    graph = nx.DiGraph()
    for channel, following in np.argwhere(used):
        router, index = divmod(int(channel), len(SIDES))
        here, there = die.places[router], die.places[neighbours[router, index]]
        graph.add_edge((here, SIDES[index]), (there, SIDES[following]))
    return graph


def _neighbours(die: DieParams, side: Port) -> NDArray[np.intp]:
    """Return for each router the number of that on one side; astray where there is none."""
    count = die.columns * die.rows
    number = {place: index for index, place in enumerate(die.places)}
    dead = set(die.dead_routers)
    beside = (Place(*place).neighbour(side)[:2] for place in die.places)
    return np.array([count + 1 if p in dead else number.get(p, count + 1) for p in beside])


def _destinations(
    die: DieParams, routes: NDArray[np.uint8], exits: NDArray[np.uint8]
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Return, by destination and router, the entries, and which of them end the way well."""
    columns, rows = np.array(die.places).T
    edges = {
        Port.NORTH: rows == 1,
        Port.EAST: columns == die.columns,
        Port.SOUTH: rows == die.rows,
        Port.WEST: columns == 1,
    }
    found: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]] = []
    for column, row in die.places:
        local = routes[:, :, row, column].reshape(-1) == RouteEntry.LOCAL
        here = (columns == column) & (rows == row)
        found.append((routes[:, :, row, column].reshape(-1), here & local))
        for side, edge in edges.items():
            if (edge & here).any():
                door = Place(column, row).neighbour(side)
                entries = routes[:, :, door.row, door.column].reshape(-1)
                # In the west and the east any door with a router behind it will do.
                along = here if side in (Port.NORTH, Port.SOUTH) else edge
                behind = (column, row) not in die.dead_routers
                found.append((entries, along & behind & (entries == entry_of_port(side))))
    for index, (side, edge) in enumerate((side, edges[side]) for side in SIDES):
        entries = exits[..., index].reshape(-1)
        found.append((entries, edge & (entries == entry_of_port(side))))
    return (
        np.stack([entries for entries, _ in found]).astype(np.intp),
        np.stack([ends for _, ends in found]),
    )


def _check_ends(
    die: DieParams,
    live: NDArray[np.bool_],
    after: NDArray[np.intp],
    wanted: NDArray[np.bool_],
    entries: NDArray[np.integer],
) -> None:
    """Raise RuntimeError if a way does not end well where one is wanted, or is where none is."""
    unwanted = entries[~wanted][:, live]
    if (unwanted != RouteEntry.UNREACHABLE).any():
        raise RuntimeError("places and doors without a live router must be unreachable")
    count = len(live)
    place = np.concatenate([after, np.full((len(after), 2), (count, count + 1))], axis=1)
    for _ in range(count.bit_length()):
        place = np.take_along_axis(place, place, axis=1)
    lost = np.argwhere((place[:, :count] != count) & live & wanted[:, None])
    if len(lost):
        router = die.places[lost[0][1]]
        raise RuntimeError(
            f"live routers must reach every live place and door, but {Place(*router)} misses "
            f"{(lost[:, 1] == lost[0][1]).sum()} of them"
        )
