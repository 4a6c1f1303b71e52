"""The convert unit: a vector from one number format to another."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from ..numerics.cfp8 import Cfp8Config, Cfp8ToBf16
from ..numerics.convert import Fp32Narrow
from ..numerics.random import RandomWord
from ..turns import TURNS, TurnCounter, collected, delayed, word_of_turn

__all__ = ["ConvertOp", "ConvertUnit", "convert_operation_layout"]


class ConvertOp(enum.Enum, shape=2):
    """What the convert unit does."""

    FP32_FROM_BF16 = 0
    BF16_FROM_FP32 = 1
    FP32_FROM_CFP8 = 2
    CFP8_FROM_FP32 = 3


def convert_operation_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of an operation of the convert unit.

    Members
    -------
    source : 8 x vector_bytes
        The vector to be converted.
    merge : 8 x vector_bytes
        Narrowing: what the other parts of the result are.
    seed : 64
        Stochastic rounding: counter below, key above.
    op : ConvertOp
    part : 2
        Which part of the narrow vector, 0..1 of BF16, 0..3 of CFP8.
    stochastic : 1
        Narrowing: round stochastically, otherwise to nearest even.
    config : Cfp8Config
        Format of CFP8.
    """
    return data.StructLayout(
        {
            "source": 8 * params.vector_bytes,
            "merge": 8 * params.vector_bytes,
            "seed": 64,
            "op": ConvertOp,
            "part": 2,
            "stochastic": 1,
            "config": Cfp8Config,
        }
    )


