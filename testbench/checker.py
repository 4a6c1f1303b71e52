"""Checker: one random program, what it does on the golden node, and what differs elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from d1_golden.assembler import disassemble
from d1_golden.memory_map import Command, ThreadRegister, register_address
from d1_golden.node import GoldenNode
from d1_golden.node.random_programs import ProgramOptions, RandomProgram, random_program
from d1_golden.packet import read_requests, write_requests
from d1_golden.params import LINE_BYTES, NodeParams
from numpy.typing import NDArray

__all__ = [
    "CYCLES_PER_INSTRUCTION",
    "STATE_REGISTERS",
    "Case",
    "Mismatch",
    "Outcome",
    "compare",
    "memory_image",
    "run_golden",
    "start_requests",
    "thread_state",
]

#: Bound on a program's cycles for each instruction that it may execute.
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


@dataclass(frozen=True)
class Case:
    """One seed of the regression.

    Parameters
    ----------
    params
        The node.
    seed
        Makes the program, its data and the packets beside it.
    length
        Instructions of the program's body, about.
    traffic
        Whether packets read and write SRAM while the program runs.
    control
        Whether the program may use the control block.

    """

    params: NodeParams
    seed: int
    length: int = 300
    traffic: bool = True
    control: bool = True

    def program(self) -> RandomProgram:
        """Return the program: every other one traps, every third one reaches the control block."""
        options = ProgramOptions(
            length=self.length,
            traps=0.05 if self.seed % 2 else 0.0,
            control=self.control and self.seed % 3 == 0,
            base=LINE_BYTES * (self.seed % 5),
        )
        return random_program(self.params, self.seed, options)


class Outcome(NamedTuple):
    """What a program did: retired instructions, thread registers and SRAM from address 0."""

    retired: NDArray[np.void]
    state: tuple[int, ...]
    memory: NDArray[np.uint8]


@dataclass(frozen=True)
class Mismatch:
    """The first difference between two outcomes, and the cycle of the RTL where it was seen."""

    text: str
    cycle: int | None = None


def start_requests(program: RandomProgram) -> NDArray[np.void]:
    """Return the packets that start a program."""
    words = np.array([program.options.base, 0, Command.START], np.uint64)
    return write_requests(register_address(ThreadRegister.PC), words.view(np.uint8))


def memory_image(link: _Link, size: int) -> NDArray[np.uint8]:
    """Read SRAM from address 0."""
    requests = read_requests(0, size)
    replies = link.exchange(requests, 10 * len(requests) + 1000)
    return replies["data"].reshape(-1)


def thread_state(link: _Link) -> tuple[int, ...]:
    """Read the `STATE_REGISTERS`."""
    (line,) = link.exchange(read_requests(register_address(ThreadRegister.PC), LINE_BYTES), 1000)
    registers = line["data"].view(np.uint64)
    return tuple(int(registers[register]) for register in STATE_REGISTERS)


def run_golden(program: RandomProgram) -> Outcome:
    """Run a program on a fresh golden node."""
    node = GoldenNode(program.params)
    node.exchange(np.concatenate([program.requests(), start_requests(program)]))
    retired = node.run_traced(program.max_instructions)
    return Outcome(retired, thread_state(node), memory_image(node, program.end))


def compare(program: RandomProgram, golden: Outcome, rtl: Outcome) -> Mismatch | None:
    """Return the first difference of two outcomes, or None."""
    common = min(len(golden.retired), len(rtl.retired))
    different = np.zeros(common, bool)
    for field in _RETIRED_FIELDS:
        left, right = golden.retired[field][:common], rtl.retired[field][:common]
        if field in ("rd", "value"):
            valid = golden.retired["rd_valid"][:common] != 0
            different |= valid & (left != right)
        else:
            different |= left != right
    if different.any():
        n = int(different.argmax())
        return Mismatch(
            f"retired instruction {n} differs\n  golden {_record(golden.retired[n])}\n"
            f"  RTL    {_record(rtl.retired[n])}",
            int(rtl.retired[n]["cycle"]),
        )
    if len(golden.retired) != len(rtl.retired):
        longer = max(golden.retired, rtl.retired, key=len)
        name = "golden" if longer is golden.retired else "RTL"
        return Mismatch(
            f"{len(golden.retired)} instructions retired in golden, {len(rtl.retired)} in RTL; "
            f"only {name} retired {_record(longer[common])}",
            int(rtl.retired[-1]["cycle"]) if len(rtl.retired) else None,
        )
    if golden.state != rtl.state:
        names = ", ".join(register.name for register in STATE_REGISTERS)
        return Mismatch(f"thread registers {names} differ: golden {golden.state}, RTL {rtl.state}")
    for name, expected, actual in program.differences(golden.memory, rtl.memory):
        return Mismatch(f"{name} differs: golden {expected[::-1].hex()}, RTL {actual[::-1].hex()}")
    return None


def _record(record: np.void) -> str:
    word, pc = int(record["insn"]), int(record["pc"])
    result = f"  x{record['rd']} = {int(record['value']):#x}" if record["rd_valid"] else ""
    return f"{pc:#8x}: {word:08x}  {disassemble(word, pc)}{result}"
