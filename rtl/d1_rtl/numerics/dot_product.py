"""The fused dot-product block: four products and an accumulator, rounded once."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.dot_product import MAX_TILE_FRACTION_BITS, TERMS
from d1_golden.numerics.formats import BF16, FP32

from .logic import named, normalised, registered
from .operand_decoder import ZERO_BELOW, DotOperandSignature

__all__ = ["DotProduct"]

#: Added to the exponent of every term: what two decoded operands have.
_OFFSET = 2 * (BF16.bias + ZERO_BELOW)
_FRACTION = FP32.mantissa_bits
_PRODUCT_FRACTION = 2 * BF16.mantissa_bits
#: Bits of the sum above its binary point: 4 products below 4 and an accumulator below 2.
_SUM_INTEGER_BITS = 5
_SUM_BITS = 32
#: Bits of a normalised sum below those that FP32 keeps.
_DROPPED = _SUM_BITS - _FRACTION - 1
#: As for `NodeParams.dot_fraction_bits`.
_MIN_FRACTION_BITS = 16
#: A term that is cut by so many bits is gone.
_MAX_CUT = 31


class DotProduct(wiring.Component):
    """Add four products and an FP32 accumulator: aligned, cut, summed exactly, rounded once.

    The arithmetic is that of docs/numerics.md, specials and subnormals included, in three stages:
    multiply and compare exponents; align and sum; normalise and round. Specials are told apart
    from the first stage on and replace the result of the third.

    Latency 2 cycles from `a`, `b`, `acc` and `first` to `result`, which is not registered. One
    block per cycle. The registers have neither enable nor reset: stop the clock to stop them.

    Golden twin: `d1_golden.numerics.dot_block` with `DotProductParams(fraction_bits=F)`.

    Parameters
    ----------
    fraction_bits : int
        F: bits kept below the exponent of the largest term, 16..26.

    Members
    -------
    a, b : In(DotOperandSignature())
        The factors.
    acc : In(32)
        The accumulator's FP32 value.
    first : In(1)
        Take +0 for `acc`.
    result : Out(32)
        FP32, 2 cycles later.

    Raises
    ------
    ValueError
        If F is out of range.

    """

    a: In(DotOperandSignature())  #: left factors
    b: In(DotOperandSignature())  #: right factors
    acc: In(32)  #: FP32 accumulator
    first: In(1)  #: take +0 for `acc`
    result: Out(32)  #: FP32 result, 2 cycles later

    def __init__(self, *, fraction_bits: int):
        low, high = _MIN_FRACTION_BITS, MAX_TILE_FRACTION_BITS
        if not isinstance(fraction_bits, int) or not low <= fraction_bits <= high:
            raise ValueError(f"fraction_bits must be in {low}..{high}, not {fraction_bits!r}")
        self._fraction_bits = fraction_bits
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        """Build the three stages."""
        m = Module()
        acc = Signal(32)
        m.d.comb += acc.eq(Mux(self.first, 0, self.acc))
        negative = Signal(TERMS)
        m.d.comb += negative.eq(self.a.sign ^ self.b.sign)

        # First stage: products, the largest exponent, and every term's distance to it.
        products = [
            registered(m, a * b, 2 * (BF16.mantissa_bits + 1), "product")
            for a, b in zip(self.a.significand, self.b.significand, strict=True)
        ]
        exponents = [
            named(m, a + b, len(a) + 1, "exponent")
            for a, b in zip(self.a.exponent, self.b.exponent, strict=True)
        ]
        exponents.append(_accumulator_exponent(m, acc))
        largest = _largest(m, exponents)
        cuts = [registered(m, _cut(m, largest - e, len(e)), 5, "cut") for e in exponents]
        significand = registered(
            m, Cat(acc[:_FRACTION], acc[_FRACTION:31].any()), _FRACTION + 1, "acc_significand"
        )
        signs = registered(m, Cat(negative, acc[31]), TERMS + 1, "signs")
        exponent_2 = registered(m, largest, len(largest), "exponent_2")

        # Second stage: cut, apply the signs, add.
        fractions = [_PRODUCT_FRACTION] * TERMS + [_FRACTION]
        terms = [
            _aligned(m, value, self._fraction_bits - fraction, cut, sign)
            for value, fraction, cut, sign in zip(
                [*products, significand], fractions, cuts, signs, strict=True
            )
        ]
        total = registered(m, _sum(terms), _SUM_BITS, "total")
        exponent_3 = registered(m, exponent_2, len(exponent_2), "exponent_3")

        # Third stage: normalise and round.
        finite = _rounded(m, total, exponent_3, self._fraction_bits)
        special, code = self._special(m, acc, negative)
        m.d.comb += self.result.eq(Mux(special, code, finite))
        return m

    def _special(self, m: Module, acc: Value, negative: Value) -> tuple[Value, Value]:
        """Return, in the third stage, whether a term is special, and the result if it is."""
        acc_special = acc[_FRACTION:31].all()
        acc_infinite = acc_special & ~acc[:_FRACTION].any()
        infinite = self.a.infinite | self.b.infinite
        a_zero = ~Cat(exponent[-1] for exponent in self.a.exponent)
        b_zero = ~Cat(exponent[-1] for exponent in self.b.exponent)
        invalid = (self.a.infinite & b_zero) | (self.b.infinite & a_zero)
        flags: Value = Cat(
            self.a.nan | self.b.nan | invalid.any() | (acc_special & acc[:_FRACTION].any()),
            (infinite & ~negative).any() | (acc_infinite & ~acc[31]),
            (infinite & negative).any() | (acc_infinite & acc[31]),
        )
        special = self.a.special | self.b.special | acc_special
        for stage in (2, 3):
            # What the flags are does not matter without a special term; hold them still then.
            held = Signal(3, name=f"special_flags_{stage}", reset_less=True)
            with m.If(special):
                m.d.sync += held.eq(flags)
            special = registered(m, special, 1, f"special_{stage}")
            flags = held
        nan, plus, minus = flags
        return special, Mux(
            nan | (plus & minus), FP32.nan_code, Cat(Const(FP32.infinity_code, 31), minus)
        )


def _accumulator_exponent(m: Module, acc: Value) -> Signal:
    """Return the exponent of an FP32 number; a subnormal's is that of field 1."""
    field = acc[_FRACTION:31]
    offset = _OFFSET - FP32.bias
    exponent = Mux(field == 0, offset + 1, field + offset)
    return named(m, Mux(acc[:31] == 0, 0, exponent), 10, "acc_exponent")


