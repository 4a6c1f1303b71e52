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

__all__ = ["kernel_cache_dir", "program"]


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
    path = kernel_cache_dir() / f"{key}.bin"
    try:
        contents = path.read_bytes()
    except OSError:
        contents = b""
    digest, code = contents[:32], contents[32:]
    if code and hashlib.sha256(code).digest() == digest:
        return code
    code = kernel.generate(wanted)
    _write(path, hashlib.sha256(code).digest() + code)
    return code


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
