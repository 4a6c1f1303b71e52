"""The fused multiply-add of a vector lane."""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.formats import FP32
from d1_golden.numerics.fp32 import FRAME_BITS, GUARD_BITS, ONE, UNIT_BIT

from .logic import is_fp32_nan, named, normalised, registered

__all__ = ["INTEGER_FRAME", "Fp32Fma", "from_int32"]

#: 2^31, the factor that makes `Fp32Fma.integer` the addend as an integer.
INTEGER_FRAME = FP32.bias + 31 << FP32.mantissa_bits
#: The greatest signed integer.
INT32_MAX = (1 << 31) - 1

_FRACTION = FP32.mantissa_bits
_PRODUCT_BITS = 2 * (_FRACTION + 1)
#: A shift right by the largest number of so many bits leaves nothing of a term.
_SHIFT_BITS = 6
_LARGEST_SHIFT = (1 << _SHIFT_BITS) - 1
#: Width in which leading zeros are counted: a power of two.
_COUNTED_BITS = 1 << _SHIFT_BITS
#: Bits of a normalised sum that rounding drops.
_DROPPED = FRAME_BITS - 1 - _FRACTION
#: Bits of the frame below 1 if its unit bit weighs 2^31.
_INTEGER_FRACTION = UNIT_BIT - 31
#: An integer is added in two parts, of which the lower has so many bits.
_LOWER_BITS = 22
#: Exponent field with which the last bit of a significand weighs 1; it and the sum are even.
_UNIT_FIELD = FP32.bias + _FRACTION


class Fp32Fma(wiring.Component):
    """Multiply two FP32 numbers and add a third, rounded once to nearest even.

    IEEE 754 binary32 with subnormals; every NaN result is the canonical one. A sum is a x 1 + c, a
    product a x b + (-0). Three stages: multiply and compare exponents; align and add; normalise
    and round. Specials are told apart in the first stage and replace the result of the third.

    Integers use the same stages. With `raw` bit 23 of an operand is the top bit of its significand,
    whatever its exponent field says, so that

    - `product` is the lower 32 bits of the product of two numbers of 24 bits;
    - numbers without hidden bit can be added: see `from_int32`.

    And 2^31 x 1 + c makes `integer` the number c rounded: the sum's integer part is c + 2^31, so
    its top bit is flipped. If c is as large as that, then the product is not the larger term.

    Latency 2 cycles from `a`, `b` and `c` to `result` and `integer`, 1 to `product`; only the last
    is registered. One operation per cycle. The registers have neither enable nor reset: stop the
    clock to stop them.

    Golden twin: `d1_golden.numerics.fp32.fma`, step by step; `to_int32` with `integer`.

    Members
    -------
    a, b : In(32)
        The factors.
    c : In(32)
        The addend.
    raw : In(1)
        The operands have no hidden bits.
    result : Out(32)
        a x b + c, 2 cycles later.
    product : Out(32)
        The lower bits of the product of the significands, 1 cycle later.
    integer : Out(32)
        c to the nearest signed integer, if a is `INTEGER_FRAME` and b is 1, 2 cycles later.

    """

    a: In(32)  #: left factor
    b: In(32)  #: right factor
    c: In(32)  #: addend
    raw: In(1)  #: the operands have no hidden bits
    result: Out(32)  #: a x b + c, 2 cycles later
    product: Out(32)  #: significands' product, 1 cycle later
    integer: Out(32)  #: c as an integer, 2 cycles later

    def elaborate(self, platform: object) -> Module:
        """Build the three stages."""
        m = Module()
        a, b, c = self.a, self.b, self.c

        # First stage: the product, and how far the term of the lesser exponent has to go right.
        a_significand, b_significand, c_significand = (
            _significand(number, self.raw) for number in (a, b, c)
        )
        product = registered(m, a_significand * b_significand, _PRODUCT_BITS, "product_2")
        addend = registered(m, c_significand, _FRACTION + 1, "addend")
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
        p_larger_3 = registered(m, p_larger_2, 1, "p_larger_3")

        # Third stage: normalise, round. Terms of opposite sign that cancel leave +0.
        negative = total[-1]
        magnitude = named(m, Mux(negative, -total, total), FRAME_BITS, "magnitude")
        code = _rounded(m, magnitude, exponent_3)
        zero = named(m, magnitude == 0, 1, "zero")
        sign = Mux(zero, sign_3 & ~subtract_3, sign_3 ^ negative)
        special, invalid, special_sign = self._special(m, p_sign, p_zero)
        infinity = Cat(Const(FP32.infinity_code, 31), special_sign)
        finite = Cat(Mux(zero, 0, code)[:31], sign)
        limit = Const(INT32_MAX, 32) ^ (sign_3 & ~invalid).replicate(32)
        m.d.comb += [
            self.result.eq(Mux(special, Mux(invalid, FP32.nan_code, infinity), finite)),
            self.product.eq(product),
            self.integer.eq(Mux(p_larger_3, _integer(m, total), limit)),
        ]
        return m

    def _special(self, m: Module, p_sign: Value, p_zero: Value) -> Value:
        """Return, in the third stage: an operand is special; the result is NaN; sign of its Inf."""
        special, infinite, nan = (
            Cat(test(operand) for operand in (self.a, self.b, self.c))
            for test in (_is_special, _is_infinite, is_fp32_nan)
        )
        p_infinite, c_infinite, c_sign = infinite[:2].any(), infinite[2], self.c[31]
        invalid = p_infinite & (p_zero | (c_infinite & (p_sign ^ c_sign)))
        state: Value = Cat(special.any(), nan.any() | invalid, Mux(p_infinite, p_sign, c_sign))
        for stage in (2, 3):
            state = registered(m, state, 3, f"special_{stage}")
        return state


