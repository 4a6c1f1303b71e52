"""Functions made of the operations that vector lanes have.

What the instructions are wrong by is in [vector arithmetic](vector_numerics.md); the functions here
add a few units in the last place, or what their docstrings say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from d1.compiler.expressions import Expr

__all__ = [
    "absolute",
    "add",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "ceil",
    "cos",
    "cosh",
    "divide",
    "divide_to_whole",
    "divide_words",
    "erf",
    "exp",
    "expm1",
    "floor",
    "log",
    "log1p",
    "multiply",
    "nearest",
    "negate",
    "power",
    "round_to_bf16",
    "sigmoid",
    "sin",
    "sinh",
    "sqrt",
    "subtract",
    "tan",
    "tanh",
    "truncate",
]


def add(a: Expr, b: Expr) -> Expr:
    """Return a + b."""
    return Expr.op("vfadd.f32", a, b)


def subtract(a: Expr, b: Expr) -> Expr:
    """Return a - b."""
    return Expr.op("vfsub.f32", a, b)


def multiply(a: Expr, b: Expr) -> Expr:
    """Return a x b."""
    return Expr.op("vfmul.f32", a, b)


def negate(a: Expr) -> Expr:
    """Return -a."""
    return Expr.op("vxor.i32", a, Expr.word(1 << 31))


def absolute(a: Expr) -> Expr:
    """Return |a|."""
    return Expr.op("vand.i32", a, Expr.word((1 << 31) - 1))


def divide(a: Expr, b: Expr) -> Expr:
    """Return a / b to 1.6 ulp: a times the reciprocal of b."""
    return multiply(a, Expr.op("vfrcp.f32", b))


def exp(x: Expr) -> Expr:
    """Return e^x: 2^(x log2 e), wrong by up to |x| 2^-24 of it and 1.2 ulp."""
    return Expr.op("vfexp2.f32", multiply(x, Expr.number(math.log2(math.e))))


def sqrt(x: Expr) -> Expr:
    """Return the square root to 2 ulp: x times that of its reciprocal; 0 of 0, Inf of Inf."""
    root = multiply(x, Expr.op("vfrsqrt.f32", x))
    zero = Expr.op("vfeq.f32", x, Expr.number(0.0))
    infinite = Expr.op("vfeq.f32", x, Expr.number(math.inf))
    return Expr.op("vsel", x, root, Expr.op("mor", zero, infinite))


def sigmoid(x: Expr) -> Expr:
    """Return 1 / (1 + e^-x)."""
    return Expr.op("vfrcp.f32", add(Expr.number(1.0), exp(negate(x))))


def tanh(x: Expr) -> Expr:
    """Return the hyperbolic tangent: an odd polynomial below 0.25, above 1 - 2 / (e^2|x| + 1)."""
    size = absolute(x)
    power = exp(add(size, size))
    ratio = divide(Expr.number(2.0), add(power, Expr.number(1.0)))
    large = subtract(Expr.number(1.0), ratio)
    square = multiply(x, x)
    series = polynomial(square, (1.0, -1 / 3, 2 / 15, -17 / 315, 62 / 2835))
    small = multiply(size, series)
    value = Expr.op("vsel", small, large, Expr.op("vflt.f32", size, Expr.number(0.25)))
    return with_sign_of(value, x)


def erf(x: Expr) -> Expr:
    """Return the error function, wrong by up to 3e-7.

    Ref: M. Abramowitz, I. A. Stegun, "Handbook of Mathematical Functions", 7.1.26.
    """
    size = absolute(x)
    t = Expr.op("vfrcp.f32", add(Expr.number(1.0), multiply(Expr.number(0.3275911), size)))
    coefficients = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    series = multiply(t, polynomial(t, coefficients))
    value = subtract(Expr.number(1.0), multiply(series, exp(negate(multiply(x, x)))))
    return with_sign_of(value, x)


def sin(x: Expr) -> Expr:
    """Return the sine, wrong by up to 5e-7 for |x| < 1000; beyond that by up to 2^-22 |x|."""
    turns = Expr.op("vcvt.f32.i32", Expr.op("vcvt.i32.f32", multiply(x, Expr.number(1 / math.tau))))
    turn = 6.2831854820251465  # in FP32
    rest = Expr.op("vfnmadd.f32", turns, Expr.number(turn), x)
    rest = Expr.op("vfnmadd.f32", turns, Expr.number(math.tau - turn), rest)
    # Mirrored into [-pi / 2, pi / 2].
    size = absolute(rest)
    far = Expr.op("vflt.f32", Expr.number(math.pi / 2), size)
    size = Expr.op("vsel", subtract(Expr.number(math.pi), size), size, far)
    square = multiply(size, size)
    series = polynomial(square, [(-1) ** n / math.factorial(2 * n + 1) for n in range(6)])
    value = multiply(size, series)
    sign = Expr.op("vand.i32", rest, Expr.word(1 << 31))
    value = Expr.op("vxor.i32", value, sign)
    finite = Expr.op("vflt.f32", absolute(x), Expr.number(math.inf))
    return Expr.op("vsel", value, Expr.number(math.nan), finite)


def cos(x: Expr) -> Expr:
    """Return the cosine: the sine a quarter of a turn later, wrong by as much."""
    return sin(add(x, Expr.number(math.pi / 2)))


def tan(x: Expr) -> Expr:
    """Return the tangent, wrong by up to 4 ulp for |x| < 1000.

    Of what is left by whole quarters of a turn, so that it is right next to the poles too.
    """
    number = Expr.op("vcvt.i32.f32", multiply(x, Expr.number(2 / math.pi)))
    quarters = Expr.op("vcvt.f32.i32", number)
    quarter = 1.5707963705062866  # in FP32
    rest = Expr.op("vfnmadd.f32", quarters, Expr.number(quarter), x)
    rest = Expr.op("vfnmadd.f32", quarters, Expr.number(math.pi / 2 - quarter), rest)
    square = multiply(rest, rest)
    signs = [(-1) ** n for n in range(6)]
    odd = [sign / math.factorial(2 * n + 1) for n, sign in enumerate(signs)]
    even = [sign / math.factorial(2 * n) for n, sign in enumerate(signs)]
    sine, cosine = multiply(rest, polynomial(square, odd)), polynomial(square, even)
    is_odd = Expr.op("vseq.i32", Expr.op("vand.i32", number, Expr.word(1)), Expr.word(1))
    high = Expr.op("vsel", cosine, sine, is_odd)
    low = Expr.op("vsel", negate(sine), cosine, is_odd)
    return divide(high, low)


def arctan(x: Expr) -> Expr:
    """Return the angle whose tangent is x, to 4 ulp.

    Angles above pi / 8 are the difference from pi / 4, or from pi / 2.
    """
    one, size = Expr.number(1.0), absolute(x)
    far = Expr.op("vflt.f32", Expr.number(math.tan(3 * math.pi / 8)), size)
    near = Expr.op("vfle.f32", size, Expr.number(math.tan(math.pi / 8)))
    middle = divide(subtract(size, one), add(size, one))
    inverse = negate(Expr.op("vfrcp.f32", size))
    rest = Expr.op("vsel", size, Expr.op("vsel", inverse, middle, far), near)
    angle = Expr.op("vsel", Expr.number(math.pi / 2), Expr.number(math.pi / 4), far)
    angle = Expr.op("vsel", Expr.number(0.0), angle, near)
    square = multiply(rest, rest)
    series = polynomial(square, [(-1) ** n / (2 * n + 1) for n in range(10)])
    return with_sign_of(add(angle, multiply(rest, series)), x)


def arctan2(y: Expr, x: Expr) -> Expr:
    """Return the angle of the point (x, y), in [-pi, pi]."""
    high, wide = absolute(y), absolute(x)
    # The ratio of equal sizes is 1, also of 0 and of infinite ones; else at most 1.
    steep = Expr.op("vflt.f32", wide, high)
    small, large = Expr.op("vsel", wide, high, steep), Expr.op("vsel", high, wide, steep)
    ratio = Expr.op(
        "vsel", Expr.number(1.0), divide(small, large), Expr.op("vfeq.f32", small, large)
    )
    zero = Expr.op("vfeq.f32", large, Expr.number(0.0))
    angle = arctan(Expr.op("vsel", Expr.number(0.0), ratio, zero))
    angle = Expr.op("vsel", subtract(Expr.number(math.pi / 2), angle), angle, steep)
    left = Expr.op("vslt.i32", x, Expr.word(0))
    angle = Expr.op("vsel", subtract(Expr.number(math.pi), angle), angle, left)
    numbers = Expr.op("mand", Expr.op("vfeq.f32", x, x), Expr.op("vfeq.f32", y, y))
    return Expr.op("vsel", with_sign_of(angle, y), Expr.number(math.nan), numbers)


def arcsin(x: Expr) -> Expr:
    """Return the angle whose sine is x."""
    one = Expr.number(1.0)
    other = sqrt(multiply(subtract(one, x), add(one, x)))
    return arctan2(x, other)


def sinh(x: Expr) -> Expr:
    """Return the hyperbolic sine: (u + u / (u + 1)) / 2, with u = e^|x| - 1."""
    u = expm1(absolute(x))
    ratio = divide(u, add(u, Expr.number(1.0)))
    infinite = Expr.op("vfeq.f32", u, Expr.number(math.inf))
    ratio = Expr.op("vsel", Expr.number(1.0), ratio, infinite)
    return with_sign_of(multiply(Expr.number(0.5), add(u, ratio)), x)


def cosh(x: Expr) -> Expr:
    """Return the hyperbolic cosine."""
    return multiply(Expr.number(0.5), add(exp(x), exp(negate(x))))


def arcsinh(x: Expr) -> Expr:
    """Return the number whose hyperbolic sine is x: log1p(|x| + x^2 / (1 + sqrt(1 + x^2)))."""
    one, size = Expr.number(1.0), absolute(x)
    square = multiply(x, x)
    rest = divide(square, add(one, sqrt(add(one, square))))
    # The square of a larger one is infinite.
    large = Expr.op("vflt.f32", Expr.number(2.0**40), size)
    value = Expr.op("vsel", add(log(size), Expr.number(math.log(2))), log1p(add(size, rest)), large)
    return with_sign_of(value, x)


def arccosh(x: Expr) -> Expr:
    """Return the number from 0 up whose hyperbolic cosine is x: log1p(t + sqrt(2 t + t^2))."""
    t = subtract(x, Expr.number(1.0))
    root = sqrt(Expr.op("vfmadd.f32", t, t, add(t, t)))
    large = Expr.op("vflt.f32", Expr.number(2.0**40), x)
    return Expr.op("vsel", add(log(x), Expr.number(math.log(2))), log1p(add(t, root)), large)


def arctanh(x: Expr) -> Expr:
    """Return the number whose hyperbolic tangent is x: log1p(2 |x| / (1 - |x|)) / 2."""
    size = absolute(x)
    ratio = divide(add(size, size), subtract(Expr.number(1.0), size))
    return with_sign_of(multiply(Expr.number(0.5), log1p(ratio)), x)


def log(x: Expr) -> Expr:
    """Return the natural logarithm to 3 ulp, but 1e-7 next to 1.

    x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 artanh((m - 1) / (m + 1)). Subnormal numbers
    are taken as 0.
    """
    one, zero = Expr.number(1.0), Expr.number(0.0)
    bias = Expr.word(0x3F3504F3)  # the bits of sqrt(1/2)
    moved = Expr.op("vsub.i32", x, bias)
    exponent = Expr.op("vsra.i32", moved, Expr.word(23))
    mantissa = Expr.op("vsub.i32", x, Expr.op("vsll.i32", exponent, Expr.word(23)))
    ratio = divide(subtract(mantissa, one), add(mantissa, one))
    square = multiply(ratio, ratio)
    series = polynomial(square, (2.0, 2 / 3, 2 / 5, 2 / 7, 2 / 9, 2 / 11))
    whole = multiply(Expr.op("vcvt.f32.i32", exponent), Expr.number(math.log(2.0)))
    value = add(whole, multiply(ratio, series))
    infinite = Expr.op("vfeq.f32", x, Expr.number(math.inf))
    value = Expr.op("vsel", x, value, infinite)
    normal = Expr.op("vfle.f32", Expr.number(2.0**-126), x)
    special = Expr.op(
        "vsel", Expr.number(-math.inf), Expr.number(math.nan), Expr.op("vfle.f32", zero, x)
    )
    return Expr.op("vsel", value, special, normal)


def log1p(x: Expr) -> Expr:
    """Return log(1 + x) to 4 ulp: log u times x / (u - 1), with u = 1 + x."""
    one = Expr.number(1.0)
    sum_ = add(x, one)
    ratio = divide(x, subtract(sum_, one))
    value = multiply(log(sum_), ratio)
    infinite = Expr.op("vfeq.f32", sum_, Expr.number(math.inf))
    value = Expr.op("vsel", sum_, value, infinite)
    return Expr.op("vsel", x, value, Expr.op("vfeq.f32", sum_, one))


def expm1(x: Expr) -> Expr:
    """Return e^x - 1: by its series for |x| below 0.5, wrong by up to 4 ulp."""
    series = polynomial(x, [1 / math.factorial(n + 1) for n in range(9)])
    small = Expr.op("vflt.f32", absolute(x), Expr.number(0.5))
    return Expr.op("vsel", multiply(x, series), subtract(exp(x), Expr.number(1.0)), small)


def power(x: Expr, y: Expr) -> Expr:
    """Return x^y for x that is not negative: 2^(y log2 x), wrong by up to |y log x| 2^-22 of it."""
    exponent = multiply(y, multiply(log(x), Expr.number(math.log2(math.e))))
    value = Expr.op("vfexp2.f32", exponent)
    zero = Expr.op("vfeq.f32", y, Expr.number(0.0))
    return Expr.op("vsel", Expr.number(1.0), value, zero)


def nearest(x: Expr) -> Expr:
    """Return the nearest integer, the even one of two."""
    rounded = Expr.op("vcvt.f32.i32", Expr.op("vcvt.i32.f32", x))
    return _unless_whole(with_sign_of(absolute(rounded), x), x)


def truncate(x: Expr) -> Expr:
    """Return the integer part."""
    size = absolute(x)
    rounded = Expr.op("vcvt.f32.i32", Expr.op("vcvt.i32.f32", size))
    above = Expr.op("vflt.f32", size, rounded)
    whole = Expr.op("vsel", subtract(rounded, Expr.number(1.0)), rounded, above)
    return _unless_whole(with_sign_of(whole, x), x)


def floor(x: Expr) -> Expr:
    """Return the greatest integer that is not above x."""
    rounded = nearest(x)
    above = Expr.op("vflt.f32", x, rounded)
    return Expr.op("vsel", subtract(rounded, Expr.number(1.0)), rounded, above)


def ceil(x: Expr) -> Expr:
    """Return the least integer that is not below x."""
    return negate(floor(negate(x)))


def divide_to_whole(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """Return the integer part of a / b, and what is left of a, with its sign.

    Exact where the quotient is below 2^23.
    """
    quotient = truncate(divide(a, b))
    rest = Expr.op("vfnmadd.f32", quotient, b, a)
    # The reciprocal is rounded, so the quotient may be one off.
    size, step = with_sign_of(absolute(b), a), with_sign_of(Expr.number(1.0), signs_of(a, b))
    zero = Expr.number(0.0)
    beyond = Expr.op("vflt.f32", multiply(rest, with_sign_of(Expr.number(1.0), a)), zero)
    short = Expr.op("vfle.f32", absolute(b), absolute(rest))
    missing = Expr.op("mor", beyond, short)
    change = Expr.op("vsel", negate(step), step, beyond)
    quotient = Expr.op("vsel", add(quotient, change), quotient, missing)
    part = Expr.op("vsel", add(rest, size), subtract(rest, size), beyond)
    rest = Expr.op("vsel", part, rest, missing)
    # A finite number is left of itself by an infinite one.
    infinite = Expr.op("vfeq.f32", absolute(b), Expr.number(math.inf))
    finite = Expr.op("vflt.f32", absolute(a), Expr.number(math.inf))
    rest = Expr.op("vsel", a, rest, Expr.op("mand", infinite, finite))
    return quotient, with_sign_of(absolute(rest), a)


def divide_words(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """Return the integer part of a / b of 32-bit integers, and what is left of a, with its sign."""

    def estimate(x: Expr) -> Expr:
        ratio = divide(Expr.op("vcvt.f32.i32", x), Expr.op("vcvt.f32.i32", b))
        return Expr.op("vcvt.i32.f32", ratio)

    def left(x: Expr, quotient: Expr) -> Expr:
        return Expr.op("vsub.i32", x, Expr.op("vmul.i32", quotient, b))

    # FP32 has 24 bits, so what is left by the first is divided again, and then one may be missing.
    first = estimate(a)
    second = estimate(left(a, first))
    quotient = Expr.op("vadd.i32", first, second)
    rest = left(a, quotient)
    zero, one = Expr.word(0), Expr.word(1)
    step = Expr.op("vor.i32", Expr.op("vsra.i32", signs_of(a, b), Expr.word(31)), one)
    size = Expr.op("vmul.i32", step, b)
    other_sign = Expr.op("vslt.i32", signs_of(rest, a), zero)
    beyond = Expr.op("mand", other_sign, Expr.op("vsltu.i32", zero, rest))
    size_of = [Expr.op("vmax.i32", x, Expr.op("vsub.i32", zero, x)) for x in (rest, b)]
    short = Expr.op("mxor", Expr.op("vsltu.i32", *size_of), Expr.op("vseq.i32", zero, zero))
    for change, where in (("vsub.i32", beyond), ("vadd.i32", short)):
        opposite = "vadd.i32" if change == "vsub.i32" else "vsub.i32"
        quotient = Expr.op("vsel", Expr.op(change, quotient, step), quotient, where)
        rest = Expr.op("vsel", Expr.op(opposite, rest, size), rest, where)
    return quotient, rest


def signs_of(a: Expr, b: Expr) -> Expr:
    """Return a word whose highest bit says whether the signs of two differ."""
    return Expr.op("vxor.i32", a, b)


def _unless_whole(rounded: Expr, x: Expr) -> Expr:
    """Return a rounded number, or one so large that it has no fraction, or is none, as it is."""
    has_fraction = Expr.op("vflt.f32", absolute(x), Expr.number(2.0**23))
    return Expr.op("vsel", rounded, x, has_fraction)


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Return c0 + c1 x + c2 x^2 + ..., by fused multiply-adds."""
    *lower, value = (Expr.number(c) for c in coefficients)
    for coefficient in reversed(lower):
        value = Expr.op("vfmadd.f32", value, x, coefficient)
    return value


def with_sign_of(size: Expr, x: Expr) -> Expr:
    """Return a size that is not negative with the sign of x."""
    sign = Expr.op("vand.i32", x, Expr.word(1 << 31))
    return Expr.op("vor.i32", size, sign)


def round_to_bf16(x: Expr) -> Expr:
    """Return the nearest BF16, ties to even; a NaN stays one."""
    lowest = Expr.op("vand.i32", Expr.op("vsrl.i32", x, Expr.word(16)), Expr.word(1))
    half = Expr.op("vadd.i32", lowest, Expr.word(0x7FFF))
    rounded = Expr.op("vand.i32", Expr.op("vadd.i32", x, half), Expr.word(0xFFFF0000))
    return Expr.op("vsel", rounded, x, Expr.op("vfeq.f32", x, x))
