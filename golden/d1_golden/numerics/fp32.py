"""The arithmetic of a vector lane: IEEE 754 binary32, nearest even, subnormals kept.

One datapath, the fused multiply-add, gives addition, subtraction and multiplication as well. Its
frame is 52 bits wide, and bit `UNIT_BIT` weighs ``2^(E - 127)``; `E` is a biased exponent:

1. **Unpack.** A subnormal has exponent field 1 and no hidden bit; it is not normalised.
2. **Multiply.** The product of the significands is exact, in [0, 4) with 46 fraction bits; its
   exponent is the sum of its factors'. A zero product has no exponent, so it never is the larger.
3. **Align.** `E` is the larger exponent of product and addend. The other is shifted right; what
   falls out of the frame is joined into its last bit (the sticky bit).
4. **Add** the signed magnitudes.
5. **Normalise.** Shift left until the top bit is set, but no farther than where the exponent field
   becomes 0. Because the addend's exponent is at least 1, so is `E`: there is never a shift right.
6. **Round** once, to nearest even, at a fixed place; a carry runs on into the exponent field.

The three bits of the frame below an exact product are what the sticky bit needs: with fewer, a
product of a subnormal and a normal number can lose half of its last bit (docs/vector_numerics.md).

Every NaN result is the canonical one, 0x7FC00000, whatever the operands' NaNs were. A sum of
exactly zero is +0 unless both terms are -0. Overflow gives Inf.

All scalar functions take and return the bit patterns of binary32 numbers as uint32, are compiled,
and may be called from other compiled code; those named `..._array` are ufuncs over uint32 arrays.

Hardware: the steps are those of the lane, so that its signals can be compared with the variables
here.

Ref: IEEE Std 754-2019, sections 4.3.1, 5.4, 6, 9.6; The RISC-V Instruction Set Manual, Volume I:
Unprivileged ISA, chapter "F" (canonical NaN, minimum and maximum, saturating conversions).
"""

from collections.abc import Callable
from functools import wraps

import numpy as np
from numba import njit, vectorize
from numpy.typing import ArrayLike, NDArray

from d1_golden.numerics.formats import FP32, Rounding

#: Width of the frame in which product and addend are added.
FRAME_BITS = 52
#: Bits of the frame below the last bit of an exact product.
GUARD_BITS = 3
#: The frame's bit that weighs ``2^(E - 127)``.
UNIT_BIT = 2 * FP32.mantissa_bits + GUARD_BITS

#: Bit patterns.
NAN = FP32.nan_code
INFINITY = FP32.infinity_code
ONE = FP32.bias << FP32.mantissa_bits
SIGN = 1 << 31

_MANTISSA = FP32.mantissa_bits
_MANTISSA_MASK = (1 << _MANTISSA) - 1
_BIAS = FP32.bias
_SPECIAL_FIELD = FP32.exponent_mask
#: Bits of a normalised sum that rounding drops.
_DROPPED = FRAME_BITS - 1 - _MANTISSA
#: E at which the last bit of the frame weighs 1, and at which its top integer bit is bit 31.
_INTEGER_EXPONENT = FP32.bias + UNIT_BIT
_WORD_EXPONENT = FP32.bias + 31
#: Fraction bits of the frame at `_WORD_EXPONENT`.
_WORD_FRACTION = UNIT_BIT - 31
_NEAREST_EVEN = int(Rounding.NEAREST_EVEN)


@njit(cache=True)
def _unpack(bits):
    """Return sign, exponent field of at least 1, significand, whether NaN and whether Inf."""
    word = np.int64(bits)
    field = word >> _MANTISSA & _SPECIAL_FIELD
    mantissa = word & _MANTISSA_MASK
    significand = mantissa | np.int64(field != 0) << _MANTISSA
    special = field == _SPECIAL_FIELD
    nan = special and mantissa != 0
    infinite = special and mantissa == 0
    return word >> 31, max(field, np.int64(1)), significand, nan, infinite


@njit(cache=True)
def _shift_right_sticky(value, distance):
    """Shift right; the last bit of the result is set also if any bit fell out."""
    distance = min(distance, np.int64(63))
    shifted = value >> distance
    return shifted | np.int64(shifted << distance != value)


@njit(cache=True)
def _leading_zeros(magnitude):
    """Return the zeros of the frame above the leading one; all but one of them if there is none."""
    # The exponent of an exact conversion to float64: the fastest way a compiled loop has.
    top = (np.float64(magnitude | 1).view(np.int64) >> 52) - 1023
    return FRAME_BITS - 1 - top


