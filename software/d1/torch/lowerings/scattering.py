"""Operators that bring elements to places that other elements tell.

Every place looks at every element that may come to it, which is right for small tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from d1.compiler.builder import Builder, Value, as_word
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import constant
from d1.torch.lowerings.indexing import bounded, place_of, wrapped
from d1.torch.lowerings.registry import UnsupportedError, lowering

aten = torch.ops.aten


@lowering(aten.scatter_add.default)
def scatter_add(builder: Builder, x: Value, dim: int, index: Value, source: Value) -> Value:
    """Lower the sum of an element and of those that are brought to it."""
    chosen, moved = _scattered(builder, x, dim, index)
    dim %= len(x.shape)
    given = source
    for n, size in enumerate(index.shape):
        given = given.slice(n, 0, size)
    real = x.dtype is DType.F32
    add = "vfadd.f32" if real else "vadd.i32"
    element = builder.load(_brought(given, dim, x.shape[dim]))
    total = builder.reduce(
        add,
        moved,
        [0],
        keepdim=False,
        dtype=x.dtype,
        before=lambda _: Expr.op("vsel", element, Expr.word(0), chosen),
    )
    return builder.elementwise(lambda a, b: Expr.op(add, a, b), x, total, dtype=x.dtype)


def _brought(x: Value, dim: int, size: int) -> Value:
    """Return the elements along a dimension for each of others: as `_against`."""
    strides, shape = list(x.ref.strides), list(x.shape)
    stride, strides[dim], shape[dim] = strides[dim], 0, size
    return Value(replace(x.ref, strides=(stride, *strides)), (x.shape[dim], *shape))


def _scattered(builder: Builder, x: Value, dim: int, index: Value) -> tuple[Expr, Value]:
    """Return which indices are those of an element, for a domain with them in front, and that."""
    rank = len(x.shape)
    if not rank:
        raise UnsupportedError("a tensor without dimensions")
    dim %= rank
    if any(index.shape[n] != x.shape[n] for n in range(rank) if n != dim):
        raise UnsupportedError(f"indices of shape {index.shape} into {x.shape}")
    moved = _brought(index, dim, x.shape[dim])
    return Expr.op("vseq.i32", builder.load(moved), Expr.index(dim + 1)), moved


@lowering(aten.scatter.value, aten.scatter.src)
def scatter(builder: Builder, x: Value, dim: int, index: Value, source: Value | float) -> Value:
    """Lower elements replaced along a dimension, by the last of those that are brought to them."""
    chosen, moved = _scattered(builder, x, dim, index)
    dim %= len(x.shape)
    last = builder.reduce(
        "vmax.i32",
        moved,
        [0],
        keepdim=False,
        dtype=DType.I32,
        before=lambda _: Expr.op("vsel", Expr.index(0), Expr.word(-1), chosen),
    )
    number = builder.load(last)
    if isinstance(source, Value):
        indices = [
            Expr.op("vmax.i32", number, Expr.word(0)) if n == dim else Expr.index(n)
            for n in range(len(x.shape))
        ]
        new = Expr.gather(source.ref.tensor, place_of(source, indices))
    else:
        new = constant(source, x.dtype)
    none = Expr.op("vslt.i32", number, Expr.word(0))
    return builder.compute(x.shape, x.dtype, Expr.op("vsel", as_word(builder.load(x)), new, none))


@lowering(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(
    builder: Builder,
    x: Value,
    chosen: Sequence[Value | None],
    values: Value,
    accumulate: bool = False,
) -> Value:
    """Lower elements replaced at places that are given along the first dimensions, or added to."""
    given = [index for index in chosen if index is not None]
    if len(given) != len(chosen) or any(v.dtype is not DType.I32 for v in given):
        raise UnsupportedError("indices that are not integers along the first dimensions")
    front = torch.broadcast_shapes(*(index.shape for index in given))
    rest = x.shape[len(given) :]
    count, lines, width = (math.prod(s) for s in (front, x.shape[: len(given)], rest))

    def line(*indices: Expr) -> Expr:
        result: Expr = Expr.word(0)
        for index, size in zip(indices, x.shape, strict=False):
            scaled = Expr.op("vmul.i32", result, Expr.word(size))
            result = Expr.op("vadd.i32", scaled, wrapped(index, size))
        return result

    rows = builder.elementwise(line, *(v.broadcast(front) for v in given), dtype=DType.I32)
    index = builder.reshape(rows, (count, 1)).broadcast((count, width))
    source = builder.reshape(values.broadcast((*front, *rest)), (count, width))
    flat = builder.reshape(x, (lines, width))
    if accumulate:
        result = scatter_add(builder, flat, 0, index, source)
    else:
        result = scatter(builder, flat, 0, index, source)
    return builder.reshape(result, x.shape)


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
