"""Testbench of the whole node under cocotb: random programs through packets, against golden.

Environment: `D1_PRESET` names the preset, `D1_SEED` the first seed, `D1_COUNT` how many.
"""

from __future__ import annotations

import os
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from d1_golden.assembler import assemble
from d1_golden.memory_map import ThreadStatus
from d1_golden.params import preset

from .checker import CYCLES_PER_INSTRUCTION, STATE_REGISTERS, Outcome, compare, run_golden
from .packets import CLOCK_PERIOD_PS, PacketAgent
from .program import ProgramLoader
from .retire import RetireMonitor
from .workload import Case

__all__ = ["a_program_without_end_meets_the_bound", "random_programs_match_golden"]


async def _reset(dut: Any) -> None:
    """Reset the node."""
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test
async def random_programs_match_golden(dut: Any) -> None:
    """Every retired instruction, register and byte of data of every thread is golden's."""
    params, first = preset(os.environ["D1_PRESET"]), int(os.environ["D1_SEED"])
    Clock(dut.clk, CLOCK_PERIOD_PS, unit="ps").start()
    agent = PacketAgent(dut, stall=0.3, seed=first)
    monitor = RetireMonitor(dut)
    for seed in range(first, first + int(os.environ["D1_COUNT"])):
        await _reset(dut)
        workload = Case(params, seed, length=100).workload()
        golden = run_golden(workload)
        await agent.exchange(workload.load_requests())
        await agent.exchange(workload.start_requests())
        limit = CYCLES_PER_INSTRUCTION * workload.max_instructions
        states = {}
        for thread in workload.programs:
            state = await ProgramLoader(agent, thread=thread).wait(max_cycles=limit)
            states[thread] = tuple(int(getattr(state, r.name.lower())) for r in STATE_REGISTERS)
        memory = np.frombuffer(await agent.read(0, workload.end), np.uint8)
        mismatch = compare(workload, golden, Outcome(monitor.take(), states, memory))
        assert mismatch is None, f"preset {params.name}, seed {seed}: {mismatch.text}"


@cocotb.test
async def a_program_without_end_meets_the_bound(dut: Any) -> None:
    """`wait` gives up after its cycles, STOP ends the thread, and the node is usable again."""
    Clock(dut.clk, CLOCK_PERIOD_PS, unit="ps").start()
    agent = PacketAgent(dut)
    await _reset(dut)
    loader = ProgramLoader(agent)
    await loader.load(assemble("loop: j loop"))
    await loader.start(0)
    try:
        await loader.wait(max_cycles=500)
    except TimeoutError as error:
        assert "within 500 cycles" in str(error)
    else:
        raise AssertionError("wait must not return while the thread runs")
    await loader.stop()
    assert (await loader.wait(max_cycles=500)).status is ThreadStatus.IDLE
    state = await loader.run(assemble("addi a0, a0, 1\necall"), arg=4, max_cycles=500)
    assert state.status is ThreadStatus.HALTED
    assert state.fault_pc == 4
