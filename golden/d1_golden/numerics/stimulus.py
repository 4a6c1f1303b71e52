"""Random operands that reach the corners of the dot-product block and of the conversions.

Uniform bit patterns almost never cancel, meet in a subnormal result or overflow in the sum; each
`OperandKind` steers towards one such corner. Used by the tests of the model and of the hardware.
"""

import enum

import numpy as np
from numpy.typing import NDArray

from d1_golden.numerics.formats import FP32, FloatFormat


class OperandKind(enum.Enum):
    """Which corner random operands are steered to."""

    #: Any bit pattern with equal probability.
    UNIFORM = enum.auto()
    #: Exponents so close that alignment cuts some bits but not all.
    NEAR = enum.auto()
    #: Products in pairs of opposite sign, equal or one last bit apart; the rest is small.
    CANCELLING = enum.auto()
    #: Subnormal operands and products, and sums near the smallest FP32 numbers.
    SUBNORMAL = enum.auto()
    #: Sums around the largest FP32 number.
    HUGE = enum.auto()
    #: Inf, NaN, zeros and extremes crossed with each other and with ordinary numbers.
    SPECIAL = enum.auto()


def corner_codes(form: FloatFormat) -> NDArray[np.unsignedinteger]:
    """Return the extremes of a format, of both signs: zero, smallest, one, largest, Inf, NaNs."""
    last = (1 << form.mantissa_bits) - 1
    codes = [0, 1, last, last + 1, form.bias << form.mantissa_bits, form.largest_code]
    if form.has_specials:
        codes += [form.infinity_code, form.nan_code, form.infinity_code + 1]
    sign = 1 << (form.width - 1)
    return np.array([s | code for code in codes for s in (0, sign)], dtype=form.dtype)


def _numbers(
    rng: np.random.Generator, form: FloatFormat, exponents: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return finite codes of the given exponents, subnormal where those are too small."""
    top = form.exponent_mask - int(form.has_specials)
    fields = np.clip(exponents + form.bias, 0, top)
    mantissa = rng.integers(0, 1 << form.mantissa_bits, exponents.shape)
    # Few significant bits make exact ties and equal magnitudes likely.
    mantissa = np.where(
        rng.random(exponents.shape) < 0.25,
        mantissa & (3 << form.mantissa_bits - 2),
        mantissa,
    )
    sign = rng.integers(0, 2, exponents.shape) << (form.width - 1)
    return sign | fields << form.mantissa_bits | mantissa


def dot_operands(
    rng: np.random.Generator, blocks: int, terms: int, operand: FloatFormat, kind: OperandKind
) -> tuple[NDArray[np.uint32], NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]:
    """Return operands of many blocks.

    Returns
    -------
    acc : uint32[blocks]
        FP32 accumulators.
    a, b : unsigned[blocks, terms]
        Codes of the factors in the format `operand`.
    """
    shape = (blocks, terms)
    low, high = operand.min_exponent - operand.mantissa_bits, operand.max_exponent
    acc_exponents = rng.integers(-30, 31, blocks)
    a_exponents = rng.integers(max(low, -15), min(high, 15) + 1, shape)
    b_exponents = rng.integers(-4, 5, shape)
    if kind in (OperandKind.NEAR, OperandKind.CANCELLING):
        center = rng.integers(-10, 11, (blocks, 1))
        b_exponents = center - a_exponents + rng.integers(-14, 15, shape)
        acc_exponents = center[:, 0] + rng.integers(-26, 27, blocks)
    elif kind in (OperandKind.SUBNORMAL, OperandKind.HUGE):
        small = kind is OperandKind.SUBNORMAL
        target = rng.integers(*((-156, -120) if small else (119, 128)), shape)
        a_exponents = rng.integers(low - 1, high + 1, shape)
        b_exponents = np.clip(target - a_exponents, low - 1, high)
        a_exponents = np.clip(target - b_exponents, low - 1, high)
        acc_exponents = rng.integers(*((-130, -120) if small else (122, 128)), blocks)
    a = _numbers(rng, operand, a_exponents)
    b = _numbers(rng, operand, b_exponents)
    acc = _numbers(rng, FP32, acc_exponents)

    if kind is OperandKind.UNIFORM:
        a = rng.integers(0, 1 << operand.width, shape)
        b = rng.integers(0, 1 << operand.width, shape)
        acc = rng.integers(0, 1 << FP32.width, blocks)
    elif kind is OperandKind.CANCELLING:
        pairs = terms // 2
        flip = 1 << (operand.width - 1)
        near = rng.integers(0, 2, (blocks, pairs))
        a[:, 1 : 2 * pairs : 2] = a[:, 0 : 2 * pairs : 2] ^ flip
        b[:, 1 : 2 * pairs : 2] = b[:, 0 : 2 * pairs : 2] ^ near
        acc = np.where(rng.random(blocks) < 0.3, acc & (1 << 31), acc)
    elif kind is OperandKind.SPECIAL:
        density = rng.choice([0.05, 0.3, 0.9], (blocks, 1))
        corners = corner_codes(operand).astype(np.int64)
        a = np.where(rng.random(shape) < density, rng.choice(corners, shape), a)
        b = np.where(rng.random(shape) < density, rng.choice(corners, shape), b)
        special_acc = rng.choice(corner_codes(FP32).astype(np.int64), blocks)
        acc = np.where(rng.random(blocks) < density[:, 0], special_acc, acc)
    return acc.astype(np.uint32), a.astype(operand.dtype), b.astype(operand.dtype)


def conversion_operands(
    rng: np.random.Generator, count: int, destination: FloatFormat
) -> NDArray[np.uint32]:
    """Return FP32 numbers around a narrower format: in its range, on ties and beside, corners.

    Returns
    -------
    uint32[count]
        FP32 bit patterns.
    """
    low = destination.min_exponent - destination.mantissa_bits - 3
    exponents = rng.integers(low, destination.max_exponent + 3, count)
    codes = _numbers(rng, FP32, exponents)
    # Clear all bits but a few below the destination's last, then perhaps step off the tie by one.
    keep = rng.integers(0, destination.mantissa_bits + 3, count)
    tied = codes & ~((1 << (FP32.mantissa_bits - keep)) - 1)
    codes = np.where(rng.random(count) < 0.4, tied + rng.integers(-1, 2, count), codes)
    codes = np.where(rng.random(count) < 0.05, rng.integers(0, 1 << 32, count), codes)
    corners = rng.choice(corner_codes(FP32).astype(np.int64), count)
    codes = np.where(rng.random(count) < 0.01, corners, codes)
    return (codes & 0xFFFFFFFF).astype(np.uint32)