class ConvertUnit(wiring.Component):
    """Convert a vector between FP32 and a part of a vector of BF16 or CFP8.

    Part p of a narrow vector is its numbers L p to L p + L - 1, L = `NodeParams.fp32_lanes`. Lane
    i of a stochastic conversion draws the random word of `counter + i`; whoever holds the seed
    adds L to its counter afterwards.

    Latency 2 cycles: the result of an operation that is transferred in cycle t is on `o` in cycle
    t + 2, and only then. One operation per cycle.

    The unit may be in a clock domain that stands still while neither `i.valid` nor `busy` is high.
    On an FPGA there is a lane for every `TURNS`, which it serves in turns (`Turns`).

    Golden twin: `d1_golden.numerics.convert`.

    Parameters
    ----------
    params
        Size of a vector.

    Members
    -------
    i : In(stream.Signature(convert_operation_layout(params), always_ready=True))
        Operations.
    o : Out(stream.Signature(8 * vector_bytes, always_ready=True))
        Results, in order.
    busy : Out(1)
        A result is on its way or on `o`.

    """

    #: Cycles from the transfer of an operation to its result.
    LATENCY = 2

    i: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, params: NodeParams):
        self._lanes = params.fp32_lanes
        self._layout = convert_operation_layout(params)
        vector = stream.Signature(8 * params.vector_bytes, always_ready=True)
        super().__init__(
            {
                "i": In(stream.Signature(self._layout, always_ready=True)),
                "o": Out(vector),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the lanes, and put their results together."""
        m = Module()
        operation = self.i.payload
        valid = Signal()
        names = ("op", "part", "stochastic", "config")
        held = {
            name: Signal(self._layout[name].shape, name=name, reset_less=True) for name in names
        }
        merge = Signal(self._layout["merge"].shape, reset_less=True)
        result = Signal(self._layout["source"].shape, reset_less=True)
        m.d.sync += [valid.eq(self.i.valid), self.o.valid.eq(valid)]
        m.d.comb += [self.busy.eq(valid | self.o.valid), self.o.payload.eq(result)]
        with m.If(self.i.valid):
            m.d.sync += [
                *(held[name].eq(operation[name]) for name in names),
                merge.eq(operation.merge),
            ]

        if platform is None:
            lanes = [self._lane(m, lane, held) for lane in range(self._lanes)]
        else:
            lanes = self._lanes_in_turns(m)
        fp32, bf16, cfp8 = (Cat(*column) for column in zip(*lanes, strict=True))
        with m.If(valid), m.Switch(held["op"]):
            with m.Case(ConvertOp.FP32_FROM_BF16, ConvertOp.FP32_FROM_CFP8):
                m.d.sync += result.eq(fp32)
            with m.Case(ConvertOp.BF16_FROM_FP32):
                m.d.sync += result.eq(_merged(merge, bf16, held["part"]))
            with m.Case(ConvertOp.CFP8_FROM_FP32):
                m.d.sync += result.eq(_merged(merge, cfp8, held["part"]))
        return m

    def _lane(self, m: Module, lane: int, held: dict[str, Signal]) -> tuple[Value, Value, Value]:
        """Return what a lane makes of its number: FP32, BF16 and CFP8."""
        operation = self.i.payload
        m.submodules[f"random_{lane}"] = random = RandomWord(lane=lane)
        m.submodules[f"narrow_{lane}"] = narrow = Fp32Narrow()
        m.submodules[f"unpack_{lane}"] = unpack = Cfp8ToBf16()
        code = Signal(16, name=f"code_{lane}", reset_less=True)
        from_bf16 = operation.op == ConvertOp.FP32_FROM_BF16
        narrows = (operation.op == ConvertOp.BF16_FROM_FP32) | (
            operation.op == ConvertOp.CFP8_FROM_FP32
        )
        with m.If(self.i.valid):
            m.d.sync += code.eq(
                Mux(
                    from_bf16,
                    _lane_of_part(operation.source, operation.part, lane, self._lanes, 16),
                    _lane_of_part(operation.source, operation.part, lane, self._lanes, 8),
                )
            )
        m.d.comb += [
            random.seed.eq(operation.seed),
            random.en.eq(self.i.valid & operation.stochastic & narrows),
            narrow.value.eq(operation.source.word_select(lane, 32)),
            narrow.to_cfp8.eq(operation.op == ConvertOp.CFP8_FROM_FP32),
            narrow.config.eq(operation.config),
            narrow.en.eq(self.i.valid & narrows),
            narrow.stochastic.eq(held["stochastic"]),
            narrow.random.eq(random.word),
            unpack.code.eq(code[:8]),
            unpack.config.eq(held["config"]),
        ]
        bf16 = Mux(held["op"] == ConvertOp.FP32_FROM_BF16, code, unpack.bf16)
        return Cat(Const(0, 16), bf16), narrow.bf16, narrow.cfp8

    def _lanes_in_turns(self, m: Module) -> list[tuple[Value, Value, Value]]:
        """Return what lanes make of their numbers, of which `TURNS` have one lane in turns.

        Numbers are taken in the turns of a cycle, and results are there in those of the next one.
        """
        operation = self.i.payload
        m.submodules.turns = turns = TurnCounter()
        held = {
            name: delayed(m, Value.cast(operation[name]), 1, name)
            for name in ("op", "stochastic", "config")
        }
        lanes = []
        for number in range(self._lanes // TURNS):
            random, narrow, unpack = RandomWord(lane=number * TURNS), Fp32Narrow(), Cfp8ToBf16()
            for name, unit in (("random", random), ("narrow", narrow)):
                m.submodules[f"{name}_{number}"] = DomainRenamer("turn")(unit)
            m.submodules[f"unpack_{number}"] = unpack
            own = range(number * TURNS, (number + 1) * TURNS)
            codes = [
                Array(
                    _lane_of_part(operation.source, operation.part, lane, self._lanes, width)
                    for lane in own
                )[turns.number]
                for width in (16, 8)
            ]
            code = delayed(
                m,
                Mux(operation.op == ConvertOp.FP32_FROM_BF16, *codes),
                1,
                f"code_{number}",
            )
            values = operation.source.word_select(number, 32 * TURNS)
            m.d.comb += [
                random.seed.eq(Cat((operation.seed[:32] + turns.number)[:32], operation.seed[32:])),
                random.en.eq(1),
                narrow.value.eq(word_of_turn(values, turns.number, 32)),
                narrow.to_cfp8.eq(operation.op == ConvertOp.CFP8_FROM_FP32),
                narrow.config.eq(operation.config),
                narrow.en.eq(1),
                narrow.stochastic.eq(held["stochastic"]),
                narrow.random.eq(random.word),
                unpack.code.eq(code[:8]),
                unpack.config.eq(held["config"]),
            ]
            wide = Mux(held["op"] == ConvertOp.FP32_FROM_BF16, code, unpack.bf16)
            fp32, bf16, cfp8 = (
                collected(m, delayed(m, value, TURNS - 1, f"late_{name}"), f"{name}_{number}")
                for name, value in (
                    ("fp32", Cat(Const(0, 16), wide)),
                    ("bf16", narrow.bf16),
                    ("cfp8", narrow.cfp8),
                )
            )
            lanes.append((fp32, bf16, cfp8))
        return lanes


def _lane_of_part(vector: Value, part: Value, lane: int, lanes: int, width: int) -> Value:
    """Return number `lane` of the part with so many lanes of a vector of narrow numbers."""
    parts = 32 // width
    numbers = Cat(vector.word_select(p * lanes + lane, width) for p in range(parts))
    return numbers.word_select(part[: (parts - 1).bit_length()], width)


def _merged(vector: Value, numbers: Value, part: Value) -> Value:
    """Return a vector with one part replaced."""
    parts = len(vector) // len(numbers)
    chosen = part[: (parts - 1).bit_length()]
    return Cat(Mux(chosen == p, numbers, vector.word_select(p, len(numbers))) for p in range(parts))
