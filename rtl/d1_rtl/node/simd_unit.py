"""The SIMD unit: FP32 and integer arithmetic in every lane of a vector."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Const, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.fp32 import ONE, SIGN
from d1_golden.params import NodeParams

from ..clock_gate import ClockGate
from ..numerics.elementary import (
    ElementaryFunction,
    ElementaryOperands,
    ElementaryPass,
    SerialElementaryOperands,
    first_operands,
)
from ..numerics.fp32_fma import INTEGER_FRAME, Fp32Fma, from_int32
from ..numerics.lane_alu import AluKind, LaneAlu, LaneAluOp, LaneOperation
from ..turns import TURNS, TurnCounter, collected, delayed, word_of_turn

__all__ = ["SimdOp", "SimdUnit", "simd_operation_layout"]

#: Cycles of a pass: one into the registers of the operands, two through a lane, one into that of
#: the result.
_PASS_CYCLES = 4


class SimdOp(enum.Enum, shape=6):
    """What the SIMD unit does: the instructions of unit VECTOR_SIMD, by their names."""

    VFADD_F32 = 0
    VFSUB_F32 = 1
    VFMUL_F32 = 2
    VFMADD_F32 = 3
    VFNMADD_F32 = 4
    VFMIN_F32 = 5
    VFMAX_F32 = 6
    VFRCP_F32 = 7
    VFRSQRT_F32 = 8
    VFEXP2_F32 = 9
    VFEQ_F32 = 10
    VFLT_F32 = 11
    VFLE_F32 = 12
    VFREDSUM_F32 = 13
    VFREDMIN_F32 = 14
    VFREDMAX_F32 = 15
    VCVT_I32_F32 = 16
    VCVT_F32_I32 = 17
    VADD_I32 = 18
    VSUB_I32 = 19
    VMUL_I32 = 20
    VAND_I32 = 21
    VOR_I32 = 22
    VXOR_I32 = 23
    VSLL_I32 = 24
    VSRL_I32 = 25
    VSRA_I32 = 26
    VMIN_I32 = 27
    VMAX_I32 = 28
    VMINU_I32 = 29
    VMAXU_I32 = 30
    VSEQ_I32 = 31
    VSLT_I32 = 32
    VSLTU_I32 = 33
    VREDSUM_I32 = 34
    VREDMIN_I32 = 35
    VREDMAX_I32 = 36
    VREDMINU_I32 = 37
    VREDMAXU_I32 = 38


_ELEMENTARY = {
    SimdOp.VFRCP_F32: ElementaryFunction.RECIPROCAL,
    SimdOp.VFRSQRT_F32: ElementaryFunction.RECIPROCAL_SQRT,
    SimdOp.VFEXP2_F32: ElementaryFunction.EXP2,
}
_UNSIGNED, _SIGNED, _FP32 = AluKind.UNSIGNED, AluKind.SIGNED, AluKind.FP32
#: What the lanes' ALUs do, of all operations but those of the multiply-add alone.
_ALU: dict[SimdOp, tuple[LaneAluOp, AluKind]] = {
    SimdOp.VFMIN_F32: (LaneAluOp.MIN, _FP32),
    SimdOp.VFMAX_F32: (LaneAluOp.MAX, _FP32),
    SimdOp.VFEQ_F32: (LaneAluOp.EQUAL, _FP32),
    SimdOp.VFLT_F32: (LaneAluOp.LESS, _FP32),
    SimdOp.VFLE_F32: (LaneAluOp.LESS_EQUAL, _FP32),
    SimdOp.VFREDMIN_F32: (LaneAluOp.MIN, _FP32),
    SimdOp.VFREDMAX_F32: (LaneAluOp.MAX, _FP32),
    SimdOp.VADD_I32: (LaneAluOp.ADD, _UNSIGNED),
    SimdOp.VSUB_I32: (LaneAluOp.SUB, _UNSIGNED),
    SimdOp.VMUL_I32: (LaneAluOp.MUL, _UNSIGNED),
    SimdOp.VAND_I32: (LaneAluOp.AND, _UNSIGNED),
    SimdOp.VOR_I32: (LaneAluOp.OR, _UNSIGNED),
    SimdOp.VXOR_I32: (LaneAluOp.XOR, _UNSIGNED),
    SimdOp.VSLL_I32: (LaneAluOp.SHIFT_LEFT, _UNSIGNED),
    SimdOp.VSRL_I32: (LaneAluOp.SHIFT_RIGHT, _UNSIGNED),
    SimdOp.VSRA_I32: (LaneAluOp.SHIFT_RIGHT, _SIGNED),
    SimdOp.VMIN_I32: (LaneAluOp.MIN, _SIGNED),
    SimdOp.VMAX_I32: (LaneAluOp.MAX, _SIGNED),
    SimdOp.VMINU_I32: (LaneAluOp.MIN, _UNSIGNED),
    SimdOp.VMAXU_I32: (LaneAluOp.MAX, _UNSIGNED),
    SimdOp.VSEQ_I32: (LaneAluOp.EQUAL, _UNSIGNED),
    SimdOp.VSLT_I32: (LaneAluOp.LESS, _SIGNED),
    SimdOp.VSLTU_I32: (LaneAluOp.LESS, _UNSIGNED),
    SimdOp.VREDSUM_I32: (LaneAluOp.ADD, _UNSIGNED),
    SimdOp.VREDMIN_I32: (LaneAluOp.MIN, _SIGNED),
    SimdOp.VREDMAX_I32: (LaneAluOp.MAX, _SIGNED),
    SimdOp.VREDMINU_I32: (LaneAluOp.MIN, _UNSIGNED),
    SimdOp.VREDMAXU_I32: (LaneAluOp.MAX, _UNSIGNED),
}
_RELATIONS = {LaneAluOp.EQUAL, LaneAluOp.LESS, LaneAluOp.LESS_EQUAL}
#: Operations with a mask as their result.
_COMPARES = [op for op, (alu_op, _) in _ALU.items() if alu_op in _RELATIONS]
#: Operations of all lanes into one.
_REDUCTIONS = [op for op in SimdOp if "RED" in op.name]
#: Operations that go through the multiply-add; the lanes' ALUs add to the product of integers.
_FMA = [op for op in SimdOp if op not in _ALU or op is SimdOp.VMUL_I32]

#: Operations on integers, whose bits the multiply-add takes as they are.
_RAW = [SimdOp.VMUL_I32, SimdOp.VCVT_F32_I32]


def simd_operation_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of an operation of the SIMD unit.

    Members
    -------
    a, b, c : 8 x vector_bytes
        The operands: vs1, vs2 and the old vd. Only VFMADD_F32 and VFNMADD_F32 use `c`; what has
        one source uses `a`.
    op : SimdOp
    """
    vector = 8 * params.vector_bytes
    return data.StructLayout({"a": vector, "b": vector, "c": vector, "op": SimdOp})


