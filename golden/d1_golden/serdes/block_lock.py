"""Block lock: where blocks begin on a lane, found by their sync headers.

A position is good when 64 headers in a row are valid. Until then the first invalid one moves the
search on by one bit; later, 16 invalid ones among 64 do.

Golden twin of `d1_rtl.serdes.block_lock`.

Ref: IEEE Std 802.3-2018, 49.2.9 and Figure 49-12 (lock state diagram: sh_cnt, sh_invalid_cnt).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .block import SyncHeader

__all__ = [
    "LOCK_DTYPE",
    "LOCK_HEADERS",
    "LOSS_HEADERS",
    "is_valid_header",
    "judge_header",
    "new_locks",
    "unlock",
]

#: Headers of one test; so many valid ones in a row are a lock.
LOCK_HEADERS = 64
#: Invalid headers in one test that lose it.
LOSS_HEADERS = 16
#: State of one lane: `tested` are the headers of the present test, the standard's sh_cnt, `invalid`
#: those of them that were invalid, its sh_invalid_cnt.
LOCK_DTYPE = np.dtype([("locked", "?"), ("tested", "i8"), ("invalid", "i8")])

_CONTROL, _DATA = int(SyncHeader.CONTROL), int(SyncHeader.DATA)


def new_locks(lanes: int) -> NDArray[np.void]:
    """Return the state of each lane after reset: no lock."""
    return np.zeros(lanes, LOCK_DTYPE)


@njit(cache=True)
def is_valid_header(header: int) -> bool:
    """Tell whether two bits are a sync header."""
    return header == _CONTROL or header == _DATA


@njit(cache=True)
def unlock(lock: np.void) -> None:
    """Begin a new search."""
    lock["locked"] = False
    lock["tested"] = lock["invalid"] = 0


@njit(cache=True)
def judge_header(lock: np.void, header: int) -> bool:
    """Test the header of the next block; return whether the search moves on by one bit."""
    lock["tested"] += 1
    if not is_valid_header(header):
        lock["invalid"] += 1
        if not lock["locked"] or lock["invalid"] == LOSS_HEADERS:
            unlock(lock)
            return True
    if lock["tested"] == LOCK_HEADERS:
        lock["locked"] |= lock["invalid"] == 0
        lock["tested"] = lock["invalid"] = 0
    return False
