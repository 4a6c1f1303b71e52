"""The programs of docs/programming.md, run on the golden node as they stand there."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from d1.c_compiler import RV64IM
from d1.device import Device, open_device
from d1.elf import read_elf
from d1_golden.assembler import assemble
from d1_golden.memory_map import SEMAPHORE_BASE
from d1_golden.params import PRESETS
from numpy.typing import NDArray

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "programming.md").read_text()
#: Rows and columns of the matrix: a row ends within a vector of every preset.
_COUNT, _COLUMNS = 19, 77
#: Relative error of an element: of the argument of exp2, which is rounded twice and has a rounded
#: factor; and of everything behind it, of which each operation adds at most a last bit.
_ARGUMENT_ERROR, _REST = 2.25 * 2.0**-24, 2.0**-20


def _blocks(language: str) -> list[str]:
    """Return the code of the page in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", _PAGE, re.DOTALL | re.MULTILINE)


Result = tuple[NDArray[np.float32], NDArray[np.float32]]
Softmax = Callable[[Device, int, NDArray[np.float32], NDArray[np.int64]], Result]


@pytest.fixture(scope="module")
def softmax() -> Softmax:
    """Return the host's part of the worked kernel."""
    names: dict[str, Softmax] = {}
    exec(_blocks("python")[0], names)
    return names["softmax"]


@pytest.fixture(scope="module")
def matrix() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a matrix and a label for each of its rows."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((_COUNT, _COLUMNS)).astype(np.float32) * 8
    return x, rng.integers(0, _COLUMNS, _COUNT)


def _in_assembly(device: Device, _: Path) -> int:
    """Load the program in assembly; return its entry."""
    device.write(0, assemble(_blocks("asm")[0]).code)
    return 0


def _in_c(device: Device, elf: Path) -> int:
    """Load the program in C; return its entry."""
    program = read_elf(elf, device.params)
    for segment in program.segments:
        device.write(segment.address, segment.data)
    return program.entry


@pytest.fixture(scope="module")
def elf(compile_program: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the program in C."""
    source = tmp_path_factory.mktemp("guide") / "softmax.c"
    source.write_text(_blocks("c")[0])
    strict = (*RV64IM, "-Wall", "-Wextra", "-Werror")
    return compile_program(_ROOT / "software" / "examples" / "start.S", source, options=strict)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_worked_kernel_is_right_in_assembly_and_the_same_to_the_bit_in_c(
    preset: str, softmax: Softmax, matrix: tuple, elf: Path
) -> None:
    x, labels = matrix
    exact = np.exp(x.astype(float) - x.max(axis=1, keepdims=True))
    bound = _ARGUMENT_ERROR * -np.log(exact) + _REST
    exact /= exact.sum(axis=1, keepdims=True)
    assert exact.min() > np.finfo(np.float32).tiny
    found = []
    for load in (_in_assembly, _in_c):
        with open_device("golden", preset) as device:
            entry = load(device, elf)
            result, picked = softmax(device, entry, x, labels)
            assert not device.read(SEMAPHORE_BASE, 16).any(), "semaphores are left as they were"
            again, _ = softmax(device, entry, x, labels)
        assert np.all(np.abs(result / exact - 1) < bound)
        assert np.array_equal(picked, result[np.arange(_COUNT), labels])
        assert np.array_equal(again, result), "the program can be run again"
        found.append(result.view(np.uint32))
    assert np.array_equal(found[0], found[1])


def test_every_thread_but_the_mover_computes_rows(softmax: Softmax, matrix: tuple) -> None:
    with open_device("golden", "d1") as device:
        softmax(device, _in_assembly(device, Path()), *matrix)
        counters = device.counters()
    instructions = [counters[r] for r in counters if re.match(r"INSTRUCTIONS_\d", r.name)]
    assert len(instructions) == 4
    assert sorted(instructions[1:])[1] > _COUNT, "at least two workers had more than their end"


def test_every_line_of_the_matrix_block_assembles() -> None:
    (block,) = _blocks("asm")[1:]
    lines = [line for line in block.splitlines() if line.strip() != "..."]
    assert len(lines) > 10
    assert len(assemble("\n".join(lines)).code) == 4 * len(lines)


def test_the_call_from_python_prints_what_the_page_says() -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(_blocks("python")[1], {})
    assert np.array_equal(np.fromstring(output.getvalue().strip("[]\n"), sep=" "), np.ones(16))
