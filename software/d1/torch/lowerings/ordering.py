"""Operators that compare the elements along a dimension with each other.

What has to do with order looks at every pair of elements, which is right for short dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from d1.compiler.builder import Builder, Value
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import Number, constant, converted, pointwise
from d1.torch.lowerings.registry import UnsupportedError, lowering
from d1.torch.types import DTYPES

aten = torch.ops.aten

_LARGE = Expr.word((1 << 31) - 1)


def _less(dtype: DType) -> str:
    return "vflt.f32" if dtype is DType.F32 else "vslt.i32"


def _equal(dtype: DType) -> str:
    return "vfeq.f32" if dtype is DType.F32 else "vseq.i32"


def _check(x: Value) -> None:
    if x.dtype is DType.BOOL:
        raise UnsupportedError(f"operand of type {x.dtype.value}")


def _extreme(builder: Builder, x: Value, dim: int, keepdim: bool, name: str) -> tuple[Value, Value]:
    """Return the extreme elements along a dimension, and the first places where they are."""
    if x.dtype is DType.BOOL:
        numbers = pointwise(builder, lambda e: e, x, of=DType.I32)
        values, places = _extreme(builder, numbers, dim, keepdim, name)
        return pointwise(builder, lambda e: e, values, of=DType.BOOL), places
    if not x.shape:
        return x, builder.compute((), DType.I32, Expr.word(0))
    dim %= len(x.shape)
    instruction = f"vf{name}.f32" if x.dtype is DType.F32 else f"v{name}.i32"
    values = builder.reduce(instruction, x, [dim], keepdim=True)
    other = builder.load(values, x.shape)

    def place(element: Expr) -> Expr:
        is_one = Expr.op(_equal(x.dtype), element, other)
        return Expr.op("vsel", Expr.index(dim), _LARGE, is_one)

    places = builder.reduce("vmin.i32", x, [dim], keepdim=True, dtype=DType.I32, before=place)
    if keepdim:
        return values, places
    shape = [size for n, size in enumerate(x.shape) if n != dim]
    return builder.reshape(values, shape), builder.reshape(places, shape)


def _extremes(name: str, whole: Any, along: Any, place: Any) -> None:
    @lowering(whole)
    def lower_whole(builder: Builder, x: Value) -> Value:
        flat = builder.reshape(x, (math.prod(x.shape),))
        return _extreme(builder, flat, 0, False, name)[0]

    @lowering(along)
    def lower_along(
        builder: Builder, x: Value, dim: int, keepdim: bool = False
    ) -> tuple[Value, Value]:
        return _extreme(builder, x, dim, keepdim, name)

    @lowering(place)
    def lower_place(
        builder: Builder, x: Value, dim: int | None = None, keepdim: bool = False
    ) -> Value:
        if dim is not None:
            return _extreme(builder, x, dim, keepdim, name)[1]
        _, found = _extreme(builder, builder.reshape(x, (math.prod(x.shape),)), 0, False, name)
        return builder.reshape(found, (1,) * len(x.shape)) if keepdim else found


_extremes("max", aten.max.default, aten.max.dim, aten.argmax.default)
_extremes("min", aten.min.default, aten.min.dim, aten.argmin.default)


def _against(x: Value, dim: int) -> Value:
    """Return the elements along a dimension for each of those along it: one dimension more."""
    strides = list(x.ref.strides)
    stride, strides[dim] = strides[dim], 0
    return Value(replace(x.ref, strides=(stride, *strides)), (x.shape[dim], *x.shape))


def _cumulative(target: Any, operations: Mapping[DType, str], neutral: Number) -> None:
    @lowering(target)
    def lower(builder: Builder, x: Value, dim: int, *, dtype: torch.dtype | None = None) -> Value:
        of = DTYPES[dtype] if dtype else DType.F32 if x.dtype is DType.F32 else DType.I32
        if of not in operations:
            raise UnsupportedError(f"a result of type {of.value}")
        if not x.shape:
            return builder.compute((), of, converted(builder.load(x), x.dtype, of))
        dim %= len(x.shape)

        def up_to(element: Expr) -> Expr:
            behind = Expr.op("vslt.i32", Expr.index(dim + 1), Expr.index(0))
            given = converted(element, x.dtype, of)
            return Expr.op("vsel", constant(neutral, of), given, behind)

        each = _against(x, dim)
        return builder.reduce(operations[of], each, [0], keepdim=False, dtype=of, before=up_to)


_cumulative(aten.cumsum.default, {DType.F32: "vfadd.f32", DType.I32: "vadd.i32"}, 0)
_cumulative(aten.cumprod.default, {DType.F32: "vfmul.f32", DType.I32: "vmul.i32"}, 1)


@lowering(aten.sort.default, aten.sort.stable)
def sort(
    builder: Builder,
    x: Value,
    dim: int = -1,
    descending: bool = False,
    *,
    stable: bool | None = None,
) -> tuple[Value, Value]:
    """Lower elements in order and where they were: to each its rank, to each rank its element."""
    _check(x)
    if not x.shape:
        return x, builder.compute((), DType.I32, Expr.word(0))
    dim %= len(x.shape)
    others = _against(x, dim)
    own = builder.load(x.broadcast(others.shape))

    def is_before(element: Expr) -> Expr:
        pair = (own, element) if descending else (element, own)
        equal = Expr.op(_equal(x.dtype), element, own)
        earlier = Expr.op("vslt.i32", Expr.index(0), Expr.index(dim + 1))
        before = Expr.op("mor", Expr.op(_less(x.dtype), *pair), Expr.op("mand", equal, earlier))
        return Expr.op("vsel", Expr.word(1), Expr.word(0), before)

    ranks = builder.reduce(
        "vadd.i32", others, [0], keepdim=False, dtype=DType.I32, before=is_before
    )
    rank = builder.load(_against(ranks, dim))
    is_here = Expr.op("vseq.i32", rank, Expr.index(dim + 1))

    def found(instruction: str, dtype: DType, what: Expr) -> Value:
        return builder.reduce(
            instruction,
            others,
            [0],
            keepdim=False,
            dtype=dtype,
            before=lambda _: Expr.op("vsel", what, Expr.word(0), is_here),
        )

    add = "vfadd.f32" if x.dtype is DType.F32 else "vadd.i32"
    values = found(add, x.dtype, builder.load(others))
    return values, found("vadd.i32", DType.I32, Expr.index(0))


@lowering(aten.topk.default)
def topk(
    builder: Builder,
    x: Value,
    count: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
) -> tuple[Value, Value]:
    """Lower the first so many elements in order."""
    values, places = sort(builder, x, dim, largest)
    if not x.shape:
        return values, places
    dim %= len(x.shape)
    return values.slice(dim, 0, count), places.slice(dim, 0, count)
