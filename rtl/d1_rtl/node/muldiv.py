"""Integer multiplication and division."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..numerics.logic import normalised
from ..turns import TURNS, TurnCounter, collected, word_of_turn
from .interfaces import THREAD_BITS
from .micro_op import MulDivOp

__all__ = ["Divider", "MulDiv", "Multiplier", "muldiv_layout", "muldiv_result_layout"]

#: Multiplications that may be on their way or wait for `o`: two in the multiplier, and six that
#: allow for an operation between the look at `multiplier_free` and its transfer.
_PRODUCTS = 8
#: Partial products of a multiplication.
_PARTIAL = 4
_DIVISIONS = (MulDivOp.DIV, MulDivOp.DIVU, MulDivOp.REM, MulDivOp.REMU)
_REMAINDERS = (MulDivOp.REM, MulDivOp.REMU)


def _destination() -> dict[str, int]:
    return {"thread": THREAD_BITS, "rd": 5}


def muldiv_layout() -> data.StructLayout:
    """Return the layout of an operation: what, on which operands, and where the result goes."""
    return data.StructLayout({"op": MulDivOp, "word": 1, "a": 64, "b": 64, **_destination()})


def muldiv_result_layout() -> data.StructLayout:
    """Return the layout of a result: its register and its value."""
    return data.StructLayout({**_destination(), "value": 64})


class Multiplier(wiring.Component):
    """Multiply two 64-bit numbers in two steps; golden twin: `mul*` of `d1_golden.isa`.

    `product` holds the full product of the operands of two cycles before: four partial products of
    half words, their sum with the correction of signs. One multiplication can enter per cycle. Only
    cycles with `enable` count. On an FPGA one partial product is made in each turn.

    Members
    -------
    enable : In(1)
    a, b : In(64)
    a_signed, b_signed : In(1)
    product : Out(128)
    """

    #: Both steps advance.
    enable: In(1)
    #: Operands.
    a: In(64)
    b: In(64)
    #: Whether an operand is signed.
    a_signed: In(1)
    b_signed: In(1)
    #: The product, two cycles later.
    product: Out(128)

    #: Steps.
    LATENCY = 2

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        low = [Signal(64, name=f"partial_{n}") for n in range(_PARTIAL)]
        correction, total = Signal(64), Signal(128)
        m.d.comb += total.eq(Cat(low[0], low[3]) + ((low[1] + low[2]) << 32))
        halves_a, halves_b = (self.a[:32], self.a[32:]), (self.b[:32], self.b[32:])
        if platform is None:
            products = [a * b for a in halves_a for b in halves_b]
        else:
            m.submodules.turns = turns = TurnCounter()
            a_of_turn = word_of_turn(Cat(half.replicate(2) for half in halves_a), turns.number, 32)
            b_of_turn = word_of_turn(self.b.replicate(2), turns.number, 32)
            made = collected(m, a_of_turn * b_of_turn, "product")
            products = [made.word_select(n, 64) for n in range(_PARTIAL)]
        with m.If(self.enable):
            m.d.sync += [
                partial.eq(product) for partial, product in zip(low, products, strict=True)
            ]
            # As a signed number, an operand with its top bit set is less by 2^64.
            m.d.sync += [
                correction.eq(
                    Mux(self.a_signed & self.a[63], self.b, 0)
                    + Mux(self.b_signed & self.b[63], self.a, 0)
                ),
                self.product.eq(Cat(total[:64], (total[64:] - correction)[:64])),
            ]
        return m


class Divider(wiring.Component):
    """Divide two unsigned numbers, two bits of the quotient a step; golden twin: `divu`, `remu`.

    Only bits that the quotient can have are worked on: with D the bits of the dividend less those
    of the divisor, 0 at least, `done` is high D // 2 + 4 cycles after `start`, in 4..35 cycles,
    until the next `start`. On an FPGA it is one bit in each turn, of all 64, so always 17 cycles.
    Division by zero gives the quotient 2^64 - 1 and the dividend as
    remainder, as RV64M wants it.

    Members
    -------
    start : In(1)
    dividend, divisor : In(64)
    done : Out(1)
    quotient, remainder : Out(64)

    Ref: Ercegovac and Lang, Division and Square Root: Digit-Recurrence Algorithms and
    Implementations, chapter 2 (restoring, radix 4).
    """

    #: For one cycle: take the operands. Not between a start and `done`.
    start: In(1)
    #: Operands, in the cycle of `start`.
    dividend: In(64)
    divisor: In(64)
    #: The results are there.
    done: Out(1)
    #: Results.
    quotient: Out(64)
    remainder: Out(64)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        if platform is not None:
            return self._divide_in_turns()
        m = Module()
        # The divisor is moved left by `shift`, an even number, so that the remainder is less than
        # four times as much, and moves right by two in each step.
        divisor, triple = Signal(64), Signal(66)
        shift, distance = Signal(6), Signal(7)
        _, dividend_zeros = normalised(m, self.remainder)
        _, divisor_zeros = normalised(m, divisor)
        m.d.comb += distance.eq(divisor_zeros - dividend_zeros)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        self.remainder.eq(self.dividend),
                        divisor.eq(self.divisor),
                        # Every digit of a division by zero comes out as 3, as many as there are.
                        self.quotient.eq((self.divisor == 0).replicate(64)),
                        self.done.eq(0),
                    ]
                    m.next = "ALIGN"
            with m.State("ALIGN"):
                with m.If(distance[6]):  # the quotient is 0
                    m.d.sync += shift.eq(0)
                with m.Else():
                    m.d.sync += [
                        shift.eq(distance[1:6] << 1),
                        divisor.eq(divisor << (distance[1:6] << 1)),
                    ]
                m.next = "TRIPLE"
            with m.State("TRIPLE"):
                m.d.sync += triple.eq(divisor + (divisor << 1))
                m.next = "STEP"
            with m.State("STEP"):
                self._step(m, divisor, triple)
                m.d.sync += [shift.eq(shift - 2), divisor.eq(divisor >> 2), triple.eq(triple >> 2)]
                with m.If(shift == 0):
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
        return m

    def _divide_in_turns(self) -> Module:
        """Subtract the divisor in each turn, wherever it can be."""
        m = Module()
        m.submodules.turns = turns = TurnCounter()
        divisor, left = Signal(64), Signal(range(64 // TURNS + 1))
        # The bits of the dividend leave `quotient` at the top while digits enter it.
        remainder, quotient = Signal(64), Signal(64)
        rest, difference = Signal(65), Signal(66)
        following = [Signal(64, name=f"next_{name}") for name in ("remainder", "quotient")]
        m.d.comb += [
            rest.eq(Cat(quotient[-1], remainder)),
            difference.eq(rest - divisor),
            following[0].eq(Mux(difference[-1], rest, difference)),
            following[1].eq(Cat(~difference[-1], quotient[:-1])),
        ]
        with m.If(self.start & turns.last):
            m.d.turn += [remainder.eq(0), quotient.eq(self.dividend)]
        with m.Else():
            m.d.turn += [remainder.eq(following[0]), quotient.eq(following[1])]
        with m.If(self.start):
            m.d.sync += [divisor.eq(self.divisor), left.eq(64 // TURNS), self.done.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), self.done.eq(left == 1)]
        with m.If(left == 1):
            m.d.sync += [self.remainder.eq(following[0]), self.quotient.eq(following[1])]
        return m

    def _step(self, m: Module, divisor: Value, triple: Value) -> None:
        """Take the greatest multiple of the divisor from the remainder, and note the digit."""
        digit, rest = Signal(2), Signal(64)
        multiples = (Const(0), divisor, divisor << 1, triple)
        differences = [self.remainder - multiple for multiple in multiples]
        m.d.comb += rest.eq(self.remainder)
        for n, difference in enumerate(differences[1:], start=1):
            with m.If(difference >= 0):
                m.d.comb += [digit.eq(n), rest.eq(difference)]
        m.d.sync += [
            self.remainder.eq(rest), self.quotient.eq(Cat(digit, self.quotient[:-2])),
        ]  # fmt: skip


class MulDiv(wiring.Component):
    """Execute RV64M for all threads; golden twin: the `Unit.MULDIV` rows of `d1_golden.isa`.

    A multiplication that is transferred in cycle t has its result on `o` in t + 2, one a cycle. A
    division has its result there in t + 4 + D // 2, with D the bits of the dividend's magnitude
    less those of the divisor's (zero has one), 0 at least: in 4..35 cycles, 19 at most when of 32
    bits; on an FPGA always in t + 17. There is one division at a time; multiplications pass it. Its
    result goes first where it meets that of a multiplication, which then comes later.

    Results that are not taken wait in a queue with room for every multiplication that was taken;
    `i` is ready for 8 of them.

    The unit may be in a clock domain that stands still while neither `i.valid` nor `busy` is high.

    Members
    -------
    i : In(stream.Signature(muldiv_layout()))
    o : Out(stream.Signature(muldiv_result_layout()))
    busy, multiplier_free, divider_free : Out(1)

    Ref: The RISC-V Instruction Set Manual, Volume I, chapter 13, "M Extension".
    """

    #: Operations. `ready` depends on the operation that is offered.
    i: In(stream.Signature(muldiv_layout()))
    #: Their results; those of multiplications in order.
    o: Out(stream.Signature(muldiv_result_layout()))
    #: An operation is on its way or its result on `o`.
    busy: Out(1)
    #: `i` is ready for a multiplication in the next cycle, whatever is transferred in this one.
    multiplier_free: Out(1)
    #: `i` is ready for a division, in the next cycle too unless one is transferred in this one.
    divider_free: Out(1)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        divides, transfers = Signal(), Signal()
        with m.Switch(self.i.payload.op):
            with m.Case(*_DIVISIONS):
                m.d.comb += divides.eq(1)
        operands = self._operands(m)
        level = Signal(range(_PRODUCTS + 1))  # multiplications on their way and in the queue
        m.d.comb += [
            self.i.ready.eq(Mux(divides, self.divider_free, level != _PRODUCTS)),
            transfers.eq(self.i.valid & self.i.ready),
            self.multiplier_free.eq(level < _PRODUCTS - 1),
            self.busy.eq((level != 0) | ~self.divider_free),
        ]
        product = self._multiply(m, transfers & ~divides, *operands)
        waiting, quotient, leaves = self._divide(m, transfers & divides, *operands)

        m.submodules.queue = queue = SyncFIFO(
            width=Shape.cast(muldiv_result_layout()).width, depth=_PRODUCTS
        )
        # What was on `o` and was not taken is there again: the oldest product, in the queue by now.
        stays = Signal()
        m.d.comb += [
            queue.w_data.eq(product.payload),
            queue.w_en.eq(product.valid),
            self.o.valid.eq(waiting | queue.r_rdy | product.valid),
        ]
        with m.If(waiting & ~stays):
            m.d.comb += [self.o.payload.eq(quotient), leaves.eq(self.o.ready)]
        with m.Elif(queue.r_rdy):
            m.d.comb += [self.o.payload.eq(queue.r_data), queue.r_en.eq(self.o.ready)]
        with m.Else():
            m.d.comb += [self.o.payload.eq(product.payload)]
            with m.If(self.o.ready):
                m.d.comb += queue.w_en.eq(0)
        product_leaves = self.o.valid & self.o.ready & ~leaves
        m.d.sync += [
            stays.eq(self.o.valid & ~self.o.ready & (stays | ~waiting)),
            level.eq(level + (transfers & ~divides) - product_leaves),
        ]
        return m

    def _operands(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Return the operands in 64 bits, and whether they are signed."""
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
        return a, b, a_signed, b_signed

    def _multiply(
        self, m: Module, enter: Value, a: Value, b: Value, a_signed: Value, b_signed: Value
    ) -> Any:
        """Multiply; return what leaves the multiplier: valid and payload."""
        m.submodules.multiplier = multiplier = Multiplier()
        layout = data.StructLayout({"valid": 1, "high": 1, "word": 1, **_destination()})
        steps: list[Any] = [Signal(layout, name=f"step_{n}") for n in range(Multiplier.LATENCY + 1)]
        operation = self.i.payload
        m.d.comb += [
            steps[0].valid.eq(enter),
            steps[0].high.eq(operation.op != MulDivOp.MUL),
            steps[0].word.eq(operation.word),
            steps[0].thread.eq(operation.thread),
            steps[0].rd.eq(operation.rd),
            multiplier.enable.eq(Cat(step.valid for step in steps[:-1]).any()),
            multiplier.a.eq(a),
            multiplier.b.eq(b),
            multiplier.a_signed.eq(a_signed),
            multiplier.b_signed.eq(b_signed),
        ]
        m.d.sync += [following.eq(step) for step, following in pairwise(steps)]
        last, full = steps[-1], multiplier.product
        product: Any = Signal(
            data.StructLayout({"valid": 1, "payload": muldiv_result_layout()}), name="product"
        )
        result = _result(Mux(last.high, full[64:], full[:64]), last.word)
        m.d.comb += [product.valid.eq(last.valid), *_give(product.payload, last, result)]
        return product

    def _divide(
        self, m: Module, enter: Value, a: Value, b: Value, _a_signed: Value, is_signed: Value
    ) -> tuple[Signal, Any, Signal]:
        """Divide magnitudes; return whether a result waits, the result, and a signal to take it."""
        m.submodules.divider = divider = Divider()
        layout = data.StructLayout({"remainder": 1, "negate": 1, "word": 1, **_destination()})
        division: Any = Signal(layout, name="division")
        under_way, waiting, leaves = Signal(), Signal(), Signal(name="leaves")
        operation = self.i.payload
        is_remainder = Signal()
        with m.Switch(operation.op):
            with m.Case(*_REMAINDERS):
                m.d.comb += is_remainder.eq(1)
        # The quotient of a division by zero is all ones whatever the sign.
        negate = Mux(is_remainder, a[63], (a[63] ^ b[63]) & b.any())
        m.d.comb += [
            divider.start.eq(enter),
            divider.dividend.eq(Mux(is_signed & a[63], -a, a)),
            divider.divisor.eq(Mux(is_signed & b[63], -b, b)),
            self.divider_free.eq(~under_way),
            waiting.eq(under_way & divider.done),
        ]
        with m.If(enter):
            m.d.sync += [
                under_way.eq(1),
                division.remainder.eq(is_remainder),
                division.negate.eq(is_signed & negate),
                division.word.eq(operation.word),
                division.thread.eq(operation.thread),
                division.rd.eq(operation.rd),
            ]
        with m.Elif(leaves):
            m.d.sync += under_way.eq(0)
        magnitude, quotient = Signal(64), Signal(muldiv_result_layout(), name="quotient")
        m.d.comb += magnitude.eq(Mux(division.remainder, divider.remainder, divider.quotient))
        result = _result(Mux(division.negate, -magnitude, magnitude), division.word)
        m.d.comb += _give(quotient, division, result)
        return waiting, quotient, leaves


def _result(value: Value, word: Value) -> Value:
    """Return a result, cut to 32 bits and sign-extended where the operation is of `word` size."""
    return Mux(word, Cat(value[:32], value[31].replicate(32)), value[:64])


def _give(payload: Any, destination: Any, value: Value) -> list[Any]:
    """Return the assignments that make a result."""
    return [
        payload.thread.eq(destination.thread),
        payload.rd.eq(destination.rd),
        payload.value.eq(value),
    ]
