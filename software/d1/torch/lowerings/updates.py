"""Operators of which steps of optimizers consist."""

from __future__ import annotations

import math
import struct

import torch

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import Number, pointwise, power_of
from d1.torch.lowerings.registry import lowering

aten = torch.ops.aten
_F32 = DType.F32


def _fused(a: Expr, b: Expr, c: Expr) -> Expr:
    return Expr.op("vfmadd.f32", a, b, c)


@lowering(torch.ops.prims.fma.default)
def fused_multiply_add(builder: Builder, a: Value, b: Value, c: Value) -> Value:
    """Lower a b + c, rounded once."""
    return pointwise(builder, _fused, a, b, c, of=_F32)


@lowering(aten.lerp.Scalar)
def lerp(builder: Builder, start: Value, end: Value, weight: Number) -> Value:
    """Lower what is between two, counted from the nearer one."""

    def between(a: Expr, b: Expr) -> Expr:
        step = f.subtract(b, a)
        if abs(weight) < 0.5:
            return _fused(Expr.number(weight), step, a)
        return _fused(Expr.number(weight - 1), step, b)

    return pointwise(builder, between, start, end, of=_F32)


@lowering(aten.addcmul.default)
def add_product(builder: Builder, x: Value, a: Value, b: Value, *, value: Number = 1) -> Value:
    """Lower x + value a b."""
    return pointwise(
        builder,
        lambda x, a, b: _fused(f.multiply(Expr.number(value), a), b, x),
        *(x, a, b),
        of=_F32,
    )


@lowering(aten.addcdiv.default)
def add_quotient(builder: Builder, x: Value, a: Value, b: Value, *, value: Number = 1) -> Value:
    """Lower x + value a / b."""
    return pointwise(
        builder,
        lambda x, a, b: _fused(f.multiply(Expr.number(value), a), Expr.op("vfrcp.f32", b), x),
        *(x, a, b),
        of=_F32,
    )


@lowering(aten.pow.Scalar)
def power_of_number(builder: Builder, base: Number, exponent: Value) -> Value:
    """Lower powers of a number.

    Those of a positive one are 2^(x log2 base), with the logarithm as the sum of two numbers: what
    the product with the larger one loses by rounding is made good, so that the result is right to
    about as many units as `vfexp2.f32`.
    """
    if base <= 0 or exponent.dtype is not _F32:
        return power_of(builder, base, exponent)
    logarithm = math.log2(base)
    (high,) = struct.unpack("<f", struct.pack("<f", logarithm))

    def power(x: Expr) -> Expr:
        product = f.multiply(x, Expr.number(high))
        lost = _fused(x, Expr.number(high), f.negate(product))
        lost = _fused(x, Expr.number(logarithm - high), lost)
        value = Expr.op("vfexp2.f32", product)
        return _fused(f.multiply(lost, Expr.number(math.log(2))), value, value)

    return pointwise(builder, power, exponent, of=_F32)
