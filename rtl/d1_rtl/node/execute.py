"""The execution stage: what the instructions in the issue slots do."""

from __future__ import annotations

from typing import Any, NamedTuple

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import CONTROL_BASE, LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from .address_unit import AddressUnit
from .alu_slot import AluSlot
from .csr_file import CsrFile
from .frontend import redirect_layout, training_layout
from .interfaces import (
    ControlSignature,
    HardwareError,
    RetiredSlot,
    RetireSignature,
    ScalarResult,
    SemaphoreEvent,
    SramReadSignature,
    SramWriteSignature,
)
from .issue import Repair
from .issue_group import BLOCKING_UNITS
from .link_unit import LinkOp, link_operation_layout, link_result_layout
from .micro_op import (
    CsrOp,
    MulDivOp,
    OperandA,
    SemaphoreOp,
    SystemOp,
    Trap,
    TrapCause,
    Unit,
    field,
    is_one_of,
    slot_layout,
)
from .muldiv import MulDiv
from .scalar_scoreboard import RegisterMark
from .transfer_engine import TransferOp, transfer_operation_layout
from .trap_unit import TrapUnit
from .vector_unit import vector_blocking_layout, vector_operation_layout, vector_scalar_layout
from .writeback import Writeback

__all__ = ["Execute"]

_CONTROL_BIT = CONTROL_BASE.bit_length() - 1
_LINE_LOG2 = LINE_BYTES.bit_length() - 1
#: x10, which takes the argument of a thread that starts: a0 of the calling convention.
_ARGUMENT_REGISTER = 10
#: Exceptions that stop the thread even if it has a handler.
_ALWAYS_STOP = (TrapCause.VECTOR_FAULT, TrapCause.HARDWARE_ERROR)


class _Exception(NamedTuple):
    """Something that may raise an exception in this cycle."""

    raised: Value
    thread: Value
    trap: Any


class _Departure(NamedTuple):
    """Something that may send a thread elsewhere in this cycle."""

    valid: Value
    thread: Value
    target: Value


