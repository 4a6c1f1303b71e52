"""The fused multiply-add of a vector lane."""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.formats import FP32
from d1_golden.numerics.fp32 import FRAME_BITS, GUARD_BITS, UNIT_BIT

from .logic import is_fp32_nan, named, normalised, registered

__all__ = ["Fp32Fma"]

_FRACTION = FP32.mantissa_bits
_PRODUCT_BITS = 2 * (_FRACTION + 1)
#: A shift right by the largest number of so many bits leaves nothing of a term.
_SHIFT_BITS = 6
_LARGEST_SHIFT = (1 << _SHIFT_BITS) - 1
#: Width in which leading zeros are counted: a power of two.
_COUNTED_BITS = 1 << _SHIFT_BITS
#: Bits of a normalised sum that rounding drops.
_DROPPED = FRAME_BITS - 1 - _FRACTION


class Fp32Fma(wiring.Component):
    """Multiply two FP32 numbers and add a third, rounded once to nearest even.

    IEEE 754 binary32 with subnormals; every NaN result is the canonical one. A sum is a x 1 + c, a
    product a x b + (-0). Three stages: multiply and compare exponents; align and add; normalise
    and round. Specials are told apart in the first stage and replace the result of the third.

    Latency 2 cycles from `a`, `b` and `c` to `result`, which is not registered. One operation per
    cycle. The registers have neither enable nor reset: stop the clock to stop them.

    Golden twin: `d1_golden.numerics.fp32.fma`, step by step.

    Members
    -------
    a, b : In(32)
        The factors.
    c : In(32)
        The addend.
    result : Out(32)
        a x b + c, 2 cycles later.

    """

    a: In(32)  #: left factor
    b: In(32)  #: right factor
    c: In(32)  #: addend
    result: Out(32)  #: a x b + c, 2 cycles later

    def elaborate(self, platform: object) -> Module:
        """Build the three stages."""
        m = Module()
        a, b, c = self.a, self.b, self.c

        # First stage: the product, and how far the term of the lesser exponent has to go right.
        product = registered(m, _significand(a) * _significand(b), _PRODUCT_BITS, "product")
        addend = registered(m, _significand(c), _FRACTION + 1, "addend")
        # Both exponents with the bias added. A product of zero has none, so it is never the larger.
        p_exponent = named(m, _exponent(a) + _exponent(b), 9, "p_exponent")
        c_exponent = named(m, _exponent(c) + FP32.bias, 9, "c_exponent")
        p_zero = named(m, (a[:31] == 0) | (b[:31] == 0), 1, "p_zero")
        p_larger = named(m, (p_exponent > c_exponent) & ~p_zero, 1, "p_larger")
        larger = named(m, Mux(p_larger, p_exponent, c_exponent), 9, "larger")
        lesser = Mux(p_larger, c_exponent, p_exponent)
        distance = named(m, larger - lesser, 9, "distance")
        cut = Mux(distance > _LARGEST_SHIFT, _LARGEST_SHIFT, distance)
        exponent_2 = registered(m, larger - FP32.bias, 9, "exponent_2")
        shift = registered(m, cut, _SHIFT_BITS, "shift")
        p_sign = named(m, a[31] ^ b[31], 1, "p_sign")
        p_larger_2 = registered(m, p_larger, 1, "p_larger_2")
        sign_2 = registered(m, Mux(p_larger, p_sign, c[31]), 1, "sign_2")
        subtract = registered(m, p_sign ^ c[31], 1, "subtract")

        # Second stage: align, add. The sum is negative if the term of the lesser exponent is the
        # larger one after all; then the sign is the other.
        p_term = Cat(Const(0, GUARD_BITS), product)
        c_term = Cat(Const(0, UNIT_BIT - _FRACTION), addend)
        kept = named(m, Mux(p_larger_2, p_term, c_term), FRAME_BITS, "kept")
        moved = named(m, Mux(p_larger_2, c_term, p_term), FRAME_BITS, "moved")
        aligned = named(m, _shift_right_sticky(moved, shift), FRAME_BITS, "aligned")
        total = registered(
            m, Mux(subtract, kept - aligned, kept + aligned), FRAME_BITS + 1, "total"
        )
        sign_3 = registered(m, sign_2, 1, "sign_3")
        subtract_3 = registered(m, subtract, 1, "subtract_3")
        exponent_3 = registered(m, exponent_2, 9, "exponent_3")

        # Third stage: normalise, round. Terms of opposite sign that cancel leave +0.
        negative = total[-1]
        magnitude = named(m, Mux(negative, -total, total), FRAME_BITS, "magnitude")
        code = _rounded(m, magnitude, exponent_3)
        zero = named(m, magnitude == 0, 1, "zero")
        sign = Mux(zero, sign_3 & ~subtract_3, sign_3 ^ negative)
        special, special_code = self._special(m, p_sign, p_zero)
        finite = Cat(Mux(zero, 0, code)[:31], sign)
        m.d.comb += self.result.eq(Mux(special, special_code, finite))
        return m

    def _special(self, m: Module, p_sign: Value, p_zero: Value) -> tuple[Value, Value]:
        """Return, in the third stage, whether an operand is special, and the result if one is."""
        special, infinite, nan = (
            Cat(test(operand) for operand in (self.a, self.b, self.c))
            for test in (_is_special, _is_infinite, is_fp32_nan)
        )
        p_infinite, c_infinite, c_sign = infinite[:2].any(), infinite[2], self.c[31]
        invalid = p_infinite & (p_zero | (c_infinite & (p_sign ^ c_sign)))
        state: Value = Cat(special.any(), nan.any() | invalid, Mux(p_infinite, p_sign, c_sign))
        for stage in (2, 3):
            state = registered(m, state, 3, f"special_{stage}")
        is_special, is_invalid, sign = state
        infinity = Cat(Const(FP32.infinity_code, 31), sign)
        return is_special, Mux(is_invalid, FP32.nan_code, infinity)


