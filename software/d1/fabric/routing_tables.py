"""Routing tables of a die with dead routers.

Packets go by dimension order, first along the row and then along the column, where that way is
alive, and around the dead routers elsewhere. docs/routing.md explains how the ways are chosen, why
they cannot deadlock, and what they cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import RouteEntry, dimension_order, entry_of_port
from d1_golden.memory_map import ROUTE_TABLE_SIDE
from d1_golden.params import DieParams
from numpy.typing import NDArray

from .channel_dependencies import Channels
from .deadlock_check import check_routes
from .route_choice import choose_routes, intact_load
from .route_trees import ARRIVED, NO_ROUTE

__all__ = ["RoutingTables", "check_connected", "routing_tables"]


@dataclass(frozen=True)
class RoutingTables:
    """Where packets go at every router of a die.

    Parameters
    ----------
    die
        The die.
    routes
        (rows, columns, 32, 32): at the router of a row and column, the `RouteEntry` of the place of
        a row and column, never DIMENSION_ORDER. Zero at dead routers.
    exits
        (rows, columns, 4): the same of the dies on the four `SIDES`.
    turns
        Which dependencies between channels routes and broadcasts may make
        (`d1.fabric.channel_dependencies`). They have no circle.
    greatest_load
        Packets in the busiest channel when every live router sends one to every other.

    """

    die: DieParams
    routes: NDArray[np.uint8]
    exits: NDArray[np.uint8]
    turns: NDArray[np.bool_]
    greatest_load: int

    @cached_property
    def entries(self) -> NDArray[np.uint8]:
        """`routes` as the registers hold them: DIMENSION_ORDER where that is the way."""
        by_order = _by_dimension_order(self.die)
        return np.where(self.routes == by_order, RouteEntry.DIMENSION_ORDER, self.routes)

    @cached_property
    def exit_entries(self) -> NDArray[np.uint8]:
        """`exits` as the registers hold them."""
        by_order = np.array([entry_of_port(side) for side in SIDES], np.uint8)
        return np.where(self.exits == by_order, RouteEntry.DIMENSION_ORDER, self.exits)

    def port(self, at: tuple[int, int], to: tuple[int, int]) -> Port | None:
        """Return where packets for a place or door leave a router; None if it is unreachable."""
        entry = int(self.routes[at[1] - 1, at[0] - 1, to[1], to[0]])
        return None if entry == RouteEntry.UNREACHABLE else Port(entry - 1)

    def path(self, start: tuple[int, int], to: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the places on the way from a router to a place or door, both included.

        Raises
        ------
        ValueError
            If there is no way.

        """
        path = [start]
        while (port := self.port(path[-1], to)) is not Port.LOCAL:
            if port is None:
                raise ValueError(f"to must be a place or door with a live router, not {to!r}")
            path.append(Place(*path[-1]).neighbour(port)[:2])
            column, row = path[-1]
            if not (1 <= column <= self.die.columns and 1 <= row <= self.die.rows):
                break
        return path


def routing_tables(die: DieParams) -> RoutingTables:
    """Return the routing tables of a die.

    Without dead routers they are those after a reset. Otherwise every live router reaches every
    place with a live router and every door beside one; all else is UNREACHABLE.

    Raises
    ------
    ValueError
        If the live routers are not connected; the message says what is cut off from what.
    RuntimeError
        If the tables fail the independent check of `check_routes`: a fault of this module.

    """
    check_connected(die)
    channels = Channels.of(die)
    if die.dead_routers:
        sides, turns, load = choose_routes(die, channels, _first_choice(die))
        routes, exits = _assemble(die, channels, sides)
    else:
        turns, load = channels.dimension_order(), intact_load(die)
        routes = _by_dimension_order(die)
        by_side = np.array([entry_of_port(side) for side in SIDES], np.uint8)
        exits = np.broadcast_to(by_side, (die.rows, die.columns, len(SIDES))).copy()
    check_routes(die, routes, exits, broadcast_turns=turns & channels.dimension_order())
    return RoutingTables(die, routes, exits, turns, load)


