"""The performance counters of a node: read, subtracted, and shown as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from d1_golden.memory_map import (
    CounterRegister,
    EccRegister,
    IssueSlot,
    StallCause,
    issue_counter,
    issue_slots,
    register_address,
    stall_counter,
    thread_counter,
)
from d1_golden.params import NodeParams
from rich.table import Table

from d1.device import Device

__all__ = ["Counters", "counters_table", "read_counters"]

_ECC = (EccRegister.CORRECTED, EccRegister.UNCORRECTABLE)
_NOT_MODELLED = "not modelled"


@dataclass(frozen=True)
class Counters:
    """What a node has counted, since reset or over a time.

    Parameters
    ----------
    events
        Of every counter.
    corrected, uncorrectable
        Words of SRAM that were found wrong by one bit, and by more.
    thread_cycles
        Cycles of each thread's last run.

    """

    events: Mapping[CounterRegister, int]
    corrected: int
    uncorrectable: int
    thread_cycles: tuple[int, ...]

    def __sub__(self, before: Self) -> Counters:
        """Return what was counted since `before`."""
        return Counters(
            {register: count - before.events[register] for register, count in self.events.items()},
            self.corrected - before.corrected,
            self.uncorrectable - before.uncorrectable,
            self.thread_cycles,
        )

    def __getitem__(self, register: CounterRegister) -> int:
        return self.events[register]

    @property
    def timed(self) -> bool:
        """Whether the device has a clock: each instruction that retires was issued to a slot."""
        issued = sum(self[issue_counter(slot)] for slot in IssueSlot)
        return issued > 0 or self[CounterRegister.INSTRUCTIONS] == 0

    @property
    def ipc(self) -> float:
        """Instructions of all threads in a cycle in which one was running."""
        return _ratio(self[CounterRegister.INSTRUCTIONS], self[CounterRegister.CYCLES])


def read_counters(device: Device) -> Counters:
    """Return the counters of a node."""
    events = device.counters()
    ecc = device.read(register_address(_ECC[0]), 8 * len(_ECC)).view("<u8")
    cycles = (device.status(thread).cycles for thread in range(device.params.threads))
    return Counters(events, int(ecc[0]), int(ecc[1]), tuple(cycles))


def counters_table(counted: Counters, params: NodeParams) -> Table:
    """Return what was counted as a table: counts, and each as a share of what is possible.

    What depends on time is told only if the device has a clock.
    """
    table = Table("counter", "count", "share", title=f"Counters, preset {params.name}")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = (_instruction_rows, _slot_rows, _matrix_rows, _stall_rows, _memory_rows)
    for index, section in enumerate(rows):
        if index:
            table.add_section()
        for name, count, share in section(counted, params):
            # A count that needs a clock comes with a share.
            known = counted.timed or not share
            table.add_row(name, f"{count:,}" if known else _NOT_MODELLED, share if known else "")
    return table


_Rows = Iterator[tuple[str, int, str]]


def _instruction_rows(counted: Counters, params: NodeParams) -> _Rows:
    yield "cycles", counted[CounterRegister.CYCLES], ""
    yield "instructions", counted[CounterRegister.INSTRUCTIONS], ""
    for thread in range(params.threads):
        yield f"instructions of thread {thread}", counted[thread_counter(thread)], ""
    yield "IPC", counted[CounterRegister.INSTRUCTIONS], f"{counted.ipc:.2f}"
    for thread, cycles in zip(range(params.threads), counted.thread_cycles, strict=True):
        instructions = counted[thread_counter(thread)]
        if instructions:
            yield f"IPC of thread {thread}", instructions, f"{_ratio(instructions, cycles):.2f}"


def _slot_rows(counted: Counters, params: NodeParams) -> _Rows:
    cycles = counted[CounterRegister.CYCLES]
    for slot in issue_slots(params):
        count = counted[issue_counter(slot)]
        yield f"slot {slot.name}", count, _percent(count, cycles)


def _matrix_rows(counted: Counters, params: NodeParams) -> _Rows:
    cycles = counted[CounterRegister.CYCLES]
    steps = counted[CounterRegister.MATRIX_STEPS]
    busy = counted[CounterRegister.MATRIX_BUSY]
    yield "matrix steps", steps, ""
    yield "matrix utilisation", steps, _percent(steps, cycles)
    yield "matrix unit busy", busy, _percent(busy, cycles)


def _stall_rows(counted: Counters, params: NodeParams) -> _Rows:
    """Yield the cycles lost to each cause, as shares of the cycles of all threads together."""
    cycles = sum(counted.thread_cycles)
    for cause in StallCause:
        count = counted[stall_counter(cause)]
        name = cause.name.lower().replace("_", " ")
        yield f"stall: {name}", count, _percent(count, cycles)


def _memory_rows(counted: Counters, params: NodeParams) -> _Rows:
    conflicts = counted[CounterRegister.BANK_CONFLICTS]
    yield "bank conflicts", conflicts, _percent(conflicts, counted[CounterRegister.CYCLES])
    yield "ECC corrected", counted.corrected, ""
    yield "ECC uncorrectable", counted.uncorrectable, ""
    for register in (
        CounterRegister.REQUESTS,
        CounterRegister.REPLIES,
        CounterRegister.FAULT_REPLIES,
        CounterRegister.PACKETS_SENT,
    ):
        yield register.name.lower().replace("_", " "), counted[register], ""


def _ratio(count: int, of: int) -> float:
    return count / of if of else 0.0


def _percent(count: int, of: int) -> str:
    return f"{_ratio(count, of):.1%}"
