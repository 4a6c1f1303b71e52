"""What `d1 run` takes as a program, and what it says of everything else."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from d1.elf import ProgramError, read_elf
from d1_golden.params import PRESETS, preset

TINY = preset("tiny")
NOP = bytes.fromhex("13000000")

EM_RISCV, EM_X86_64, EM_AARCH64 = 243, 62, 183
ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
RVC, FLOAT_ABI_DOUBLE, RVE = 1, 4, 8


def elf_bytes(
    *,
    machine: int = EM_RISCV,
    kind: int = ET_EXEC,
    flags: int = 0,
    entry: int = 0,
    address: int = 0,
    code: bytes = NOP,
    memory_size: int | None = None,
    loads: int = 1,
    symbols: dict[str, int] | None = None,
) -> bytes:
    """Return a little-endian 64-bit ELF file with one segment, and a symbol table if asked for."""
    code_at = 64 + 56 * loads
    body = code
    sections = b""
    section_count = 0
    if symbols:
        names = b"\0" + b"".join(name.encode() + b"\0" for name in symbols)
        table = bytes(24)
        for name, value in symbols.items():
            table += struct.pack("<IBBHQQ", names.index(name.encode()), 0x10, 0, 1, value, 0)
        names_at = code_at + len(code)
        table_at = names_at + len(names)
        body += names + table
        strtab = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
        symtab = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, table_at, len(table), 1, 1, 8, 24)
        sections, section_count = bytes(64) + strtab + symtab, 3
    header = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    header += struct.pack(
        "<HHIQQQIHHHHHH",
        *(kind, machine, 1, entry, 64, code_at + len(body) if sections else 0, flags),
        *(64, 56, loads, 64, section_count, 1 if sections else 0),
    )
    size = len(code) if memory_size is None else memory_size
    load = struct.pack("<IIQQQQQQ", 1, 5, code_at, address, address, len(code), size, 4)
    return header + load * loads + body + sections


def write(folder: Path, content: bytes) -> Path:
    path = folder / "program.elf"
    path.write_bytes(content)
    return path


def test_the_handcrafted_file_that_the_other_tests_spoil_is_a_program(tmp_path: Path) -> None:
    symbols = {"tohost": 64, "begin_signature": 128, "end_signature": 144}
    program = read_elf(write(tmp_path, elf_bytes(symbols=symbols, memory_size=200)), TINY)
    assert program.entry == 0
    assert [(s.address, s.data) for s in program.segments] == [(0, NOP + bytes(196))]
    assert (program.tohost, program.signature) == (64, (128, 144))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_compiled_c_program_is_read_with_its_symbols(primes_elf: Path, name: str) -> None:
    program = read_elf(primes_elf, preset(name))
    assert program.entry == program.symbols["_start"] == 0
    assert program.tohost is not None and program.signature is not None
    assert program.signature[1] - program.signature[0] == 64
    assert all(s.end <= 0x10000 for s in program.segments)


def test_a_program_without_symbols_has_neither_tohost_nor_signature(tmp_path: Path) -> None:
    program = read_elf(write(tmp_path, elf_bytes()), TINY)
    assert program.tohost is None
    assert program.signature is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": EM_X86_64}, "ELF machine must be EM_RISCV, not EM_X86_64"),
        ({"machine": EM_AARCH64}, "ELF machine must be EM_RISCV, not EM_AARCH64"),
        ({"kind": ET_REL}, "ELF type must be ET_EXEC, not ET_REL"),
        ({"kind": ET_DYN}, "ELF type must be ET_EXEC, not ET_DYN"),
        ({"flags": RVC}, "must say RV64IM without compressed instructions .*, not 0x1"),
        ({"flags": FLOAT_ABI_DOUBLE}, "soft-float ABI .*, not 0x4"),
        ({"flags": RVE}, "must say RV64IM .*, not 0x8"),
        ({"loads": 0}, "at least one loadable segment, not 0"),
        ({"address": 0x10000}, r"in SRAM, 0x0\.\.0xffff of preset tiny, not 0x10000\.\.0x10003"),
        ({"address": 0xFFFE}, r"not 0xfffe\.\.0x10001"),
        ({"address": 0x8000_0000}, r"not 0x80000000\.\.0x80000003"),
        ({"memory_size": 0x10001}, r"not 0x0\.\.0x10000"),
        ({"address": (1 << 64) - 2}, "every segment must be in SRAM"),
        ({"memory_size": 2}, "at most its 2 bytes of memory in the file, not 4"),
        ({"entry": 4}, "entry must be a multiple of 4 inside a segment, not 0x4"),
        ({"entry": 2}, "entry must be a multiple of 4 inside a segment, not 0x2"),
        ({"symbols": {"tohost": 4}}, "tohost must be a multiple of 8 in SRAM, not 0x4"),
        ({"symbols": {"tohost": 0x10000}}, "tohost must be a multiple of 8 in SRAM, not 0x10000"),
        ({"symbols": {"begin_signature": 2}}, "begin_signature must be a multiple of 4 .*not 0x2"),
        ({"symbols": {"end_signature": 0x10004}}, "end_signature must be .* in SRAM, not 0x10004"),
        (
            {"symbols": {"begin_signature": 8, "end_signature": 4}},
            "begin_signature must not be above end_signature 0x4, not 0x8",
        ),
    ],
)
def test_a_file_that_is_no_program_for_the_node_is_refused_by_name_and_value(
    tmp_path: Path, changes: dict, message: str
) -> None:
    path = write(tmp_path, elf_bytes(**changes))
    with pytest.raises(ProgramError, match=message) as error:
        read_elf(path, TINY)
    assert str(error.value).startswith(f"{path}: ")


def test_a_big_endian_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(elf_bytes())
    content[5] = 2
    content[16:20] = struct.pack(">HH", ET_EXEC, EM_RISCV)
    content[32:64] = struct.pack(">QQIHHHHHH", 64, 0, 0, 64, 56, 0, 64, 0, 0)
    with pytest.raises(ProgramError, match="ELF byte order must be little, not big"):
        read_elf(write(tmp_path, bytes(content)), TINY)


def test_a_32_bit_program_is_refused(tmp_path: Path, compile_program) -> None:
    options = ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m", "-nostdlib")
    path = compile_program(".globl _start\n_start: ecall\n", options=options)
    with pytest.raises(ProgramError, match="ELF class must be 64, not 32"):
        read_elf(path, TINY)


def test_a_program_of_the_host_is_refused(tmp_path: Path, compile_program) -> None:
    options = ("-target", "x86_64-freestanding-none", "-nostdlib")
    path = compile_program(".globl _start\n_start: ret\n", options=options)
    with pytest.raises(ProgramError, match="ELF machine must be EM_RISCV, not EM_X86_64"):
        read_elf(path, TINY)


def test_a_program_with_compressed_instructions_is_refused(tmp_path: Path, compile_program) -> None:
    options = ("-target", "riscv64-freestanding-none", "-mcpu=generic_rv64+m+c", "-nostdlib")
    path = compile_program(".globl _start\n_start: nop\necall\n", options=options)
    with pytest.raises(ProgramError, match="without compressed instructions"):
        read_elf(path, TINY)


def test_an_object_file_that_was_not_linked_is_refused(tmp_path: Path, compile_program) -> None:
    options = ("-target", "riscv64-freestanding-none", "-mcpu=generic_rv64+m", "-c")
    path = compile_program(".globl _start\n_start: nop\n", options=options)
    with pytest.raises(ProgramError, match="ELF type must be ET_EXEC, not ET_REL"):
        read_elf(path, TINY)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not a program at all", NOP * 100])
def test_a_file_that_is_no_elf_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ProgramError, match="must be a complete ELF file"):
        read_elf(write(tmp_path, content), TINY)


def test_a_segment_cut_short_is_refused(tmp_path: Path) -> None:
    content = elf_bytes(code=NOP * 8)
    with pytest.raises(ProgramError, match="must have 32 bytes in the file, not 30"):
        read_elf(write(tmp_path, content[:-2]), TINY)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"nothing\.elf: cannot be read: No such file"):
        read_elf(tmp_path / "nothing.elf", TINY)
    with pytest.raises(ProgramError, match="cannot be read: Is a directory"):
        read_elf(tmp_path, TINY)


def test_damaged_files_are_read_or_refused_and_never_crash(tmp_path: Path, primes_elf) -> None:
    seed = 2
    print(f"seed {seed}")
    generator = random.Random(seed)
    original = primes_elf.read_bytes()
    refused = 0
    for attempt in range(1500):
        content = bytearray(original)
        if attempt % 2:
            del content[generator.randrange(len(content)) :]
        for _ in range(generator.randrange(3) if content else 0):
            content[generator.randrange(min(len(content), 500))] = generator.randrange(256)
        try:
            program = read_elf(write(tmp_path, bytes(content)), TINY)
        except ProgramError:
            refused += 1
        else:
            assert all(0 <= s.address and s.end <= TINY.sram_bytes for s in program.segments)
    assert 200 < refused < 1500
