"""Runs a program to its verdict, as conformance programs give it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TextIO, runtime_checkable

import numpy as np
from d1_golden.memory_map import ThreadStatus
from d1_golden.node.trace import format_trace
from numpy.typing import NDArray

from d1.device import Device
from d1.elf import ElfProgram
from d1.errors import CycleLimitError, DeviceError, KernelFault
from d1.link import Link

__all__ = [
    "SIGNATURE_GRANULARITIES",
    "Verdict",
    "run_program",
    "signature_lines",
    "signature_range",
]

#: Bytes of a signature line.
SIGNATURE_GRANULARITIES = (4, 8)
#: Cycles between two looks at `tohost`: at first, so that short programs end soon, and at most.
_FIRST_INTERVAL, _LAST_INTERVAL = 1 << 10, 1 << 16
#: Cycles in which a thread that is told to stop must have stopped.
_STOP_CYCLES = 10_000


@runtime_checkable
class TracedLink(Link, Protocol):
    """A link that can tell which instructions retire."""

    def run_traced(self, max_cycles: int) -> NDArray[np.void]:
        """Run like `run`; return what retired since the last call, with `RETIRE_DTYPE`'s fields."""


@dataclass(frozen=True)
class Verdict:
    """How a program ended.

    Parameters
    ----------
    failed_test
        Number of the test that failed; 0: it passed.
    cycles
        Cycles that the thread ran; of several, the one that ran longest.

    """

    failed_test: int
    cycles: int


def run_program(
    device: Device,
    program: ElfProgram,
    *,
    max_cycles: int,
    arg: int = 0,
    threads: int = 1,
    trace: TextIO | None = None,
) -> Verdict:
    """Load a program, run it from its entry, and return its verdict.

    The program says it at `tohost`: 1 is a pass, `n << 1 | 1` a failure of test n. A program
    without `tohost` passes when all its threads have halted: an `ecall` while no trap handler is
    set.

    Parameters
    ----------
    device
        Where to run; the program's place in SRAM is overwritten.
    program
        What to run.
    max_cycles
        Cycles after which to give up.
    arg
        What is in a0 when the program starts.
    threads
        How many threads start there, from thread 0 on; mhartid tells them apart.
    trace
        Where to write the retired instructions, one a line.

    Raises
    ------
    CycleLimitError
        There is no verdict after `max_cycles`; the message says where the program was.
    KernelFault
        A thread faulted.
    DeviceError
        All halted without a verdict, or what is at `tohost` is none.

    """
    for segment in program.segments:
        device.write(segment.address, segment.data)
    if trace is not None:
        _traced(device, 0)  # forget what retired before
    started = range(threads)
    for thread in started:
        device.start(program.entry, arg, thread)
    for interval in _intervals(max_cycles):
        _run(device, interval, trace)
        value = _tohost(device, program)
        states = [device.status(thread) for thread in started]
        cycles = max(state.cycles for state in states)
        if value:
            _stop(device, started)
            return Verdict(_failed_test(value), cycles)
        for thread, state in enumerate(states):
            if state.status is ThreadStatus.FAULTED:
                raise KernelFault(
                    f"the program must report its end, not stop: {_of(thread, threads)}{state}",
                    thread=thread,
                    cause=state.cause,
                    pc=state.fault_pc,
                    value=state.fault_value,
                )
        if all(state.status is not ThreadStatus.RUNNING for state in states):
            if program.tohost is not None:
                raise DeviceError(f"the program must write tohost before it ends: {states[0]}")
            return Verdict(0, cycles)
    raise CycleLimitError(
        f"the program must end within {max_cycles} cycles, but still runs {_place(device)}"
    )


def signature_lines(device: Device, program: ElfProgram, granularity: int) -> Iterator[str]:
    """Yield the signature, a little-endian word of `granularity` bytes in hexadecimal a line.

    Raises
    ------
    ValueError
        The program has no signature, or its size is not a multiple of `granularity`.

    """
    begin, end = signature_range(program, granularity)
    words = device.read(begin, end - begin).view(f"<u{granularity}") if end > begin else ()
    for word in words:
        yield f"{int(word):0{2 * granularity}x}"


def signature_range(program: ElfProgram, granularity: int) -> tuple[int, int]:
    """Return begin and end of the signature once it is known to be there in whole lines."""
    if granularity not in SIGNATURE_GRANULARITIES:
        raise ValueError(f"granularity must be in {SIGNATURE_GRANULARITIES}, not {granularity!r}")
    if program.signature is None:
        raise ValueError("the program must have the symbols begin_signature and end_signature")
    begin, end = program.signature
    if (end - begin) % granularity:
        raise ValueError(
            f"the signature must have a multiple of {granularity} bytes, not {end - begin}"
        )
    return begin, end


def _intervals(max_cycles: int) -> Iterator[int]:
    interval = _FIRST_INTERVAL
    while max_cycles > 0:
        yield min(interval, max_cycles)
        max_cycles -= interval
        interval = min(2 * interval, _LAST_INTERVAL)


def _run(device: Device, cycles: int, trace: TextIO | None) -> None:
    if trace is None:
        with suppress(TimeoutError):  # the thread's status tells
            device.link.run(cycles)
    else:
        trace.writelines(f"{line}\n" for line in format_trace(_traced(device, cycles)))


def _traced(device: Device, cycles: int) -> NDArray[np.void]:
    if not isinstance(device.link, TracedLink):
        raise DeviceError(f"a trace must come from a simulated device, not from {device.name}")
    return device.link.run_traced(cycles)


def _tohost(device: Device, program: ElfProgram) -> int:
    if program.tohost is None:
        return 0
    return int(device.read(program.tohost, 8).view("<u8")[0])


def _failed_test(value: int) -> int:
    if not value & 1:
        raise DeviceError(f"tohost must be 1 or n << 1 | 1, not {value:#x}: a request to a host")
    return value >> 1


def _stop(device: Device, threads: Iterable[int]) -> None:
    """Stop threads that go on after the verdict, so that what they leave is final."""
    for thread in threads:
        device.stop(thread)
    _run(device, _STOP_CYCLES, None)
    for thread in threads:
        if device.status(thread).status is ThreadStatus.RUNNING:
            raise CycleLimitError(
                f"thread {thread} must stop within {_STOP_CYCLES} cycles of STOP, not go on"
            )


def _of(thread: int, threads: int) -> str:
    """Return which thread a message is about, where there are several."""
    return f"thread {thread} " if threads > 1 else ""


def _place(device: Device) -> str:
    """Say where a running thread is: at an instruction that retires about now."""
    _traced(device, 0)
    records = _traced(device, _FIRST_INTERVAL)
    return f"at pc {int(records['pc'][-1]):#x}" if len(records) else "without retiring anything"
