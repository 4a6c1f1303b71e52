"""The prediction of cycles, against the code that it walks through and the RTL's tables."""

import pytest
from d1.compiler.builder import Builder, Value
from d1.compiler.cost import kernel_cost
from d1.compiler.executable import lower
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.compiler.passes import optimized
from d1_golden.params import preset
from d1_rtl.node.simd_unit import SimdOp, SimdUnit

TINY = preset("tiny")


def cost(rows: int, columns: int, function):
    """Return the cost of a function of the elements of a matrix."""
    builder = Builder(TINY)
    x: Value = builder.input((rows, columns), DType.F32)
    builder.output(function(builder, x))
    (kernel,) = optimized(builder.graph)[0].kernels
    return kernel_cost(lower(kernel, TINY), TINY)


def doubled(builder: Builder, x: Value) -> Value:
    return builder.elementwise(lambda a: Expr.op("vfadd.f32", a, a), x, dtype=DType.F32)


def test_every_vector_is_loaded_added_and_stored_once() -> None:
    lanes = TINY.fp32_lanes
    counted = cost(64, lanes, doubled)
    assert counted.passes == 64
    assert 2 * 64 <= counted.either <= 2 * 64 + TINY.threads
    assert counted.slot_1 == 0
    assert len(counted.threads) == TINY.threads


def test_the_cost_grows_with_the_work() -> None:
    small, large = (cost(rows, 32, doubled).cycles for rows in (64, 640))
    assert 8 < (large - 60) / (small - 60) < 11


@pytest.mark.parametrize("op", ["vfrcp.f32", "vfrsqrt.f32", "vfexp2.f32"])
def test_an_elementary_function_takes_as_many_passes_as_in_the_rtl(op: str) -> None:
    def function(builder: Builder, x: Value) -> Value:
        return builder.elementwise(lambda a: Expr.op(op, a), x, dtype=DType.F32)

    member = SimdOp[op.replace(".", "_").upper()]
    passes = SimdUnit.latency_by_op(TINY)[member] // SimdUnit.LATENCY
    assert cost(16, TINY.fp32_lanes, function).passes == 16 * passes


def test_a_row_is_reduced_in_as_many_passes_as_in_the_rtl() -> None:
    def function(builder: Builder, x: Value) -> Value:
        return builder.reduce("vfadd.f32", x, [1], keepdim=False)

    passes = SimdUnit.latency_by_op(TINY)[SimdOp.VFREDSUM_F32] // SimdUnit.LATENCY
    counted = cost(16, TINY.fp32_lanes, function)
    assert counted.passes == pytest.approx(16 * passes, abs=16)
