"""What the move instructions do, compiled: one function for each mnemonic, dots to underscores.

A vector operand or result is a row of `NodeState.vector`: R words of 64 bits, so that a word is one
row of an operand tile, 4 elements of 16 bits or 8 of 8 bits. A mask is a number whose bit n belongs
to lane n. Scalars, lanes and distances are unsigned 64-bit. The last argument of a function that
makes a vector is the row that it fills and returns; it must not be one of the sources.

The pictures are in docs/moves.md. RTL twin: `d1_rtl.node.move_unit`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "block_rows",
    "mand",
    "mandn",
    "mor",
    "mxor",
    "vbc_l",
    "vbc_x",
    "vmv_m_x",
    "vmv_x_m",
    "vmv_x_v",
    "vpad_b8",
    "vpad_b16",
    "vpad_b32",
    "vsel",
    "vshuf",
    "vslide",
    "vtrans_b8",
    "vtrans_b16",
    "vtrans_b32",
    "vtransi_b8",
    "vtransi_b16",
]


def block_rows(lanes: int) -> int:
    """Return P, the rows of the FP32 block that fills a vector: P x Q = lanes, Q = P or 2 P.

    Parameters
    ----------
    lanes
        32-bit lanes of a vector, a power of two.

    """
    rows = 1
    while 4 * rows * rows <= lanes:
        rows *= 2
    return rows


_block_rows = njit(block_rows)


@njit
def _transpose(source, rows, result):
    """Fill `result` with a row-major block of `rows` rows, transposed."""
    columns = source.size // rows
    for row in range(rows):
        for column in range(columns):
            result[column * rows + row] = source[row * columns + column]


@njit
def vtrans_b8(source, result):
    """Return the R x 8 operand tile of 8-bit elements whose transpose, 8 x R, is `source`."""
    _transpose(source.view(np.uint8), 8, result.view(np.uint8))
    return result


@njit
def vtrans_b16(source, result):
    """Return the R x 4 operand tile of 16-bit elements whose transpose, 4 x R, is `source`."""
    _transpose(source.view(np.uint16), 4, result.view(np.uint16))
    return result


@njit
def vtrans_b32(source, result):
    """Return the Q x P block of 32-bit elements whose transpose, P x Q, is `source`."""
    lanes = source.view(np.uint32)
    _transpose(lanes, _block_rows(lanes.size), result.view(np.uint32))
    return result


@njit
def vtransi_b8(source, result):
    """Return an R x 8 operand tile of 8-bit elements transposed: undo `vtrans_b8`."""
    _transpose(source.view(np.uint8), source.size, result.view(np.uint8))
    return result


@njit
def vtransi_b16(source, result):
    """Return an R x 4 operand tile of 16-bit elements transposed: undo `vtrans_b16`."""
    _transpose(source.view(np.uint16), source.size, result.view(np.uint16))
    return result


@njit
def _pad(source, columns, kept, result):
    """Fill `result` with the kept rows and columns of a block of `columns` columns, else +0.

    `kept` has the number of rows in bits 7..0 and that of columns in bits 15..8.
    """
    rows_kept = np.int64(kept & np.uint64(0xFF))
    columns_kept = np.int64(kept >> np.uint64(8) & np.uint64(0xFF))
    for n in range(source.size):
        keep = n // columns < rows_kept and n % columns < columns_kept
        result[n] = source[n] if keep else 0


@njit
def vpad_b8(source, kept, result):
    """Return an R x 8 tile of 8-bit elements with +0 outside its kept rows and columns."""
    _pad(source.view(np.uint8), 8, kept, result.view(np.uint8))
    return result


@njit
def vpad_b16(source, kept, result):
    """Return an R x 4 tile of 16-bit elements with +0 outside its kept rows and columns."""
    _pad(source.view(np.uint16), 4, kept, result.view(np.uint16))
    return result


@njit
def vpad_b32(source, kept, result):
    """Return a P x Q block of 32-bit elements with +0 outside its kept rows and columns."""
    lanes = source.view(np.uint32)
    _pad(lanes, lanes.size // _block_rows(lanes.size), kept, result.view(np.uint32))
    return result


@njit
def vshuf(source, index, result):
    """Return in lane n the source's lane `index[n]` modulo the number of lanes."""
    p, q, lanes = source.view(np.uint32), index.view(np.uint32), result.view(np.uint32)
    for n in range(lanes.size):
        lanes[n] = p[np.int64(q[n]) % lanes.size]
    return result


@njit
def vslide(first, second, distance, result):
    """Return in lane n lane n + distance of `first` followed by `second`.

    `distance` is at most the number of lanes.
    """
    p, q, lanes = first.view(np.uint32), second.view(np.uint32), result.view(np.uint32)
    for n in range(lanes.size):
        place = n + np.int64(distance)
        lanes[n] = p[place] if place < lanes.size else q[place - lanes.size]
    return result


@njit
def vbc_x(scalar, result):
    """Return the low 32 bits of a scalar in every lane."""
    result.view(np.uint32)[:] = np.uint32(scalar & np.uint64(0xFFFF_FFFF))
    return result


@njit
def vbc_l(source, lane, result):
    """Return one lane of a vector in every lane."""
    result.view(np.uint32)[:] = source.view(np.uint32)[np.int64(lane)]
    return result


@njit
def vmv_x_v(source, lane):
    """Return one lane of a vector, sign-extended."""
    return np.uint64(np.int64(np.int32(source.view(np.uint32)[np.int64(lane)])))


@njit
def vsel(first, second, mask, result):
    """Return in each lane `first` where the mask's bit is set, else `second`."""
    p, q, lanes = first.view(np.uint32), second.view(np.uint32), result.view(np.uint32)
    for n in range(lanes.size):
        lanes[n] = p[n] if mask >> np.uint64(n) & np.uint64(1) else q[n]
    return result


@njit
def mand(p, q):
    """Return the lanes in both masks."""
    return p & q


@njit
def mor(p, q):
    """Return the lanes in either mask."""
    return p | q


@njit
def mxor(p, q):
    """Return the lanes in one mask but not in both."""
    return p ^ q


@njit
def mandn(p, q):
    """Return the lanes in the first mask but not in the second."""
    return p & ~q


@njit
def vmv_m_x(scalar, lanes):
    """Return the low `lanes` bits of a scalar as a mask."""
    return scalar & ((np.uint64(1) << np.uint64(lanes)) - np.uint64(1))


@njit
def vmv_x_m(mask):
    """Return a mask as a scalar, zero-extended."""
    return mask
