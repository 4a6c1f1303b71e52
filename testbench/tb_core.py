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

from .checker import CYCLES_PER_INSTRUCTION, Case, Outcome, compare, run_golden
from .memory import MemoryAgent
from .packets import CLOCK_PERIOD_PS
from .retire import RetireMonitor

__all__ = ["random_programs_match_golden_while_memory_stalls"]

#: Share of the cycles in which a port of memory is refused, in turn.
_STALLS = (0.0, 0.3, 0.8)


async def _run(dut: Any, pc: int, max_cycles: int) -> tuple[int, ...]:
    """Start the thread and wait for its end; return status, cause, fault_pc and fault_value."""
    dut.thread__pc.value = pc
    dut.thread__start.value = 1
    await RisingEdge(dut.clk)
    dut.thread__start.value = 0
    for _ in range(max_cycles):
        await FallingEdge(dut.clk)
        if not int(dut.thread__running.value):
            ports = ("stopped_status", "cause", "fault_pc", "fault_value")
            return tuple(int(getattr(dut, f"thread__{port}").value) for port in ports)
    raise TimeoutError(f"thread must stop within {max_cycles} cycles, it runs")


@cocotb.test
async def random_programs_match_golden_while_memory_stalls(dut: Any) -> None:
    """Whatever memory refuses and when, every result is the golden node's."""
    params, first = preset(os.environ["D1_PRESET"]), int(os.environ["D1_SEED"])
    Clock(dut.clk, CLOCK_PERIOD_PS, unit="ps").start()
    dut.control__request__ready.value = 1
    dut.thread__start.value = 0
    dut.thread__stop.value = 0
    dut.thread__arg.value = 0
    monitor = RetireMonitor(dut)
    memory = MemoryAgent(
        dut,
        reads=("r_fetch", "r_scalar", "r_vector"),
        writes=("w_scalar", "w_vector"),
        params=params,
        seed=first,
    )
    for seed in range(first, first + int(os.environ["D1_COUNT"])):
        # Control registers are behind a port of their own, which nobody answers here.
        program = Case(params, seed, length=100, control=False).program()
        memory.stall = _STALLS[seed % len(_STALLS)]
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        memory.load(program.options.base, program.words.tobytes())
        memory.load(program.data_base, program.data.tobytes())
        memory.load(program.dump[0][1], bytes(program.end - program.dump[0][1]))
        limit = CYCLES_PER_INSTRUCTION * program.max_instructions
        state = await _run(dut, program.options.base, limit)
        contents = np.frombuffer(bytes(memory.contents[: program.end]), np.uint8)
        outcome = Outcome(monitor.take(), state, contents)
        mismatch = compare(program, run_golden(program), outcome)
        assert mismatch is None, f"preset {params.name}, seed {seed}: {mismatch.text}"
    assert all(memory.transfers.values()), f"every port must be used, not {memory.transfers}"
