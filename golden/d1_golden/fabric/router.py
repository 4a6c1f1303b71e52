"""Cycles of the routers of one plane, compiled; golden twin of `d1_rtl.fabric.router`.

A packet is a number: the place it goes to in bits 62..47, its source in bits 46..32, its number
among the packets of that source in bits 31..0. Places are numbered row by row from 0. A place
beyond the last stands for a set of places, of a broadcast. `ways` says of each router and input
which outputs a packet to a place is for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .ports import SIDES, Port

__all__ = [
    "NOTHING",
    "NUMBER_BITS",
    "SOURCE_BITS",
    "RouterState",
    "neighbours",
    "new_router_state",
    "opposite_ports",
    "step_router",
]

#: In place of a packet.
NOTHING = -1
#: Bits of a packet: its number, and above that its source.
NUMBER_BITS = 32
SOURCE_BITS = 15

_PORTS = len(Port)
_LOCAL = int(Port.LOCAL)
_PLACE_SHIFT = NUMBER_BITS + SOURCE_BITS


class RouterState(NamedTuple):
    """The registers of all routers of a plane.

    Members
    -------
    packet : int64[routers, 5, depth + 1]
        The packets in each input buffer, oldest first; one place more for what arrives.
    pending : uint8[routers, 5, depth + 1]
        Outputs that each of them still goes to, a bit for each.
    level : int64[routers, 5]
        How many there are.
    turn : int64[routers, 5]
        The input that comes first at each output.
    output : int64[2, routers, 5]
        The packet in each output's register or `NOTHING`: of even and of odd cycles.
    ready : bool[2, routers, 5]
        Whether each input takes a packet, likewise.
    passed : int64[routers, 5]
        Packets that have left by each output.

    """

    packet: NDArray[np.int64]
    pending: NDArray[np.uint8]
    level: NDArray[np.int64]
    turn: NDArray[np.int64]
    output: NDArray[np.int64]
    ready: NDArray[np.bool_]
    passed: NDArray[np.int64]


def new_router_state(routers: int, depth: int) -> RouterState:
    """Return the state of routers after a reset."""
    return RouterState(
        packet=np.zeros((routers, _PORTS, depth + 1), np.int64),
        pending=np.zeros((routers, _PORTS, depth + 1), np.uint8),
        level=np.zeros((routers, _PORTS), np.int64),
        turn=np.zeros((routers, _PORTS), np.int64),
        output=np.full((2, routers, _PORTS), NOTHING, np.int64),
        ready=np.ones((2, routers, _PORTS), np.bool_),
        passed=np.zeros((routers, _PORTS), np.int64),
    )


def neighbours(columns: int, rows: int, dead: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return the router at each side of each, -1 where there is none, with the shape (routers, 5).

    Parameters
    ----------
    columns, rows
        Size of the grid.
    dead
        Which routers do not work, if any.

    """
    number = np.arange(columns * rows).reshape(rows, columns)
    gone = np.zeros(number.size, np.bool_) if dead is None else dead
    padded = np.pad(np.where(gone.reshape(rows, columns), -1, number), 1, constant_values=-1)
    result = np.full((number.size, _PORTS), -1, np.int64)
    for side in SIDES:
        across, down = side.step
        shifted = padded[1 + down : 1 + down + rows, 1 + across : 1 + across + columns]
        result[:, side] = shifted.reshape(-1)
    return result


def opposite_ports() -> NDArray[np.int64]:
    """Return for each port that of the neighbour; LOCAL has none and stands for itself."""
    return np.array([_LOCAL, *(side.opposite for side in SIDES)])


@njit(cache=True)
def _arrive(router, i, packet, ways, state):
    """Put a packet at the end of an input buffer."""
    at = state.level[router, i]
    state.packet[router, i, at] = packet
    state.pending[router, i, at] = ways[router, i, packet >> _PLACE_SHIFT]
    state.level[router, i] = at + 1


@njit(cache=True)
def _leave(router, state, depth, now):
    """Take out of the input buffers what all outputs have taken."""
    packet, pending = state.packet[router], state.pending[router]
    for i in range(_PORTS):
        kept = 0
        for n in range(state.level[router, i]):
            if pending[i, n]:
                packet[i, kept] = packet[i, n]
                pending[i, kept] = pending[i, n]
                kept += 1
        state.level[router, i] = kept
        state.ready[1 - now, router, i] = kept < depth


@njit(cache=True)
def step_router(router, entering, taking, ways, neighbour, opposite, state, now):
    """Do one cycle of a router.

    Each output takes the oldest packet for it of the first input, from its turn on, that has one.

    Parameters
    ----------
    router : int
        Its number.
    entering : int
        What its node offers in this cycle, or `NOTHING`.
    taking : bool
        Whether its node takes a packet in this cycle.
    ways : uint8[routers, 5, places]
        Outputs of a packet to each place, by router and input.
    neighbour : int64[routers, 5]
    opposite : int64[5]
        As from `neighbours` and `opposite_ports`.
    state : RouterState
    now : int
        The cycle modulo 2.

    Returns
    -------
    entered : bool
        Whether `entering` was taken.
    delivered : int
        What the node took, or `NOTHING`.

    """
    output, ready = state.output[now], state.ready[now]
    depth = state.packet.shape[2] - 1
    entered = entering != NOTHING and ready[router, _LOCAL]
    if entered:
        _arrive(router, _LOCAL, entering, ways, state)
    for i in range(1, _PORTS):
        other = neighbour[router, i]
        if other >= 0 and ready[router, i]:
            packet = output[other, opposite[i]]
            if packet != NOTHING:
                _arrive(router, i, packet, ways, state)

    delivered = NOTHING
    for o in range(_PORTS):
        packet = output[router, o]
        if packet != NOTHING:
            if o == _LOCAL:
                leaves = taking
                if leaves:
                    delivered = packet
            else:
                leaves = ready[neighbour[router, o], opposite[o]]
            if not leaves:
                state.output[1 - now, router, o] = packet
                continue
            state.passed[router, o] += 1
        packet = NOTHING
        for k in range(_PORTS):
            i = (state.turn[router, o] + k) % _PORTS
            for n in range(state.level[router, i]):
                if state.pending[router, i, n] >> o & 1:
                    packet = state.packet[router, i, n]
                    state.pending[router, i, n] ^= np.uint8(1 << o)
                    state.turn[router, o] = (i + 1) % _PORTS
                    break
            if packet != NOTHING:
                break
        state.output[1 - now, router, o] = packet
    _leave(router, state, depth, now)
    return entered, delivered
