"""Program loader: puts a program into a node, runs it and waits for it, through packets only."""

from __future__ import annotations

from dataclasses import dataclass

from cocotb.triggers import Timer
from d1_golden.assembler import Program
from d1_golden.memory_map import Command, ThreadRegister, ThreadStatus, register_address

from .packets import CLOCK_PERIOD_PS, PacketAgent

__all__ = ["ProgramLoader", "ThreadState"]


@dataclass(frozen=True)
class ThreadState:
    """What a thread's registers in the control block say."""

    status: ThreadStatus
    cause: int
    fault_pc: int
    fault_value: int
    cycles: int


class ProgramLoader:
    """Loads and runs programs on a node behind a packet agent.

    Parameters
    ----------
    agent
        The packet agent of the node.
    thread
        The hardware thread to run on.

    """

    def __init__(self, agent: PacketAgent, *, thread: int = 0) -> None:
        self._agent, self._thread = agent, thread

    async def load(self, program: Program) -> None:
        """Write a program to its base address."""
        await self._agent.write(program.base, program.code)

    async def start(self, pc: int, arg: int = 0) -> None:
        """Start the thread at `pc` with a0 = `arg`."""
        line = b"".join(v.to_bytes(8, "little") for v in (pc, arg, Command.START))
        await self._agent.write(register_address(ThreadRegister.PC, self._thread), line)

    async def stop(self) -> None:
        """Ask the thread to stop; `wait` tells when it has."""
        address = register_address(ThreadRegister.COMMAND, self._thread)
        await self._agent.write(address, Command.STOP.to_bytes(8, "little"))

    async def state(self) -> ThreadState:
        """Read the thread's registers."""
        address = register_address(ThreadRegister.STATUS, self._thread)
        raw = await self._agent.read(address, 40)
        words = [int.from_bytes(raw[n : n + 8], "little") for n in range(0, 40, 8)]
        return ThreadState(ThreadStatus(words[0]), *words[1:])

    async def wait(self, *, max_cycles: int, interval: int = 64) -> ThreadState:
        """Wait until the thread no longer runs.

        Raises
        ------
        TimeoutError
            If it still runs after `max_cycles`.

        """
        for _ in range(0, max_cycles, interval):
            state = await self.state()
            if state.status is not ThreadStatus.RUNNING:
                return state
            await Timer(interval * CLOCK_PERIOD_PS, unit="ps")
        raise TimeoutError(f"thread {self._thread} must stop within {max_cycles} cycles, it runs")

    async def run(self, program: Program, *, arg: int = 0, max_cycles: int) -> ThreadState:
        """Load a program, start it at its base and wait for its end."""
        await self.load(program)
        await self.start(program.base, arg)
        return await self.wait(max_cycles=max_cycles)
