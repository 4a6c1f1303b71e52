"""The golden die: what all nodes of a die do together, to the bit, without a clock."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from d1_golden.memory_map import LOCAL_BITS
from d1_golden.node import GoldenNode
from d1_golden.packet import PACKET_DTYPE, Opcode, refuse
from d1_golden.params import DieParams

from .place import PLACE_BITS, Place

__all__ = ["GoldenDie"]

#: Instructions of a node's turn.
_TURN = 1 << 16
#: Nodes that an error message names.
_NAMED = 8
_PLACE_MASK = (1 << PLACE_BITS) - 1


class GoldenDie:
    """Golden nodes at the places of a die, and a network that takes no time.

    The functional twin of `d1_rtl.sim.die_link`: the same programs leave the same bits where they
    do not depend on time. Nodes take turns; a node whose threads all wait passes its turn on, and
    gets it back when a packet comes. A request is carried out as soon as its node has sent it, so
    packets from one node to another keep their order. What is addressed to a dead core or to no
    place is refused; broadcasts pass over dead cores. A "cycle" is an instruction of the node that
    executes the most.

    The host stands at the doors at the west and east edges: its requests enter at the nearer
    one in the row of their destination, which becomes their `source`.

    Parameters
    ----------
    params
        The die.

    Members
    -------
    nodes : dict[tuple[int, int], GoldenNode]
        Those that are live, by column and row.

    """

    def __init__(self, params: DieParams):
        self._params = params
        self._cycles = 0
        self.nodes = {
            place: GoldenNode(params.node, Place(*place).bits) for place in params.live_nodes
        }
        for place, node in self.nodes.items():
            node.remote = partial(self._carry_out, source=place)
        # Nodes that may have something to do, in the order in which they came to it.
        self._ready: dict[tuple[int, int], None] = {}

    @property
    def params(self) -> DieParams:
        """Parameters of the die."""
        return self._params

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
            f"node {Place(*place)}: {reasons}"
            for place, node in self.nodes.items()
            if (reasons := node.waiting)
        ]
        if len(lines) > _NAMED:
            lines[_NAMED:] = [f"and {len(lines) - _NAMED} more nodes"]
        return "; ".join(lines)

    def exchange(
        self, requests: NDArray[np.void], max_cycles: int | None = None
    ) -> NDArray[np.void]:
        """Carry out requests of the host and return the replies in the order of the requests.

        Parameters
        ----------
        requests
            Packets, `PACKET_DTYPE`[n], addressed to places; their `source` is set here.
        max_cycles
            Accepted for the contract of a link; packets take no time here.

        Raises
        ------
        TypeError
            If `requests` is not an array of packets.

        """
        if requests.dtype != PACKET_DTYPE or requests.ndim != 1:
            raise TypeError(
                f"requests must be a one-dimensional array of PACKET_DTYPE, not "
                f"{requests.ndim}-dimensional of {requests.dtype}"
            )
        packets = requests.copy()
        places = packets["address"] >> np.uint64(LOCAL_BITS) & np.uint64(_PLACE_MASK)
        for bits in np.unique(places):
            packets["source"][places == bits] = self.door_of(Place.from_bits(int(bits))).bits
        return self._carry_out(packets)

    def door_of(self, place: Place) -> Place:
        """Return the door by which the host's requests to a place enter."""
        to_east = self._params.columns + 1 - place.column
        return place._replace(column=0 if place.column <= to_east else self._params.columns + 1)

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
        """Reset all nodes, as `GoldenNode.reset`."""
        for node in self.nodes.values():
            node.reset()
        self._ready.clear()

    def close(self) -> None:
        """End the use of the die; there is nothing to give back."""

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

    def _carry_out(
        self, requests: NDArray[np.void], source: tuple[int, int] | None = None
    ) -> NDArray[np.void]:
        """Carry out the requests of a node, or of the host; return the replies in order.

        The copy of a broadcast that its own node gets has been carried out there.
        """
        replies = [
            self._serve(run, place)
            for run in _runs_to_one_place(requests)
            for place in self._targets(run[0], source)
        ]
        return np.concatenate([np.zeros(0, PACKET_DTYPE), *replies])

    def _serve(self, run: NDArray[np.void], place: tuple[int, int] | None) -> NDArray[np.void]:
        if place is None:
            return refuse(run)
        self._ready[place] = None
        return self.nodes[place].exchange(run)

    def _targets(
        self, request: np.void, source: tuple[int, int] | None
    ) -> Iterator[tuple[int, int] | None]:
        """Yield the live nodes that get a request; None where it is to be refused."""
        near = _place(int(request["address"]) >> LOCAL_BITS)
        if request["opcode"] != Opcode.BROADCAST:
            own_die = not near.die_column and not near.die_row
            place = (near.column, near.row)
            yield place if own_die and place in self.nodes else None
            return
        far = _place(int(request["mask"]))
        if near.die_column or near.die_row:
            return
        for row in range(near.row, min(far.row, self._params.rows) + 1):
            for column in range(near.column, min(far.column, self._params.columns) + 1):
                if (column, row) in self.nodes and (column, row) != source:
                    yield column, row


def _place(bits: int) -> Place:
    return Place.from_bits(bits & _PLACE_MASK)


def _runs_to_one_place(requests: NDArray[np.void]) -> Iterator[NDArray[np.void]]:
    """Cut requests into runs of neighbours to the same place or rectangle."""
    if not len(requests):
        return
    rectangle = np.where(requests["opcode"] == Opcode.BROADCAST, requests["mask"] + np.uint64(1), 0)
    place = requests["address"] >> np.uint64(LOCAL_BITS)
    changes = (place[1:] != place[:-1]) | (rectangle[1:] != rectangle[:-1])
    yield from np.split(requests, np.flatnonzero(changes) + 1)