@njit(cache=True)
def _round(sign, magnitude, exponent):
    """Return ``magnitude x 2^(exponent - 127 - UNIT_BIT)``, a number of the frame, rounded."""
    # The hidden bit comes to stand in the top bit, or lower if that makes the field 0.
    zeros = min(_leading_zeros(magnitude), exponent + 1)
    normal = magnitude << zeros
    last = normal >> _DROPPED & 1
    rounded = (normal + ((1 << _DROPPED - 1) - 1) + last) >> _DROPPED
    # The hidden bit adds the missing one to the field, and so does a carry.
    code = (exponent + 1 - zeros << _MANTISSA) + rounded
    code = np.int64(0) if magnitude == 0 else min(code, np.int64(INFINITY))
    return np.uint32(sign << 31 | code)


@njit(cache=True)
def fma(a: np.uint32, b: np.uint32, c: np.uint32) -> np.uint32:
    """Return ``a x b + c``, rounded once.

    Inf times zero is NaN whatever `c` is. The negated forms are this one with sign bits flipped:
    of a factor for ``c - a x b``, of `c` for ``a x b - c``.
    """
    a_sign, a_exponent, a_significand, a_nan, a_infinite = _unpack(a)
    b_sign, b_exponent, b_significand, b_nan, b_infinite = _unpack(b)
    c_sign, c_exponent, c_significand, c_nan, c_infinite = _unpack(c)

    p_sign = a_sign ^ b_sign
    product = a_significand * b_significand
    p_exponent = np.int64(0) if product == 0 else a_exponent + b_exponent - _BIAS

    exponent = max(p_exponent, c_exponent)
    p_term = _shift_right_sticky(product << GUARD_BITS, exponent - p_exponent)
    c_term = _shift_right_sticky(c_significand << UNIT_BIT - _MANTISSA, exponent - c_exponent)

    total = (-p_term if p_sign != 0 else p_term) + (-c_term if c_sign != 0 else c_term)
    sign = p_sign & c_sign if total == 0 else np.int64(total < 0)
    finite = _round(sign, abs(total), exponent)

    p_infinite = a_infinite or b_infinite
    # An Inf has its hidden bit, so a zero product of one comes from a zero.
    invalid = (p_infinite and product == 0) or (p_infinite and c_infinite and p_sign != c_sign)
    infinity = np.uint32((p_sign if p_infinite else c_sign) << 31 | INFINITY)
    result = infinity if p_infinite or c_infinite else finite
    return np.uint32(NAN) if a_nan or b_nan or c_nan or invalid else result


