"""The golden machine: several dies as one address space, to the bit, without a clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d1_golden.machine import MachineParams
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.packet import PACKET_DTYPE, refuse

from .golden_die import GoldenDie, runs_to_one_place
from .golden_edge import GoldenEdge
from .place import PLACE_BITS, Place

__all__ = ["GoldenMachine"]

#: Instructions of a die's turn.
_TURN = 1 << 16
_PLACE_MASK = (1 << PLACE_BITS) - 1


class GoldenMachine:
    """Golden dies whose edges are joined; what one sends another is carried out at once.

    The functional twin of `d1_rtl.sim.machine_link.MachineLink`. The host stands at the doors at
    the edge of the machine; its requests enter where `MachineParams.host_door` says, and those to
    what is no place of the machine are refused. A "cycle" is an instruction of the node that
    executes the most.

    Parameters
    ----------
    params
        The machine.

    Members
    -------
    dies : dict[tuple[int, int], GoldenDie]
        By column and row of the die.
    """

    def __init__(self, params: MachineParams):
        self._params = params
        self._cycles = 0
        self.dies = {die: GoldenDie(params.die, die) for die in params.dies}
        edges = {end: GoldenEdge(params.link.lanes) for end in params.ends}
        for end, other in params.ends.items():
            edges[end].peer = edges[other]
            die, other_die = self.dies[end.place[2:]], self.dies[other.place[2:]]
            die.join(end.door, edges[end], other_die, other.door)

    @property
    def params(self) -> MachineParams:
        """Parameters of the machine."""
        return self._params

    @property
    def cycles(self) -> int:
        """Cycles since the machine was made."""
        return self._cycles

    @property
    def idle(self) -> bool:
        """Whether no thread of any node is running."""
        return all(die.idle for die in self.dies.values())

    @property
    def waiting(self) -> str:
        """Which threads of which nodes wait, and for what; empty if none does."""
        return "; ".join(waiting for die in self.dies.values() if (waiting := die.waiting))

    def exchange(
        self,
        requests: NDArray[np.void],
        max_cycles: int | None = None,
    ) -> NDArray[np.void]:
        """Carry out requests of the host; return the replies in the order of the requests.

        Parameters
        ----------
        requests
            Packets, `PACKET_DTYPE`[n], addressed to places; their `source` is set here.
        max_cycles
            Accepted for the contract of a link; packets take no time here.

        Raises
        ------
        RuntimeError
            If a packet comes to a link that is down but not off, where it would wait for ever.
        """
        replies = [np.zeros(0, PACKET_DTYPE)]
        for run in runs_to_one_place(requests):
            place = Place.from_bits(int(run["address"][0]) >> LOCAL_BITS & _PLACE_MASK)
            if not self._params.is_place(place):
                replies.append(refuse(run))
                continue
            door = self._params.host_door(place).door
            replies.append(self.dies[door[2:]].exchange(run, door=door))
        return np.concatenate(replies)

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
            raise TimeoutError(
                f"nodes must become idle within {max_cycles} cycles, but after {executed} "
                f"some still run: {self.waiting or 'none of them waits'}"
            )
        return executed

    def advance(self, cycles: int) -> int:
        """Let `cycles` pass: as many instructions, or none when idle; return those executed."""
        executed = self._run(cycles)
        self._cycles += cycles - executed
        return executed

    def reset(self) -> None:
        """Reset all nodes, routers and links."""
        for die in self.dies.values():
            die.reset()

    def close(self) -> None:
        """End the use of the machine; there is nothing to give back."""

    def _run(self, max_cycles: int) -> int:
        """Give dies turns until none can go on or for `max_cycles`; return the cycles."""
        passed = 0
        while passed < max_cycles and any(die.is_ready for die in self.dies.values()):
            turn = min(_TURN, max_cycles - passed)
            passed += max(die.advance(turn) for die in self.dies.values())
        self._cycles += passed
        return passed
