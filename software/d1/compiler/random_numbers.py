"""Random numbers from counters: the same key and counter give the same number on every device.

Threefry-2x32 with 20 rounds turns a key and a counter, two words each, into two words by additions,
rotations and exclusive ors, which the lanes have.

Ref: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC 2011; its library Random123 has the known answers that the tests compare with.
"""

from __future__ import annotations

import math

from d1.compiler import math_functions as f
from d1.compiler.expressions import Expr

__all__ = ["FRACTION_BITS", "fraction_bits", "normal", "threefry", "uniform"]

#: Random bits of a number between 0 and 1.
FRACTION_BITS = 24

_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_GROUPS = 5


def threefry(key: tuple[Expr, Expr], counter: tuple[Expr, Expr]) -> tuple[Expr, Expr]:
    """Return two random words."""
    parity = _xor(_xor(*key), Expr.word(_PARITY))
    keys = (*key, parity)
    a, b = _add(counter[0], key[0]), _add(counter[1], key[1])
    for group in range(_GROUPS):
        for rotation in _ROTATIONS[group % 2]:
            a = _add(a, b)
            b = _xor(_rotated(b, rotation), a)
        a = _add(a, keys[(group + 1) % 3])
        b = _add(_add(b, keys[(group + 2) % 3]), Expr.word(group + 1))
    return a, b


def fraction_bits(word: Expr) -> Expr:
    """Return an integer from 0 to 2^24 - 1."""
    return Expr.op("vsrl.i32", word, Expr.word(32 - FRACTION_BITS))


def uniform(word: Expr) -> Expr:
    """Return a multiple of 2^-24 from 0 to below 1."""
    number = Expr.op("vcvt.f32.i32", fraction_bits(word))
    return f.multiply(number, Expr.number(2.0**-FRACTION_BITS))


def normal(a: Expr, b: Expr) -> Expr:
    """Return a number of the normal distribution of mean 0 and variance 1, from two words.

    Ref: G. E. P. Box, M. E. Muller, "A note on the generation of random normal deviates", 1958.
    """
    above_zero = f.add(uniform(a), Expr.number(2.0**-FRACTION_BITS))
    radius = f.sqrt(f.multiply(Expr.number(-2.0), f.log(above_zero)))
    return f.multiply(radius, f.cos(f.multiply(uniform(b), Expr.number(2 * math.pi))))


def _add(a: Expr, b: Expr) -> Expr:
    return Expr.op("vadd.i32", a, b)


def _xor(a: Expr, b: Expr) -> Expr:
    return Expr.op("vxor.i32", a, b)


def _rotated(word: Expr, count: int) -> Expr:
    left = Expr.op("vsll.i32", word, Expr.word(count))
    return Expr.op("vor.i32", left, Expr.op("vsrl.i32", word, Expr.word(32 - count)))
