"""Blocks of the lanes: 64b/66b sync headers, and the marker, the block that describes its row.

A block is 66 bits, sent least significant bit first: two bits of sync header and a word. Every lane
sends the blocks of a row at the same time. A row that carries no data is a marker row: the block of
each lane says which lane it is and what number its row has, modulo 256, so the receiver can undo
skew, reversal and inversion from a single row. Markers also say how rows are spread over the lanes
and what arrives of the other direction.

Unlike the alignment markers of IEEE 802.3 clause 82 these are scrambled like all other words: every
lane has a scrambler of its own, so a receiver can undo it before it knows any order of lanes.

Ref: IEEE Std 802.3-2018, 49.2.4.3 (sync headers 01 and 10, the first bit on the left), 49.2.4.4
(block types), 82.2.7 (alignment markers: one row, all lanes at once, bits balanced by complements).
"""

from __future__ import annotations

import enum

import numpy as np
from numba import njit

from .params import WORD_BITS

__all__ = [
    "MARKER_FIELDS",
    "MARKER_TYPE",
    "MarkerField",
    "RowMode",
    "SyncHeader",
    "is_marker",
    "marker_field",
    "marker_word",
    "required_lanes",
]


class SyncHeader(enum.IntEnum):
    """The two bits before a word; bit 0 is sent first. 0 and 3 are invalid."""

    CONTROL = 0b01  #: sent as 1, 0
    DATA = 0b10  #: sent as 0, 1


#: Bits 7..0 of a marker, which no other control word may have. It is the standard's type of an
#: ordered set, which tells of the state of a link there, too.
MARKER_TYPE = 0x4B


class RowMode(enum.IntEnum):
    """How rows are spread over the lanes."""

    FULL = 0  #: a word on every lane
    LOW = 1  #: on the lower half of the lanes: its first half, then, in the next row, the second
    HIGH = 2  #: the same on the upper half of the lanes


class MarkerField(enum.IntEnum):
    """The fields of the lower half of a marker; the upper half is its complement."""

    TYPE = 0  #: `MARKER_TYPE`
    LANE = 1  #: number of the lane
    MODE = 2  #: `RowMode` of the rows that follow
    UP = 3  #: rows of the other direction are delivered
    ROW = 4  #: number of the row
    LANES = 5  #: bit n: lane n of the other direction arrives


#: First bit and width of each field by `MarkerField`. Bit 15 is zero.
MARKER_FIELDS: dict[MarkerField, tuple[int, int]] = {
    MarkerField.TYPE: (0, 8),
    MarkerField.LANE: (8, 4),
    MarkerField.MODE: (12, 2),
    MarkerField.UP: (14, 1),
    MarkerField.ROW: (16, 8),
    MarkerField.LANES: (24, 8),
}

_HALF = np.uint64(WORD_BITS // 2)
_HALF_MASK = np.uint64((1 << WORD_BITS // 2) - 1)
_TYPE_MASK = np.uint64(0xFF)
_MARKER = np.uint64(MARKER_TYPE)
_SHIFTS = np.array([lsb for lsb, _ in MARKER_FIELDS.values()], np.uint64)
_MASKS = np.array([(1 << bits) - 1 for _, bits in MARKER_FIELDS.values()], np.uint64)
_LANE, _MODE = int(MarkerField.LANE), int(MarkerField.MODE)
_UP, _ROW, _LANES = int(MarkerField.UP), int(MarkerField.ROW), int(MarkerField.LANES)
_FULL, _LOW = int(RowMode.FULL), int(RowMode.LOW)


@njit(cache=True)
def marker_word(lane: int, mode: int, up: bool, row: int, lanes: int) -> np.uint64:
    """Return the marker of a lane."""
    low = (
        _MARKER
        | np.uint64(lane) << _SHIFTS[_LANE]
        | np.uint64(mode) << _SHIFTS[_MODE]
        | np.uint64(up) << _SHIFTS[_UP]
        | np.uint64(row) << _SHIFTS[_ROW]
        | np.uint64(lanes) << _SHIFTS[_LANES]
    )
    return low | (low ^ _HALF_MASK) << _HALF


@njit(cache=True)
def is_marker(word: np.uint64) -> bool:
    """Tell whether a control word is a marker: its type is, and its halves are complements."""
    return word & _TYPE_MASK == _MARKER and (word ^ word >> _HALF) & _HALF_MASK == _HALF_MASK


@njit(cache=True)
def marker_field(word: np.uint64, field: int) -> np.int64:
    """Return a field of a marker, a `MarkerField`."""
    return np.int64(word >> _SHIFTS[field] & _MASKS[field])


@njit(cache=True)
def required_lanes(mode: int, lanes: int) -> int:
    """Return the lanes that carry data in a mode, of so many: bit n is lane n."""
    half = (1 << lanes // 2) - 1
    if mode == _FULL:
        return (1 << lanes) - 1
    return half if mode == _LOW else half << lanes // 2
