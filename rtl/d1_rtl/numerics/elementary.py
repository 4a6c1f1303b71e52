"""Operands of the steps of the elementary functions, for all lanes of a vector."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.elementary import (
    CONSTANTS,
    EXP2_LEAST,
    EXP2_TOP,
    EXP2_ZERO,
    INDEX_BITS,
    PRESCALE,
    SEQUENCES,
    Operand,
    Sequence,
    Step,
)
from d1_golden.numerics.formats import FP32
from d1_golden.numerics.fp32 import ONE, SIGN

from ..turns import TURNS, TurnCounter
from .logic import is_fp32_nan, named

__all__ = [
    "ElementaryFunction",
    "ElementaryOperands",
    "ElementaryPass",
    "SerialElementaryOperands",
    "first_operands",
]

_FRACTION = FP32.mantissa_bits
_BIAS = FP32.bias
#: Signed exponent fields of the scales, and of sums with them.
_FIELD_BITS = 10


class ElementaryFunction(enum.Enum, shape=2):
    """An elementary function."""

    RECIPROCAL = 0
    RECIPROCAL_SQRT = 1
    EXP2 = 2

    @property
    def sequence(self) -> Sequence:
        """Its steps and its table."""
        return {sequence.name.upper(): sequence for sequence in SEQUENCES}[self.name]


class ElementaryPass(data.Struct):
    """A step of a function under way."""

    #: which function
    function: ElementaryFunction
    #: steps that follow it
    remaining: 3
    #: where the lanes keep what they need of this function's operand and results
    slot: 2


def first_operands(function: ElementaryFunction, x: Value) -> tuple[Value, Value, Value]:
    """Return the operands of the first step."""
    values = {
        Operand.X: x,
        Operand.CLAMPED: _clamped(x),
        Operand.PRESCALE: Mux(_field(x) == 0, ONE + (PRESCALE << _FRACTION), ONE),
    }
    return _operands(function.sequence.steps[0], values)


def _operands(step: Step, values: Mapping[Operand, Value]) -> tuple[Value, Value, Value]:
    """Return the operands of a step as the multiply-add takes them."""
    a, b, c = (
        Const(CONSTANTS[operand], 32) if operand in CONSTANTS else values[operand]
        for operand in (step.a, step.b, step.c)
    )
    return a ^ (SIGN if step.negate_product else 0), b, c ^ (SIGN if step.negate_addend else 0)


def _kept(sequence: Sequence, to: Operand | None, step: int) -> bool:
    """Return whether a step's result in a temporary is used after the next step."""
    for later, other in enumerate(sequence.steps[step + 1 :]):
        if later > 0 and to in (other.a, other.b, other.c):
            return True
        if other.to is to:
            break
    return False


