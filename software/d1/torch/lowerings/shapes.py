"""Operators that move no elements, or nothing else."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from d1.compiler.builder import Builder, Value, as_word
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import constant
from d1.torch.lowerings.registry import UnsupportedError, lowering
from d1.torch.types import DTYPES

aten = torch.ops.aten


@lowering(
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    is_view=True,
)
def reshape(builder: Builder, x: Value, shape: Sequence[int]) -> Value:
    """Lower another shape."""
    count, sizes = math.prod(x.shape), list(shape)
    if -1 in sizes:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = count // known
    return builder.reshape(x, sizes)


@lowering(aten.permute.default, is_view=True)
def permute(builder: Builder, x: Value, dims: Sequence[int]) -> Value:
    """Lower another order of dimensions."""
    return x.permute([d % len(x.shape) for d in dims])


@lowering(aten.t.default, is_view=True)
def transpose(builder: Builder, x: Value) -> Value:
    """Lower a transpose."""
    return x.permute(range(len(x.shape))[::-1])


@lowering(aten.transpose.int, is_view=True)
def exchange(builder: Builder, x: Value, a: int, b: int) -> Value:
    """Lower the exchange of two dimensions."""
    if not x.shape:
        return x
    order = list(range(len(x.shape)))
    order[a], order[b] = order[b], order[a]
    return x.permute(order)


@lowering(aten.expand.default, is_view=True)
def expand(builder: Builder, x: Value, shape: Sequence[int], **_: object) -> Value:
    """Lower repeated elements."""
    missing = len(shape) - len(x.shape)
    sizes = [x.shape[n - missing] if size == -1 else size for n, size in enumerate(shape)]
    return x.broadcast(sizes)


@lowering(aten.unsqueeze.default, is_view=True)
def unsqueeze(builder: Builder, x: Value, dim: int) -> Value:
    """Lower a new dimension of size 1."""
    shape = list(x.shape)
    shape.insert(dim % (len(shape) + 1), 1)
    return builder.reshape(x, shape)


@lowering(aten.squeeze.dim, aten.squeeze.dims, is_view=True)
def squeeze(builder: Builder, x: Value, dim: int | Sequence[int]) -> Value:
    """Lower the removal of dimensions of size 1."""
    dims = [dim] if isinstance(dim, int) else dim
    gone = {d % max(len(x.shape), 1) for d in dims}
    shape = [s for n, s in enumerate(x.shape) if n not in gone or s != 1]
    return builder.reshape(x, shape)


@lowering(aten.slice.Tensor, is_view=True)
def slice_(
    builder: Builder,
    x: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    """Lower a range of indices."""
    dim %= len(x.shape)
    chosen = range(x.shape[dim])[start:end:step]
    return x.slice(dim, chosen.start, len(chosen), step)


@lowering(aten.select.int, is_view=True)
def select(builder: Builder, x: Value, dim: int, index: int) -> Value:
    """Lower one index."""
    dim %= len(x.shape)
    one = x.slice(dim, index % x.shape[dim], 1)
    shape = [s for n, s in enumerate(x.shape) if n != dim]
    viewed = one.reshape(shape)
    assert viewed is not None
    return viewed


@lowering(aten.diagonal.default, is_view=True)
def diagonal(builder: Builder, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """Lower the elements of a diagonal, as the last dimension."""
    rank = len(x.shape)
    dim1, dim2 = dim1 % rank, dim2 % rank
    x = x.slice(dim1, max(-offset, 0), x.shape[dim1] - max(-offset, 0))
    x = x.slice(dim2, max(offset, 0), x.shape[dim2] - max(offset, 0))
    others = [n for n in range(rank) if n not in (dim1, dim2)]
    strides = x.ref.strides
    ref = replace(x.ref, strides=(*(strides[n] for n in others), strides[dim1] + strides[dim2]))
    return Value(ref, (*(x.shape[n] for n in others), min(x.shape[dim1], x.shape[dim2])))


@lowering(aten.unfold.default, is_view=True)
def unfold(builder: Builder, x: Value, dim: int, size: int, step: int) -> Value:
    """Lower windows along a dimension."""
    if not x.shape:
        return builder.reshape(x, (size,))
    dim %= len(x.shape)
    strides, shape = list(x.ref.strides), list(x.shape)
    stride, strides[dim] = strides[dim], strides[dim] * step
    shape[dim] = (shape[dim] - size) // step + 1
    return Value(replace(x.ref, strides=(*strides, stride)), (*shape, size))


def _fill(
    builder: Builder, shape: Sequence[int], value: float | int | bool, dtype: torch.dtype | None
) -> Value:
    if dtype is None:
        dtype = torch.float32 if isinstance(value, float) else torch.int64
    if dtype not in DTYPES:
        raise UnsupportedError(f"type {dtype}")
    word = constant(value, DTYPES[dtype])
    return builder.compute(shape, DTYPES[dtype], word)


@lowering(aten.full.default)
def full(
    builder: Builder,
    shape: Sequence[int],
    value: float | int | bool,
    *,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """Lower one number everywhere."""
    return _fill(builder, shape, value, dtype)


@lowering(aten.new_full.default)
def new_full(
    builder: Builder,
    like: Value,
    shape: Sequence[int],
    value: float | int | bool,
    *,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """Lower one number everywhere."""
    if dtype is not None:
        return _fill(builder, shape, value, dtype)
    return builder.compute(shape, like.dtype, constant(value, like.dtype))


@lowering(aten.new_zeros.default)
def new_zeros(builder: Builder, like: Value, shape: Sequence[int], **options: Any) -> Value:
    """Lower zeros everywhere."""
    return new_full(builder, like, shape, 0, **options)


@lowering(aten.new_ones.default)
def new_ones(builder: Builder, like: Value, shape: Sequence[int], **options: Any) -> Value:
    """Lower ones everywhere."""
    return new_full(builder, like, shape, 1, **options)


@lowering(aten.scalar_tensor.default)
def scalar_tensor(
    builder: Builder,
    value: float | int | bool,
    *,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """Lower a number."""
    return _fill(builder, (), value, dtype)


@lowering(aten.arange.start_step, aten.arange.start, aten.arange.default)
def arange(
    builder: Builder,
    *bounds: float,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """Lower numbers at equal distances, counted from the first."""
    bounds = (0, *bounds) if len(bounds) == 1 else bounds
    start, stop, step = bounds if len(bounds) == 3 else (*bounds, 1)
    real = dtype in (torch.float32, torch.bfloat16) if dtype else not all_whole(bounds)
    if (dtype is not None and dtype not in DTYPES) or (not real and not all_whole(bounds)):
        raise UnsupportedError(f"bounds {bounds} of type {dtype}")
    count = math.ceil((stop - start) / step)
    number = Expr.index(0)
    if real:
        number = Expr.op("vcvt.f32.i32", number)
        value = Expr.op("vfmadd.f32", number, Expr.number(step), Expr.number(start))
        return builder.compute((count,), DType.F32, value)
    scaled = Expr.op("vmul.i32", number, Expr.word(int(step)))
    return builder.compute((count,), DType.I32, Expr.op("vadd.i32", scaled, Expr.word(int(start))))


def all_whole(numbers: Sequence[float]) -> bool:
    """Return whether all numbers are integers."""
    return all(isinstance(number, int) for number in numbers)


@lowering(operator.getitem)
def item(builder: Builder, results: Sequence[Value], number: int) -> Value:
    """Lower one of several results."""
    return results[number]


@lowering(aten.split_with_sizes.default)
def split_with_sizes(
    builder: Builder, x: Value, sizes: Sequence[int], dim: int = 0
) -> tuple[Value, ...]:
    """Lower parts along a dimension."""
    dim %= len(x.shape)
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return tuple(x.slice(dim, start, size) for start, size in zip(starts, sizes, strict=True))


@lowering(aten.split.Tensor)
def split(builder: Builder, x: Value, size: int, dim: int = 0) -> tuple[Value, ...]:
    """Lower equal parts along a dimension."""
    total = x.shape[dim]
    sizes = [min(size, total - start) for start in range(0, total, size)]
    return split_with_sizes(builder, x, sizes, dim)


@lowering(aten.ones.default, aten.ones_like.default)
def ones(
    builder: Builder,
    like: Value | Sequence[int],
    *,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """Lower ones everywhere."""
    return _filled_like(builder, like, 1, dtype)


@lowering(
    aten.zeros.default,
    aten.zeros_like.default,
    aten._efficientzerotensor.default,
    aten.empty.memory_format,
    aten.empty_like.default,
)
def zeros(
    builder: Builder,
    like: Value | Sequence[int],
    *,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """Lower zeros everywhere, also where nobody cares what is there."""
    return _filled_like(builder, like, 0, dtype)


@lowering(aten.full_like.default)
def full_like(
    builder: Builder,
    like: Value,
    value: float | int | bool,
    *,
    dtype: torch.dtype | None = None,
    **_: object,
) -> Value:
    """Lower one number everywhere."""
    return _filled_like(builder, like, value, dtype)


def _filled_like(
    builder: Builder,
    like: Value | Sequence[int],
    value: float | int | bool,
    dtype: torch.dtype | None,
) -> Value:
    if not isinstance(like, Value):
        return _fill(builder, like, value, dtype or torch.float32)
    if dtype is not None:
        return _fill(builder, like.shape, value, dtype)
    return builder.compute(like.shape, like.dtype, constant(value, like.dtype))


def _triangle(target: object, *, upper: bool) -> None:
    @lowering(target)
    def lower(builder: Builder, x: Value, diagonal: int = 0) -> Value:
        rank = len(x.shape)
        row = Expr.op("vadd.i32", Expr.index(rank - 2), Expr.word(diagonal))
        column = Expr.index(rank - 1)
        outside = (column, row) if upper else (row, column)
        element = as_word(builder.load(x))
        kept = Expr.op("vsel", Expr.word(0), element, Expr.op("vslt.i32", *outside))
        return builder.compute(x.shape, x.dtype, kept)


_triangle(aten.triu.default, upper=True)
_triangle(aten.tril.default, upper=False)
