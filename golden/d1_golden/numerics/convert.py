"""Conversions between FP32 and the narrow formats.

Widening (BF16 to FP32, CFP8 to BF16 or FP32) is exact. Narrowing rounds the 24-bit significand of
an FP32 number once, at the weight of the destination's last bit, the *cut*: for a normal result
that is a fixed place, for a subnormal one it is the weight of the smallest subnormal.

Stochastic rounding keeps 24 fraction bits below the cut (what lies lower is dropped), adds the
upper 24 bits of the lane's random word there, and truncates. The probability of rounding up is
therefore the cut-off fraction exactly whenever the fraction fits 24 bits: always for BF16 (16) and
for every CFP8 result down to the smallest subnormal; below, the expectation is short of the value
by less than 2^-24 of the destination's smallest subnormal.

Out of range: BF16 has Inf, so nearest even overflows to it as IEEE 754 says; stochastic rounding
never turns a finite number into Inf, it stays at the largest one. CFP8 has no specials: overflow,
Inf and NaN become the largest magnitude with their sign. NaN becomes the canonical BF16 NaN 0x7FC0.
Zeros, and numbers that round to zero, keep their sign in every format.

The scalar functions are compiled and may be called from other compiled code; the `_array` ones take
arrays of any shape.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from d1_golden.numerics.formats import BF16, FP32, Cfp8Config, Rounding
from d1_golden.numerics.random import random_words

#: Random bits that stochastic rounding uses: the upper ones of a random word.
STOCHASTIC_BITS = 24

_NEAREST_EVEN = int(Rounding.NEAREST_EVEN)
_STOCHASTIC = int(Rounding.STOCHASTIC)
_MANTISSA = FP32.mantissa_bits
_FP32_INFINITY = FP32.infinity_code
_BF16_INFINITY = BF16.infinity_code
_BF16_NAN = BF16.nan_code


@njit(cache=True)
def _round_magnitude(bits, mantissa_bits, bias, rounding, random):
    """Return the destination's code of a finite FP32 magnitude, as if exponents had no end."""
    magnitude = np.int64(bits) & 0x7FFFFFFF
    field = magnitude >> _MANTISSA
    significand = (magnitude & ((1 << _MANTISSA) - 1)) | (np.int64(field != 0) << _MANTISSA)
    above_smallest_normal = max(field, np.int64(1)) - 127 - (1 - bias)
    # Bits of the significand below the cut; 48 of them leave nothing of 24 bits and 24 random ones.
    cut = min(_MANTISSA - mantissa_bits + max(0, -above_smallest_normal), 48)
    if rounding == _STOCHASTIC:
        aligned = (significand << STOCHASTIC_BITS) >> cut
        kept = (aligned + (np.int64(random) >> (32 - STOCHASTIC_BITS))) >> STOCHASTIC_BITS
    else:
        kept = significand >> cut
        if rounding == _NEAREST_EVEN:
            rest = significand - (kept << cut)
            half = np.int64(1) << (cut - 1)
            kept += np.int64(rest > half or (rest == half and kept & 1 != 0))
    # A hidden bit adds the missing one to the exponent field, and so does a carry out.
    return (max(0, above_smallest_normal) << mantissa_bits) + kept


@njit(cache=True)
def fp32_to_bf16(bits: int, rounding: int, random: int) -> np.uint16:
    """Return the BF16 code of an FP32 number.

    Parameters
    ----------
    bits : uint32
        The FP32 number's bit pattern.
    rounding : int
        A `Rounding`.
    random : uint32
        The lane's random word; used by stochastic rounding only.
    """
    sign = (np.int64(bits) >> 16) & 0x8000
    magnitude = np.int64(bits) & 0x7FFFFFFF
    if magnitude > _FP32_INFINITY:
        return np.uint16(_BF16_NAN)
    if magnitude == _FP32_INFINITY:
        return np.uint16(sign | _BF16_INFINITY)
    code = _round_magnitude(bits, 7, 127, rounding, random)
    if rounding == _STOCHASTIC:
        code = min(code, _BF16_INFINITY - 1)
    return np.uint16(sign | code)


@njit(cache=True)
def fp32_to_cfp8(bits: int, mantissa_bits: int, bias: int, rounding: int, random: int) -> np.uint8:
    """Return the CFP8 code of an FP32 number.

    Parameters
    ----------
    bits : uint32
        The FP32 number's bit pattern.
    mantissa_bits : int
        3 for CFP8 1-4-3, 2 for CFP8 1-5-2.
    bias : int
        The format's exponent bias, 0..63.
    rounding : int
        A `Rounding`.
    random : uint32
        The lane's random word; used by stochastic rounding only.
    """
    sign = (np.int64(bits) >> 24) & 0x80
    if np.int64(bits) & 0x7FFFFFFF >= _FP32_INFINITY:
        return np.uint8(sign | 0x7F)
    code = _round_magnitude(bits, mantissa_bits, bias, rounding, random)
    return np.uint8(sign | min(code, 0x7F))


