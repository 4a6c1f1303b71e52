"""The golden die: what all nodes of a die do together, to the bit, without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d1_golden.memory_map import LOCAL_BITS, ROUTER_BASE, ROUTER_BITS
from d1_golden.node import GoldenNode
from d1_golden.packet import PACKET_DTYPE, Opcode, refuse
from d1_golden.params import DieParams

from .golden_edge import GoldenEdge
from .place import PLACE_BITS, Place
from .ports import SIDES, Port
from .router_control import RouterControl
from .routing import Plane, is_router_register, route

__all__ = ["GoldenDie", "runs_to_one_place"]

#: Instructions of a node's turn.
_TURN = 1 << 16
#: Nodes that an error message names.
_NAMED = 8
_PLACE_MASK = (1 << PLACE_BITS) - 1


class _Entry(NamedTuple):
    """Where packets enter the mesh: a router and its port."""

    router: Place
    port: Port


class _Edge(NamedTuple):
    """The end of a link at a door, and where in which die what it carries enters."""

    end: GoldenEdge
    die: GoldenDie
    entry: _Entry


class _Way(NamedTuple):
    """Where equal packets go.

    Members
    -------
    passed : int64[n]
        The outputs that they pass, as places in `GoldenDie.passed`.
    nodes, controls : tuple[Place, ...]
        The nodes and the ends of routers that get them.
    doors : tuple[Place, ...]
        Where they leave the die.

    """

    passed: NDArray[np.int64]
    nodes: tuple[Place, ...]
    controls: tuple[Place, ...]
    doors: tuple[Place, ...]


class GoldenDie:
    """Golden nodes at the places of a die, and a network that takes no time.

    The functional twin of `d1_rtl.sim.die_link`: the same programs leave the same bits where they
    do not depend on time. Nodes take turns; a node whose threads all wait passes its turn on, and
    gets it back when a packet comes. A request is carried out as soon as its node has sent it, so
    packets from one node to another keep their order. A "cycle" is an instruction of the node that
    executes the most.

    Packets go as the routers' tables say (`routing`). What is addressed to a dead core or to no
    place is refused; broadcasts pass over dead cores.

    The host stands at all doors: its requests enter at the west or east door of their
    destination's row, the nearer one first, that has a way there and back; where neither has, at
    the nearest other one. That door becomes their `source`.

    Parameters
    ----------
    params
        The die.
    die
        Column and row of the die, where it is one of several.

    Members
    -------
    nodes : dict[tuple[int, int], GoldenNode]
        Those that are live, by column and row.
    passed : uint64[2, rows, columns, 5]
        Packets that left each place's routers, by `Plane`, row, column and `Port`. Those that a
        node sends itself are not among them.

    """

    def __init__(self, params: DieParams, die: tuple[int, int] = (0, 0)):
        self._params = params
        self._at = partial(Place, die_column=die[0], die_row=die[1])
        self._cycles = 0
        self.nodes = {
            place: GoldenNode(params.node, self._at(*place).bits) for place in params.live_nodes
        }
        for place, node in self.nodes.items():
            node.remote = partial(self._carry_out, entry=_Entry(self._at(*place), Port.LOCAL))
        self._controls = {
            place: RouterControl(place) for place in (self._at(*p) for p in params.live_routers)
        }
        self._edges: dict[Place, _Edge] = {}
        self.passed = np.zeros((len(Plane), params.rows, params.columns, len(Port)), np.uint64)
        # Nodes that may have something to do, in the order in which they came to it.
        self._ready: dict[tuple[int, int], None] = {}
        # What is known of ways as long as no table changes.
        self._ways: dict[tuple[object, ...], _Way] = {}
        self._doors: dict[Place, Place] = {}
        self._reset_routers()

    def join(self, door: Place, end: GoldenEdge, other: GoldenDie, other_door: Place) -> None:
        """Put the end of a link at a door; what it carries enters another die by `other_door`."""
        self._edges[door] = _Edge(end, other, other._entry_of(other_door))
        router, port = self._entry_of(door)
        self._controls[router].edges[port] = end

    @property
    def params(self) -> DieParams:
        """Parameters of the die."""
        return self._params

    @property
    def is_ready(self) -> bool:
        """Whether a node may have something to do."""
        return bool(self._ready)

    @property
    def cycles(self) -> int:
        """Cycles since the die was made."""
        return self._cycles

    @property
    def idle(self) -> bool:
        """Whether no thread of any node is running."""
        return all(node.idle for node in self.nodes.values())

    @property
    def waiting(self) -> str:
        """Which threads of which nodes wait, and for what; empty if none does."""
        lines = [
            f"node {self._at(*place)}: {reasons}"
            for place, node in self.nodes.items()
            if (reasons := node.waiting)
        ]
        if len(lines) > _NAMED:
            lines[_NAMED:] = [f"and {len(lines) - _NAMED} more nodes"]
        return "; ".join(lines)

    def exchange(
        self,
        requests: NDArray[np.void],
        max_cycles: int | None = None,
        *,
        door: Place | None = None,
    ) -> NDArray[np.void]:
        """Carry out requests of the host and return the replies in the order of the requests.

        Parameters
        ----------
        requests
            Packets, `PACKET_DTYPE`[n], addressed to places; their `source` is set here.
        max_cycles
            Accepted for the contract of a link; packets take no time here.
        door
            Where all of them enter; by default each where `door_of` says.

        Raises
        ------
        TypeError
            If `requests` is not an array of packets.
        RuntimeError
            If a packet comes to a dead router, where it would wait for ever.

        """
        if requests.dtype != PACKET_DTYPE or requests.ndim != 1:
            raise TypeError(
                f"requests must be a one-dimensional array of PACKET_DTYPE, not "
                f"{requests.ndim}-dimensional of {requests.dtype}"
            )
        replies = []
        for run in runs_to_one_place(requests):
            packets = run.copy()
            enters = door or self.door_of(_place(int(run["address"][0]) >> LOCAL_BITS))
            packets["source"] = enters.bits
            replies.append(self._carry_out(packets, entry=self._entry_of(enters)))
        return np.concatenate([np.zeros(0, PACKET_DTYPE), *replies])

    def door_of(self, place: Place) -> Place:
        """Return the door by which the host's requests to a place enter."""
        if place not in self._doors:
            self._doors[place] = self._choose_door(place)
        return self._doors[place]

    def run(self, max_cycles: int) -> int:
        """Run until all nodes are idle; return the cycles.

        Raises
        ------
        TimeoutError
            If a thread still runs after `max_cycles`, or all that run wait for each other; says
            which wait for what.

        """
        executed = self._run(max_cycles)
        if not self.idle:
            running = sum(not node.idle and not node.waiting for node in self.nodes.values())
            states = [f"{running} nodes still run"] if running else []
            states += [self.waiting] if self.waiting else []
            raise TimeoutError(
                f"nodes must become idle within {max_cycles} cycles, but after {executed} "
                f"{'; '.join(states)}"
            )
        return executed

    def advance(self, cycles: int) -> int:
        """Let `cycles` pass: as many instructions, or none when idle; return those executed."""
        executed = self._run(cycles)
        self._cycles += cycles - executed
        return executed

    def reset(self) -> None:
        """Reset all nodes, as `GoldenNode.reset`, and all routers; dead cores stay disabled."""
        for node in self.nodes.values():
            node.reset()
        self._ready.clear()
        self._reset_routers()

    def close(self) -> None:
        """End the use of the die; there is nothing to give back."""

    def _reset_routers(self) -> None:
        self.passed[:] = 0
        for edge in self._edges.values():
            edge.end.reset()
        for place, control in self._controls.items():
            control.reset()
            control.passed = self.passed[:, place.row - 1, place.column - 1]
            control.state.core_disabled = place[:2] not in self.nodes
        self._forget_ways()

    def _forget_ways(self) -> None:
        self._ways.clear()
        self._doors.clear()

    def _run(self, max_cycles: int) -> int:
        """Give turns until no node can go on or for `max_cycles`; return the cycles."""
        passed = 0
        while self._ready and passed < max_cycles:
            turn = min(_TURN, max_cycles - passed)
            longest = 0
            for place in list(self._ready):
                del self._ready[place]
                executed = self.nodes[place].run(turn)
                if executed == turn:
                    self._ready[place] = None
                longest = max(longest, executed)
            passed += longest
        self._cycles += passed
        return passed

    def _carry_out(self, requests: NDArray[np.void], entry: _Entry) -> NDArray[np.void]:
        """Carry out the requests that enter somewhere; return the replies that come back, in order.

        The copy of a broadcast that its own node gets has been carried out there.
        """
        found = [np.zeros(0, PACKET_DTYPE)]
        for run in runs_to_one_place(requests):
            way = self._way(Plane.REQUEST, entry, run[0])
            self.passed.reshape(-1)[way.passed] += np.uint64(len(run))
            for place in way.nodes:
                if entry != (place, Port.LOCAL):
                    self._ready[place[:2]] = None
                    replies = self.nodes[place[:2]].exchange(run)
                    found += self._bring_back(replies, place)
            for place in way.controls:
                found += self._bring_back(self._control(run, place), place)
            for door in way.doors:
                found += self._leave(run, door)
        return np.concatenate(found)

    def _leave(self, run: NDArray[np.void], door: Place) -> list[NDArray[np.void]]:
        """Carry requests out of the die; return the replies that come back."""
        edge = self._edges.get(door)
        if edge is not None:
            if not edge.end.is_off:
                _require_open(edge, door)
                return [edge.die._carry_out(run, edge.entry)]
            edge.end.refused += len(run)
        if run["opcode"][0] == Opcode.BROADCAST:
            return []
        return self._bring_back(refuse(run), *self._entry_of(door))

    def _control(self, run: NDArray[np.void], place: Place) -> NDArray[np.void]:
        """Let a router's own end take requests; return the replies."""
        control = self._controls[place]
        replies = [control.carry_out(request) for request in run]
        if run["opcode"][0] != Opcode.READ:
            self._forget_ways()
        return np.concatenate(replies)

    def _bring_back(
        self, replies: NDArray[np.void], router: Place, port: Port = Port.LOCAL
    ) -> list[NDArray[np.void]]:
        """Return the replies that come to their source."""
        if not len(replies):
            return []
        way = self._way(Plane.REPLY, _Entry(router, port), replies[0])
        self.passed.reshape(-1)[way.passed] += np.uint64(len(replies))
        if way.controls:
            for _ in replies:
                self._controls[way.controls[0]].drop()
            return []
        edge = self._edges.get(way.doors[0]) if way.doors else None
        if edge is None:
            return [replies]
        if edge.end.is_off:
            edge.end.refused += len(replies)
            return []
        _require_open(edge, way.doors[0])
        return edge.die._bring_back(replies, *edge.entry)

    def _way(self, plane: Plane, entry: _Entry, packet: np.void) -> _Way:
        """Return where a packet goes that enters somewhere."""
        if plane is Plane.REPLY:
            to: object = int(packet["source"])
        else:
            address = int(packet["address"])
            is_broadcast = bool(packet["opcode"] == Opcode.BROADCAST)
            corner = int(packet["mask"]) & _PLACE_MASK if is_broadcast else None
            to = address >> LOCAL_BITS, corner, is_router_register(address)
        key = (plane, entry, to)
        if key not in self._ways:
            self._ways[key] = self._follow(plane, entry, packet)
        return self._ways[key]

    def _follow(self, plane: Plane, entry: _Entry, packet: np.void) -> _Way:
        """Find where a packet goes, router by router.

        Raises
        ------
        RuntimeError
            If a copy comes to a dead router, or goes round in a circle.

        """
        passed: list[int] = []
        nodes: list[Place] = []
        controls: list[Place] = []
        doors: list[Place] = []
        left = [entry]
        while left:
            here, port = left.pop()
            if here not in self._controls or len(passed) > self.passed.size:
                why = "dead" if here not in self._controls else "on a circle"
                raise RuntimeError(
                    f"packets that enter at {entry.router} must not wait for ever at {here}, "
                    f"which is {why}"
                )
            taken = route(plane, here, port, packet, self._controls[here].state)
            for output in taken.outputs:
                index = (plane, here.row - 1, here.column - 1, output)
                passed.append(int(np.ravel_multi_index(index, self.passed.shape)))
                if output is Port.LOCAL:
                    (controls if taken.control else nodes).append(here)
                elif self._is_place(beside := here.neighbour(output)):
                    left.append(_Entry(beside, output.opposite))
                else:
                    doors.append(beside)
        return _Way(np.array(passed, np.int64), tuple(sorted(nodes)), tuple(controls), tuple(doors))

    def _is_place(self, place: Place) -> bool:
        return 1 <= place.column <= self._params.columns and 1 <= place.row <= self._params.rows

    def _entry_of(self, door: Place) -> _Entry:
        """Return where packets enter that come in by a door."""
        for side in SIDES:
            beside = door.neighbour(side) if self._has_neighbour(door, side) else door
            if self._is_place(beside):
                return _Entry(beside, side.opposite)
        raise ValueError(f"door must be beside a place of the die, not {door}")

    @staticmethod
    def _has_neighbour(door: Place, side: Port) -> bool:
        return (door.column > 0 or side is not Port.WEST) and (
            door.row > 0 or side is not Port.NORTH
        )

    def _choose_door(self, place: Place) -> Place:
        columns, rows = self._params.columns, self._params.rows
        along = [self._at(0, place.row), self._at(columns + 1, place.row)]
        along.sort(key=lambda door: abs(door.column - place.column))
        if not self._params.dead_routers or not self._is_place(place):
            return along[0] if 1 <= place.row <= rows else self._at(0, 1)
        doors = [self._at(column, row) for row in range(1, rows + 1) for column in (0, columns + 1)]
        doors += [
            self._at(column, row) for column in range(1, columns + 1) for row in (0, rows + 1)
        ]
        doors.sort(key=lambda d: abs(d.column - place.column) + abs(d.row - place.row))
        for door in (*along, *doors):
            if self._goes_and_comes(place, door):
                return door
        return along[0]

    def _goes_and_comes(self, place: Place, door: Place) -> bool:
        """Return whether packets go from a door to a place, and replies back out."""
        packet = np.zeros(1, PACKET_DTYPE)[0]
        packet["opcode"] = Opcode.READ
        packet["address"], packet["source"] = place.address(), door.bits
        try:
            there = self._way(Plane.REQUEST, self._entry_of(door), packet)
            back = self._way(Plane.REPLY, _Entry(place, Port.LOCAL), packet)
        except RuntimeError:
            return False
        return place in (*there.nodes, *there.controls) and bool(back.doors)


def _require_open(edge: _Edge, door: Place) -> None:
    """Raise RuntimeError if what enters the link would wait for ever."""
    if not edge.end.is_open:
        raise RuntimeError(
            f"packets must not wait for ever at door {door}, whose link is down but not off"
        )


def _place(bits: int) -> Place:
    return Place.from_bits(bits & _PLACE_MASK)


def runs_to_one_place(requests: NDArray[np.void]) -> Iterator[NDArray[np.void]]:
    """Cut requests into runs of neighbours that go the same way."""
    if not len(requests):
        return
    rectangle = np.where(requests["opcode"] == Opcode.BROADCAST, requests["mask"] + np.uint64(1), 0)
    place = requests["address"] >> np.uint64(LOCAL_BITS)
    control = requests["address"] >> np.uint64(ROUTER_BITS) & np.uint64(0xFF)
    of_router = control == np.uint64(ROUTER_BASE >> ROUTER_BITS)
    changes = np.zeros(len(requests) - 1, np.bool_)
    for what in (rectangle, place, of_router):
        changes |= what[1:] != what[:-1]
    yield from np.split(requests, np.flatnonzero(changes) + 1)
