"""Channels of a mesh, and which of them a packet may wait for while it holds another.

A **channel** is the link that leaves one live router for another, with the buffer at its end. A
packet in channel a that wants to leave by channel b makes a **dependency** from a to b. Packets
can wait for each other for ever only around a circle of dependencies, so a set of dependencies
without a circle cannot deadlock (W. J. Dally and C. L. Seitz, "Deadlock-free message routing in
multiprocessor interconnection networks", IEEE Transactions on Computers C-36(5), 1987, theorem 1).

Routers are numbered row by row from 0, sides as in `SIDES` from 0; channel `4 * router + side`
leaves `router` on `side`. An array of dependencies has shape (channels, 4): `[channel, side]` is
the one from `channel` to the channel that leaves its end on `side`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from d1_golden.fabric.ports import SIDES
from d1_golden.params import DieParams
from numba import njit
from numpy.typing import NDArray

__all__ = ["Channels", "DependencySet", "side_of"]

_SIDES = len(SIDES)


def side_of(channels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the sides, as indices of `SIDES`, on which channels leave their routers."""
    return channels % _SIDES


@dataclass(frozen=True)
class Channels:
    """The channels of a die's live routers.

    Parameters
    ----------
    columns, rows
        Size of the die.
    live
        Of each router, whether it works.
    ends
        Of each router and side, the router at the other end of the channel; -1 if there is none.

    """

    columns: int
    rows: int
    live: NDArray[np.bool_]
    ends: NDArray[np.int32]

    @classmethod
    def of(cls, die: DieParams) -> Channels:
        """Return the channels of a die."""
        live = np.zeros((die.rows + 2, die.columns + 2), np.bool_)
        for column, row in die.live_routers:
            live[row, column] = True
        number = np.full(live.shape, -1, np.int32)
        number[1:-1, 1:-1] = np.arange(die.rows * die.columns).reshape(die.rows, die.columns)
        number[~live] = -1
        inner = live[1:-1, 1:-1].reshape(-1)
        ends = np.stack(
            [
                number[1 + y : die.rows + 1 + y, 1 + x : die.columns + 1 + x].reshape(-1)
                for x, y in (side.step for side in SIDES)
            ],
            axis=1,
        )
        ends[~inner] = -1
        return cls(die.columns, die.rows, inner, ends)

    @property
    def routers(self) -> NDArray[np.intp]:
        """The numbers of the live routers."""
        return np.flatnonzero(self.live)

    def place(self, router: int) -> tuple[int, int]:
        """Return column and row of a router."""
        return int(router) % self.columns + 1, int(router) // self.columns + 1

    def router(self, column: int, row: int) -> int:
        """Return the number of the router at a place."""
        return (row - 1) * self.columns + column - 1

    def turns(self) -> NDArray[np.bool_]:
        """Return all dependencies that there are; none turns back where it came from."""
        found = np.zeros((self.ends.size, _SIDES), np.bool_)
        channels = np.flatnonzero(self.ends.reshape(-1) >= 0)
        found[channels] = self.ends[self.ends.reshape(-1)[channels]] >= 0
        found[channels, (side_of(channels) + 2) % _SIDES] = False
        return found

    def dimension_order(self) -> NDArray[np.bool_]:
        """Return the dependencies of dimension order: straight on, and from rows to columns."""
        before = side_of(np.arange(self.ends.size))[:, None]
        after = np.arange(_SIDES)
        along_row = np.array([side.step[0] != 0 for side in SIDES])
        return self.turns() & ((before == after) | (along_row[before] & ~along_row[after]))

    def levels(self, root: int) -> NDArray[np.int32]:
        """Return the hops of every router from `root`; -1 of those that it cannot reach."""
        return _levels(self.ends, root)

    def rising_before_falling(self, root: int) -> NDArray[np.bool_]:
        """Return the dependencies that do not go away from `root` and then nearer.

        They have no circle, and connect whatever is connected: up to the root and down again
        (M. D. Schroeder et al., "Autonet: a high-speed, self-configuring local area network using
        point-to-point links", 1991, section 6.6.4, up*/down* routing).
        """
        level = self.levels(root)
        away = (level[self.ends] > level[:, None]).reshape(-1)
        after = away.reshape(-1, _SIDES)[self.ends.reshape(-1)]
        return self.turns() & ~(away[:, None] & ~after)


class DependencySet:
    """Dependencies without a circle, to which more can be added.

    Parameters
    ----------
    channels
        The channels they are between.
    first
        The dependencies to begin with.

    Attributes
    ----------
    members
        The dependencies in the set.

    Raises
    ------
    ValueError
        If `first` has a circle.

    """

    def __init__(self, channels: Channels, first: NDArray[np.bool_]) -> None:
        self._ends = channels.ends
        self.members = first.copy()
        self._position, acyclic = _topological_order(self._ends, self.members)
        if not acyclic:
            raise ValueError("first must be dependencies without a circle")

    def add(self, candidates: NDArray[np.integer]) -> None:
        """Add dependencies (indices of the flat array) in turn, but none that closes a circle."""
        _insert(self._ends, self.members, self._position, candidates.astype(np.int32))

    def force(self, candidate: int, worth: NDArray[np.number]) -> None:
        """Add a dependency; of every circle that it closes the member worth least goes."""
        _cut(self._ends, self.members, candidate, worth)
        self.add(np.array([candidate]))


