"""The header for C: each macro is its instruction, to the bit."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from d1.c_compiler import RV64IM, CompileError, compile_c
from d1.c_header import HEADER, c_header, c_name, c_parameters, rows
from d1_golden.csr import CSRS
from d1_golden.isa import Extension, Instruction, Operand, OperandKind, encode
from d1_golden.memory_map import REGISTERS
from elftools.elf.elffile import ELFFile

#: Registers of the calling convention: the result and the first argument, the second argument.
_A0, _A1 = 10, 11
_STRICT = ("-Wall", "-Wextra", "-Werror", "-g0", "-fomit-frame-pointer", "-c")


def _words(source: str, folder: Path, *options: str) -> list[int]:
    """Return the instruction words that C code compiles to."""
    path, output = folder / "source.c", folder / "object.o"
    path.write_text(f'#include "d1.h"\n{source}')
    compile_c([path], output, options=[*RV64IM, *_STRICT, *options])
    with output.open("rb") as file:
        text = ELFFile(file).get_section_by_name(".text").data()
    return np.frombuffer(text, "<u4").tolist()


def _key(operand: Operand) -> str:
    return "imm" if operand.name.startswith("imm") else operand.name


def _function(row: Instruction, values: dict[str, int]) -> str:
    """Return a C function of rs1 and rs2 whose body is one use of a macro."""
    given = {name: str(value) for name, value in values.items()} | {"rs1": "rs1", "rs2": "rs2"}
    use = f"{c_name(row)}({', '.join(given[name] for name in c_parameters(row))})"
    unused = "(void)rs1; (void)rs2;"
    if any(operand.name == "rd" for operand in row.operands):
        return f"uint64_t f_{c_name(row)}(uint64_t rs1, void *rs2) {{ {unused} return {use}; }}\n"
    return f"void f_{c_name(row)}(uint64_t rs1, void *rs2) {{ {unused} {use}; }}\n"


def test_the_header_is_that_of_the_instruction_table() -> None:
    assert HEADER.read_text() == c_header(), "run `make docs`"


def test_every_instruction_of_xd1_has_a_macro() -> None:
    named = {row.name for row in rows()}
    from_table = {row.name for row in rows() if row.extension is Extension.XD1}
    assert len(from_table) > 90
    assert {"fence", "fence.i", "csrrw"} <= named
    assert [name for name in sorted(named) if f"#define d1_{name.replace('.', '_')}("
            not in HEADER.read_text()] == []  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_macro_compiles_to_the_word_of_its_instruction(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    source, expected = "", []
    for row in rows():
        constants = {
            _key(o): rng.choice((o.minimum, o.maximum, rng.randint(o.minimum, o.maximum)))
            for o in row.operands
            if o.kind is not OperandKind.SCALAR
        }
        registers = {"rd": _A0, "rs1": _A0, "rs2": _A1}
        scalars = {o.name: registers[o.name] for o in row.operands if o.kind is OperandKind.SCALAR}
        source += _function(row, constants)
        expected += [encode(row.name, **constants, **scalars), encode("jalr", rd=0, rs1=1, imm=0)]
    print(f"seed {seed}\n{source}")
    assert _words(source, tmp_path) == expected


def test_a_scalar_operand_that_is_zero_is_x0(tmp_path: Path) -> None:
    source = "uint64_t f(void) { d1_vst(3, -1, 0); return d1_csrrs(D1_CSR_MHARTID, 0); }"
    assert _words(source, tmp_path)[:2] == [
        encode("vst", vs2=3, rs1=0, imm=-1),
        encode("csrrs", rd=_A0, csr=0xF14, rs1=0),
    ]


def test_the_macros_compile_without_optimisation(tmp_path: Path) -> None:
    source = "void f(char *p) { d1_mmac_bf16_vm(5, 7, 255, p + 64); d1_vfadd_f32(1, 2, 3); }"
    words = _words(source, tmp_path, "-O0")
    assert encode("vfadd.f32", vd=1, vs1=2, vs2=3) in words
    step = encode("mmac.bf16.vm", acc_d=5, vs2=7, rs1=0, imm=255)
    any_register = ~(31 << 15)
    assert [w & any_register for w in words].count(step) == 1


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("d1_vfadd_f32(32, 0, 0)", r"vd must be in 0\.\.31"),
        ("d1_vst(0, -2049, 0)", r"imm must be in -2048\.\.2047"),
        ("d1_vsel(0, 0, 0, 8)", r"ms must be in 0\.\.7"),
        ("d1_swait(n)", "constant"),
    ],
)
def test_a_number_that_does_not_fit_is_refused(use: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=message):
        _words(f"void f(int n) {{ (void)n; {use}; }}", tmp_path)


def test_csrs_and_control_registers_have_their_numbers(tmp_path: Path) -> None:
    names = {f"D1_CSR_{csr.name.upper()}": csr.number for csr in CSRS}
    names |= {f"D1_{r.name.upper().replace('.', '_')}": r.address for r in REGISTERS}
    assert names["D1_CSR_MHARTID"] == 0xF14
    _words("".join(f'_Static_assert({n} == {v}, "{n}");' for n, v in names.items())
           + "void f(void) {}", tmp_path)  # fmt: skip
