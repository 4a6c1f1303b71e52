"""Operators that bring elements to places that other elements tell.

Every place looks at every element that may come to it, which is right for small tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value, as_word, inverse
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import constant
from d1.torch.lowerings.indexing import bounded, chosen_places, place_of, spread, wrapped
from d1.torch.lowerings.registry import UnsupportedError, lowering

aten = torch.ops.aten


@dataclass(frozen=True)
class _Moved:
    """What is brought along a dimension of a tensor.

    Parameters
    ----------
    x
        The tensor, with one dimension if it has none.
    dim
        The dimension.
    met
        The indices for each element, for a domain with them in front; -1 where there is none.
    chosen
        Whether an index is that of the element.

    """

    x: Value
    dim: int
    met: Value
    chosen: Expr

    @classmethod
    def of(cls, builder: Builder, x: Value, dim: int, index: Value) -> _Moved:
        """Return it for indices that may be fewer along every dimension."""
        if not x.shape:
            x, index = builder.reshape(x, (1,)), builder.reshape(index, (1,))
        dim %= len(x.shape)
        index = _widened(builder, index, x.shape, dim, -1)
        met = _for_each(index, dim, x.shape[dim])
        chosen = Expr.op("vseq.i32", builder.load(met), Expr.index(dim + 1))
        return cls(x, dim, met, chosen)

    def source(self, builder: Builder, value: Value) -> Value:
        """Return as many elements of a value as there are indices."""
        value = value if value.shape else builder.reshape(value, (1,))
        value = value.slice(self.dim, 0, self.met.shape[0])
        return _widened(builder, value, self.x.shape, self.dim, 0)


def _widened(builder: Builder, x: Value, shape: Sequence[int], dim: int, fill: int) -> Value:
    """Return a value cut or filled up to a shape in all dimensions but one."""
    wanted = [x.shape[n] if n == dim else size for n, size in enumerate(shape)]
    for n, size in enumerate(wanted):
        x = x.slice(n, 0, min(size, x.shape[n]))
    places = {n: (0, 1) for n, size in enumerate(wanted) if size > x.shape[n]}
    return spread(builder, x, wanted, places, Expr.word(fill)) if places else x


def _for_each(x: Value, dim: int, size: int) -> Value:
    """Return the elements along a dimension for each of some others: one dimension more."""
    strides, shape = list(x.ref.strides), list(x.shape)
    stride, strides[dim], shape[dim] = strides[dim], 0, size
    return Value(replace(x.ref, strides=(stride, *strides)), (x.shape[dim], *shape))


#: What combines elements and leaves them as they are with how many, by the name of a reduction.
_REDUCTIONS: dict[str, tuple[str, str, float, float]] = {
    "sum": ("vfadd.f32", "vadd.i32", 0, 0),
    "mean": ("vfadd.f32", "vadd.i32", 0, 0),
    "prod": ("vfmul.f32", "vmul.i32", 1, 1),
    "amax": ("vfmax.f32", "vmax.i32", -math.inf, -(1 << 31)),
    "amin": ("vfmin.f32", "vmin.i32", math.inf, (1 << 31) - 1),
}


@lowering(aten.scatter_add.default)
def scatter_add(builder: Builder, x: Value, dim: int, index: Value, source: Value) -> Value:
    """Lower the sum of an element and of those that are brought to it."""
    return scatter_reduce(builder, x, dim, index, source, "sum")


@lowering(aten.scatter_reduce.two)
def scatter_reduce(
    builder: Builder,
    x: Value,
    dim: int,
    index: Value,
    source: Value,
    name: str,
    *,
    include_self: bool = True,
) -> Value:
    """Lower an element combined with those that are brought to it."""
    if x.dtype is DType.BOOL or (name == "mean" and x.dtype is not DType.F32):
        raise UnsupportedError(f"{name} of type {x.dtype.value}")
    real, integer, *neutrals = _REDUCTIONS[name]
    is_real = x.dtype is DType.F32
    combine, neutral = (real, neutrals[0]) if is_real else (integer, int(neutrals[1]))
    moved = _Moved.of(builder, x, dim, index)
    given = _for_each(moved.source(builder, source), moved.dim, moved.x.shape[moved.dim])

    def of_brought(instruction: str, element: Expr, otherwise: Expr, dtype: DType) -> Value:
        return builder.reduce(
            instruction,
            moved.met,
            [0],
            keepdim=False,
            dtype=dtype,
            before=lambda _: Expr.op("vsel", element, otherwise, moved.chosen),
        )

    whole = of_brought(combine, builder.load(given), constant(neutral, x.dtype), x.dtype)
    operands = [x, builder.reshape(whole, x.shape)]
    if name != "mean" and include_self:
        return builder.elementwise(lambda a, b: Expr.op(combine, a, b), *operands, dtype=x.dtype)
    count = of_brought("vfadd.f32", Expr.number(1), Expr.number(0), DType.F32)
    operands.append(builder.reshape(count, x.shape))

    def result(own: Expr, others: Expr, count: Expr) -> Expr:
        none = Expr.op("vfeq.f32", count, Expr.number(0))
        if include_self:
            others, count = f.add(own, others), f.add(count, Expr.number(1))
        if name == "mean":
            others = f.divide(others, count)
        return others if include_self else Expr.op("vsel", own, others, none)

    return builder.elementwise(result, *operands, dtype=x.dtype)


@lowering(aten.scatter.value, aten.scatter.src)
def scatter(builder: Builder, x: Value, dim: int, index: Value, source: Value | float) -> Value:
    """Lower elements replaced along a dimension, by the last of those that are brought to them."""
    moved = _Moved.of(builder, x, dim, index)
    last = builder.reduce(
        "vmax.i32",
        moved.met,
        [0],
        keepdim=False,
        dtype=DType.I32,
        before=lambda _: Expr.op("vsel", Expr.index(0), Expr.word(-1), moved.chosen),
    )
    number = builder.load(last)
    shape = moved.x.shape
    if isinstance(source, Value):
        source = moved.source(builder, source)
        indices = [Expr.index(n) for n in range(len(shape))]
        indices[moved.dim] = Expr.op("vmax.i32", number, Expr.word(0))
        new = Expr.gather(source.ref.tensor, place_of(source, indices))
    else:
        new = constant(source, x.dtype)
    none = Expr.op("vslt.i32", number, Expr.word(0))
    element = as_word(builder.load(moved.x))
    result = builder.compute(shape, x.dtype, Expr.op("vsel", element, new, none))
    return builder.reshape(result, x.shape)


@lowering(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(
    builder: Builder,
    x: Value,
    chosen: Sequence[Value | None],
    values: Value,
    accumulate: bool = False,
) -> Value:
    """Lower elements replaced at places that are given along some dimensions, or added to."""
    places, front, first = chosen_places(chosen)
    dims = list(places)
    # The dimensions with indices come first, also of the values.
    order = [*dims, *(n for n in range(len(x.shape)) if n not in places)]
    shape = [x.shape[n] for n in order[len(dims) :]]
    shape[first:first] = front
    in_front = [*range(first, first + len(front)), *range(first)]
    values = values.broadcast(shape).permute([*in_front, *range(len(in_front), len(shape))])
    x = x.permute(order)
    rest = x.shape[len(dims) :]
    count, lines, width = (math.prod(s) for s in (front, x.shape[: len(dims)], rest))

    def line(*indices: Expr) -> Expr:
        result: Expr = Expr.word(0)
        for index, size in zip(indices, x.shape, strict=False):
            scaled = Expr.op("vmul.i32", result, Expr.word(size))
            result = Expr.op("vadd.i32", scaled, wrapped(index, size))
        return result

    rows = builder.elementwise(
        line, *(v.broadcast(front) for v in places.values()), dtype=DType.I32
    )
    index = builder.reshape(rows, (count, 1)).broadcast((count, width))
    source = builder.reshape(values, (count, width))
    flat = builder.reshape(x, (lines, width))
    if accumulate:
        result = scatter_add(builder, flat, 0, index, source)
    else:
        result = scatter(builder, flat, 0, index, source)
    return builder.reshape(result, x.shape).permute(inverse(order))


@lowering(aten.diagonal_scatter.default)
def diagonal_scatter(
    builder: Builder, x: Value, source: Value, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Value:
    """Lower another diagonal."""
    rank = len(x.shape)
    dim1, dim2 = dim1 % rank, dim2 % rank
    row, column = Expr.index(dim1), Expr.index(dim2)
    is_one = Expr.op("vseq.i32", column, Expr.op("vadd.i32", row, Expr.word(offset)))
    number = Expr.op("vsub.i32", row, Expr.word(max(-offset, 0)))
    indices = [Expr.index(n) for n in range(rank) if n not in (dim1, dim2)]
    indices.append(bounded(number, source.shape[-1]))
    element = Expr.gather(source.ref.tensor, place_of(source, indices))
    return builder.compute(
        x.shape, x.dtype, Expr.op("vsel", element, as_word(builder.load(x)), is_one)
    )
