"""Programs for the node, compiled from C and assembly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
_RV64IM = ("-target", "riscv64-freestanding-none", "-mcpu=generic_rv64+m", "-O2", "-nostdlib")

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_program(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Return a function that compiles and links sources, paths or assembly text, for the node."""
    folder = tmp_path_factory.mktemp("programs")
    caches = {f"ZIG_{kind}_CACHE_DIR": str(ROOT / "build" / "zig") for kind in ("GLOBAL", "LOCAL")}

    def compile_(
        *sources: Path | str,
        options: tuple[str, ...] = _RV64IM,
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
        command = [sys.executable, "-m", "ziglang", "cc", *options]
        link = [] if "-c" in options else ["-T", EXAMPLES / "node.ld", *link_options]
        done = subprocess.run(
            [*command, *link, *paths, "-o", output],
            env=os.environ | caches,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return output

    return compile_


@pytest.fixture(scope="session")
def primes_elf(compile_program: Compile) -> Path:
    """Compile the C example: it leaves 16 primes in the signature, and passes."""
    return compile_program(EXAMPLES / "start.S", EXAMPLES / "primes.c")
