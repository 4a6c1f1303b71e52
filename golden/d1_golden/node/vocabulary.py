"""The functions that the `semantics` of the ISA table call, compiled.

Scalar values are unsigned 64-bit. A vector operand is a row of `NodeState.vector` or a piece of
memory, as 64-bit words; a vector result is made in a scratch row, so that a destination may be a
source as well. After the arguments that the table writes a function may take any of those that
`interpreter` supplies by the names of their parameters (memory, CSRs, tables, scratch).

Lanes are those of `vocabulary_simd`, moves and masks those of `vocabulary_move`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from d1_golden.csr import CSR_BY_NAME
from d1_golden.numerics.convert import bf16_to_fp32, fp32_to_bf16, fp32_to_cfp8
from d1_golden.numerics.random import next_seed, random_bits

from .state import CSR_INDEX

_MROUND = CSR_INDEX[CSR_BY_NAME["mround"].number]
_MSEED = CSR_INDEX[CSR_BY_NAME["mseed"].number]
_ALL_ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_LEAST = np.uint64(1 << 63)
_LOW_HALF = np.uint64(0xFFFF_FFFF)


@njit
def zext(value, bits):
    """Return the low `bits` bits of a value, zero-extended."""
    if bits >= np.uint64(64):
        return value
    return value & ((np.uint64(1) << bits) - np.uint64(1))


@njit
def sext(value, bits):
    """Return the low `bits` bits of a value, sign-extended."""
    shift = np.uint64(64) - bits
    return np.uint64(np.int64(value << shift) >> np.int64(shift))


@njit
def sra(value, distance):
    """Return a value shifted right arithmetically."""
    return np.uint64(np.int64(value) >> np.int64(distance))


@njit
def lt(p, q):
    """Return 1 if p is less than q as signed numbers, else 0."""
    return np.uint64(np.int64(p) < np.int64(q))


@njit
def ltu(p, q):
    """Return 1 if p is less than q as unsigned numbers, else 0."""
    return np.uint64(p < q)


@njit
def mulhu(p, q):
    """Return the upper half of the product of unsigned numbers."""
    half = np.uint64(32)
    p_low, p_high, q_low, q_high = p & _LOW_HALF, p >> half, q & _LOW_HALF, q >> half
    middle = p_high * q_low + (p_low * q_low >> half)
    other = p_low * q_high + (middle & _LOW_HALF)
    return p_high * q_high + (middle >> half) + (other >> half)


@njit
def mulhsu(p, q):
    """Return the upper half of the product of a signed and an unsigned number."""
    return mulhu(p, q) - (q if np.int64(p) < 0 else np.uint64(0))


@njit
def mulh(p, q):
    """Return the upper half of the product of signed numbers."""
    return mulhsu(p, q) - (p if np.int64(q) < 0 else np.uint64(0))


@njit(error_model="numpy")
def divu(p, q):
    """Return the unsigned quotient; by zero all ones."""
    return p // q if q != np.uint64(0) else _ALL_ONES


@njit(error_model="numpy")
def remu(p, q):
    """Return the unsigned remainder; by zero the dividend."""
    return p % q if q != np.uint64(0) else p


@njit
def _magnitude(value):
    return np.uint64(0) - value if np.int64(value) < 0 else value


@njit
def div(p, q):
    """Return the signed quotient, toward zero; by zero all ones; overflow wraps."""
    if q == np.uint64(0):
        return _ALL_ONES
    quotient = divu(_magnitude(p), _magnitude(q))
    return np.uint64(0) - quotient if np.int64(p ^ q) < 0 else quotient


@njit
def rem(p, q):
    """Return the signed remainder, with the dividend's sign; by zero the dividend."""
    if q == np.uint64(0):
        return p
    remainder = remu(_magnitude(p), _magnitude(q))
    return np.uint64(0) - remainder if np.int64(p) < 0 else remainder


@njit
def copy_row(destination, source):
    """Write a vector register or a vector in memory."""
    for i in range(destination.size):
        destination[i] = source[i]


@njit
def vload(addr, memory64, vector_words):
    """Return the vector at a checked address of SRAM."""
    first = addr >> np.uint64(3)
    return memory64[first : first + vector_words]


@njit
def lane_address(base, offsets, lane):
    """Return the address that a lane of a gather or scatter accesses."""
    return base + np.uint64(offsets.view(np.uint32)[lane])


@njit
def first_bad_lane(base, offsets, mask, sram_bytes):
    """Return the first lane in a mask whose word is misaligned or not in SRAM, -1 if none is."""
    for lane in range(2 * offsets.size):
        if mask >> np.uint64(lane) & np.uint64(1):
            address = lane_address(base, offsets, lane)
            if address & np.uint64(3) or address >= sram_bytes:
                return lane
    return -1


