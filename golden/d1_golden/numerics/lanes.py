"""Vectors lane by lane: integers, compares, reductions, and FP32 in and out of integers.

Operands and results are rows of uint32, one element a lane; what a lane calculates is an operation
of two words, of this module or of `fp32`. Results are written to the last argument, which may not
be an operand, and which is returned.

- **Integers** wrap. A shift takes the lower five bits of its distance.
- **Compares** return a mask: bit n is set if the relation holds in lane n.
- **Reductions** are trees. In every pass lane i is combined with lane i xor 1, then i xor 2, i xor
  4 and so on, lane i first: pairs of neighbours, then pairs of pairs, until every lane has the
  result. All operations reduced give the same of (a, b) as of (b, a), so all lanes agree.

Nothing here is cached on disk: what is compiled may call functions of other files.

Hardware: `d1_rtl.numerics.lane_alu` calculates what the fused multiply-add does not.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

from d1_golden.numerics import fp32
from d1_golden.numerics.formats import Rounding

_NEAREST_EVEN = int(Rounding.NEAREST_EVEN)
_SHIFT_MASK = np.uint32(31)


@njit
def add(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the lower 32 bits of the sum."""
    return np.uint32(np.uint64(a) + np.uint64(b))


@njit
def sub(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the lower 32 bits of the difference."""
    return np.uint32(np.uint64(a) - np.uint64(b))


@njit
def mul(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the lower 32 bits of the product, the same with and without signs."""
    return np.uint32(np.uint64(a) * np.uint64(b))


@njit
def bit_and(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the bits that are set in both."""
    return np.uint32(a & b)


@njit
def bit_or(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the bits that are set in one or both."""
    return np.uint32(a | b)


@njit
def bit_xor(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the bits that are set in one only."""
    return np.uint32(a ^ b)


@njit
def shift_left(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return a shifted left by the lower five bits of b."""
    return np.uint32(np.uint64(a) << np.uint64(b & _SHIFT_MASK))


@njit
def shift_right(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return a shifted right by the lower five bits of b, zeros following."""
    return np.uint32(np.uint64(a) >> np.uint64(b & _SHIFT_MASK))


@njit
def shift_right_signed(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return a shifted right by the lower five bits of b, its sign following."""
    return np.uint32(np.int64(np.int32(a)) >> np.int64(b & _SHIFT_MASK))


@njit
def equal(a: np.uint32, b: np.uint32) -> bool:
    """Return whether two words are the same."""
    return bool(a == b)


@njit
def less(a: np.uint32, b: np.uint32) -> bool:
    """Return whether a < b as signed numbers."""
    return bool(np.int32(a) < np.int32(b))


@njit
def less_unsigned(a: np.uint32, b: np.uint32) -> bool:
    """Return whether a < b as unsigned numbers."""
    return bool(a < b)


@njit
def minimum(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the lesser of two signed numbers."""
    return a if less(a, b) else b


@njit
def maximum(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the greater of two signed numbers."""
    return b if less(a, b) else a


@njit
def minimum_unsigned(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the lesser of two unsigned numbers."""
    return a if less_unsigned(a, b) else b


@njit
def maximum_unsigned(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the greater of two unsigned numbers."""
    return b if less_unsigned(a, b) else a


@njit
def nearest_int32(a: np.uint32) -> np.uint32:
    """Return an FP32 number as a signed integer, to nearest even; see `fp32.to_int32`."""
    return fp32.to_int32(a, _NEAREST_EVEN)


def of_one(operation: Callable) -> Callable:
    """Return a function ``(a, out) -> out`` that does an operation of one word in every lane."""

    @njit
    def lanewise(a, out):
        for i in range(out.size):
            out[i] = operation(a[i])
        return out

    return lanewise


def of_two(operation: Callable) -> Callable:
    """Return a function ``(a, b, out) -> out`` that does an operation in every lane."""

    @njit
    def lanewise(a, b, out):
        for i in range(out.size):
            out[i] = operation(a[i], b[i])
        return out

    return lanewise


def compare(relation: Callable) -> Callable:
    """Return a function ``(a, b) -> uint64`` that gives the mask of a relation."""

    @njit
    def mask(a, b):
        bits = np.uint64(0)
        for i in range(a.size):
            bits |= np.uint64(relation(a[i], b[i])) << np.uint64(i)
        return bits

    return mask


def reduction(operation: Callable) -> Callable:
    """Return a function ``(a, out) -> out`` that combines all lanes, a power of two of them."""

    @njit
    def reduce(a, out):
        for i in range(out.size):
            out[i] = a[i]
        # The lanes of a pass that have the same result are calculated once.
        span = 1
        while span < out.size:
            for i in range(0, out.size, 2 * span):
                out[i] = operation(out[i], out[i + span])
            span *= 2
        for i in range(1, out.size):
            out[i] = out[0]
        return out

    return reduce
