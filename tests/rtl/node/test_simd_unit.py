# amaranth: UnusedElaboratable=no
"""The SIMD unit: every operation, every lane, with pauses and a clock that stops."""

import numpy as np
import pytest
from d1_golden.numerics import fp32
from d1_golden.numerics.vector_stimulus import FmaKind, fma_operands, fp32_corners
from d1_golden.params import PRESETS, preset
from d1_rtl.node.simd_unit import SimdOp, SimdUnit, simd_operation_layout
from d1_rtl.sim.native import NativeModel

from testbench.gated import GatedUnit, play_operations

SEED = 16
#: Random streams of so many operations: on d1, more than a million lanes of each operation.
OPERATIONS = 66_000
STREAMS = {"d1": 7, "fpga": 1, "tiny": 1}

GOLDEN = {
    SimdOp.ADD: lambda a, b, c: fp32.add_array(a, b),
    SimdOp.SUB: lambda a, b, c: fp32.sub_array(a, b),
    SimdOp.MUL: lambda a, b, c: fp32.mul_array(a, b),
    SimdOp.MADD: fp32.fma_array,
    SimdOp.NMADD: lambda a, b, c: fp32.fma_array(a ^ np.uint32(fp32.SIGN), b, c),
    SimdOp.MIN: lambda a, b, c: fp32.minimum_array(a, b),
    SimdOp.MAX: lambda a, b, c: fp32.maximum_array(a, b),
}
#: Operations whose operands are those of a sum, not of a product and an addend.
OF_A_SUM = (SimdOp.ADD, SimdOp.SUB, SimdOp.MIN, SimdOp.MAX)


@pytest.fixture(scope="module", params=PRESETS)
def unit(request):
    params = preset(request.param)
    with NativeModel(GatedUnit(SimdUnit(params)), name=f"simd_unit_{params.name}") as model:
        model.reset()
        yield params, model


def check(params, model, rng, ops):
    """Play operations and compare the results of every lane."""
    results = play_operations(
        model, simd_operation_layout(params), rng, ops, latency=SimdUnit.LATENCY
    )
    for op, golden in GOLDEN.items():
        chosen = ops["op"] == op.value
        expected = golden(*(ops[name][chosen] for name in "abc"))
        assert np.array_equal(results[chosen], expected), op


def random_operations(params, rng):
    """Return operations of every kind on operands steered to every corner."""
    shape = (OPERATIONS, params.fp32_lanes)
    op = rng.integers(0, len(SimdOp), OPERATIONS).astype(np.uint8)
    kinds = rng.integers(0, len(FmaKind), OPERATIONS)
    operands = np.zeros((3, *shape), np.uint32)
    sums = np.isin(op, [member.value for member in OF_A_SUM])
    for kind in FmaKind:
        for unit_factor in (False, True):
            chosen = (kinds == kind) & (sums == unit_factor)
            count = int(chosen.sum()) * params.fp32_lanes
            a, b, c = fma_operands(rng, count, kind, unit_factor=unit_factor)
            for place, value in enumerate((a, c if unit_factor else b, c)):
                operands[place, chosen] = value.reshape(-1, params.fp32_lanes)
    return {"op": op, **dict(zip("abc", operands, strict=True))}


def test_every_operation_equals_golden_after_four_cycles(unit):
    params, model = unit
    assert SimdUnit.LATENCY == 4
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    lanes = np.zeros(len(SimdOp), int)
    for _ in range(STREAMS[params.name]):
        ops = random_operations(params, rng)
        check(params, model, rng, ops)
        lanes += np.bincount(ops["op"]) * params.fp32_lanes
    assert lanes.min() >= (1_000_000 if params.name == "d1" else 1)


@pytest.mark.parametrize("op", SimdOp)
def test_corners_crossed_with_each_other_equal_golden(unit, op):
    params, model = unit
    corners = fp32_corners()
    some = corners[:: 1 if params.name == "d1" else 5]
    axes = (corners, corners, corners[:1]) if op in (*OF_A_SUM, SimdOp.MUL) else (some,) * 3
    grid = np.array(np.meshgrid(*axes, indexing="ij"), np.uint32).reshape(3, -1)
    grid = grid[:, : grid.shape[1] // params.fp32_lanes * params.fp32_lanes]
    vectors = grid.reshape(3, -1, params.fp32_lanes)
    count = vectors.shape[1]
    ops = {"op": np.full(count, op.value, np.uint8), **dict(zip("abc", vectors, strict=True))}
    check(params, model, np.random.default_rng(SEED), ops)
