"""Checker: what a workload does on the golden node, and what differs elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from d1_golden.assembler import disassemble
from d1_golden.memory_map import ThreadRegister, register_address
from d1_golden.node import GoldenNode
from d1_golden.packet import read_requests
from d1_golden.params import LINE_BYTES
from numpy.typing import NDArray

from .workload import Workload

__all__ = [
    "CYCLES_PER_INSTRUCTION",
    "STATE_REGISTERS",
    "Mismatch",
    "Outcome",
    "compare",
    "memory_image",
    "run_golden",
    "thread_states",
]

#: Bound on a workload's cycles for each instruction that it may execute.
CYCLES_PER_INSTRUCTION = 50
#: The registers that say how a thread ended.
STATE_REGISTERS = (
    ThreadRegister.STATUS,
    ThreadRegister.CAUSE,
    ThreadRegister.FAULT_PC,
    ThreadRegister.FAULT_VALUE,
)
_RETIRED_FIELDS = ("pc", "insn", "rd_valid", "rd", "value")


class _Link(Protocol):
    def exchange(self, requests: NDArray[np.void], max_cycles: int) -> NDArray[np.void]: ...


class Outcome(NamedTuple):
    """What a workload did: instructions retired, registers of each thread, SRAM from address 0."""

    retired: NDArray[np.void]
    states: dict[int, tuple[int, ...]]
    memory: NDArray[np.uint8]


@dataclass(frozen=True)
class Mismatch:
    """The first difference between two outcomes.

    Members
    -------
    text
        What differs, for people.
    kind
        What a smaller case must show to be the same failure: the mnemonic of the instruction that
        retired differently, or what else is different.
    cycle
        Cycle of the RTL where it was seen.
    """

    text: str
    kind: str
    cycle: int | None = None


def memory_image(link: _Link, size: int, *, clocks: int = 1) -> NDArray[np.uint8]:
    """Read SRAM from address 0, of a node whose cycles have so many clocks."""
    requests = read_requests(0, size)
    replies = link.exchange(requests, clocks * (10 * len(requests) + 1000))
    return replies["data"].reshape(-1)


def thread_states(link: _Link, workload: Workload) -> dict[int, tuple[int, ...]]:
    """Read the `STATE_REGISTERS` of each thread of a workload."""
    states = {}
    for thread in workload.programs:
        address = register_address(ThreadRegister.PC, thread)
        (line,) = link.exchange(read_requests(address, LINE_BYTES), 1000)
        registers = line["data"].view(np.uint64)
        states[thread] = tuple(int(registers[register]) for register in STATE_REGISTERS)
    return states


def run_golden(workload: Workload) -> Outcome:
    """Run a workload on a fresh golden node."""
    node = GoldenNode(workload.params)
    node.exchange(np.concatenate([workload.load_requests(), workload.start_requests()]))
    retired = node.run_traced(workload.max_instructions)
    return Outcome(retired, thread_states(node, workload), memory_image(node, workload.end))


def compare(workload: Workload, golden: Outcome, rtl: Outcome) -> Mismatch | None:
    """Return the first difference of two outcomes, or None.

    Each thread is compared on its own: in what order threads retire does not matter. Of several
    threads that differ, the one that does so in the earliest cycle counts.
    """
    threads = np.union1d(golden.retired["thread"], rtl.retired["thread"])
    traces = [
        _compare_traces(
            int(thread), *(o.retired[o.retired["thread"] == thread] for o in (golden, rtl))
        )
        for thread in threads
    ]
    if found := [mismatch for mismatch in traces if mismatch is not None]:
        return min(found, key=lambda mismatch: mismatch.cycle or 0)
    for thread, state in golden.states.items():
        if state != rtl.states[thread]:
            names = ", ".join(register.name for register in STATE_REGISTERS)
            return Mismatch(
                f"registers {names} of thread {thread} differ: golden {state}, "
                f"RTL {rtl.states[thread]}",
                "state",
            )
    for name, expected, actual in workload.differences(golden.memory, rtl.memory):
        text = f"{name} differs: golden {expected[::-1].hex()}, RTL {actual[::-1].hex()}"
        return Mismatch(text, "memory")
    return None


def _compare_traces(
    thread: int, golden: NDArray[np.void], rtl: NDArray[np.void]
) -> Mismatch | None:
    """Return the first difference of what a thread retired, or None."""
    common = min(len(golden), len(rtl))
    different = np.zeros(common, bool)
    for field in _RETIRED_FIELDS:
        matters = golden["rd_valid"][:common] != 0 if field in ("rd", "value") else True
        different |= matters & (golden[field][:common] != rtl[field][:common])
    if different.any():
        n = int(different.argmax())
        return Mismatch(
            f"retired instruction {n} of thread {thread} differs\n  golden {_record(golden[n])}\n"
            f"  RTL    {_record(rtl[n])}",
            disassemble(int(golden[n]["insn"])).split()[0],
            int(rtl[n]["cycle"]),
        )
    if len(golden) != len(rtl):
        name, longer = ("golden", golden) if len(golden) > len(rtl) else ("RTL", rtl)
        return Mismatch(
            f"thread {thread} retired {len(golden)} instructions in golden, {len(rtl)} in RTL; "
            f"only {name} retired {_record(longer[common])}",
            "length",
            int(rtl[-1]["cycle"]) if len(rtl) else None,
        )
    return None


def _record(record: np.void) -> str:
    word, pc = int(record["insn"]), int(record["pc"])
    result = f"  x{record['rd']} = {int(record['value']):#x}" if record["rd_valid"] else ""
    return f"{pc:#8x}: {word:08x}  {disassemble(word, pc)}{result}"
