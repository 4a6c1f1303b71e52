"""Random numbers, made on the node.

The host draws a key of two words for each run of a graph from PyTorch's generator, so that
`torch.manual_seed` decides. The counter is the number of the element and that of the operator in
the graph. A mask of dropout is kept for the backward graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value, inverse
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.compiler.random_numbers import FRACTION_BITS, fraction_bits, normal, threefry, uniform
from d1.torch.lowerings.elementwise import converted, negated
from d1.torch.lowerings.registry import UnsupportedError, lowering

aten = torch.ops.aten


def _random(
    builder: Builder,
    shape: Sequence[int],
    dtype: DType,
    function: Callable[..., Expr],
    *operands: Value,
) -> Value:
    """Return a function of two random words for each element, and of operands of that shape."""
    order = operands[0].memory_order() if operands else tuple(range(len(shape)))
    sizes = [shape[n] for n in order]
    element: Expr = Expr.word(0)
    for at, n in enumerate(order):
        stride = Expr.word(math.prod(shape[n + 1 :]))
        element = Expr.op("vadd.i32", element, Expr.op("vmul.i32", Expr.index(at), stride))
    seed, number = builder.random_key()
    key = [
        Expr.load(replace(seed.ref, offset=n, strides=(0,) * max(1, len(shape)))) for n in (0, 1)
    ]
    words = threefry((key[0], key[1]), (element, Expr.word(number)))
    loaded = [builder.load(operand.permute(order), sizes) for operand in operands]
    return builder.compute(sizes, dtype, function(*words, *loaded)).permute(inverse(order))


def _at_least(word: Expr, part: float) -> Expr:
    """Return whether the random fraction is at least so much."""
    least = Expr.word(math.ceil(part * 2**FRACTION_BITS) - 1)
    return Expr.op("vslt.i32", least, fraction_bits(word))


@lowering(aten.native_dropout.default)
def dropout(
    builder: Builder, x: Value, part: float, train: bool | None = True
) -> tuple[Value, Value]:
    """Lower zeros in some places, and the mask of the others, which are made greater for it."""
    if x.dtype is not DType.F32:
        raise UnsupportedError(f"operand of type {x.dtype.value}")
    if train is False:
        return x, builder.compute(x.shape, DType.BOOL, Expr.word(1))
    mask = _random(builder, x.shape, DType.BOOL, lambda a, b, _: _at_least(a, part), x)
    return dropout_backward(builder, x, mask, 1 / (1 - part) if part < 1 else 0.0), mask


@lowering(aten.native_dropout_backward.default)
def dropout_backward(builder: Builder, gradient: Value, mask: Value, scale: float) -> Value:
    """Lower the gradient of what stayed."""

    def scaled(element: Expr, kept: Expr) -> Expr:
        return Expr.op("vsel", f.multiply(element, Expr.number(scale)), Expr.word(0), kept)

    return builder.elementwise(scaled, gradient, mask, dtype=DType.F32)


@lowering(aten.bernoulli.p)
def bernoulli(builder: Builder, x: Value, part: float = 0.5, **_: object) -> Value:
    """Lower ones in some places."""
    return _random(
        builder,
        x.shape,
        x.dtype,
        lambda a, b, _: converted(negated(_at_least(a, part)), DType.BOOL, x.dtype),
        x,
    )


@lowering(aten.bernoulli.default)
def bernoulli_of(builder: Builder, x: Value, **_: object) -> Value:
    """Lower ones with the probabilities given."""
    if x.dtype is not DType.F32:
        raise UnsupportedError(f"operand of type {x.dtype.value}")

    def drawn(a: Expr, b: Expr, probability: Expr) -> Expr:
        return converted(Expr.op("vflt.f32", uniform(a), probability), DType.BOOL, DType.F32)

    return _random(builder, x.shape, DType.F32, drawn, x)


def _distribution(target: Any, like: Any, function: Callable[..., Expr]) -> None:
    def lower(
        builder: Builder,
        shape: Sequence[int] | Value,
        *,
        dtype: torch.dtype | None = None,
        **_: object,
    ) -> Value:
        if dtype not in (None, torch.float32):
            raise UnsupportedError(f"random numbers of type {dtype}")
        if isinstance(shape, Value):
            return _random(builder, shape.shape, DType.F32, lambda a, b, _: function(a, b), shape)
        return _random(builder, shape, DType.F32, function)

    lowering(target, like)(lower)


_distribution(aten.rand.default, aten.rand_like.default, lambda a, _: uniform(a))
_distribution(aten.randn.default, aten.randn_like.default, normal)
