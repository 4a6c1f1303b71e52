"""The integer benchmark: what it finds is what Python finds, on one thread and on all."""

from __future__ import annotations

import importlib.util
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
_MAX_THREADS, _ROUNDS = 4, 3
_MASK = (1 << 32) - 1


class _Random:
    """The benchmark's sequence of random numbers."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def __call__(self) -> int:
        self._state = (self._state * 1664525 + 1013904223) & _MASK
        return self._state >> 8


def _crc(crc: int, word: int) -> int:
    """Return CRC-32 of one more word by long division of the polynomial."""
    value = (crc ^ word & _MASK) << 32
    for bit in range(63, 31, -1):
        if value >> bit & 1:
            value ^= 0x1_04C1_1DB7 << bit - 32
    return value


def _lists(random: _Random) -> int:
    records: list[tuple[int, int]] = []
    for n in range(48):
        records.insert(0 if n % 2 else len(records), (random() % 1000, n))
    found = 0
    for _ in range(24):
        wanted = random() % 16
        place = next((n for n, (key, _) in enumerate(records) if key % 16 == wanted), None)
        if place is None:
            found += 1000
        else:
            records.insert(0, records.pop(place))
            found += records[0][1]
    for key, value in sorted(reversed(records), key=lambda record: record[0]):
        found = found * 31 + (key << 8 ^ value)
    return found & _MASK


def _matrices(random: _Random) -> tuple[int, int]:
    pairs = [
        [(random() % 2000 - 1000, random() % 2000 - 1000) for _ in range(10)] for _ in range(10)
    ]
    a, b = np.array(pairs).transpose(2, 0, 1)
    c = a @ b
    over = sum(
        j if c[i, j] > 500_000 else -i if c[i, j] < -500_000 else 1
        for i in range(10)
        for j in range(10)
    )
    total = sum(int(c[i].sum() / (i + 1)) + int(np.fmod(c[i, i], 127)) for i in range(10))
    return over & _MASK, total & _MASK


def _kind(word: str) -> int:
    """Return the number of the state in which a word ends."""
    digits, hexadecimals = set("0123456789"), set("0123456789abcdef")
    letters = set("abcdefghijklmnopqrstuvwxyz_")
    whole, point, fraction = word.partition(".")
    if not word:
        return 0
    if word == "0":
        return 1
    if set(word) <= digits and word[0] != "0":
        return 2
    if word.startswith("0x") and set(word[2:]) <= hexadecimals:
        return 3
    if (
        point
        and set(fraction) <= digits
        and set(whole) <= digits
        and whole == (whole.lstrip("0") or "0")
    ):
        return 4
    return 5 if word[0] in letters and set(word) <= letters | digits else 6


def _words(random: _Random) -> int:
    letters = "0123456789abcdefx.x._  "
    text = "".join(letters[random() % len(letters)] for _ in range(256))
    counts = [0] * 7
    for word in text.split(" "):
        counts[_kind(word)] += 1
    total = 0
    for count in counts:
        total = total * 37 + count
    return total & _MASK


def _check(thread: int) -> int:
    """Return what a thread of the benchmark must find."""
    random, crc = _Random(12345 + thread), _MASK
    for _ in range(_ROUNDS):
        crc = _crc(crc, _lists(random))
        for value in _matrices(random):
            crc = _crc(crc, value)
        crc = _crc(crc, _words(random))
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