@njit(cache=True)
def _levels(ends, root):
    level = np.full(len(ends), -1, np.int32)
    queue = np.empty(len(ends), np.int32)
    level[root] = 0
    queue[0] = root
    head, tail = 0, 1
    while head < tail:
        router = queue[head]
        head += 1
        for end in ends[router]:
            if end >= 0 and level[end] < 0:
                level[end] = level[router] + 1
                queue[tail] = end
                tail += 1
    return level


@njit(cache=True)
def _topological_order(ends, members):
    """Return the position of each channel before all that depend on it, and if there is one."""
    count = len(members)
    waiting = np.zeros(count, np.int32)
    for channel in range(count):
        for side in range(4):
            if members[channel, side]:
                waiting[ends[channel // 4, channel % 4] * 4 + side] += 1
    position = np.zeros(count, np.int32)
    queue = np.empty(count, np.int32)
    tail = 0
    for channel in range(count):
        if waiting[channel] == 0:
            queue[tail] = channel
            tail += 1
    head = 0
    while head < tail:
        channel = queue[head]
        position[channel] = head
        head += 1
        for side in range(4):
            if members[channel, side]:
                following = ends[channel // 4, channel % 4] * 4 + side
                waiting[following] -= 1
                if waiting[following] == 0:
                    queue[tail] = following
                    tail += 1
    return position, tail == count


@njit(cache=True)
def _insert(ends, members, position, candidates):
    """Add what closes no circle, keeping a topological order.

    Ref: D. J. Pearce and P. H. J. Kelly, "A dynamic topological sort algorithm for directed
    acyclic graphs", ACM Journal of Experimental Algorithmics 11, 2006, section 3.
    """
    seen = np.zeros(len(members), np.int32)  # the search that came here last
    stack = np.empty(len(members), np.int32)
    after = np.empty(len(members), np.int32)
    before = np.empty(len(members), np.int32)
    search = 0
    for candidate in candidates:
        a, side = candidate // 4, candidate % 4
        b = ends[a // 4, a % 4] * 4 + side
        if members[a, side]:
            continue
        if position[b] < position[a]:
            # All that depends on b and is not behind a; if a is among it, there is a circle.
            search += 1
            seen[b] = search
            stack[0] = b
            depth, afters, circle = 1, 0, False
            while depth > 0 and not circle:
                depth -= 1
                channel = stack[depth]
                after[afters] = channel
                afters += 1
                for way in range(4):
                    if members[channel, way]:
                        following = ends[channel // 4, channel % 4] * 4 + way
                        if following == a:
                            circle = True
                        elif seen[following] != search and position[following] < position[a]:
                            seen[following] = search
                            stack[depth] = following
                            depth += 1
            if circle:
                continue
            # All that a depends on and is not before b goes in front of that.
            search += 1
            seen[a] = search
            stack[0] = a
            depth, befores = 1, 0
            while depth > 0:
                depth -= 1
                channel = stack[depth]
                before[befores] = channel
                befores += 1
                router, way = channel // 4, channel % 4
                for back in range(4):
                    start = ends[router, back]
                    if start >= 0:
                        earlier = start * 4 + (back + 2) % 4
                        if (
                            members[earlier, way]
                            and seen[earlier] != search
                            and position[earlier] > position[b]
                        ):
                            seen[earlier] = search
                            stack[depth] = earlier
                            depth += 1
            first, second = before[:befores], after[:afters]
            moved = np.concatenate(
                (first[np.argsort(position[first])], second[np.argsort(position[second])])
            )
            free = np.sort(position[moved])
            for index in range(len(moved)):
                position[moved[index]] = free[index]
        members[a, side] = True


@njit(cache=True)
def _cut(ends, members, candidate, worth):
    """Remove members until nothing leads from the end of a dependency to its beginning."""
    a, side = candidate // 4, candidate % 4
    b = ends[a // 4, a % 4] * 4 + side
    came_from = np.empty(len(members), np.int32)
    queue = np.empty(len(members), np.int32)
    while True:
        came_from[:] = -1
        came_from[b] = b
        queue[0] = b
        head, tail = 0, 1
        while head < tail and came_from[a] < 0:
            channel = queue[head]
            head += 1
            for way in range(4):
                if members[channel, way]:
                    following = ends[channel // 4, channel % 4] * 4 + way
                    if came_from[following] < 0:
                        came_from[following] = channel
                        queue[tail] = following
                        tail += 1
        if came_from[a] < 0:
            return
        weakest, way = came_from[a], a % 4
        channel = a
        while channel != b:
            before = came_from[channel]
            if worth[before, channel % 4] < worth[weakest, way]:
                weakest, way = before, channel % 4
            channel = before
        members[weakest, way] = False
