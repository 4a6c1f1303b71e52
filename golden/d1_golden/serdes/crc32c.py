"""CRC-32C (Castagnoli), the check of every frame: in software, and in compiled code by words.

Reflected, register preset to ones, result inverted: `crc32c(b"123456789")` is 0xE3069283. As a
codeword of at most 5 275 bits its Hamming distance is 6, so five flipped bits of a frame (3 584)
are always detected; it has the factor x + 1, so any odd number of them is too.

Ref: G. Castagnoli, S. Braeuer, M. Herrmann, "Optimization of Cyclic Redundancy-Check Codes with
24 and 32 Parity Bits", IEEE Transactions on Communications 41(6), 1993: the polynomial.
Ref: P. Koopman, "32-Bit Cyclic Redundancy Codes for Internet Applications", DSN 2002, table 1:
0x8F6E37A0, the same polynomial, has distance 6 up to 5 243 data bits.
Ref: RFC 3720, "Internet Small Computer Systems Interface (iSCSI)", sections 12.1 and B.4: the
polynomial 0x11EDC6F41, its conventions and examples.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "CRC_BITS",
    "POLYNOMIAL",
    "PRESET",
    "advance",
    "crc32c",
    "retreat",
    "update_bytes",
    "update_half",
    "update_word",
]

#: Bits of the check.
CRC_BITS = 32
#: The polynomial without x^32; bit 31 - n is the coefficient of x^n, as the register is reflected.
POLYNOMIAL = 0x82F63B78
#: What the register holds before the first bit.
PRESET = 0xFFFF_FFFF

_SLICES = 8
_BYTE = np.uint64(0xFF)


def advance(register: int, bits: int) -> int:
    """Return the register after `bits` zero bits: a linear map of it."""
    for _ in range(bits):
        register = register >> 1 ^ (POLYNOMIAL if register & 1 else 0)
    return register


def retreat(register: int, bits: int) -> int:
    """Return the register before `bits` zero bits, the inverse of `advance`."""
    for _ in range(bits):
        was_odd = register >> CRC_BITS - 1
        register = (register ^ POLYNOMIAL * was_odd) << 1 | was_odd
    return register


def _tables() -> NDArray[np.uint64]:
    """Return the register after each byte and 0 to 7 more zero bytes."""
    return np.array(
        [[advance(byte, 8 * (n + 1)) for byte in range(256)] for n in range(_SLICES)], np.uint64
    )


_TABLES = _tables()


def crc32c(data: bytes) -> int:
    """Return the check value of bytes."""
    return update_bytes(PRESET, data) ^ PRESET


def update_bytes(register: int, data: bytes) -> int:
    """Return the register after bytes."""
    return int(_update_bytes(np.uint64(register), np.frombuffer(data, np.uint8)))


@njit(cache=True)
def _update_bytes(register: np.uint64, data: NDArray[np.uint8]) -> np.uint64:
    for byte in data:
        register = register >> np.uint64(8) ^ _TABLES[0, (register ^ np.uint64(byte)) & _BYTE]
    return register


@njit(cache=True)
def update_word(register: np.uint64, word: np.uint64) -> np.uint64:
    """Return the register after the 64 bits of a word, the least significant first."""
    x = word ^ register
    result = np.uint64(0)
    for n in range(8):
        result ^= _TABLES[7 - n, x >> np.uint64(8 * n) & _BYTE]
    return result


@njit(cache=True)
def update_half(register: np.uint64, half: np.uint64) -> np.uint64:
    """Return the register after 32 bits, the least significant first."""
    x = half ^ register
    result = np.uint64(0)
    for n in range(4):
        result ^= _TABLES[3 - n, x >> np.uint64(8 * n) & _BYTE]
    return result
