"""The performance counters of a node."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, wiring
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

from .interfaces import CoreEventsSignature, DoorEventsSignature, register_line

__all__ = ["PerformanceCounters"]


class PerformanceCounters(wiring.Component):
    """Count events; a counter shows an event from the next cycle on.

    The registers change only in cycles with `active`, so that they may stand in a gated clock
    domain that is enabled by it.

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
    active : Out(1)
        There is something to count.
    """

    running: Signal
    core: Any
    door: Any
    packet_sent: Signal
    lines: Any
    active: Signal

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
        for register, increment in increments.items():
            counter = Signal(64, name=register.name.lower())
            with m.If(self.active & increment.any()):
                m.d.sync += counter.eq(counter + increment)
            m.d.comb += self.lines[register // 8][register % 8].eq(counter)
        return m


def _sum(values: Any) -> Value:
    return sum(values, start=Const(0))
