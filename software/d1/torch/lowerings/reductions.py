"""Operators that combine elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value, as_word
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import converted
from d1.torch.lowerings.registry import UnsupportedError, lowering
from d1.torch.types import DTYPES

aten = torch.ops.aten


def _dims(x: Value, dim: Sequence[int] | int | None) -> list[int]:
    if isinstance(dim, int):
        dim = [dim]
    return sorted({d % len(x.shape) for d in dim}) if dim else list(range(len(x.shape)))


def _with_dims(
    builder: Builder, x: Value, dim: Sequence[int] | int | None, keepdim: bool
) -> tuple[Value, list[int], bool]:
    """Return what is reduced; a number becomes a row of one, whose result has no dimension."""
    if not x.shape:
        return builder.reshape(x, (1,)), [0], False
    return x, _dims(x, dim), keepdim


@lowering(aten.sum.dim_IntList, aten.sum.default)
def total(
    builder: Builder,
    x: Value,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Value:
    """Lower a sum."""
    if dtype is not None and dtype not in DTYPES:
        raise UnsupportedError(f"a sum of type {dtype}")
    real = x.dtype is DType.F32 or dtype in (torch.float32, torch.bfloat16)
    x, dims, keepdim = _with_dims(builder, x, dim, keepdim)
    return builder.reduce(
        "vfadd.f32" if real else "vadd.i32",
        x,
        dims,
        keepdim=keepdim,
        dtype=DType.F32 if real else DType.I32,
        before=lambda e: converted(e, x.dtype, DType.F32 if real else DType.I32),
    )


@lowering(aten.mean.dim, aten.mean.default)
def mean(
    builder: Builder,
    x: Value,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Value:
    """Lower a mean."""
    x, dims, keepdim = _with_dims(builder, x, dim, keepdim)
    count = math.prod(x.shape[d] for d in dims)
    return builder.reduce(
        "vfadd.f32",
        x,
        dims,
        keepdim=keepdim,
        dtype=DType.F32,
        before=lambda e: converted(e, x.dtype, DType.F32),
        behind=lambda e: f.multiply(e, Expr.number(1 / count)),
    )


@lowering(aten.prod.default)
def whole_product(builder: Builder, x: Value, *, dtype: torch.dtype | None = None) -> Value:
    """Lower the product of all elements."""
    return product(builder, builder.reshape(x, (math.prod(x.shape),)), 0, dtype=dtype)


@lowering(aten.prod.dim_int)
def product(
    builder: Builder,
    x: Value,
    dim: int,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Value:
    """Lower a product: nothing multiplies the lanes of a vector, so each row is in a lane."""
    x, dims, keepdim = _with_dims(builder, x, dim, keepdim)
    of = DType.F32 if x.dtype is DType.F32 or dtype is torch.float32 else DType.I32
    in_lanes = Value(replace(x.ref, strides=(*x.ref.strides, 0)), (*x.shape, 1))
    result = builder.reduce(
        "vfmul.f32" if of is DType.F32 else "vmul.i32",
        in_lanes,
        dims,
        keepdim=keepdim,
        dtype=of,
        before=lambda e: converted(e, x.dtype, of),
    )
    return builder.reshape(result, result.shape[:-1])


def _extreme(target: Any, real: str, integer: str) -> Callable[..., Value]:
    @lowering(target)
    def lower(builder: Builder, x: Value, dim: Sequence[int] = (), keepdim: bool = False) -> Value:
        x, dims, keepdim = _with_dims(builder, x, dim, keepdim)
        instruction = real if x.dtype is DType.F32 else integer
        return builder.reduce(instruction, x, dims, keepdim=keepdim)

    return lower


_extreme(aten.amax.default, "vfmax.f32", "vmax.i32")
_extreme(aten.amin.default, "vfmin.f32", "vmin.i32")


def _logical(targets: tuple[Any, ...], instruction: str) -> None:
    @lowering(*targets)
    def lower(
        builder: Builder, x: Value, dim: Sequence[int] | int | None = None, keepdim: bool = False
    ) -> Value:
        x, dims, keepdim = _with_dims(builder, x, dim, keepdim)
        return builder.reduce(
            instruction,
            x,
            dims,
            keepdim=keepdim,
            dtype=DType.BOOL,
            before=lambda e: as_word(converted(e, x.dtype, DType.BOOL)),
        )


_logical((aten.any.default, aten.any.dim, aten.any.dims), "vmax.i32")
_logical((aten.all.default, aten.all.dim, aten.all.dims), "vmin.i32")


@lowering(aten.var_mean.correction)
def var_mean(
    builder: Builder,
    x: Value,
    dim: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Value, Value]:
    """Lower variance and mean."""
    x, dims, keepdim = _with_dims(builder, x, dim, keepdim)
    shape = [1 if n in dims else size for n, size in enumerate(x.shape)]
    middle = mean(builder, x, dims, True)
    variance = _variance(builder, x, middle, dims, correction)
    kept = [size for n, size in enumerate(shape) if keepdim or n not in dims]
    return builder.reshape(variance, kept), builder.reshape(middle, kept)


@lowering(aten.var.correction)
def var(
    builder: Builder,
    x: Value,
    dim: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Value:
    """Lower the variance."""
    variance, _ = var_mean(builder, x, dim, correction=correction, keepdim=keepdim)
    return variance


def _variance(
    builder: Builder, x: Value, middle: Value, dims: Sequence[int], correction: float | None
) -> Value:
    """Return the sum of squares of distances from the mean, divided."""
    count = math.prod(x.shape[d] for d in dims)
    freedom = count - (1 if correction is None else correction)
    factor = Expr.number(1 / freedom if freedom > 0 else math.nan)
    mean_of = builder.load(middle, x.shape)

    def square(element: Expr) -> Expr:
        distance = f.subtract(element, mean_of)
        return f.multiply(distance, distance)

    return builder.reduce(
        "vfadd.f32",
        x,
        dims,
        keepdim=True,
        before=square,
        behind=lambda e: f.multiply(e, factor),
    )