#: A pass of an operation through the lanes, and how many follow.
_PASS = data.StructLayout({"op": SimdOp, "remaining": 3})


def _passes(params: NodeParams) -> dict[SimdOp, int]:
    """Return how many passes operations take that take several."""
    reduction = (params.fp32_lanes - 1).bit_length()
    elementary = {op: len(function.sequence.steps) for op, function in _ELEMENTARY.items()}
    return elementary | dict.fromkeys(_REDUCTIONS, reduction)


def _is_any(op: Any, ops: Collection[SimdOp]) -> Value:
    """Return whether an operation is one of some."""
    return op.as_value().matches(*(member.value for member in ops))


class _FmaLanes(wiring.Component):
    """The multiply-adds of all lanes, and registers of their operands, loaded if `enter`."""

    enter: Signal
    raw: Signal
    a: Signal
    b: Signal
    c: Signal
    result: Signal
    product: Signal
    integer: Signal

    def __init__(self, lanes: int):
        self._lanes = lanes
        inputs = dict.fromkeys("abc", In(32 * lanes))
        outputs = dict.fromkeys(("result", "product", "integer"), Out(32 * lanes))
        super().__init__({"enter": In(1), "raw": In(1), **inputs, **outputs})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        raw = _loaded(m, self.enter, self.raw, "raw_1")
        a = _loaded(m, self.enter, self.a, "a_1")
        b = _loaded(m, self.enter, self.b, "b_1")
        c = _loaded(m, self.enter, self.c, "c_1")
        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = Fp32Fma()
            m.d.comb += [
                lane.raw.eq(raw),
                lane.a.eq(a.word_select(number, 32)),
                lane.b.eq(b.word_select(number, 32)),
                lane.c.eq(c.word_select(number, 32)),
                self.result.word_select(number, 32).eq(lane.result),
                self.product.word_select(number, 32).eq(lane.product),
                self.integer.word_select(number, 32).eq(lane.integer),
            ]
        return m


