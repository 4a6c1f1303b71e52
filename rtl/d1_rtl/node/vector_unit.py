"""The vector pipe: vector and mask registers of all threads, and the units that use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import LINE_BYTES, NodeParams

from ..clock_gate import ClockGate
from .accumulator_interlock import AccumulatorInterlock
from .convert_unit import ConvertOp, ConvertUnit
from .gather_unit import GatherUnit, vector_blocking_layout
from .interfaces import HardwareError, SramReadSignature, SramWriteSignature
from .mask_register_file import MaskRegisterFile
from .matrix_unit import MatrixOp, MatrixUnit
from .micro_op import Unit, field
from .move_unit import MoveOp, MoveUnit
from .result_schedule import ResultSchedule
from .scalar_return import ScalarReturn, vector_scalar_layout
from .scoreboard import MASK_BASE, REGISTERS, Scoreboard, register_bit
from .shared_write_port import SharedWritePort
from .simd_unit import SimdOp, SimdUnit
from .vector_issue import VectorIssue, vector_stalls_layout
from .vector_load_unit import VectorLoadUnit
from .vector_operation import (
    ResultSource,
    VectorPreparation,
    is_scalar_move,
    longest_latency,
    prepared_operation_layout,
    vector_operation_layout,
)
from .vector_queue import VectorQueue
from .vector_register_file import VectorRegisterFile
from .vector_store_unit import VectorStoreUnit

__all__ = [
    "VectorUnit",
    "vector_blocking_layout",
    "vector_operation_layout",
    "vector_scalar_layout",
]

_SLOTS = 2
_LINE_LOG2 = LINE_BYTES.bit_length() - 1
#: What `VectorKind` and a prepared operation have in common.
_KIND = ("slot_0", "slot_1", "matrix", "loads", "stores")
_RESULT = data.StructLayout({"register": range(REGISTERS), "source": ResultSource})


@dataclass(frozen=True)
class _Slot:
    """A vector slot: what was chosen for it, and the operation whose registers are read."""

    chosen: Any  # prepared operation
    starts: Signal
    load_unit: VectorLoadUnit
    occupied: Signal
    current: Any  # operation
    registers: Any
    mask: Signal  # lanes that an access to memory touches

    def has(self, *units: Unit) -> Value:
        """Whether the operation whose registers are read is of one of some units."""
        return self.occupied & Cat(self.current.uop.unit == unit for unit in units).any()


@dataclass(frozen=True)
class _Units:
    """The units with a clock of their own that give results."""

    matrix: MatrixUnit
    convert: ConvertUnit
    simd: SimdUnit
    move: MoveUnit


class VectorUnit(wiring.Component):
    """Execute vector and matrix instructions of all threads; golden twin: Xd1 of the ISA table.

    Operations wait in a queue for each thread. In every cycle up to two threads start the oldest of
    theirs (`VectorIssue`), each in a slot of its own, when

    - the registers it reads or writes, and its accumulator, will be there in the next cycle;
    - the write port of the thread's registers is free in the cycle of its result;
    - SRAM takes its access in this very cycle, if it loads;
    - no older scalar access of the thread waits, and no older vector store to the line it loads.

    In the next cycle it reads registers and the line from SRAM, and goes to its unit or register,
    or is stored. From there on nothing waits, but for stores, gathers and scatters. The latencies
    are in docs/vector_pipe.md. A request to SRAM that is not taken may be withdrawn.

    The whole unit is in a gated clock domain, and its units in further ones.

    Parameters
    ----------
    params
        Threads, size of a vector, accumulators, SRAM.
    gated
        Whether clocks stand still where there is nothing to do (`ClockGate`).
    stay
        Matrix operations of one thread in a row when others have some too.

    Members
    -------
    i : In(stream.Signature(vector_operation_layout(params), always_ready=True)).array(issue_groups)
        Operations of different threads.
    room : Out(threads)
        The thread's queue has two places at least. It may be given an operation in the next cycle
        as well, with one in this cycle.
    loads_pending, stores_pending : Out(threads)
        A load (store) of the thread is in its queue, or has not been taken by SRAM.
    busy : Out(threads)
        An operation of the thread is in its queue or has not had its effect.
    scalar_holds : In(threads)
        No operation of the thread may ask SRAM in this cycle. Must not depend on SRAM's `ready`.
    o_scalar : Out(stream.Signature(vector_scalar_layout()))
        Scalar results, in the order in which their operations started; none for x0.
    o_blocking : Out(stream.Signature(vector_blocking_layout()))
        One for each gather and scatter.
    hardware_error : Out(HardwareError)
        An operand from SRAM was uncorrectable: one report a cycle; of the errors of a thread that
        come before its report, the first.
    issued : Out(2)
        Slots in which an operation starts.
    matrix_step, matrix_busy : Out(1)
        A matrix step enters the matrix unit; the unit is at work.
    stalls : Out(vector_stalls_layout()).array(threads)
        Why the oldest operation of the thread did not start in this cycle.
    r_vector_0, r_vector_1 : Out(SramReadSignature(params))
    w_vector : Out(SramWriteSignature(params))
    """

    i: Any
    room: Signal
    loads_pending: Signal
    stores_pending: Signal
    busy: Signal
    scalar_holds: Signal
    o_scalar: Any
    o_blocking: Any
    hardware_error: Any
    issued: Signal
    matrix_step: Signal
    matrix_busy: Signal
    stalls: Any
    r_vector_0: Any
    r_vector_1: Any
    w_vector: Any

    def __init__(self, params: NodeParams, *, gated: bool = True, stay: int = 1):
        self._params, self._gated, self._stay = params, gated, stay
        operations = stream.Signature(vector_operation_layout(params), always_ready=True)
        super().__init__(
            {
                "i": In(operations).array(params.issue_groups),
                "room": Out(params.threads),
                "loads_pending": Out(params.threads),
                "stores_pending": Out(params.threads),
                "busy": Out(params.threads),
                "scalar_holds": In(params.threads),
                "o_scalar": Out(stream.Signature(vector_scalar_layout())),
                "o_blocking": Out(stream.Signature(vector_blocking_layout())),
                "hardware_error": Out(HardwareError),
                "issued": Out(_SLOTS),
                "matrix_step": Out(1),
                "matrix_busy": Out(1),
                "stalls": Out(vector_stalls_layout()).array(params.threads),
                "r_vector_0": Out(SramReadSignature(params)),
                "r_vector_1": Out(SramReadSignature(params)),
                "w_vector": Out(SramWriteSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        gate = ClockGate(domain="vector", gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules.clock = gate
        m.submodules.pipe = gate.drive(self._pipe(platform))
        arrives = Cat(port.valid for port in self.i).any()
        m.d.comb += gate.en.eq(arrives | self.busy.any() | self.hardware_error.valid)
        return m

    def _pipe(self, platform: object) -> Module:
        """Build all there is, in a clock domain that stands still while nothing is there."""
        m = Module()
        params = self._params
        m.submodules.issue = issue = VectorIssue(params, stay=self._stay)
        m.submodules.registers = registers = VectorRegisterFile(params)
        m.submodules.masks = masks = MaskRegisterFile(params)
        m.submodules.store_unit = store_unit = VectorStoreUnit(params)
        m.submodules.scalars = scalars = ScalarReturn(params)
        gather = GatherUnit(params)
        self._add_unit(m, "gather", gather, gather.i.valid | gather.busy)
        wiring.connect(m, scalars.o, wiring.flipped(self.o_scalar))
        wiring.connect(m, gather.o_blocking, wiring.flipped(self.o_blocking))

        queues = self._queues(m, issue)
        slots = [self._slot(m, n, issue, queues, registers, masks) for n in range(_SLOTS)]
        units = self._units(m, slots, masks)
        self._gather(m, slots[1], gather)
        self._store(m, slots, store_unit, platform)
        self._memory_ports(m, issue, slots, store_unit, gather)
        self._starts(m, issue, slots, store_unit)
        self._scalars(m, slots[0], units.move, scalars)
        self._order(m, issue, queues, store_unit, gather)
        self._shared(m, issue, queues, slots, store_unit, gather, scalars)
        self._accumulators(m, issue, queues, slots[1])
        dues = self._schedules(m, issue, queues)
        written = self._write_back(m, dues, registers, gather, slots, units)
        self._write_masks(m, dues, masks, units)
        waiting = self._scoreboards(m, issue, queues, written)
        self._report_busy(m, queues, slots, store_unit, gather, scalars, waiting)
        self._report_errors(m, slots)
        return m

    def _add_unit(self, m: Module, name: str, unit: Any, en: Value) -> None:
        """Add a unit in a clock domain of its name, which stands still while it is idle."""
        gate = ClockGate(domain=name, gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules[f"{name}_clock"] = gate
        m.submodules[name] = gate.drive(unit)
        m.d.comb += gate.en.eq(en)

    def _queues(self, m: Module, issue: VectorIssue) -> list[VectorQueue]:
        """Connect a queue for each thread; return them."""
        prepared = []
        for number, port in enumerate(self.i):
            m.submodules[f"preparation_{number}"] = preparation = VectorPreparation(self._params)
            m.d.comb += preparation.i.eq(port.payload)
            prepared.append(preparation.o)
        queues = []
        for thread in range(self._params.threads):
            m.submodules[f"queue_{thread}"] = queue = VectorQueue(self._params)
            for port, operation in zip(self.i, prepared, strict=True):
                with m.If(port.valid & (port.payload.thread == thread)):
                    m.d.comb += [queue.i.valid.eq(1), queue.i.payload.eq(operation)]
            m.d.comb += [
                self.room[thread].eq(queue.room),
                self.loads_pending[thread].eq(queue.loads),
                issue.valid[thread].eq(queue.o.valid),
                queue.o.ready.eq(issue.starts[thread]),
            ]
            queues.append(queue)
        return queues

    def _slot(
        self,
        m: Module,
        number: int,
        issue: VectorIssue,
        queues: list[VectorQueue],
        registers: VectorRegisterFile,
        masks: MaskRegisterFile,
    ) -> _Slot:
        """Choose the operation of a slot, and read what the one before it needs."""
        load_unit = VectorLoadUnit(self._params)
        m.submodules[f"load_unit_{number}"] = load_unit
        slot = _Slot(
            chosen=Signal(prepared_operation_layout(self._params), name=f"chosen_{number}"),
            starts=Signal(name=f"starts_{number}"),
            load_unit=load_unit,
            occupied=Signal(name=f"occupied_{number}"),
            current=Signal(vector_operation_layout(self._params), name=f"current_{number}"),
            registers=registers.slots[number],
            mask=Signal(self._params.fp32_lanes, name=f"mask_{number}"),
        )
        with m.Switch(issue.chosen[number].thread):
            for thread, queue in enumerate(queues):
                with m.Case(thread):
                    m.d.comb += slot.chosen.eq(queue.o.payload)
        m.d.sync += slot.occupied.eq(slot.starts)
        with m.If(slot.starts):
            m.d.sync += slot.current.eq(slot.chosen.operation)
        current, operation = slot.current, slot.chosen.operation
        insn = current.insn
        from_memory = current.uop.unit == Unit.MATRIX_MEMORY
        m.d.comb += [
            load_unit.load.eq(
                issue.chosen[number].valid & slot.chosen.loads & ~slot.chosen.gathers
            ),
            load_unit.address.eq(operation.address),
            load_unit.broadcast.eq(operation.uop.broadcast),
            slot.registers.valid.eq(slot.occupied),
            slot.registers.thread.eq(current.thread),
            # The tile from memory is the second operand.
            slot.registers.number_a.eq(Mux(from_memory, field(insn, "vs2"), field(insn, "vs1"))),
            slot.registers.number_b.eq(field(insn, "vs2")),
            slot.registers.number_c.eq(field(insn, "vd")),
        ]
        mask = masks.memory if number else masks.a
        port = masks.number_memory if number else masks.number_a
        m.d.comb += [
            port.thread.eq(current.thread),
            port.number.eq(Mux(current.uop.reads_m1, field(insn, "ms1"), field(insn, "ms"))),
            slot.mask.eq(Mux(current.uop.masked, mask, ~0)),
        ]
        return slot

    def _starts(
        self, m: Module, issue: VectorIssue, slots: list[_Slot], store_unit: VectorStoreUnit
    ) -> None:
        """Start what was chosen if SRAM takes its access and what it shares is free."""
        for number, slot in enumerate(slots):
            chosen = issue.chosen[number]
            stores = slot.chosen.stores & ~slot.chosen.gathers
            m.d.comb += [
                slot.starts.eq(
                    chosen.valid
                    & issue.unit.bit_select(chosen.thread, 1)
                    & (slot.load_unit.ready | ~slot.load_unit.load)
                    & (store_unit.accept | ~stores)
                ),
                issue.taken[number].eq(slot.starts),
                self.issued[number].eq(slot.starts),
            ]

    def _units(self, m: Module, slots: list[_Slot], masks: MaskRegisterFile) -> _Units:
        """Add the units, and give them the operations of the slots."""
        params = self._params
        units = _Units(
            matrix=MatrixUnit(params),
            convert=ConvertUnit(params),
            simd=SimdUnit(params, gated=self._gated),
            move=MoveUnit(params),
        )
        matrix = units.matrix
        self._add_unit(m, "matrix", matrix, matrix.i.valid | matrix.i_read.valid | matrix.busy)
        for name in ("convert", "simd", "move"):
            unit = getattr(units, name)
            self._add_unit(m, name, unit, unit.i.valid | unit.busy)
        self._matrix(m, slots, matrix)
        slot, operation = slots[0], slots[0].current
        registers, insn, op = slot.registers, operation.insn, operation.uop.op
        convert, simd, move = units.convert.i, units.simd.i, units.move.i
        to_x0 = is_scalar_move(op) & ~operation.uop.writes_rd
        m.d.comb += [
            convert.valid.eq(slot.has(Unit.VECTOR_CONVERT)),
            convert.payload.source.eq(registers.a),
            convert.payload.merge.eq(registers.c),
            convert.payload.seed.eq(operation.mseed),
            convert.payload.op.eq(ConvertOp(op[: len(Value.cast(convert.payload.op))])),
            convert.payload.part.eq(field(insn, "part")),
            convert.payload.stochastic.eq(operation.mround),
            convert.payload.config.eq(operation.mcfp8c),
            simd.valid.eq(slot.has(Unit.VECTOR_SIMD)),
            simd.payload.a.eq(registers.a),
            simd.payload.b.eq(registers.b),
            simd.payload.c.eq(registers.c),
            simd.payload.op.eq(SimdOp(op)),
            masks.number_b.thread.eq(operation.thread),
            masks.number_b.number.eq(field(insn, "ms2")),
            move.valid.eq(slot.has(Unit.VECTOR_MOVE) & ~to_x0),
            move.payload.a.eq(registers.a),
            move.payload.b.eq(registers.b),
            move.payload.mask_a.eq(masks.a),
            move.payload.mask_b.eq(masks.b),
            move.payload.scalar.eq(operation.scalar),
            move.payload.op.eq(MoveOp(op[: len(Value.cast(move.payload.op))])),
            move.payload.lane.eq(
                Mux(op == MoveOp.VSLIDE, field(insn, "slide"), field(insn, "lane"))
            ),
        ]
        return units

    def _matrix(self, m: Module, slots: list[_Slot], matrix: MatrixUnit) -> None:
        """Connect the matrix unit: slot 1 gives operations, slot 0 reads accumulators."""
        reader, slot = slots
        current = slot.current
        from_memory = current.uop.unit == Unit.MATRIX_MEMORY
        operation, read = matrix.i.payload, matrix.i_read.payload
        m.d.comb += [
            matrix.i.valid.eq(slot.has(Unit.MATRIX, Unit.MATRIX_MEMORY)),
            operation.a.eq(slot.registers.a),
            operation.b.eq(Mux(from_memory, slot.load_unit.loaded, slot.registers.b)),
            operation.op.eq(MatrixOp(current.uop.op[: len(Value.cast(operation.op))])),
            operation.first.eq(current.uop.first),
            operation.cfp8.eq(current.uop.cfp8),
            operation.half.eq(current.uop.half),
            operation.a_config.eq(current.mcfp8a),
            operation.b_config.eq(current.mcfp8b),
            operation.place.thread.eq(current.thread),
            operation.place.acc.eq(field(current.insn, "acc_d")),
            operation.place.part.eq(field(current.insn, "part")),
            matrix.i_read.valid.eq(reader.has(Unit.MATRIX_READ)),
            read.thread.eq(reader.current.thread),
            read.acc.eq(field(reader.current.insn, "acc_s")),
            read.part.eq(field(reader.current.insn, "part")),
            self.matrix_step.eq(matrix.i.valid & (operation.op == MatrixOp.STEP)),
            self.matrix_busy.eq(matrix.i.valid | matrix.busy),
        ]

    def _gather(self, m: Module, slot: _Slot, gather: GatherUnit) -> None:
        """Give gathers and scatters to their unit."""
        operation = gather.i.payload
        m.d.comb += [
            gather.i.valid.eq(slot.has(Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER)),
            operation.offsets.eq(slot.registers.b),
            operation.values.eq(slot.registers.c),
            operation.base.eq(slot.current.scalar),
            operation.mask.eq(slot.mask),
            operation.register.eq(field(slot.current.insn, "vd")),
            operation.thread.eq(slot.current.thread),
            operation.scatters.eq(slot.current.uop.unit == Unit.VECTOR_SCATTER),
        ]

    def _store(
        self, m: Module, slots: list[_Slot], store_unit: VectorStoreUnit, platform: object
    ) -> None:
        """Give stores to their unit: which, when they start, and what, in the cycle after.

        On an FPGA what they store is read first, because SRAM begins to write in the first turn.
        """
        for slot in slots:
            with m.If(slot.starts & slot.chosen.stores & ~slot.chosen.gathers):
                m.d.comb += [
                    store_unit.take.eq(1),
                    store_unit.thread.eq(slot.chosen.operation.thread),
                    store_unit.address.eq(slot.chosen.operation.address),
                ]
            current, registers = slot.current, slot.registers
            with m.If(slot.has(Unit.VECTOR_STORE)):
                m.d.comb += [
                    store_unit.vector.eq(Mux(current.uop.masked, registers.c, registers.b)),
                    store_unit.mask.eq(slot.mask),
                ]
                if platform is not None:
                    number = Mux(current.uop.masked, registers.number_c, registers.number_b)
                    m.d.comb += [
                        registers.number_a.eq(number),
                        store_unit.vector.eq(registers.a),
                    ]

    def _memory_ports(
        self,
        m: Module,
        issue: VectorIssue,
        slots: list[_Slot],
        store_unit: VectorStoreUnit,
        gather: GatherUnit,
    ) -> None:
        """Connect SRAM; a gather has what the slots leave, or goes first if urgent."""
        wiring.connect(m, slots[0].load_unit.sram_read, wiring.flipped(self.r_vector_0))
        request = self.r_vector_1.request
        wanted, own = slots[1].load_unit.sram_read.request, gather.sram_read.request
        m.d.comb += [
            request.valid.eq(wanted.valid | own.valid),
            request.payload.eq(Mux(wanted.valid, wanted.payload, own.payload)),
            wanted.ready.eq(request.ready),
            own.ready.eq(request.ready & ~wanted.valid),
        ]
        # A write must not change before it is taken: a bank may be half through with it.
        m.submodules.write_port = write_port = SharedWritePort(self._params, clients=2)
        wiring.connect(m, store_unit.sram_write, write_port.clients[0])
        wiring.connect(m, gather.sram_write, write_port.clients[1])
        wiring.connect(m, write_port.port, wiring.flipped(self.w_vector))
        for reader in (slots[1].load_unit, gather):
            m.d.comb += [
                reader.sram_read.data.eq(self.r_vector_1.data),
                reader.sram_read.uncorrectable.eq(self.r_vector_1.uncorrectable),
            ]
        m.d.comb += issue.no_loads.eq(gather.urgent & gather.sram_read.request.valid)

    def _scalars(self, m: Module, slot: _Slot, move: MoveUnit, scalars: ScalarReturn) -> None:
        """Note where scalar results go."""
        operation = slot.chosen.operation
        m.d.comb += [
            scalars.enter.valid.eq(
                slot.starts & slot.chosen.moves_scalar & operation.uop.writes_rd
            ),
            scalars.enter.thread.eq(operation.thread),
            scalars.enter.rd.eq(field(operation.insn, "rd")),
            scalars.i.valid.eq(move.o_scalar.valid),
            scalars.i.payload.eq(move.o_scalar.payload),
        ]

    def _order(
        self,
        m: Module,
        issue: VectorIssue,
        queues: list[VectorQueue],
        store_unit: VectorStoreUnit,
        gather: GatherUnit,
    ) -> None:
        """Say which operations need not wait for other accesses of their thread."""
        for thread, queue in enumerate(queues):
            head = queue.o.payload
            line = head.operation.address[_LINE_LOG2:][: len(store_unit.pending_line)]
            stored = store_unit.pending & (store_unit.pending_thread == thread)
            meets = stored & (head.gathers | (line == store_unit.pending_line))
            accesses = head.loads | head.stores
            m.d.comb += [
                issue.order[thread].eq(
                    ~(accesses & self.scalar_holds[thread]) & ~((head.loads | head.gathers) & meets)
                ),
                self.stores_pending[thread].eq(queue.stores | stored),
            ]
            kind = issue.kinds[thread]
            m.d.comb += [getattr(kind, name).eq(head[name]) for name in _KIND]

    def _shared(
        self,
        m: Module,
        issue: VectorIssue,
        queues: list[VectorQueue],
        slots: list[_Slot],
        store_unit: VectorStoreUnit,
        gather: GatherUnit,
        scalars: ScalarReturn,
    ) -> None:
        """Say for which operations what the threads share besides the slots is free."""
        # Operations of several passes come round in the SIMD unit every `LATENCY` cycles, and
        # nothing else enters then.
        m.submodules.rounds = rounds = ResultSchedule(
            longest=SimdUnit.LATENCY, note=range(longest_latency(self._params))
        )
        chosen = slots[0].chosen
        starts = slots[0].starts & (chosen.source == ResultSource.SIMD) & chosen.writes
        comes = rounds.due.used
        left = Mux(comes, rounds.due.note, chosen.latency) - SimdUnit.LATENCY
        m.d.comb += [
            rounds.enter.used.eq((comes | starts) & (left != 0)),
            rounds.enter.note.eq(left),
            rounds.after.eq(SimdUnit.LATENCY),
        ]
        gathering = gather.busy | gather.i.valid
        for thread, queue in enumerate(queues):
            head = queue.o.payload
            m.d.comb += issue.unit[thread].eq(
                ~(head.gathers & gathering)
                & ~(head.stores & ~head.gathers & store_unit.kept)
                & ~((head.source == ResultSource.SIMD) & head.writes & comes)
                & ~(head.moves_scalar & ~scalars.room)
            )

    def _accumulators(
        self, m: Module, issue: VectorIssue, queues: list[VectorQueue], slot: _Slot
    ) -> None:
        """Hold off what reads an accumulator in flight."""
        m.submodules.interlock = interlock = AccumulatorInterlock(self._params)
        m.d.comb += [
            interlock.enter.used.eq(slot.starts & slot.chosen.steps),
            interlock.enter.thread.eq(slot.chosen.operation.thread),
            interlock.enter.acc.eq(slot.chosen.acc),
            issue.accumulator.eq(interlock.free),
        ]
        for thread, (queue, query) in enumerate(zip(queues, interlock.queries, strict=True)):
            m.d.comb += [
                query.used.eq(queue.o.payload.reads_acc),
                query.thread.eq(thread),
                query.acc.eq(queue.o.payload.acc),
            ]

    def _schedules(self, m: Module, issue: VectorIssue, queues: list[VectorQueue]) -> list[Any]:
        """Follow the results of each thread to its registers; return those of this cycle."""
        dues = []
        for thread, queue in enumerate(queues):
            # A result comes one cycle later than the latency says: operands are read first.
            schedule = ResultSchedule(longest=longest_latency(self._params) + 1, note=_RESULT)
            m.submodules[f"schedule_{thread}"] = schedule
            head = queue.o.payload
            timed = head.writes & ~head.gathers
            loads_in_1 = (head.source == ResultSource.LOAD_0) & issue.taken[1]
            in_1 = loads_in_1 & (issue.chosen[1].thread == thread)
            m.d.comb += [
                schedule.after.eq(head.latency + 1),
                schedule.enter.used.eq(issue.starts[thread] & timed),
                schedule.enter.note.register.eq(head.register),
                schedule.enter.note.source.eq(Mux(in_1, ResultSource.LOAD_1, head.source)),
                issue.result[thread].eq(~timed | schedule.free.bit_select(schedule.after, 1)),
            ]
            dues.append(schedule.due)
        return dues

    def _write_back(
        self,
        m: Module,
        dues: Sequence[Any],
        registers: VectorRegisterFile,
        gather: GatherUnit,
        slots: list[_Slot],
        units: _Units,
    ) -> list[Value]:
        """Write results to vector registers; return the registers written, mask registers too.

        A gathered vector waits until no other result of its thread comes.
        """
        values = {
            ResultSource.MATRIX: units.matrix.o_read.payload,
            ResultSource.CONVERT: units.convert.o.payload,
            ResultSource.SIMD: units.simd.o.payload,
            ResultSource.MOVE: units.move.o.payload,
            ResultSource.LOAD_0: _merged(slots[0]),
            ResultSource.LOAD_1: _merged(slots[1]),
        }
        written = []
        for thread, (due, write) in enumerate(zip(dues, registers.writes, strict=True)):
            gathered = gather.o.valid & (gather.o.payload.thread == thread) & ~due.used
            number = Mux(gathered, gather.o.payload.register, due.note.register)
            m.d.comb += [
                write.valid.eq(gathered | (due.used & (due.note.register < MASK_BASE))),
                write.number.eq(number),
            ]
            with m.If(gathered):
                m.d.comb += [gather.o.ready.eq(1), write.value.eq(gather.o.payload.value)]
            with m.Else(), m.Switch(due.note.source):
                for source, value in values.items():
                    with m.Case(source):
                        m.d.comb += write.value.eq(value)
            written.append(register_bit(due.used | gathered, number))
        return written

    def _write_masks(
        self, m: Module, dues: Sequence[Any], masks: MaskRegisterFile, units: _Units
    ) -> None:
        """Write results to mask registers."""
        for write, source, result in (
            (masks.write_0, ResultSource.SIMD, units.simd.o_mask),
            (masks.write_1, ResultSource.MOVE, units.move.o_mask),
        ):
            m.d.comb += [write.valid.eq(result.valid), write.value.eq(result.payload)]
            for thread, due in enumerate(dues):
                with m.If(due.used & (due.note.source == source)):
                    m.d.comb += [
                        write.register.thread.eq(thread),
                        write.register.number.eq(due.note.register - MASK_BASE),
                    ]

    def _scoreboards(
        self, m: Module, issue: VectorIssue, queues: list[VectorQueue], written: list[Value]
    ) -> list[Value]:
        """Hold off what uses a register that waits; return whether any does, for each thread."""
        waiting = []
        for thread, (queue, registers) in enumerate(zip(queues, written, strict=True)):
            m.submodules[f"scoreboard_{thread}"] = scoreboard = Scoreboard()
            head = queue.o.payload
            m.d.comb += [
                scoreboard.uses.eq(head.uses),
                scoreboard.write.eq(registers),
                scoreboard.reserve.eq(
                    register_bit(issue.starts[thread] & head.writes, head.register)
                ),
                issue.operands[thread].eq(scoreboard.ready),
                self.stalls[thread].eq(issue.stalls[thread]),
            ]
            waiting.append(scoreboard.any)
        return waiting

    def _report_busy(
        self,
        m: Module,
        queues: list[VectorQueue],
        slots: list[_Slot],
        store_unit: VectorStoreUnit,
        gather: GatherUnit,
        scalars: ScalarReturn,
        waiting: list[Value],
    ) -> None:
        """Say which threads have something under way."""
        for thread, queue in enumerate(queues):
            # Cycles in which a matrix operation that left its slot is in the matrix unit.
            steps = Signal(MatrixUnit.STEP_LATENCY, name=f"steps_{thread}")
            in_slot = [slot.occupied & (slot.current.thread == thread) for slot in slots]
            m.d.sync += steps.eq(Cat(in_slot[1], steps))
            m.d.comb += self.busy[thread].eq(
                queue.o.valid
                | waiting[thread]
                | Cat(in_slot).any()
                | steps.any()
                | scalars.busy[thread]
                | (store_unit.pending & (store_unit.pending_thread == thread))
                | (gather.busy & (gather.o.payload.thread == thread))
            )

    def _report_errors(self, m: Module, slots: list[_Slot]) -> None:
        """Report operands from SRAM that are wrong, of one thread a cycle."""
        reports = []
        for thread in range(self._params.threads):
            report: Any = Signal(HardwareError, name=f"error_{thread}")
            for slot in slots:
                current = slot.current
                with m.If(slot.load_unit.uncorrectable & (current.thread == thread)):
                    with m.If(~report.valid):
                        m.d.sync += [
                            report.valid.eq(1),
                            report.thread.eq(thread),
                            report.pc.eq(current.pc),
                            report.address.eq(current.address),
                        ]
            reports.append(report)
        earlier: Value = Const(0)
        for report in reports:
            with m.If(report.valid & ~earlier):
                m.d.comb += self.hardware_error.eq(report)
                m.d.sync += report.valid.eq(0)
            earlier = earlier | report.valid


def _merged(slot: _Slot) -> Value:
    """Return what was loaded, and the register's own lanes where the mask is 0."""
    return Cat(
        Mux(
            lane,
            slot.load_unit.loaded.word_select(n, 32),
            slot.registers.c.word_select(n, 32),
        )
        for n, lane in enumerate(slot.mask)
    )