@njit(cache=True)
def add(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return ``a + b``: ``a x 1 + b``."""
    return fma(a, np.uint32(ONE), b)


@njit(cache=True)
def sub(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return ``a - b``: ``a x 1 + (-b)``."""
    return fma(a, np.uint32(ONE), negate(b))


@njit(cache=True)
def mul(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return ``a x b``: ``a x b + (-0)``, for -0 is what changes no product, not even +0."""
    return fma(a, b, np.uint32(SIGN))


@njit(cache=True)
def negate(a: np.uint32) -> np.uint32:
    """Return the bit pattern with its sign bit flipped; a NaN is not made canonical."""
    return np.uint32(a) ^ np.uint32(SIGN)


@njit(cache=True)
def is_nan(a: np.uint32) -> bool:
    """Return whether a bit pattern is a NaN."""
    return bool(np.int64(a) & 0x7FFFFFFF > INFINITY)


@njit(cache=True)
def _order(a):
    """Return a signed integer in the order of the numbers, with -0 below +0."""
    word = np.int64(np.int32(np.uint32(a)))
    return word ^ (word >> 31 & 0x7FFFFFFF)


@njit(cache=True)
def _both_zero(a, b):
    return (np.int64(a) | np.int64(b)) & 0x7FFFFFFF == 0


@njit(cache=True)
def minimum(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the lesser number: -0 is less than +0; of a number and a NaN, the number."""
    lesser = np.uint32(a) if is_nan(b) or _order(a) < _order(b) else np.uint32(b)
    either = np.uint32(b) if is_nan(a) else lesser
    return np.uint32(NAN) if is_nan(either) else either


@njit(cache=True)
def maximum(a: np.uint32, b: np.uint32) -> np.uint32:
    """Return the greater number: +0 is greater than -0; of a number and a NaN, the number."""
    greater = np.uint32(a) if is_nan(b) or _order(a) > _order(b) else np.uint32(b)
    either = np.uint32(b) if is_nan(a) else greater
    return np.uint32(NAN) if is_nan(either) else either


@njit(cache=True)
def equal(a: np.uint32, b: np.uint32) -> bool:
    """Return whether a = b; zeros are equal, a NaN equals nothing."""
    return (np.uint32(a) == np.uint32(b) and not is_nan(a)) or _both_zero(a, b)


@njit(cache=True)
def less(a: np.uint32, b: np.uint32) -> bool:
    """Return whether a < b; false with a NaN."""
    ordered = not (is_nan(a) or is_nan(b))
    return ordered and _order(a) < _order(b) and not _both_zero(a, b)


@njit(cache=True)
def less_equal(a: np.uint32, b: np.uint32) -> bool:
    """Return whether a <= b; false with a NaN."""
    return less(a, b) or equal(a, b)


@njit(cache=True)
def _to_integer(a, rounding, least, greatest):
    """Return a number rounded to an integer and limited; NaN gives the greatest."""
    sign, exponent, significand, nan, _ = _unpack(a)
    # The lane's alignment brings the addend to a fixed exponent instead of the product's.
    frame = significand << UNIT_BIT - _MANTISSA
    fixed = _shift_right_sticky(frame, max(_WORD_EXPONENT - exponent, np.int64(0)))
    kept = fixed >> _WORD_FRACTION
    if rounding == _NEAREST_EVEN:
        kept = (fixed + ((1 << _WORD_FRACTION - 1) - 1) + (kept & 1)) >> _WORD_FRACTION
    if exponent > _WORD_EXPONENT:
        kept = np.int64(1) << 32
    value = -kept if sign != 0 else kept
    return np.int64(greatest) if nan else max(min(value, np.int64(greatest)), np.int64(least))


@njit(cache=True)
def to_int32(a: np.uint32, rounding: int) -> np.uint32:
    """Return a number as a signed integer, as its 32 bits.

    What is too large, Inf included, becomes the nearest integer there is; NaN the greatest.

    Parameters
    ----------
    a : uint32
        FP32 bit pattern.
    rounding : int
        `Rounding.NEAREST_EVEN`; any other rounds toward zero.
    """
    return np.uint32(_to_integer(a, rounding, -(1 << 31), (1 << 31) - 1) & 0xFFFFFFFF)


@njit(cache=True)
def to_uint32(a: np.uint32, rounding: int) -> np.uint32:
    """Return a number as an unsigned integer; see `to_int32`. What is below zero becomes 0."""
    return np.uint32(_to_integer(a, rounding, 0, (1 << 32) - 1))


@njit(cache=True)
def from_int32(word: np.uint32) -> np.uint32:
    """Return the signed integer that 32 bits are, rounded to nearest even."""
    value = np.int64(np.int32(np.uint32(word)))
    return _round(np.int64(value < 0), abs(value), np.int64(_INTEGER_EXPONENT))


@njit(cache=True)
def from_uint32(word: np.uint32) -> np.uint32:
    """Return an unsigned integer, rounded to nearest even."""
    return _round(np.int64(0), np.int64(np.uint32(word)), np.int64(_INTEGER_EXPONENT))


def _operand(value: ArrayLike | Rounding) -> NDArray:
    array = np.asarray(value)
    if not isinstance(value, Rounding) and array.dtype != np.uint32:
        raise TypeError(f"operands must be of uint32, not {array.dtype}")
    return array


def per_element(*, cache: bool) -> Callable[[Callable], Callable[..., NDArray]]:
    """Return a decorator that makes a scalar operation one on uint32 arrays, which broadcast.

    An operand may also be a `Rounding`. It is compiled, or loaded, at the first call.

    Parameters
    ----------
    cache : bool
        Keep the compiled code on disk: only if all that it calls is in the operation's own file.
    """

    def decorate(operation: Callable) -> Callable[..., NDArray]:
        ufunc = vectorize(cache=cache)(operation)

        @wraps(operation)
        def checked(*operands: ArrayLike | Rounding) -> NDArray:
            return ufunc(*(_operand(operand) for operand in operands))

        return checked

    return decorate


@per_element(cache=True)
def fma_array(a, b, c):
    """Return `fma` of each element."""
    return fma(a, b, c)


@per_element(cache=True)
def add_array(a, b):
    """Return `add` of each element."""
    return add(a, b)


@per_element(cache=True)
def sub_array(a, b):
    """Return `sub` of each element."""
    return sub(a, b)


@per_element(cache=True)
def mul_array(a, b):
    """Return `mul` of each element."""
    return mul(a, b)


@per_element(cache=True)
def minimum_array(a, b):
    """Return `minimum` of each element."""
    return minimum(a, b)


@per_element(cache=True)
def maximum_array(a, b):
    """Return `maximum` of each element."""
    return maximum(a, b)


@per_element(cache=True)
def equal_array(a, b):
    """Return `equal` of each element."""
    return equal(a, b)


@per_element(cache=True)
def less_array(a, b):
    """Return `less` of each element."""
    return less(a, b)


@per_element(cache=True)
def less_equal_array(a, b):
    """Return `less_equal` of each element."""
    return less_equal(a, b)


@per_element(cache=True)
def to_int32_array(a, rounding):
    """Return `to_int32` of each element."""
    return to_int32(a, rounding)


@per_element(cache=True)
def to_uint32_array(a, rounding):
    """Return `to_uint32` of each element."""
    return to_uint32(a, rounding)


@per_element(cache=True)
def from_int32_array(word):
    """Return `from_int32` of each element."""
    return from_int32(word)


@per_element(cache=True)
def from_uint32_array(word):
    """Return `from_uint32` of each element."""
    return from_uint32(word)
