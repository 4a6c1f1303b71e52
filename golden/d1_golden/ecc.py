"""The SRAM's error-correcting code: eight check bits correct one flipped bit of 72, detect two.

A Hsiao code. The parity-check matrix has 72 distinct columns of odd weight, one for each bit of a
word and its check byte; the syndrome of a flipped bit is that bit's column. Two flips give an even
weight, which is no column, so they are never taken for one. The 56 columns of weight 3, all there
are, and eight of weight 5 are the fewest ones possible: 216, 27 in each row.

The columns of one byte are the rotations of its seed, ``column(8 * k + j) = rotate(SEEDS[k], j)``,
so every row is made of the same circulant blocks. The seeds of weight 3 are the smallest of each
class of rotations; that of weight 5 leaves the fewest codewords of weight 4, hence mistakes the
fewest triple flips for single ones (docs/ecc.md). An erased word, all zeros, is a codeword.

Ref: M. Y. Hsiao, "A Class of Optimal Minimum Odd-weight-column SEC-DED Codes", IBM Journal of
Research and Development 14(4), 1970, pages 395-401: construction and the (72, 64) code's weights.
"""

import enum
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CHECK_BITS",
    "COLUMNS",
    "DATA_BITS",
    "ROWS",
    "SEEDS",
    "Decoded",
    "EccStatus",
    "correction",
    "decode",
    "decode_word",
    "encode",
    "encode_word",
]

#: Bits of a word that one check byte protects.
DATA_BITS = 64
#: Check bits of a word.
CHECK_BITS = 8


def _rotations(byte: int) -> tuple[int, ...]:
    """Return a byte rotated left by 0 to 7."""
    return tuple((byte << n | byte >> CHECK_BITS - n) & 0xFF for n in range(CHECK_BITS))


def _smallest_rotations(weight: int) -> tuple[int, ...]:
    """Return the smallest byte of each class of rotations of the bytes with so many ones."""
    return tuple(
        byte for byte in range(256) if byte.bit_count() == weight and byte == min(_rotations(byte))
    )


#: The column of bit 0 of each byte of a word.
SEEDS: tuple[int, ...] = (*_smallest_rotations(3), 0b11111)
#: The parity-check matrix by columns: the syndrome of each data bit and, after these, of each
#: check bit.
COLUMNS: tuple[int, ...] = (
    *(column for seed in SEEDS for column in _rotations(seed)),
    *(1 << bit for bit in range(CHECK_BITS)),
)
#: Its rows: check bit r is the parity of the data bits that `ROWS[r]` has set.
ROWS: tuple[int, ...] = tuple(
    sum((COLUMNS[bit] >> row & 1) << bit for bit in range(DATA_BITS)) for row in range(CHECK_BITS)
)


class EccStatus(enum.IntEnum):
    """What the decoder found in a word and its check byte."""

    OK = 0  #: a codeword
    CORRECTED = 1  #: the syndrome is a column: that bit is flipped back
    UNCORRECTABLE = 2  #: any other syndrome, as of two flips; the word is left as it is


class Decoded(NamedTuple):
    """Words after decoding, arrays of one shape.

    Members
    -------
    words : uint64
        Corrected where the status is CORRECTED, otherwise as they were.
    checks : uint8
        The same for the check bytes.
    statuses : uint8
        Values of `EccStatus`.
    syndromes : uint8
    """

    words: NDArray[np.uint64]
    checks: NDArray[np.uint8]
    statuses: NDArray[np.uint8]
    syndromes: NDArray[np.uint8]


def _byte_checks() -> NDArray[np.uint8]:
    """Return the check byte of every byte in every place; that of a word is their exclusive-or."""
    checks = np.zeros((DATA_BITS // 8, 256), np.uint8)
    for bit, column in enumerate(COLUMNS[:DATA_BITS]):
        checks[bit // 8, np.arange(256) >> bit % 8 & 1 == 1] ^= np.uint8(column)
    return checks


_NO_BIT = len(COLUMNS)
_CHECKS = _byte_checks()
#: The bit whose column is a syndrome, or _NO_BIT.
_FLIPPED = np.full(256, _NO_BIT, np.uint8)
_FLIPPED[list(COLUMNS)] = np.arange(len(COLUMNS))


@njit(cache=True)
def encode_word(word: np.uint64) -> np.uint8:
    """Return the check byte of a word; in compiled code, and RTL's golden twin."""
    check = np.uint8(0)
    for place in range(8):
        check ^= _CHECKS[place, word >> np.uint64(8 * place) & np.uint64(0xFF)]
    return check


@njit(cache=True)
def correction(syndrome: np.uint8) -> tuple[np.uint64, np.uint8, int]:
    """Return the bits of the word and of the check byte to flip back, and an `EccStatus`."""
    bit = _FLIPPED[syndrome]
    if syndrome == 0:
        return np.uint64(0), np.uint8(0), 0
    if bit < 64:
        return np.uint64(1) << np.uint64(bit), np.uint8(0), 1
    if bit < _NO_BIT:
        return np.uint64(0), syndrome, 1
    return np.uint64(0), np.uint8(0), 2


@njit(cache=True)
def decode_word(word: np.uint64, check: np.uint8) -> tuple[np.uint64, np.uint8, int, np.uint8]:
    """Return a word and its check byte corrected, an `EccStatus` and the syndrome."""
    syndrome = np.uint8(encode_word(word) ^ check)
    word_flips, check_flips, status = correction(syndrome)
    return word ^ word_flips, np.uint8(check ^ check_flips), status, syndrome


@njit(cache=True)
def _encode_all(words, checks):
    for n in range(words.size):
        checks[n] = encode_word(words[n])


@njit(cache=True)
def _decode_all(words, checks, statuses, syndromes):
    for n in range(words.size):
        words[n], checks[n], statuses[n], syndromes[n] = decode_word(words[n], checks[n])


def encode(words: ArrayLike) -> NDArray[np.uint8]:
    """Return the check byte of each word.

    Parameters
    ----------
    words
        Unsigned 64-bit words.

    Raises
    ------
    ValueError
        If they are not unsigned integers of 64 bits.
    """
    array = _unsigned("words", words, np.uint64)
    checks = np.empty(array.shape, np.uint8)
    _encode_all(array.reshape(-1), checks.reshape(-1))
    return checks


def decode(words: ArrayLike, checks: ArrayLike) -> Decoded:
    """Correct words and their check bytes.

    Parameters
    ----------
    words
        Unsigned 64-bit words.
    checks
        Their check bytes, of the same shape.

    Raises
    ------
    ValueError
        If they are not unsigned integers of 64 and 8 bits, or of different shapes.
    """
    # Copies: they become the corrected ones.
    word_array = _unsigned("words", words, np.uint64).copy()
    check_array = _unsigned("checks", checks, np.uint8).copy()
    if word_array.shape != check_array.shape:
        raise ValueError(
            f"checks must have the shape of words, {word_array.shape!r}, not {check_array.shape!r}"
        )
    statuses, syndromes = np.empty((2, *word_array.shape), np.uint8)
    decoded = Decoded(word_array, check_array, statuses, syndromes)
    _decode_all(*(array.reshape(-1) for array in decoded))
    return decoded


def _unsigned(name: str, values: ArrayLike, dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype != dtype:
        raise ValueError(f"{name} must be an array of {dtype.__name__}, not of {array.dtype}")
    return np.ascontiguousarray(array).reshape(array.shape)
