"""How likely it is that a frame with errors is taken for a good one.

An error on a lane flips a bit of the scrambled stream, and the descrambler makes three flips of
it: the bit itself and those 39 and 58 later in the same lane, as far as they are in the frame.
Errors up to 58 bits before the frame reach into it. A set of errors is not detected if the CRC's
syndromes of its errors cancel. All sets of up to four errors are counted one by one; of larger
sets the share that is not detected is taken to be 2^-31, which is that of random flips of even
parity (CRC-32C detects all odd ones). Errors are independent.

An error in a sync header makes a block invalid; two make it one of the other kind, and then the
frame seems to end elsewhere or not at all and is compared with a CRC that is none: 2^-32.

Ref: P. Koopman and T. Chakravarty, "Cyclic Redundancy Code (CRC) Polynomial Selection For
Embedded Networks", DSN 2004, section 2: weights of a CRC and the probability of undetected errors.
"""

from __future__ import annotations

from functools import cache
from math import comb, exp, lgamma, log, log1p

import numpy as np
from numpy.typing import NDArray

from .crc32c import CRC_BITS, advance
from .params import WORD_BITS, LinkParams

__all__ = ["error_syndromes", "undetected_probability", "undetected_sets"]

#: What a scrambled bit is added to by the descrambler, in bits behind it.
_TAPS = (0, 39, 58)
_COUNTED = 4
_HEADER_BITS = 2


def _error_images(of_bit: NDArray[np.uint64], params: LinkParams, rows: int) -> NDArray[np.uint64]:
    """Return what each error comes to, from what each flipped bit of a frame comes to.

    Lane by lane, from 58 bits before the frame to its last bit.
    """
    # By lane and time: word n of a row is that of lane n.
    by_lane = of_bit.reshape(rows, params.lanes, WORD_BITS).transpose(1, 0, 2)
    lanes = by_lane.reshape(params.lanes, rows * WORD_BITS)
    length, reach = rows * WORD_BITS, max(_TAPS)
    images = np.zeros((params.lanes, reach + length), np.uint64)
    for tap in _TAPS:
        first = reach - tap  # the error whose flip at this tap is the frame's first bit
        images[:, first : first + length] ^= lanes[:, : reach + length - first]
    return images.reshape(-1)


def error_syndromes(params: LinkParams, rows: int) -> NDArray[np.uint64]:
    """Return the syndrome of each single error that reaches a frame of so many rows."""
    bits = rows * params.lanes * WORD_BITS
    of_bit = np.zeros(bits, np.uint64)
    value = 1
    for place in reversed(range(bits)):
        of_bit[place] = value = advance(value, 1)
    return _error_images(of_bit, params, rows)


def _cancelling_sets(images: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return how many sets of 1, 2, 3 and 4 images cancel, if no two are alike."""
    images = np.sort(images)
    pairs = np.concatenate([images[n + 1 :] ^ images[n] for n in range(len(images) - 1)])
    # Three cancel if two make the third: each is found three times.
    places = np.minimum(np.searchsorted(images, pairs), len(images) - 1)
    threes = int((images[places] == pairs).sum()) // 3
    # Four cancel if two pairs are alike: each is found three times.
    pairs.sort()
    starts = np.flatnonzero(np.r_[True, pairs[1:] != pairs[:-1]])
    counts = np.diff(np.r_[starts, len(pairs)]).astype(np.int64)
    fours = int((counts * (counts - 1) // 2).sum()) // 3
    return np.array([(images == 0).sum(), (pairs == 0).sum(), threes, fours])


@cache
def undetected_sets(params: LinkParams, rows: int) -> tuple[int, ...]:
    """Return how many sets of 1, 2, 3 and 4 errors change a frame and are not detected."""
    syndromes = error_syndromes(params, rows)
    bits = rows * params.lanes * WORD_BITS
    # Sets that cancel in a random image as well flip no bit of the frame.
    noise = np.random.default_rng(1).integers(0, 1 << 32, bits, np.uint64) << np.uint64(32)
    both = syndromes | _error_images(noise, params, rows)
    counts = _cancelling_sets(syndromes) - _cancelling_sets(both)
    return tuple(int(count) for count in counts)


def _log_binomial(n: int, k: int, rate: float) -> float:
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return ways + k * log(rate) + (n - k) * log1p(-rate)


def undetected_probability(params: LinkParams, rate: float) -> float:
    """Return the probability that a full frame is wrong and taken for a good one.

    Parameters
    ----------
    params
        The link.
    rate
        Of errors, of each bit on a lane.

    Raises
    ------
    ValueError
        If the rate is not a probability.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), not {rate!r}")
    if rate == 0:
        return 0.0
    rows = params.frame_rows
    places = len(error_syndromes(params, rows))
    total = sum(
        count * exp(k * log(rate) + (places - k) * log1p(-rate))
        for k, count in enumerate(undetected_sets(params, rows), 1)
    )
    most = min(places, 60 + int(10 * places * rate))
    larger = sum(exp(_log_binomial(places, k, rate)) for k in range(_COUNTED + 1, most))
    headers = comb(_HEADER_BITS, 2) * rows * params.lanes * rate**2
    return total + larger * 2.0 ** (1 - CRC_BITS) + headers * 2.0**-CRC_BITS
