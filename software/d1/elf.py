"""Reads the ELF programs that a node can run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from d1_golden.memory_map import SRAM_BASE
from d1_golden.params import NodeParams
from elftools.common.exceptions import ELFError
from elftools.construct.core import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

__all__ = ["ElfProgram", "ProgramError", "Segment", "read_elf"]

#: Bits of `e_flags`: compressed instructions, the floating-point ABI, and the embedded base.
#: Ref: RISC-V ELF psABI, section "ELF Object Files".
_FLAG_RVC, _FLAGS_FLOAT_ABI, _FLAG_RVE = 0x1, 0x6, 0x8


class ProgramError(ValueError):
    """A file that is not a program for this node; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Segment:
    """Bytes to be loaded at an address, zero-initialised ones included."""

    address: int
    data: bytes

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + len(self.data)


@dataclass(frozen=True)
class ElfProgram:
    """A program as a node wants it.

    Parameters
    ----------
    entry
        Address of the first instruction.
    segments
        What to load.
    symbols
        Address of each named symbol; empty for a stripped program.

    """

    entry: int
    segments: tuple[Segment, ...]
    symbols: dict[str, int]

    @property
    def tohost(self) -> int | None:
        """Address of the word where the program reports its end, if it has one."""
        return self.symbols.get("tohost")

    @property
    def signature(self) -> tuple[int, int] | None:
        """First address of the signature and the one after it, if the program has one."""
        if "begin_signature" in self.symbols and "end_signature" in self.symbols:
            return self.symbols["begin_signature"], self.symbols["end_signature"]
        return None


def read_elf(path: Path, params: NodeParams) -> ElfProgram:
    """Read an RV64IM executable that fits the SRAM of a node with `params`.

    Segments are placed at their physical addresses. The symbols `tohost`, `begin_signature` and
    `end_signature` must be in SRAM and aligned to their 8, 4 and 4 bytes where they exist.

    Raises
    ------
    ProgramError
        If the file cannot be read or is not such a program.

    """
    try:
        with path.open("rb") as file:
            program = _program(path, ELFFile(file), params)
    except OSError as error:
        raise ProgramError(f"{path}: cannot be read: {error.strerror}") from None
    except ProgramError:
        raise
    except (ELFError, ConstructError, ValueError, OverflowError) as error:
        raise ProgramError(f"{path}: must be a complete ELF file: {error}") from None
    _check_addresses(path, program, params)
    return program


def _program(path: Path, elf: ELFFile, params: NodeParams) -> ElfProgram:
    _check_header(path, elf)
    segments = []
    for header in elf.iter_segments("PT_LOAD"):
        address, size, stored = header["p_paddr"], header["p_memsz"], header["p_filesz"]
        if not size:
            continue
        last = SRAM_BASE + params.sram_bytes - 1
        if address < SRAM_BASE or address + size - 1 > last:
            raise ProgramError(
                f"{path}: every segment must be in SRAM, {SRAM_BASE:#x}..{last:#x} of preset "
                f"{params.name}, not {address:#x}..{address + size - 1:#x}"
            )
        if stored > size:
            raise ProgramError(
                f"{path}: the segment at {address:#x} must have at most its {size} bytes of memory "
                f"in the file, not {stored}"
            )
        data = header.data()
        if len(data) != stored:
            raise ProgramError(
                f"{path}: the segment at {address:#x} must have {stored} bytes in the file, not "
                f"{len(data)}: the file is cut short"
            )
        segments.append(Segment(address, data.ljust(size, b"\0")))
    symbols = {
        symbol.name: symbol["st_value"]
        for section in elf.iter_sections()
        if isinstance(section, SymbolTableSection)
        for symbol in section.iter_symbols()
        if symbol.name and symbol["st_shndx"] != "SHN_UNDEF"
    }
    return ElfProgram(elf["e_entry"], tuple(segments), symbols)


def _check_header(path: Path, elf: ELFFile) -> None:
    expectations = {
        "class": (elf.elfclass, 64),
        "byte order": ("little" if elf.little_endian else "big", "little"),
        "machine": (elf["e_machine"], "EM_RISCV"),
        "type": (elf["e_type"], "ET_EXEC"),
    }
    for what, (value, expected) in expectations.items():
        if value != expected:
            raise ProgramError(f"{path}: ELF {what} must be {expected}, not {value}")
    unwanted = elf["e_flags"] & (_FLAG_RVC | _FLAGS_FLOAT_ABI | _FLAG_RVE)
    if unwanted:
        raise ProgramError(
            f"{path}: ELF flags must say RV64IM without compressed instructions and with the "
            f"soft-float ABI (-march=rv64im -mabi=lp64), not {elf['e_flags']:#x}"
        )


def _check_addresses(path: Path, program: ElfProgram, params: NodeParams) -> None:
    entry = program.entry
    if not program.segments:
        raise ProgramError(f"{path}: must have at least one loadable segment, not 0")
    if entry % 4 or not any(s.address <= entry < s.end for s in program.segments):
        raise ProgramError(
            f"{path}: the entry must be a multiple of 4 inside a segment, not {entry:#x}"
        )
    end = SRAM_BASE + params.sram_bytes
    for name, alignment in (("tohost", 8), ("begin_signature", 4), ("end_signature", 4)):
        address = program.symbols.get(name, SRAM_BASE)
        if address % alignment or not SRAM_BASE <= address <= end - (8 if name == "tohost" else 0):
            raise ProgramError(
                f"{path}: {name} must be a multiple of {alignment} in SRAM, not {address:#x}"
            )
    signature = program.signature
    if signature and signature[0] > signature[1]:
        raise ProgramError(
            f"{path}: begin_signature must not be above end_signature {signature[1]:#x}, "
            f"not {signature[0]:#x}"
        )
