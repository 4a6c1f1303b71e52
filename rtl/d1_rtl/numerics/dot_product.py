"""The fused dot-product block: four products and an accumulator, rounded once."""

from functools import reduce

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.formats import FP32

from .operand_decoder import TERMS, DotOperandSignature

__all__ = ["DotProduct"]

#: Added to the unbiased exponent of a term: the biases of two decoded operands.
_EXPONENT_OFFSET = 2 * (127 + 256)
_EXPONENT_BITS = 10
_FP32_FRACTION = FP32.mantissa_bits
_PRODUCT_FRACTION = 14
#: Bits above the binary point of the sum: 4 products below 4 and an accumulator below 2.
_SUM_INTEGER_BITS = 5
#: A term cut by so many bits is gone.
_MAX_CUT = 31


class _Kind(enum.Enum, shape=2):
    """What a block's result is, as its operands decide."""

    FINITE = 0
    PLUS_INFINITY = 1
    MINUS_INFINITY = 2
    NAN = 3


class DotProduct(wiring.Component):
    """Add four products and an FP32 accumulator: aligned, cut, summed exactly, rounded once.

    The arithmetic is that of docs/numerics.md, specials and subnormals included. Three stages:
    multiply and compare exponents, align and sum, normalise and round; the last is combinational.

    Latency 2 cycles from `a`, `b`, `acc` and `first` to `result`, which is not registered. One
    block per cycle. Registers have no enable and hold no state: stop the clock to stop them.

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
        if not isinstance(fraction_bits, int) or not 16 <= fraction_bits <= 26:
            raise ValueError(f"fraction_bits must be in 16..26, not {fraction_bits!r}")
        self._fraction_bits = fraction_bits
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        """Build the three stages."""
        m = Module()
        m.submodules.multiply = multiply = _Multiply()
        m.submodules.sum = total = _AlignedSum(self._fraction_bits)
        m.submodules.round = rounder = _Round(self._fraction_bits)
        wiring.connect(m, wiring.flipped(self.a), multiply.a)
        wiring.connect(m, wiring.flipped(self.b), multiply.b)
        m.d.comb += [multiply.acc.eq(self.acc), multiply.first.eq(self.first)]
        wiring.connect(m, multiply.o, total.i)
        wiring.connect(m, total.o, rounder.i)
        m.d.comb += self.result.eq(rounder.result)
        return m


class _ProductsSignature(wiring.Signature):
    """What the first stage hands to the second; `cut` is the bits by which a term is cut."""

    def __init__(self) -> None:
        super().__init__(
            {
                "product": Out(16).array(TERMS),
                "negative": Out(1).array(TERMS),
                "cut": Out(range(_MAX_CUT + 1)).array(TERMS),
                "acc_significand": Out(_FP32_FRACTION + 1),
                "acc_negative": Out(1),
                "acc_cut": Out(range(_MAX_CUT + 1)),
                "exponent": Out(_EXPONENT_BITS),
                "kind": Out(_Kind),
            }
        )


class _SumSignature(wiring.Signature):
    """What the second stage hands to the third: a two's complement sum below its exponent."""

    def __init__(self, fraction_bits: int):
        super().__init__(
            {
                "sum": Out(1 + _SUM_INTEGER_BITS + fraction_bits),
                "exponent": Out(_EXPONENT_BITS),
                "kind": Out(_Kind),
            }
        )