def check_connected(die: DieParams) -> None:
    """Raise ValueError if dead routers cut the live ones apart; the message names the cut."""
    channels = Channels.of(die)
    parts: list[NDArray[np.intp]] = []
    left = channels.routers
    while len(left):
        reached = channels.levels(int(left[0])) >= 0
        parts.append(np.flatnonzero(reached))
        left = left[~reached[left]]
    parts.sort(key=len)
    if len(parts) > 1:
        others = sum(map(len, parts[1:]))
        cut_off = [channels.place(router) for router in parts[0]]
        around = {Place(*place).neighbour(side)[:2] for place in cut_off for side in SIDES}
        raise ValueError(
            f"dead_routers must leave the live ones connected, but {_listed(cut_off)} cannot reach "
            f"the other {others}: dead between them are "
            f"{_listed(sorted(around & set(die.dead_routers)))}"
        )


def _listed(places: Iterable[tuple[int, int]]) -> str:
    """Return places as text, the first few of many."""
    texts = [str(Place(*place)) for place in places]
    more = [f"{len(texts) - 8} more"] if len(texts) > 9 else []
    texts = texts[: 8 if more else None] + more
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def _by_dimension_order(die: DieParams) -> NDArray[np.uint8]:
    """Return `routes` of a die whose routers go by dimension order, dead or not."""
    # The way depends on the signs of the two differences only.
    middle = Place(1, 1)
    ways = np.array(
        [
            [entry_of_port(dimension_order(middle, Place(1 + x, 1 + y))) for x in (-1, 0, 1)]
            for y in (-1, 0, 1)
        ],
        np.uint8,
    )
    to = np.arange(ROUTE_TABLE_SIDE)
    x = np.sign(to - np.arange(1, die.columns + 1)[:, None]) + 1
    y = np.sign(to - np.arange(1, die.rows + 1)[:, None]) + 1
    return ways[y[:, None, :, None], x[None, :, None, :]]


def _first_choice(die: DieParams) -> NDArray[np.int8]:
    """Return `first_choice` of `choose_routes`: dimension order, and to the sides straight on."""
    count = die.columns * die.rows
    entries = _by_dimension_order(die)[:, :, 1 : die.rows + 1, 1 : die.columns + 1]
    to_places = entries.reshape(count, count).T.astype(np.int8) - RouteEntry.NORTH
    to_sides = np.repeat(np.arange(len(SIDES), dtype=np.int8)[:, None], count, axis=1)
    return np.concatenate([to_places, to_sides])


def _assemble(
    die: DieParams, channels: Channels, sides: NDArray[np.int8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return `routes` and `exits` of `RoutingTables` from the routes to `_destinations`."""
    shape = (die.rows, die.columns)
    ways = np.where(sides == NO_ROUTE, RouteEntry.UNREACHABLE, sides + RouteEntry.NORTH)
    to_places = ways[: -len(SIDES)].reshape(*shape, *shape).transpose(2, 3, 0, 1)
    to_sides = ways[-len(SIDES) :].reshape(-1, *shape).transpose(1, 2, 0)
    arrived = ARRIVED + RouteEntry.NORTH

    def leaving(entries: NDArray[np.integer], by: Port) -> NDArray[np.integer]:
        return np.where(entries == arrived, entry_of_port(by), entries)

    exits = np.stack(
        [leaving(to_sides[..., index], side) for index, side in enumerate(SIDES)], axis=-1
    )
    routes = np.full((*shape, ROUTE_TABLE_SIDE, ROUTE_TABLE_SIDE), RouteEntry.UNREACHABLE, np.uint8)
    rows, columns = slice(1, die.rows + 1), slice(1, die.columns + 1)
    routes[:, :, rows, columns] = leaving(to_places, Port.LOCAL)
    routes[:, :, 0, columns] = leaving(to_places[:, :, 0], Port.NORTH)
    routes[:, :, die.rows + 1, columns] = leaving(to_places[:, :, -1], Port.SOUTH)
    # By dimension order, column first, a packet leaves at the row where it is: any door will do.
    live = channels.live.reshape(shape)
    for side, column, edge in ((Port.WEST, 0, 0), (Port.EAST, die.columns + 1, -1)):
        door = exits[:, :, None, SIDES.index(side)]
        routes[:, :, rows, column] = np.where(live[:, edge], door, RouteEntry.UNREACHABLE)
    routes[~live] = 0
    exits[~live] = 0
    return routes, exits.astype(np.uint8)