@njit(cache=True)
def bf16_to_fp32(code: int) -> np.uint32:
    """Return the FP32 bit pattern of a BF16 number: the same bits above sixteen zeros."""
    return np.uint32(np.uint32(code) << np.uint32(16))


@njit(cache=True)
def cfp8_to_bf16(code: int, mantissa_bits: int, bias: int) -> np.uint16:
    """Return the BF16 code of a CFP8 number, exact at every bias and always normal or zero.

    Parameters
    ----------
    code : uint8
        The CFP8 number.
    mantissa_bits : int
        3 for CFP8 1-4-3, 2 for CFP8 1-5-2.
    bias : int
        The format's exponent bias, 0..63.
    """
    sign = (np.int64(code) & 0x80) << 8
    field = (np.int64(code) & 0x7F) >> mantissa_bits
    mantissa = np.int64(code) & ((1 << mantissa_bits) - 1)
    if field == 0:
        if mantissa == 0:
            return np.uint16(sign)
        field += 1
        while mantissa >> mantissa_bits == 0:
            mantissa <<= 1
            field -= 1
        mantissa -= 1 << mantissa_bits
    return np.uint16(sign | (field - bias + 127) << 7 | mantissa << (7 - mantissa_bits))


@njit(cache=True)
def _fp32_to_bf16_loop(bits, rounding, random, out):
    for i in range(bits.size):
        out[i] = fp32_to_bf16(bits[i], rounding, random[i])


@njit(cache=True)
def _fp32_to_cfp8_loop(bits, mantissa_bits, bias, rounding, random, out):
    for i in range(bits.size):
        out[i] = fp32_to_cfp8(bits[i], mantissa_bits, bias, rounding, random[i])


@njit(cache=True)
def _cfp8_to_bf16_loop(codes, mantissa_bits, bias, out):
    for i in range(codes.size):
        out[i] = cfp8_to_bf16(codes[i], mantissa_bits, bias)


def _random_for(count: int, rounding: Rounding, seed: int) -> NDArray[np.uint32]:
    if rounding == Rounding.STOCHASTIC:
        return random_words(seed, np.arange(count))
    return np.broadcast_to(np.uint32(0), (count,))


def _require_dtype(name: str, array: ArrayLike, dtype: type) -> NDArray:
    array = np.asarray(array)
    if array.dtype != dtype:
        raise TypeError(f"{name} must be of {np.dtype(dtype)}, not {array.dtype}")
    return array


def fp32_to_bf16_array(
    bits: ArrayLike, rounding: Rounding = Rounding.NEAREST_EVEN, seed: int = 0
) -> NDArray[np.uint16]:
    """Return the BF16 codes of FP32 bit patterns; element i in C order is lane i of `seed`.

    Raises
    ------
    TypeError
        `bits` is not uint32.
    """
    flat = _require_dtype("bits", bits, np.uint32)
    out = np.empty(flat.size, np.uint16)
    _fp32_to_bf16_loop(flat.ravel(), int(rounding), _random_for(flat.size, rounding, seed), out)
    return out.reshape(flat.shape)


def fp32_to_cfp8_array(
    bits: ArrayLike,
    config: Cfp8Config,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Return the CFP8 codes of FP32 bit patterns; element i in C order is lane i of `seed`.

    Raises
    ------
    TypeError
        `bits` is not uint32.
    """
    flat = _require_dtype("bits", bits, np.uint32)
    out = np.empty(flat.size, np.uint8)
    random = _random_for(flat.size, rounding, seed)
    _fp32_to_cfp8_loop(
        flat.ravel(), config.format.mantissa_bits, config.bias, int(rounding), random, out
    )
    return out.reshape(flat.shape)


def bf16_to_fp32_array(codes: ArrayLike) -> NDArray[np.uint32]:
    """Return the FP32 bit patterns of BF16 codes."""
    return _require_dtype("codes", codes, np.uint16).astype(np.uint32) << np.uint32(16)


def cfp8_to_bf16_array(codes: ArrayLike, config: Cfp8Config) -> NDArray[np.uint16]:
    """Return the BF16 codes of CFP8 codes."""
    flat = _require_dtype("codes", codes, np.uint8)
    out = np.empty(flat.size, np.uint16)
    _cfp8_to_bf16_loop(flat.ravel(), config.format.mantissa_bits, config.bias, out)
    return out.reshape(flat.shape)


def cfp8_to_fp32_array(codes: ArrayLike, config: Cfp8Config) -> NDArray[np.uint32]:
    """Return the FP32 bit patterns of CFP8 codes."""
    return bf16_to_fp32_array(cfp8_to_bf16_array(codes, config))
