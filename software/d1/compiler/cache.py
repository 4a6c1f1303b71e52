"""Programs that were generated before, in memory and on disk.

A file is named by a hash of everything that its program follows from: the schedule, the sources of
the generator and the instruction table. It starts with a hash of its own contents, so that a file
that was cut short is generated again instead of run.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
from functools import cache, lru_cache
from pathlib import Path

from d1_golden import assembler, csr, isa
from d1_golden.cache import cache_root

from d1.compiler import block, emitter, kernel, lane_block, matrix_block, schedule, stream, tile
from d1.compiler.schedule import Schedule
from d1.compiler.stream import Stream

__all__ = ["kernel_cache_dir", "program", "read_cached", "write_cached"]


def kernel_cache_dir() -> Path:
    """Return the folder of the files."""
    return cache_root() / "kernels"


@cache
def _generator_hash() -> bytes:
    generator = (block, emitter, kernel, lane_block, matrix_block, schedule, stream, tile)
    sources = (*generator, assembler, csr, isa)
    return hashlib.sha256("".join(map(inspect.getsource, sources)).encode()).digest()


@lru_cache(maxsize=4096)
def program(wanted: Schedule | Stream) -> bytes:
    """Return the program of a schedule or a stream, generated only if it never was before."""
    key = hashlib.sha256(_generator_hash() + repr(wanted).encode()).hexdigest()
    code = read_cached(key)
    if not code:
        code = kernel.generate(wanted)
        write_cached(key, code)
    return code


def read_cached(key: str) -> bytes:
    """Return the program that is kept under a key; nothing where none is, or not a whole one."""
    try:
        contents = (kernel_cache_dir() / f"{key}.bin").read_bytes()
    except OSError:
        return b""
    digest, code = contents[:32], contents[32:]
    return code if hashlib.sha256(code).digest() == digest else b""


def write_cached(key: str, code: bytes) -> None:
    """Keep a program under a key."""
    _write(kernel_cache_dir() / f"{key}.bin", hashlib.sha256(code).digest() + code)


def _write(path: Path, contents: bytes) -> None:
    """Write a file in one go; without a writable cache the program is just not kept."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
        Path(name).replace(path)
    except OSError:
        return
