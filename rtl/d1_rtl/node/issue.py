"""Issue: the stage that lets instructions of one or two threads a cycle into their slots."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS, StallCause
from d1_golden.params import NodeParams

from .fetch_rows import previewed_threads
from .frontend import SLOT_BITS, window_layout
from .head_preview import HeadPreview
from .interfaces import THREAD_BITS, ScalarResult, Stall
from .issue_group import IssueGroup, ThreadState
from .micro_op import VECTOR_MEMORY_UNITS, Unit, field, slot_layout
from .register_file import RegisterFile
from .scalar_scoreboard import RegisterMark, ScalarScoreboard
from .slot_allocator import SlotAllocator
from .thread_chooser import ThreadChooser

__all__ = ["Issue", "Repair"]


class Repair(data.Struct):
    """An instruction was predicted to be a taken branch and is none: its thread goes on behind it.

    `start` and `slot` are those of the wrong prediction, `pc` is the next instruction's address.
    """

    valid: 1
    thread: THREAD_BITS
    pc: LOCAL_BITS
    start: LOCAL_BITS
    slot: SLOT_BITS


class Issue(wiring.Component):
    """Hand instructions to the slots of execution, in program order within each thread.

    `issue_groups` threads a cycle, up to `issue_width` instructions of each: they are decoded and
    their registers are read in the cycle in which they are in the window of the front end, and are
    in their slots in the next. An operand comes from the register file or from a result of this
    cycle. An instruction waits, and those behind it, for

    - a register that waits for its result (`ScalarScoreboard`), or is written by an instruction
      of the same group;
    - a slot (`SlotAllocator`), room in its vector queue, a free divider, transfer or link unit;
    - memory order: a scalar load for vector stores of its thread, a scalar store for vector loads
      and stores, and fences, posts, barriers, transfers and links for every earlier access;
    - a semaphore or a barrier.

    A branch ends its group; CSR, system, communication and faulty instructions form one alone.
    Vector registers and accumulators are checked where they are read, in the vector unit.

    Golden twin: the decoding and the `x` of the golden node.

    Parameters
    ----------
    params
        Number of threads and slots, of threads that issue in a cycle and their instructions.

    Members
    -------
    select, take : Out(...).array(issue_groups), window : In(window_layout(params)).array(...)
        The front end's instructions of the chosen threads, and how many of them are taken.
    heads : In(32).array(threads)
        The next instruction of each available thread; none if `issue_groups` is 1.
    available, running, flush, blocked : In(threads)
        A thread has instructions, may issue, goes elsewhere in this cycle, has an instruction
        under way that it waits for.
    alus, addresses, vectors : Out(slot_layout()).array(...)
        The slots of execution: registers. A vector instruction that needs a scalar register or
        memory is in an address slot, any other in the vector slot of its group.
    first_ready : In(1), address_ready : In(address slots)
        The first ALU slot, or the address slot, is empty or is left at the end of the cycle. The
        other slots always are.
    first_entered : Out(1), entered : Out(address slots)
        The instruction of the slot entered it at the begin of this cycle.
    repair : Out(Repair).array(issue_groups)
        Of the groups in the slots.
    results : In(ScalarResult).array(scalar_slots + 2)
        Results of this cycle: of the ALU slots, the address slots, of loads, of all other units.
    marks : In(RegisterMark).array(scalar_slots + issue_groups)
        Instructions in the slots whose results come later.
    room, loads_pending, stores_pending, transfers_pending : In(threads)
        Of the vector queues and the transfer engine.
    divider_free, transfer_ready, link_ready : In(1)
    semaphores : In(semaphores), take_semaphore : Out(1), semaphore : Out(5)
        Semaphores that are not 0; one of them is taken.
    arrive : Out(threads), thread_mask : Out(threads).array(threads), release : In(threads)
        Threads that wait at a barrier.
    stall : Out(Stall).array(threads)
    pending : Out(threads)
        A register of the thread waits for its result.
    """

    select: Any
    window: Any
    take: Any
    heads: Any
    available: Signal
    running: Signal
    flush: Signal
    blocked: Signal
    alus: Any
    addresses: Any
    vectors: Any
    first_ready: Signal
    address_ready: Signal
    first_entered: Signal
    entered: Signal
    repair: Any
    results: Any
    marks: Any
    room: Signal
    loads_pending: Signal
    stores_pending: Signal
    transfers_pending: Signal
    divider_free: Signal
    transfer_ready: Signal
    link_ready: Signal
    semaphores: Signal
    take_semaphore: Signal
    semaphore: Signal
    arrive: Signal
    thread_mask: Any
    release: Signal
    stall: Any
    pending: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        threads, slots = params.threads, params.scalar_slots // 2
        groups = params.issue_groups
        slot = Out(slot_layout())
        by_thread = In(threads)
        super().__init__(
            {
                "select": Out(THREAD_BITS).array(groups),
                "window": In(window_layout(params)).array(groups),
                "take": Out(range(params.issue_width + 1)).array(groups),
                "heads": In(32).array(previewed_threads(params)),
                "available": by_thread,
                "running": by_thread,
                "flush": by_thread,
                "blocked": by_thread,
                "alus": slot.array(slots),
                "addresses": slot.array(slots),
                "vectors": slot.array(groups),
                "first_ready": In(1),
                "address_ready": In(slots),
                "first_entered": Out(1),
                "entered": Out(slots),
                "repair": Out(Repair).array(groups),
                "results": In(ScalarResult).array(2 * slots + 2),
                "marks": In(RegisterMark).array(2 * slots + groups),
                "room": by_thread,
                "loads_pending": by_thread,
                "stores_pending": by_thread,
                "transfers_pending": by_thread,
                "divider_free": In(1),
                "transfer_ready": In(1),
                "link_ready": In(1),
                "semaphores": In(params.semaphores),
                "take_semaphore": Out(1),
                "semaphore": Out((params.semaphores - 1).bit_length()),
                "arrive": Out(threads),
                "thread_mask": Out(threads).array(threads),
                "release": by_thread,
                "stall": Out(Stall).array(threads),
                "pending": Out(threads),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        params, width = self._params, self._params.issue_width
        m.submodules.chooser = chooser = ThreadChooser(params)
        m.submodules.allocator = allocator = SlotAllocator(params)
        passed = Signal(params.threads)
        m.d.comb += [
            chooser.eligible.eq(self.running & self.available & ~self.blocked & ~self.arrive),
            allocator.first_free.eq(self.first_ready),
            allocator.address_free.eq(self.address_ready),
        ]
        states = self._thread_states(m, passed)
        if self.heads:
            ready = self._preview(m, chooser, states)
        else:
            ready = self._remember(m)
        groups = []
        for index, chosen in enumerate(chooser.chosen):
            m.submodules[f"group_{index}"] = group = IssueGroup(params)
            m.d.comb += [
                self.select[index].eq(chosen.thread),
                group.valid.eq(chosen.valid),
                group.window.eq(self.window[index]),
                group.state.eq(Array(states)[chosen.thread]),
                group.units.divider_free.eq(self.divider_free & ~self._in_alu(Unit.MULDIV)),
                group.units.transfer_ready.eq(self.transfer_ready & ~self._in_alu(Unit.TRANSFER)),
                group.units.link_ready.eq(self.link_ready & ~self._in_alu(Unit.LINK)),
                group.semaphores.eq(self.semaphores),
            ]
            for place in range(width):
                m.d.comb += allocator.lanes[index * width + place].eq(group.needs[place])
            groups.append(group)
        flushed = Cat(self.flush.bit_select(chosen.thread, 1) for chosen in chooser.chosen)
        goes = allocator.goes & Cat(~flag.replicate(width) for flag in flushed)
        for index in range(len(groups)):
            m.d.comb += self.take[index].eq(sum(goes.word_select(index, width)))
        self._fill_slots(m, chooser, groups, allocator, goes)
        self._steer(m, chooser, groups, goes, passed)
        self._explain(m, chooser, ready, groups, allocator.goes)
        return m

    def _in_alu(self, unit: Unit) -> Value:
        """Return whether the first ALU slot has an instruction of a unit that there is once."""
        return self.alus[0].valid & (self.alus[0].uop.unit == unit)

    def _thread_states(self, m: Module, passed: Value) -> list[Any]:
        """Gather what the instructions of each thread may have to wait for."""
        m.submodules.scoreboard = scoreboard = ScalarScoreboard(
            self._params, marks=len(self.marks), results=len(self.results)
        )
        m.d.comb += [
            *(port.eq(mark) for port, mark in zip(scoreboard.marks, self.marks, strict=True)),
            *(port.eq(r) for port, r in zip(scoreboard.results, self.results, strict=True)),
            self.pending.eq(scoreboard.any),
        ]
        states: list[Any] = []
        for thread in range(self._params.threads):
            state: Any = Signal(ThreadState, name=f"state_{thread}")
            waiting: Value = scoreboard.waiting[thread]
            for mark in self.marks:
                marked = mark.valid & (mark.thread == thread)
                waiting = waiting | Mux(marked, 1 << mark.rd, 0)[: len(waiting)]
            accesses, vector_accesses, vector_stores = (Signal() for _ in range(3))
            for slot in self.addresses:
                unit = slot.uop.unit
                with m.If(slot.valid & (slot.thread == thread)), m.Switch(unit):
                    with m.Case(Unit.LOAD, Unit.STORE):
                        m.d.comb += accesses.eq(1)
                    with m.Case(Unit.VECTOR_STORE, Unit.VECTOR_SCATTER):
                        m.d.comb += [vector_accesses.eq(1), vector_stores.eq(1)]
                    with m.Case(*VECTOR_MEMORY_UNITS):
                        m.d.comb += vector_accesses.eq(1)
            stores_pending = self.stores_pending[thread]
            m.d.comb += [
                state.waiting.eq(waiting),
                state.room.eq(self.room[thread]),
                state.vector_stores.eq(stores_pending | vector_stores),
                state.vector_accesses.eq(
                    self.loads_pending[thread] | stores_pending | vector_accesses
                ),
                state.slot_accesses.eq(accesses | vector_accesses),
                state.transfers.eq(
                    self.transfers_pending[thread]
                    | (self._in_alu(Unit.TRANSFER) & (self.alus[0].thread == thread))
                ),
                state.passed.eq(passed[thread]),
            ]
            states.append(state)
        return states

    def _preview(self, m: Module, chooser: ThreadChooser, states: list[Any]) -> list[Value]:
        """Look at the next instruction of each thread; return which have their registers."""
        ready: list[Value] = []
        m.d.comb += chooser.store_free.eq(self.address_ready[-1])
        for thread, (insn, state) in enumerate(zip(self.heads, states, strict=True)):
            m.submodules[f"preview_{thread}"] = preview = HeadPreview(self._params)
            m.d.comb += [
                preview.insn.eq(insn),
                preview.waiting.eq(state.waiting),
                chooser.heads[thread].eq(preview.head),
            ]
            ready.append(preview.ready)
        return ready

    def _remember(self, m: Module) -> list[Value]:
        """Return which threads do not wait for a register, or get a result in this cycle."""
        ready: list[Value] = []
        for thread, stall in enumerate(self.stall):
            lacks = Signal(name=f"lacks_{thread}")
            m.d.sync += lacks.eq(stall.cause == StallCause.OPERAND)
            comes = Cat(result.valid & (result.thread == thread) for result in self.results)
            ready.append(~lacks | comes.any())
        return ready

    def _fill_slots(
        self,
        m: Module,
        chooser: ThreadChooser,
        groups: list[IssueGroup],
        allocator: SlotAllocator,
        goes: Value,
    ) -> None:
        """Put the instructions that go, with their operands, into their slots."""
        width = self._params.issue_width
        lanes = range(len(groups) * width)
        slots = [*self.alus, *self.addresses]
        m.submodules.registers = registers = RegisterFile(
            self._params, reads=2 * len(slots), writes=len(self.results)
        )
        for port, result in zip(registers.writes, self.results, strict=True):
            m.d.comb += port.eq(result)
        wanted = [
            *(Cat(goes[n] & allocator.alu[n][slot] for n in lanes)
              for slot in range(len(self.alus))),
            *(Cat(goes[n] & allocator.address[n][slot] for n in lanes)
              for slot in range(len(self.addresses))),
            *(Cat(goes[n] & group.needs[n % width].vector & ~group.needs[n % width].address
                  if n // width == index else 0 for n in lanes)
              for index, group in enumerate(groups)),
        ]  # fmt: skip
        for number, (slot, chosen) in enumerate(zip([*slots, *self.vectors], wanted, strict=True)):
            entering: Any = Signal(slot_layout(), name=f"entering_{number}")
            self._choose_lane(m, entering, chosen, chooser, groups)
            if number < len(slots):
                for operand, (name, x) in enumerate((("rs1", "x1"), ("rs2", "x2"))):
                    port = 2 * number + operand
                    m.d.comb += [
                        registers.registers[port].thread.eq(entering.thread),
                        registers.registers[port].number.eq(field(entering.insn, name)),
                        entering[x].eq(registers.values[port]),
                    ]
            ready: Value = Signal(init=1)
            if number == 0:
                ready = self.first_ready
                m.d.sync += self.first_entered.eq(entering.valid)
            elif 0 <= (address := number - len(self.alus)) < len(self.addresses):
                ready = self.address_ready[address]
                m.d.sync += self.entered[address].eq(entering.valid)
            with m.If(entering.valid):
                m.d.sync += slot.eq(entering)
            with m.Elif(ready):
                m.d.sync += slot.valid.eq(0)

    def _choose_lane(
        self,
        m: Module,
        entering: Any,
        chosen: Value,
        chooser: ThreadChooser,
        groups: list[IssueGroup],
    ) -> None:
        """Put the lane that `chosen`, one-hot, says into `entering`, without its operands."""
        m.d.comb += entering.valid.eq(chosen.any())
        with m.Switch(chosen):
            for index, group in enumerate(groups):
                for place, entry in enumerate(group.window.entries):
                    with m.Case(1 << index * self._params.issue_width + place):
                        m.d.comb += [
                            entering.thread.eq(chooser.chosen[index].thread),
                            entering.group.eq(index),
                            entering.order.eq(place),
                            entering.uop.eq(group.uops[place]),
                            *(
                                entering[name].eq(entry[name])
                                for name in ("pc", "insn", "fault", "predicted", "target", "start")
                            ),
                        ]

    def _steer(
        self,
        m: Module,
        chooser: ThreadChooser,
        groups: list[IssueGroup],
        goes: Value,
        passed: Signal,
    ) -> None:
        """Let threads wait at barriers, take semaphores, note wrong predictions."""
        width = self._params.issue_width
        m.d.sync += [
            passed.eq((passed | self.release) & ~self.flush),
            self.arrive.eq(self.arrive & ~self.release & ~self.flush),
        ]
        for index, (chosen, group) in enumerate(zip(chooser.chosen, groups, strict=True)):
            thread = chosen.thread
            first = group.window.entries[0]
            mask = field(first.insn, "imm_threads")[: self._params.threads]
            with m.If(goes[index * width]):
                with m.If(group.kinds[0].takes_semaphore):
                    m.d.comb += [
                        self.take_semaphore.eq(1),
                        self.semaphore.eq(field(first.insn, "imm_sem")),
                    ]
                with m.If(group.kinds[0].leaves_barrier):
                    m.d.sync += passed.bit_select(thread, 1).eq(0)
            with m.If(group.at_barrier & ~self.flush.bit_select(thread, 1)):
                with m.If(~passed.bit_select(thread, 1)):
                    m.d.sync += [
                        self.arrive.bit_select(thread, 1).eq(1),
                        Array(self.thread_mask)[thread].eq(mask),
                    ]
            m.d.sync += self.repair[index].valid.eq(0)
            for place, (entry, kind) in enumerate(
                zip(group.window.entries, group.kinds, strict=True)
            ):
                with m.If(goes[index * width + place]):
                    with m.If(entry.predicted & kind.no_branch):
                        m.d.sync += [
                            self.repair[index].valid.eq(1),
                            self.repair[index].thread.eq(thread),
                            self.repair[index].pc.eq(entry.pc + 4),
                            self.repair[index].start.eq(entry.start),
                            self.repair[index].slot.eq(entry.pc[2:]),
                        ]

    def _explain(
        self,
        m: Module,
        chooser: ThreadChooser,
        ready: list[Value],
        groups: list[IssueGroup],
        goes: Value,
    ) -> None:
        """Say for each thread that issues nothing why, and what that means for the next choice."""
        width = self._params.issue_width
        # Chosen in the cycle before, and it waited for its queue, memory order or other threads.
        tired = Signal(self._params.threads)
        m.d.comb += [
            chooser.waits.eq(tired | ~Cat(ready)),
            chooser.keep.eq(~goes[0] & (groups[0].cause == StallCause.SLOT)),
        ]
        m.d.sync += tired.eq(0)
        for thread, (stall, is_ready) in enumerate(zip(self.stall, ready, strict=True)):
            m.d.comb += [
                stall.valid.eq(self.running[thread]),
                stall.cause.eq(Mux(is_ready, StallCause.SLOT, StallCause.OPERAND)),
            ]
            with m.If(self.arrive[thread]):
                m.d.comb += stall.cause.eq(StallCause.WAIT)
            with m.Elif(self.blocked[thread]):
                m.d.comb += stall.cause.eq(StallCause.BLOCKED)
            with m.Elif(~self.available[thread]):
                m.d.comb += stall.cause.eq(StallCause.FETCH)
            for index, (chosen, group) in enumerate(zip(chooser.chosen, groups, strict=True)):
                with m.If(chosen.valid & (chosen.thread == thread)):
                    m.d.comb += stall.cause.eq(group.cause)
                    with m.If(goes[index * width]):
                        m.d.comb += stall.valid.eq(0)
                    with m.Elif(
                        (group.cause != StallCause.SLOT) & (group.cause != StallCause.OPERAND)
                    ):
                        m.d.sync += tired[thread].eq(1)
