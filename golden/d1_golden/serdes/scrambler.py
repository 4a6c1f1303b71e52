"""The self-synchronous scrambler of 64b/66b, x^58 + x^39 + 1, a word at a time.

Bit n of what is sent is bit n of the data plus the bits that were sent 39 and 58 bits before. The
sync header passes by. A receiver needs no state but the last word that arrived, hence finds its
way into the stream by itself; one wrong bit on the lane becomes three, 39 and 58 bits apart.

Golden twin of `d1_rtl.serdes.scrambler` and `d1_rtl.serdes.descrambler`.

Ref: IEEE Std 802.3-2018, 49.2.6 (scrambler, Figure 49-8) and 49.2.10 (descrambler, Figure 49-10).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .params import WORD_BITS

__all__ = ["SCRAMBLER_START", "TAPS", "descramble", "scramble"]

#: How many bits before a bit those are that are added to it.
TAPS = (39, 58)
#: What is taken for the word sent before the first one. The standard leaves it open; its published
#: examples start with ones.
SCRAMBLER_START = (1 << WORD_BITS) - 1

_NEAR, _FAR = (np.uint64(tap) for tap in TAPS)
_NEAR_OLD, _FAR_OLD = (np.uint64(WORD_BITS - tap) for tap in TAPS)


@njit(cache=True)
def scramble(word: np.uint64, before: np.uint64) -> np.uint64:
    """Return a word scrambled.

    Parameters
    ----------
    word
        The data.
    before
        The scrambled word that was sent before.
    """
    old = word ^ before >> _NEAR_OLD ^ before >> _FAR_OLD
    # Of the bits of this word that are added, none has another one of this word added to it.
    return old ^ old << _NEAR ^ old << _FAR


@njit(cache=True)
def descramble(word: np.uint64, before: np.uint64) -> np.uint64:
    """Return the data of a scrambled word; `before` is the word that arrived before it."""
    return word ^ word << _NEAR ^ before >> _NEAR_OLD ^ word << _FAR ^ before >> _FAR_OLD
