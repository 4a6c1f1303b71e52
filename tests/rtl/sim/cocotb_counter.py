"""cocotb tests that test_cocotb_runner runs; `fails` and `hangs` are meant to."""

import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer


async def reset(dut):
    cocotb.start_soon(Clock(dut.clk, 2, "ns").start())
    dut.step.value = 0
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test()
async def counts(dut):
    await reset(dut)
    total = 0
    for _ in range(100):
        step = random.randrange(1 << 40)
        dut.step.value = step
        await RisingEdge(dut.clk)
        assert int(dut.count.value) == total
        total = (total + step) % (1 << 100)


@cocotb.test()
async def only_ports_are_visible(dut):
    await reset(dut)
    assert {handle._name for handle in dut} == {"clk", "rst", "step", "count"}


@cocotb.test()
async def records_a_random_number(dut):
    await Timer(1, "ns")
    with Path(os.environ["COUNTER_RECORD"]).open("a") as file:
        file.write(f"{random.getrandbits(64)}\n")


@cocotb.test()
async def fails(dut):
    await reset(dut)
    assert int(dut.count.value) == 1


@cocotb.test()
async def dies(dut):
    await Timer(1, "ns")
    os._exit(3)
