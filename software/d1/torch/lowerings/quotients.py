"""Quotients, rounded or not, and what is left by them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import Number, pointwise, promoted
from d1.torch.lowerings.registry import UnsupportedError, lowering

aten = torch.ops.aten


@lowering(aten.div.Tensor, aten.div.Scalar)
def div(builder: Builder, a: Value | Number, b: Value | Number) -> Value:
    """Lower a quotient."""
    if not isinstance(b, Value) and b and math.frexp(b)[0] in (0.5, -0.5):
        return pointwise(builder, lambda x: f.multiply(x, Expr.number(1 / b)), a, of=DType.F32)
    return pointwise(builder, f.divide, a, b, of=DType.F32)


def _lower(
    builder: Builder,
    choose: Callable[[DType, Expr, Expr], Expr],
    a: Value | Number,
    b: Value | Number,
) -> Value:
    of = promoted(a, b)
    if of is DType.BOOL:
        raise UnsupportedError("operands of type bool")
    return pointwise(builder, lambda x, y: choose(of, x, y), a, b, of=of)


def _divided(of: DType, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """Return quotient and rest, towards 0."""
    return f.divide_to_whole(a, b) if of is DType.F32 else f.divide_words(a, b)


def _is_below(of: DType, rest: Expr, b: Expr) -> Expr:
    """Return whether the quotient is below its integer part: the rest has the other sign."""
    zero = Expr.word(0)
    is_zero = Expr.op("vfeq.f32" if of is DType.F32 else "vseq.i32", rest, zero)
    other_sign = Expr.op("vslt.i32", f.signs_of(rest, b), zero)
    return Expr.op("mand", other_sign, Expr.op("mxor", is_zero, Expr.op("vseq.i32", zero, zero)))


def _truncated(of: DType, a: Expr, b: Expr) -> Expr:
    return _divided(of, a, b)[0]


def _floored(of: DType, a: Expr, b: Expr) -> Expr:
    quotient, rest = _divided(of, a, b)
    if of is DType.F32:
        below = f.subtract(quotient, Expr.number(1.0))
    else:
        below = Expr.op("vsub.i32", quotient, Expr.word(1))
    return Expr.op("vsel", below, quotient, _is_below(of, rest, b))


def _rest(of: DType, a: Expr, b: Expr) -> Expr:
    return _divided(of, a, b)[1]


def _modulo(of: DType, a: Expr, b: Expr) -> Expr:
    """Return the rest with the sign of the divisor."""
    rest = _rest(of, a, b)
    above = Expr.op("vfadd.f32" if of is DType.F32 else "vadd.i32", rest, b)
    return Expr.op("vsel", above, rest, _is_below(of, rest, b))


@lowering(aten.div.Tensor_mode, aten.div.Scalar_mode)
def div_rounded(
    builder: Builder, a: Value | Number, b: Value | Number, *, rounding_mode: str | None = None
) -> Value:
    """Lower a quotient that is rounded."""
    if rounding_mode is None:
        return div(builder, a, b)
    return _lower(builder, _floored if rounding_mode == "floor" else _truncated, a, b)


@lowering(aten.floor_divide.default, aten.floor_divide.Scalar)
def floor_divide(builder: Builder, a: Value | Number, b: Value | Number) -> Value:
    """Lower the greatest integer that is not above a quotient."""
    return _lower(builder, _floored, a, b)


@lowering(aten.fmod.Tensor, aten.fmod.Scalar)
def fmod(builder: Builder, a: Value | Number, b: Value | Number) -> Value:
    """Lower what is left by a division, with the sign of the dividend."""
    return _lower(builder, _rest, a, b)


@lowering(aten.remainder.Tensor, aten.remainder.Scalar, aten.remainder.Scalar_Tensor)
def remainder(builder: Builder, a: Value | Number, b: Value | Number) -> Value:
    """Lower what is left by a division, with the sign of the divisor."""
    return _lower(builder, _modulo, a, b)
