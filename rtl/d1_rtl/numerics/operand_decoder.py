"""Four operands of a dot product, taken apart once for all the units that use them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.dot_product import TERMS
from d1_golden.numerics.formats import BF16

from .cfp8 import Cfp8Config, Cfp8ToBf16

__all__ = ["ZERO_BELOW", "DotOperandSignature", "OperandDecoder"]

#: What a decoded exponent of a number is raised by, so that a zero, with 0, is below all others.
ZERO_BELOW = 256


class DotOperandSignature(wiring.Signature):
    """One side of a fused dot product: four BF16 numbers, taken apart, seen from their source.

    Every number is a signal of its own, because up to 8 units read each of them.

    Members
    -------
    sign : Out(4)
        Which of the four are negative.
    exponent : Out(9).array(4)
        Biased exponent (a subnormal's is 1) plus `ZERO_BELOW`; 0 for a zero. So the exponent of a
        product is the sum of two, and that of a zero product is below that of any other.
    significand : Out(8).array(4)
        With hidden bit; seven fraction bits.
    infinite : Out(4)
        Which of the four are an Inf.
    nan : Out(1)
        Whether any is a NaN.
    special : Out(1)
        Whether any is an Inf or a NaN.

    """

    def __init__(self) -> None:
        super().__init__(
            {
                "sign": Out(TERMS),
                "exponent": Out(9).array(TERMS),
                "significand": Out(8).array(TERMS),
                "infinite": Out(TERMS),
                "nan": Out(1),
                "special": Out(1),
            }
        )


class OperandDecoder(wiring.Component):
    """Take a row of an operand tile apart: four BF16 numbers, or four of its eight CFP8 numbers.

    Latency 1 cycle, one row per cycle. `o` keeps its value while `en` is low.

    Golden twin: `_signed_significand` and `_exponent` of `d1_golden.numerics.dot_product`, and
    `cfp8_to_bf16` of `d1_golden.numerics.convert`.

    Members
    -------
    row : In(64)
        BF16 number k at bits 16k, or CFP8 number k at bits 8k.
    cfp8 : In(1)
        The row holds CFP8.
    half : In(1)
        With `cfp8`: take numbers 4..7 instead of 0..3.
    config : In(Cfp8Config)
        With `cfp8`: bias and split.
    zero : In(1)
        Take four zeros instead.
    en : In(1)
        Take this row.
    o : Out(DotOperandSignature())
        The row taken last.

    """

    row: In(64)  #: operands
    cfp8: In(1)  #: `row` holds CFP8
    half: In(1)  #: take the upper four CFP8 numbers
    config: In(Cfp8Config)  #: bias and split of CFP8
    zero: In(1)  #: take zeros
    en: In(1)  #: take `row`
    o: Out(DotOperandSignature())  #: the row taken last

    def elaborate(self, platform: object) -> Module:
        """Build the circuit."""
        m = Module()
        row = Signal(64)
        m.d.comb += row.eq(Mux(self.zero, 0, self.row))
        half_row = Signal(32)
        m.d.comb += half_row.eq(Mux(self.half, row[32:], row[:32]))
        signs, infinite, nan, special = [], [], [], []
        for k in range(TERMS):
            m.submodules[f"unpack_{k}"] = unpack = Cfp8ToBf16()
            m.d.comb += [
                unpack.code.eq(half_row.word_select(k, 8)),
                unpack.config.eq(self.config),
            ]
            code = Signal(16, name=f"code_{k}")
            m.d.comb += code.eq(Mux(self.cfp8, unpack.bf16, row.word_select(k, 16)))
            magnitude, fraction = code[:15], BF16.mantissa_bits
            subnormal = magnitude[fraction:] == 0
            exponent = Cat(magnitude[fraction:] | subnormal, Const(ZERO_BELOW >> 8, 1))
            self._hold(m, self.o.exponent[k], Mux(magnitude == 0, 0, exponent))
            self._hold(m, self.o.significand[k], Cat(magnitude[:fraction], ~subnormal))
            signs.append(code[15])
            infinite.append(magnitude == BF16.infinity_code)
            nan.append(magnitude > BF16.infinity_code)
            special.append(magnitude >= BF16.infinity_code)
        self._hold(m, self.o.sign, Cat(signs))
        self._hold(m, self.o.infinite, Cat(infinite))
        self._hold(m, self.o.nan, Cat(nan).any())
        self._hold(m, self.o.special, Cat(special).any())
        return m

    def _hold(self, m: Module, output: Value, value: Value) -> None:
        """Register a field; without reset, because nobody uses what was never taken."""
        register = Signal.like(output, reset_less=True)
        with m.If(self.en):
            m.d.sync += register.eq(value)
        m.d.comb += output.eq(register)
