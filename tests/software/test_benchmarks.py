"""The integer benchmark: what it finds is what Python finds, on one thread and on all."""

from __future__ import annotations

import importlib.util
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from d1.device import open_device
from d1.elf import read_elf
from d1.runner import run_program
from d1_golden.params import PRESETS

_ROOT = Path(__file__).parents[2]
_ELF = Path(str(files("d1") / "benchmarks" / "integer.elf"))
_MAX_THREADS, _ROUNDS = 4, 2
_MASK = (1 << 32) - 1


class _Random:
    """The benchmark's sequence of random numbers."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def __call__(self, bits: int) -> int:
        self._state = (self._state * 1664525 + 1013904223) & _MASK
        return self._state >> 32 - bits


def _crc(crc: int, word: int) -> int:
    """Return CRC-32 of one more word by long division of the polynomial."""
    value = (crc ^ word & _MASK) << 32
    for bit in range(63, 31, -1):
        if value >> bit & 1:
            value ^= 0x1_04C1_1DB7 << bit - 32
    return value


def _lists(random: _Random) -> list[int]:
    records: list[tuple[int, int]] = []
    for n in range(64):
        records.insert(0 if n % 2 else len(records), (random(10), n))
    found = 0
    for _ in range(32):
        wanted = random(5)
        place = next((n for n, (key, _) in enumerate(records) if key % 32 == wanted), None)
        if place is None:
            found += 1000
        else:
            records.insert(0, records.pop(place))
            found += records[0][1]
    ordered = sorted(reversed(records), key=lambda record: record[0])
    return [found, *(key << 8 ^ value for key, value in ordered)]


def _matrices(random: _Random) -> list[int]:
    numbers = np.array([random(32) for _ in range(14 * 14)], np.uint32).reshape(14, 14)
    a, b = ((numbers << shift).view(np.int32) >> 21 for shift in (0, 11))
    c = (a @ b >> 8).astype(np.int16).astype(np.int32) @ b
    sums, over = c.sum(axis=1), (c > 0).sum(axis=1)
    return [int(total / (row + 1)) + int(over[row]) for row, total in enumerate(sums.tolist())]


#: What a word can be, in the order of the states in which the machine ends.
_WORDS = (
    "",
    "0",
    "[1-9][0-9]*",
    "0x[0-9a-f]*",
    r"(?:0|[1-9][0-9]*)\.[0-9]*",
    "[a-z_][a-z_0-9]*",
    ".*",
)


def _kind(word: str) -> int:
    return next(n for n, pattern in enumerate(_WORDS) if re.fullmatch(pattern, word))


def _words(random: _Random) -> list[int]:
    sentence = "mass 12.75 x1 0x7fe0 speed 3.14159 of_light 299792458 0 node 7 0xdeadbeef +5 "
    text = list((sentence * 5)[:384])
    for _ in range(48):
        place = random(8)
        text[place] = text[place + random(7)]
    words = "".join(text).split(" ")
    counts, letters = [0] * 7, [0] * 7
    letters[0] = len(words) - 1  # the blanks
    for word in words[:-1]:
        counts[_kind(word)] += 1
    for word in words:
        for end in range(1, len(word) + 1):
            letters[_kind(word[:end])] += 1
    return [count << 16 | letter for count, letter in zip(counts, letters, strict=True)]


def _check(thread: int) -> int:
    """Return what a thread of the benchmark must find."""
    random, crc = _Random(12345 + thread), _MASK
    for _ in range(_ROUNDS):
        for found in (*_lists(random), *_matrices(random), *_words(random)):
            crc = _crc(crc, found)
    return crc


def test_the_program_expects_what_python_finds() -> None:
    source = (_ELF.parent / "integer.c").read_text()
    expected = ", ".join(f"{_check(thread):#010x}" for thread in range(_MAX_THREADS))
    assert f"{{{expected}}}" in source


@pytest.mark.parametrize("preset_name", sorted(PRESETS))
def test_the_golden_node_finds_it_on_one_thread_and_on_all(preset_name: str) -> None:
    params = PRESETS[preset_name]
    program = read_elf(_ELF, params)
    assert program.signature is not None
    for threads in range(1, params.threads + 1):
        with open_device("golden", preset_name) as device:
            verdict = run_program(device, program, max_cycles=1_000_000, arg=threads)
            assert verdict.failed_test == 0
            checks = device.read(program.signature[0], 4 * _MAX_THREADS).view("<u4").tolist()
        idle = [0] * (_MAX_THREADS - threads)
        assert checks == [_check(thread) for thread in range(threads)] + idle


def test_a_node_with_fewer_threads_refuses_the_work() -> None:
    program = read_elf(_ELF, PRESETS["fpga"])
    with open_device("golden", "fpga") as device:
        assert run_program(device, program, max_cycles=10_000, arg=3).failed_test == 99


def test_the_program_is_what_its_sources_compile_to(tmp_path: Path) -> None:
    path = _ROOT / "tools" / "build_benchmarks.py"
    spec = importlib.util.spec_from_file_location("build_benchmarks", path)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for built in tool.build(tmp_path):
        kept = _ELF.parent / built.name
        assert built.read_bytes() == kept.read_bytes(), "run tools/build_benchmarks.py"