class _Multiply(wiring.Component):
    """First stage: products, their exponents' maximum and every term's distance to it."""

    a: In(DotOperandSignature())
    b: In(DotOperandSignature())
    acc: In(32)
    first: In(1)
    o: Out(_ProductsSignature())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        acc = Signal(32)
        m.d.comb += acc.eq(Mux(self.first, 0, self.acc))
        field = acc[_FP32_FRACTION:31]
        acc_exponent = Signal(_EXPONENT_BITS)
        offset = _EXPONENT_OFFSET - FP32.bias
        # A subnormal has the exponent of field 1; a zero is below everything.
        m.d.comb += acc_exponent.eq(
            Mux(acc[:31].any(), Mux(field == 0, offset + 1, field + offset), 0)
        )
        exponents = [Signal(_EXPONENT_BITS, name=f"exponent_{k}") for k in range(TERMS)]
        for k, exponent in enumerate(exponents):
            m.d.comb += exponent.eq(self.a.exponent[k] + self.b.exponent[k])
            m.d.sync += [
                self.o.product[k].eq(self.a.significand[k] * self.b.significand[k]),
                self.o.negative[k].eq(self.a.sign[k] ^ self.b.sign[k]),
            ]
        largest = Signal(_EXPONENT_BITS)
        m.d.comb += largest.eq(_largest(m, [*exponents, acc_exponent]))
        for cut, exponent in zip(
            [*self.o.cut, self.o.acc_cut], [*exponents, acc_exponent], strict=True
        ):
            distance = Signal(_EXPONENT_BITS, name=f"{cut.name}_distance")
            m.d.comb += distance.eq(largest - exponent)
            m.d.sync += cut.eq(Mux(distance > _MAX_CUT, _MAX_CUT, distance))
        special = self.a.special | self.b.special | field.all()
        m.d.sync += [
            self.o.acc_significand.eq(Cat(acc[:_FP32_FRACTION], field != 0)),
            self.o.acc_negative.eq(acc[31]),
            self.o.exponent.eq(largest),
            self.o.kind.eq(Mux(special, self._classify(acc), _Kind.FINITE)),
        ]
        return m

    def _classify(self, acc: Signal) -> Value:
        """Return the kind of a block with a special term."""
        acc_special = acc[_FP32_FRACTION:31].all()
        acc_nan = acc_special & acc[:_FP32_FRACTION].any()
        acc_infinite = acc_special & ~acc_nan
        negative = Cat(self.a.sign) ^ Cat(self.b.sign)
        infinite = self.a.infinite | self.b.infinite
        # The top bit of a decoded exponent tells a number that is not zero.
        a_zero = ~Cat(exponent[-1] for exponent in self.a.exponent)
        b_zero = ~Cat(exponent[-1] for exponent in self.b.exponent)
        invalid = ((self.a.infinite & b_zero) | (self.b.infinite & a_zero)).any()
        plus = (infinite & ~negative).any() | (acc_infinite & ~acc[31])
        minus = (infinite & negative).any() | (acc_infinite & acc[31])
        nan = self.a.nan | self.b.nan | acc_nan | invalid | (plus & minus)
        infinity = Mux(minus, _Kind.MINUS_INFINITY, Mux(plus, _Kind.PLUS_INFINITY, _Kind.FINITE))
        return Mux(nan, _Kind.NAN, infinity)


def _largest(m: Module, values: list[Value]) -> Value:
    """Return the largest of some unsigned values of one width, found pair by pair."""
    while len(values) > 1:
        pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
        values = []
        for pair in pairs:
            winner = Signal(_EXPONENT_BITS, name="larger")
            m.d.comb += winner.eq(reduce(lambda p, q: Mux(p > q, p, q), pair))
            values.append(winner)
    return values[0]


