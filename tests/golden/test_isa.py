import itertools
import random

import pytest
from d1_golden.isa import (
    INSTRUCTION_BY_NAME,
    INSTRUCTIONS,
    OPERANDS,
    Extension,
    Instruction,
    Operand,
    OperandKind,
    Unit,
    decode,
    encode,
    is_legal,
    operand_count,
)
from d1_golden.params import NodeParams

from testbench.nodes import SHAPES

SEED = 5
MEMORY_UNITS = (Unit.LOAD, Unit.STORE)


def edges(operand: Operand) -> list[int]:
    """Return the least and greatest values and those around zero."""
    step = operand.alignment
    values = {operand.minimum, operand.maximum, 0, step, -step if operand.signed else step}
    return sorted(values)


def value_of(operand: Operand, rng: random.Random) -> int:
    steps = (operand.maximum - operand.minimum) // operand.alignment
    return operand.minimum + operand.alignment * rng.randint(0, steps)


def test_no_word_is_two_instructions() -> None:
    for one, other in itertools.combinations(INSTRUCTIONS, 2):
        both = one.mask & other.mask
        assert one.match & both != other.match & both, (one.name, other.name)


def test_names_are_unique_and_found_by_name() -> None:
    assert len(INSTRUCTION_BY_NAME) == len(INSTRUCTIONS)
    assert all(INSTRUCTION_BY_NAME[row.name] is row for row in INSTRUCTIONS)


@pytest.mark.parametrize("row", INSTRUCTIONS, ids=lambda row: row.name)
def test_a_row_fixes_every_bit_that_is_no_operand(row: Instruction) -> None:
    assert row.match & ~row.mask == 0
    filled = row.mask
    for operand in row.operands:
        assert filled & operand.word_mask == 0, f"{operand.name} overlaps"
        filled |= operand.word_mask
    if row.name not in ("fence", "fence.i"):  # their other bits are to be ignored
        assert filled == 0xFFFF_FFFF
    assert row.match & 3 == 3  # a 32-bit encoding


@pytest.mark.parametrize("row", INSTRUCTIONS, ids=lambda row: row.name)
def test_encoding_and_decoding_return_the_operands(row: Instruction) -> None:
    rng = random.Random(SEED)
    choices = [edges(operand) for operand in row.operands]
    samples = list(itertools.islice(itertools.product(*choices), 200))
    samples += [tuple(value_of(o, rng) for o in row.operands) for _ in range(100)]
    for values in samples:
        given = {o.name: v for o, v in zip(row.operands, values, strict=True)}
        word = encode(row.name, **given)
        assert decode(word) is row
        assert {o.name: o.extract(word) for o in row.operands} == given


def test_the_immediate_may_be_given_by_its_short_name() -> None:
    assert encode("addi", rd=1, rs1=2, imm=-3) == encode("addi", rd=1, rs1=2, imm_i=-3)


def test_only_memory_instructions_have_an_access_size_and_it_is_that_of_the_semantics() -> None:
    for row in INSTRUCTIONS:
        if row.unit in MEMORY_UNITS or row.name == "vldb":
            assert f"(addr, {row.access_bytes}" in row.semantics
        else:
            assert row.access_bytes == 0


def test_xd1_is_in_the_custom_opcode_space_and_nothing_else_is() -> None:
    custom = {0x0B, 0x2B, 0x5B, 0x7B}
    for row in INSTRUCTIONS:
        assert (row.match & 0x7F in custom) == (row.extension is Extension.XD1)


def test_every_operand_field_is_used_and_fits_the_word() -> None:
    used = {operand.name for row in INSTRUCTIONS for operand in row.operands}
    assert used == OPERANDS.keys()
    for operand in OPERANDS.values():
        assert sum(width for _, width, _ in operand.slices) == operand.word_mask.bit_count()


def test_random_words_decode_to_the_row_they_match_or_to_none() -> None:
    rng = random.Random(SEED)
    legal = 0
    for _ in range(20_000):
        word = rng.getrandbits(32) | 3
        matching = [row for row in INSTRUCTIONS if word & row.mask == row.match]
        assert decode(word) is (matching[0] if matching else None)
        legal += bool(matching)
    assert legal > 1000


@pytest.mark.parametrize("word", [0, 0xFFFF_FFFF, 0x0000_0001, 0x0200_007B, 0x8000_707B])
def test_words_that_are_no_instruction_decode_to_none(word: int) -> None:
    expected = INSTRUCTION_BY_NAME["mmul.bf16.vv"] if word == 0x7B else None
    assert decode(word) is expected


@pytest.mark.parametrize(
    ("name", "operands", "message"),
    [
        ("frob", {}, "instruction must be one of the ISA table, not 'frob'"),
        ("add", {"rd": 1, "rs1": 2}, r"add needs operand rs2 \(add rd, rs1, rs2\)"),
        ("add", {"rd": 1, "rs1": 2, "rs2": 3, "imm": 4}, r"add has no operand imm \(add rd"),
        ("add", {"rd": 32, "rs1": 2, "rs2": 3}, r"add: rd must be in 0\.\.31, not 32"),
        ("addi", {"rd": 1, "rs1": 2, "imm": 2048}, r"imm_i must be in -2048\.\.2047, not 2048"),
        ("jal", {"rd": 1, "imm": 3}, r"imm_j must be in .*, a multiple of 2, not 3"),
        ("lui", {"rd": 1, "imm": 1}, r"imm_u must be in .*, a multiple of 4096, not 1"),
        ("slliw", {"rd": 1, "rs1": 1, "imm": 32}, r"imm_shamt5 must be in 0\.\.31, not 32"),
    ],
)
def test_bad_operands_are_named_with_their_range(name: str, operands: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(name, **operands)


def test_operand_kinds_of_the_table_agree_with_their_names() -> None:
    for operand in OPERANDS.values():
        assert operand.name.startswith("imm") == (
            operand.kind
            in (
                OperandKind.IMMEDIATE,
                OperandKind.VECTOR_OFFSET,
                OperandKind.SEMAPHORE,
                OperandKind.THREADS,
            )
        )


@pytest.mark.parametrize("params", SHAPES, ids=lambda p: p.name)
def test_a_word_is_legal_if_the_node_has_all_that_its_operands_name(params: NodeParams) -> None:
    rows = params.matrix_rows
    limits = {
        OperandKind.ACCUMULATOR: 8,
        OperandKind.LANE: {2: 4, 4: 8, 8: 16}[rows],
        OperandKind.SLIDE: {2: 5, 4: 9, 8: 17}[rows],
        OperandKind.SEMAPHORE: 32,
        OperandKind.THREADS: 1 << params.threads,
    }
    parts = {"bf16": 2, "cfp8": 4, "mrd": {2: 1, 4: 2, 8: 4}[rows]}
    parts["mwr"] = parts["mrd"]
    for row in INSTRUCTIONS:
        for operand in row.operands:
            limit = limits.get(operand.kind)
            if operand.kind is OperandKind.PART:
                (limit,) = {value for key, value in parts.items() if key in row.name}
            assert operand_count(row, operand, params) == limit
            if limit is None:
                continue
            zeros = {o.name: 0 for o in row.operands}
            assert is_legal(encode(row.name, **zeros | {operand.name: limit - 1}), params)
            if limit <= operand.maximum:
                assert not is_legal(encode(row.name, **zeros | {operand.name: limit}), params)
    assert not is_legal(0, params)
