"""Compiles C and assembly for the node, with the clang and lld of the package `ziglang`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from d1_golden.cache import cache_root

from d1.c_header import INCLUDE

__all__ = ["RV64IM", "CompileError", "clang_environment", "compile_c"]

#: Options for a program without operating system that runs on every preset.
RV64IM = ("-target", "riscv64-freestanding-none", "-mcpu=generic_rv64+m", "-O2", "-nostdlib")
#: Seconds that a compiler may take.
_TIMEOUT = 300


class CompileError(Exception):
    """The compiler is not there, or does not accept a program."""


def compile_c(sources: Sequence[Path], output: Path, *, options: Sequence[str] = RV64IM) -> None:
    """Compile and link sources, as the options say; `d1.h` is found without one.

    Parameters
    ----------
    sources
        C files, assembly (`.S` goes through the preprocessor) and objects.
    output
        What to write.
    options
        Options of clang and, behind `-Wl,` or `-T`, of lld.

    Raises
    ------
    CompileError
        If the compiler fails; the message is what it said.

    """
    command = [sys.executable, "-m", "ziglang", "cc", f"-I{INCLUDE}", *options, *map(str, sources)]
    done = subprocess.run(
        [*command, "-o", str(output)],
        env=clang_environment(),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
    )
    if done.returncode:
        raise CompileError(f"{output.name} must compile: {done.stderr.strip()}")


def clang_environment() -> dict[str, str]:
    """Return the environment in which clang keeps what it caches in the user's cache folder."""
    cache = str(cache_root() / "zig")
    return os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
