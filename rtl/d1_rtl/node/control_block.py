"""The control block: identity, threads, counters and the lines of other units as registers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import (
    CONTROL_BASE,
    COUNTER_BASE,
    COUNTER_LINES,
    ECC_BASE,
    IDENTITY,
    SEMAPHORE_BASE,
    SEMAPHORE_BITS,
    THREAD_BASE,
    TRANSFER_BASE,
    IdentityRegister,
    identity_values,
)
from d1_golden.params import LINE_BYTES, NodeParams

from ..clock_gate import ClockGate
from ..turns import TurnCounter, caught, collected, word_of_turn
from .arbiter import RoundRobinArbiter
from .interfaces import (
    ControlLineSignature,
    ControlSignature,
    CoreEventsSignature,
    DoorEventsSignature,
    RegisterLineSignature,
    SemaphoreLinesSignature,
    ThreadSignature,
    register_line,
)
from .performance_counters import PerformanceCounters
from .thread_control import ThreadControl

__all__ = ["ControlBlock"]

_LINE_REGISTERS = LINE_BYTES // 8


def _line_number(address: int) -> int:
    return (address - CONTROL_BASE) // LINE_BYTES


class ControlBlock(wiring.Component):
    """Everything of a node that is a register, for the packet door and for the core.

    One access is transferred per cycle, taking turns when both sides ask. A write has its effect
    in the next cycle; the answer to a read, given in that cycle, is what the registers are then. On
    an FPGA the lines for the door are shifted, as those of `Sram` are.
    `docs/memory_map.md` says what each register does.

    Golden twin: `d1_golden.node.control_block`.

    Parameters
    ----------
    params
        What the identity registers tell, and the number of threads.
    gated
        Whether the counters stand in a gated clock domain (`ClockGate`).

    Members
    -------
    node_id : In(32)
        Bits 55..24 of the node's own address.
    door : In(ControlLineSignature())
        Whole lines, for the packet door.
    core : In(ControlSignature())
        Single registers, for loads and stores of the core.
    threads : Out(ThreadSignature()).array(params.threads)
    core_events : In(CoreEventsSignature(params))
        Only while a thread is running.
    events : In(DoorEventsSignature())
    packet_sent : In(1)
        A program's transfer sends a request packet.
    semaphores : Out(SemaphoreLinesSignature(params))
    ecc, transfer : Out(RegisterLineSignature())
        The lines at `ECC_BASE` and `TRANSFER_BASE`.
    active : Out(1)
        A thread is running or about to.

    """

    node_id: Signal
    door: Any
    core: Any
    threads: Sequence[Any]
    core_events: Any
    events: Any
    packet_sent: Signal
    semaphores: Any
    ecc: Any
    transfer: Any
    active: Signal

    def __init__(self, params: NodeParams, *, gated: bool = True):
        self._params = params
        self._gated = gated
        super().__init__(
            {
                "node_id": In(32),
                "door": In(ControlLineSignature()),
                "core": In(ControlSignature()),
                "threads": Out(ThreadSignature()).array(params.threads),
                "core_events": In(CoreEventsSignature(params)),
                "events": In(DoorEventsSignature()),
                "packet_sent": In(1),
                "semaphores": Out(SemaphoreLinesSignature(params)),
                "ecc": Out(RegisterLineSignature()),
                "transfer": Out(RegisterLineSignature()),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(2)
        m.submodules.clock = clock = ClockGate(domain="counters", gated=self._gated)
        m.domains += clock.clock_domain
        counters = PerformanceCounters(self._params)
        m.submodules.counters = clock.drive(counters)
        controls = [ThreadControl() for _ in range(self._params.threads)]
        for index, (control, thread) in enumerate(zip(controls, self.threads, strict=True)):
            m.submodules[f"thread_{index}"] = control
            wiring.connect(m, control.thread, wiring.flipped(thread))
        wiring.connect(m, wiring.flipped(self.core_events), counters.core)
        wiring.connect(m, wiring.flipped(self.events), counters.door)
        m.d.comb += [
            counters.running.eq(Cat(thread.running for thread in self.threads)),
            counters.packet_sent.eq(self.packet_sent),
            clock.en.eq(counters.active),
            self.active.eq(Cat(control.active for control in controls).any()),
        ]

        # Both sides become one access to a line.
        door, core = self.door.request, self.core.request
        access = Signal.like(door.payload)
        word = Signal(range(_LINE_REGISTERS))
        m.d.comb += [
            arbiter.requests.eq(Cat(door.valid, core.valid)),
            Cat(door.ready, core.ready).eq(arbiter.grants),
            word.eq(core.payload.address >> 3),
        ]
        with m.If(core.ready):
            m.d.comb += [
                access.data.eq(core.payload.data.replicate(_LINE_REGISTERS)),
                access.mask.eq(1 << word),
                access.write.eq(core.payload.write),
                access.line.eq(core.payload.address >> (LINE_BYTES - 1).bit_length()),
            ]
        with m.Else():
            m.d.comb += access.eq(door.payload)

        self._write(m, access, arbiter.grants.any(), controls)
        lines = dict(self._lines(counters, controls))
        if platform is None:
            self._answer(m, access, word, arbiter.grants.any(), lines)
        else:
            self._answer_in_turns(m, access, word, arbiter.grants, lines, counters)
        return m

    def _write(
        self, m: Module, access: Any, transferred: Value, controls: Sequence[ThreadControl]
    ) -> None:
        """Hand a write to the line that it is for."""
        written: dict[int, Value] = {
            _line_number(ECC_BASE): self.ecc.write,
            _line_number(TRANSFER_BASE): self.transfer.write,
        }
        for thread, control in enumerate(controls):
            written[_line_number(THREAD_BASE) + thread] = control.write
        for first in range(0, self._params.semaphores, _LINE_REGISTERS):
            line = _line_number(SEMAPHORE_BASE) + first // _LINE_REGISTERS
            written[line] = self.semaphores.write[first : first + _LINE_REGISTERS]
        counts = Cat(
            access.data.word_select(n, 64)[:SEMAPHORE_BITS] for n in range(_LINE_REGISTERS)
        )
        for line_of_data in (self.ecc.data, self.transfer.data, *(c.data for c in controls)):
            m.d.comb += line_of_data.eq(access.data)
        m.d.comb += self.semaphores.data.eq(
            counts.replicate(self._params.semaphores // _LINE_REGISTERS)
        )
        with m.If(transferred & access.write), m.Switch(access.line):
            for number, write in written.items():
                with m.Case(number):
                    m.d.comb += write.eq(access.mask)

    def _lines(
        self, counters: PerformanceCounters, controls: Sequence[ThreadControl]
    ) -> Iterator[tuple[int, Value]]:
        """Yield the number and the registers of every line."""
        identity = [*map(_word, identity_values(self._params))]
        identity[IdentityRegister.NODE] = _word(self.node_id)
        yield _line_number(IDENTITY), Cat(*identity)
        yield _line_number(ECC_BASE), self.ecc.registers.as_value()
        yield _line_number(TRANSFER_BASE), self.transfer.registers.as_value()
        for thread, control in enumerate(controls):
            yield _line_number(THREAD_BASE) + thread, control.registers.as_value()
        for index, line in enumerate(counters.lines):
            yield _line_number(COUNTER_BASE) + index, line.as_value()
        for first in range(0, self._params.semaphores, _LINE_REGISTERS):
            counts = [self.semaphores.values[first + n] for n in range(_LINE_REGISTERS)]
            line_number = _line_number(SEMAPHORE_BASE) + first // _LINE_REGISTERS
            yield line_number, Cat(_word(count) for count in counts)

    def _answer(
        self, m: Module, access: Any, word: Signal, transferred: Value, lines: dict[int, Value]
    ) -> tuple[Signal, Signal, Any]:
        """Answer an access in the cycle after its transfer.

        Return its line, word and registers.
        """
        answering = Signal()
        answered_line = Signal.like(access.line)
        answered_word = Signal.like(word)
        m.d.sync += answering.eq(transferred)
        with m.If(transferred):
            m.d.sync += [answered_line.eq(access.line), answered_word.eq(word)]
        registers: Any = Signal(register_line())
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
        return answered_line, answered_word, registers

    def _answer_in_turns(
        self,
        m: Module,
        access: Any,
        word: Signal,
        grants: Value,
        lines: dict[int, Value],
        counters: PerformanceCounters,
    ) -> None:
        """Answer with the words of each turn, or with the word that the core wants."""
        m.submodules.turns = turns = TurnCounter()
        first = _line_number(COUNTER_BASE)
        counter_lines = range(first, first + COUNTER_LINES)
        others = lines | dict.fromkeys(counter_lines, Const(0))
        line, own_word, registers = self._answer(m, access, word, grants.any(), others)
        for_core = Signal()
        m.d.sync += for_core.eq(grants[1])
        number = (line - first)[: (COUNTER_LINES - 1).bit_length()]
        place = Mux(for_core, own_word[1:], turns.number)
        m.d.comb += counters.place.eq(Cat(place, number))

        # Other lines are 0 where counters are looked at, and these are 0 where others are.
        is_counter = Signal()
        with m.Switch(line), m.Case(*counter_lines):
            m.d.comb += is_counter.eq(1)
        pair = Mux(is_counter, counters.pair, 0)
        words = word_of_turn(registers.as_value(), place, len(pair)) | pair
        # A counter is right in the first turn only.
        mine = words.word_select(own_word[0], 64)
        m.d.comb += [
            self.door.data.eq(collected(m, words, "line")),
            self.core.data.eq(caught(m, mine, turns.number == 0, "kept")),
        ]


def _word(value: int | Value) -> Value:
    return Value.cast(value) | Const(0, 64)
