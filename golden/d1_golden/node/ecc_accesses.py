"""How the accesses of a program meet words with flipped bits, compiled.

The interpreter calls these only while `EccState.wrong` is not zero.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from d1_golden.params import LINE_BYTES

from .ecc_state import check_line, store
from .vocabulary import lane_address

__all__ = ["first_failing_lane", "read_fails", "store_bytes", "store_lanes", "store_masked"]


@njit(cache=True)
def read_fails(ecc, address, size):
    """Return whether a read of `size` bytes of one line meets a word that cannot be corrected.

    The line is counted and logged as one that is read.
    """
    address = np.int64(address)
    uncorrectable = check_line(ecc, address // LINE_BYTES)
    first, last = address % LINE_BYTES // 8, (address + size - 1) % LINE_BYTES // 8
    return uncorrectable >> first & ((2 << (last - first)) - 1) != 0


@njit(cache=True)
def store_bytes(ecc, address, size):
    """Follow a write of `size` bytes of one line."""
    lanes = ~np.uint64(0) >> np.uint64(LINE_BYTES - size)
    store(ecc, address // LINE_BYTES, lanes << np.uint64(address % LINE_BYTES))


@njit(cache=True)
def _lanes_beside(base, offsets, lanes, lane):
    """Return those of some lanes whose words are in the line of one."""
    line = lane_address(base, offsets, lane) // np.uint64(LINE_BYTES)
    beside = np.uint64(0)
    for other in range(2 * offsets.size):
        if lane_address(base, offsets, other) // np.uint64(LINE_BYTES) == line:
            beside |= lanes & np.uint64(1) << np.uint64(other)
    return beside


@njit(cache=True)
def first_failing_lane(ecc, base, offsets, lanes):
    """Return the first of some lanes whose word cannot be corrected, -1 if all can be.

    As in hardware, each line is read once, that of the lowest lane left first.

    Parameters
    ----------
    ecc : EccState
    base, offsets
        As of a gather, checked before.
    lanes
        A bit for each lane.
    """
    failing, left = -1, np.uint64(lanes)
    for lowest in range(2 * offsets.size):
        if not left >> np.uint64(lowest) & np.uint64(1):
            continue
        line = lane_address(base, offsets, lowest) // np.uint64(LINE_BYTES)
        uncorrectable = np.uint64(check_line(ecc, line))
        beside = _lanes_beside(base, offsets, left, lowest)
        left ^= beside
        for lane in range(lowest, 2 * offsets.size):
            word = lane_address(base, offsets, lane) % np.uint64(LINE_BYTES) // np.uint64(8)
            fails = beside >> np.uint64(lane) & uncorrectable >> word & np.uint64(1)
            if failing < 0 and fails:
                failing = lane
    return failing


@njit(cache=True)
def store_lanes(ecc, base, offsets, lanes):
    """Follow a scatter of the words of some lanes: all in a line at once, as in hardware."""
    left = np.uint64(lanes)
    for lowest in range(2 * offsets.size):
        if not left >> np.uint64(lowest) & np.uint64(1):
            continue
        beside = _lanes_beside(base, offsets, left, lowest)
        left ^= beside
        mask = np.uint64(0)
        for lane in range(lowest, 2 * offsets.size):
            if beside >> np.uint64(lane) & np.uint64(1):
                place = lane_address(base, offsets, lane) % np.uint64(LINE_BYTES)
                mask |= np.uint64(0xF) << place
        line = lane_address(base, offsets, lowest) // np.uint64(LINE_BYTES)
        store(ecc, line, mask)


@njit(cache=True)
def store_masked(ecc, address, size, lanes):
    """Follow a write of some 32-bit lanes of a vector of `size` bytes."""
    mask = np.uint64(0)
    for lane in range(size // 4):
        if lanes >> np.uint64(lane) & np.uint64(1):
            mask |= np.uint64(0xF) << np.uint64(4 * lane)
    store(ecc, address // LINE_BYTES, mask << np.uint64(address % LINE_BYTES))
