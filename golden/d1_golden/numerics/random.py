"""Random bits for stochastic rounding: a hash of a counter, no state but the seed register.

The 64-bit seed is ``{key: upper 32, counter: lower 32}``. Lane `i` of an instruction draws the hash
of ``{key, counter + i}``; afterwards the instruction adds the number of lanes to the counter, which
wraps. The same seed therefore gives the same bits whatever ran before, and lanes need no state of
their own.

The hash is eight rounds of one 32-bit addition, two rotations and two exclusive-ors:

    x, y = counter + lane, key
    for i in range(8):
        x = (rotate_right(x, 8) + y) ^ i
        y = rotate_left(y, 3) ^ x
    return x

Fewer rounds do not mix: up to six leave pairs of upper bits of successive lanes visibly uneven,
seven are the first to pass, one is in reserve (docs/numerics.md).

Ref: Beaulieu et al., "The SIMON and SPECK Families of Lightweight Block Ciphers", IACR ePrint
2013/404, section 4: the round of SPECK with 32-bit words, here with the round number as its key.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

#: Rounds of the hash; see the table in docs/numerics.md.
ROUNDS = 8

_WORD = 0xFFFFFFFF


@njit(cache=True)
def _rotate_left(word, distance):
    left = word << np.uint64(distance)
    return (left | word >> np.uint64(32 - distance)) & np.uint64(_WORD)


@njit(cache=True)
def hash_counter(counter: np.uint64, key: np.uint64, rounds: int) -> np.uint64:
    """Return a 32-bit hash of two 32-bit numbers by so many rounds."""
    x = np.uint64(counter)
    y = np.uint64(key)
    for i in range(rounds):
        x = ((_rotate_left(x, 24) + y) & np.uint64(_WORD)) ^ np.uint64(i)
        y = _rotate_left(y, 3) ^ x
    return x


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
    counter = (np.uint64(seed) + np.uint64(lane)) & np.uint64(_WORD)
    return np.uint32(hash_counter(counter, np.uint64(seed) >> np.uint64(32), ROUNDS))


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
