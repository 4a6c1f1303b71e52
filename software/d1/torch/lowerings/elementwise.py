"""Operators on each element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value, as_word
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.registry import UnsupportedError, lowering
from d1.torch.types import DTYPES

aten = torch.ops.aten
Number = float | int | bool

_ZERO, _ONE = Expr.number(0.0), Expr.number(1.0)
_F32, _I32, _BOOL = DType.F32, DType.I32, DType.BOOL


def converted(expr: Expr, have: DType, want: DType) -> Expr:
    """Return an element of one type as one of another."""
    if have is want:
        return expr
    if want is _BOOL:
        if have is _F32:
            is_zero = Expr.op("vfeq.f32", expr, _ZERO)
            return Expr.op("mxor", is_zero, Expr.op("vfeq.f32", _ZERO, _ZERO))
        return Expr.op("vsltu.i32", Expr.word(0), expr)
    if have is _BOOL:
        one = _ONE if want is _F32 else Expr.word(1)
        return Expr.op("vsel", one, Expr.word(0), expr)
    if want is _F32:
        return Expr.op("vcvt.f32.i32", expr)
    # PyTorch cuts off what is behind the point.
    nearest = Expr.op("vcvt.f32.i32", Expr.op("vcvt.i32.f32", f.absolute(expr)))
    above = Expr.op("vflt.f32", f.absolute(expr), nearest)
    size = Expr.op("vsel", f.subtract(nearest, _ONE), nearest, above)
    return Expr.op("vcvt.i32.f32", f.with_sign_of(size, expr))


def constant(value: Number, dtype: DType) -> Expr:
    """Return a number as an element of a type."""
    if dtype is _F32:
        return Expr.number(float(value))
    return Expr.word(int(value))


def dtype_of(value: Value | Number) -> DType:
    """Return the type of a value, or that of a number in Python."""
    if isinstance(value, Value):
        return value.dtype
    if isinstance(value, bool):
        return _BOOL
    return _I32 if isinstance(value, int) else _F32


def promoted(*operands: Value | Number) -> DType:
    """Return the type in which operands are computed."""
    order = (_BOOL, _I32, _F32)
    return max(map(dtype_of, operands), key=order.index)


def pointwise(
    builder: Builder,
    function: Callable[..., Expr],
    *operands: Value | Number,
    of: DType,
    result: DType | None = None,
) -> Value:
    """Return a function of elements, converted to a type.

    Parameters
    ----------
    builder
        Where.
    function
        Of the elements.
    operands
        Values and numbers; at least one value.
    of
        The type to which operands are converted.
    result
        The type of the result, if another one.

    """
    types = [dtype_of(x) if isinstance(x, Value) else of for x in operands]

    def of_converted(*args: Expr) -> Expr:
        return function(*(converted(arg, have, of) for arg, have in zip(args, types, strict=True)))

    args = [x if isinstance(x, Value) else constant(x, of) for x in operands]
    return builder.elementwise(of_converted, *args, dtype=result or of)


def _binary(
    targets: tuple[Any, ...], real: str, integer: str | None, truth: str | None = None
) -> None:
    @lowering(*targets)
    def lower(
        builder: Builder, a: Value | Number, b: Value | Number, *, alpha: Number = 1
    ) -> Value:
        of = promoted(a, b)
        instruction = {_F32: real, _I32: integer, _BOOL: truth}[of]
        if instruction is None:
            raise UnsupportedError(f"operands of type {of.value}")

        def combine(x: Expr, y: Expr) -> Expr:
            if alpha != 1:
                y = Expr.op("vfmul.f32" if of is _F32 else "vmul.i32", y, constant(alpha, of))
            return Expr.op(instruction, x, y)

        return pointwise(builder, combine, a, b, of=of)


_binary((aten.add.Tensor, aten.add.Scalar), "vfadd.f32", "vadd.i32", "mor")
_binary((aten.sub.Tensor, aten.sub.Scalar), "vfsub.f32", "vsub.i32")
_binary((aten.mul.Tensor, aten.mul.Scalar), "vfmul.f32", "vmul.i32", "mand")


def _with_nan(choose: str) -> Callable[[Expr, Expr], Expr]:
    """Return a minimum or maximum that is NaN where an operand is."""

    def function(a: Expr, b: Expr) -> Expr:
        numbers = Expr.op("mand", Expr.op("vfeq.f32", a, a), Expr.op("vfeq.f32", b, b))
        return Expr.op("vsel", Expr.op(choose, a, b), f.add(a, b), numbers)

    return function


def _extreme(name: str) -> Callable[[DType], Callable[[Expr, Expr], Expr]]:
    """Return, for a type, the greater or lesser of two; of a number and a NaN the number."""
    names = {_F32: f"vf{name}.f32", _I32: f"v{name}.i32"}
    return lambda of: lambda a, b: Expr.op(names[of], a, b)


def _greater(of: DType) -> Callable[[Expr, Expr], Expr]:
    return _with_nan("vfmax.f32") if of is _F32 else lambda a, b: Expr.op("vmax.i32", a, b)


def _lesser(of: DType) -> Callable[[Expr, Expr], Expr]:
    return _with_nan("vfmin.f32") if of is _F32 else lambda a, b: Expr.op("vmin.i32", a, b)


@lowering(aten.atan2.default)
def arctan2(builder: Builder, a: Value, b: Value) -> Value:
    """Lower the angle of a point."""
    return pointwise(builder, f.arctan2, a, b, of=_F32)


@lowering(aten.copysign.Tensor, aten.copysign.Scalar)
def copysign(builder: Builder, a: Value, b: Value | Number) -> Value:
    """Lower the size of one with the sign of the other."""
    return pointwise(builder, lambda x, y: f.with_sign_of(f.absolute(x), y), a, b, of=_F32)


def _of_two(target: Any, choice: Callable[[DType], Callable[[Expr, Expr], Expr]]) -> None:
    """Lower a choice between two, by their type; truth values are compared as numbers."""

    @lowering(target)
    def lower(builder: Builder, a: Value, b: Value) -> Value:
        of = promoted(a, b)
        as_numbers = _I32 if of is _BOOL else of
        return pointwise(builder, choice(as_numbers), a, b, of=as_numbers, result=of)


_of_two(aten.maximum.default, _greater)
_of_two(aten.minimum.default, _lesser)
_of_two(aten.fmax.default, _extreme("max"))
_of_two(aten.fmin.default, _extreme("min"))


@lowering(aten.rsub.Scalar, aten.rsub.Tensor)
def subtract_from(builder: Builder, a: Value, b: Value | Number, alpha: Number = 1) -> Value:
    """Lower b - alpha x a."""
    of = promoted(a, b)
    subtract, multiply = ("vfsub.f32", "vfmul.f32") if of is _F32 else ("vsub.i32", "vmul.i32")

    def difference(x: Expr, y: Expr) -> Expr:
        scaled = x if alpha == 1 else Expr.op(multiply, x, constant(alpha, of))
        return Expr.op(subtract, y, scaled)

    return pointwise(builder, difference, a, b, of=of)


def _unary(target: Any, function: Callable[[Expr], Expr]) -> None:
    @lowering(target)
    def lower(builder: Builder, x: Value) -> Value:
        return pointwise(builder, function, x, of=_F32)


def relu_expr(x: Expr) -> Expr:
    """Return the greater of x and 0; a NaN stays."""
    is_number = Expr.op("vfeq.f32", x, x)
    return Expr.op("vsel", Expr.op("vfmax.f32", x, _ZERO), x, is_number)


@lowering(aten.relu.default)
def relu(builder: Builder, x: Value) -> Value:
    """Lower the greater of x and 0."""
    if x.dtype is _F32:
        return pointwise(builder, relu_expr, x, of=_F32)
    return pointwise(builder, lambda a: Expr.op("vmax.i32", a, Expr.word(0)), x, of=_I32)


_unary(aten.exp.default, f.exp)
_unary(aten.exp2.default, lambda x: Expr.op("vfexp2.f32", x))
_unary(aten.log.default, f.log)
_unary(aten.rsqrt.default, lambda x: Expr.op("vfrsqrt.f32", x))
_unary(aten.sqrt.default, f.sqrt)
_unary(aten.reciprocal.default, lambda x: Expr.op("vfrcp.f32", x))
_unary(aten.tanh.default, f.tanh)
_unary(aten.erf.default, f.erf)
_unary(aten.sigmoid.default, f.sigmoid)
_unary(aten.sin.default, f.sin)
_unary(aten.cos.default, f.cos)
_unary(aten.tan.default, f.tan)
_unary(aten.asin.default, f.arcsin)
_unary(aten.acos.default, lambda x: f.subtract(Expr.number(math.pi / 2), f.arcsin(x)))
_unary(aten.atan.default, f.arctan)
_unary(aten.sinh.default, f.sinh)
_unary(aten.cosh.default, f.cosh)
_unary(aten.asinh.default, f.arcsinh)
_unary(aten.acosh.default, f.arccosh)
_unary(aten.atanh.default, f.arctanh)
_unary(aten.expm1.default, f.expm1)
_unary(aten.log1p.default, f.log1p)
_unary(aten.log2.default, lambda x: f.multiply(f.log(x), Expr.number(math.log2(math.e))))
_unary(aten.log10.default, lambda x: f.multiply(f.log(x), Expr.number(math.log10(math.e))))
_unary(aten.erfc.default, lambda x: f.subtract(_ONE, f.erf(x)))


def _rounding(target: Any, function: Callable[[Expr], Expr]) -> None:
    @lowering(target)
    def lower(builder: Builder, x: Value) -> Value:
        return pointwise(builder, function, x, of=_F32) if x.dtype is _F32 else x


_rounding(aten.floor.default, f.floor)
_rounding(aten.ceil.default, f.ceil)
_rounding(aten.round.default, f.nearest)
_rounding(aten.trunc.default, f.truncate)


def _kind(target: Any, of_real: Callable[[Expr], Expr]) -> None:
    @lowering(target)
    def lower(builder: Builder, x: Value) -> Value:
        if x.dtype is not _F32:
            return builder.compute(x.shape, _BOOL, Expr.word(0))
        return pointwise(builder, of_real, x, of=_F32, result=_BOOL)


_kind(aten.isnan.default, lambda x: negated(Expr.op("vfeq.f32", x, x)))
_kind(aten.isinf.default, lambda x: Expr.op("vfeq.f32", f.absolute(x), Expr.number(math.inf)))


@lowering(aten.signbit.default)
def signbit(builder: Builder, x: Value) -> Value:
    """Lower whether the sign is set."""
    if x.dtype is _BOOL:
        return builder.compute(x.shape, _BOOL, Expr.word(0))
    return pointwise(
        builder, lambda a: Expr.op("vslt.i32", a, Expr.word(0)), x, of=x.dtype, result=_BOOL
    )


@lowering(aten.neg.default)
def neg(builder: Builder, x: Value) -> Value:
    """Lower the negative."""
    if x.dtype is _I32:
        return pointwise(builder, lambda a: Expr.op("vsub.i32", Expr.word(0), a), x, of=_I32)
    return pointwise(builder, f.negate, x, of=_F32)


@lowering(aten.abs.default)
def absolute(builder: Builder, x: Value) -> Value:
    """Lower the absolute value."""
    if x.dtype is _I32:
        return pointwise(
            builder,
            lambda a: Expr.op("vmax.i32", a, Expr.op("vsub.i32", Expr.word(0), a)),
            x,
            of=_I32,
        )
    if x.dtype is not _F32:
        raise UnsupportedError(f"operand of type {x.dtype.value}")
    return pointwise(builder, f.absolute, x, of=_F32)


@lowering(aten.sgn.default, aten.sign.default)
def sign(builder: Builder, x: Value) -> Value:
    """Lower -1, 0 or 1."""
    if x.dtype is _I32:
        ends = Expr.word(1), Expr.word(-1)
        return pointwise(
            builder,
            lambda a: Expr.op("vmax.i32", Expr.op("vmin.i32", a, ends[0]), ends[1]),
            x,
            of=_I32,
        )
    if x.dtype is not _F32:
        raise UnsupportedError(f"operand of type {x.dtype.value}")

    def sign_of(a: Expr) -> Expr:
        return Expr.op("vsel", _ZERO, f.with_sign_of(_ONE, a), Expr.op("vfeq.f32", a, _ZERO))

    return pointwise(builder, sign_of, x, of=_F32)


@lowering(aten.pow.Tensor_Scalar)
def power(builder: Builder, x: Value, exponent: Number) -> Value:
    """Lower a power: whole ones by products, others by logarithms."""
    if exponent == 0.5:
        return pointwise(builder, f.sqrt, x, of=_F32)
    if exponent == -0.5:
        return pointwise(builder, lambda a: Expr.op("vfrsqrt.f32", a), x, of=_F32)
    of = promoted(x, exponent)
    whole = float(exponent).is_integer() and abs(exponent) <= _MOST_FACTORS
    if not whole or (of is not _F32 and exponent < 0):
        if of is not _F32:
            raise UnsupportedError(f"exponent {exponent!r} of an operand of type {of.value}")
        return pointwise(builder, _power, x, float(exponent), of=_F32)

    def by_products(a: Expr) -> Expr:
        one = constant(1, of)
        result = one
        for bit in f"{abs(int(exponent)):b}":
            result = result if result is one else Expr.op(multiply, result, result)
            if bit == "1":
                result = a if result is one else Expr.op(multiply, result, a)
        return Expr.op("vfrcp.f32", result) if exponent < 0 else result

    multiply = "vfmul.f32" if of is _F32 else "vmul.i32"
    return pointwise(builder, by_products, x, of=of)


#: Up to this exponent powers are products.
_MOST_FACTORS = 8


def _power(x: Expr, y: Expr) -> Expr:
    """Return x^y; of a negative x by whether y is an even integer, an odd one or none."""
    size = f.power(f.absolute(x), y)
    is_whole = Expr.op("vfeq.f32", y, f.nearest(y))
    half = f.multiply(y, Expr.number(0.5))
    is_even = Expr.op("vfeq.f32", half, f.nearest(half))
    signed = Expr.op("vsel", size, f.with_sign_of(size, x), is_even)
    of_whole = Expr.op("vsel", signed, Expr.number(math.nan), is_whole)
    return Expr.op("vsel", of_whole, size, Expr.op("vflt.f32", x, _ZERO))


@lowering(aten.pow.Tensor_Tensor)
def power_of(builder: Builder, x: Value | Number, exponent: Value) -> Value:
    """Lower a power whose exponent is an operand."""
    if promoted(x, exponent) is not _F32:
        raise UnsupportedError("powers of integers")
    return pointwise(builder, _power, x, exponent, of=_F32)


def _comparison(
    targets: tuple[Any, ...],
    real: Callable[[Expr, Expr], Expr],
    integer: Callable[[Expr, Expr], Expr],
) -> None:
    @lowering(*targets)
    def lower(builder: Builder, a: Value, b: Value | Number) -> Value:
        of = promoted(a, b)
        of = _I32 if of is _BOOL else of
        return pointwise(builder, real if of is _F32 else integer, a, b, of=of, result=_BOOL)


def negated(mask: Expr) -> Expr:
    """Return the opposite of a mask."""
    return Expr.op("mxor", mask, Expr.op("vfeq.f32", _ZERO, _ZERO))


def _op(name: str, *, swap: bool = False, invert: bool = False) -> Callable[[Expr, Expr], Expr]:
    def function(a: Expr, b: Expr) -> Expr:
        mask = Expr.op(name, b, a) if swap else Expr.op(name, a, b)
        return negated(mask) if invert else mask

    return function


_comparison((aten.eq.Tensor, aten.eq.Scalar), _op("vfeq.f32"), _op("vseq.i32"))
_comparison(
    (aten.ne.Tensor, aten.ne.Scalar),
    _op("vfeq.f32", invert=True),
    _op("vseq.i32", invert=True),
)
_comparison((aten.lt.Tensor, aten.lt.Scalar), _op("vflt.f32"), _op("vslt.i32"))
_comparison(
    (aten.gt.Tensor, aten.gt.Scalar), _op("vflt.f32", swap=True), _op("vslt.i32", swap=True)
)
_comparison(
    (aten.le.Tensor, aten.le.Scalar),
    _op("vfle.f32"),
    _op("vslt.i32", swap=True, invert=True),
)
_comparison(
    (aten.ge.Tensor, aten.ge.Scalar),
    _op("vfle.f32", swap=True),
    _op("vslt.i32", invert=True),
)


def _logical(target: Any, instruction: str) -> None:
    @lowering(target)
    def lower(builder: Builder, a: Value, b: Value) -> Value:
        return pointwise(builder, lambda x, y: Expr.op(instruction, x, y), a, b, of=_BOOL)


_logical(aten.logical_and.default, "mand")
_logical(aten.logical_or.default, "mor")
_logical(aten.logical_xor.default, "mxor")


def _bitwise(targets: tuple[Any, ...], of_masks: str, of_words: str) -> None:
    @lowering(*targets)
    def lower(builder: Builder, a: Value | Number, b: Value | Number) -> Value:
        of = promoted(a, b)
        instruction = of_masks if of is _BOOL else of_words
        operands = [int(x) if of is _I32 and not isinstance(x, Value) else x for x in (a, b)]
        return pointwise(builder, lambda x, y: Expr.op(instruction, x, y), *operands, of=of)


_bitwise((aten.bitwise_and.Tensor, aten.bitwise_and.Scalar), "mand", "vand.i32")
_bitwise((aten.bitwise_or.Tensor, aten.bitwise_or.Scalar), "mor", "vor.i32")
_bitwise((aten.bitwise_xor.Tensor, aten.bitwise_xor.Scalar), "mxor", "vxor.i32")


@lowering(aten.bitwise_not.default)
def bitwise_not(builder: Builder, x: Value) -> Value:
    """Lower the opposite of every bit."""
    if x.dtype is _BOOL:
        return logical_not(builder, x)
    return pointwise(builder, lambda a: Expr.op("vxor.i32", a, Expr.word(0xFFFFFFFF)), x, of=_I32)


@lowering(aten.logical_not.default)
def logical_not(builder: Builder, x: Value) -> Value:
    """Lower the opposite."""
    return pointwise(builder, negated, x, of=_BOOL)


@lowering(aten.where.self, aten.where.ScalarSelf, aten.where.ScalarOther, aten.where.Scalar)
def where(builder: Builder, condition: Value, a: Value | Number, b: Value | Number) -> Value:
    """Lower a choice between two."""
    of = promoted(a, b)

    def choose(mask: Expr, x: Expr, y: Expr) -> Expr:
        chosen = [
            converted(e, dtype_of(operand), of) if isinstance(operand, Value) else e
            for e, operand in ((x, a), (y, b))
        ]
        return Expr.op("vsel", *map(as_word, chosen), mask)

    operands = [x if isinstance(x, Value) else constant(x, of) for x in (a, b)]
    return builder.elementwise(choose, condition, *operands, dtype=of)


@lowering(aten._to_copy.default)
def to_copy(builder: Builder, x: Value, *, dtype: torch.dtype | None = None, **_: object) -> Value:
    """Lower a conversion."""
    if dtype is not None and dtype not in DTYPES:
        raise UnsupportedError(f"conversion to {dtype}")
    want = x.dtype if dtype is None else DTYPES[dtype]

    def convert(element: Expr) -> Expr:
        element = converted(element, x.dtype, want)
        return f.round_to_bf16(element) if dtype is torch.bfloat16 else element

    return builder.elementwise(convert, x, dtype=want)


@lowering(aten.copy.default)
def copy(builder: Builder, x: Value, source: Value, *_: object) -> Value:
    """Lower what is written to a tensor, in the type of that."""
    value = source.broadcast(x.shape)
    return value if source.dtype is x.dtype else pointwise(builder, lambda e: e, value, of=x.dtype)


@lowering(aten.clone.default, aten.detach.default, aten.lift_fresh_copy.default, aten.alias.default)
def clone(builder: Builder, x: Value, **_: object) -> Value:
    """Lower a copy: values never change."""
    return x


@lowering(aten.clamp.default, aten.clamp.Tensor)
def clamp(
    builder: Builder,
    x: Value,
    low: Value | Number | None = None,
    high: Value | Number | None = None,
) -> Value:
    """Lower bounds on both sides."""
    bounds = [bound for bound in (low, high) if bound is not None]
    of = promoted(x, *bounds)

    def bounded(element: Expr, *rest: Expr) -> Expr:
        result, numbers = element, list(rest)
        if low is not None:
            result = _greater(of)(result, numbers.pop(0))
        if high is not None:
            result = _lesser(of)(result, numbers.pop(0))
        return result

    return pointwise(builder, bounded, x, *bounds, of=of)


@lowering(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def masked_fill(builder: Builder, x: Value, mask: Value, value: Value | Number) -> Value:
    """Lower another value where a mask is true."""
    if not isinstance(value, Value):
        value = {_F32: float, _I32: int, _BOOL: bool}[x.dtype](value)
    return where(builder, mask, value, x)