def _exponent(number: Value) -> Value:
    """Return the exponent field; a subnormal's is 1."""
    field = number[_FRACTION:31]
    return field | (field == 0)


def _significand(number: Value, raw: Value) -> Value:
    hidden = Mux(raw, number[_FRACTION], number[_FRACTION:31].any())
    return Cat(number[:_FRACTION], hidden)


def _is_special(number: Value) -> Value:
    return number[_FRACTION:31].all()


def _is_infinite(number: Value) -> Value:
    return number[:31] == FP32.infinity_code


def _shift_right_sticky(value: Value, shift: Value) -> Value:
    """Return a value shifted right, its last bit also set if any bit fell out."""
    # As many ones as the distance: what is left of the largest distance's.
    out = Const((1 << _LARGEST_SHIFT) - 1, _LARGEST_SHIFT) >> ~shift
    return (value >> shift) | (value & out[: len(value)]).any()


def _integer(m: Module, total: Value) -> Value:
    """Return the integer part, rounded, of a positive sum with 2^31, without the 2^31."""
    half = 1 << _INTEGER_FRACTION - 1
    end = _INTEGER_FRACTION + 32
    last = total[_INTEGER_FRACTION]
    whole = named(m, total[:end] + Mux(last, half, half - 1), end, "whole")
    return whole[_INTEGER_FRACTION:] ^ (1 << 31)


def from_int32(word: Value) -> tuple[Value, Value, Value]:
    """Return the `raw` operands of an `Fp32Fma` whose result is a signed integer, rounded.

    The lower bits are a factor, the upper ones the addend, both without hidden bit: the last bits
    of their exponent fields are 0.
    """
    upper = word[_LOWER_BITS:]
    sign = word[31]
    magnitude = (upper ^ sign.replicate(len(upper))) + sign
    lower = Cat(word[:_LOWER_BITS], Const(0, 1), Const(_UNIT_FIELD, 8), Const(0, 1))
    c = Cat(magnitude[: len(upper)], Const(0, _FRACTION - len(upper)))
    return lower, Const(ONE, 32), Cat(c, Const(_UNIT_FIELD + _LOWER_BITS, 8), sign)


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
