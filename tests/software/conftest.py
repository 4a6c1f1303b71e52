"""Programs for the node, compiled from C and assembly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import d1.torch
import numpy as np
import pytest
import torch
from d1.c_compiler import RV64IM, compile_c
from d1.device import Device
from d1_golden.memory_map import EccRegister, register_address

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "software" / "examples"

Compile = Callable[..., Path]
TWO_BITS = 3


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget what PyTorch's compiler and the backend have of other tests."""
    torch._dynamo.reset()
    d1.torch.reset_statistics()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="session")
def compile_program(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Return a function that compiles and links sources, paths or assembly text, for the node."""
    folder = tmp_path_factory.mktemp("programs")

    def compile_(
        *sources: Path | str,
        options: tuple[str, ...] = RV64IM,
        link_options: tuple[str, ...] = (),
    ) -> Path:
        number = len(list(folder.iterdir()))
        output = folder / f"program{number}.elf"
        paths = []
        for source in sources:
            if isinstance(source, str):
                path = folder / f"source{number}.S"
                path.write_text(source)
                source = path
            paths.append(source)
        link = () if "-c" in options else ("-T", str(EXAMPLES / "node.ld"), *link_options)
        compile_c(paths, output, options=[*options, *link])
        return output

    return compile_


@pytest.fixture(scope="session")
def primes_elf(compile_program: Compile) -> Path:
    """Compile the C example: it leaves 16 primes in the signature, and passes."""
    return compile_program(EXAMPLES / "start.S", EXAMPLES / "primes.c")


@pytest.fixture(scope="session")
def break_program() -> Callable[..., None]:
    """Return what flips two bits, which cannot be corrected, in a word of a device's program.

    It is the program that was loaded first.
    """

    def break_program_(device: Device, at: int = 0) -> None:
        values = np.array([TWO_BITS, 0, device.code.base + at], np.uint64)
        device.write(register_address(EccRegister.INJECT_DATA), values)

    return break_program_
