"""Testbench of the core alone: random programs while memory refuses accesses at random.

Environment: `D1_PRESET` names the preset, `D1_SEED` the first seed, `D1_COUNT` how many.
"""

from __future__ import annotations

import os
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from d1_golden.params import preset

from .checker import CYCLES_PER_INSTRUCTION, Outcome, compare, run_golden
from .memory import MemoryAgent
from .packets import CLOCK_PERIOD_PS
from .retire import RetireMonitor
from .workload import Case, Workload

__all__ = ["random_programs_match_golden_while_memory_stalls"]

#: Share of the cycles in which a port of memory is refused, in turn.
_STALLS = (0.0, 0.3, 0.8)


async def _run(dut: Any, workload: Workload, max_cycles: int) -> dict[int, tuple[int, ...]]:
    """Start the threads and wait for their end; return status, cause, fault_pc and fault_value."""

    def port(thread: int, name: str) -> Any:
        return getattr(dut, f"threads__{thread}__{name}")

    for thread, program in workload.programs.items():
        port(thread, "pc").value = program.options.base
        port(thread, "start").value = 1
    await RisingEdge(dut.clk)
    for thread in workload.programs:
        port(thread, "start").value = 0
    for _ in range(max_cycles):
        await FallingEdge(dut.clk)
        running = [n for n in workload.programs if int(port(n, "running").value)]
        if not running:
            names = ("stopped_status", "cause", "fault_pc", "fault_value")
            return {n: tuple(int(port(n, p).value) for p in names) for n in workload.programs}
    raise TimeoutError(f"threads must stop within {max_cycles} cycles, {running} run")


@cocotb.test
async def random_programs_match_golden_while_memory_stalls(dut: Any) -> None:
    """Whatever memory refuses and when, every result is the golden node's."""
    params, first = preset(os.environ["D1_PRESET"]), int(os.environ["D1_SEED"])
    Clock(dut.clk, CLOCK_PERIOD_PS, unit="ps").start()
    dut.control__request__ready.value = 1
    for thread in range(params.threads):
        for port in ("start", "stop", "arg"):
            getattr(dut, f"threads__{thread}__{port}").value = 0
    monitor = RetireMonitor(dut)
    memory = MemoryAgent(
        dut,
        reads=("r_fetch", "r_scalar", "r_vector_0", "r_vector_1"),
        writes=("w_scalar", "w_vector"),
        params=params,
        seed=first,
    )
    for seed in range(first, first + int(os.environ["D1_COUNT"])):
        # Control registers are behind a port of their own, which nobody answers here.
        workload = Case(params, seed, length=100, control=False).workload()
        memory.stall = _STALLS[seed % len(_STALLS)]
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        for program in workload.programs.values():
            memory.load(program.options.base, program.words.tobytes())
            memory.load(program.data_base, program.data.tobytes())
            memory.load(program.dump[0][1], bytes(program.end - program.dump[0][1]))
        states = await _run(dut, workload, CYCLES_PER_INSTRUCTION * workload.max_instructions)
        contents = np.frombuffer(bytes(memory.contents[: workload.end]), np.uint8)
        outcome = Outcome(monitor.take(), states, contents)
        mismatch = compare(workload, run_golden(workload), outcome)
        assert mismatch is None, f"preset {params.name}, seed {seed}: {mismatch.text}"
    assert all(memory.transfers.values()), f"every port must be used, not {memory.transfers}"
