"""Testbench of the retire monitor: what it records of a `TracePlayer`."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from d1_golden.params import preset
from d1_rtl.node.interfaces import RetiredSlot, RetireSignature, ScalarResult

from .packets import CLOCK_PERIOD_PS
from .retire import RetireMonitor
from .trace_player import struct_bits

__all__ = ["the_monitor_returns_what_retired_in_program_order"]

_CYCLES = 40


@cocotb.test
async def the_monitor_returns_what_retired_in_program_order(dut: Any) -> None:
    """Every field of every slot is recorded; late values come with their instructions."""
    members = RetireSignature(preset("d1")).members
    counts = {name: members[name].dimensions[0] for name in ("slots", "late")}
    Clock(dut.clk, CLOCK_PERIOD_PS, unit="ps").start()
    dut.rst.value = 0
    for name, count in counts.items():
        for n in range(count):
            getattr(dut, f"{name}__{n}").value = 0
    monitor, rng = RetireMonitor(dut), random.Random(1)
    await RisingEdge(dut.clk)
    expected: list[tuple[int, dict[str, int]]] = []
    waiting: list[dict[str, int]] = []
    for cycle in range(_CYCLES):
        shown: dict[str, list[int]] = {
            "slots": [],
            "late": [struct_bits(ScalarResult, **result) for result in waiting],
        }
        waiting = []
        for place in range(counts["slots"] if cycle % 2 == 0 else 0):
            record = {
                "thread": place % 4,
                "order": place // 4,
                "pc": rng.getrandbits(24),
                "insn": rng.getrandbits(32),
                "rd_valid": 1,
                "rd": rng.randint(1, 31),
                "pending": int(place < counts["late"]),
                "value": rng.getrandbits(64),
            }
            expected.append((cycle, record))
            if record["pending"]:
                waiting.append({name: record[name] for name in ("thread", "rd", "value")})
            shown["slots"].append(struct_bits(RetiredSlot, **record))
        for name, count in counts.items():
            for n in range(count):
                port = getattr(dut, f"{name}__{n}")
                port.value = shown[name][n] if n < len(shown[name]) else 0
        await RisingEdge(dut.clk)
    retired = monitor.take()
    expected.sort(key=lambda item: (item[0], item[1]["thread"], item[1]["order"]))
    assert len(retired) == len(expected) == _CYCLES // 2 * counts["slots"]
    for name in ("thread", "pc", "insn", "rd_valid", "rd", "value"):
        assert retired[name].tolist() == [record[name] for _, record in expected], name
