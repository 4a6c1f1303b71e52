"""Generates `include/d1.h`, by which C programs use the instructions that RISC-V does not have.

The header has a macro for each row of Xd1, Zicsr and the fences in the instruction table, named
after it with underscores for dots. It needs no support in the compiler but `.insn`, which every
assembler for RISC-V has. `make docs` writes it; a test compares it with the table.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from d1_golden.csr import CSRS
from d1_golden.isa import INSTRUCTIONS, Extension, Instruction, Operand, OperandKind, Unit
from d1_golden.memory_map import REGISTERS

__all__ = ["HEADER", "INCLUDE", "c_header", "c_name", "c_parameters", "rows"]

#: The folder that compilers get as an include folder, and the header in it.
INCLUDE = Path(str(files("d1"))) / "include"
HEADER = INCLUDE / "d1.h"

#: The fields of RISC-V's R format that hold operands: name in the macros, lowest bit and width.
_FIELDS = (("f", 25, 7), ("d", 7, 5), ("s", 15, 5), ("t", 20, 5))
#: What executes instructions that read or write memory, or wait for others that do.
_MEMORY_UNITS = (
    Unit.VECTOR_LOAD,
    Unit.VECTOR_STORE,
    Unit.VECTOR_GATHER,
    Unit.VECTOR_SCATTER,
    Unit.MATRIX_MEMORY,
    Unit.TRANSFER,
    Unit.SEMAPHORE,
    Unit.LINK,
    Unit.SYSTEM,
)
_HEAD = """\
/* Instructions of the node that RISC-V does not have, for clang and gcc.

   Generated from the instruction table by `make docs`: edit that. docs/isa.md says what each
   instruction does, docs/programming.md has a worked program.

   Arguments are those of assembly, in its order. Numbers of vector registers, masks, accumulators,
   parts, lanes and semaphores, CSRs and offsets must be constants; rs1 and rs2 are any integer or
   pointer. An instruction that writes a scalar register is an expression, any other a statement.

   The compiler keeps these instructions in order. It knows nothing of vector registers, masks and
   accumulators: they are the program's to allocate, across functions too. */
#ifndef D1_H
#define D1_H

#include <stdint.h>

/* The register of the control block at an address. */
#define D1_REGISTER(address) (*(volatile uint64_t *)(uintptr_t)(address))

/* Reads a CSR without writing it. */
#define d1_csrr(csr) d1_csrrsi(csr, 0)

#define D1_RANGE_(name, value, low, high) \\
    _Static_assert((value) >= (low) && (value) <= (high), name " must be in " #low ".." #high)
/* The value of x[rs1] or x[rs2]: in a register, or x0 (`%z` prints it) where it is constant 0. */
#define D1_SCALAR_(value) "rJ"((unsigned long)(value))
"""


def rows() -> Iterator[Instruction]:
    """Yield the rows of the table that have a macro."""
    for row in INSTRUCTIONS:
        if row.extension in (Extension.XD1, Extension.ZICSR, Extension.ZIFENCEI):
            yield row
        elif row.name == "fence":
            yield row


def c_name(row: Instruction) -> str:
    """Return the name of the macro for an instruction."""
    return f"d1_{row.name.replace('.', '_')}"


def c_parameters(row: Instruction) -> list[str]:
    """Return the names of the macro's parameters: the operands but rd, in assembly's order."""
    return [_parameter(operand) for operand in row.operands if operand.name != "rd"]


def c_header() -> str:
    """Return the text of the header."""
    lines = [_HEAD, "/* Numbers of control and status registers. */"]
    lines += [f"#define D1_CSR_{csr.name.upper()} {csr.number:#05x}" for csr in CSRS]
    lines += ["", "/* Addresses of control registers, of thread 0 where each thread has one. */"]
    for register in REGISTERS:
        lines.append(f"#define D1_{register.name.upper().replace('.', '_')} {register.address:#x}")
    for row in rows():
        lines += ["", *_macro(row)]
    return "\n".join([*lines, "", "#endif", ""])


def _parameter(operand: Operand) -> str:
    return "imm" if operand.name.startswith("imm") else operand.name


def _macro(row: Instruction) -> Iterator[str]:
    """Yield the lines of one macro."""
    about = f"{row.name} {row.syntax}".rstrip() + (f": {row.doc}" if row.doc else "")
    *first, last = textwrap.wrap(f"/* {about}", 97, subsequent_indent="   ")
    yield from (*first, f"{last} */")
    fields: dict[str, str] = {}
    inputs: list[str] = []
    for name, lsb, width in _FIELDS:
        register, text = _field(row, lsb, width)
        prefix = "" if name == "f" else "x"
        if register:
            fields[name] = "%[d]" if name == "d" else f"%z[{name}]"
            if name != "d":
                inputs.append(f"[{name}] D1_SCALAR_({text})")
        elif text.isdecimal():
            fields[name] = prefix + text
        else:
            fields[name] = f"{prefix}%[{name}]"
            inputs.append(f'[{name}] "i"{text}')
    opcode, funct3 = row.match & 0x7F, row.match >> 12 & 7
    insn = (
        f'".insn r {opcode:#04x}, {funct3}, {fields["f"]}, {fields["d"]}, {fields["s"]}, '
        f'{fields["t"]}"'
    )
    result = any(operand.name == "rd" for operand in row.operands)
    outputs = '[d] "=r"(d1_result_)' if result else ""
    sections = [outputs, ", ".join(inputs), '"memory"' if row.unit in _MEMORY_UNITS else ""]
    while sections and not sections[-1]:
        sections.pop()
    yield f"#define {c_name(row)}({', '.join(c_parameters(row))}) \\"
    yield "    __extension__({ \\" if result else "    do { \\"
    for operand in row.operands:
        if operand.kind is not OperandKind.SCALAR:
            name = _parameter(operand)
            limits = f"{operand.minimum}, {operand.maximum}"
            yield f'        D1_RANGE_("{name}", {name}, {limits}); \\'
    if result:
        yield "        uint64_t d1_result_; \\"
    yield f"        __asm__ volatile({insn}" + ("" if sections else ");") + " \\"
    for number, section in enumerate(sections, 1):
        end = ");" if number == len(sections) else ""
        yield f"            : {section}".rstrip() + f"{end} \\"
    if result:
        yield "        d1_result_; \\"
    yield "    })" if result else "    } while (0)"


def _field(row: Instruction, lsb: int, width: int) -> tuple[bool, str]:
    """Return whether a field is a scalar register, and it or the constant in C that fills it."""
    fixed = row.match >> lsb & (1 << width) - 1
    terms = [str(fixed)] if fixed else []
    for operand in row.operands:
        for start, size, value_lsb in operand.slices:
            low, high = max(start, lsb), min(start + size, lsb + width)
            if low >= high:
                continue
            name = _parameter(operand)
            if operand.kind is OperandKind.SCALAR:
                return True, name
            shift, mask = value_lsb + low - start, (1 << high - low) - 1
            bits = f"({name})"
            if len(operand.slices) > 1 or high - low < operand.bits:
                bits = f"({bits} >> {shift} & {mask})" if shift else f"({bits} & {mask})"
            terms.append(f"{bits} << {low - lsb}" if low > lsb else bits)
    return False, f"({' | '.join(terms)})" if len(terms) > 1 else "".join(terms) or "0"
