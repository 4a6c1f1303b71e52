"""The lesser or the greater of two FP32 numbers."""

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .logic import is_fp32_nan

__all__ = ["Fp32MinMax"]


class Fp32MinMax(wiring.Component):
    """Choose the lesser or the greater of two FP32 numbers; -0 is less than +0.

    Of a number and a NaN the number is chosen, of two NaNs one of them as it is. Combinational.

    Golden twin: `d1_golden.numerics.fp32.minimum` and `maximum`, which also make a NaN canonical.

    Members
    -------
    a, b : In(32)
    maximum : In(1)
        Choose the greater number, otherwise the lesser.
    chosen : Out(32)

    """

    a: In(32)  #: one number
    b: In(32)  #: the other
    maximum: In(1)  #: choose the greater
    chosen: Out(32)  #: `a` or `b`

    def elaborate(self, platform: object) -> Module:
        """Compare, and choose."""
        m = Module()
        a_less = _order(self.a) < _order(self.b)
        takes_a = is_fp32_nan(self.b) | (~is_fp32_nan(self.a) & (a_less ^ self.maximum))
        m.d.comb += self.chosen.eq(Mux(takes_a, self.a, self.b))
        return m


def _order(number: Value) -> Value:
    """Return a signed number in the order of FP32 numbers, with -0 below +0."""
    return Cat(number[:31] ^ number[31].replicate(31), number[31]).as_signed()
