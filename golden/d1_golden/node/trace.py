"""Traces of retired instructions: records to compare, and text to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from d1_golden.assembler import REGISTER_NAMES, disassemble
from d1_golden.csr import Cause
from d1_golden.isa import decode
from d1_golden.memory_map import ThreadRegister, ThreadStatus

from .schedule import THREAD

if TYPE_CHECKING:
    from .golden_node import GoldenNode
    from .golden_thread import GoldenThread

__all__ = ["explain_difference", "format_trace", "trace_lines"]

_COMPARED = ("pc", "insn", "rd_valid", "rd", "value")


def _instruction(pc: int, word: int) -> str:
    return f"{pc:08x} {word:08x}  {disassemble(word, pc)}"


def _line(record: np.void) -> str:
    """Return one record as text: thread, address, word, instruction, result."""
    text = f"{record['thread']} " + _instruction(int(record["pc"]), int(record["insn"]))
    if record["rd_valid"]:
        text = f"{text:<54} {REGISTER_NAMES[record['rd']]}={int(record['value']):#x}"
    return text


def format_trace(records: NDArray[np.void]) -> Iterator[str]:
    """Yield a line for every retired instruction: `thread pc word instruction  rd=value`.

    Parameters
    ----------
    records
        With the fields of `RETIRE_DTYPE`; others are ignored.

    """
    return map(_line, records)


def explain_difference(
    expected: NDArray[np.void], actual: NDArray[np.void], context: int = 8
) -> str | None:
    """Return what differs first between two traces, with the instructions before it, or None.

    Each thread is compared on its own: in what order threads retire does not matter.

    Parameters
    ----------
    expected, actual
        With the fields of `RETIRE_DTYPE`; others are ignored. `rd` and `value` count only where
        `rd_valid` is set.
    context
        Instructions shown before the difference.

    """
    threads = np.union1d(expected["thread"], actual["thread"])
    for thread in threads:
        text = _explain_thread(
            expected[expected["thread"] == thread], actual[actual["thread"] == thread], context
        )
        if text is not None:
            return f"thread {thread}: {text}"
    return None


def _explain_thread(
    expected: NDArray[np.void], actual: NDArray[np.void], context: int
) -> str | None:
    """Return what differs first between two traces of one thread, or None."""
    common = min(len(expected), len(actual))
    differs = np.zeros(common, bool)
    for name in _COMPARED:
        matters = expected["rd_valid"][:common] != 0 if name in ("rd", "value") else True
        differs |= (expected[name][:common] != actual[name][:common]) & matters
    if not differs.any() and len(expected) == len(actual):
        return None
    first = int(differs.argmax()) if differs.any() else common
    lines = [f"traces differ at instruction {first} of {len(expected)} expected:"]
    lines += [f"           {_line(record)}" for record in expected[max(0, first - context) : first]]
    for name, records in (("expected", expected), ("actual", actual)):
        text = _line(records[first]) if first < len(records) else "(end of the trace)"
        lines.append(f"{name:>9}: {text}")
    return "\n".join(lines)


def trace_lines(node: GoldenNode, max_cycles: int) -> Iterator[str]:
    """Run a golden node and yield a line for every instruction, vector results and traps included.

    Slower than `GoldenNode.run_traced` by orders of magnitude. A vector result is shown as hex
    bytes in memory order, an accumulator as FP32 patterns, row after row.

    Parameters
    ----------
    node
        The node; it is run until no thread can go on.
    max_cycles
        Instructions after which to stop.

    """
    for _ in range(max_cycles):
        before, cycles = node.state.pc.copy(), node.cycles
        records = node.run_traced(1)
        if node.cycles == cycles:
            return
        thread = node.threads[node.state.turn[THREAD]]
        if len(records):
            yield _line(records[0]) + _vector_result(thread, int(records[0]["insn"]))
        else:
            yield _trap(node, thread, int(before[thread.number]))


def _vector_result(thread: GoldenThread, word: int) -> str:
    """Return the vector or mask register or accumulator that an instruction has just written."""
    row = decode(word)
    for operand in row.operands if row else ():
        n = operand.extract(word)
        if operand.name == "vd":
            return f"  v{n}={thread.v[n].tobytes().hex()}"
        if operand.name == "md":
            return f"  m{n}={int(thread.m[n]):#x}"
        if operand.name == "acc_d":
            return f"  acc{n}=" + " ".join(f"{bits:08x}" for bits in thread.acc[n].reshape(-1))
    return ""


def _trap(node: GoldenNode, thread: GoldenThread, pc: int) -> str:
    """Return the line of an instruction that has just trapped or stopped its thread."""
    if thread.status is not ThreadStatus.RUNNING:
        cause = thread.register(ThreadRegister.CAUSE)
        value = thread.register(ThreadRegister.FAULT_VALUE)
        end = thread.status.name.lower()
    else:
        cause, value = thread.read_csr("mcause"), thread.read_csr("mtval")
        end = f"trap to {thread.pc:#x}"
    word = int(node.state.memory32[pc // 4]) if pc % 4 == 0 and pc < node.memory.size else 0
    reason = Cause(cause).name.lower().replace("_", " ")
    text = f"{thread.number} {_instruction(pc, word)}"
    return f"{text:<54} {end}: {reason}, value {value:#x}"
