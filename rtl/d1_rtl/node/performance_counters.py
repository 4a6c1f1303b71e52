"""The performance counters of a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import (
    COUNTER_LINES,
    CounterRegister,
    StallCause,
    issue_counter,
    issue_slots,
    stall_counter,
    thread_counter,
)
from d1_golden.params import NodeParams

from ..turns import TURNS, TurnCounter
from .interfaces import CoreEventsSignature, DoorEventsSignature, register_line

__all__ = ["PerformanceCounters"]

_BITS = 64


class PerformanceCounters(wiring.Component):
    """Count events; a counter shows an event from the next cycle on.

    The registers change only in cycles with `active`, so that they may stand in a gated clock
    domain that is enabled by it.

    On an FPGA (`Turns`) the counters are in two small memories, those of even and those of odd
    number. What happens is counted in a few bits, which are added in turns: pair n of a line in
    turn n, of one line in each cycle.

    Golden twin: the golden node counts what does not depend on time.

    Parameters
    ----------
    params
        Number of threads and slots.

    Members
    -------
    running : In(threads)
        The threads that run in this cycle.
    core : In(CoreEventsSignature(params))
    door : In(DoorEventsSignature())
    packet_sent : In(1)
        A program's transfer sends a request packet.
    lines : Out(COUNTER_LINES x 8 x 64)
        The counters by `CounterRegister`; what is left of the last line is 0.
        Not on an FPGA.
    active : Out(1)
        There is something to count.
    place : In(range(COUNTER_LINES * TURNS))
    pair : Out(128)
        On an FPGA: two counters, and which. They are what they are in this cycle if it is the turn
        of that pair, or one before.
    """

    running: Signal
    core: Any
    door: Any
    packet_sent: Signal
    lines: Any
    active: Signal
    place: Signal
    pair: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "running": In(params.threads),
                "core": In(CoreEventsSignature(params)),
                "door": In(DoorEventsSignature()),
                "packet_sent": In(1),
                "lines": Out(data.ArrayLayout(register_line(), COUNTER_LINES)),
                "active": Out(1),
                "place": In(range(COUNTER_LINES * TURNS)),
                "pair": Out(2 * _BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        core, door = self.core, self.door
        m.d.comb += self.active.eq(
            self.running.any() | core.matrix_busy | door.request | door.reply | self.packet_sent
        )
        increments: dict[CounterRegister, Value] = {
            CounterRegister.CYCLES: self.running.any(),
            CounterRegister.INSTRUCTIONS: _sum(core.retired),
            CounterRegister.MATRIX_STEPS: core.matrix_step,
            CounterRegister.REQUESTS: door.request,
            CounterRegister.REPLIES: door.reply,
            CounterRegister.FAULT_REPLIES: door.fault_reply,
            CounterRegister.BANK_CONFLICTS: core.bank_conflict,
            CounterRegister.MATRIX_BUSY: core.matrix_busy,
            CounterRegister.PACKETS_SENT: self.packet_sent,
        }
        for thread, retired in enumerate(core.retired):
            increments[thread_counter(thread)] = Value.cast(retired)
        for issued, slot in zip(core.issued, issue_slots(self._params), strict=True):
            increments[issue_counter(slot)] = issued
        for cause in StallCause:
            stalls = core.vector_stall if cause.is_vector else core.stall
            increments[stall_counter(cause)] = _sum(
                stall.valid & (stall.cause == cause) for stall in stalls
            )
        if platform is not None:
            self._in_turns(m, increments)
            return m
        for register, increment in increments.items():
            counter = Signal(_BITS, name=register.name.lower())
            with m.If(self.active & increment.any()):
                m.d.sync += counter.eq(counter + increment)
            m.d.comb += self.lines[register // 8][register % 8].eq(counter)
        return m

    def _in_turns(self, m: Module, increments: Mapping[CounterRegister, Value]) -> None:
        """Keep counters in memories; add to one of each in a turn."""
        m.submodules.turns = turns = TurnCounter()
        line = Signal(range(COUNTER_LINES))  # whose counters are added to in this cycle
        empty = Signal(COUNTER_LINES, init=-1)  # lines that are not in the memories since the reset
        m.d.sync += [
            line.eq(Mux(line == COUNTER_LINES - 1, 0, line + 1)),
            empty.bit_select(line, 1).eq(0),
        ]
        counted: list[Value] = [Const(0)] * (COUNTER_LINES * 2 * TURNS)
        for register, increment in increments.items():
            # Before it is added, it is counted in `COUNTER_LINES` cycles.
            bits = len(Const(COUNTER_LINES * ((1 << len(increment)) - 1)))
            count = Signal(bits, name=f"{register.name.lower()}_counted")
            was_added = line == register // (2 * TURNS)
            m.d.sync += count.eq(Mux(was_added, 0, count) + increment)
            counted[register] = count
        own = Cat(turns.number, line)
        for parity in range(2):
            counters: Any = memory.Memory(shape=_BITS, depth=len(counted) // 2, init=[])
            m.submodules[f"counters_{parity}"] = counters
            write = counters.write_port(domain="turn")
            totals = []
            for place in (own, self.place):
                read = counters.read_port(domain="comb")
                stored = Mux(empty.bit_select(place[(TURNS - 1).bit_length() :], 1), 0, read.data)
                m.d.comb += read.addr.eq(place)
                totals.append((stored + Array(counted[parity::2])[place])[:_BITS])
            m.d.comb += [
                write.en.eq(self.active),
                write.addr.eq(own),
                write.data.eq(totals[0]),
                self.pair.word_select(parity, _BITS).eq(totals[1]),
            ]


def _sum(values: Any) -> Value:
    return sum(values, start=Const(0))
