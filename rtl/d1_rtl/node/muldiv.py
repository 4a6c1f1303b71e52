"""Integer multiplication and division."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .micro_op import MulDivOp

__all__ = ["Divider", "MulDiv", "Multiplier", "muldiv_layout"]


def muldiv_layout() -> data.StructLayout:
    """Return the layout of a multiplication or division: the operation and its two operands."""
    return data.StructLayout({"op": MulDivOp, "word": 1, "a": 64, "b": 64})


class Multiplier(wiring.Component):
    """Multiply two 64-bit numbers in three steps; golden twin: `mul*` of `d1_golden.isa`.

    `product` holds the full product of the operands of three cycles before: four partial products
    of half words, their sum, the correction of signs. One multiplication can enter per cycle. Only
    cycles with `enable` count.

    Members
    -------
    enable : In(1)
    a, b : In(64)
    a_signed, b_signed : In(1)
    product : Out(128)
    """

    #: All three steps advance.
    enable: In(1)
    #: Operands.
    a: In(64)
    b: In(64)
    #: Whether an operand is signed.
    a_signed: In(1)
    b_signed: In(1)
    #: The product, three cycles later.
    product: Out(128)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        low = [Signal(64, name=f"partial_{n}") for n in range(4)]
        correction, correction_1 = Signal(64), Signal(64)
        total = Signal(128)
        halves_a, halves_b = (self.a[:32], self.a[32:]), (self.b[:32], self.b[32:])
        with m.If(self.enable):
            m.d.sync += [
                low[2 * i + j].eq(halves_a[i] * halves_b[j]) for i in (0, 1) for j in (0, 1)
            ]
            # As a signed number, an operand with its top bit set is less by 2^64.
            m.d.sync += [
                correction.eq(
                    Mux(self.a_signed & self.a[63], self.b, 0)
                    + Mux(self.b_signed & self.b[63], self.a, 0)
                ),
                correction_1.eq(correction),
                total.eq(Cat(low[0], low[3]) + ((low[1] + low[2]) << 32)),
                self.product.eq(Cat(total[:64], (total[64:] - correction_1)[:64])),
            ]
        return m


class Divider(wiring.Component):
    """Divide two unsigned numbers, one bit of the quotient a cycle; golden twin: `divu`, `remu`.

    65 cycles from `start` to `done`. Division by zero gives the quotient 2^64 - 1 and the dividend
    as remainder, as RV64M wants it.

    Members
    -------
    start : In(1)
    dividend, divisor : In(64)
    done : Out(1)
    quotient, remainder : Out(64)
    """

    #: For one cycle: take the operands.
    start: In(1)
    #: Operands, held until `done`.
    dividend: In(64)
    divisor: In(64)
    #: High for one cycle, in which the results are there.
    done: Out(1)
    #: Results.
    quotient: Out(64)
    remainder: Out(64)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        busy = Signal()
        count = Signal(range(64))
        partial = Signal(65)
        difference = Signal(signed(66))
        fits = Signal()
        m.d.comb += [
            partial.eq(Cat(self.quotient[63], self.remainder)),
            difference.eq(partial - self.divisor),
            fits.eq(~difference[65]),
        ]
        m.d.sync += self.done.eq(busy & (count == 63))
        with m.If(self.start):
            m.d.sync += [
                busy.eq(1), count.eq(0), self.quotient.eq(self.dividend), self.remainder.eq(0),
            ]  # fmt: skip
        with m.Elif(busy):
            m.d.sync += [
                count.eq(count + 1),
                busy.eq(count != 63),
                self.quotient.eq(Cat(fits, self.quotient[:63])),
                self.remainder.eq(Mux(fits, difference[:64], partial[:64])),
            ]
        return m


class MulDiv(wiring.Component):
    """Execute RV64M; golden twin: the `Unit.MULDIV` rows of `d1_golden.isa`.

    One operation at a time: a multiplication gives its result 3 cycles after it was taken, a
    division 67 cycles after, of 32 bits too. `o` holds the result until it is taken, and `i` is
    ready again after that.

    Members
    -------
    i : In(stream.Signature(muldiv_layout()))
    o : Out(stream.Signature(64))

    Ref: The RISC-V Instruction Set Manual, Volume I, chapter 13, "M Extension".
    """

    #: The operation.
    i: In(stream.Signature(muldiv_layout()))
    #: Its result.
    o: Out(stream.Signature(64))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier()
        m.submodules.divider = divider = Divider()
        op, word = Signal(MulDivOp), Signal()
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.i.ready.eq(1), multiplier.enable.eq(self.i.valid)]
                m.d.sync += [op.eq(self.i.payload.op), word.eq(self.i.payload.word)]
                with m.If(self.i.valid):
                    m.next = "MULTIPLY_1"
                    with m.Switch(self.i.payload.op):
                        with m.Case(MulDivOp.DIV, MulDivOp.DIVU, MulDivOp.REM, MulDivOp.REMU):
                            m.next = "DIVIDE_1"
            with m.State("MULTIPLY_1"):
                m.d.comb += multiplier.enable.eq(1)
                m.next = "MULTIPLY_2"
            with m.State("MULTIPLY_2"):
                m.d.comb += multiplier.enable.eq(1)
                m.next = "DONE"
            with m.State("DIVIDE_1"):
                m.d.comb += divider.start.eq(1)
                m.next = "DIVIDE_2"
            with m.State("DIVIDE_2"), m.If(divider.done):
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        quotient, remainder = self._divide(m, divider, *self._operands(m, multiplier))
        result = Signal(64)
        with m.Switch(op):
            with m.Case(MulDivOp.MUL):
                m.d.comb += result.eq(multiplier.product[:64])
            with m.Case(MulDivOp.MULH, MulDivOp.MULHSU, MulDivOp.MULHU):
                m.d.comb += result.eq(multiplier.product[64:])
            with m.Case(MulDivOp.DIV, MulDivOp.DIVU):
                m.d.comb += result.eq(quotient)
            with m.Case(MulDivOp.REM, MulDivOp.REMU):
                m.d.comb += result.eq(remainder)
        m.d.comb += self.o.payload.eq(Mux(word, Cat(result[:32], result[31].replicate(32)), result))
        return m

    def _operands(self, m: Module, multiplier: Multiplier) -> tuple[Signal, Signal, Signal]:
        """Extend the operands and feed the multiplier; return them and whether they are signed."""
        operation = self.i.payload
        a, b = Signal(64), Signal(64)
        a_signed, b_signed = Signal(), Signal()
        with m.Switch(operation.op):
            with m.Case(MulDivOp.MULH, MulDivOp.DIV, MulDivOp.REM):
                m.d.comb += [a_signed.eq(1), b_signed.eq(1)]
            with m.Case(MulDivOp.MULHSU):
                m.d.comb += a_signed.eq(1)
        with m.If(~operation.word):
            m.d.comb += [a.eq(operation.a), b.eq(operation.b)]
        with m.Elif(b_signed):
            m.d.comb += [
                a.eq(operation.a[:32].as_signed()), b.eq(operation.b[:32].as_signed()),
            ]  # fmt: skip
        with m.Else():
            m.d.comb += [a.eq(operation.a[:32]), b.eq(operation.b[:32])]
        m.d.comb += [
            multiplier.a.eq(a),
            multiplier.b.eq(b),
            multiplier.a_signed.eq(a_signed),
            multiplier.b_signed.eq(b_signed),
        ]
        return a, b, b_signed

    def _divide(
        self, m: Module, divider: Divider, a: Value, b: Value, is_signed: Value
    ) -> tuple[Value, Value]:
        """Feed the divider with magnitudes; return quotient and remainder with their signs."""
        negate_quotient, negate_remainder = Signal(), Signal()
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                divider.dividend.eq(Mux(is_signed & a[63], -a, a)),
                divider.divisor.eq(Mux(is_signed & b[63], -b, b)),
                # The quotient of a division by zero is all ones whatever the sign.
                negate_quotient.eq(is_signed & (a[63] ^ b[63]) & b.any()),
                negate_remainder.eq(is_signed & a[63]),
            ]
        return (
            Mux(negate_quotient, -divider.quotient, divider.quotient),
            Mux(negate_remainder, -divider.remainder, divider.remainder),
        )
