"""Xd1 against restatements in numpy that index bytes by the documented layouts.

Operands of the layout tests have few bits, so that every sum is exact in float64 and in FP32;
rounding is the business of tests/golden/numerics. Other tests take any bits and compare with the
general functions of `d1_golden.numerics`.
"""

import ml_dtypes
import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.isa import INSTRUCTIONS, Unit, encode
from d1_golden.memory_map import ThreadRegister, ThreadStatus
from d1_golden.node import GoldenNode
from d1_golden.numerics import Cfp8Config, Cfp8Format, DotProductParams, Rounding, dot_block
from d1_golden.numerics.convert import (
    cfp8_to_bf16_array,
    fp32_to_bf16_array,
    fp32_to_cfp8_array,
)

from testbench.nodes import SHAPES

SEED = 11
DATA = 0x1000
CFP8 = [(7, "1-4-3 bias 7"), (0x40 | 15, "1-5-2 bias 15"), (3, "1-4-3 bias 3"), (0x40 | 40, "high")]


@pytest.fixture(params=SHAPES, ids=lambda p: p.name)
def node(request: pytest.FixtureRequest) -> GoldenNode:
    node = GoldenNode(request.param)
    rng = np.random.default_rng(SEED)
    node.v[:] = rng.integers(0, 256, node.v.shape)
    node.acc[:] = rng.integers(0, 1 << 32, node.acc.shape, np.uint32)
    return node


