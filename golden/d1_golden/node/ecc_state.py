"""What error correction remembers of a golden node's SRAM, compiled.

`NodeState.memory8` holds what a read returns: each word as the decoder would give it. Beside it
stand the syndromes of the words, all zero until somebody injects an error. A syndrome tells the
stored bits: if it is a column of the code, that bit of the word or of its check byte differs from
the decoder's; otherwise the word is as stored, and its check byte differs by the syndrome. So
reads and writes of a node in which nothing was injected, `EccState.wrong` being zero, need nothing
of this module.

A row of the SRAM is checked as a whole whenever it is read, by whomever.

Golden twin of `d1_rtl.node.sram_bank`, `ecc_report`, `ecc_log` and `ecc_registers`, but for
scrubbing: that takes place when `scrub` is called, not every so many cycles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from d1_golden.ecc import EccStatus, correction, encode_word
from d1_golden.memory_map import EccRegister
from d1_golden.params import LINE_BYTES, NodeParams

__all__ = [
    "EccState",
    "check_line",
    "inject",
    "new_ecc_state",
    "scrub",
    "store",
    "write_register",
]

_LINE_WORDS = LINE_BYTES // 8
_CORRECTED = int(EccStatus.CORRECTED)
_COUNT_CORRECTED = int(EccRegister.CORRECTED)
_COUNT_UNCORRECTABLE = int(EccRegister.UNCORRECTABLE)
_LAST_CORRECTED = int(EccRegister.LAST_CORRECTED)
_FIRST_UNCORRECTABLE = int(EccRegister.FIRST_UNCORRECTABLE)
_SCRUB_INTERVAL = int(EccRegister.SCRUB_INTERVAL)
_INJECT_DATA = int(EccRegister.INJECT_DATA)
_INJECT_CHECK = int(EccRegister.INJECT_CHECK)
_INJECT_ADDRESS = int(EccRegister.INJECT_ADDRESS)


class EccState(NamedTuple):
    """Wrong words of a node's SRAM, and the registers.

    Members
    -------
    syndromes : uint8[words]
        Of each 64-bit word.
    wrong : int64[1]
        How many of them are not zero.
    registers : uint64[8]
        By `EccRegister`.
    """

    syndromes: NDArray[np.uint8]
    wrong: NDArray[np.int64]
    registers: NDArray[np.uint64]


def new_ecc_state(params: NodeParams, registers: NDArray[np.uint64] | None = None) -> EccState:
    """Return the state after power-up: nothing is wrong.

    Parameters
    ----------
    params
        Size of the SRAM.
    registers
        Where the registers are: eight words, by default new ones.
    """
    return EccState(
        syndromes=np.zeros(params.sram_bytes // 8, np.uint8),
        wrong=np.zeros(1, np.int64),
        registers=np.zeros(len(EccRegister), np.uint64) if registers is None else registers,
    )


@njit(cache=True)
def _set_syndrome(ecc, word, syndrome):
    ecc.wrong[0] += np.int64(syndrome != 0) - np.int64(ecc.syndromes[word] != 0)
    ecc.syndromes[word] = syndrome


@njit(cache=True)
def _log_entry(word, syndrome):
    return np.uint64(word << 3) | np.uint64(syndrome) << np.uint64(32) | np.uint64(1 << 63)


@njit(cache=True)
def check_line(ecc, line):
    """Count and log what is wrong in a line that is read.

    Returns
    -------
    int
        A bit for each word of the line that cannot be corrected.
    """
    uncorrectable = 0
    line = np.int64(line)
    registers = ecc.registers
    for place in range(_LINE_WORDS):
        word = line * _LINE_WORDS + place
        syndrome = ecc.syndromes[word]
        if syndrome == 0:
            continue
        _, _, status = correction(syndrome)
        if status == _CORRECTED:
            registers[_COUNT_CORRECTED] += np.uint64(1)
            registers[_LAST_CORRECTED] = _log_entry(word, syndrome)
        else:
            uncorrectable |= 1 << place
            registers[_COUNT_UNCORRECTABLE] += np.uint64(1)
            if registers[_FIRST_UNCORRECTABLE] == 0:
                registers[_FIRST_UNCORRECTABLE] = _log_entry(word, syndrome)
    return uncorrectable


@njit(cache=True)
def store(ecc, line, mask):
    """Follow a write of the bytes of a line whose bit in `mask` is set.

    A word that is written whole is right again, and so is one that was corrected in order to write
    part of it. One that could not be corrected stays wrong. The line counts as read if part of
    any word is written.
    """
    mask, line = np.uint64(mask), np.int64(line)
    partial = False
    for place in range(_LINE_WORDS):
        lanes = mask >> np.uint64(8 * place) & np.uint64(0xFF)
        partial |= lanes != np.uint64(0) and lanes != np.uint64(0xFF)
    if partial:
        check_line(ecc, line)
    for place in range(_LINE_WORDS):
        lanes = mask >> np.uint64(8 * place) & np.uint64(0xFF)
        word = line * _LINE_WORDS + place
        if lanes == np.uint64(0) or ecc.syndromes[word] == 0:
            continue
        _, _, status = correction(ecc.syndromes[word])
        if lanes == np.uint64(0xFF) or status == _CORRECTED:
            _set_syndrome(ecc, word, np.uint8(0))


@njit(cache=True)
def scrub(ecc, line):
    """Correct every word of a line that can be, and count and log what was wrong."""
    check_line(ecc, line)
    for word in range(line * _LINE_WORDS, (line + 1) * _LINE_WORDS):
        _, _, status = correction(ecc.syndromes[word])
        if status == _CORRECTED:
            _set_syndrome(ecc, word, np.uint8(0))


@njit(cache=True)
def inject(ecc, memory64, word, data, check):
    """Flip bits of a word and of its check byte, as they are stored."""
    syndrome = ecc.syndromes[word]
    flips, _, _ = correction(syndrome)
    stored = memory64[word] ^ flips ^ data
    syndrome = np.uint8(syndrome ^ encode_word(data) ^ check)
    flips, _, _ = correction(syndrome)
    memory64[word] = stored ^ flips
    _set_syndrome(ecc, word, syndrome)


@njit(cache=True)
def write_register(ecc, memory64, register, value):
    """Write a register. Of several written at once, `EccRegister.INJECT_ADDRESS` comes last."""
    registers = ecc.registers
    if register == _LAST_CORRECTED or register == _FIRST_UNCORRECTABLE:
        registers[register] = 0
    elif register == _SCRUB_INTERVAL:
        registers[register] = value & np.uint64(0xFFFF_FFFF)
    elif register == _INJECT_DATA:
        registers[register] = value
    elif register == _INJECT_CHECK:
        registers[register] = value & np.uint64(0xFF)
    elif register == _INJECT_ADDRESS and value < np.uint64(8 * memory64.size):
        check = np.uint8(registers[_INJECT_CHECK])
        inject(ecc, memory64, value >> np.uint64(3), registers[_INJECT_DATA], check)
