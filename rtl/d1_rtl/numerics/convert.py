"""Narrowing of FP32 to BF16 and CFP8."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.convert import STOCHASTIC_BITS
from d1_golden.numerics.formats import BF16, FP32

from .cfp8 import Cfp8Config, Cfp8Format

__all__ = ["Fp32Narrow"]

_FRACTION = FP32.mantissa_bits
_CFP8_MANTISSA = 3
_CFP8_LARGEST = 0x7F


class Fp32Narrow(wiring.Component):
    """Round an FP32 number to BF16 or CFP8, to nearest even or stochastically.

    In the first cycle the significand is shifted until its last bit to be kept is at bit
    `STOCHASTIC_BITS`; in the second it is rounded. What falls off below is of no consequence:
    only a number that rounds to zero has bits there.

    Latency 1 cycle, one number per cycle. The registers in between have no reset.

    Golden twin: `d1_golden.numerics.convert.fp32_to_bf16` and `fp32_to_cfp8`.

    Members
    -------
    value : In(32)
        The FP32 number.
    to_cfp8 : In(1)
        Round to CFP8, otherwise to BF16.
    config : In(Cfp8Config)
        Format of CFP8.
    en : In(1)
        Take the number.
    stochastic : In(1)
        Round stochastically; in the cycle after `value`.
    random : In(32)
        Random bits; in the cycle after `value`.
    bf16 : Out(16), cfp8 : Out(8)
        The number taken last; the one that `to_cfp8` did not ask for means nothing.

    """

    value: In(32)  #: FP32 number
    to_cfp8: In(1)  #: round to CFP8, otherwise to BF16
    config: In(Cfp8Config)  #: format of CFP8
    en: In(1)  #: take `value`
    stochastic: In(1)  #: round stochastically, one cycle after `value`
    random: In(32)  #: random bits, one cycle after `value`
    bf16: Out(16)  #: result in BF16
    cfp8: Out(8)  #: result in CFP8

    def elaborate(self, platform: object) -> Module:
        """Build the two halves and what is between them."""
        m = Module()
        aligned = Signal(STOCHASTIC_BITS + BF16.mantissa_bits + 1, reset_less=True)
        base = Signal(15, reset_less=True)
        sign, infinite, nan = (Signal(name=n, reset_less=True) for n in ("sign", "infinite", "nan"))
        field, mantissa = self.value[_FRACTION:31], self.value[:_FRACTION]
        significand = Cat(mantissa, field != 0)
        # A subnormal has the exponent of field 1.
        exponent = Signal(8)
        m.d.comb += exponent.eq(field | (field == 0))
        wide_exponent = self.config.split == Cfp8Format.CFP8_1_5_2

        # CFP8: exponent above that of the smallest normal number, whose field is 1.
        above = Signal(9)
        below = Signal(8)
        lowest = FP32.bias + 1 - self.config.bias
        m.d.comb += [
            above.eq(Mux(exponent > lowest, exponent - lowest, 0)),
            below.eq(Mux(exponent > lowest, 0, lowest - exponent)),
        ]
        cfp8_aligned = Cat(Const(0, STOCHASTIC_BITS + _CFP8_MANTISSA - _FRACTION), significand)
        with m.If(self.en):
            m.d.sync += [
                sign.eq(self.value[31]),
                infinite.eq(field.all() & (mantissa == 0)),
                nan.eq(field.all() & (mantissa != 0)),
                aligned.eq(Cat(Const(0, STOCHASTIC_BITS + BF16.mantissa_bits - _FRACTION),
                               significand)),
                base.eq(exponent - 1 << BF16.mantissa_bits),
            ]  # fmt: skip
            with m.If(self.to_cfp8):
                m.d.sync += [
                    aligned.eq(cfp8_aligned >> below + wide_exponent),
                    base.eq(above << _CFP8_MANTISSA >> wide_exponent),
                ]

        # Half of the last bit, or the least below a half where a tie must not round up.
        half = 1 << STOCHASTIC_BITS - 1
        nearest = Mux(aligned[STOCHASTIC_BITS], half, half - 1)
        up = Mux(self.stochastic, self.random[-STOCHASTIC_BITS:], nearest)
        # The hidden bit adds the missing one to the exponent field, a carry adds another.
        code = Signal(16)
        m.d.comb += code.eq(base + (aligned + up)[STOCHASTIC_BITS:])
        finite = Mux(self.stochastic & (code >= BF16.infinity_code), BF16.largest_code, code[:15])
        magnitude = Mux(infinite, BF16.infinity_code, finite)
        too_large = infinite | nan | (code > _CFP8_LARGEST)
        m.d.comb += [
            self.bf16.eq(Mux(nan, BF16.nan_code, Cat(magnitude[:15], sign))),
            self.cfp8.eq(Cat(Mux(too_large, _CFP8_LARGEST, code[:7]), sign)),
        ]
        return m
