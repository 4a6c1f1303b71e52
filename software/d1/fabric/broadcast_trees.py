"""Which rectangles a BROADCAST can reach from where, on a die with dead routers.

Copies go by dimension order whatever the tables say (docs/router.md): along the row of the source
and, in each column of the rectangle, to both ends of it. All routers of that tree must live, and
it may make no turn that the routes around dead routers rely on nobody making
(`RoutingTables.turns`): with such a broadcast packets could wait for each other for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from d1_golden.fabric.ports import SIDES, Port

from .channel_dependencies import Channels
from .routing_tables import RoutingTables

__all__ = ["BroadcastTrees", "Corners"]

#: The near and the far corner of a rectangle, each column and row.
Corners = tuple[tuple[int, int], tuple[int, int]]


class BroadcastTrees:
    """The rectangles that broadcasts of one source can reach.

    Parameters
    ----------
    tables
        The routing tables.
    source
        Column and row of the sender: a live place, or a door. What comes in at a northern or
        southern door reaches its column only.

    Raises
    ------
    ValueError
        If no packet enters the mesh there.

    """

    def __init__(self, tables: RoutingTables, source: tuple[int, int]) -> None:
        die = tables.die
        column, row = source
        at_side = row in (0, die.rows + 1)
        column, row = min(max(column, 1), die.columns), min(max(row, 1), die.rows)
        if (column, row) not in die.live_routers or abs(column - source[0]) + abs(
            row - source[1]
        ) > 1:
            raise ValueError(
                f"source must be a live place of the die or a door beside one, not {source!r}"
            )
        self._die = die
        self._channels = Channels.of(die)
        self._turns = tables.turns
        #: By side: the column or row where copies get to along the source's row or column.
        self._west = column if at_side else self._reach((column, row), Port.WEST, None)[0]
        self._east = column if at_side else self._reach((column, row), Port.EAST, None)[0]
        self._source, self._column, self._row = source, column, row
        self._north = np.full(die.columns + 2, die.rows + 1)
        self._south = np.zeros(die.columns + 2, int)
        for x in range(self._west, self._east + 1):
            along = None if x == column else Port.EAST if x > column else Port.WEST
            self._north[x] = self._reach((x, row), Port.NORTH, along)[1]
            self._south[x] = self._reach((x, row), Port.SOUTH, along)[1]

    def _reach(self, start: tuple[int, int], side: Port, along: Port | None) -> tuple[int, int]:
        """Return the last place of a copy that leaves `start` on a side, having come `along`."""
        ends = self._channels.ends
        router = self._channels.router(*start)
        before = None if along is None else int(ends[router, along.opposite - 1]) * 4 + along - 1
        while ends[router, side - 1] >= 0 and (before is None or self._turns[before, side - 1]):
            before = router * len(SIDES) + side - 1
            router = int(ends[router, side - 1])
        return self._channels.place(router)

    def reaches(self, near: tuple[int, int], far: tuple[int, int]) -> bool:
        """Return whether a broadcast may be sent to a rectangle that is not empty."""
        columns = slice(near[0], far[0] + 1)
        return bool(
            self._west <= near[0]
            and far[0] <= self._east
            and (near[1] >= self._row or (self._north[columns] <= near[1]).all())
            and (far[1] <= self._row or (self._south[columns] >= far[1]).all())
        )

    def routers(self, near: tuple[int, int], far: tuple[int, int]) -> set[tuple[int, int]]:
        """Return the places whose routers a broadcast passes.

        Raises
        ------
        ValueError
            If the broadcast must not be sent.

        """
        if not self.reaches(near, far):
            raise ValueError(
                f"near and far must be corners that {self._source} may send to, "
                f"not {near!r}, {far!r}"
            )
        columns = range(min(near[0], self._column), max(far[0], self._column) + 1)
        rows = range(min(near[1], self._row), max(far[1], self._row) + 1)
        along = {(column, self._row) for column in columns}
        return along | {(column, row) for column in range(near[0], far[0] + 1) for row in rows}

    def split(
        self, places: Collection[tuple[int, int]]
    ) -> tuple[list[Corners], list[tuple[int, int]]]:
        """Return rectangles that broadcasts may be sent to, and single places for the rest.

        Every place is in one of them, once. Besides the places asked for, the rectangles have only
        some with a dead core, where routers drop broadcasts.
        """
        left = set(places)
        rectangles: list[Corners] = []
        singles: list[tuple[int, int]] = []
        while left:
            near = min(left, key=lambda place: place[::-1])
            far, taken = near, {near}
            for corner in self._far_corners(near, left):
                inside = {place for place in left if _inside(place, near, corner)}
                if len(inside) > len(taken):
                    far, taken = corner, inside
            if len(taken) > 1:
                rectangles.append((near, far))
            else:
                singles.append(near)
            left -= taken
        return rectangles, singles

    def _far_corners(
        self, near: tuple[int, int], left: set[tuple[int, int]]
    ) -> Iterator[tuple[int, int]]:
        """Yield the far corners of rectangles that may be sent to and have nothing else in them."""
        allowed = left | set(self._die.dead_cores)
        right = self._die.columns
        for row in range(near[1], self._die.rows + 1):
            outside = (x for x in range(near[0], right + 1) if (x, row) not in allowed)
            right = next(outside, right + 1) - 1
            while right >= near[0] and not self.reaches(near, (right, row)):
                right -= 1
            if right < near[0]:
                return
            yield right, row


def _inside(place: tuple[int, int], near: tuple[int, int], far: tuple[int, int]) -> bool:
    return near[0] <= place[0] <= far[0] and near[1] <= place[1] <= far[1]
