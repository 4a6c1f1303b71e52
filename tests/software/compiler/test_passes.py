"""Fusion, packing by the host and the plan of memory, on graphs made by hand."""

from collections.abc import Iterator

import pytest
from d1.compiler import ir
from d1.compiler import math_functions as f
from d1.compiler.builder import Builder
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType, Loops, Pack, Product
from d1.compiler.memory_plan import plan_memory
from d1.compiler.passes import optimized
from d1_golden.params import preset


def test_equal_expressions_are_one_object():
    one, two = Expr.number(1.0), Expr.number(2.0)
    assert f.add(one, two) is f.add(Expr.number(1.0), Expr.number(2.0))
    assert f.add(one, two) is not f.add(two, one)


def test_a_product_takes_what_follows_it_and_inputs_come_in_tiles():
    builder = Builder(preset("d1"))
    x, w, b = (builder.input(shape, DType.F32) for shape in ((20, 8), (8, 30), (30,)))
    y = builder.elementwise(f.add, builder.matmul(x, w), b, dtype=DType.F32)
    builder.output(builder.elementwise(f.tanh, y, dtype=DType.F32))
    assert [type(kernel) for kernel in builder.graph.kernels] == [Pack, Pack, Product, Loops, Loops]
    graph, packed = optimized(builder.graph)
    assert [type(kernel) for kernel in graph.kernels] == [Product]
    assert {value.ref.tensor for value in packed.values()} == {x.ref.tensor, w.ref.tensor}
    assert set(graph.inputs) == {b.ref.tensor, *packed}


def test_a_softmax_is_one_kernel_that_stores_nothing_between():
    builder = Builder(preset("tiny"))
    x = builder.input((6, 9), DType.F32)
    most = builder.reduce("vfmax.f32", x, [1], keepdim=True)
    power = builder.elementwise(lambda a, b: f.exp(f.subtract(a, b)), x, most, dtype=DType.F32)
    total = builder.reduce("vfadd.f32", power, [1], keepdim=True)
    builder.output(builder.elementwise(f.divide, power, total, dtype=DType.F32))
    graph, _ = optimized(builder.graph)
    (kernel,) = graph.kernels
    assert [store.target.tensor for store in kernel.stores] == graph.outputs


def test_what_nobody_needs_is_not_computed():
    builder = Builder(preset("tiny"))
    x, unused = (builder.input((3, 3), DType.F32) for _ in range(2))
    builder.copy(unused)
    builder.output(builder.elementwise(f.negate, x, dtype=DType.F32))
    graph, _ = optimized(builder.graph)
    assert len(graph.kernels) == 1
    assert graph.inputs == [x.ref.tensor]


def test_tensors_that_never_live_together_share_memory_and_others_do_not():
    builder = Builder(preset("tiny"))
    value = builder.input((8, 8), DType.F32)
    for _ in range(6):
        value = builder.elementwise(f.exp, value, dtype=DType.F32)
    builder.output(value)
    plan = plan_memory(builder.graph)
    assert plan.unplanned == 7 * 256
    assert plan.peak == 2 * 256
    for kernel in builder.graph.kernels:
        (store,) = kernel.stores
        (source,) = store.value.tensors()
        assert abs(plan.places[source] - plan.places[store.target.tensor]) >= 256


def test_what_a_kernel_reads_is_looked_for_once(monkeypatch: pytest.MonkeyPatch):
    builder = Builder(preset("tiny"))
    value = builder.input((6, 9), DType.F32)
    for _ in range(40):
        total = builder.reduce("vfadd.f32", value, [1], keepdim=True)
        value = builder.elementwise(f.subtract, value, total, dtype=DType.F32)
    builder.output(value)
    looked_at: list[object] = []
    search = ir._reads

    def counting(kernel: ir.Kernel) -> Iterator[ir.Tensor]:
        looked_at.append(kernel)
        return search(kernel)

    monkeypatch.setattr(ir, "_reads", counting)
    graph, _ = optimized(builder.graph)
    plan_memory(graph)
    # Each kernel that there was, and some of those that were made of two.
    assert len(looked_at) == len({id(kernel) for kernel in looked_at})
    assert len(looked_at) < 4 * len(builder.graph.kernels)
