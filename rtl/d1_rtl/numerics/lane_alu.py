"""What a vector lane does besides multiplying and adding FP32 numbers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.formats import FP32

from .logic import is_fp32_nan, named, registered

__all__ = ["AluKind", "LaneAlu", "LaneAluOp", "LaneOperation"]

#: The multiplier takes so many bits of an operand; the others are multiplied here.
_LOWER_BITS = FP32.mantissa_bits + 1


class LaneAluOp(enum.Enum, shape=4):
    """What a lane does with two words."""

    ADD = 0  #: a + b
    SUB = 1  #: a - b
    MUL = 2  #: a x b, with the multiplier of the lane
    AND = 3  #: bits of both
    OR = 4  #: bits of either
    XOR = 5  #: bits of one
    SHIFT_LEFT = 6  #: a << b
    SHIFT_RIGHT = 7  #: a >> b, its sign following if signed
    MIN = 8  #: the lesser
    MAX = 9  #: the greater
    EQUAL = 10  #: 1 if a = b
    LESS = 11  #: 1 if a < b
    LESS_EQUAL = 12  #: 1 if a <= b


class AluKind(enum.Enum, shape=2):
    """What the words are."""

    UNSIGNED = 0
    SIGNED = 1
    FP32 = 2


class LaneOperation(data.Struct):
    """An operation of a lane."""

    #: what to do
    op: LaneAluOp
    #: with what; shifts right, minimum, maximum and relations only
    kind: AluKind


class LaneAlu(wiring.Component):
    """Calculate with two integers, or compare two integers or FP32 numbers.

    The minimum and the maximum of a number and a NaN is the number, of two NaNs the canonical one;
    -0 is less than +0. As relations, zeros are equal and a NaN is in none.

    Of a product, this is what the lane's multiplier does not do: it multiplies the lower 24 bits
    of the words, of whose product the upper bits of the words add to bits 31..24.

    Latency 2 cycles from the operands to `value`. One operation per cycle. The registers have
    neither enable nor reset: stop the clock to stop them.

    Golden twin: the operations of two words of `d1_golden.numerics.lanes`, and of
    `d1_golden.numerics.fp32` the minimum, the maximum and the relations.

    Members
    -------
    a, b : In(32)
    operation : In(LaneOperation)
    product : In(32)
        The lower bits of the product of the lower 24 bits of `a` and `b`, 1 cycle later.
    value : Out(32)
        The result, 2 cycles later; of a relation 0 or 1.

    """

    a: In(32)  #: left operand
    b: In(32)  #: right operand
    operation: In(LaneOperation)  #: what to do
    product: In(32)  #: product of the lower bits, 1 cycle later
    value: Out(32)  #: result, 2 cycles later

    def elaborate(self, platform: object) -> Module:
        """Calculate all results, choose one; add the products in the next cycle."""
        m = Module()
        a, b = self.a, self.b
        op = self.operation.op
        subtract = named(m, op == LaneAluOp.SUB, 1, "subtract")
        total = named(m, a + (b ^ subtract.replicate(32)) + subtract, 32, "total")
        sign = a[31] & (self.operation.kind == AluKind.SIGNED)
        distance = b[:5]
        upper = a[_LOWER_BITS:] * b[: 32 - _LOWER_BITS] + a[: 32 - _LOWER_BITS] * b[_LOWER_BITS:]
        chosen, equal, less = self._compared(m)
        results = {
            (LaneAluOp.ADD, LaneAluOp.SUB): total,
            (LaneAluOp.MUL,): Cat(Const(0, _LOWER_BITS), upper)[:32],
            (LaneAluOp.AND,): a & b,
            (LaneAluOp.OR,): a | b,
            (LaneAluOp.XOR,): a ^ b,
            (LaneAluOp.SHIFT_LEFT,): (a << distance)[:32],
            (LaneAluOp.SHIFT_RIGHT,): (Cat(a, sign).as_signed() >> distance)[:32],
            (LaneAluOp.MIN, LaneAluOp.MAX): chosen,
            (LaneAluOp.EQUAL,): equal,
            (LaneAluOp.LESS,): less,
            (LaneAluOp.LESS_EQUAL,): equal | less,
        }
        result = Signal(32)
        with m.Switch(op):
            for ops, value in results.items():
                with m.Case(*ops):
                    m.d.comb += result.eq(value)
        result_2 = registered(m, result, 32, "result_2")
        multiplies = registered(m, op == LaneAluOp.MUL, 1, "multiplies")
        whole = result_2 + Mux(multiplies, self.product, 0)
        m.d.comb += self.value.eq(registered(m, whole, 32, "result_3"))
        return m

    def _compared(self, m: Module) -> tuple[Value, Value, Value]:
        """Return the lesser or greater operand, whether they are equal, whether a is less."""
        a, b, kind = self.a, self.b, self.operation.kind
        fp32 = named(m, kind == AluKind.FP32, 1, "fp32")
        signed = named(m, kind != AluKind.UNSIGNED, 1, "signed")
        a_nan = named(m, fp32 & is_fp32_nan(a), 1, "a_nan")
        b_nan = named(m, fp32 & is_fp32_nan(b), 1, "b_nan")
        zeros = named(m, fp32 & ((a | b)[:31] == 0), 1, "zeros")
        a_key, b_key = (
            named(m, _key(word, signed, fp32), 32, name)
            for word, name in ((a, "a_key"), (b, "b_key"))
        )
        a_less = named(m, a_key < b_key, 1, "a_less")
        takes_a = b_nan | (~a_nan & (a_less ^ (self.operation.op == LaneAluOp.MAX)))
        number = Mux(takes_a, a, b)
        ordered = ~(a_nan | b_nan)
        equal = ordered & ((a == b) | zeros)
        return Mux(a_nan & b_nan, FP32.nan_code, number), equal, ordered & a_less & ~zeros


def _key(word: Value, signed: Value, fp32: Value) -> Value:
    """Return an unsigned number in the order of the words; -0 is below +0."""
    return Cat(word[:31] ^ (word[31] & fp32).replicate(31), word[31] ^ signed)