class Execute(wiring.Component):
    """Execute what is in the issue slots, one cycle each.

    ALU slots have an ALU and a branch unit each; the first also the units that there are once:
    CSRs, multiplier and divider, and the ways to transfer engine, link unit and semaphores.
    Address slots check addresses and carry scalar loads and stores, which they keep until their
    bank takes them, and execute simple integer operations. Vector instructions go on to the queues
    of the vector unit.

    Everything that an instruction can raise is known in its first cycle here, before it or one
    behind it has any effect, so exceptions are precise. Instructions that block their thread
    (gather, scatter, links) raise theirs when they are done, and nothing was issued behind them.
    A word of SRAM that cannot be corrected is found a cycle after a load was taken: it stops the
    thread, with the address of the load, though instructions behind it may have been executed.

    Golden twin: the interpreter loop of the golden node.

    Parameters
    ----------
    params
        Threads, slots, size of the SRAM.

    Members
    -------
    alus, addresses, vectors : In(slot_layout()).array(...)
        The slots.
    first_entered : In(1), entered : In(address slots)
        The instruction entered the first ALU slot, the address slot, at the begin of this cycle.
        Those in other slots always have.
    first_ready : Out(1), address_ready : Out(address slots)
        That slot is empty or is left at the end of this cycle.
    repair : In(Repair).array(issue_groups)
    fault_pc : In(64).array(threads)
    start, running : In(threads), pc, argument : In(64).array(threads)
        A thread starts: at what address, with what in x10.
    results : Out(ScalarResult).array(scalar_slots + 2)
        Of the ALU slots, the address slots, of loads, of all other units.
    marks : Out(RegisterMark).array(scalar_slots + issue_groups)
        Of the slots in order: instructions whose results come later.
    redirect : Out(redirect_layout()).array(threads)
    invalidate : Out(1)
    train : Out(training_layout()).array(issue_groups)
    blocked : Out(threads)
        The thread waits for an instruction that blocks it.
    divider_free : Out(1)
    stops : Out(threads), trap : Out(Trap).array(threads)
        An exception stops the thread.
    busy : Out(threads)
        The thread has an instruction here that is not done.
    vector : Out(stream of vector_operation_layout(params)).array(issue_groups)
    vector_scalar, vector_blocking : In(stream)
    vector_error : In(HardwareError)
    scalar_holds : Out(threads)
        A scalar access of the thread is in an address slot.
    transfer, link : Out(stream), link_result : In(stream)
    post : Out(SemaphoreEvent)
    retired : Out(4).array(threads)
        Instructions that retire in this cycle.
    issued : Out(scalar_slots)
        The scalar slots that did something.
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    control : Out(ControlSignature())
    retire : Out(RetireSignature(params))
    """

    alus: Any
    addresses: Any
    vectors: Any
    first_entered: Signal
    entered: Signal
    first_ready: Signal
    address_ready: Signal
    repair: Any
    fault_pc: Any
    start: Signal
    running: Signal
    pc: Any
    argument: Any
    results: Any
    marks: Any
    redirect: Any
    invalidate: Signal
    train: Any
    blocked: Signal
    divider_free: Signal
    stops: Signal
    trap: Any
    busy: Signal
    vector: Any
    vector_scalar: Any
    vector_blocking: Any
    vector_error: Any
    scalar_holds: Signal
    transfer: Any
    link: Any
    link_result: Any
    post: Any
    retired: Any
    issued: Signal
    sram_read: Any
    sram_write: Any
    control: Any
    retire: Any

    def __init__(self, params: NodeParams):
        self._params = params
        threads, slots = params.threads, params.scalar_slots // 2
        groups = params.issue_groups
        slot = In(slot_layout())
        operation = stream.Signature(vector_operation_layout(params), always_ready=True)
        super().__init__(
            {
                "alus": slot.array(slots),
                "addresses": slot.array(slots),
                "vectors": slot.array(groups),
                "first_entered": In(1),
                "entered": In(slots),
                "first_ready": Out(1),
                "address_ready": Out(slots),
                "repair": In(Repair).array(groups),
                "fault_pc": In(64).array(threads),
                "start": In(threads),
                "running": In(threads),
                "pc": In(64).array(threads),
                "argument": In(64).array(threads),
                "results": Out(ScalarResult).array(2 * slots + 2),
                "marks": Out(RegisterMark).array(2 * slots + groups),
                "redirect": Out(redirect_layout()).array(threads),
                "invalidate": Out(1),
                "train": Out(training_layout()).array(groups),
                "blocked": Out(threads),
                "divider_free": Out(1),
                "stops": Out(threads),
                "trap": Out(Trap).array(threads),
                "busy": Out(threads),
                "vector": Out(operation).array(groups),
                "vector_scalar": In(stream.Signature(vector_scalar_layout())),
                "vector_blocking": In(stream.Signature(vector_blocking_layout())),
                "vector_error": In(HardwareError),
                "scalar_holds": Out(threads),
                "transfer": Out(stream.Signature(transfer_operation_layout())),
                "link": Out(stream.Signature(link_operation_layout())),
                "link_result": In(stream.Signature(link_result_layout())),
                "post": Out(SemaphoreEvent),
                "retired": Out(4).array(threads),
                "issued": Out(2 * slots),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
                "control": Out(ControlSignature()),
                "retire": Out(RetireSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        alus, units = self._add_slots(m)
        m.submodules.trap_unit = trap_unit = TrapUnit(self._params)
        csr_files = []
        for thread in range(self._params.threads):
            csr_file = CsrFile(self._params, thread=thread)
            m.submodules[f"csr_file_{thread}"] = csr_file
            csr_files.append(csr_file)
        commits, exceptions = self._commit(m, alus, units, trap_unit)
        csr_value = self._access_csr(m, csr_files, trap_unit, commits[0])
        self._access_memory(m, units)
        self._late_results(m, commits[0])
        self._write(m, alus, units, commits, csr_value)
        self._pass_vector(m, units, csr_files, commits)
        self._communicate(m, commits[0])
        done, fault = self._block(m, commits)
        self._depart(m, alus, csr_files, commits, [*exceptions, fault])
        self._retire(m, commits, csr_files, done)
        self._keep_busy(m)
        return m

    def _add_slots(self, m: Module) -> tuple[list[AluSlot], list[AddressUnit]]:
        """Add the units of each slot."""
        alus, units = [], []
        for index, slot in enumerate(self.alus):
            m.submodules[f"alu_{index}"] = alu = AluSlot()
            m.d.comb += alu.slot.eq(slot)
            alus.append(alu)
        for index, slot in enumerate(self.addresses):
            m.submodules[f"address_{index}"] = unit = AddressUnit(self._params)
            m.d.comb += [unit.slot.eq(slot), self.address_ready[index].eq(~slot.valid | unit.done)]
            units.append(unit)
        return alus, units

    def _commit(
        self, m: Module, alus: list[AluSlot], units: list[AddressUnit], trap_unit: TrapUnit
    ) -> tuple[list[Value], list[_Exception]]:
        """Find which instructions have their effect, slot by slot, and which raise an exception.

        An access that faults kills what is behind it in its group. Everything else that raises an
        exception is the last of its group.
        """
        faults = [
            slot.valid & entered & unit.fault
            for slot, entered, unit in zip(self.addresses, self.entered, units, strict=True)
        ]
        commits: list[Value] = []
        exceptions = []

        def judge(slot: Any, fresh: Value, raised: Value, trap: Any) -> Value:
            """Add a slot to the lists; return whether its instruction is killed."""
            number = len(commits)
            killed, commit, raises = (
                Signal(name=f"{name}_{number}") for name in ("killed", "commit", "raises")
            )
            for fault, other in zip(faults, self.addresses, strict=True):
                with m.If(fault & (other.group == slot.group) & (other.order < slot.order)):
                    m.d.comb += killed.eq(fresh)
            m.d.comb += [commit.eq(fresh & ~killed & ~raised), raises.eq(fresh & ~killed & raised)]
            commits.append(commit)
            exceptions.append(_Exception(raises, slot.thread, trap))
            return killed

        m.d.comb += [
            trap_unit.slot.eq(self.alus[0]),
            trap_unit.fault_pc.eq(Array(self.fault_pc)[self.alus[0].thread]),
        ]
        for index, (slot, alu) in enumerate(zip(self.alus, alus, strict=True)):
            trap: Any = Signal(Trap, name=f"trap_{index}")
            raised = Signal(name=f"raised_alu_{index}")
            m.d.comb += [
                raised.eq(alu.misaligned),
                trap.pc.eq(slot.pc),
                trap.cause.eq(TrapCause.INSTRUCTION_MISALIGNED),
                trap.value.eq(alu.target),
            ]
            if index == 0:
                with m.If(trap_unit.raised):
                    m.d.comb += [raised.eq(1), trap.eq(trap_unit.trap)]
            fresh = slot.valid & (self.first_entered if index == 0 else 1)
            judge(slot, fresh, raised, trap)
        for index, (slot, entered, unit) in enumerate(
            zip(self.addresses, self.entered, units, strict=True)
        ):
            trap = Signal(Trap, name=f"trap_address_{index}")
            m.d.comb += [
                trap.pc.eq(slot.pc), trap.cause.eq(unit.cause), trap.value.eq(unit.address),
            ]  # fmt: skip
            m.d.comb += unit.killed.eq(judge(slot, slot.valid & entered, unit.fault, trap))
        for slot in self.vectors:
            judge(slot, slot.valid, Signal(), Signal(Trap))
        return commits, exceptions

    def _access_csr(
        self, m: Module, csr_files: list[CsrFile], trap_unit: TrapUnit, commit: Value
    ) -> Value:
        """Connect the CSRs to the first ALU slot; return the CSR that it reads."""
        slot = self.alus[0]
        uop = slot.uop
        immediate = field(slot.insn, "imm_z")
        for thread, csr_file in enumerate(csr_files):
            m.d.comb += [
                csr_file.number.eq(field(slot.insn, "csr")),
                csr_file.op.eq(CsrOp(uop.op[:4])),
                csr_file.operand.eq(Mux(uop.a == OperandA.RS1, slot.x1, immediate)),
                csr_file.writes.eq((uop.op == CsrOp.CSRRW) | field(slot.insn, "rs1").any()),
                csr_file.commit.eq(commit & (uop.unit == Unit.CSR) & (slot.thread == thread)),
                csr_file.running.eq(self.running[thread]),
            ]
        m.d.comb += trap_unit.csr_illegal.eq(csr_files[0].illegal)
        return Array(csr_file.value for csr_file in csr_files)[slot.thread]

    def _access_memory(self, m: Module, units: list[AddressUnit]) -> None:
        """Connect the address units to memory: the first loads, the last stores."""
        loader, storer = units[0], units[-1]
        for thread in range(self._params.threads):
            held = [
                slot.valid & unit.scalar & (slot.thread == thread)
                for slot, unit in zip(self.addresses, units, strict=True)
            ]
            m.d.comb += self.scalar_holds[thread].eq(sum(held) != 0)
        m.submodules.writeback = writeback = Writeback()
        wiring.connect(m, loader.sram_read, wiring.flipped(self.sram_read))
        wiring.connect(m, storer.sram_write, wiring.flipped(self.sram_write))
        m.d.comb += [
            writeback.load.eq(loader.load),
            writeback.line.eq(self.sram_read.data),
            writeback.uncorrectable.eq(self.sram_read.uncorrectable),
            writeback.control.eq(self.control.data),
            self.results[-2].eq(writeback.result),
        ]
        if loader is storer:
            wiring.connect(m, loader.control, wiring.flipped(self.control))
            return
        request = self.control.request
        first = loader.control.request.valid
        m.d.comb += [
            request.valid.eq(first | storer.control.request.valid),
            request.payload.eq(
                Mux(first, loader.control.request.payload, storer.control.request.payload)
            ),
            loader.control.request.ready.eq(request.ready),
            storer.control.request.ready.eq(request.ready & ~first),
        ]
        self._order(m, loader, storer)

    def _order(self, m: Module, loader: AddressUnit, storer: AddressUnit) -> None:
        """Keep a thread's load and store to one bank in program order."""
        (load, store), (load_entered, store_entered) = self.addresses, self.entered
        store_first, was_first = Signal(), Signal()
        bank = slice(_LINE_LOG2, _LINE_LOG2 + (self._params.sram_banks - 1).bit_length())
        meet = Signal()
        with m.If(load_entered & store_entered):
            m.d.comb += store_first.eq(store.order < load.order)
        with m.Elif(load_entered | store_entered):
            m.d.comb += store_first.eq(load_entered)
        with m.Else():
            m.d.comb += store_first.eq(was_first)
        m.d.sync += was_first.eq(store_first)
        m.d.comb += [
            meet.eq(
                load.valid
                & store.valid
                & loader.scalar
                & storer.scalar
                & (load.thread == store.thread)
                & (
                    (loader.address[bank] == storer.address[bank])
                    | loader.address[_CONTROL_BIT]
                    | storer.address[_CONTROL_BIT]
                )
            ),
            loader.hold.eq(meet & store_first),
            storer.hold.eq(meet & ~store_first),
        ]

    def _late_results(self, m: Module, commit: Value) -> None:
        """Connect the units whose results come later.

        The argument of a thread that starts comes first, then products and quotients, the vector
        unit's and link results.
        """
        slot, uop = self.alus[0], self.alus[0].uop
        late = self.results[-1]
        m.submodules.muldiv = muldiv = MulDiv()
        operation = muldiv.i.payload
        m.d.comb += [
            # It keeps its slot until it is taken.
            muldiv.i.valid.eq(
                (commit | (slot.valid & ~self.first_entered))
                & (uop.unit == Unit.MULDIV)
                & uop.writes_rd
            ),
            self.first_ready.eq(~muldiv.i.valid | muldiv.i.ready),
            operation.op.eq(MulDivOp(uop.op[:4])),
            operation.word.eq(uop.word),
            operation.a.eq(slot.x1),
            operation.b.eq(slot.x2),
            operation.thread.eq(slot.thread),
            operation.rd.eq(field(slot.insn, "rd")),
            self.divider_free.eq(muldiv.divider_free),
        ]
        sources = (muldiv.o, self.vector_scalar, self.link_result)
        with m.If(self.start.any()):
            m.d.comb += [late.valid.eq(1), late.rd.eq(_ARGUMENT_REGISTER)]
            for thread in range(self._params.threads):
                with m.If(self.start[thread]):
                    m.d.comb += [late.thread.eq(thread), late.value.eq(self.argument[thread])]
        free: Value = ~self.start.any()
        for source in sources:
            m.d.comb += source.ready.eq(free)
            with m.If(source.valid & free):
                m.d.comb += [
                    late.valid.eq(1),
                    *(late[name].eq(source.payload[name]) for name in ("thread", "rd", "value")),
                ]
            free = free & ~source.valid
        # Nothing to write: a link to x0, or one that faults.
        link = self.link_result.payload
        with m.If(self.link_result.valid & self.link_result.ready):
            with m.If(link.fault | (link.rd == 0)):
                m.d.comb += late.valid.eq(0)

    def _write(
        self,
        m: Module,
        alus: list[AluSlot],
        units: list[AddressUnit],
        commits: list[Value],
        csr_value: Value,
    ) -> None:
        """Drive the results that are there at once, and mark registers whose results come later."""
        slots = [*self.alus, *self.addresses]
        values = [unit.value for unit in alus] + [unit.value for unit in units]
        for index, (slot, value) in enumerate(zip(slots, values, strict=True)):
            result = self.results[index]
            at_once = is_one_of(slot.uop.unit, Unit.ALU, Unit.BRANCH, Unit.CSR)
            m.d.comb += [
                result.valid.eq(commits[index] & slot.uop.writes_rd & at_once),
                result.thread.eq(slot.thread),
                result.rd.eq(field(slot.insn, "rd")),
                result.value.eq(value),
            ]
            if index == 0:
                with m.If(slot.uop.unit == Unit.CSR):
                    m.d.comb += result.value.eq(csr_value)
        for index, (slot, commit, mark) in enumerate(
            zip(self._slots(), commits, self.marks, strict=True)
        ):
            # A link's thread waits for it anyway.
            writes = commit & slot.uop.writes_rd & (slot.uop.unit != Unit.LINK)
            if index < len(slots):
                writes = writes & ~self.results[index].valid
            m.d.comb += [
                mark.valid.eq(writes),
                mark.thread.eq(slot.thread),
                mark.rd.eq(field(slot.insn, "rd")),
            ]

    def _slots(self) -> list[Any]:
        return [*self.alus, *self.addresses, *self.vectors]

    def _pass_vector(
        self, m: Module, units: list[AddressUnit], csr_files: list[CsrFile], commits: list[Value]
    ) -> None:
        """Hand vector instructions, at most one of each group, to the queues."""
        addressed = list(zip(self.addresses, units, commits[len(self.alus) :], strict=False))
        draws: list[list[Value]] = [[] for _ in csr_files]
        for group, (port, slot) in enumerate(zip(self.vector, self.vectors, strict=True)):
            operation = port.payload
            chosen: Any = Signal(slot_layout(), name=f"operation_{group}")
            m.d.comb += [
                chosen.eq(slot),
                port.valid.eq(commits[len(self.alus) + len(self.addresses) + group]),
            ]
            for other, unit, commit in addressed:
                with m.If(other.valid & unit.vector & (other.group == group)):
                    m.d.comb += [
                        chosen.eq(other),
                        port.valid.eq(commit),
                        operation.address.eq(unit.address),
                        operation.scalar.eq(other.x1),
                    ]
            m.d.comb += [
                operation.uop.eq(chosen.uop),
                operation.insn.eq(chosen.insn),
                operation.thread.eq(chosen.thread),
                operation.pc.eq(chosen.pc),
            ]
            with m.Switch(chosen.thread):
                for thread, csr_file in enumerate(csr_files):
                    with m.Case(thread):
                        m.d.comb += [
                            operation[name].eq(getattr(csr_file, name))
                            for name in ("mcfp8a", "mcfp8b", "mcfp8c", "mround", "mseed")
                        ]
            # Of the conversions those to a narrower format keep the rest of their destination.
            narrows = (chosen.uop.unit == Unit.VECTOR_CONVERT) & chosen.uop.reads_vd
            for thread, csr_file in enumerate(csr_files):
                draws[thread].append(
                    port.valid & narrows & csr_file.mround & (chosen.thread == thread)
                )
        for drawn, csr_file in zip(draws, csr_files, strict=True):
            m.d.comb += csr_file.draws_random.eq(sum(drawn) != 0)

    def _block(self, m: Module, commits: list[Value]) -> tuple[Any, _Exception]:
        """Follow the instruction that blocks each thread.

        Returns
        -------
        record
            The trace of one that is done.
        fault
            What it raises instead.
        """
        threads = self._params.threads
        places = data.ArrayLayout(data.StructLayout({"pc": LOCAL_BITS, "insn": 32}), threads)
        blocking: Any = Signal(places)
        waits, done = Signal(threads), Signal(threads)
        m.d.comb += self.blocked.eq(waits)
        m.d.sync += waits.eq(waits & ~done)
        for slot, commit in zip(self._slots(), commits, strict=True):
            blocks = is_one_of(slot.uop.unit, *BLOCKING_UNITS)
            with m.If(slot.valid & blocks):
                m.d.comb += self.blocked.bit_select(slot.thread, 1).eq(1)
            with m.If(commit & blocks):
                m.d.sync += [
                    waits.bit_select(slot.thread, 1).eq(1),
                    blocking[slot.thread].pc.eq(slot.pc),
                    blocking[slot.thread].insn.eq(slot.insn),
                ]
        record: Any = Signal(RetiredSlot, name="blocking_record")
        fault = Signal()
        trap: Any = Signal(Trap, name="blocking_trap")
        vector, link = self.vector_blocking, self.link_result
        finished = Signal()
        m.d.comb += vector.ready.eq(~(link.valid & link.ready))
        with m.If(link.valid & link.ready):
            m.d.comb += [
                finished.eq(1),
                record.thread.eq(link.payload.thread),
                record.rd_valid.eq(link.payload.rd != 0),
                record.rd.eq(link.payload.rd),
                record.value.eq(link.payload.value),
                fault.eq(link.payload.fault),
                trap.value.eq(link.payload.address),
                trap.cause.eq(link.payload.cause),
            ]
        with m.Elif(vector.valid):
            m.d.comb += [
                finished.eq(1),
                record.thread.eq(vector.payload.thread),
                fault.eq(vector.payload.fault),
                trap.value.eq(vector.payload.address),
                trap.cause.eq(
                    Mux(
                        vector.payload.hardware,
                        TrapCause.HARDWARE_ERROR,
                        TrapCause.VECTOR_FAULT,
                    )
                ),
            ]
        place = blocking[record.thread]
        m.d.comb += [
            record.pc.eq(place.pc),
            record.insn.eq(place.insn),
            record.valid.eq(finished & ~fault),
            trap.pc.eq(place.pc),
            done.eq(Mux(finished, 1 << record.thread, 0)),
        ]
        return record, _Exception(finished & fault, record.thread, trap)

    def _depart(
        self,
        m: Module,
        alus: list[AluSlot],
        csr_files: list[CsrFile],
        commits: list[Value],
        exceptions: list[_Exception],
    ) -> None:
        """Send threads elsewhere: wrong predictions, changed code, exceptions."""
        slot, uop = self.alus[0], self.alus[0].uop
        system = commits[0] & (uop.unit == Unit.SYSTEM)
        returns = system & (uop.op == SystemOp.MRET)
        fences = system & (uop.op == SystemOp.FENCE_I)
        departures = [
            *(_Departure(repair.valid, repair.thread, repair.pc) for repair in self.repair),
            *(
                _Departure(commit & alu.mispredicted, slot.thread, alu.next_pc)
                for slot, alu, commit in zip(self.alus, alus, commits, strict=False)
            ),
            _Departure(fences, slot.thread, slot.pc + 4),
            _Departure(returns, slot.thread, Array(f.mepc for f in csr_files)[slot.thread]),
        ]
        errors = (self.vector_error, m.submodules.writeback.error)
        m.d.comb += self.invalidate.eq(fences | self.start.any())
        for thread, csr_file in enumerate(csr_files):
            redirect, trap = self.redirect[thread], self.trap[thread]
            raised, stops = Signal(name=f"raised_{thread}"), self.stops[thread]
            for departure in departures:
                with m.If(departure.valid & (departure.thread == thread)):
                    m.d.comb += [redirect.valid.eq(1), redirect.target.eq(departure.target)]
            for error in errors:
                with m.If(error.valid & (error.thread == thread)):
                    m.d.comb += [
                        stops.eq(1),
                        trap.cause.eq(TrapCause.HARDWARE_ERROR),
                        trap.pc.eq(error.pc),
                        trap.value.eq(error.address),
                    ]
            for exception in exceptions:
                with m.If(exception.raised & (exception.thread == thread)):
                    m.d.comb += [raised.eq(1), trap.eq(exception.trap)]
            with m.If(raised):
                m.d.comb += [
                    stops.eq((csr_file.mtvec == 0) | is_one_of(trap.cause, *_ALWAYS_STOP)),
                    redirect.valid.eq(~stops),
                    redirect.target.eq(csr_file.mtvec),
                ]
            with m.If(self.start[thread]):
                m.d.comb += [redirect.valid.eq(1), redirect.target.eq(self.pc[thread])]
            m.d.comb += [
                csr_file.take_trap.eq(raised & ~stops),
                csr_file.trap.eq(trap),
                csr_file.mret.eq(returns & (slot.thread == thread)),
            ]
        self._train(m, alus, commits)

    def _train(self, m: Module, alus: list[AluSlot], commits: list[Value]) -> None:
        """Tell the front end where the branch of each group went."""
        for group, (train, repair) in enumerate(zip(self.train, self.repair, strict=True)):
            with m.If(repair.valid):
                m.d.comb += [
                    train.valid.eq(1), train.start.eq(repair.start), train.slot.eq(repair.slot),
                ]  # fmt: skip
            for slot, alu, commit in zip(self.alus, alus, commits, strict=False):
                with m.If(commit & alu.branches & (slot.group == group)):
                    m.d.comb += [
                        train.valid.eq(1),
                        train.start.eq(slot.start),
                        train.slot.eq(slot.pc[2:]),
                        train.taken.eq(alu.taken),
                        train.target.eq(alu.target),
                    ]

    def _communicate(self, m: Module, commit: Value) -> None:
        """Hand transfers, links and posts to their units, which have room for them."""
        slot, uop = self.alus[0], self.alus[0].uop
        transfer, link = self.transfer.payload, self.link.payload
        m.d.comb += [
            self.transfer.valid.eq(commit & (uop.unit == Unit.TRANSFER)),
            transfer.op.eq(TransferOp(uop.op[: len(transfer.op.as_value())])),
            transfer.thread.eq(slot.thread),
            transfer.x1.eq(slot.x1),
            transfer.x2.eq(slot.x2),
            transfer.count.eq(field(slot.insn, "imm_lines")),
            transfer.semaphore.eq(field(slot.insn, "imm_post")),
            self.link.valid.eq(commit & (uop.unit == Unit.LINK)),
            link.op.eq(LinkOp(uop.op[: len(link.op.as_value())])),
            link.thread.eq(slot.thread),
            link.x1.eq(slot.x1),
            link.x2.eq(slot.x2),
            link.rd.eq(field(slot.insn, "rd")),
            self.post.valid.eq(
                commit & (uop.unit == Unit.SEMAPHORE) & (uop.op == SemaphoreOp.SPOST)
            ),
            self.post.number.eq(field(slot.insn, "imm_sem")),
        ]

    def _retire(self, m: Module, commits: list[Value], csr_files: list[CsrFile], done: Any) -> None:
        """Report what retires: everything with effect, and blocking instructions when done."""
        records = self.retire.slots
        for slot, commit, record in zip(self._slots(), commits, records, strict=False):
            m.d.comb += [
                record.valid.eq(commit & ~is_one_of(slot.uop.unit, *BLOCKING_UNITS)),
                record.thread.eq(slot.thread),
                record.order.eq(slot.order),
                record.pc.eq(slot.pc),
                record.insn.eq(slot.insn),
                record.rd_valid.eq(slot.uop.writes_rd),
                record.rd.eq(field(slot.insn, "rd")),
                record.pending.eq(slot.uop.writes_rd),
            ]
        for result, record in zip(self.results, records[: self._params.scalar_slots], strict=False):
            m.d.comb += [
                record.pending.eq(record.rd_valid & ~result.valid),
                record.value.eq(result.value),
            ]
        m.d.comb += records[-1].eq(done)
        for late, result in zip(self.retire.late, self.results[-2:], strict=True):
            m.d.comb += late.eq(result)
        # An argument is no result, and that of a link is in its record.
        with m.If(self.start.any() | (self.link_result.valid & self.link_result.ready)):
            m.d.comb += self.retire.late[1].valid.eq(0)
        for thread, csr_file in enumerate(csr_files):
            retired = (record.valid & (record.thread == thread) for record in records)
            m.d.comb += [
                self.retired[thread].eq(sum(retired)),
                csr_file.retired.eq(self.retired[thread]),
            ]
        m.d.comb += [bit.eq(commit) for bit, commit in zip(self.issued, commits, strict=False)]

    def _keep_busy(self, m: Module) -> None:
        """Say which threads have something here that is not done."""
        load = m.submodules.writeback.busy
        for thread in range(self._params.threads):
            here = [slot.valid & (slot.thread == thread) for slot in self._slots()]
            m.d.comb += self.busy[thread].eq(
                sum(here) + (load.valid & (load.thread == thread)) != 0
            )
