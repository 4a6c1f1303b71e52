"""Random operands that reach the corners of the fused multiply-add.

Uniform bit patterns hardly ever cancel, tie, or meet in a subnormal result; each `FmaKind` steers
towards one such corner. Used by the tests of the model and of the hardware.
"""

import enum

import numpy as np
from numba import njit
from numpy.typing import NDArray

from d1_golden.numerics.formats import FP32

_MANTISSA = FP32.mantissa_bits
_MANTISSA_MASK = (1 << _MANTISSA) - 1
_SIGN = 1 << 31
_ONE = FP32.bias << _MANTISSA
_BIAS = FP32.bias


class FmaKind(enum.IntEnum):
    """Which corner random operands of ``a x b + c`` are steered to."""

    #: Any bit pattern with equal probability.
    UNIFORM = 0
    #: The addend's exponent within 30 of the product's, either way.
    NEAR = 1
    #: The addend is minus the rounded product, or up to four last bits beside it.
    CANCELLING = 2
    #: Products from far below the smallest subnormal up to just normal, addends about as small.
    SUBNORMAL = 3
    #: Products and addends around the largest number.
    HUGE = 4
    #: Corners crossed with each other and with any numbers.
    SPECIAL = 5
    #: A subnormal factor, so the product has leading zeros, and an addend that reaches below it.
    UNNORMALISED = 6


def fp32_corners() -> NDArray[np.uint32]:
    """Return the bit patterns at which something changes, of both signs.

    Zero, ends of the subnormal and of the normal numbers, ones and halves with their neighbours,
    powers of two around the width of a significand and of a product, Inf, NaNs of every kind.
    """
    magnitudes = [0, 1, 2, 3, 0x3FFFFF, 0x400000, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000]
    powers = (-64, -63, -48, -25, -24, -23, -1, 0, 1, 23, 24, 63, 64, 126, 127)
    magnitudes += [_ONE + (power << _MANTISSA) for power in powers]
    magnitudes += [_ONE - 1, _ONE + 1, _ONE + 0x400000, _ONE + 0x7FFFFF]
    magnitudes += [FP32.largest_code - 1, FP32.largest_code, FP32.infinity_code]
    magnitudes += [FP32.nan_code, FP32.infinity_code + 1, FP32.nan_code + 0x123456]
    return np.array([sign | code for code in magnitudes for sign in (0, _SIGN)], dtype=np.uint32)


@njit(cache=True)
def _number(word, field, shape):
    """Return a number of an exponent field, limited to the finite ones, with `word`'s sign.

    Its mantissa is that of `word`, or made of few bits at the top, with ones below them, or of
    few bits at the bottom: so that ties and their neighbours become likely.
    """
    bits = min(shape >> 2 & 31, np.int64(_MANTISSA))
    low = (np.int64(1) << _MANTISSA - bits) - 1
    mantissa = word & _MANTISSA_MASK
    if shape & 3 == 1:
        mantissa &= ~low
    elif shape & 3 == 2:
        mantissa |= low
    elif shape & 3 == 3:
        mantissa &= (np.int64(1) << bits) - 1
    return (word & _SIGN) | min(max(field, np.int64(0)), np.int64(254)) << _MANTISSA | mantissa


@njit(cache=True)
def _between(word, low, high):
    """Return a number low..high, both included, made of the upper bits of a word."""
    return low + ((word >> 8) * (high + 1 - low) >> 24)


@njit(cache=True)
def _opposite(a, b, offset):
    """Return minus the rounded product of finite numbers, so many last bits beside it."""
    product = np.uint32(a).view(np.float32) * np.uint32(b).view(np.float32)
    return ((np.int64(np.float32(product).view(np.uint32)) ^ _SIGN) + offset) & 0xFFFFFFFF


@njit(cache=True)
def _steer(words, kind, unit_factor, corners, out):
    for i in range(words.shape[1]):
        a, b, c = np.int64(words[0, i]), np.int64(words[1, i]), np.int64(words[2, i])
        w, exponents = np.int64(words[3, i]), np.int64(words[4, i])
        near, special = np.int64(words[5, i]), np.int64(words[6, i])
        # The exponent field of the product is a's plus b's minus the bias.
        low, high, c_field = np.int64(1), np.int64(254), np.int64(0)
        if kind == 2:
            low = np.int64(-24)
        elif kind == 3:
            low, high, c_field = np.int64(-48), np.int64(4), _between(near, 0, 3)
        elif kind == 4:
            low, high, c_field = np.int64(249), np.int64(257), _between(near, 248, 254)
        target = _between(exponents, low, high)
        if kind == 1:
            c_field = target + _between(near, -30, 30)
        b_field = np.int64(_BIAS)
        if not unit_factor:
            b_field = min(max(_between(w, 0, 254), target - 127), target + 127)
        if kind == 6:
            b_field = np.int64(_BIAS) if unit_factor else _between(w, 1, 254)
            target = b_field - _BIAS
            c_field = target - _between(near, 15, 40)
        if kind != 0 and kind != 5:
            a = _number(a, target + _BIAS - b_field, special)
            b = _number(b, b_field, special >> 7)
            c = _number(c, c_field, special >> 14)
        if unit_factor:
            b = np.int64(_ONE)
        if kind == 2:
            c = _opposite(a, b, _between(near, -4, 4))
        elif kind == 5:
            # Each operand with probability 1/2, three bits of `w` that nothing else uses then.
            a = np.int64(corners[special % corners.size]) if w & 1 != 0 else a
            b = np.int64(corners[near % corners.size]) if w & 2 != 0 and not unit_factor else b
            c = np.int64(corners[exponents % corners.size]) if w & 4 != 0 else c
        out[0, i], out[1, i], out[2, i] = a, b, c


def fma_operands(
    rng: np.random.Generator, count: int, kind: FmaKind, *, unit_factor: bool = False
) -> NDArray[np.uint32]:
    """Return operands of ``a x b + c``.

    Parameters
    ----------
    rng : Generator
        Source of the random words.
    count : int
        Number of operations.
    kind : FmaKind
        The corner.
    unit_factor : bool
        Make b 1, so that a and c are operands of a sum.

    Returns
    -------
    uint32[3, count]
        a, b and c as FP32 bit patterns.
    """
    words = rng.integers(0, 1 << 32, (7, count), dtype=np.uint32)
    out = np.empty((3, count), np.uint32)
    _steer(words, int(kind), unit_factor, fp32_corners(), out)
    return out
