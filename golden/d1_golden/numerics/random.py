"""Random bits for stochastic rounding: a hash of a counter, no state but the seed register.

The 64-bit seed is ``{key: upper 32, counter: lower 32}``. Lane `i` of an instruction draws the hash
of ``counter + i``; afterwards the instruction adds the number of lanes to the counter. The same
seed therefore gives the same bits whatever ran before, lanes need no state of their own, and for
one key the 2^32 counters give every 32-bit word exactly once.

Ref: Robert Jenkins' 32-bit integer hash of six shifts, as quoted in Thomas Wang, "Integer Hash
Function". Additions, shifts and exclusive-ors only; the key enters between its two halves.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

_WORD = 0xFFFFFFFF


@njit(cache=True)
def random_bits(seed: np.uint64, lane: int) -> np.uint32:
    """Return the 32 random bits of a lane.

    Parameters
    ----------
    seed : uint64
        ``{key, counter}``.
    lane : int
        Number of the lane, from 0.
    """
    word = np.uint64(_WORD)
    state = (np.uint64(seed) + np.uint64(lane)) & word
    state = (state + np.uint64(0x7ED55D16) + (state << np.uint64(12))) & word
    state = state ^ np.uint64(0xC761C23C) ^ (state >> np.uint64(19))
    state = (state + np.uint64(0x165667B1) + (state << np.uint64(5))) & word
    state = state ^ (np.uint64(seed) >> np.uint64(32))
    state = ((state + np.uint64(0xD3A2646C)) ^ (state << np.uint64(9))) & word
    state = (state + np.uint64(0xFD7046C5) + (state << np.uint64(3))) & word
    state = state ^ np.uint64(0xB55A4F09) ^ (state >> np.uint64(16))
    return np.uint32(state)


@njit(cache=True)
def next_seed(seed: np.uint64, lanes: int) -> np.uint64:
    """Return the seed after an instruction of so many lanes: its counter wraps, its key stays."""
    key = np.uint64(seed) & ~np.uint64(_WORD)
    return key | ((np.uint64(seed) + np.uint64(lanes)) & np.uint64(_WORD))


@njit(cache=True)
def _fill(seed, lanes, out):
    for i in range(lanes.size):
        out[i] = random_bits(seed, lanes[i])


def random_words(seed: int, lanes: ArrayLike) -> NDArray[np.uint32]:
    """Return the random bits of many lanes; see `random_bits`."""
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be of 64 bits, not {seed!r}")
    lane = np.ascontiguousarray(lanes, dtype=np.int64)
    out = np.empty(lane.shape, np.uint32)
    _fill(np.uint64(seed), lane.ravel(), out.ravel())
    return out