def _exponent(number: Value) -> Value:
    """Return the exponent field; a subnormal's is 1."""
    field = number[_FRACTION:31]
    return field | (field == 0)


def _significand(number: Value) -> Value:
    return Cat(number[:_FRACTION], number[_FRACTION:31].any())


def _is_special(number: Value) -> Value:
    return number[_FRACTION:31].all()


def _is_infinite(number: Value) -> Value:
    return number[:31] == FP32.infinity_code


def _shift_right_sticky(value: Value, shift: Value) -> Value:
    """Return a value shifted right, its last bit also set if any bit fell out."""
    # As many ones as the distance: what is left of the largest distance's.
    out = Const((1 << _LARGEST_SHIFT) - 1, _LARGEST_SHIFT) >> ~shift
    return (value >> shift) | (value & out[: len(value)]).any()


def _rounded(m: Module, magnitude: Value, exponent: Value) -> Value:
    """Return the code without sign of a number of the frame; that of zero means nothing."""
    # Left until the top bit is set, and back to where the exponent field becomes 0.
    padding = Const(0, _COUNTED_BITS - FRAME_BITS)
    full, zeros = normalised(m, Cat(padding, magnitude))
    top = named(m, exponent + 1, 9, "top")
    subnormal = named(m, top < zeros, 1, "subnormal")
    back = Mux(subnormal, zeros - top, 0)[:_SHIFT_BITS]
    normal = named(m, full[len(padding) :] >> back, FRAME_BITS, "normal")
    # Add half of the last bit kept, or the least below a half where a tie must not round up.
    half = 1 << _DROPPED - 1
    rounded = named(m, normal + Mux(normal[_DROPPED], half, half - 1), FRAME_BITS + 1, "rounded")
    # The hidden bit adds the missing one to the exponent field, a carry adds another.
    base = Mux(subnormal, 0, top - zeros)
    field = named(m, base + rounded[FRAME_BITS - 1 :], 9, "field")
    code = Cat(rounded[_DROPPED : FRAME_BITS - 1], field[:8])
    return Mux(field >= FP32.exponent_mask, FP32.infinity_code, code)
