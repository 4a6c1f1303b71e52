# amaranth: UnusedElaboratable=no
"""The move unit against golden: every operation, with pauses and a clock that stops."""

import numpy as np
import pytest
from d1_golden.node import vocabulary_move as moves
from d1_rtl.node.move_unit import MoveOp, MoveUnit, move_operation_layout
from d1_rtl.sim.native import NativeModel

from testbench.gated import GatedUnit, play_streams
from testbench.nodes import SHAPES

SEED = 31
OPERATIONS = 20_000
ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF

OF_A = (MoveOp.VTRANS_B8, MoveOp.VTRANS_B16, MoveOp.VTRANS_B32)
OF_A += (MoveOp.VTRANSI_B8, MoveOp.VTRANSI_B16)
PADS = (MoveOp.VPAD_B8, MoveOp.VPAD_B16, MoveOp.VPAD_B32)
OF_TWO_MASKS = (MoveOp.MAND, MoveOp.MOR, MoveOp.MXOR, MoveOp.MANDN)
MASKS = (*OF_TWO_MASKS, MoveOp.VMV_M_X)
SCALARS = (MoveOp.VMV_X_V, MoveOp.VMV_X_M)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda p: p.name)
def unit(request):
    params = request.param
    with NativeModel(GatedUnit(MoveUnit(params)), name=f"move_unit_{params.name}") as model:
        model.reset()
        yield params, model


def golden(params, op, operation):
    """Return the result of an operation, a vector or a number, with golden's function."""
    function = getattr(moves, op.name.lower())
    a, b, mask_a, mask_b, scalar, lane = operation
    scratch = np.zeros(params.vector_bytes // 8, np.uint64)
    if op in OF_A:
        return function(a, scratch)
    if op in PADS:
        return function(b, scalar, scratch)
    if op in OF_TWO_MASKS:
        return function(mask_a, mask_b)
    match op:
        case MoveOp.VSHUF:
            return function(a, b, scratch)
        case MoveOp.VSLIDE:
            return function(a, b, lane, scratch)
        case MoveOp.VSEL:
            return function(a, b, mask_a, scratch)
        case MoveOp.VBC_X:
            return function(scalar, scratch)
        case MoveOp.VBC_L:
            return function(a, lane, scratch)
        case MoveOp.VMV_X_V:
            return function(a, lane)
        case MoveOp.VMV_M_X:
            return function(scalar, params.fp32_lanes)
    assert op is MoveOp.VMV_X_M
    return function(mask_a)


def check(params, model, rng, ops):
    """Play operations and compare every result on the output where it belongs."""
    results = {
        "o": ~np.isin(ops["op"], [op.value for op in (*MASKS, *SCALARS)]),
        "o_mask": np.isin(ops["op"], [op.value for op in MASKS]),
        "o_scalar": np.isin(ops["op"], [op.value for op in SCALARS]),
    }
    layout = move_operation_layout(params)
    actual = play_streams(model, layout, rng, ops, latency=MoveUnit.LATENCY, results=results)
    operands = [ops[name] for name in ("a", "b", "mask_a", "mask_b", "scalar", "lane")]
    for name, chosen in results.items():
        for row, n in zip(actual[name], np.flatnonzero(chosen), strict=True):
            op = MoveOp(int(ops["op"][n]))
            operation = [values[n] for values in operands]
            expected = np.atleast_1d(golden(params, op, operation)).astype(np.uint64)
            expected_words = expected.view(np.uint32)[: len(row)]
            assert np.array_equal(row, expected_words), (op, operation)


def random_operations(params, rng, op):
    """Return random operands for the operations `op`, within what each one allows."""
    count, lanes = len(op), params.fp32_lanes
    words = (count, params.vector_bytes // 8)
    lane = rng.integers(0, lanes, count, np.uint64)
    slides = op == MoveOp.VSLIDE.value
    lane[slides] = rng.integers(0, lanes, int(slides.sum()), np.uint64, endpoint=True)
    scalar = rng.integers(0, ALL_ONES, count, np.uint64, endpoint=True)
    small = rng.random(count) < 0.9  # of a padding: within or just outside the block
    rows, columns = rng.integers(0, 10, (2, count), np.uint64)
    kept = np.uint64(0xFFFF_FFFF_FFFF_0000) & scalar | columns << np.uint64(8) | rows
    return {
        "op": op.astype(np.uint8),
        "a": rng.integers(0, ALL_ONES, words, np.uint64, endpoint=True),
        "b": rng.integers(0, ALL_ONES, words, np.uint64, endpoint=True),
        "mask_a": rng.integers(0, 1 << lanes, count, np.uint64),
        "mask_b": rng.integers(0, 1 << lanes, count, np.uint64),
        "scalar": np.where(small, kept, scalar),
        "lane": lane,
    }


def test_every_operation_equals_golden_after_two_cycles(unit):
    params, model = unit
    assert MoveUnit.LATENCY == 2
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    op = rng.integers(0, len(MoveOp), OPERATIONS)
    assert np.bincount(op, minlength=len(MoveOp)).min() >= 500
    check(params, model, rng, random_operations(params, rng, op))


def test_every_distance_and_every_lane_equals_golden(unit):
    params, model = unit
    rng = np.random.default_rng(SEED)
    of_lane = (MoveOp.VBC_L, MoveOp.VMV_X_V)
    pairs = [(MoveOp.VSLIDE.value, n) for n in range(params.fp32_lanes + 1)]
    pairs += [(op.value, n) for op in of_lane for n in range(params.fp32_lanes)]
    op, lane = np.array(pairs, np.uint64).T
    check(params, model, rng, random_operations(params, rng, op) | {"lane": lane})


def test_every_number_of_rows_and_columns_kept_equals_golden(unit):
    params, model = unit
    rng = np.random.default_rng(SEED)
    kept = (*range(10), 127, 128, 255)
    grid = [(op.value, columns << 8 | rows) for op in PADS for rows in kept for columns in kept]
    op, scalar = np.array(grid, np.uint64).T
    check(params, model, rng, random_operations(params, rng, op) | {"scalar": scalar})


def test_transposing_there_and_back_gives_the_vector(unit):
    params, model = unit
    rng = np.random.default_rng(SEED)
    layout, count = move_operation_layout(params), 100
    for there, back in (
        (MoveOp.VTRANS_B8, MoveOp.VTRANSI_B8),
        (MoveOp.VTRANS_B16, MoveOp.VTRANSI_B16),
    ):
        ops = random_operations(params, rng, np.full(count, there.value))
        vectors = ops["a"].copy()
        for op in (there, back):
            ops["op"][:] = op.value
            results = {"o": np.ones(count, bool)}
            streams = play_streams(
                model, layout, rng, ops, latency=MoveUnit.LATENCY, results=results
            )
            ops["a"] = np.ascontiguousarray(streams["o"]).view(np.uint64)
        assert np.array_equal(ops["a"], vectors)
