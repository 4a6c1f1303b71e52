"""Machine code of kernels: LLVM IR through clang, kept in memory and on disk by content."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from d1_golden.isa import OPERANDS, decode, encode
from elftools.elf.elffile import ELFFile

from d1.c_compiler import RV64IM, CompileError, clang_environment
from d1.compiler.cache import read_cached, write_cached
from d1.compiler.llvm_ir import module

__all__ = ["forget", "machine_code", "stack_bytes", "statistics"]

#: Each function in a section of its own, that no linker has to touch; no numbers in another one.
_OPTIONS = (
    *RV64IM,
    "-mno-relax",
    "-ffunction-sections",
    "-Wno-override-module",
    *("-mllvm", "-riscv-disable-using-constant-pool-for-large-ints"),
    "-c",
)
_TIMEOUT = 300
_NAME = "KERNEL"

_RD = OPERANDS["rd"]
#: `addi sp, sp, ...`, and the bits of it that are no immediate.
_ADDI_SP, _ADDI_MASK = encode("addi", rd=2, rs1=2, imm=0), 0xFFFFF

_memory: dict[str, bytes] = {}
#: How many kernels were compiled, and by how many runs of the compiler.
statistics = {"kernels": 0, "runs": 0}


@cache
def _compiler() -> str:
    return f"{version('ziglang')} {_OPTIONS}"


def machine_code(functions: Mapping[str, str]) -> dict[str, bytes]:
    """Return the machine code of functions, position independent and without constants.

    Parameters
    ----------
    functions
        Name and LLVM IR, in which the function is called `KERNEL`.

    Raises
    ------
    CompileError
        The compiler does not take them, or has made code that must be linked.

    """
    keys = {
        name: hashlib.sha256((_compiler() + text).encode()).hexdigest()
        for name, text in functions.items()
    }
    missing: dict[str, str] = {}
    for name, key in keys.items():
        if key in _memory:
            continue
        code = read_cached(key)
        if code:
            _memory[key] = code
        else:
            missing[key] = functions[name]
    if missing:
        for key, code in _compile(missing).items():
            _memory[key] = code
            write_cached(key, code)
    return {name: _memory[key] for name, key in keys.items()}


def stack_bytes(code: bytes) -> int:
    """Return how much of the stack a function takes that calls no other.

    Raises
    ------
    CompileError
        The function changes its stack pointer by something else than `addi`.

    """
    words = np.frombuffer(code, "<u4")
    is_addi = (words & _ADDI_MASK) == _ADDI_SP
    for word in words[((words & _RD.word_mask) == _ADDI_SP & _RD.word_mask) & ~is_addi].tolist():
        row = decode(word)
        if row is not None and _RD in row.operands:
            raise CompileError(f"the stack pointer must be changed by addi, not {row.name}")
    # Immediates are the highest 12 bits, signed.
    changes = words[is_addi].view(np.int32) >> 20
    return int(-changes[changes < 0].sum())


def forget() -> None:
    """Forget what is kept in memory."""
    _memory.clear()


def _compile(missing: Mapping[str, str]) -> dict[str, bytes]:
    """Compile functions, given by key, together."""
    statistics["kernels"] += len(missing)
    statistics["runs"] += 1
    names = {key: f"k{key[:24]}" for key in missing}
    text = module({key: missing[key].replace(_NAME, names[key]) for key in missing})
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "kernels.ll", Path(folder) / "kernels.o"
        source.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "ziglang", "cc", *_OPTIONS, str(source), "-o", str(target)],
            env=clang_environment(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
        if done.returncode:
            raise CompileError(f"{len(missing)} kernels must compile: {done.stderr.strip()[:2000]}")
        with target.open("rb") as file:
            elf = ELFFile(file)
            return {key: _section(elf, name) for key, name in names.items()}


def _section(elf: ELFFile, name: str) -> bytes:
    section = elf.get_section_by_name(f".text.{name}")
    if section is None or elf.get_section_by_name(f".rela.text.{name}") is not None:
        raise CompileError(f"{name} must be a section without relocations")
    data: bytes = section.data()
    return data
