"""Pooling: reductions over the windows of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value
from d1.compiler.expressions import Expr, Ref
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import pointwise
from d1.torch.lowerings.registry import UnsupportedError, lowering
from d1.torch.lowerings.windows import Geometry, windows

aten = torch.ops.aten

_ZERO = Expr.word(0)
_LARGE = (1 << 31) - 1


def _of_window(
    builder: Builder, instruction: str, met: Value, rank: int, dtype: DType, element: Expr
) -> Value:
    """Return an expression of what windows meet, combined along the kernel."""
    # The kernel first: what is side by side in memory are windows, or channels.
    count = len(met.shape) - rank
    order = [*range(count, count + rank), *range(count)]

    def kernel_first(ref: Ref) -> Ref:
        return replace(ref, strides=tuple(ref.strides[n] for n in order))

    return builder.reduce(
        instruction,
        met.permute(order),
        range(rank),
        keepdim=False,
        dtype=dtype,
        before=lambda _: element.map_refs(kernel_first),
    )


def _added_up(builder: Builder, met: Value, rank: int) -> Value:
    return _of_window(builder, "vfadd.f32", met, rank, DType.F32, builder.load(met))


def _check(x: Value) -> None:
    if x.dtype is not DType.F32:
        raise UnsupportedError(f"operand of type {x.dtype.value}")


# The greatest.


@lowering(aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default)
def greatest(
    builder: Builder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil: bool = False,
) -> tuple[Value, Value]:
    """Lower the greatest element of each window and its number in the image, the first of equal."""
    _check(x)
    geometry = Geometry.of(kernel, stride, padding, dilation)
    rank = len(kernel)
    sizes = x.shape[-rank:]
    outputs = geometry.outputs(sizes, ceil=ceil)
    bordered = geometry.bordered(builder, x, outputs, Expr.number(-math.inf))
    met = windows(bordered, outputs, geometry)
    values = _of_window(builder, "vfmax.f32", met, rank, DType.F32, builder.load(met))
    # Numbers of elements; what is no element has one that is never the least.
    extents = geometry.extents(outputs)
    before = geometry.padding
    numbers = np.full(np.maximum(extents, np.add(sizes, before)), _LARGE)
    inside = tuple(slice(p, p + size) for p, size in zip(before, sizes, strict=True))
    numbers[inside] = np.arange(math.prod(sizes)).reshape(sizes)
    numbers = numbers[tuple(slice(extent) for extent in extents)]
    number_of = windows(builder.constant(numbers), outputs, geometry)
    chosen = Expr.op(
        "vsel",
        builder.load(number_of, met.shape),
        Expr.word(_LARGE),
        Expr.op("vfeq.f32", builder.load(met), builder.load(values.broadcast_back(met.shape))),
    )
    return values, _of_window(builder, "vmin.i32", met, rank, DType.I32, chosen)


@lowering(
    aten.max_pool2d_with_indices_backward.default, aten.max_pool3d_with_indices_backward.default
)
def greatest_backward(
    builder: Builder,
    gradient: Value,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil: bool,
    numbers: Value,
) -> Value:
    """Lower what each element gets from the windows in which it is the greatest."""
    geometry = Geometry.of(kernel, stride, padding, dilation)
    rank = len(kernel)
    sizes = x.shape[-rank:]
    met = geometry.windows_of_inputs(builder, gradient, sizes, _ZERO)
    chosen = geometry.windows_of_inputs(builder, numbers, sizes, Expr.word(-1))
    own = builder.constant(np.arange(math.prod(sizes)).reshape(sizes)).broadcast_back(
        met.shape[-2 * rank :]
    )
    is_own = Expr.op("vseq.i32", builder.load(chosen), builder.load(own, met.shape))
    taken = Expr.op("vsel", builder.load(met), _ZERO, is_own)
    return _of_window(builder, "vfadd.f32", met, rank, DType.F32, taken)


# The mean.


def _parts(
    sizes: Sequence[int], outputs: Sequence[int], geometry: Geometry, include_border: bool
) -> NDArray[np.float64]:
    """Return of each window the reciprocal of how many elements its sum is divided by."""
    counts = np.ones(())
    for n, size in enumerate(sizes):
        start = np.arange(outputs[n]) * geometry.stride[n] - geometry.padding[n]
        stop = np.minimum(start + geometry.kernel[n], size + geometry.padding[n])
        if not include_border:
            start, stop = np.maximum(start, 0), np.minimum(stop, size)
        counts = np.multiply.outer(counts, stop - start)
    return 1 / counts


def _scaled(builder: Builder, x: Value, parts: NDArray[np.float64]) -> Value:
    """Return an image times constants, as one number if they are equal."""
    if np.all(parts == parts.flat[0]):
        factor = Expr.number(float(parts.flat[0]))
        return pointwise(builder, lambda e: f.multiply(e, factor), x, of=DType.F32)
    words = builder.constant(parts)
    return builder.elementwise(f.multiply, x, words, dtype=DType.F32)


@lowering(aten.avg_pool2d.default, aten.avg_pool3d.default)
def mean(
    builder: Builder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil: bool = False,
    include_border: bool = True,
    divisor: int | None = None,
) -> Value:
    """Lower the mean of each window."""
    _check(x)
    geometry = Geometry.of(kernel, stride, padding, (1,))
    rank = len(kernel)
    sizes = x.shape[-rank:]
    outputs = geometry.outputs(sizes, ceil=ceil)
    met = windows(geometry.bordered(builder, x, outputs, _ZERO), outputs, geometry)
    parts = _parts(sizes, outputs, geometry, include_border)
    if divisor:
        parts = np.full_like(parts, 1 / divisor)
    return _scaled(builder, _added_up(builder, met, rank), parts)


@lowering(aten.avg_pool2d_backward.default, aten.avg_pool3d_backward.default)
def mean_backward(
    builder: Builder,
    gradient: Value,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil: bool,
    include_border: bool,
    divisor: int | None,
) -> Value:
    """Lower what each element gets from the windows that it is in."""
    geometry = Geometry.of(kernel, stride, padding, (1,))
    rank = len(kernel)
    sizes, outputs = x.shape[-rank:], gradient.shape[-rank:]
    parts = _parts(sizes, outputs, geometry, include_border)
    if divisor:
        parts = np.full_like(parts, 1 / divisor)
    part = _scaled(builder, gradient, parts)
    return _added_up(builder, geometry.windows_of_inputs(builder, part, sizes, _ZERO), rank)


# Means over windows of different sizes.


def _weighted_sums(builder: Builder, x: Value, weights: Sequence[NDArray[np.float64]]) -> Value:
    """Return what matrices, one for each of the last dimensions, make of an image.

    Each result adds up the elements from its first weight that is not 0 to its last; for all as
    many elements are looked at.

    Parameters
    ----------
    builder
        Where.
    x
        The image.
    weights
        Results by elements.

    """
    rank = len(weights)
    lead = x.shape[:-rank]
    outputs = tuple(len(w) for w in weights)
    firsts = [(w != 0).argmax(1) for w in weights]
    most = tuple(int((w != 0).sum(1).max()) for w in weights)
    shape = (*most, *lead, *outputs)

    def table(words: NDArray[Any], *dims: int) -> Expr:
        """Return constants that depend on some dimensions."""
        ref = builder.constant(words).ref
        strides = dict(zip(dims, ref.strides, strict=True))
        return Expr.load(replace(ref, strides=tuple(strides.get(n, 0) for n in range(len(shape)))))

    place, factor = Expr.word(x.ref.offset), Expr.number(1.0)
    for n, stride in enumerate(x.ref.strides[: len(lead)]):
        place = Expr.op("vadd.i32", place, table(np.arange(lead[n]) * stride, rank + n))
    for n, w in enumerate(weights):
        indices = np.minimum(firsts[n] + np.arange(most[n])[:, None], w.shape[1] - 1)
        part = np.where(
            np.arange(most[n])[:, None] < (w != 0).sum(1), w[np.arange(len(w)), indices], 0
        )
        dims = n, rank + len(lead) + n
        place = Expr.op("vadd.i32", place, table(indices * x.ref.strides[len(lead) + n], *dims))
        factor = f.multiply(factor, table(part, *dims))
    met = Value(replace(x.ref, strides=(0,) * len(shape)), shape)
    element = f.multiply(Expr.gather(x.ref.tensor, place), factor)
    return builder.reduce(
        "vfadd.f32", met, range(rank), keepdim=False, dtype=DType.F32, before=lambda _: element
    )


def _shares(size: int, count: int) -> NDArray[np.float64]:
    """Return which part of each of some elements goes into each of some means."""
    edges = np.arange(count + 1) * size
    starts, stops = edges[:-1] // count, -(-edges[1:] // count)
    places = np.arange(size)
    inside = (places >= starts[:, None]) & (places < stops[:, None])
    return inside / inside.sum(1, keepdims=True)


@lowering(aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default)
def adaptive_mean(builder: Builder, x: Value, outputs: Sequence[int]) -> Value:
    """Lower means over windows that divide an image as well as they can."""
    sizes = x.shape[-len(outputs) :]
    kernel = _dividing(sizes, outputs)
    if kernel:
        return mean(builder, x, kernel)
    weights = [_shares(size, count) for size, count in zip(sizes, outputs, strict=True)]
    return _weighted_sums(builder, x, weights)


def _adaptive_mean_backward(target: Any, rank: int) -> None:
    """Lower the gradient of such means."""

    @lowering(target)
    def lower(builder: Builder, gradient: Value, x: Value) -> Value:
        sizes, outputs = x.shape[-rank:], gradient.shape[-rank:]
        kernel = _dividing(sizes, outputs)
        if kernel:
            return mean_backward(builder, gradient, x, kernel, kernel, (0,), False, True, None)
        weights = [_shares(size, count).T for size, count in zip(sizes, outputs, strict=True)]
        return _weighted_sums(builder, gradient, weights)


_adaptive_mean_backward(aten._adaptive_avg_pool2d_backward.default, 2)
_adaptive_mean_backward(aten._adaptive_avg_pool3d_backward.default, 3)


def _dividing(sizes: Sequence[int], outputs: Sequence[int]) -> tuple[int, ...]:
    """Return the window that divides an image, nothing if there are several."""
    if any(size % count for size, count in zip(sizes, outputs, strict=True)):
        return ()
    return tuple(size // count for size, count in zip(sizes, outputs, strict=True))
