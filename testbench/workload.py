"""Workload: a random program for each of some threads of a node, in one memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from d1_golden.isa import Unit
from d1_golden.memory_map import Command, ThreadRegister, register_address
from d1_golden.node.random_meetings import random_meetings
from d1_golden.node.random_programs import (
    DEFAULT_MIX,
    ProgramOptions,
    RandomProgram,
    random_program,
    shrink,
)
from d1_golden.packet import write_requests
from d1_golden.params import LINE_BYTES, NodeParams
from numpy.typing import NDArray

__all__ = ["Case", "Workload"]

#: What a core does by itself.
_CORE_MIX: Mapping[Unit, float] = {
    unit: weight
    for unit, weight in DEFAULT_MIX.items()
    if unit not in (Unit.TRANSFER, Unit.SEMAPHORE, Unit.LINK)
}


@dataclass(frozen=True)
class Workload:
    """Random programs that run at the same time and share nothing but their meetings.

    Parameters
    ----------
    params
        The node.
    seed
        What it was made from.
    programs
        The program of each thread that runs.

    """

    params: NodeParams
    seed: int
    programs: Mapping[int, RandomProgram]

    @property
    def end(self) -> int:
        """Address after everything that a program reads or writes."""
        return max(program.end for program in self.programs.values())

    @property
    def max_instructions(self) -> int:
        """Bound on the instructions executed, of all threads."""
        return sum(program.max_instructions for program in self.programs.values())

    def load_requests(self) -> NDArray[np.void]:
        """Return the packets that load programs and data."""
        return np.concatenate([program.requests() for program in self.programs.values()])

    def start_requests(self) -> NDArray[np.void]:
        """Return the packets that start the threads, one after the other."""
        packets = []
        for thread, program in self.programs.items():
            words = np.array([program.options.base, 0, Command.START], np.uint64)
            address = register_address(ThreadRegister.PC, thread)
            packets.append(write_requests(address, words.view(np.uint8)))
        return np.concatenate(packets)

    def differences(
        self, expected: NDArray[np.uint8], actual: NDArray[np.uint8]
    ) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield name, expected and actual bytes of everything that differs after the end.

        `expected` and `actual` are SRAM from address 0, at least up to `end`.
        """
        for thread, program in self.programs.items():
            for name, left, right in program.differences(expected, actual):
                yield f"{name} of thread {thread}", left, right

    def shrink(self, fails: Callable[[Workload], bool]) -> Workload:
        """Return the workload with fewer threads and most of their bodies replaced by nops.

        Meetings go first: each thread of one needs the others.

        Parameters
        ----------
        fails
            Whether a workload still shows the failure that this one shows.

        """
        alone = replace(self, programs={n: p.alone() for n, p in self.programs.items()})
        small = alone if fails(alone) else self
        for thread in self.programs:
            rest = {n: program for n, program in small.programs.items() if n != thread}
            if rest and fails(candidate := replace(small, programs=rest)):
                small = candidate
        for thread, program in small.programs.items():
            small = small._with_program(thread, small._shrunk(thread, program, fails))
        return small

    def _shrunk(
        self, thread: int, program: RandomProgram, fails: Callable[[Workload], bool]
    ) -> RandomProgram:
        """Return the program of a thread, shrunk while those of the others stay."""
        return shrink(program, lambda candidate: fails(self._with_program(thread, candidate)))

    def _with_program(self, thread: int, program: RandomProgram) -> Workload:
        """Return the workload with another program for a thread."""
        return replace(self, programs={**self.programs, thread: program})

    def listing(self) -> str:
        """Return the bodies as assembly, without their nops."""
        lines = []
        for thread, program in self.programs.items():
            lines += [f"thread {thread}:", program.listing() or "(none: set-up or dump)"]
        return "\n".join(lines)


#: Instructions of each program's body, about, where nobody says otherwise.
CASE_LENGTH = 300


@dataclass(frozen=True)
class Case:
    """One seed of the regression.

    Parameters
    ----------
    params
        The node.
    seed
        Makes the programs, their data and the packets beside them.
    length
        Instructions of each program's body, about.
    traffic
        Whether packets read and write SRAM while the programs run.
    control
        Whether programs may use what is outside the core: the control block, transfers, links and
        semaphores, and so whether they may meet.

    """

    params: NodeParams
    seed: int
    length: int = CASE_LENGTH
    traffic: bool = True
    control: bool = True

    @property
    def threads(self) -> tuple[int, ...]:
        """The threads that run: in every fourth case one alone, otherwise all of them."""
        if self.seed % 4 == 0:
            return (self.seed // 4 % self.params.threads,)
        return tuple(range(self.params.threads))

    def workload(self) -> Workload:
        """Return the programs: every other one traps, every third case reaches the control block.

        It does so from one thread only, because others would see when it does. The programs meet
        up to six times, and every seventh ends by a vector fault.
        """
        programs: dict[int, RandomProgram] = {}
        end = LINE_BYTES * (self.seed % 5)
        count = self.seed % 7 if self.control else 0
        meetings = random_meetings(self.params, self.seed, self.threads, end, count)
        end = meetings[-1].end if meetings else end
        for thread in self.threads:
            options = ProgramOptions(
                length=self.length,
                mix=DEFAULT_MIX if self.control else _CORE_MIX,
                traps=0.05 if (self.seed + thread) % 2 else 0.0,
                control=self.control and self.seed % 3 == 0 and not programs and thread == 0,
                vector_fault=(self.seed + thread) % 7 == 0,
                base=end,
                thread=thread,
                meetings=meetings,
            )
            program = random_program(self.params, 4 * self.seed + thread, options)
            programs[thread] = program
            end = program.end
        return Workload(self.params, self.seed, programs)
