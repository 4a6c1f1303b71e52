"""The SIMD unit: one FP32 operation in every lane of a vector."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.fp32 import ONE, SIGN
from d1_golden.params import NodeParams

from ..numerics.fp32_fma import Fp32Fma
from ..numerics.fp32_min_max import Fp32MinMax

__all__ = ["SimdOp", "SimdUnit", "simd_operation_layout"]

#: Cycles between the registers of the operands and that of the result.
_FMA_LATENCY = 2


class SimdOp(enum.Enum, shape=3):
    """What the SIMD unit does in every lane."""

    ADD = 0  #: a + b
    SUB = 1  #: a - b
    MUL = 2  #: a x b
    MADD = 3  #: a x b + c, rounded once
    NMADD = 4  #: -(a x b) + c, rounded once
    MIN = 5  #: the lesser number
    MAX = 6  #: the greater number


def simd_operation_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of an operation of the SIMD unit.

    Members
    -------
    a, b, c : 8 x vector_bytes
        The operands, FP32 numbers; only MADD and NMADD use `c`.
    op : SimdOp
    """
    vector = 8 * params.vector_bytes
    return data.StructLayout({"a": vector, "b": vector, "c": vector, "op": SimdOp})


class SimdUnit(wiring.Component):
    """Calculate with vectors of FP32 numbers, lane by lane.

    All operations go through the fused multiply-add: a sum is a x 1 + b, a product a x b + (-0),
    and the chosen one of two numbers passes as a x 1 + (-0), which makes a NaN canonical.

    Latency `SimdUnit.LATENCY` = 4 cycles: the result of an operation that is transferred in cycle
    t is on `o` in cycle t + 4, and only then. One operation per cycle.

    The unit may be in a clock domain that stands still while neither `i.valid` nor `busy` is high.

    Golden twin: `d1_golden.numerics.fp32`.

    Parameters
    ----------
    params
        Size of a vector.

    Members
    -------
    i : In(stream.Signature(simd_operation_layout(params), always_ready=True))
        Operations.
    o : Out(stream.Signature(8 * vector_bytes, always_ready=True))
        Results, in order.
    busy : Out(1)
        A result is on its way or on `o`.

    """

    #: Cycles from the transfer of an operation to its result.
    LATENCY = 2 + _FMA_LATENCY

    i: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, params: NodeParams):
        self._lanes = params.fp32_lanes
        self._vector_bytes = params.vector_bytes
        vector = stream.Signature(8 * params.vector_bytes, always_ready=True)
        super().__init__(
            {
                "i": In(stream.Signature(simd_operation_layout(params), always_ready=True)),
                "o": Out(vector),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build the lanes, and follow the operations through them."""
        m = Module()
        under_way = Signal(self.LATENCY)
        m.d.sync += under_way.eq(Cat(self.i.valid, under_way))
        m.d.comb += [self.busy.eq(under_way.any()), self.o.valid.eq(under_way[-1])]
        result = Signal(8 * self._vector_bytes, reset_less=True)
        lanes = [self._lane(m, lane) for lane in range(self._lanes)]
        with m.If(under_way[-2]):
            m.d.sync += result.eq(Cat(lanes))
        m.d.comb += self.o.payload.eq(result)
        return m

    def _lane(self, m: Module, lane: int) -> Value:
        """Return the result of a lane, from registers that take its operands."""
        operation = self.i.payload
        m.submodules[f"fma_{lane}"] = fma = Fp32Fma()
        m.submodules[f"min_max_{lane}"] = min_max = Fp32MinMax()
        a, b, c = (operation[name].word_select(lane, 32) for name in "abc")
        registers = [Signal(32, name=f"{name}_{lane}", reset_less=True) for name in "abc"]
        m.d.comb += [
            min_max.a.eq(a),
            min_max.b.eq(b),
            min_max.maximum.eq(operation.op == SimdOp.MAX),
            fma.a.eq(registers[0]),
            fma.b.eq(registers[1]),
            fma.c.eq(registers[2]),
        ]
        one, minus_zero = Const(ONE, 32), Const(SIGN, 32)
        terms = {
            SimdOp.ADD: (a, one, b),
            SimdOp.SUB: (a, one, b ^ SIGN),
            SimdOp.MUL: (a, b, minus_zero),
            SimdOp.MADD: (a, b, c),
            SimdOp.NMADD: (a ^ SIGN, b, c),
            SimdOp.MIN: (min_max.chosen, one, minus_zero),
            SimdOp.MAX: (min_max.chosen, one, minus_zero),
        }
        with m.If(self.i.valid), m.Switch(operation.op):
            for op, values in terms.items():
                with m.Case(op):
                    m.d.sync += [r.eq(value) for r, value in zip(registers, values, strict=True)]
        return fma.result
