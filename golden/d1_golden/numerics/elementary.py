"""Reciprocal, reciprocal square root and 2^x: short programs for the fused multiply-add lane.

Each function is a `Sequence` of fused multiply-adds, all rounded as `fp32.fma` rounds, so its
result is defined to the bit. Besides temporaries and constants, a step may take its operands from
the *argument*, the result of the first step, which is kept to the end. Four things are wired from
the argument and the instruction's operand `x` without arithmetic:

- a row of a small table of coefficients, selected by a few bits of the argument;
- for the two reciprocals the argument's significand, as a number of a fixed binade;
- the scale, a power of two, or Inf, 0 or NaN. It carries everything that is special: the
  polynomial before it always has an ordinary value, and the last step multiplies by the scale,
  which also is the one place where a result may overflow or be rounded to a subnormal;
- the conditioned operand: what makes a subnormal `x` normal, or keeps `x` within the table.

The programs:

- ``reciprocal``: a line for 1/m on each of 64 pieces of [0.5, 1), one Newton step, scale.
- ``reciprocal_sqrt``: a line for 1/sqrt(2 m) on 32 pieces of [0.5, 1) and of [1, 2), one Newton
  step, scale. The square comes before the product with m because that loses least.
- ``exp2``: adding and subtracting 1.5 x 2^17 splits off the multiple of 1/64 nearest to x, exactly,
  and leaves its number in the low bits of the sum; then a polynomial of degree 2 whose constant
  term has two parts, of which the greater is added last; scale.

Special cases: reciprocal(+-0) = +-Inf, reciprocal(+-Inf) = +-0; reciprocal_sqrt(+-0) = +-Inf,
reciprocal_sqrt(Inf) = 0, and NaN below 0; exp2(-Inf) = 0, exp2(Inf) = Inf. A NaN gives the
canonical NaN. Errors and what is monotonic: docs/vector_numerics.md.

Ref: IEEE Std 754-2019, section 9.2 (exp2, rSqrt and their exceptional cases); Markstein, "IA-64 and
Elementary Functions: Speed and Precision", chapters 8 and 9 (Newton steps by fused multiply-add).
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from d1_golden.numerics.formats import FP32
from d1_golden.numerics.fp32 import INFINITY, NAN, ONE, SIGN, fma, is_nan, negate, per_element

#: Rows of a table are selected by so many bits; exp2 splits its operand at multiples of 1/64.
INDEX_BITS = 6
#: A subnormal operand of the reciprocals is first multiplied by 2^PRESCALE.
PRESCALE = 24
#: Fraction bits of the coefficients of the reciprocals' lines.
LINE_C0_BITS, LINE_C1_BITS = 16, 8
#: Fraction bits of the coefficients of exp2.
EXP2_LOW_BITS, EXP2_C1_BITS, EXP2_C2_BITS = 30, 22, 15

_PIECES = 1 << INDEX_BITS
_MANTISSA = FP32.mantissa_bits
_MANTISSA_MASK = (1 << _MANTISSA) - 1
_BIAS = FP32.bias
_SPECIAL_FIELD = FP32.exponent_mask
#: 1.5 x 2^17: numbers of its binade are multiples of 2^-INDEX_BITS.
_SPLITTER = (_BIAS + _MANTISSA - INDEX_BITS << _MANTISSA) | 1 << _MANTISSA - 1
#: exp2 is Inf from 128 up and 0 from -150 down; between -150 and -149 it is what it is at -149.
EXP2_INFINITE = int(np.float32(128.0).view(np.uint32))
EXP2_ZERO = int(np.float32(-150.0).view(np.uint32))
EXP2_LEAST = int(np.float32(-149.0).view(np.uint32))
#: What exp2 has as the integer part of an operand that rounds up to 128.
EXP2_TOP = 128


class Operand(enum.Enum):
    """Where an operand of a step comes from."""

    #: The instruction's operand.
    X = "x"
    #: The instruction's operand, kept within the table: exp2 only.
    CLAMPED = "clamped(x)"
    #: A power of two that makes a subnormal operand normal, else 1: the reciprocals only.
    PRESCALE = "prescale(x)"
    #: The argument: the result of the first step.
    ARGUMENT = "argument"
    #: The argument's significand in a binade of the function's own.
    SIGNIFICAND = "m"
    #: The power of two, or special, that the last step multiplies by.
    SCALE = "scale"
    #: Coefficients of the row that the argument selects.
    C0 = "c0"
    C1 = "c1"
    C2 = "c2"
    #: What is to be added to c0.
    C0_LOW = "c0_low"
    #: Temporaries of the lane.
    T0 = "t0"
    T1 = "t1"
    #: Constants.
    ONE = "1"
    HALF = "0.5"
    MINUS_ZERO = "-0"
    SPLITTER = "1.5 x 2^17"


#: Bit patterns of the operands that are constants.
CONSTANTS: dict[Operand, int] = {
    Operand.ONE: ONE,
    Operand.HALF: ONE - (1 << _MANTISSA),
    Operand.MINUS_ZERO: SIGN,
    Operand.SPLITTER: _SPLITTER,
}


@dataclass(frozen=True)
class Step:
    """One fused multiply-add, ``to = +-(a x b) +- c``.

    Parameters
    ----------
    to : Operand or None
        The argument or a temporary; None for the result of the function.
    a, b, c : Operand
        Factors and addend.
    negate_product, negate_addend : bool
        Flip the sign of `a`, or of `c`, first.
    """

    to: Operand | None
    a: Operand
    b: Operand
    c: Operand
    negate_product: bool = False
    negate_addend: bool = False

    def __str__(self) -> str:
        product = f"{self.a.value} x {self.b.value}"
        addend = f"{'-' if self.negate_addend else '+'} {self.c.value}"
        if self.c is Operand.MINUS_ZERO:
            addend = ""
        to = self.to.value if self.to is not None else "result"
        return f"{to} = {'-' if self.negate_product else ''}{product} {addend}".rstrip()


@dataclass(frozen=True)
class Sequence:
    """An elementary function.

    Parameters
    ----------
    name : str
        Its name.
    steps : tuple of Step
        What the lane does, in order; the first step's result is the argument.
    coefficients : tuple of Operand
        Columns of the table.
    table : uint32[rows, coefficients]
        FP32 bit patterns.
    """

    name: str
    steps: tuple[Step, ...]
    coefficients: tuple[Operand, ...]
    table: NDArray[np.uint32]


def _quantised(value: Decimal, fraction_bits: int) -> Decimal:
    """Return the nearest multiple of ``2^-fraction_bits``."""
    return Decimal(round(value * (1 << fraction_bits))) / (1 << fraction_bits)


def _patterns(rows: Iterable[Iterable[Decimal]]) -> NDArray[np.uint32]:
    values = np.array([[float(value) for value in row] for row in rows])
    assert np.array_equal(values.astype(np.float32), values), "coefficients must be FP32 numbers"
    return values.astype(np.float32).view(np.uint32)


def _line(
    function: Callable[[Decimal], Decimal], low: Decimal, high: Decimal
) -> tuple[Decimal, Decimal]:
    """Return c0, c1 of the line through a convex function: as far above at the ends as below."""
    middle = (low + high) / 2
    centre = ((function(low) + function(high)) / 2 + function(middle)) / 2
    c1 = _quantised((function(high) - function(low)) / (high - low), LINE_C1_BITS)
    return _quantised(centre - c1 * middle, LINE_C0_BITS), c1


def _reciprocal_table() -> NDArray[np.uint32]:
    edges = [Decimal(_PIECES + i) / (2 * _PIECES) for i in range(_PIECES + 1)]
    with localcontext(prec=40):
        return _patterns(_line(lambda m: 1 / m, *edges[i : i + 2]) for i in range(_PIECES))


def _reciprocal_sqrt_table() -> NDArray[np.uint32]:
    # The last bit of the exponent field selects the half of the table; it is 0 for m in [1, 2).
    half = _PIECES // 2
    pieces = [(base, i) for base in (Decimal(1), Decimal("0.5")) for i in range(half)]
    with localcontext(prec=40):
        return _patterns(
            _line(
                lambda m: 1 / (2 * m).sqrt(), base * (half + i) / half, base * (half + i + 1) / half
            )
            for base, i in pieces
        )


def _exp2_table() -> NDArray[np.uint32]:
    """Return c0, its low part, c1, c2; the last row is the first doubled, for 2^128 as 2^127."""
    with localcontext(prec=40):
        log = Decimal(2).ln()
        half_piece = Decimal(1) / (2 * _PIECES)
        # 2^r = 1 + log r + log^2/2 r^2 + log^3/6 r^3 + ..., and 3/4 h^2 r is nearest to r^3.
        c1 = log + log**3 / 6 * half_piece**2 * 3 / 4
        c2 = log**2 / 2
        rows = []
        for i in range(_PIECES):
            power = Decimal(2) ** (Decimal(i) / _PIECES)
            high = _quantised(power, _MANTISSA)
            low = _quantised(power - high, EXP2_LOW_BITS)
            rows.append(
                (
                    high,
                    low,
                    _quantised(c1 * power, EXP2_C1_BITS),
                    _quantised(c2 * power, EXP2_C2_BITS),
                )
            )
        return _patterns([*rows, [2 * coefficient for coefficient in rows[0]]])


_T0, _T1, _ARGUMENT, _M = Operand.T0, Operand.T1, Operand.ARGUMENT, Operand.SIGNIFICAND
_ONE, _MINUS_ZERO = Operand.ONE, Operand.MINUS_ZERO

RECIPROCAL = Sequence(
    "reciprocal",
    (
        Step(_ARGUMENT, Operand.X, Operand.PRESCALE, _MINUS_ZERO),
        Step(_T0, Operand.C1, _M, Operand.C0),
        Step(_T1, _M, _T0, _ONE, negate_product=True),
        Step(_T0, _T0, _T1, _T0),
        Step(None, _T0, Operand.SCALE, _MINUS_ZERO),
    ),
    (Operand.C0, Operand.C1),
    _reciprocal_table(),
)

RECIPROCAL_SQRT = Sequence(
    "reciprocal_sqrt",
    (
        Step(_ARGUMENT, Operand.X, Operand.PRESCALE, _MINUS_ZERO),
        Step(_T0, Operand.C1, _M, Operand.C0),
        Step(_T1, _T0, _T0, _MINUS_ZERO),
        Step(_T1, _M, _T1, Operand.HALF, negate_product=True),
        Step(_T0, _T0, _T1, _T0),
        Step(None, _T0, Operand.SCALE, _MINUS_ZERO),
    ),
    (Operand.C0, Operand.C1),
    _reciprocal_sqrt_table(),
)

EXP2 = Sequence(
    "exp2",
    (
        Step(_ARGUMENT, Operand.CLAMPED, _ONE, Operand.SPLITTER),
        Step(_T0, _ARGUMENT, _ONE, Operand.SPLITTER, negate_addend=True),
        Step(_T0, _T0, _ONE, Operand.CLAMPED, negate_product=True),
        Step(_T1, Operand.C2, _T0, Operand.C1),
        Step(_T1, _T1, _T0, Operand.C0_LOW),
        Step(_T1, _T1, _ONE, Operand.C0),
        Step(None, _T1, Operand.SCALE, _MINUS_ZERO),
    ),
    (Operand.C0, Operand.C0_LOW, Operand.C1, Operand.C2),
    _exp2_table(),
)

#: The functions there are.
SEQUENCES = (RECIPROCAL, RECIPROCAL_SQRT, EXP2)


# What is wired from the operand and the argument. Nothing from here on is cached on disk: it calls
# compiled functions of another file, and a cache would not notice that those have changed.


@njit
def _field(bits):
    return np.int64(bits) >> _MANTISSA & _SPECIAL_FIELD


@njit
def _power_of_two(field):
    """Return the bit pattern of the power of two of an exponent field -22..255; 255 gives Inf."""
    return field << _MANTISSA if field > 0 else np.int64(1) << (_MANTISSA - 1 + field)


@njit
def _prescale(x):
    return np.uint32(ONE + (PRESCALE << _MANTISSA) if _field(x) == 0 else ONE)


@njit
def _reciprocal_row(argument):
    """Return the upper bits of the mantissa."""
    return np.int64(argument) >> (_MANTISSA - INDEX_BITS) & (_PIECES - 1)


@njit
def _reciprocal_significand(argument):
    """Return the significand in [0.5, 1)."""
    return np.uint32(_BIAS - 1 << _MANTISSA | np.int64(argument) & _MANTISSA_MASK)


@njit
def _reciprocal_scale(x, argument):
    """Return the power of two that 1/m is to be multiplied by, with the sign of x."""
    if is_nan(x):
        return np.uint32(NAN)
    sign = np.int64(x) & SIGN
    if np.int64(x) ^ sign == INFINITY:
        return np.uint32(sign)
    field = 2 * _BIAS - 1 - _field(argument) + (PRESCALE if _field(x) == 0 else 0)
    return np.uint32(sign | _power_of_two(min(field, _SPECIAL_FIELD)))


@njit
def _reciprocal_sqrt_row(argument):
    """Return the last bit of the exponent field and the upper ones of the mantissa."""
    return np.int64(argument) >> (_MANTISSA + 1 - INDEX_BITS) & (_PIECES - 1)


@njit
def _reciprocal_sqrt_significand(argument):
    """Return the significand in [0.5, 1) if the exponent is even, else in [1, 2)."""
    odd = np.int64(_field(argument) & 1 == 0)
    return np.uint32(_BIAS - 1 + odd << _MANTISSA | np.int64(argument) & _MANTISSA_MASK)


@njit
def _reciprocal_sqrt_scale(x, argument):
    """Return the power of two that 1/sqrt(2 m) is to be multiplied by."""
    sign = np.int64(x) & SIGN
    magnitude = np.int64(x) ^ sign
    if magnitude == 0:
        return np.uint32(sign | INFINITY)
    if sign != 0 or magnitude > INFINITY:
        return np.uint32(NAN)
    if magnitude == INFINITY:
        return np.uint32(0)
    field = _BIAS + (_BIAS + 1) // 2 - (_field(argument) + 1) // 2
    return np.uint32(_power_of_two(field + (PRESCALE // 2 if _field(x) == 0 else 0)))


@njit
def _exp2_clamped(x):
    """Return x, but no less than -149, and +0 where the scale alone is the result."""
    word = np.int64(x)
    if word & SIGN == 0:
        return np.uint32(word if word < EXP2_INFINITE else 0)
    word = min(word, np.int64(EXP2_LEAST))
    return np.uint32(word if np.int64(x) < EXP2_ZERO else 0)


@njit
def _exp2_integer(argument):
    """Return the integer part of the split operand: bits above the index, with a sign."""
    return ((np.int64(argument) >> INDEX_BITS & 0x1FF) ^ 0x100) - 0x100


@njit
def _exp2_row(argument):
    """Return the fraction of the split operand, or the row that stands for 128."""
    if _exp2_integer(argument) == EXP2_TOP:
        return np.int64(_PIECES)
    return np.int64(argument) & (_PIECES - 1)


@njit
def _exp2_scale(x, argument):
    """Return 2 to the integer part."""
    if is_nan(x):
        return np.uint32(NAN)
    word = np.int64(x)
    if word & SIGN == 0 and word >= EXP2_INFINITE:
        return np.uint32(INFINITY)
    if word >= EXP2_ZERO:
        return np.uint32(0)
    return np.uint32(_power_of_two(_BIAS + min(_exp2_integer(argument), EXP2_TOP - 1)))


_WIRED = {
    Operand.X: "x",
    Operand.ARGUMENT: "argument",
    Operand.T0: "t0",
    Operand.T1: "t1",
    Operand.PRESCALE: "prescale(x)",
    Operand.CLAMPED: "clamped(x)",
    Operand.SIGNIFICAND: "significand(argument)",
    Operand.SCALE: "scale(x, argument)",
}


def _expression(operand: Operand, sequence: Sequence, negated: bool) -> str:
    """Return what stands for an operand in the compiled function."""
    if operand in CONSTANTS:
        text = f"uint32({CONSTANTS[operand]:#x})"
    elif operand in sequence.coefficients:
        text = f"table[row, {sequence.coefficients.index(operand)}]"
    else:
        text = _WIRED[operand]
    return f"negate({text})" if negated else text


def _compiled(sequence: Sequence, **wiring: Callable) -> Callable[[np.uint32], np.uint32]:
    """Return the compiled function of one operand that does the steps of a sequence.

    `wiring` has the functions ``select(argument)``, which is the row of the table, and
    ``scale(x, argument)``, and of the others of `_WIRED` those that the steps name.
    """
    lines = ["def run(x):"]
    for step in sequence.steps:
        to = _WIRED[step.to] if step.to is not None else "result"
        a = _expression(step.a, sequence, step.negate_product)
        b = _expression(step.b, sequence, False)
        c = _expression(step.c, sequence, step.negate_addend)
        lines.append(f"    {to} = fma({a}, {b}, {c})")
        if step.to is Operand.ARGUMENT:
            lines.append("    row = select(argument)")
    lines.append("    return result")
    names: dict[str, Any] = {"fma": fma, "negate": negate, "uint32": np.uint32, **wiring}
    names["table"] = sequence.table
    exec("\n".join(lines), names)
    return njit(names["run"])


_reciprocal = _compiled(
    RECIPROCAL,
    select=_reciprocal_row,
    significand=_reciprocal_significand,
    scale=_reciprocal_scale,
    prescale=_prescale,
)
_reciprocal_sqrt = _compiled(
    RECIPROCAL_SQRT,
    select=_reciprocal_sqrt_row,
    significand=_reciprocal_sqrt_significand,
    scale=_reciprocal_sqrt_scale,
    prescale=_prescale,
)
_exp2 = _compiled(EXP2, select=_exp2_row, scale=_exp2_scale, clamped=_exp2_clamped)


@njit
def reciprocal(x: np.uint32) -> np.uint32:
    """Return 1/x of an FP32 bit pattern: the steps of `RECIPROCAL`."""
    return _reciprocal(x)


@njit
def reciprocal_sqrt(x: np.uint32) -> np.uint32:
    """Return 1/sqrt(x) of an FP32 bit pattern: the steps of `RECIPROCAL_SQRT`."""
    return _reciprocal_sqrt(x)


@njit
def exp2(x: np.uint32) -> np.uint32:
    """Return 2^x of an FP32 bit pattern: the steps of `EXP2`."""
    return _exp2(x)


@per_element(cache=False)
def reciprocal_array(x):
    """Return `reciprocal` of each element."""
    return reciprocal(x)


@per_element(cache=False)
def reciprocal_sqrt_array(x):
    """Return `reciprocal_sqrt` of each element."""
    return reciprocal_sqrt(x)


@per_element(cache=False)
def exp2_array(x):
    """Return `exp2` of each element."""
    return exp2(x)