class ElementaryOperands(wiring.Component):
    """Keep what functions under way need in each lane; give the operands of their next steps.

    Up to four functions are under way, each in a slot of its own. In the cycle in which a function
    enters, its operands `x` are kept; those of its first step are `first_operands`, made outside.
    In the cycle in which the result of a step comes from the multiply-add, `step` says what it
    belongs to. In the next cycle `a`, `b` and `c` are the operands of the step after it.

    The operand, the argument and one temporary of each slot are kept in small memories. What is
    used in the next step only stays in a register: the other temporary.

    The registers keep their values while `enter` and `step_valid` are low.

    Golden twin: the steps, the tables and what is wired of `d1_golden.numerics.elementary`.

    Parameters
    ----------
    lanes
        Lanes of a vector.

    Members
    -------
    enter : In(1)
        A function enters.
    enter_slot : In(2)
        Its slot.
    x : In(32 * lanes)
        Its operands.
    step_valid : In(1)
        The results of a step are there.
    step : In(ElementaryPass)
        The step.
    results : In(32 * lanes)
        Its results.
    a, b, c : Out(32 * lanes)
        Operands of the next step, in the next cycle.

    """

    enter: Signal
    enter_slot: Signal
    x: Signal
    step_valid: Signal
    step: Any
    results: Signal
    a: Signal
    b: Signal
    c: Signal

    def __init__(self, lanes: int, others: Mapping[str, Any] | None = None):
        self._lanes = lanes
        vector = 32 * lanes
        super().__init__(
            {
                "enter": In(1),
                "enter_slot": In(2),
                "x": In(vector),
                "step_valid": In(1),
                "step": In(ElementaryPass),
                "results": In(vector),
                "a": Out(vector),
                "b": Out(vector),
                "c": Out(vector),
                **(others or {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the tables and the lanes; keep what the next step is."""
        m = Module()
        following: Any = Signal(ElementaryPass, reset_less=True)
        with m.If(self.step_valid):
            m.d.sync += [following.eq(self.step), following.remaining.eq(self.step.remaining - 1)]
        keeps_argument, keeps_temporary = self._keeps(m)
        tables = self._tables(m)
        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = _Lane()
            m.d.comb += [
                lane.enter.eq(self.enter),
                lane.enter_slot.eq(self.enter_slot),
                lane.x.eq(self.x.word_select(number, 32)),
                lane.step_valid.eq(self.step_valid),
                lane.keeps_argument.eq(keeps_argument),
                lane.keeps_temporary.eq(keeps_temporary),
                lane.result_slot.eq(self.step.slot),
                lane.result.eq(self.results.word_select(number, 32)),
                lane.following.eq(following),
                self.a.word_select(number, 32).eq(lane.a),
                self.b.word_select(number, 32).eq(lane.b),
                self.c.word_select(number, 32).eq(lane.c),
            ]
            self._look_up(m, tables, lane)
        return m

    def _keeps(self, m: Module) -> tuple[Signal, Signal]:
        """Return whether the result of the step is the argument, or a temporary to be kept."""
        keeps_argument, keeps_temporary = Signal(), Signal()
        for function in ElementaryFunction:
            steps = function.sequence.steps
            for number, step in enumerate(steps):
                here = (self.step.function == function) & (
                    self.step.remaining == len(steps) - 1 - number
                )
                if step.to is Operand.ARGUMENT:
                    assert number == 0, "the argument must be the result of the first step"
                    with m.If(here):
                        m.d.comb += keeps_argument.eq(self.step_valid)
                elif _kept(function.sequence, step.to, number):
                    assert step.to is Operand.T0, f"{step} must be a step to t0"
                    with m.If(here):
                        m.d.comb += keeps_temporary.eq(self.step_valid)
        return keeps_argument, keeps_temporary

    @staticmethod
    def _look_up(m: Module, tables: dict[Operand, memory.Memory], lane: "_Lane") -> None:
        """Give a lane its coefficients."""
        for operand, table in tables.items():
            port = table.read_port(domain="comb")
            m.d.comb += [
                port.addr.eq(lane.row[: len(port.addr)]),
                lane.coefficients[operand.name].eq(port.data),
            ]

    @staticmethod
    def _tables(m: Module) -> dict[Operand, memory.Memory]:
        """Return the table of each coefficient, with those of all functions one after the other.

        A row's number is that in its function's table and, above it, the function's. The last row
        of exp2 is one beyond, where another function would be.
        """
        tables = {}
        for operand in _COEFFICIENTS:
            rows = [0] * (_ROWS * len(ElementaryFunction) + 1)
            for function in ElementaryFunction:
                sequence = function.sequence
                if operand in sequence.coefficients:
                    column = sequence.table[:, sequence.coefficients.index(operand)]
                    first = _ROWS * function.value
                    rows[first : first + len(column)] = [int(code) for code in column]
            table: memory.Memory = memory.Memory(shape=32, depth=len(rows), init=rows)
            m.submodules[f"table_{operand.name.lower()}"] = table
            tables[operand] = table
        return tables


_ROWS = 1 << INDEX_BITS
_COEFFICIENTS = (Operand.C0, Operand.C0_LOW, Operand.C1, Operand.C2)


class _Lane(wiring.Component):
    """A lane of `ElementaryOperands`, whose members it has for one element."""

    enter: In(1)
    enter_slot: In(2)
    x: In(32)
    step_valid: In(1)
    keeps_argument: In(1)
    keeps_temporary: In(1)
    result_slot: In(2)
    result: In(32)
    following: In(ElementaryPass)
    row: Out(INDEX_BITS + 2)
    coefficients: In(data.StructLayout({operand.name: 32 for operand in _COEFFICIENTS}))
    a: Out(32)
    b: Out(32)
    c: Out(32)

    def elaborate(self, platform: object) -> Module:
        """Read what is kept, wire, and select."""
        m = Module()
        latest = self._latest(m)
        x = self._kept(m, "x", self.enter, self.enter_slot, self.x)
        argument = self._kept(m, "argument", self.keeps_argument, self.result_slot, self.result)
        temporary = self._kept(m, "t0", self.keeps_temporary, self.result_slot, self.result)

        function, remaining = self.following.function, self.following.remaining
        significand, scale = Signal(32), Signal(32)
        common: dict[Operand, Value] = {
            Operand.ARGUMENT: argument,
            Operand.CLAMPED: named(m, _clamped(x), 32, "clamped"),
            Operand.SIGNIFICAND: significand,
            Operand.SCALE: scale,
            **{operand: self.coefficients[operand.name] for operand in _COEFFICIENTS},
        }
        field, kind, sign = self._scale_field(m, x, argument)
        m.d.comb += scale.eq(_scale(m, field, kind, sign))
        with m.Switch(function):
            for member in ElementaryFunction:
                row, wired = _WIRINGS[member](argument)
                with m.Case(member):
                    m.d.comb += [self.row.eq(row), significand.eq(wired)]
                    self._select(m, member.sequence, remaining, common, latest, temporary)
        return m

    def _latest(self, m: Module) -> Signal:
        """Return the result of the step before."""
        latest = Signal(32, reset_less=True)
        with m.If(self.step_valid):
            m.d.sync += latest.eq(self.result)
        return latest

    def _kept(self, m: Module, name: str, write: Value, slot: Value, value: Value) -> Value:
        """Return what was written into the slot of the step that follows."""
        store: memory.Memory = memory.Memory(shape=32, depth=4, init=[])
        m.submodules[name] = store
        writer, reader = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [
            writer.en.eq(write),
            writer.addr.eq(slot),
            writer.data.eq(value),
            reader.addr.eq(self.following.slot),
        ]
        return reader.data

    def _select(
        self,
        m: Module,
        sequence: Sequence,
        remaining: Value,
        common: dict[Operand, Value],
        latest: Value,
        temporary: Value,
    ) -> None:
        """Select the operands of the steps after the first."""
        with m.Switch(remaining):
            for number, step in list(enumerate(sequence.steps))[1:]:
                before = sequence.steps[number - 1].to
                values = {Operand.T0: temporary} | common
                if before in (Operand.T0, Operand.T1):
                    values[before] = latest
                operands = _operands(step, values)
                with m.Case(len(sequence.steps) - 1 - number):
                    ports = (self.a, self.b, self.c)
                    m.d.comb += [port.eq(v) for port, v in zip(ports, operands, strict=True)]

    def _scale_field(self, m: Module, x: Value, argument: Value) -> tuple[Value, Value, Value]:
        """Return the exponent field of the scale, what is special about it, and its sign."""
        field = Signal(range(-(1 << _FIELD_BITS - 1), 1 << _FIELD_BITS - 1))
        kind, sign = Signal(_ScaleKind), Signal()
        subnormal = _field(x) == 0
        zero, infinite, nan = x[:31] == 0, x[:31] == FP32.infinity_code, is_fp32_nan(x)
        exponent = _field(argument)
        with m.Switch(self.following.function):
            with m.Case(ElementaryFunction.RECIPROCAL):
                m.d.comb += [
                    field.eq(2 * _BIAS - 1 + Mux(subnormal, PRESCALE, 0) - exponent),
                    kind.eq(_kind(nan=nan, zero=infinite, infinite=field >= FP32.exponent_mask)),
                    sign.eq(x[31]),
                ]
            with m.Case(ElementaryFunction.RECIPROCAL_SQRT):
                half = (exponent + 1)[1:]
                m.d.comb += [
                    field.eq(_BIAS + (_BIAS + 1) // 2 + Mux(subnormal, PRESCALE // 2, 0) - half),
                    kind.eq(_kind(nan=nan | (x[31] & ~zero), zero=infinite, infinite=zero)),
                    sign.eq(x[31] & zero),
                ]
            with m.Case(ElementaryFunction.EXP2):
                integer = _exp2_integer(argument)
                m.d.comb += [
                    field.eq(Mux(integer == EXP2_TOP, EXP2_TOP - 1, integer) + _BIAS),
                    kind.eq(_kind(nan=nan, zero=x >= EXP2_ZERO, infinite=_exp2_infinite(x))),
                ]
        return field, kind, sign


class SerialElementaryOperands(ElementaryOperands):
    """Like `ElementaryOperands`, with a lane that serves one after the other in turns.

    Everything that a step is given or gives is that of one of `TURNS` lanes, whose number is that
    of the turn. The operands are there in the same turn as what they are made of.

    Golden twin: that of `ElementaryOperands`.

    Members
    -------
    enter : In(1)
    enter_slot : In(2)
    x : In(32)
    step_valid : In(1)
    step : In(ElementaryPass)
    results : In(32)
        As of `ElementaryOperands`.
    following : In(ElementaryPass)
        The step whose operands are wanted.
    latest : In(32)
        The result of the step before it.
    a, b, c : Out(32)
    """

    following: Any
    latest: Signal

    def __init__(self) -> None:
        super().__init__(1, {"following": In(ElementaryPass), "latest": In(32)})

    def elaborate(self, platform: object) -> Module:
        """Build the tables and the lane."""
        m = Module()
        keeps_argument, keeps_temporary = self._keeps(m)
        m.submodules.lane = lane = _SerialLane()
        m.d.comb += [
            lane.enter.eq(self.enter),
            lane.enter_slot.eq(self.enter_slot),
            lane.x.eq(self.x),
            lane.keeps_argument.eq(keeps_argument),
            lane.keeps_temporary.eq(keeps_temporary),
            lane.result_slot.eq(self.step.slot),
            lane.result.eq(self.results),
            lane.latest.eq(self.latest),
            lane.following.eq(self.following),
            self.a.eq(lane.a),
            self.b.eq(lane.b),
            self.c.eq(lane.c),
        ]
        self._look_up(m, self._tables(m), lane)
        return m


class _SerialLane(_Lane):
    """A lane that is another one in each turn."""

    latest: In(32)

    def _latest(self, m: Module) -> Signal:
        """Return the result of the step before."""
        m.submodules.turns = self._turns = TurnCounter()
        return self.latest

    def _kept(self, m: Module, name: str, write: Value, slot: Value, value: Value) -> Value:
        """Return what was written into the slot of the step that follows, in the same turn."""
        store: memory.Memory = memory.Memory(shape=32, depth=4 * TURNS, init=[])
        m.submodules[name] = store
        writer, reader = store.write_port(domain="turn"), store.read_port(domain="comb")
        m.d.comb += [
            writer.en.eq(write),
            writer.addr.eq(Cat(slot, self._turns.number)),
            writer.data.eq(value),
            reader.addr.eq(Cat(self.following.slot, self._turns.number)),
        ]
        return reader.data


class _ScaleKind(enum.Enum, shape=2):
    """What a scale is."""

    POWER = 0  #: a power of two
    ZERO = 1
    INFINITE = 2
    NAN = 3


def _kind(*, nan: Value, zero: Value, infinite: Value) -> Value:
    """Return the kind of scale of the first condition that holds."""
    return Mux(
        nan,
        _ScaleKind.NAN,
        Mux(zero, _ScaleKind.ZERO, Mux(infinite, _ScaleKind.INFINITE, _ScaleKind.POWER)),
    )


def _scale(m: Module, field: Value, kind: Value, sign: Value) -> Value:
    """Return the scale of an exponent field; of one below 1 it is a subnormal power of two."""
    subnormal = named(m, field < 1, 1, "subnormal")
    # Field 0 is the greatest subnormal power of two, -1 half of it.
    mantissa = Const(1 << _FRACTION - 1, _FRACTION) >> (-field)[:5]
    power = Cat(Mux(subnormal, mantissa, 0)[:_FRACTION], Mux(subnormal, 0, field)[:8])
    codes = {
        _ScaleKind.POWER: power,
        _ScaleKind.ZERO: Const(0, 31),
        _ScaleKind.INFINITE: Const(FP32.infinity_code, 31),
        _ScaleKind.NAN: Const(FP32.nan_code, 31),
    }
    return Cat(Array(codes[kind] for kind in _ScaleKind)[kind], sign & (kind != _ScaleKind.NAN))


def _field(number: Value) -> Value:
    return number[_FRACTION:31]


def _clamped(x: Value) -> Value:
    """Return the operand of 2^x kept within the table, +0 where the scale alone is the result."""
    least = Mux(x[:31] > EXP2_LEAST & SIGN - 1, EXP2_LEAST, x)
    zero = _exp2_infinite(x) | (x >= EXP2_ZERO)
    return Mux(zero, 0, least)


def _exp2_infinite(x: Value) -> Value:
    """Return whether 2^x is Inf, or x a positive NaN."""
    return ~x[31] & (_field(x) >= _BIAS + EXP2_TOP.bit_length() - 1)


def _exp2_integer(argument: Value) -> Value:
    """Return the integer part of the split operand."""
    return argument[INDEX_BITS : INDEX_BITS + 9].as_signed()


def _reciprocal_wiring(argument: Value) -> tuple[Value, Value]:
    """Return the row of the table, and the significand in [0.5, 1)."""
    row = Cat(argument[_FRACTION - INDEX_BITS : _FRACTION], Const(0, 2))
    return row, Cat(argument[:_FRACTION], Const(_BIAS - 1, 8))


def _reciprocal_sqrt_wiring(argument: Value) -> tuple[Value, Value]:
    """Return the row of the table, and the significand in [0.5, 1) or [1, 2)."""
    odd = ~argument[_FRACTION]
    row = Cat(argument[_FRACTION + 1 - INDEX_BITS : _FRACTION + 1], Const(1, 2))
    return row, Cat(argument[:_FRACTION], Mux(odd, _BIAS, _BIAS - 1)[:8])


def _exp2_wiring(argument: Value) -> tuple[Value, Value]:
    """Return the row of the table; there is no significand."""
    top = _exp2_integer(argument) == EXP2_TOP
    fraction = argument[:INDEX_BITS]
    return Cat(Mux(top, 0, fraction)[:INDEX_BITS], Mux(top, 3, 2)[:2]), Const(0, 32)


_WIRINGS = {
    ElementaryFunction.RECIPROCAL: _reciprocal_wiring,
    ElementaryFunction.RECIPROCAL_SQRT: _reciprocal_sqrt_wiring,
    ElementaryFunction.EXP2: _exp2_wiring,
}
