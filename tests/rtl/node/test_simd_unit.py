# amaranth: UnusedElaboratable=no
"""The SIMD unit: every operation, every lane, mixed, with pauses and a clock that stops."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from d1_golden.node import vocabulary, vocabulary_simd
from d1_golden.numerics import elementary
from d1_golden.numerics.vector_stimulus import FmaKind, fma_operands, fp32_corners
from d1_golden.params import preset
from d1_rtl.node.simd_unit import SimdOp, SimdUnit, simd_operation_layout
from numba import njit

from testbench.layouts import pack_rows
from testbench.nodes import SHAPES
from testbench.on_fpga import gated_model

SEED = 16
#: Lanes of each operation in the random streams: of sums, products and fused ones a million.
LANES = {"d1": 100_000, "fpga": 10_000, "tiny": 10_000, "four_rows": 20_000}
MANY_LANES = LANES | {"d1": 1_000_000}
#: Operations in a stream.
STREAM = 50_000

OF_A_SUM = (SimdOp.VFADD_F32, SimdOp.VFSUB_F32)
OF_THREE = (SimdOp.VFMADD_F32, SimdOp.VFNMADD_F32)
ARITHMETIC = (*OF_A_SUM, SimdOp.VFMUL_F32, *OF_THREE)
INTEGER_CORNERS = np.array(
    [2, 31, 32, 33, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0x80000001, 0xFFFFFFFF],
    np.uint32,
)
COMPARES = tuple(op for op in SimdOp if op.name[:4] in ("VFEQ", "VFLT", "VFLE", "VSEQ", "VSLT"))
REDUCTIONS = tuple(op for op in SimdOp if "RED" in op.name)
ELEMENTARY = {
    SimdOp.VFRCP_F32: elementary.RECIPROCAL,
    SimdOp.VFRSQRT_F32: elementary.RECIPROCAL_SQRT,
    SimdOp.VFEXP2_F32: elementary.EXP2,
}
OF_ONE = (*REDUCTIONS, *ELEMENTARY, SimdOp.VCVT_I32_F32, SimdOp.VCVT_F32_I32)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda p: p.name)
def unit(request):
    params = request.param
    on_fpga = params is preset("fpga")
    unit = SimdUnit(params, gated=not on_fpga)
    with closing(gated_model(unit, name=f"simd_unit_{params.name}", on_fpga=on_fpga)) as model:
        yield params, model


def golden(op, a, b, c):
    """Return the results of an operation, vectors or masks, one a row."""
    name = op.name.lower()
    function = getattr(vocabulary_simd, name, None) or getattr(vocabulary, name)
    count = 1 if op in OF_ONE else 3 if op in OF_THREE else 2
    registers = [np.ascontiguousarray(rows).view(np.uint64) for rows in (a, b, c)[:count]]
    if op in COMPARES:
        return np.array([function(*rows) for rows in zip(*registers, strict=True)], np.uint64)
    out = np.empty_like(registers[0])
    for rows in zip(*registers, out, strict=True):
        function(*rows)
    return out.view(np.uint32)


def latencies(params):
    """Return the latency of each operation, by its code."""
    return np.array(
        [SimdUnit.latency_by_op(params).get(op, SimdUnit.LATENCY) for op in SimdOp], np.int64
    )


@njit
def schedule(gaps, latency, taken, period):
    """Return in which cycles operations are offered and transferred.

    Each is offered so many cycles after the one before was transferred; the entrance is taken
    every `period` cycles by an operation under way.
    """
    offered, transfers = np.empty_like(gaps), np.empty_like(gaps)
    cycle = -1
    for i in range(len(gaps)):
        cycle += 1 + gaps[i]
        offered[i] = cycle
        while taken[cycle]:
            cycle += 1
        transfers[i] = cycle
        for again in range(cycle + period, cycle + latency[i], period):
            taken[again] = True
    return offered, transfers


def play(params, model, rng, operations):
    """Play operations with pauses, check when everything happens; return vectors and masks.

    There are long dense stretches and sparse ones, in which the clock stops.
    """
    count = len(operations["op"])
    latency = latencies(params)[operations["op"]]
    pause = np.repeat(rng.choice([0.0, 0.1, 0.6], -(-count // 50)), 50)[:count]
    gaps = np.where(rng.random(count) < pause, rng.integers(1, 40, count), 0)
    taken = np.zeros(int((gaps + latency).sum()) + 100, bool)
    offered, transfers = schedule(gaps, latency, taken, SimdUnit.LATENCY)
    cycles = int((transfers + latency).max()) + 2
    row = np.minimum(np.searchsorted(transfers, np.arange(cycles)), count - 1)
    valid = (offered[row] <= np.arange(cycles)) & (np.arange(cycles) <= transfers[row])
    outputs = model.play(
        {
            "i__payload": pack_rows(simd_operation_layout(params), **operations)[row],
            "i__valid": valid.astype(np.uint8),
        },
        ["i__ready", "o__valid", "o__payload", "o_mask__valid", "o_mask__payload", "busy"],
    )
    assert np.array_equal(outputs["i__ready"][:, 0] == 0, taken[:cycles])
    busy = np.zeros(cycles + 1, int)
    np.add.at(busy, transfers + 1, 1)
    np.add.at(busy, transfers + latency + 1, -1)
    assert np.array_equal(outputs["busy"][:, 0], np.cumsum(busy)[:-1] > 0)
    compares = np.isin(operations["op"], [op.value for op in COMPARES])
    for port, chosen in (("o", ~compares), ("o_mask", compares)):
        due = np.zeros(cycles, bool)
        due[(transfers + latency)[chosen]] = True
        assert np.array_equal(outputs[f"{port}__valid"][:, 0] == 1, due), f"{port} at its time"
    vectors = outputs["o__payload"][transfers + latency]
    masks = outputs["o_mask__payload"][transfers + latency, 0]
    return vectors, masks


def check(params, model, rng, operations):
    """Play operations and compare the results of every lane."""
    vectors, masks = play(params, model, rng, operations)
    for code in np.unique(operations["op"]):
        op = SimdOp(code)
        chosen = np.flatnonzero(operations["op"] == code)
        results = (masks if op in COMPARES else vectors)[chosen]
        values = [operations[name][chosen] for name in "abc"]
        expected = golden(op, *values)
        for n in np.flatnonzero((results != expected).reshape(len(chosen), -1).any(axis=1)):
            rows = [*(value[n] for value in values), results[n], expected[n]]
            pytest.fail(
                f"{op}: "
                + " | ".join(" ".join(f"{int(w):08x}" for w in np.ravel(row)) for row in rows)
            )


def operands(rng, op, count):
    """Return random operands of an operation, steered to its corners: uint32[3, count]."""
    if op in ARITHMETIC:
        unit_factor = op in OF_A_SUM
        kinds = np.array_split(np.arange(count), len(FmaKind))
        parts = [
            fma_operands(rng, len(part), kind, unit_factor=unit_factor)
            for kind, part in zip(FmaKind, kinds, strict=True)
        ]
        a, b, c = np.concatenate(parts, axis=1)
        return np.array([a, c if unit_factor else b, c])
    words = rng.integers(0, 1 << 32, (3, count), np.uint32)
    # Small numbers of either sign; corners; equals and neighbours, up to the sign bit.
    words[0] = np.where(rng.random(count) < 0.3, small(rng, words[0]), words[0])
    words[:2] = np.where(
        rng.random((2, count)) < 0.2, rng.choice(fp32_corners(), (2, count)), words[:2]
    )
    near = words[0] + rng.integers(-1, 2, count).astype(np.uint32)
    near ^= rng.integers(0, 2, count, np.uint32) << 31
    words[1] = np.where(rng.random(count) < 0.3, near, words[1])
    if op in (*ELEMENTARY, SimdOp.VCVT_I32_F32):
        # Any exponent there is a result for, and mantissas of few bits, for ties.
        field = rng.integers(127 - 9, 127 + 33, count, np.uint32)
        keep = np.uint32(0xFFFFFFFF) << rng.integers(0, 24, count, np.uint32)
        middle = words[1] & np.uint32(1 << 31) | field << 23 | words[2] & keep & np.uint32(0x7FFFFF)
        words[0] = np.where(rng.random(count) < 0.5, middle, words[0])
    return words


def small(rng, words):
    """Return numbers of any magnitude and either sign, half of them with trailing zeros."""
    value = words >> rng.integers(0, 32, words.size, np.uint32)
    value = np.where(rng.random(words.size) < 0.5, value, words & np.uint32(0xFFFFFF80))
    return np.where(rng.random(words.size) < 0.5, value, np.uint32(0) - value)


def operations_of(params, rng, ops):
    """Return operations with random operands, in blocks of equal codes of random lengths."""
    op = np.repeat(rng.choice(ops, len(ops)), rng.integers(1, 4, len(ops))).astype(np.uint8)
    values = np.zeros((3, len(op), params.fp32_lanes), np.uint32)
    for member in SimdOp:
        chosen = np.flatnonzero(op == member.value)
        random = operands(rng, member, len(chosen) * params.fp32_lanes)
        random = random.reshape(3, params.fp32_lanes, -1).transpose(0, 2, 1)
        values[:, chosen] = random
    return {"op": op, **dict(zip("abc", values, strict=True))}


def test_all_operations_mixed_equal_golden_and_come_at_their_time(unit):
    params, model = unit
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    lanes_done = np.zeros(len(SimdOp), int)
    wanted = [(MANY_LANES if op in ARITHMETIC else LANES)[params.name] for op in SimdOp]
    while True:
        missing = np.maximum(np.array(wanted) - lanes_done, 0)
        if not missing.any():
            break
        weights = missing / missing.sum()
        ops = rng.choice(len(SimdOp), STREAM // 2, p=weights)
        operations = operations_of(params, rng, ops)
        check(params, model, rng, operations)
        lanes_done += np.bincount(operations["op"], minlength=len(SimdOp)) * params.fp32_lanes
    assert (lanes_done >= wanted).all()


@pytest.mark.parametrize("op", SimdOp)
def test_corners_crossed_with_each_other_equal_golden(unit, op):
    params, model = unit
    corners = np.concatenate([fp32_corners(), INTEGER_CORNERS])
    some = corners[:: 2 if params.name == "d1" else 7]
    if op in OF_THREE:
        axes = (some,) * 3
    elif op in ELEMENTARY:
        axes = (elementary_corners(), corners[:1], corners[:1])
    else:
        axes = (corners, corners, corners[:1])
    grid = np.array(np.meshgrid(*axes, indexing="ij"), np.uint32).reshape(3, -1)
    # Reductions meet pairs, fours and so on of corners in any order.
    grid = np.random.default_rng(SEED).permutation(grid, axis=1) if op in REDUCTIONS else grid
    grid = np.pad(grid, ((0, 0), (0, -grid.shape[1] % params.fp32_lanes)))
    vectors = grid.reshape(3, -1, params.fp32_lanes)
    op_codes = np.full(vectors.shape[1], op.value, np.uint8)
    operations = {"op": op_codes, **dict(zip("abc", vectors, strict=True))}
    check(params, model, np.random.default_rng(SEED), operations)


def elementary_corners():
    """Return the ends and their neighbours of every exponent and of every row of the tables."""
    pieces = np.arange(1 << elementary.INDEX_BITS, dtype=np.uint32)
    ends = np.concatenate([pieces << 23 - elementary.INDEX_BITS, [0x7FFFFF, 1, 0x7FFFFE]])
    numbers = np.add.outer(np.arange(256, dtype=np.uint32) << 23, ends.astype(np.uint32)).ravel()
    numbers = np.concatenate(
        [numbers, (np.arange(-151, 130, 1 / 128)).astype(np.float32).view("u4")]
    )
    beside = np.add.outer(np.array([-1, 0, 1]).astype(np.uint32), numbers).ravel()
    return np.concatenate([beside, beside ^ np.uint32(1 << 31)])


def test_latencies_are_four_cycles_a_pass(unit):
    params, _ = unit
    assert SimdUnit.LATENCY == 4
    passes = {op: len(ELEMENTARY[op].steps) for op in ELEMENTARY}
    passes |= dict.fromkeys(REDUCTIONS, {16: 4, 8: 3, 4: 2}[params.fp32_lanes])
    assert SimdUnit.latency_by_op(params) == {op: 4 * count for op, count in passes.items()}
    assert {op.name: count for op, count in passes.items() if op in ELEMENTARY} == {
        "VFRCP_F32": 5,
        "VFRSQRT_F32": 6,
        "VFEXP2_F32": 7,
    }


def test_the_page_has_the_latency_of_every_operation():
    document = (Path(__file__).parents[3] / "docs" / "vector_numerics.md").read_text()
    by_preset = [SimdUnit.latency_by_op(preset(name)) for name in ("d1", "fpga", "tiny")]
    assert "| operation | d1 | fpga | tiny |" in document
    for op in by_preset[0]:
        name = ".".join(op.name.lower().rsplit("_", 1))
        cells = " | ".join(str(of_preset[op]) for of_preset in by_preset)
        assert f"| `{name}` | {cells} |" in document
    assert f"| all others |{f' {SimdUnit.LATENCY} |' * 3}" in document


@pytest.mark.parametrize("op", [SimdOp.VFADD_F32, SimdOp.VADD_I32, *ELEMENTARY, *REDUCTIONS])
def test_a_stream_of_one_operation_enters_at_one_pass_a_cycle(unit, op):
    params, model = unit
    count = 400
    latency = SimdUnit.latency_by_op(params).get(op, SimdUnit.LATENCY)
    passes = latency // SimdUnit.LATENCY
    cycles = count * passes
    payload = pack_rows(simd_operation_layout(params), op=np.full(cycles, op.value, np.uint8))
    inputs = {"i__payload": payload, "i__valid": np.ones(cycles, np.uint8)}
    outputs = model.play(inputs, ["i__ready", "o__valid"])
    # Empty the unit for the next test.
    model.play({"i__valid": np.zeros(latency + 1, np.uint8)}, ["busy"])
    assert outputs["i__ready"].sum() == count
    # What comes later than its latency after the start is as much as enters.
    assert outputs["o__valid"].sum() == count - 4
    assert model.get("busy") == 0
