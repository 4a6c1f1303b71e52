"""The choice of routes around dead routers: spread over the mesh, and without a deadlock.

Around a dead router in the middle of a mesh not every turn of dimension order can stay: packets
that go round it on one side and on the other would wait for each other (docs/routing.md). Which
turns go, and which come instead, is found by search.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.params import DieParams
from numpy.typing import NDArray

from .channel_dependencies import Channels, DependencySet, side_of
from .route_trees import NEVER, RouteTrees

__all__ = ["RouteChoice", "choose_routes", "intact_load"]

#: The load that no channel should have, as a multiple of `intact_load`.
_BOUND = 1.14
#: The load that is good enough to end with, and the rounds of search after which to end anyway.
_GOOD = 1.22
_ROUNDS = 120
#: Rounds of the parts of the search.
_NEGOTIATIONS = 8
_REPAIRS = 45
_POLISHINGS = 4
#: What a turn costs that is not allowed, in hops: at first, when it would be welcome, and when it
#: is only used in need.
_TOLL = 0.5
_WELCOME_TOLL = 2.0
_NEEDED_TOLL = 60.0
#: How much more a turn is worth because it is allowed already.
_CONSTANCY = 1.3
#: What a turn is worth because it was needed or goes straight on, in packets per destination, and
#: what is left of that with each round.
_NEEDED_WORTH = 0.3
_STRAIGHT_WORTH = 0.2
_MEMORY = 0.9
#: Needed turns that are forced into what is allowed between two searches.
_AT_ONCE = 5


class RouteChoice(NamedTuple):
    """What was chosen.

    Members
    -------
    sides
        Of every router's place and then the four sides of the die: the side on which packets for
        it leave each router (`RouteTrees.sides`).
    turns
        The dependencies that routes and broadcasts may make.
    load
        Packets in the busiest channel when every live router sends one to every other.

    """

    sides: NDArray[np.int8]
    turns: NDArray[np.bool_]
    load: int


def choose_routes(
    die: DieParams, channels: Channels, first_choice: NDArray[np.int8]
) -> RouteChoice:
    """Choose routes to every live router and to the four sides of a die.

    Parameters
    ----------
    die
        The die; its live routers are connected.
    channels
        Its channels.
    first_choice
        (destinations, routers): sides to prefer, the destinations as in `RouteChoice.sides`.

    """
    found: list[RouteChoice] = []
    search: _Search | None = None
    seed, rounds = 0, 0.0
    while rounds < _ROUNDS and all(choice.load > _GOOD * intact_load(die) for choice in found):
        if search is None:
            search = _Search(die, channels, first_choice, seed)
            search.negotiate()
            seed += 1
        else:
            search.disturb()
        repaired = search.repair()
        rounds += search.rounds
        search.rounds = 0.0
        if repaired:
            found += search.polish()
        else:
            search = None
    if not found:
        search = _Search(die, channels, first_choice, seed)
        search.build_up()
        found = search.polish()
    return min(found, key=lambda choice: choice.load)


def intact_load(die: DieParams) -> int:
    """Return the packets in the busiest channel of the die without faults by dimension order.

    In the middle of a row are those from each router at one side of it to each column at the
    other, and in the middle of a column likewise.
    """

    def crossing(side: int, other: int) -> int:
        return side // 2 * -(-side // 2) * other

    return max(crossing(die.columns, die.rows), crossing(die.rows, die.columns), 1)


class _Search:
    """A search for routes that all together have no circle of dependencies.

    What is allowed is at any time a set without a circle; routes that make other turns are only
    drafts.

    Attributes
    ----------
    rounds
        How often all routes were found anew; some count for a part.

    """

    def __init__(
        self, die: DieParams, channels: Channels, first_choice: NDArray[np.int8], seed: int
    ) -> None:
        count = len(channels.live)
        columns, rows = np.array(die.places).T
        edges = {
            Port.NORTH: rows == 1,
            Port.EAST: columns == die.columns,
            Port.SOUTH: rows == die.rows,
            Port.WEST: columns == 1,
        }
        arrivals = np.concatenate([np.eye(count, dtype=np.bool_), [edges[side] for side in SIDES]])
        demand = np.append(channels.live, np.zeros(len(SIDES))).astype(np.int64)
        self._channels = channels
        self._bound = _BOUND * intact_load(die)
        self._generator = np.random.default_rng(seed)
        self._destinations = np.append(channels.routers, count + np.arange(len(SIDES)))
        self._trees = RouteTrees(channels, arrivals, first_choice, demand)
        self._turns = channels.turns()
        self._by_order = channels.dimension_order()
        before = side_of(np.arange(channels.ends.size))[:, None]
        self._straight = self._turns & (before == np.arange(len(SIDES)))
        self._allowed = DependencySet(channels, self._by_order)
        self.rounds = 0.0

    def negotiate(self) -> None:
        """Draft routes that share the mesh, and allow what they use most.

        Turns that are wanted but not allowed become dearer from round to round.
        """
        toll = np.full(self._turns.shape, _TOLL)
        for turn in range(_NEGOTIATIONS):
            forbidden = self._route(toll, self._bound if turn else np.inf)
            toll[forbidden] += _TOLL
            worth = self._trees.flow * np.where(self._allowed.members, _CONSTANCY, 1.0)
            worth[self._straight] += self._trees.flow.sum()
            self._allowed = DependencySet(self._channels, np.zeros_like(self._turns))
            self._allowed.add(self._best_first(worth, self._turns))

    def disturb(self) -> None:
        """Force the turns that would relieve the mesh most, whatever routes they cost."""
        wanted = self._route(np.full(self._turns.shape, _WELCOME_TOLL), self._bound)
        self._force(wanted, self._trees.flow + self._straight_worth())

    def repair(self) -> bool:
        """Force turns that are needed to be allowed, a few at a time; return whether that ended."""
        toll = np.full(self._turns.shape, _NEEDED_TOLL)
        merit = self._straight_worth()
        forbidden = self._route(toll, self._bound)
        for turn in range(_REPAIRS):
            if not forbidden.any():
                return True
            # What was needed once is worth more for a while, so that it does not go at once.
            merit[forbidden] += _NEEDED_WORTH * len(self._destinations) * (1 + turn / 10)
            merit *= _MEMORY
            self._force(forbidden, self._trees.flow + merit)
            used = (self._trees.flow > 0) & ~self._allowed.members
            forbidden = self._route(toll, self._bound, self._trees.users(used))
        return False

    def build_up(self) -> None:
        """Allow what is needed of up*/down* routing, and what else closes no circle with that.

        It always ends: routes that may use all turns of up*/down* need no others.
        """
        middle = self._channels.routers[len(self._channels.routers) // 2]
        safe = self._channels.rising_before_falling(int(middle))
        toll = np.where(safe, _NEEDED_TOLL, np.inf)
        needed = safe & self._by_order
        forbidden = needed
        while forbidden.any():
            needed = needed | forbidden
            self._allowed = DependencySet(self._channels, needed)
            self._allowed.add(self._best_first(self._trees.flow, self._turns & ~needed))
            forbidden = self._route(toll, self._bound)

    def polish(self) -> list[RouteChoice]:
        """Return the routes there are, and others with what is allowed as it is."""
        found = [self._choice()]
        toll = np.full(self._turns.shape, _NEEDED_TOLL)
        for _ in range(_POLISHINGS):
            if not self._route(toll, self._bound).any():
                found.append(self._choice())
        return found

    def _straight_worth(self) -> NDArray[np.float64]:
        return np.where(self._straight, _STRAIGHT_WORTH * len(self._destinations), 0.0)

    def _force(self, wanted: NDArray[np.bool_], worth: NDArray[np.number]) -> None:
        """Allow the busiest of some turns in place of what is worth least, and fill up."""
        for candidate in self._best_first(self._trees.flow, wanted)[:_AT_ONCE]:
            self._allowed.force(int(candidate), worth)
        self._allowed.add(self._best_first(worth, self._turns & ~self._allowed.members))

    def _choice(self) -> RouteChoice:
        load = int(self._trees.load.max())
        return RouteChoice(self._trees.sides.copy(), self._allowed.members.copy(), load)

    def _route(
        self,
        toll: NDArray[np.number],
        bound: float,
        destinations: NDArray[np.intp] | None = None,
    ) -> NDArray[np.bool_]:
        """Find routes anew, or those to some; return what all of them need that is not allowed."""
        which = self._destinations if destinations is None else destinations
        tolls = np.where(self._turns, np.where(self._allowed.members, 0, toll), NEVER)
        self._trees.search(self._generator.permutation(which), tolls.astype(np.float32), bound)
        self.rounds += len(which) / len(self._destinations)
        return (self._trees.flow > 0) & ~self._allowed.members

    def _best_first(self, worth: NDArray[np.number], among: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Return dependencies by their worth, greatest first, dimension order before others."""
        which = np.flatnonzero(among)
        worth = (worth + self._by_order / 2).reshape(-1)[which]
        return which[np.argsort(-worth, kind="stable")]