class _AlignedSum(wiring.Component):
    """Second stage: cut the terms and add them, exactly."""

    def __init__(self, fraction_bits: int):
        self._fraction_bits = fraction_bits
        super().__init__({"i": In(_ProductsSignature()), "o": Out(_SumSignature(fraction_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = len(self.o.sum)

        def term(significand: Value, fraction: int, cut: Value, negative: Value) -> Value:
            """Return a term, cut and with its sign, modulo 2^width."""
            left = self._fraction_bits - fraction
            aligned = Signal(width, name="aligned")
            scaled = significand << left if left >= 0 else significand >> -left
            m.d.comb += aligned.eq(scaled >> cut)
            value = Signal(width, name="term")
            m.d.comb += value.eq(Mux(negative, -aligned, aligned))
            return value

        def add(p: Value, q: Value) -> Value:
            total = Signal(width, name="partial_sum")
            m.d.comb += total.eq(p + q)
            return total

        i = self.i
        products = [
            term(product, _PRODUCT_FRACTION, cut, negative)
            for product, cut, negative in zip(i.product, i.cut, i.negative, strict=True)
        ]
        acc = term(i.acc_significand, _FP32_FRACTION, i.acc_cut, i.acc_negative)
        m.d.sync += [
            self.o.sum.eq(add(reduce(add, products), acc)),
            self.o.exponent.eq(i.exponent),
            self.o.kind.eq(i.kind),
        ]
        return m


class _Round(wiring.Component):
    """Third stage: normalise and round to nearest even; combinational.

    The magnitude of the sum is justified to the left, so that its top bit, if set, is the hidden
    bit of a number whose exponent field is `exponent - lowest + 1`.
    """

    def __init__(self, fraction_bits: int):
        super().__init__({"i": In(_SumSignature(fraction_bits)), "result": Out(32)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sum_bits = len(self.i.sum) - 1
        # 24 bits are kept; rounding looks at one more at least.
        width = max(sum_bits, _FP32_FRACTION + 2)
        negative = self.i.sum[-1]
        magnitude = Signal(width)
        m.d.comb += magnitude.eq(
            Mux(negative, -self.i.sum, self.i.sum)[:sum_bits] << width - sum_bits
        )
        lowest = _EXPONENT_OFFSET + 1 - FP32.bias - (_SUM_INTEGER_BITS - 1)

        # Where even the top bit is below the smallest normal number, shift right, stickily.
        tiny = self.i.exponent < lowest
        below = Signal(range(lowest + 1))
        above = Signal(9)
        lowered = Signal(width)
        m.d.comb += [
            below.eq(lowest - self.i.exponent),
            above.eq(Mux(tiny, 0, self.i.exponent - lowest)),
            lowered.eq(Mux(tiny, _shift_right_sticky(magnitude, below), magnitude)),
        ]
        # Shift left until the top bit is set, but not below the smallest normal exponent.
        stop = Signal(width)
        m.d.comb += stop.eq(Const(1 << width - 1, width) >> above)
        left = _leading_zeros(m, lowered | stop, width)
        normal = Signal(width)
        m.d.comb += normal.eq(lowered << left)

        cut = width - 1 - _FP32_FRACTION
        half = 1 << cut - 1
        rounded = Signal(width + 1)
        # Half, or the least below half where a tie must not round up.
        m.d.comb += rounded.eq(normal + Mux(normal[cut], half, half - 1))
        # The hidden bit adds the missing one to the exponent field, a carry adds another.
        field = Signal(9)
        m.d.comb += field.eq(above - left + rounded[width - 1 :])
        overflow = field >= FP32.exponent_mask
        finite = Mux(overflow, FP32.infinity_code, Cat(rounded[cut : width - 1], field[:8]))
        is_zero = self.i.sum == 0
        with m.Switch(self.i.kind):
            with m.Case(_Kind.FINITE):
                m.d.comb += self.result.eq(Mux(is_zero, 0, Cat(finite[:31], negative)))
            with m.Case(_Kind.NAN):
                m.d.comb += self.result.eq(FP32.nan_code)
            with m.Case(_Kind.PLUS_INFINITY):
                m.d.comb += self.result.eq(FP32.infinity_code)
            with m.Case(_Kind.MINUS_INFINITY):
                m.d.comb += self.result.eq(1 << 31 | FP32.infinity_code)
        return m


def _shift_right_sticky(value: Value, distance: Value) -> Value:
    """Return `value` shifted right, its last bit set if any bit was lost."""
    shifted = value >> distance
    return shifted | ((shifted << distance)[: len(value)] != value)


def _leading_zeros(m: Module, value: Value, width: int) -> Value:
    """Return the number of zeros above the leading one of `value`, of which there is one."""
    digits: list[Value] = []
    for step in (16, 8, 4, 2, 1):
        rest = Signal(width, name="rest")
        m.d.comb += rest.eq(value)
        zero = Signal(name="zero")
        m.d.comb += zero.eq(~rest[width - step :].any())
        digits.insert(0, zero)
        value = Mux(zero, rest << step, rest)
    return Cat(digits)