class _AluLanes(wiring.Component):
    """The ALUs of all lanes, and registers of their operands, loaded if `enter`."""

    enter: Signal
    operation: Any
    a: Signal
    b: Signal
    product: Signal
    value: Signal

    def __init__(self, lanes: int):
        self._lanes = lanes
        inputs = dict.fromkeys(("a", "b", "product"), In(32 * lanes))
        outputs = {"value": Out(32 * lanes)}
        super().__init__({"enter": In(1), "operation": In(LaneOperation), **inputs, **outputs})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        operation = _loaded(m, self.enter, self.operation, "operation_1")
        a = _loaded(m, self.enter, self.a, "a_1")
        b = _loaded(m, self.enter, self.b, "b_1")
        for number in range(self._lanes):
            m.submodules[f"lane_{number}"] = lane = LaneAlu()
            m.d.comb += [
                lane.operation.eq(operation),
                lane.a.eq(a.word_select(number, 32)),
                lane.b.eq(b.word_select(number, 32)),
                lane.product.eq(self.product.word_select(number, 32)),
                self.value.word_select(number, 32).eq(lane.value),
            ]
        return m


class _SerialLanes(wiring.Component):
    """`TURNS` lanes, one in each turn, with one multiply-add and one ALU.

    Operands are taken in the turns of a cycle; `result` is there in those of the cycle after next.
    """

    #: Turns from the operands of a lane to what comes out of its units: operands are registered.
    _PIPELINE_TURNS = 3

    op: Any
    again: Signal
    a: Signal  # operand or, when `again`, the result so far
    b: Signal
    c: Signal
    partner: Signal
    enter: Signal  # a first pass of an elementary function
    following: Any
    step_valid: Signal  # `result` is that of a step that others follow, which is
    step: Any
    result: Signal

    def __init__(self) -> None:
        super().__init__(
            {"op": In(SimdOp), "again": In(1), "enter": In(1), "step_valid": In(1)}
            | dict.fromkeys(("a", "b", "c", "partner"), In(32))
            | {"following": In(ElementaryPass), "step": In(ElementaryPass), "result": Out(32)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.elementary = elementary = SerialElementaryOperands()
        m.d.comb += [
            elementary.enter.eq(self.enter),
            elementary.enter_slot.eq(self.following.slot),
            elementary.x.eq(self.a),
            elementary.step_valid.eq(self.step_valid),
            elementary.step.eq(self.step),
            elementary.results.eq(self.result),
            elementary.following.eq(self.following),
            elementary.latest.eq(self.a),
        ]
        fma_operands = [Signal(32, name=f"fma_{name}") for name in "abc"]
        alu_operands = [Signal(32, name=f"alu_{name}") for name in "ab"]
        _select_operands(
            m,
            self.op,
            self.again,
            operands=(self.a, self.b, self.c),
            source=self.a,
            partner=self.partner,
            elementary=(elementary.a, elementary.b, elementary.c),
            alu=alu_operands,
            fma=fma_operands,
        )
        fma, alu = Fp32Fma(), LaneAlu()
        m.submodules.fma, m.submodules.alu = DomainRenamer("turn")(fma), DomainRenamer("turn")(alu)
        m.d.turn += [
            fma.raw.eq(_is_any(self.op, _RAW)),
            *(getattr(fma, n).eq(v) for n, v in zip("abc", fma_operands, strict=True)),
            *(getattr(alu, n).eq(v) for n, v in zip("ab", alu_operands, strict=True)),
            alu.operation.eq(_alu_operation(m, self.op)),
        ]
        m.d.comb += alu.product.eq(fma.product)
        is_alu, is_integer = (
            delayed(m, flag, self._PIPELINE_TURNS, name)
            for flag, name in (
                (_is_any(self.op, _ALU), "is_alu"),
                (self.op == SimdOp.VCVT_I32_F32, "is_integer"),
            )
        )
        value = Mux(is_alu, alu.value, Mux(is_integer, fma.integer, fma.result))
        m.d.comb += self.result.eq(delayed(m, value, 2 * TURNS - self._PIPELINE_TURNS, "value"))
        return m


def _loaded(m: Module, enter: Value, value: Any, name: str) -> Any:
    """Return a register without reset that takes a value if `enter`."""
    register: Any = Signal(value.shape(), name=name, reset_less=True)
    with m.If(enter):
        m.d.sync += register.eq(value)
    return register


class SimdUnit(wiring.Component):
    """Calculate with vectors of FP32 numbers or integers, lane by lane, or all lanes into one.

    A lane has a fused multiply-add, which also multiplies and converts integers, and an ALU, which
    compares as well. A pass through either takes 4 cycles, one pass enters per cycle.

    - Most operations take one pass.
    - A reduction combines each lane i with lane i xor 1, then i xor 2, and so on: as many passes as
      the number of a lane has bits.
    - An elementary function takes a pass for each step of its sequence.

    An operation of several passes comes round every 4 cycles, so four of them interleave. Then
    `i.ready` is low for that cycle, in which nothing else can enter: it depends only on what has
    been taken 4 cycles before. Operations of one pass fit between.

    Latency: the result of an operation that is transferred in cycle t is there in cycle t +
    `LATENCY` = 4, or t + `latency_by_op(params)[op]` if it takes several passes, and only then: on
    `o`, or if it is a compare, on `o_mask`. No two results come together, for each comes 4 cycles
    after a pass. Throughput: 1 over the number of passes, per cycle.

    The unit may be in a clock domain that stands still while neither `i.valid` nor `busy` is high.
    The multiply-adds, the ALUs and what the elementary functions need have clocks of their own that
    stand still in passes that do not need them. On an FPGA there is one of each for every `TURNS`
    lanes, which it serves in turns (`Turns`).

    Golden twin: `d1_golden.node.vocabulary_simd`; of the lanes `d1_golden.numerics.fp32`, `lanes`
    and `elementary`.

    Parameters
    ----------
    params
        Size of a vector.
    gated
        Whether the parts stand in gated clock domains (`ClockGate`).

    Members
    -------
    i : In(stream.Signature(simd_operation_layout(params)))
        Operations.
    o : Out(stream.Signature(8 * vector_bytes, always_ready=True))
        Results.
    o_mask : Out(stream.Signature(fp32_lanes, always_ready=True))
        Results of compares, bit n for lane n.
    busy : Out(1)
        A result is on its way, or on `o` or `o_mask`.

    """

    #: Cycles from the transfer of an operation of one pass to its result; cycles of a pass.
    LATENCY = _PASS_CYCLES

    i: stream.Interface
    o: stream.Interface
    o_mask: stream.Interface
    busy: Signal

    def __init__(self, params: NodeParams, *, gated: bool = True):
        self._lanes = params.fp32_lanes
        self._passes = _passes(params)
        self._gated = gated
        vector = stream.Signature(8 * params.vector_bytes, always_ready=True)
        super().__init__(
            {
                "i": In(stream.Signature(simd_operation_layout(params))),
                "o": Out(vector),
                "o_mask": Out(stream.Signature(self._lanes, always_ready=True)),
                "busy": Out(1),
            }
        )

    @classmethod
    def latency_by_op(cls, params: NodeParams) -> dict[SimdOp, int]:
        """Return the latency, in cycles, of each operation of several passes."""
        return {op: cls.LATENCY * passes for op, passes in _passes(params).items()}

    def elaborate(self, platform: object) -> Module:
        """Send operations through the lanes, once or again and again."""
        m = Module()
        # Element n is the pass that entered n + 1 cycles ago.
        under_way = Signal(self.LATENCY)
        passes: Any = [Signal(_PASS, name=f"pass_{n + 1}") for n in range(self.LATENCY)]
        entering: Any = Signal(_PASS)
        enters, again = Signal(), Signal()
        self._enter(m, enters, entering, again, passes[-1])
        m.d.sync += under_way.eq(Cat(enters, under_way))
        for element, before in zip(passes, [entering, *passes], strict=False):
            m.d.sync += element.eq(before)
        result = Signal(32 * self._lanes, reset_less=True)
        finished, compares = under_way[-1] & ~again, _is_any(passes[-1].op, _COMPARES)
        m.d.comb += [
            again.eq(under_way[-1] & (passes[-1].remaining != 0)),
            self.busy.eq(under_way.any()),
            self.o.valid.eq(finished & ~compares),
            self.o.payload.eq(result),
            self.o_mask.valid.eq(finished & compares),
            self.o_mask.payload.eq(Cat(word[0] for word in _words(result))),
        ]

        first = _words(self.i.payload.a)
        sources = [Mux(again, *pair) for pair in zip(_words(result), first, strict=True)]
        add_lanes = self._parallel if platform is None else self._in_turns
        add_lanes(m, enters, entering, again, sources, under_way, passes, result)
        return m

    def _parallel(
        self,
        m: Module,
        enters: Signal,
        entering: Any,
        again: Signal,
        sources: list[Value],
        under_way: Signal,
        passes: list[Any],
        result: Signal,
    ) -> None:
        """Add a multiply-add and an ALU for each lane."""
        fma, alu = _FmaLanes(self._lanes), _AluLanes(self._lanes)
        for name, lanes, ops in (("fma", fma, _FMA), ("alu", alu, _ALU)):
            m.d.comb += lanes.enter.eq(enters & _is_any(entering.op, ops))
            inside = [under_way[n] & _is_any(passes[n].op, ops) for n in range(2)]
            self._add(m, name, lanes, lanes.enter | inside[0] | inside[1])
        elementary = self._elementary(m, self.i.valid & ~again, under_way[2], passes[2], fma.result)
        m.d.comb += [alu.product.eq(fma.product), fma.raw.eq(_is_any(entering.op, _RAW))]
        m.d.comb += alu.operation.eq(_alu_operation(m, entering.op))
        for lane in range(self._lanes):
            # A reduction starts with the neighbour and ends with the most distant lane.
            partner = Array(
                sources[lane ^ self._lanes >> 1 + remaining]
                for remaining in range((self._lanes - 1).bit_length())
            )[entering.remaining]
            _select_operands(
                m,
                entering.op,
                again,
                operands=[self.i.payload[name].word_select(lane, 32) for name in "abc"],
                source=sources[lane],
                partner=partner,
                elementary=[getattr(elementary, name).word_select(lane, 32) for name in "abc"],
                alu=[port.word_select(lane, 32) for port in (alu.a, alu.b)],
                fma=[getattr(fma, name).word_select(lane, 32) for name in "abc"],
            )
        with m.If(under_way[2]):
            with m.If(_is_any(passes[2].op, _ALU)):
                m.d.sync += result.eq(alu.value)
            with m.Elif(passes[2].op == SimdOp.VCVT_I32_F32):
                m.d.sync += result.eq(fma.integer)
            with m.Else():
                m.d.sync += result.eq(fma.result)

    def _in_turns(
        self,
        m: Module,
        enters: Signal,
        entering: Any,
        again: Signal,
        sources: list[Value],
        under_way: Signal,
        passes: list[Any],
        result: Signal,
    ) -> None:
        """Add a multiply-add and an ALU for every `TURNS` lanes, which serve them in turns.

        What enters is kept for a cycle, in which its lanes go into the pipeline, one in each turn.
        They come out so much later that the last is there when `result` takes them.
        """
        m.submodules.turns = turns = TurnCounter()
        operands = self.i.payload
        entered: Any = passes[0]
        was_again = _loaded(m, enters, again, "was_again")
        a = _loaded(m, enters, Cat(sources), "a_1")
        b, c = (_loaded(m, enters, operands[name], f"{name}_1") for name in "bc")
        elementary: Any = Signal(ElementaryPass, name="elementary_done")
        phase = self._follow(m, elementary, passes[2])
        m.d.comb += [
            elementary.remaining.eq(passes[2].remaining),
            elementary.slot.eq(phase - 3),
        ]
        lanes_in_turn = []
        for number in range(self._lanes // TURNS):
            m.submodules[f"lanes_{number}"] = lanes = _SerialLanes()
            m.d.comb += [
                lanes.op.eq(entered.op),
                lanes.again.eq(was_again),
                lanes.enter.eq(under_way[0] & ~was_again & _is_any(entered.op, _ELEMENTARY)),
                lanes.following.remaining.eq(entered.remaining),
                lanes.following.slot.eq(phase - 1),
                lanes.step_valid.eq(
                    under_way[2] & _is_any(passes[2].op, _ELEMENTARY) & (elementary.remaining != 0)
                ),
                lanes.step.eq(elementary),
            ]
            for op, function in _ELEMENTARY.items():
                with m.If(entered.op == op):
                    m.d.comb += lanes.following.function.eq(function)
            for name, vector in (("a", a), ("b", b), ("c", c)):
                words = vector.word_select(number, 32 * TURNS)
                m.d.comb += getattr(lanes, name).eq(word_of_turn(words, turns.number, 32))
            lane = turns.number + number * TURNS
            with m.Switch(entered.remaining):
                for remaining in range((self._lanes - 1).bit_length()):
                    with m.Case(remaining):
                        partner = Array(_words(a))[lane ^ self._lanes >> 1 + remaining]
                        m.d.comb += lanes.partner.eq(partner)
            lanes_in_turn.append(collected(m, lanes.result, f"result_{number}"))
        with m.If(under_way[2]):
            m.d.sync += result.eq(Cat(lanes_in_turn))

    def _follow(self, m: Module, step: Any, done: Any) -> Signal:
        """Say which elementary function's step is done; return the slot of what enters."""
        # The slot of a pass is the number of the cycle in which it entered.
        phase = Signal(range(self.LATENCY))
        m.d.sync += phase.eq(phase + 1)
        for op, function in _ELEMENTARY.items():
            with m.If(done.op == op):
                m.d.comb += step.function.eq(function)
        return phase

    def _add(self, m: Module, name: str, part: Any, en: Value) -> None:
        """Add a part in a clock domain of its name."""
        gate = ClockGate(domain=name, gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules[f"{name}_clock"] = gate
        m.submodules[name] = gate.drive(part)
        m.d.comb += gate.en.eq(en)

    def _enter(self, m: Module, enters: Signal, entering: Any, again: Value, last: Any) -> None:
        """Say what enters: the operation that comes round, or else a new one."""
        new = self.i.payload.op
        m.d.comb += [enters.eq(again | self.i.valid), self.i.ready.eq(~again)]
        with m.If(again):
            m.d.comb += [entering.op.eq(last.op), entering.remaining.eq(last.remaining - 1)]
        with m.Else():
            m.d.comb += entering.op.eq(new)
            for count in sorted(set(self._passes.values())):
                ops = [op for op, passes in self._passes.items() if passes == count]
                with m.If(_is_any(new, ops)):
                    m.d.comb += entering.remaining.eq(count - 1)

    def _elementary(
        self, m: Module, new: Value, stepped: Value, done: Any, results: Value
    ) -> ElementaryOperands:
        """Add what the elementary functions need besides multiply-adds."""
        unit = ElementaryOperands(self._lanes)
        phase = self._follow(m, unit.step, done)
        m.d.comb += [
            unit.enter.eq(new & _is_any(self.i.payload.op, _ELEMENTARY)),
            unit.enter_slot.eq(phase),
            unit.x.eq(self.i.payload.a),
            unit.step_valid.eq(stepped & _is_any(done.op, _ELEMENTARY) & (done.remaining != 0)),
            unit.step.remaining.eq(done.remaining),
            unit.step.slot.eq(phase - 3),
            unit.results.eq(results),
        ]
        self._add(m, "elementary", unit, unit.enter | unit.step_valid)
        return unit


def _select_operands(
    m: Module,
    op: Any,
    again: Value,
    *,
    operands: Sequence[Value],
    source: Value,
    partner: Value,
    elementary: Sequence[Value],
    alu: Sequence[Value],
    fma: Sequence[Value],
) -> None:
    """Select what ALU and multiply-add of a lane get.

    `source` is what a reduction combines with `partner`: the operand, or the result so far.
    """
    a, b, c = operands
    reduces = _is_any(op, _REDUCTIONS)
    m.d.comb += [
        alu[0].eq(source),
        alu[1].eq(Mux(reduces, partner, b)),
    ]
    one, minus_zero = Const(ONE, 32), Const(SIGN, 32)
    terms = {
        SimdOp.VFADD_F32: (a, one, b),
        SimdOp.VFSUB_F32: (a, one, b ^ SIGN),
        SimdOp.VFMUL_F32: (a, b, minus_zero),
        SimdOp.VFMADD_F32: (a, b, c),
        SimdOp.VFNMADD_F32: (a ^ SIGN, b, c),
        SimdOp.VFREDSUM_F32: (source, one, partner),
        SimdOp.VCVT_I32_F32: (Const(INTEGER_FRAME, 32), one, a),
        SimdOp.VCVT_F32_I32: from_int32(a),
        SimdOp.VMUL_I32: (a, b, minus_zero),
        **{op: first_operands(function, a) for op, function in _ELEMENTARY.items()},
    }
    with m.Switch(op):
        for member, values in terms.items():
            with m.Case(member):
                m.d.comb += [i.eq(value) for i, value in zip(fma, values, strict=True)]
    with m.If(again & _is_any(op, _ELEMENTARY)):
        m.d.comb += [i.eq(value) for i, value in zip(fma, elementary, strict=True)]


def _words(vector: Value) -> list[Value]:
    """Return the lanes of a vector."""
    return [vector.word_select(lane, 32) for lane in range(len(vector) // 32)]


def _alu_operation(m: Module, op: Any) -> Any:
    """Return what the ALUs do for an operation."""
    operation: Any = Signal(LaneOperation, name="alu_operation")
    with m.Switch(op):
        for member, (alu_op, kind) in _ALU.items():
            with m.Case(member):
                m.d.comb += [operation.op.eq(alu_op), operation.kind.eq(kind)]
    return operation
