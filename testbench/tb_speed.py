"""Times the simulator under cocotb: a node that computes for ever, with the packet agent attached.

The counterpart of the native measurement in `d1.bench`, on the same objects and the same program.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from d1_golden.memory_map import ThreadStatus

from .packets import CLOCK_PERIOD_PS, PacketAgent
from .program import ProgramLoader

__all__ = ["CYCLES", "IMAGE", "RUNS", "SECONDS", "computes_for_ever"]

#: Environment variables: the file with the contents of SRAM from address 0, where the program
#: starts; how many cycles to time, and how many times; and the file to write the seconds of each
#: run to, as a JSON list.
IMAGE, CYCLES, RUNS, SECONDS = (
    f"D1_SPEED_{name}" for name in ("IMAGE", "CYCLES", "RUNS", "SECONDS")
)


@cocotb.test()
async def computes_for_ever(dut: Any) -> None:
    """Load and start the program, let it warm up, and time its cycles."""
    agent = PacketAgent(dut)
    loader = ProgramLoader(agent)
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_PERIOD_PS, unit="ps").start()
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    await agent.write(0, Path(os.environ[IMAGE]).read_bytes())
    await loader.start(0)
    await ClockCycles(dut.clk, 200)
    seconds = []
    for _ in range(int(os.environ[RUNS])):
        started = time.perf_counter()
        await ClockCycles(dut.clk, int(os.environ[CYCLES]))
        seconds.append(time.perf_counter() - started)
    state = await loader.state()
    assert state.status is ThreadStatus.RUNNING, state
    Path(os.environ[SECONDS]).write_text(json.dumps(seconds))
