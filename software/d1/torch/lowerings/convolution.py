"""Convolutions as matrix products.

A line of the left operand is a window, a line of the right one a filter; what is summed over are
the elements of a window. The operand is arranged in tiles straight from the image, so no copy of it
is made in which elements are there several times.

The gradient of the image, and a transposed convolution, are convolutions of the results, taken
apart by the stride, with filters backwards. The gradient of the filters is a product that is summed
up over the windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import pointwise
from d1.torch.lowerings.registry import UnsupportedError, lowering
from d1.torch.lowerings.windows import Geometry, flattened, windows

aten = torch.ops.aten

_ZERO = Expr.word(0)


@lowering(aten.convolution.default)
def convolution(
    builder: Builder,
    x: Value,
    filters: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """Lower a convolution or a transposed one."""
    _check(x, filters)
    geometry = Geometry.of(filters.shape[2:], stride, padding, dilation)
    if transposed:
        sizes = [
            (size - 1) * geometry.stride[n] + geometry.reach(n) + 1 - 2 * geometry.padding[n] + more
            for n, (size, more) in enumerate(zip(x.shape[2:], output_padding, strict=True))
        ]
        result = _of_results(builder, x, filters, geometry, sizes, groups)
    else:
        outputs = geometry.outputs(x.shape[2:])
        image = geometry.bordered(builder, x, outputs, _ZERO)
        result = _convolved(
            builder, windows(image, outputs, geometry), _in_groups(filters, 0, groups)
        )
    if bias is None:
        return result
    return pointwise(builder, f.add, result, bias.broadcast_back(result.shape[1:]), of=DType.F32)


@lowering(aten.convolution_backward.default)
def convolution_backward(
    builder: Builder,
    gradient: Value,
    x: Value,
    filters: Value,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Value | None, Value | None, Value | None]:
    """Lower the gradients of the image, the filters and the bias."""
    _check(x, filters)
    geometry = Geometry.of(filters.shape[2:], stride, padding, dilation)
    of_image = of_filters = of_bias = None
    if wanted[0] and transposed:
        image = geometry.bordered(builder, gradient, x.shape[2:], _ZERO)
        of_image = _convolved(
            builder, windows(image, x.shape[2:], geometry), _in_groups(filters, 0, groups)
        )
    elif wanted[0]:
        of_image = _of_results(builder, gradient, filters, geometry, x.shape[2:], groups)
    if wanted[1]:
        image, results = (gradient, x) if transposed else (x, gradient)
        of_filters = _of_filters(builder, image, results, geometry, groups)
    if wanted[2]:
        dims = [n for n in range(len(gradient.shape)) if n != 1]
        of_bias = builder.reduce("vfadd.f32", gradient, dims, keepdim=False)
    return of_image, of_filters, of_bias


def _check(x: Value, filters: Value) -> None:
    if not x.dtype is filters.dtype is DType.F32:
        raise UnsupportedError(f"operands of types {x.dtype.value} and {filters.dtype.value}")
    if len(x.shape) != len(filters.shape):
        raise UnsupportedError(f"an image of shape {x.shape} without a batch")


def _in_groups(x: Value, dim: int, groups: int) -> Value:
    """Return a value with the groups of its channels as a dimension of their own, the first."""
    size = x.shape[dim] // groups
    stride = x.ref.strides[dim]
    rest = [n for n in range(len(x.shape)) if n != dim]
    strides = (stride * size, *(x.ref.strides[n] for n in rest[:dim]), stride)
    strides += tuple(x.ref.strides[n] for n in rest[dim:])
    shape = (groups, *(x.shape[n] for n in rest[:dim]), size, *(x.shape[n] for n in rest[dim:]))
    return Value(replace(x.ref, strides=strides), shape)


def _convolved(builder: Builder, met: Value, filters: Value) -> Value:
    """Return what filters make of what windows meet.

    Parameters
    ----------
    builder
        Where.
    met
        Batch, channels, windows, kernel.
    filters
        Groups, filters, channels of a group, kernel.

    """
    groups, rank = filters.shape[0], len(filters.shape) - 3
    batch, outputs = met.shape[0], met.shape[2 : 2 + rank]
    # Groups, batch, channels, windows, kernel.
    met = _in_groups(met, 1, groups)
    at_windows, at_kernel = range(3, 3 + rank), range(3 + rank, 3 + 2 * rank)
    left = flattened(builder, met, [0], [1, *at_windows], [2, *at_kernel])
    right = flattened(builder, filters, [0], [1], range(2, 3 + rank))
    lines, count = batch * math.prod(outputs), filters.shape[1]
    terms = math.prod(filters.shape[2:])
    product = builder.product((groups, lines, count), terms, left, right)
    split = builder.reshape(product, (groups, batch, *outputs, count))
    by_group = split.permute([1, 0, 2 + rank, *range(2, 2 + rank)])
    return builder.reshape(by_group, (batch, groups * count, *outputs))


def _of_results(
    builder: Builder,
    results: Value,
    filters: Value,
    geometry: Geometry,
    sizes: Sequence[int],
    groups: int,
) -> Value:
    """Return what results of filters add up to in an image of some sizes: the transpose."""
    met = geometry.windows_of_inputs(builder, results, sizes, _ZERO)
    rank = len(sizes)
    # The last element of the kernel first.
    inner = met.ref.strides[2 + rank :]
    last = sum(s * (size - 1) for s, size in zip(inner, geometry.kernel, strict=True))
    strides = (*met.ref.strides[: 2 + rank], *(-s for s in inner))
    backwards = Value(replace(met.ref, offset=met.ref.offset + last, strides=strides), met.shape)
    # Of each group, filters and channels change places.
    exchanged = _in_groups(filters, 0, groups).permute([0, 2, 1, *range(3, 3 + rank)])
    return _convolved(builder, backwards, exchanged)


def _of_filters(
    builder: Builder, image: Value, results: Value, geometry: Geometry, groups: int
) -> Value:
    """Return the gradient of filters, from an image and the gradient of what they made of it."""
    rank = len(geometry.kernel)
    outputs = results.shape[2:]
    bordered = geometry.bordered(builder, image, outputs, _ZERO)
    met = _in_groups(windows(bordered, outputs, geometry), 1, groups)
    split = _in_groups(results, 1, groups)
    left = flattened(builder, split, [0], [2], [1, *range(3, 3 + rank)])
    at_windows, at_kernel = range(3, 3 + rank), range(3 + rank, 3 + 2 * rank)
    right = flattened(builder, met, [0], [2, *at_kernel], [1, *at_windows])
    count, channels = split.shape[2], met.shape[2]
    shape = (groups, count, channels * math.prod(geometry.kernel))
    product = builder.product(shape, split.shape[1] * math.prod(outputs), left, right)
    return builder.reshape(product, (groups * count, channels, *geometry.kernel))
