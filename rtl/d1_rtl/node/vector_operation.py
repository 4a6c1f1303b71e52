"""Vector operations, and what has to be known about one before it can start."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import NodeParams

from ..numerics.cfp8 import Cfp8Config
from .convert_unit import ConvertUnit
from .interfaces import THREAD_BITS
from .matrix_unit import MatrixOp, MatrixUnit
from .micro_op import Unit, field, micro_op_layout
from .move_unit import MoveOp, MoveUnit
from .scoreboard import MASK_BASE, REGISTERS, register_bit
from .simd_unit import SimdOp, SimdUnit

__all__ = [
    "ResultSource",
    "VectorPreparation",
    "is_scalar_move",
    "longest_latency",
    "prepared_operation_layout",
    "vector_operation_layout",
]


def _simd_latency(params: NodeParams, op: SimdOp) -> int:
    return SimdUnit.latency_by_op(params).get(op, SimdUnit.LATENCY)


def longest_latency(params: NodeParams) -> int:
    """Return the most cycles from the reading of operands to the result."""
    simd = (_simd_latency(params, op) for op in SimdOp)
    return max(MatrixUnit.READ_LATENCY, ConvertUnit.LATENCY, MoveUnit.LATENCY, *simd)


class ResultSource(enum.Enum, shape=3):
    """Where a result for a vector or mask register comes from."""

    MATRIX = 0
    CONVERT = 1
    SIMD = 2
    MOVE = 3
    LOAD_0 = 4  #: the load unit of slot 0
    LOAD_1 = 5


def is_scalar_move(op: Value) -> Value:
    """Return whether an operation of the move unit has a scalar result."""
    return (op == MoveOp.VMV_X_V) | (op == MoveOp.VMV_X_M)


def vector_operation_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a vector or matrix instruction with all it needs of the scalar side.

    Members
    -------
    thread, uop, insn
        Whose, and what it is.
    pc : 24
        Where it is, for the report of an error of the memory.
    address : 24
        That of its memory operand, checked, if it has one other than x[rs1] + offsets.
    scalar : 64
        x[rs1].
    mcfp8a, mcfp8b, mcfp8c, mround, mseed
        What the CSRs of those names hold for it.
    """
    return data.StructLayout(
        {
            "scalar": 64,
            "mseed": 64,
            "insn": 32,
            "address": LOCAL_BITS,
            "uop": micro_op_layout(),
            "mcfp8a": Cfp8Config,
            "mcfp8b": Cfp8Config,
            "mcfp8c": Cfp8Config,
            "mround": 1,
            "thread": THREAD_BITS,
            "pc": LOCAL_BITS,
        }
    )


def prepared_operation_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of an operation with what the choice of its slot depends on.

    Members
    -------
    operation : vector_operation_layout(params)
    uses : REGISTERS
        The vector and mask registers that it reads or writes, as for `Scoreboard`.
    writes, register
        It writes a register of that number, mask registers from `MASK_BASE` on.
    source, latency
        Who gives the result, and how many cycles after the operands are read.
    slot_0, slot_1, matrix
        In which slots it may go; whether it is for the matrix array.
    loads, stores, gathers
        It reads memory, writes memory, is a gather or scatter.
    steps, reads_acc, acc
        It writes, or depends on, that accumulator.
    moves_scalar
        Its result is a scalar.
    """
    return data.StructLayout(
        {
            "operation": vector_operation_layout(params),
            "uses": REGISTERS,
            "writes": 1,
            "register": range(REGISTERS),
            "source": ResultSource,
            "latency": range(longest_latency(params) + 1),
            "slot_0": 1,
            "slot_1": 1,
            "matrix": 1,
            "loads": 1,
            "stores": 1,
            "gathers": 1,
            "steps": 1,
            "reads_acc": 1,
            "acc": (params.accumulators - 1).bit_length(),
            "moves_scalar": 1,
        }
    )


class VectorPreparation(wiring.Component):
    """Find out what an operation needs, before it is queued.

    Combinational. Golden twin: none, it keeps order.

    Parameters
    ----------
    params
        Shape of the operations.

    Members
    -------
    i : In(vector_operation_layout(params))
    o : Out(prepared_operation_layout(params))
    """

    i: Any
    o: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "i": In(vector_operation_layout(params)),
                "o": Out(prepared_operation_layout(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        uop, insn, o = self.i.uop, self.i.insn, self.o

        def unit_in(*units: Unit) -> Value:
            return reduce(or_, (uop.unit == unit for unit in units))

        matrix = unit_in(Unit.MATRIX, Unit.MATRIX_MEMORY)
        gathers = unit_in(Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER)
        memory = unit_in(Unit.VECTOR_LOAD, Unit.VECTOR_STORE)
        steps_on = (uop.op == MatrixOp.STEP) & ~uop.first
        reads_acc = unit_in(Unit.MATRIX_READ)
        m.d.comb += [
            o.operation.eq(self.i),
            o.uses.eq(
                register_bit(uop.reads_vs1, field(insn, "vs1"))
                | register_bit(uop.reads_vs2, field(insn, "vs2"))
                | register_bit(uop.reads_vd | uop.writes_vd, field(insn, "vd"))
                | register_bit(uop.reads_m, field(insn, "ms"), base=MASK_BASE)
                | register_bit(uop.reads_m1, field(insn, "ms1"), base=MASK_BASE)
                | register_bit(uop.reads_m2, field(insn, "ms2"), base=MASK_BASE)
                | register_bit(uop.writes_m, field(insn, "md"), base=MASK_BASE)
            ),
            o.writes.eq(uop.writes_vd | uop.writes_m),
            o.register.eq(Mux(uop.writes_m, MASK_BASE | field(insn, "md"), field(insn, "vd"))),
            o.slot_0.eq(~matrix & ~gathers),
            o.slot_1.eq(matrix | gathers | memory),
            o.matrix.eq(matrix),
            o.loads.eq(unit_in(Unit.VECTOR_LOAD, Unit.MATRIX_MEMORY, Unit.VECTOR_GATHER)),
            o.stores.eq(unit_in(Unit.VECTOR_STORE, Unit.VECTOR_SCATTER)),
            o.gathers.eq(gathers),
            o.steps.eq(matrix),
            o.reads_acc.eq(reads_acc | (matrix & steps_on)),
            o.acc.eq(Mux(reads_acc, field(insn, "acc_s"), field(insn, "acc_d"))),
            o.moves_scalar.eq((uop.unit == Unit.VECTOR_MOVE) & is_scalar_move(uop.op)),
        ]
        self._result(m)
        return m

    def _result(self, m: Module) -> None:
        """Say where the result comes from, and when."""
        uop, o = self.i.uop, self.o
        units = {
            Unit.MATRIX_READ: (ResultSource.MATRIX, MatrixUnit.READ_LATENCY),
            Unit.VECTOR_CONVERT: (ResultSource.CONVERT, ConvertUnit.LATENCY),
            Unit.VECTOR_MOVE: (ResultSource.MOVE, MoveUnit.LATENCY),
            Unit.VECTOR_SIMD: (ResultSource.SIMD, SimdUnit.LATENCY),
            Unit.VECTOR_LOAD: (ResultSource.LOAD_0, 0),
        }
        with m.Switch(uop.unit):
            for unit, (source, latency) in units.items():
                with m.Case(unit):
                    m.d.comb += [o.source.eq(source), o.latency.eq(latency)]
                    if unit is Unit.VECTOR_SIMD:
                        with m.Switch(uop.op):
                            for op in SimdOp:
                                with m.Case(op.value):
                                    m.d.comb += o.latency.eq(_simd_latency(self._params, op))
