"""The instructions of one thread that may be issued in a cycle."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import StallCause
from d1_golden.params import NodeParams

from .decoder import Decoder
from .frontend import window_layout
from .micro_op import (
    SIMPLE_OPS,
    VECTOR_MEMORY_UNITS,
    VECTOR_UNITS,
    AluOp,
    FetchFault,
    MulDivOp,
    SemaphoreOp,
    SystemOp,
    Unit,
    field,
    is_one_of,
    micro_op_layout,
    scalar_registers,
)
from .slot_allocator import LaneNeeds

__all__ = [
    "BLOCKING_UNITS",
    "IssueGroup",
    "IssuedKind",
    "ThreadState",
    "UnitState",
]

#: Units whose instructions let their thread go on only when they are done.
BLOCKING_UNITS = (Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER, Unit.LINK)


class ThreadState(data.Struct):
    """What the instructions of a thread may have to wait for."""

    #: Scalar registers whose results come later than in this cycle.
    waiting: 32
    #: Its vector queue has room.
    room: 1
    #: Vector loads and stores, or only stores, that have not reached SRAM.
    vector_accesses: 1
    vector_stores: 1
    #: Any access to memory that is still in an address slot.
    slot_accesses: 1
    #: Transfers that are not complete.
    transfers: 1
    #: The barrier it waits at is open.
    passed: 1


class IssuedKind(data.Struct):
    """What becomes of the thread when an instruction is issued."""

    #: It takes the semaphore that the instruction names.
    takes_semaphore: 1
    #: It leaves its barrier.
    leaves_barrier: 1
    #: The instruction is no branch, whatever was predicted.
    no_branch: 1


class UnitState(data.Struct):
    """Which units that there are once take an operation."""

    divider_free: 1
    transfer_ready: 1
    link_ready: 1


class IssueGroup(wiring.Component):
    """Decode the window of a thread and find what each instruction needs and waits for.

    Combinational. `docs/pipeline.md` lists what instructions wait for.

    Golden twin: the decoding of the golden node.

    Parameters
    ----------
    params
        For the decoder; instructions of the window.

    Members
    -------
    valid : In(1)
    window : In(window_layout(params))
    state : In(ThreadState)
    units : In(UnitState)
    semaphores : In(semaphores)
    uops : Out(micro_op_layout()).array(issue_width)
    needs : Out(LaneNeeds).array(issue_width)
    kinds : Out(IssuedKind).array(issue_width)
    at_barrier : Out(1)
        The first instruction is a barrier that waits for nothing else.
    cause : Out(StallCause)
        What the first instruction waits for; SLOT if it is ready.
    """

    valid: Signal
    window: Any
    state: Any
    units: Any
    semaphores: Signal
    uops: Any
    needs: Any
    kinds: Any
    at_barrier: Signal
    cause: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "valid": In(1),
                "window": In(window_layout(params)),
                "state": In(ThreadState),
                "units": In(UnitState),
                "semaphores": In(params.semaphores),
                "uops": Out(micro_op_layout()).array(params.issue_width),
                "needs": Out(LaneNeeds).array(params.issue_width),
                "kinds": Out(IssuedKind).array(params.issue_width),
                "at_barrier": Out(1),
                "cause": Out(StallCause),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        stores_before: Value = Signal()
        accesses_before: Value = Signal()
        for place in range(self._params.issue_width):
            entry, uop = self.window.entries[place], self.uops[place]
            m.submodules[f"decoder_{place}"] = decoder = Decoder(self._params)
            m.d.comb += [decoder.insn.eq(entry.insn), uop.eq(decoder.uop)]
            with m.If(entry.fault != FetchFault.NONE):
                m.d.comb += uop.unit.eq(Unit.NONE)
            alone, drains, fences, waits = (
                Signal(name=f"{n}_{place}") for n in ("alone", "drains", "fences", "waits")
            )
            self._classify(m, place, alone, drains, fences, waits)
            needs, unit = self.needs[place], uop.unit
            operand = self._operand_waits(place)
            queue = needs.vector & ~self.state.room
            order = (
                (needs.loads & (self.state.vector_stores | stores_before))
                | (needs.stores & (self.state.vector_accesses | accesses_before))
                | (drains & (self.state.vector_accesses | self.state.slot_accesses))
                | (fences & self.state.transfers)
            )
            taken = self._unit_taken(uop)
            if place:
                order = order | alone
            else:
                self._explain(m, operand, order, queue, waits)
                at_barrier = (unit == Unit.SEMAPHORE) & (uop.op == SemaphoreOp.BARRIER)
                m.d.comb += self.at_barrier.eq(self.valid & at_barrier & ~order)
            m.d.comb += needs.ready.eq(
                self.valid
                & (self.window.count > place)
                & ~operand
                & ~order
                & ~waits
                & ~queue
                & ~taken
            )
            vector_store = (unit == Unit.VECTOR_STORE) | (unit == Unit.VECTOR_SCATTER)
            stores_before = stores_before | vector_store
            accesses_before = accesses_before | (needs.vector & needs.address)
        return m

    def _classify(
        self, m: Module, place: int, alone: Value, drains: Value, fences: Value, waits: Value
    ) -> None:
        """Derive from the unit what an instruction needs, and what it is for its thread."""
        entry, uop = self.window.entries[place], self.uops[place]
        needs, kind = self.needs[place], self.kinds[place]
        predicted = entry.predicted
        m.d.comb += [
            needs.ends.eq(predicted | alone),
            kind.no_branch.eq(1),
        ]
        with m.Switch(uop.unit):
            with m.Case(Unit.ALU):
                simple = is_one_of(AluOp(uop.op[:4]), *SIMPLE_OPS)
                m.d.comb += [needs.alu.eq(1), needs.simple.eq(simple)]
            with m.Case(Unit.BRANCH):
                m.d.comb += [needs.alu.eq(1), needs.ends.eq(1), kind.no_branch.eq(0)]
            with m.Case(Unit.MULDIV):
                m.d.comb += [needs.alu.eq(1), needs.first_alu.eq(1)]
            with m.Case(Unit.LOAD):
                m.d.comb += [needs.address.eq(1), needs.loads.eq(1)]
            with m.Case(Unit.STORE):
                m.d.comb += [needs.address.eq(1), needs.stores.eq(1)]
            with m.Case(Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER):
                m.d.comb += [needs.address.eq(1), needs.vector.eq(1), needs.ends.eq(1)]
            with m.Case(*VECTOR_UNITS):
                memory = is_one_of(uop.unit, *VECTOR_MEMORY_UNITS)
                m.d.comb += [needs.vector.eq(1), needs.address.eq(memory | uop.reads_rs1)]
            with m.Default():
                m.d.comb += [needs.alu.eq(1), needs.first_alu.eq(1), alone.eq(1)]
        with m.Switch(uop.unit):
            with m.Case(Unit.SYSTEM):
                is_fence = (uop.op == SystemOp.FENCE) | (uop.op == SystemOp.FENCE_I)
                m.d.comb += [drains.eq(is_fence), fences.eq(is_fence)]
            with m.Case(Unit.TRANSFER):
                m.d.comb += drains.eq(1)
            with m.Case(Unit.LINK):
                m.d.comb += drains.eq(1)
            with m.Case(Unit.SEMAPHORE):
                number = field(entry.insn, "imm_sem")
                wait, barrier = uop.op == SemaphoreOp.SWAIT, uop.op == SemaphoreOp.BARRIER
                m.d.comb += [
                    drains.eq(~wait),
                    kind.takes_semaphore.eq(wait),
                    kind.leaves_barrier.eq(barrier),
                    waits.eq(
                        (wait & ~self.semaphores.bit_select(number, 1))
                        | (barrier & ~self.state.passed)
                    ),
                ]

    def _operand_waits(self, place: int) -> Value:
        """Return whether a scalar register waits for its result or is written in the group."""
        uop, insn = self.uops[place], self.window.entries[place].insn
        waits: Value = Signal()
        for used, number in scalar_registers(uop, insn):
            waits = waits | (used & self.state.waiting.bit_select(number, 1))
            for before in range(place):
                written = field(self.window.entries[before].insn, "rd")
                waits = waits | (used & self.uops[before].writes_rd & (written == number))
        return waits

    def _unit_taken(self, uop: Any) -> Value:
        """Return whether the unit that there is once cannot take the instruction."""
        divides = (uop.unit == Unit.MULDIV) & (uop.op >= MulDivOp.DIV)
        return (
            (divides & ~self.units.divider_free)
            | ((uop.unit == Unit.TRANSFER) & ~self.units.transfer_ready)
            | ((uop.unit == Unit.LINK) & ~self.units.link_ready)
        )

    def _explain(self, m: Module, operand: Value, order: Value, queue: Value, waits: Value) -> None:
        """Say why the first instruction waits."""
        m.d.comb += self.cause.eq(StallCause.SLOT)
        for waited, cause in (
            (queue, StallCause.QUEUE),
            (waits, StallCause.WAIT),
            (order, StallCause.ORDER),
            (operand, StallCause.OPERAND),
        ):
            with m.If(waited):
                m.d.comb += self.cause.eq(cause)