def small_bf16(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return BF16 codes of integers of at most five bits."""
    return rng.integers(-31, 32, size).astype(ml_dtypes.bfloat16).view(np.uint16)


def cfp8_value(code: int, mcfp8: int) -> float:
    """Return the value of a CFP8 code, from the definition of the format."""
    mantissa_bits, bias = (2, mcfp8 & 63) if mcfp8 & 64 else (3, mcfp8 & 63)
    field, mantissa = (code & 127) >> mantissa_bits, code & (1 << mantissa_bits) - 1
    hidden = 1 << mantissa_bits if field else 0
    magnitude = (hidden + mantissa) * 2.0 ** (max(field, 1) - bias - mantissa_bits)
    return -magnitude if code & 128 else magnitude


def small_cfp8(rng: np.random.Generator, size: int, mcfp8: int) -> np.ndarray:
    """Return CFP8 codes with exponents near the middle, zeros among them."""
    mantissa_bits = 2 if mcfp8 & 64 else 3
    codes = rng.integers(6, 9, size) << mantissa_bits | rng.integers(0, 1 << mantissa_bits, size)
    codes |= rng.integers(0, 2, size) << 7
    codes[rng.random(size) < 0.1] = 0
    return codes.astype(np.uint8)


def tile(values: np.ndarray, row: int, k: int) -> float:
    """Return element (row, k) of a BF16 tile given as a vector register's bytes."""
    place = 2 * (4 * row + k)
    return float(values[place : place + 2].view(ml_dtypes.bfloat16)[0])


def fp32(bits: np.ndarray) -> np.ndarray:
    return bits.view(np.float32).astype(np.float64)


def run(execute, node: GoldenNode, text: str) -> None:
    execute(f"li a2, {DATA}\n{text}\necall", node=node)
    assert node.status is ThreadStatus.HALTED


def test_vector_loads_and_stores_move_whole_registers_scaled_by_their_size(execute, node) -> None:
    size = node.params.vector_bytes
    rng = np.random.default_rng(SEED)
    data = rng.integers(0, 256, 8 * size, np.uint8)
    node.memory[DATA : DATA + 8 * size] = data
    stored = node.v[31].copy()
    before = node.v.copy()
    run(
        execute,
        node,
        f"vld v1, 0(a2)\nvld v2, 7(a2)\nli a3, {DATA + 4 * size}\nvld v3, -1(a3)\nvst v31, -2(a3)",
    )
    assert np.array_equal(node.v[1], data[:size])
    assert np.array_equal(node.v[2], data[7 * size :])
    assert np.array_equal(node.v[3], data[3 * size : 4 * size])
    assert np.array_equal(node.memory[DATA + 2 * size : DATA + 3 * size], stored)
    data[2 * size : 3 * size] = stored
    assert np.array_equal(node.memory[DATA : DATA + 8 * size], data)
    assert np.array_equal(node.v[4:], before[4:])


@pytest.mark.parametrize("source", ["vv", "vm"])
@pytest.mark.parametrize("name", ["mmul", "mmac"])
def test_bf16_tiles_are_row_major_and_the_second_is_transposed(execute, node, name, source) -> None:
    rng = np.random.default_rng(SEED)
    size, n = node.params.vector_bytes, node.params.matrix_rows
    a, b = (small_bf16(rng, size // 2).view(np.uint8) for _ in range(2))
    start = rng.integers(-99, 99, (n, n)).astype(np.float32)
    node.v[4], node.v[5], node.acc[3] = a, b, start.view(np.uint32)
    node.memory[DATA + 3 * size : DATA + 4 * size] = b
    others = np.delete(node.acc, 3, axis=0)
    operands = {"vv": "v4, v5", "vm": "v4, 3(a2)"}[source]
    run(execute, node, f"{name}.bf16.{source} acc3, {operands}")
    for row in range(n):
        for column in range(n):
            expected = sum(tile(a, row, k) * tile(b, column, k) for k in range(4))
            expected += float(start[row, column]) if name == "mmac" else 0.0
            assert fp32(node.acc[3])[row, column] == expected
    assert np.array_equal(np.delete(node.acc, 3, axis=0), others)


@pytest.mark.parametrize("source", ["vv", "vm"])
@pytest.mark.parametrize("half", ["lo", "hi"])
@pytest.mark.parametrize("name", ["mmul", "mmac"])
@pytest.mark.parametrize("formats", [(0, 1), (1, 0), (2, 2), (3, 2)])
def test_cfp8_halves_are_columns_0_to_3_and_4_to_7(
    execute, node, name, half, source, formats
) -> None:
    rng = np.random.default_rng(SEED)
    size, n = node.params.vector_bytes, node.params.matrix_rows
    (config_a, _), (config_b, _) = (CFP8[f] for f in formats)
    a, b = small_cfp8(rng, size, config_a), small_cfp8(rng, size, config_b)
    start = rng.integers(-9, 9, (n, n)).astype(np.float32)
    start *= np.float32(cfp8_value(0x38, config_a) * cfp8_value(0x38, config_b))
    node.v[4], node.v[5], node.acc[3] = a, b, start.view(np.uint32)
    node.memory[DATA : DATA + size] = b
    operands = {"vv": "v4, v5", "vm": "v4, 0(a2)"}[source]
    run(
        execute,
        node,
        f"li a3, {config_a}\ncsrw mcfp8a, a3\nli a3, {config_b}\ncsrw mcfp8b, a3\n"
        f"{name}.cfp8.{half}.{source} acc3, {operands}",
    )
    first = {"lo": 0, "hi": 4}[half]
    for row in range(n):
        for column in range(n):
            expected = sum(
                cfp8_value(int(a[8 * row + k]), config_a)
                * cfp8_value(int(b[8 * column + k]), config_b)
                for k in range(first, first + 4)
            )
            expected += float(start[row, column]) if name == "mmac" else 0.0
            assert fp32(node.acc[3])[row, column] == expected


@pytest.mark.parametrize("name", ["mmul.bf16", "mmac.bf16", "mmul.cfp8.lo", "mmac.cfp8.hi"])
def test_matrix_steps_of_any_bits_are_the_fused_dot_product(execute, node, name: str) -> None:
    n = node.params.matrix_rows
    params = DotProductParams(fraction_bits=node.params.dot_fraction_bits)
    for register in range(0, 32, 2):
        a, b, start = node.v[register], node.v[register + 1], node.acc[1].copy()
        if "cfp8" in name:
            first = 0 if name.endswith("lo") else 4
            a, b = (
                cfp8_to_bf16_array(v, Cfp8Config(Cfp8Format.CFP8_1_4_3, 7)).reshape(n, 8)
                for v in (a, b)
            )
            a, b = a[:, first : first + 4], b[:, first : first + 4]
        else:
            a, b = (v.view(np.uint16).reshape(n, 4) for v in (a, b))
        rows, columns = np.indices((n, n)).reshape(2, -1)
        start = np.zeros_like(start) if name.startswith("mmul") else start
        expected = dot_block(start.reshape(-1), a[rows], b[columns], params)
        run(execute, node, f"{name}.vv acc1, v{register}, v{register + 1}")
        assert np.array_equal(node.acc[1].reshape(-1), expected)


def test_an_operand_may_be_both_factors(execute, node) -> None:
    node.v[4] = small_bf16(np.random.default_rng(SEED), node.v.shape[1] // 2).view(np.uint8)
    run(execute, node, "mmul.bf16.vv acc0, v4, v4")
    a = node.v[4].view(ml_dtypes.bfloat16).reshape(-1, 4).astype(np.float64)
    assert np.array_equal(fp32(node.acc[0]), a @ a.T)


def test_mzero_clears_one_accumulator(execute, node) -> None:
    others = np.delete(node.acc, 5, axis=0)
    run(execute, node, "mzero acc5")
    assert not node.acc[5].any()
    assert np.array_equal(np.delete(node.acc, 5, axis=0), others)


def test_parts_of_an_accumulator_are_row_major_runs(execute, node) -> None:
    lanes, parts = node.params.fp32_lanes, node.params.accumulator_parts
    flat = node.acc[2].reshape(-1).copy()
    run(execute, node, "\n".join(f"mrd v{p}, acc2, {p}" for p in range(parts)))
    for part in range(parts):
        assert np.array_equal(node.v[part].view(np.uint32), flat[part * lanes : (part + 1) * lanes])
    new = node.v[20].view(np.uint32).copy()
    for part in range(parts):
        before = node.acc[4].reshape(-1).copy()
        run(execute, node, f"mwr acc4, v20, {part}")
        before[part * lanes : (part + 1) * lanes] = new
        assert np.array_equal(node.acc[4].reshape(-1), before)


def test_widening_takes_the_part_it_names(execute, node) -> None:
    lanes = node.params.fp32_lanes
    bf16, cfp8 = node.v[8].view(np.uint16).copy(), node.v[9].copy()
    run(execute, node, "vcvt.f32.bf16 v1, v8, 0\nvcvt.f32.bf16 v2, v8, 1")
    for part in range(2):
        expected = bf16[part * lanes : (part + 1) * lanes].astype(np.uint32) << 16
        assert np.array_equal(node.v[1 + part].view(np.uint32), expected)
    for config, _ in CFP8:
        text = "\n".join(f"vcvt.f32.cfp8 v{p}, v9, {p}" for p in range(4))
        run(execute, node, f"li a3, {config}\ncsrw mcfp8c, a3\n{text}")
        for part in range(4):
            codes = cfp8[part * lanes : (part + 1) * lanes]
            values = [cfp8_value(int(code), config) for code in codes]
            assert fp32(node.v[part].view(np.uint32)).tolist() == values


def test_narrowing_to_bf16_rounds_to_nearest_even_and_keeps_the_other_part(execute, node) -> None:
    lanes = node.params.fp32_lanes
    for part in range(2):
        source, old = node.v[8].view(np.float32), node.v[1].view(np.uint16).copy()
        run(execute, node, f"vcvt.bf16.f32 v1, v8, {part}")
        with np.errstate(invalid="ignore"):
            rounded = source.astype(ml_dtypes.bfloat16).view(np.uint16)
        old[part * lanes : (part + 1) * lanes] = np.where(np.isnan(source), 0x7FC0, rounded)
        assert np.array_equal(node.v[1].view(np.uint16), old)


@pytest.mark.parametrize("config", [config for config, _ in CFP8])
def test_narrowing_to_cfp8_keeps_the_other_parts(execute, node, config: int) -> None:
    lanes = node.params.fp32_lanes
    form = Cfp8Config(Cfp8Format(config >> 6), config & 63)
    for part in range(4):
        expected = node.v[1].copy()
        codes = fp32_to_cfp8_array(node.v[8].view(np.uint32), form)
        expected[part * lanes : (part + 1) * lanes] = codes
        run(execute, node, f"li a3, {config}\ncsrw mcfp8c, a3\nvcvt.cfp8.f32 v1, v8, {part}")
        assert np.array_equal(node.v[1], expected)


def test_a_conversion_may_overwrite_its_source(execute, node) -> None:
    lanes = node.params.fp32_lanes
    wide = node.v[1].view(np.uint16)[lanes:].astype(np.uint32) << 16
    narrow = fp32_to_bf16_array(node.v[2].view(np.uint32))
    kept = node.v[2].view(np.uint16)[:lanes].copy()
    run(execute, node, "vcvt.f32.bf16 v1, v1, 1\nvcvt.bf16.f32 v2, v2, 1")
    assert np.array_equal(node.v[1].view(np.uint32), wide)
    assert np.array_equal(node.v[2].view(np.uint16), np.concatenate([kept, narrow]))


def test_stochastic_conversions_draw_one_word_a_lane_and_step_the_counter(execute, node) -> None:
    lanes = node.params.fp32_lanes
    seed = 0x1234_5678_FFFF_FFFE
    node.v[8].view(np.float32)[:] = np.linspace(1, 3, lanes, dtype=np.float32)
    source = node.v[8].view(np.uint32).copy()
    form = Cfp8Config(Cfp8Format.CFP8_1_5_2, 16)
    run(
        execute,
        node,
        f"li a3, {seed}\ncsrw mseed, a3\ncsrrwi x0, mround, 1\nli a3, 80\ncsrw mcfp8c, a3\n"
        "vcvt.bf16.f32 v1, v8, 0\ncsrr a4, mseed\nvcvt.cfp8.f32 v2, v8, 3\ncsrr a5, mseed\n"
        "vcvt.f32.bf16 v3, v8, 0\ncsrr a6, mseed",
    )
    second = 0x1234_5678_0000_0000 | seed + lanes & 0xFFFF_FFFF
    bf16 = fp32_to_bf16_array(source, Rounding.STOCHASTIC, seed)
    cfp8 = fp32_to_cfp8_array(source, form, Rounding.STOCHASTIC, second)
    assert np.array_equal(node.v[1].view(np.uint16)[:lanes], bf16)
    assert np.array_equal(node.v[2][3 * lanes :], cfp8)
    assert node.x[14] == second
    assert node.x[15] == node.x[16] == 0x1234_5678_0000_0000 | seed + 2 * lanes & 0xFFFF_FFFF


def test_nearest_even_conversions_draw_nothing(execute, node) -> None:
    run(execute, node, "li a3, 99\ncsrw mseed, a3\nvcvt.bf16.f32 v1, v8, 0")
    assert node.read_csr("mseed") == 99


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vfadd", lambda a, b, d: a + b),
        ("vfsub", lambda a, b, d: a - b),
        ("vfmul", lambda a, b, d: a * b),
        ("vfmadd", lambda a, b, d: a * b + d),
        ("vfnmadd", lambda a, b, d: d - a * b),
        ("vfmin", lambda a, b, d: np.minimum(a, b)),
        ("vfmax", lambda a, b, d: np.maximum(a, b)),
    ],
)
def test_fp32_arithmetic_is_lane_by_lane_and_may_overwrite_an_operand(
    execute, node, name: str, value
) -> None:
    # Products of 24 bits by 4 and a sum have few enough for float64, which is rounded once here.
    rng = np.random.default_rng(SEED)
    lanes = node.params.fp32_lanes
    a = (rng.integers(-(1 << 24), 1 << 24, lanes) * 2.0**-20).astype(np.float32)
    b = rng.integers(-15, 16, lanes).astype(np.float32)
    d = rng.normal(0, 30, lanes).astype(np.float32)
    for first, second, destination in ((4, 5, 6), (7, 8, 7), (10, 9, 9)):
        for register, vector in ((destination, d), (first, a), (second, b)):
            node.v[register].view(np.float32)[:] = vector
        addend = node.v[destination].view(np.float32).copy()
        others = np.delete(node.v, destination, axis=0)
        run(execute, node, f"{name}.f32 v{destination}, v{first}, v{second}")
        wide = (x.astype(np.float64) for x in (a, b, addend))
        assert np.array_equal(node.v[destination].view(np.float32), value(*wide).astype(np.float32))
        assert np.array_equal(np.delete(node.v, destination, axis=0), others)


def test_operands_that_the_preset_lacks_are_illegal(execute, node) -> None:
    parts = node.params.accumulator_parts
    words = [
        encode("mrd", vd=1, acc_s=8, part=0),
        encode("mrd", vd=1, acc_s=0, part=parts),
        encode("mwr", acc_d=15, vs1=0, part=0),
        encode("mwr", acc_d=0, vs1=0, part=31),
        encode("vcvt.f32.bf16", vd=1, vs1=0, part=2),
        encode("vcvt.bf16.f32", vd=1, vs1=0, part=2),
        encode("vcvt.f32.cfp8", vd=1, vs1=0, part=4),
        encode("vcvt.cfp8.f32", vd=1, vs1=0, part=4),
    ]
    words += [
        encode(row.name, acc_d=8, **{o.name: 0 for o in row.operands if o.name != "acc_d"})
        for row in INSTRUCTIONS
        if row.unit in (Unit.MATRIX, Unit.MATRIX_MEMORY) and "acc_d" in row.syntax
    ]
    before = [array.copy() for array in (node.v, node.acc)]
    for word in words:
        execute(f".word {word}", node=node)
        assert node.thread_register(ThreadRegister.CAUSE) == Cause.ILLEGAL_INSTRUCTION, hex(word)
        assert node.thread_register(ThreadRegister.FAULT_VALUE) == word
    assert all(map(np.array_equal, (node.v, node.acc), before))