def _largest(m: Module, values: Sequence[Signal]) -> Signal:
    """Return the largest of some unsigned values of one width, found pair by pair."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    p, q = _largest(m, values[:half]), _largest(m, values[half:])
    return named(m, Mux(p > q, p, q), len(p), "larger")


def _cut(m: Module, distance: Value, width: int) -> Value:
    distance = named(m, distance, width, "distance")
    return Mux(distance > _MAX_CUT, _MAX_CUT, distance)


def _aligned(m: Module, significand: Value, left: int, cut: Value, negative: Value) -> Value:
    """Return a term, cut toward zero and signed, modulo 2^_SUM_BITS."""
    scaled = Cat(Const(0, left), significand) if left >= 0 else significand[-left:]
    aligned = named(m, scaled >> cut, _SUM_BITS, "aligned")
    return Mux(negative, (-aligned)[:_SUM_BITS], aligned)


def _sum(terms: Sequence[Value]) -> Value:
    """Return the sum modulo 2^_SUM_BITS."""
    total = terms[0]
    for term in terms[1:]:
        total = (total + term)[:_SUM_BITS]
    return total


def _rounded(m: Module, total: Value, exponent: Value, fraction_bits: int) -> Value:
    """Return a sum as FP32, rounded to nearest even.

    The magnitude is justified to the left of 32 bits: its top bit, if set, is the hidden bit of a
    number whose exponent field is `exponent - lowest + 1`. Its last bit is always zero.
    """
    negative = total[-1]
    absolute = named(m, Mux(negative, -total, total), _SUM_BITS, "absolute")
    magnitude = Cat(
        Const(0, _SUM_BITS - _SUM_INTEGER_BITS - fraction_bits),
        absolute[: _SUM_INTEGER_BITS + fraction_bits],
    )
    lowest = _OFFSET - FP32.bias + 1 - (_SUM_INTEGER_BITS - 1)
    # If even the top bit is below the smallest normal number, go right, keeping what is lost in
    # the last bit but one; then, left until the top bit is set or the exponent is the smallest.
    tiny = exponent < lowest
    below = (lowest - exponent)[:7]
    shifted = Cat(Const(0, _SUM_BITS), magnitude) >> below
    sticky = shifted[: _SUM_BITS + 2].any()
    lowered = Cat(Const(0, 1), sticky, shifted[_SUM_BITS + 2 :])
    start = named(m, Mux(tiny, lowered, magnitude), _SUM_BITS, "start")
    above = named(m, Mux(tiny, 0, exponent - lowest), 9, "above")
    zeros = named(m, normalised(m, start)[1], 5, "zeros")
    subnormal = above < zeros
    normal = named(m, start << Mux(subnormal, above[:5], zeros), _SUM_BITS, "normal")

    # Add half of the last bit kept, or the least below a half where a tie must not round up. The
    # zero at the end is left out to make room for the carry.
    half = 1 << _DROPPED - 2
    rounded = named(m, normal[1:] + Mux(normal[_DROPPED], half, half - 1), _SUM_BITS, "rounded")
    top = _SUM_BITS - 2
    # The hidden bit adds the missing one to the exponent field, a carry adds another.
    field = named(m, Mux(subnormal, 0, above - zeros) + rounded[top:], 9, "field")
    finite = Cat(rounded[_DROPPED - 1 : top], field[:8])
    result = Mux(field >= FP32.exponent_mask, FP32.infinity_code, finite)
    return Mux(total == 0, 0, Cat(result[:31], negative))