@njit
def vgather_m(base, offsets, old, mask, memory32, result):
    """Return `old` with the lanes in a mask read from checked addresses."""
    lanes, kept = result.view(np.uint32), old.view(np.uint32)
    for lane in range(lanes.size):
        lanes[lane] = kept[lane]
        if mask >> np.uint64(lane) & np.uint64(1):
            lanes[lane] = memory32[lane_address(base, offsets, lane) >> np.uint64(2)]
    return result


@njit
def vgather(base, offsets, memory32, result):
    """Return a vector of words from checked addresses."""
    return vgather_m(base, offsets, offsets, _ALL_ONES, memory32, result)


@njit
def vscatter_m(base, offsets, source, mask, memory32):
    """Write the lanes in a mask to checked addresses, from lane 0 up."""
    lanes = source.view(np.uint32)
    for lane in range(lanes.size):
        if mask >> np.uint64(lane) & np.uint64(1):
            memory32[lane_address(base, offsets, lane) >> np.uint64(2)] = lanes[lane]


@njit
def vscatter(base, offsets, source, memory32):
    """Write every lane to its checked address, from lane 0 up."""
    vscatter_m(base, offsets, source, _ALL_ONES, memory32)


@njit
def fp32_from_bf16(source, part, result):
    """Return part `part` of a vector's BF16 values as FP32."""
    values, lanes = source.view(np.uint16), result.view(np.uint32)
    for i in range(lanes.size):
        lanes[i] = bf16_to_fp32(values[part * np.uint64(lanes.size) + np.uint64(i)])
    return result


@njit
def fp32_from_cfp8(source, part, result, mcfp8c, cfp8_bf16):
    """Return part `part` of a vector's CFP8 values as FP32."""
    values, lanes = source.view(np.uint8), result.view(np.uint32)
    for i in range(lanes.size):
        code = values[part * np.uint64(lanes.size) + np.uint64(i)]
        lanes[i] = bf16_to_fp32(cfp8_bf16[mcfp8c, code])
    return result


@njit
def _lane_random(csr, lane):
    """Return the random word of a lane, 0 where rounding is to nearest even."""
    if csr[_MROUND] == np.uint64(0):
        return np.uint32(0)
    return random_bits(csr[_MSEED], lane)


@njit
def _spend_random(csr, lanes):
    """Step the seed past the random words of one conversion, if it drew any."""
    if csr[_MROUND] != np.uint64(0):
        csr[_MSEED] = next_seed(csr[_MSEED], lanes)


@njit
def bf16_from_fp32(old, source, part, result, csr):
    """Return `old` with part `part` replaced by a vector's FP32 values in BF16."""
    copy_row(result, old)
    lanes, values = source.view(np.uint32), result.view(np.uint16)
    rounding: Any = np.int64(csr[_MROUND])
    for i in range(lanes.size):
        code = fp32_to_bf16(lanes[i], rounding, _lane_random(csr, i))
        values[part * np.uint64(lanes.size) + np.uint64(i)] = code
    _spend_random(csr, lanes.size)
    return result


@njit
def cfp8_from_fp32(old, source, part, result, csr, mcfp8c):
    """Return `old` with part `part` replaced by a vector's FP32 values in CFP8."""
    copy_row(result, old)
    lanes, values = source.view(np.uint32), result.view(np.uint8)
    rounding: Any = np.int64(csr[_MROUND])
    mantissa_bits: Any = np.int64(3) - np.int64(mcfp8c >> np.uint64(6))
    bias: Any = np.int64(mcfp8c) & np.int64(63)
    for i in range(lanes.size):
        code = fp32_to_cfp8(lanes[i], mantissa_bits, bias, rounding, _lane_random(csr, i))
        values[part * np.uint64(lanes.size) + np.uint64(i)] = code
    _spend_random(csr, lanes.size)
    return result


@njit
def bf16_tile(source):
    """Return a vector as the BF16 codes of an operand tile."""
    return source.view(np.uint16)


@njit
def cfp8_tile(source, half, tile, config, cfp8_bf16):
    """Return columns 0..3 (`half` 0) or 4..7 (1) of an R x 8 CFP8 tile as BF16 codes."""
    codes = source.view(np.uint8)
    for row in range(tile.size // 4):
        for k in range(4):
            tile[4 * row + k] = cfp8_bf16[config, codes[8 * row + 4 * np.int64(half) + k]]
    return tile


@njit
def acc_part(accumulator, part, result):
    """Return part `part` of an accumulator as a vector."""
    lanes = result.view(np.uint32)
    for i in range(lanes.size):
        lanes[i] = accumulator[part * np.uint64(lanes.size) + np.uint64(i)]
    return result


@njit
def set_acc_part(accumulator, source, part):
    """Write part `part` of an accumulator."""
    lanes = source.view(np.uint32)
    for i in range(lanes.size):
        accumulator[part * np.uint64(lanes.size) + np.uint64(i)] = lanes[i]


@njit
def clear(accumulator):
    """Make an accumulator +0."""
    accumulator[:] = 0
