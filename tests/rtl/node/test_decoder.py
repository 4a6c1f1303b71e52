# amaranth: UnusedElaboratable=no
"""The decoder against the table it is generated from."""

import random

import numpy as np
import pytest
from d1_golden.isa import INSTRUCTIONS, Instruction, OperandKind, Unit, decode
from d1_golden.params import NodeParams, preset
from d1_rtl.node.decoder import Decoder
from d1_rtl.node.micro_op import micro_op_layout
from d1_rtl.sim.native import NativeModel

_SEED = 20
_FIELDS = micro_op_layout()


_MASKED = ("vld.m", "vst.m", "vgather.m", "vscatter.m")


def _decoded(params: NodeParams, words: list[int]) -> list[dict[str, int]]:
    """Return the micro-operation of each word, field by field."""
    with NativeModel(Decoder(params), name=f"decoder_{params.name}") as model:
        rows = model.play({"insn": np.array(words, np.uint32)}, ["uop"])["uop"]
    bits = [int.from_bytes(row.tobytes(), "little") for row in rows]
    return [{name: uop >> f.offset & (1 << f.width) - 1 for name, f in _FIELDS} for uop in bits]


def _is_legal(row: Instruction, word: int, params: NodeParams) -> bool:
    """Tell whether a preset has what a word names."""
    limits = {
        OperandKind.ACCUMULATOR: params.accumulators,
        OperandKind.PART: params.accumulator_parts,
        OperandKind.LANE: params.vector_bytes // 4,
        OperandKind.SLIDE: params.vector_bytes // 4 + 1,
        OperandKind.THREADS: 1 << params.threads,
    }
    if row.unit is Unit.VECTOR_CONVERT:
        limits[OperandKind.PART] = 2 if "bf16" in row.name else 4
    return all(o.extract(word) < limits.get(o.kind, 1 << 32) for o in row.operands)


def _expected(row: Instruction, word: int, params: NodeParams) -> dict[str, int]:
    """Return what follows from the table alone."""
    operands = {o.name: o for o in row.operands}
    immediate = 0
    for operand in row.operands:
        if operand.kind is OperandKind.IMMEDIATE:
            immediate = operand.extract(word)
        elif operand.kind is OperandKind.VECTOR_OFFSET:
            immediate = operand.extract(word) * params.vector_bytes

    def names(register: str) -> int:
        return int(register in operands and operands[register].extract(word) != 0)

    return {
        "unit": row.unit.value,
        "immediate": immediate & 0xFFFF_FFFF,
        "writes_rd": names("rd"),
        "reads_rs1": names("rs1"),
        "reads_rs2": names("rs2"),
        "reads_vs1": int("vs1" in operands),
        "reads_vs2": int("vs2" in operands),
        "writes_vd": int("vd" in operands),
        "reads_m": int("ms" in operands),
        "reads_m1": int("ms1" in operands),
        "reads_m2": int("ms2" in operands),
        "writes_m": int("md" in operands),
        "broadcast": int(row.name == "vldb"),
        "masked": int(row.name in _MASKED),
        "reads_vd": int(
            "vs3" in operands
            or row.name in ("vcvt.bf16.f32", "vcvt.cfp8.f32", "vfmadd.f32", "vfnmadd.f32")
            or row.name in ("vld.m", "vgather.m")
        ),
    }


@pytest.mark.parametrize("name", ["d1", "tiny"])
def test_every_row_of_the_table_decodes_to_its_unit_registers_and_immediate(name):
    params, rng = preset(name), random.Random(_SEED)
    print(f"seed {_SEED}")
    cases = [
        (row, row.match | rng.getrandbits(32) & ~row.mask)
        for row in INSTRUCTIONS
        for _ in range(40)
    ]
    legal = 0
    for (row, word), uop in zip(cases, _decoded(params, [w for _, w in cases]), strict=True):
        if not _is_legal(row, word, params):
            assert uop["unit"] == 0, f"{row.name} {word:#010x} names what {name} does not have"
            continue
        legal += 1
        expected = _expected(row, word, params)
        actual = {field: uop[field] for field in expected}
        if row.unit is Unit.CSR and "rs1" in {o.name for o in row.operands}:
            expected["immediate"] = actual["immediate"]  # none of its own
        assert actual == expected, f"{row.name} {word:#010x}"
    assert legal > len(cases) // 2


def test_rows_of_one_unit_have_operations_of_their_own():
    words = {row.name: row.match for row in INSTRUCTIONS}
    uops = dict(zip(words, _decoded(preset("tiny"), list(words.values())), strict=True))
    selectors = ("unit", "op", "word", "size_log2", "unsigned", "a", "b_immediate", "first",
                 "cfp8", "half", "reads_vs1", "reads_vs2")  # fmt: skip
    seen: dict[tuple[int, ...], str] = {}
    for name, uop in uops.items():
        key = tuple(uop[s] for s in selectors)
        if Unit(uop["unit"]) in (Unit.LOAD, Unit.ALU, Unit.MULDIV, Unit.BRANCH, Unit.SYSTEM):
            assert key not in seen, f"{name} looks like {seen[key]}"
        seen[key] = name


def test_words_that_are_not_in_the_table_are_illegal():
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    words = [rng.getrandbits(32) for _ in range(20000)]
    # Near misses: a row with one fixed bit changed.
    words += [row.match ^ 1 << bit for row in INSTRUCTIONS for bit in range(32)]
    params, illegal = preset("d1"), 0
    for word, uop in zip(words, _decoded(params, words), strict=True):
        row = decode(word)
        is_legal = row is not None and _is_legal(row, word, params)
        assert uop["unit"] == (row.unit.value if row is not None and is_legal else 0), f"{word:#x}"
        illegal += not is_legal
    assert illegal > 10000
