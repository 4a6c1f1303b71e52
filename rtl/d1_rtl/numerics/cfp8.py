"""CFP8 operands: their configuration, and the exact way to BF16."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics import formats

__all__ = ["Cfp8Config", "Cfp8Format", "Cfp8ToBf16"]

#: A denormal of 3 fraction bits is normalised by at most so many places.
_MAX_LOWERING = 3


def _normalise(fraction: int) -> int:
    """Return the denormal 0.fraction as exponent and fraction; exponent 2 is that of field 0."""
    if fraction == 0:
        return 0
    exponent = fraction.bit_length() - 1
    return exponent << 3 | (fraction << 3 - exponent) & 7


_NORMALISED_CODES = [_normalise(fraction) for fraction in range(8)]
_NORMALISED = sum(code << 8 * i for i, code in enumerate(_NORMALISED_CODES))


class Cfp8Format(enum.Enum, shape=1):
    """The splits of an 8-bit configurable float: :class:`d1_golden.numerics.Cfp8Format`."""

    CFP8_1_4_3 = formats.Cfp8Format.CFP8_1_4_3
    CFP8_1_5_2 = formats.Cfp8Format.CFP8_1_5_2


class Cfp8Config(data.Struct):
    """The bits of the CSRs mcfp8a, mcfp8b and mcfp8c: exponent bias and split."""

    bias: 6
    split: Cfp8Format


class Cfp8ToBf16(wiring.Component):
    """Convert a CFP8 number to BF16, exactly: every one is a normal BF16 number or a zero.

    Combinational. Golden twin: `d1_golden.numerics.convert.cfp8_to_bf16`.

    Members
    -------
    code : In(8)
        The CFP8 number.
    config : In(Cfp8Config)
        How to read it.
    bf16 : Out(16)
        The same value.

    """

    code: In(8)  #: CFP8 number
    config: In(Cfp8Config)  #: bias and split of `code`
    bf16: Out(16)  #: the same value in BF16

    def elaborate(self, platform: object) -> Module:
        """Build the circuit."""
        m = Module()
        # As 1-5-3, exponent and fraction in one number.
        aligned = Signal(8)
        m.d.comb += aligned.eq(self.code[:7] << (self.config.split == Cfp8Format.CFP8_1_5_2))
        # A denormal is normalised, which may lower its exponent (that of field 1) by up to 3.
        subnormal = Const(_NORMALISED, 8 * len(_NORMALISED_CODES)).word_select(aligned[:3], 8)
        normalised = Signal(9)
        m.d.comb += normalised.eq(
            Mux(aligned[3:] == 0, subnormal, aligned + (_MAX_LOWERING - 1 << 3))
        )
        base = Signal(7)
        m.d.comb += base.eq(formats.BF16.bias - (_MAX_LOWERING - 1) - self.config.bias)
        magnitude = Signal(15)
        m.d.comb += magnitude.eq((normalised << 4) + (base << formats.BF16.mantissa_bits))
        is_zero = self.code[:7] == 0
        m.d.comb += self.bf16.eq(Cat(Mux(is_zero, 0, magnitude), self.code[7]))
        return m
