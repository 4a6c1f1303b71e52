"""CFP8 operands: their configuration, and the exact way to BF16."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics import formats

__all__ = ["Cfp8Config", "Cfp8Format", "Cfp8ToBf16"]


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
        wide_exponent = self.config.split == Cfp8Format.CFP8_1_5_2
        exponent = Mux(wide_exponent, self.code[2:7], self.code[3:7])
        mantissa = Signal(3)
        m.d.comb += mantissa.eq(Mux(wide_exponent, Cat(Const(0, 1), self.code[:2]), self.code[:3]))
        # A denormal is shifted until its leading one is where a normal number has its hidden bit.
        subnormal = exponent == 0
        leading_zeros = Mux(mantissa[2], 0, Mux(mantissa[1], 1, 2))
        fraction = Signal(3)
        m.d.comb += fraction.eq(Mux(subnormal, mantissa << leading_zeros + 1, mantissa))
        lowered = Signal(2)
        m.d.comb += lowered.eq(Mux(subnormal, leading_zeros, 0))
        biased = Signal(8)
        m.d.comb += biased.eq(exponent + formats.BF16.bias - self.config.bias - lowered)
        magnitude = Cat(Const(0, 4), fraction, biased)
        is_zero = self.code[:7] == 0
        m.d.comb += self.bf16.eq(Cat(Mux(is_zero, 0, magnitude), self.code[7]))
        return m
