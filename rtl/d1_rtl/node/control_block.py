"""The control block: identity, threads and counters as registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import (
    CONTROL_BASE,
    COUNTER_BASE,
    IDENTITY,
    THREAD_BASE,
    CounterRegister,
    IdentityRegister,
    identity_values,
)
from d1_golden.params import LINE_BYTES, NodeParams

from .arbiter import RoundRobinArbiter
from .interfaces import (
    ControlLineSignature,
    ControlSignature,
    DoorEventsSignature,
    ThreadSignature,
)
from .thread_control import ThreadControl, register_line

__all__ = ["ControlBlock"]


def _line_number(address: int) -> int:
    return (address - CONTROL_BASE) // LINE_BYTES


class ControlBlock(wiring.Component):
    """Everything of a node that is a register, for the packet door and for the core.

    One access is transferred per cycle, taking turns when both sides ask. A write has its effect
    in the next cycle; the answer to a read, given in that cycle, is what the registers are then.
    `docs/memory_map.md` says what each register does.

    Golden twin: `d1_golden.node.control_block`.

    Parameters
    ----------
    params
        What the identity registers tell, and the number of threads.

    Members
    -------
    node_id : In(32)
        Bits 55..24 of the node's own address.
    door : In(ControlLineSignature())
        Whole lines, for the packet door.
    core : In(ControlSignature())
        Single registers, for loads and stores of the core.
    threads : Out(ThreadSignature()).array(params.threads)
    events : In(DoorEventsSignature())
    active : Out(1)
        A thread is running or about to.

    """

    node_id: Signal
    door: Any
    core: Any
    threads: Sequence[Any]
    events: Any
    active: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "node_id": In(32),
                "door": In(ControlLineSignature()),
                "core": In(ControlSignature()),
                "threads": Out(ThreadSignature()).array(params.threads),
                "events": In(DoorEventsSignature()),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(2)
        controls = [ThreadControl() for _ in range(self._params.threads)]
        door, core = self.door.request, self.core.request

        # Both sides become one access to a line.
        access = Signal.like(door.payload)
        core_word = core.payload.address[3:6]
        m.d.comb += [
            arbiter.requests.eq(Cat(door.valid, core.valid)),
            Cat(door.ready, core.ready).eq(arbiter.grants),
        ]
        with m.If(core.ready):
            m.d.comb += [
                access.data.eq(core.payload.data.replicate(LINE_BYTES // 8)),
                access.mask.eq(1 << core_word),
                access.write.eq(core.payload.write),
                access.line.eq(core.payload.address >> 6),
            ]
        with m.Else():
            m.d.comb += access.eq(door.payload)

        for index, (control, thread) in enumerate(zip(controls, self.threads, strict=True)):
            m.submodules[f"thread_{index}"] = control
            wiring.connect(m, control.thread, wiring.flipped(thread))
            m.d.comb += control.data.eq(access.data)
            line = _line_number(THREAD_BASE) + index
            with m.If(arbiter.grants.any() & access.write & (access.line == line)):
                m.d.comb += control.write.eq(access.mask)
        m.d.comb += self.active.eq(Cat(control.active for control in controls).any())

        # The answer, in the cycle after.
        answering = Signal()
        answered_line = Signal.like(access.line)
        answered_word = Signal.like(core_word)
        m.d.sync += answering.eq(arbiter.grants.any())
        with m.If(arbiter.grants.any()):
            m.d.sync += [answered_line.eq(access.line), answered_word.eq(core_word)]
        lines = {
            _line_number(IDENTITY): self._identity(),
            _line_number(COUNTER_BASE): self._counters(m),
        } | {_line_number(THREAD_BASE) + n: c.registers for n, c in enumerate(controls)}
        registers = Signal(register_line())
        fault = Signal()
        with m.If(answering), m.Switch(answered_line):
            for number, value in lines.items():
                with m.Case(number):
                    m.d.comb += registers.eq(value)
            with m.Default():
                m.d.comb += fault.eq(1)
        m.d.comb += [
            self.door.data.eq(registers),
            self.door.fault.eq(fault),
            self.core.data.eq(registers[answered_word]),
            self.core.fault.eq(fault),
        ]
        return m

    def _identity(self) -> Value:
        """Return the line that tells what node this is."""
        values: list[Value] = [*map(_word, identity_values(self._params))]
        values[IdentityRegister.NODE] = _word(self.node_id)
        return Cat(*values)

    def _counters(self, m: Module) -> Any:
        """Count, and return the line of counters."""
        counters = Signal(register_line())

        def of_threads(event: str) -> Value:
            return Cat(getattr(thread, event) for thread in self.threads)

        increments = {
            CounterRegister.CYCLES: of_threads("running").any(),
            CounterRegister.INSTRUCTIONS: _ones(of_threads("instruction_retired")),
            CounterRegister.MATRIX_STEPS: _ones(of_threads("matrix_step")),
            CounterRegister.REQUESTS: self.events.request,
            CounterRegister.REPLIES: self.events.reply,
            CounterRegister.FAULT_REPLIES: self.events.fault_reply,
            CounterRegister.BANK_CONFLICTS: of_threads("bank_conflict").any(),
            CounterRegister.ISSUE_STALLS: of_threads("issue_stall").any(),
        }
        for register, increment in increments.items():
            with m.If(increment.any()):
                m.d.sync += counters[register].eq(counters[register] + increment)
        return counters


def _word(value: int | Signal) -> Value:
    return Value.cast(value) | Const(0, 64)


def _ones(bits: Value) -> Value:
    """Return how many bits are set."""
    return sum((bit for bit in bits), start=Const(0))
