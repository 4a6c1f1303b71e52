"""The vector pipe: vector registers and the units that work on them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import NodeParams

from ..clock_gate import ClockGate
from ..numerics.cfp8 import Cfp8Config
from .convert_unit import ConvertOp, ConvertUnit
from .interfaces import SramReadSignature, SramWriteSignature
from .matrix_unit import MatrixOp, MatrixUnit
from .micro_op import Unit, field, micro_op_layout
from .result_schedule import ResultSchedule
from .scoreboard import Scoreboard
from .simd_unit import SimdOp, SimdUnit
from .vector_memory_unit import VectorMemoryUnit
from .vector_register_file import VectorRegisterFile

__all__ = ["VectorUnit", "vector_operation_layout"]


def vector_operation_layout() -> data.StructLayout:
    """Return the layout of a vector or matrix instruction with all it needs of the scalar side.

    `address` is that of its memory operand, checked; the rest is what the CSRs of those names
    hold for it.
    """
    return data.StructLayout(
        {
            "uop": micro_op_layout(),
            "insn": 32,
            "address": LOCAL_BITS,
            "mcfp8a": Cfp8Config,
            "mcfp8b": Cfp8Config,
            "mcfp8c": Cfp8Config,
            "mround": 1,
            "mseed": 64,
        }
    )


class VectorUnit(wiring.Component):
    """Execute vector and matrix instructions in program order; golden twin: Xd1 of the ISA table.

    An instruction is taken over `i`, in the cycle in which SRAM takes its access if it has one,
    and when its operands will be there in the next cycle: then they are read, together with the
    line from SRAM, and go to their unit or register. A store reads its register at once. `i.ready`
    depends on the payload, and falls for

    - a register that waits for its result, as source or destination: the result of `vld` can be
      used by the next instruction, and stored by the one after that; that of `mrd` and `vcvt`
      takes two cycles more, that of FP32 arithmetic four;
    - an accumulator in flight (see `MatrixUnit`);
    - the write port of the registers: an `mrd` or `vcvt` waits if its result would come together
      with one of FP32 arithmetic, a `vld` waits for any of these results;
    - a bank of SRAM that is taken.

    Otherwise one instruction is taken per cycle.

    Parameters
    ----------
    params
        Size of a vector, accumulators, SRAM.
    gated
        Whether the units stand in gated clock domains (`ClockGate`).

    Members
    -------
    i : In(stream.Signature(vector_operation_layout()))
    busy : Out(1)
        An instruction was taken and has not had its effect yet.
    matrix_step : Out(1)
        A matrix step enters the matrix unit.
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    """

    i: Any
    busy: Signal
    matrix_step: Signal
    sram_read: Any
    sram_write: Any

    def __init__(self, params: NodeParams, *, gated: bool = True):
        self._params = params
        self._gated = gated
        super().__init__(
            {
                "i": In(stream.Signature(vector_operation_layout())),
                "busy": Out(1),
                "matrix_step": Out(1),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.registers = registers = VectorRegisterFile(self._params)
        m.submodules.memory_unit = memory_unit = VectorMemoryUnit(self._params)
        m.submodules.scoreboard = scoreboard = Scoreboard()
        assert ConvertUnit.LATENCY == MatrixUnit.READ_LATENCY
        m.submodules.schedule = schedule = ResultSchedule(
            short=MatrixUnit.READ_LATENCY, long=SimdUnit.LATENCY
        )
        wiring.connect(m, memory_unit.sram_read, wiring.flipped(self.sram_read))
        wiring.connect(m, memory_unit.sram_write, wiring.flipped(self.sram_write))

        # The instruction whose operands are read in this cycle.
        occupied, done = Signal(), Signal()
        current: Any = Signal(vector_operation_layout())
        uop, insn = current.uop, current.insn
        self._take(m, ~occupied | done, registers, memory_unit, scoreboard)
        with m.If(done):
            m.d.sync += occupied.eq(0)
        with m.If(self.i.valid & self.i.ready & (self.i.payload.uop.unit != Unit.VECTOR_STORE)):
            m.d.sync += [occupied.eq(1), current.eq(self.i.payload)]
        first = Mux(uop.unit == Unit.MATRIX_MEMORY, field(insn, "vs2"), field(insn, "vs1"))
        m.d.comb += [
            memory_unit.keep.eq(occupied & ~done),
            registers.number_a.eq(first),
            registers.number_b.eq(field(insn, "vs2")),
            registers.number_c.eq(field(insn, "vd")),
        ]

        matrix = self._matrix(m, occupied, current, registers, memory_unit, schedule)
        convert = self._convert(m, occupied, current, registers, schedule)
        simd = self._simd(m, occupied, current, registers)
        self._schedule_results(m, schedule, matrix, convert, simd, field(insn, "vd"))
        loads = occupied & (uop.unit == Unit.VECTOR_LOAD)
        # A result cannot wait for the register file, a load can.
        with m.If(matrix.o_read.valid):
            m.d.comb += registers.value.eq(matrix.o_read.payload)
        with m.Elif(convert.o.valid):
            m.d.comb += registers.value.eq(convert.o.payload)
        with m.Elif(simd.o.valid):
            m.d.comb += registers.value.eq(simd.o.payload)
        with m.Else():
            m.d.comb += registers.value.eq(memory_unit.loaded)
        due = schedule.due
        m.d.comb += [
            done.eq(
                (matrix.i.valid & matrix.i.ready)
                | convert.i.valid
                | simd.i.valid
                | (loads & ~due.used)
            ),
            registers.write.eq(loads | due.used),
            registers.number.eq(Mux(due.used, due.number, field(insn, "vd"))),
            scoreboard.write.used.eq(registers.write),
            scoreboard.write.number.eq(registers.number),
            self.busy.eq(occupied | matrix.busy | convert.busy | simd.busy | scoreboard.any),
        ]
        return m

    def _take(
        self,
        m: Module,
        room: Value,
        registers: VectorRegisterFile,
        memory_unit: VectorMemoryUnit,
        scoreboard: Scoreboard,
    ) -> None:
        """Take an instruction when its registers are free and SRAM takes its access."""
        uop, insn = self.i.payload.uop, self.i.payload.insn
        vs2, vs1, vd = scoreboard.queries
        stores = uop.unit == Unit.VECTOR_STORE
        loads = (uop.unit == Unit.VECTOR_LOAD) | (uop.unit == Unit.MATRIX_MEMORY)
        free = Signal()
        m.d.comb += [
            vs2.used.eq(uop.reads_vs2),
            vs2.number.eq(field(insn, "vs2")),
            vs1.used.eq(uop.reads_vs1),
            vs1.number.eq(field(insn, "vs1")),
            vd.used.eq(uop.writes_vd),
            vd.number.eq(field(insn, "vd")),
            # A store reads its register now and needs no place among the others.
            free.eq(Mux(stores, scoreboard.clear_now, scoreboard.ready & room)),
            registers.number_store.eq(field(insn, "vs2")),
            memory_unit.address.eq(self.i.payload.address),
            memory_unit.store_data.eq(registers.store),
            memory_unit.load.eq(self.i.valid & loads & free),
            memory_unit.store.eq(self.i.valid & stores & free),
            self.i.ready.eq(free & (memory_unit.ready | ~(loads | stores))),
            scoreboard.reserve.used.eq(self.i.valid & self.i.ready & uop.writes_vd),
            scoreboard.reserve.number.eq(field(insn, "vd")),
        ]

    def _add_unit(self, m: Module, name: str, unit: MatrixUnit | ConvertUnit | SimdUnit) -> None:
        """Add a unit in a clock domain of its name, which stands still while it is idle."""
        gate = ClockGate(domain=name, gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules[f"{name}_clock"] = gate
        m.submodules[name] = gate.drive(unit)
        m.d.comb += gate.en.eq(unit.i.valid | unit.busy)

    def _matrix(
        self,
        m: Module,
        occupied: Value,
        current: Any,
        registers: VectorRegisterFile,
        memory_unit: VectorMemoryUnit,
        schedule: ResultSchedule,
    ) -> MatrixUnit:
        """Connect the matrix unit."""
        uop, insn = current.uop, current.insn
        matrix = MatrixUnit(self._params)
        self._add_unit(m, "matrix", matrix)
        operation = matrix.i.payload
        from_memory = uop.unit == Unit.MATRIX_MEMORY
        reads = uop.op == MatrixOp.READ
        chosen = occupied & (from_memory | (uop.unit == Unit.MATRIX))
        m.d.comb += [
            matrix.i.valid.eq(chosen & (schedule.short_free | ~reads)),
            operation.a.eq(registers.a),
            operation.b.eq(Mux(from_memory, memory_unit.loaded, registers.b)),
            operation.op.eq(MatrixOp(uop.op[:2])),
            operation.first.eq(uop.first),
            operation.cfp8.eq(uop.cfp8),
            operation.half.eq(uop.half),
            operation.a_config.eq(current.mcfp8a),
            operation.b_config.eq(current.mcfp8b),
            operation.acc.eq(Mux(reads, field(insn, "acc_s"), field(insn, "acc_d"))),
            operation.part.eq(field(insn, "part")),
            self.matrix_step.eq(matrix.i.valid & matrix.i.ready & (uop.op == MatrixOp.STEP)),
        ]
        return matrix

    def _convert(
        self,
        m: Module,
        occupied: Value,
        current: Any,
        registers: VectorRegisterFile,
        schedule: ResultSchedule,
    ) -> ConvertUnit:
        """Connect the convert unit."""
        uop = current.uop
        convert = ConvertUnit(self._params)
        self._add_unit(m, "convert", convert)
        operation = convert.i.payload
        m.d.comb += [
            convert.i.valid.eq(occupied & (uop.unit == Unit.VECTOR_CONVERT) & schedule.short_free),
            operation.source.eq(registers.a),
            operation.merge.eq(registers.c),
            operation.seed.eq(current.mseed),
            operation.op.eq(ConvertOp(uop.op[:2])),
            operation.part.eq(field(current.insn, "part")),
            operation.stochastic.eq(current.mround),
            operation.config.eq(current.mcfp8c),
        ]
        return convert

    def _simd(
        self,
        m: Module,
        occupied: Value,
        current: Any,
        registers: VectorRegisterFile,
    ) -> SimdUnit:
        """Connect the SIMD unit."""
        uop = current.uop
        simd = SimdUnit(self._params)
        self._add_unit(m, "simd", simd)
        operation = simd.i.payload
        m.d.comb += [
            simd.i.valid.eq(occupied & (uop.unit == Unit.VECTOR_SIMD)),
            operation.a.eq(registers.a),
            operation.b.eq(registers.b),
            operation.c.eq(registers.c),
            operation.op.eq(SimdOp(uop.op[:3])),
        ]
        return simd

    def _schedule_results(
        self,
        m: Module,
        schedule: ResultSchedule,
        matrix: MatrixUnit,
        convert: ConvertUnit,
        simd: SimdUnit,
        destination: Value,
    ) -> None:
        """Note the register of every result when its operation is taken."""
        reads = matrix.i.valid & matrix.i.ready & (matrix.i.payload.op == MatrixOp.READ)
        m.d.comb += [
            schedule.enter_short.used.eq(reads | convert.i.valid),
            schedule.enter_short.number.eq(destination),
            schedule.enter_long.used.eq(simd.i.valid),
            schedule.enter_long.number.eq(destination),
        ]
