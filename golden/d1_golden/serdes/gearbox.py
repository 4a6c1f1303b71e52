"""Gearboxes between blocks of 66 bits and lanes of any width, as queues of bits.

Golden twins of `d1_rtl.serdes.transmit_gearbox`, `receive_gearbox`, `serializer` and
`deserializer`, state by state.

Ref: IEEE Std 802.3-2018, 49.2.7 (gearbox: the lowest bit of a block first), 49.2.9 (the receiver
slips by one bit to look for the block boundary elsewhere).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .params import BLOCK_BITS, WORD_BITS

__all__ = ["QUEUE_DTYPE", "clear_queue", "gear_down", "gear_up", "new_queues", "wants_block"]

#: A queue of bits. `level` of them are used, between clocks less than a block; the oldest is bit 0
#: of `low`, then come those of `high` and `top`. All above `level` are zero.
QUEUE_DTYPE = np.dtype([("low", "u8"), ("high", "u8"), ("top", "u8"), ("level", "i8")])

_HEADER_BITS = BLOCK_BITS - WORD_BITS
_ONE = np.uint64(1)


def new_queues(lanes: int) -> NDArray[np.void]:
    """Return an empty queue for each lane."""
    return np.zeros(lanes, QUEUE_DTYPE)


@njit(cache=True)
def clear_queue(queue: np.void) -> None:
    """Take all bits out."""
    queue["low"] = queue["high"] = queue["top"] = 0
    queue["level"] = 0


@njit(cache=True)
def _split(value, shift):
    """Return a value shifted left by 0 to 63, and what falls off at the top."""
    return value << np.uint64(shift), value >> _ONE >> np.uint64(WORD_BITS - 1 - shift)


@njit(cache=True)
def _push(queue, value, count):
    level = queue["level"]
    kept, over = _split(value, level % WORD_BITS)
    if level < WORD_BITS:
        queue["low"] |= kept
        queue["high"] |= over
    else:
        queue["high"] |= kept
        queue["top"] |= over
    queue["level"] = level + count


@njit(cache=True)
def _pop(queue, count):
    queue["level"] -= count
    value = queue["low"]
    if count == WORD_BITS:
        queue["low"], queue["high"], queue["top"] = queue["high"], queue["top"], np.uint64(0)
        return value
    down, up = np.uint64(count), np.uint64(WORD_BITS - count)
    queue["low"] = value >> down | queue["high"] << up
    queue["high"] = queue["high"] >> down | queue["top"] << up
    queue["top"] >>= down
    return value & (_ONE << down) - _ONE


@njit(cache=True)
def wants_block(queue: np.void, width: int) -> bool:
    """Tell whether a transmitting lane takes a block in this clock."""
    return queue["level"] < width


@njit(cache=True)
def gear_down(queue: np.void, width: int, header: int, word: np.uint64) -> np.uint64:
    """Return what a lane sends next; the block is taken if `wants_block`, otherwise ignored."""
    if wants_block(queue, width):
        _push(queue, np.uint64(header), _HEADER_BITS)
        _push(queue, word, WORD_BITS)
    return _pop(queue, width)


@njit(cache=True)
def gear_up(
    queue: np.void, width: int, value: np.uint64, slip: bool
) -> tuple[bool, np.int64, np.uint64]:
    """Take what arrived on a lane; return the block that is complete, if one is.

    Parameters
    ----------
    queue
        The lane's.
    width
        Bits that arrive in a clock.
    value
        What arrived.
    slip
        Lose the oldest bit first: all later blocks begin one bit later.

    Returns
    -------
    tuple
        Whether there is a block, its sync header and its word.
    """
    _push(queue, value, width)
    if slip:
        _pop(queue, 1)
    if queue["level"] < BLOCK_BITS:
        return False, np.int64(0), np.uint64(0)
    header = np.int64(_pop(queue, _HEADER_BITS))
    return True, header, _pop(queue, WORD_BITS)
