"""The search for routes: for each destination a tree of all routers, weighed by their loads.

Routes depend on router and destination only, so those to one destination form a tree. It is grown
from the destination by Dijkstra's algorithm; a router joins by a neighbour that is in the tree, if
the packet may go on from there the way that the neighbour goes. Numbers of routers, channels and
dependencies are those of `d1.fabric.channel_dependencies`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .channel_dependencies import Channels

__all__ = ["ARRIVED", "NEVER", "NO_ROUTE", "RouteTrees"]

#: In place of a side: the router is where the destination's packets leave the mesh.
ARRIVED = 4
#: In place of a side: the router has no route to the destination.
NO_ROUTE = -1
#: The toll of a dependency that must not be used.
NEVER = np.float32(np.inf)
#: What a hop that is not the first choice costs more than one that is, in hops: it only decides
#: between routes of one length.
_SECOND_CHOICE = 0.02
#: How fast a hop becomes dearer as its channel's load comes near the bound: as this power of it.
_STEEPNESS = 16
#: What a hop costs at most for its load, in hops.
_DEAREST = 50.0


class RouteTrees:
    """Routes from every live router to every destination, and the loads that they make.

    Parameters
    ----------
    channels
        The mesh.
    arrivals
        (destinations, routers): where packets for the destination leave the mesh.
    first_choice
        (destinations, routers): the side to prefer.
    demand
        (destinations): packets that each live router sends to the destination.

    Attributes
    ----------
    sides
        (destinations, routers): the side on which packets leave a router, `ARRIVED` or `NO_ROUTE`.
    load
        Packets in each channel when every live router sends its `demand`.
    flow
        The same of each dependency; of one that only ways to destinations without demand have, 1
        or more.

    """

    def __init__(
        self,
        channels: Channels,
        arrivals: NDArray[np.bool_],
        first_choice: NDArray[np.int8],
        demand: NDArray[np.int64],
    ) -> None:
        self._channels = channels
        self._arrivals = arrivals
        self._first_choice = first_choice
        self._demand = demand
        self.sides = np.full(arrivals.shape, NO_ROUTE, np.int8)
        self.load = np.zeros(channels.ends.size, np.int64)
        self.flow = np.zeros((channels.ends.size, 4), np.int64)

    def search(self, order: NDArray[np.integer], toll: NDArray[np.float32], bound: float) -> None:
        """Find the routes to each destination anew.

        Parameters
        ----------
        order
            The destinations in the order in which they choose.
        toll
            What the use of each dependency costs, in hops.
        bound
            The load that no channel should have; infinite: loads cost nothing.

        """
        _search(
            self._channels.ends,
            self._channels.live,
            self._arrivals,
            self._first_choice,
            self._demand,
            order.astype(np.int32),
            toll,
            bound,
            self.sides,
            self.load,
            self.flow,
        )

    def users(self, dependencies: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return the destinations to which a route makes one of some dependencies."""
        return np.flatnonzero(_users(self._channels.ends, self.sides, dependencies))


@njit(cache=True)
def _push(keys, values, size, key, value):
    index = size
    while index > 0 and keys[(index - 1) // 2] > key:
        keys[index] = keys[(index - 1) // 2]
        values[index] = values[(index - 1) // 2]
        index = (index - 1) // 2
    keys[index] = key
    values[index] = value
    return size + 1


@njit(cache=True)
def _pop(keys, values, size):
    """Remove the least key, which is first; return the new size."""
    size -= 1
    key, value = keys[size], values[size]
    index = 0
    while True:
        child = 2 * index + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[index] = keys[child]
        values[index] = values[child]
        index = child
    keys[index] = key
    values[index] = value
    return size


@njit(cache=True)
def _grow(ends, live, arrivals, first_choice, toll, price, sides, settled):
    """Find the tree of one destination; return how many routers are in it, nearest first."""
    count = len(ends)
    distance = np.full(count, np.inf)
    done = np.zeros(count, np.bool_)
    keys = np.empty(4 * count + count)
    values = np.empty(4 * count + count, np.int32)
    size = 0
    for router in range(count):
        sides[router] = NO_ROUTE
        if arrivals[router] and live[router]:
            sides[router] = ARRIVED
            distance[router] = 0.0
            size = _push(keys, values, size, 0.0, router)
    found = 0
    while size > 0:
        router = values[0]
        size = _pop(keys, values, size)
        if done[router]:
            continue
        done[router] = True
        settled[found] = router
        found += 1
        onward = sides[router]
        for back in range(4):
            start = ends[router, back]
            if start < 0 or done[start]:
                continue
            side = (back + 2) % 4
            channel = start * 4 + side
            cost = distance[router] + 1.0 + price[channel]
            if onward != ARRIVED:
                cost += toll[channel, onward]
            if side != first_choice[start]:
                cost += _SECOND_CHOICE
            if cost < distance[start]:
                distance[start] = cost
                sides[start] = side
                size = _push(keys, values, size, cost, start)
    return found


@njit(cache=True)
def _unload(ends, live, demand, sides, load, flow):
    """Take the loads and flows of one destination away."""
    count = len(ends)
    carried = np.where(live, demand, 0)
    joining = np.zeros(count, np.int32)
    for router in range(count):
        if 0 <= sides[router] < ARRIVED:
            joining[ends[router, sides[router]]] += 1
    for leaf in range(count):
        router = leaf
        while joining[router] == 0 and 0 <= sides[router] < ARRIVED:
            joining[router] = -1
            load[router * 4 + sides[router]] -= carried[router]
            following = ends[router, sides[router]]
            if sides[following] != ARRIVED:
                flow[router * 4 + sides[router], sides[following]] -= max(carried[router], 1)
            carried[following] += carried[router]
            joining[following] -= 1
            router = following


@njit(cache=True)
def _search(ends, live, arrivals, first_choice, demand, order, toll, bound, sides, load, flow):
    count = len(ends)
    settled = np.empty(count, np.int32)
    price = np.empty(4 * count)
    for destination in order:
        way = sides[destination]
        _unload(ends, live, demand[destination], way, load, flow)
        for channel in range(4 * count):
            price[channel] = min((load[channel] / bound) ** _STEEPNESS, _DEAREST)
        found = _grow(
            ends, live, arrivals[destination], first_choice[destination], toll, price, way, settled
        )
        carried = np.where(live, demand[destination], 0)
        for index in range(found - 1, -1, -1):
            router = settled[index]
            side = way[router]
            if side == ARRIVED:
                continue
            following = ends[router, side]
            load[router * 4 + side] += carried[router]
            carried[following] += carried[router]
            if way[following] != ARRIVED:
                flow[router * 4 + side, way[following]] += max(carried[router], 1)


@njit(cache=True)
def _users(ends, sides, dependencies):
    found = np.zeros(len(sides), np.bool_)
    for destination in range(len(sides)):
        for router in range(len(ends)):
            side = sides[destination, router]
            if 0 <= side < ARRIVED:
                onward = sides[destination, ends[router, side]]
                if onward != ARRIVED and dependencies[router * 4 + side, onward]:
                    found[destination] = True
                    break
    return found
