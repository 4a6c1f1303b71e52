"""How fast the models and the simulator are, and how long building takes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
from d1_golden.assembler import assemble
from d1_golden.memory_map import ThreadStatus
from d1_golden.params import preset

from d1.bench.metric import PRESET, Metric
from d1.device import Device, open_device
from d1.errors import DeviceError
from d1.operators import matmul

__all__ = [
    "MATRIX_LOOP",
    "SCALAR_LOOP",
    "SIMULATION_METRICS",
    "gemm_operands",
    "median_rate",
    "require_running",
    "start_loop",
    "time_fresh_process",
]

_GEMM_SIZE = 64
_GEMM = f"{_GEMM_SIZE} x {_GEMM_SIZE} x {_GEMM_SIZE} BF16"
#: Rates are medians of so many runs.
_RUNS = 7
_NATIVE_CYCLES, _COCOTB_CYCLES = 200_000, 40_000
_GOLDEN_INSTRUCTIONS = 20_000_000

#: Where the program that computes for ever has its operands, and how many bytes of them.
_DATA, _DATA_BYTES = 0x1000, 0x1000
#: Eight vector loads, 32 matrix instructions, two scalar ones.
MATRIX_LOOP = f"""
    li a0, {_DATA:#x}
loop:
{"".join(f"    vld v{n}, {n}(a0){chr(10)}" for n in range(8))}
{"".join(f"    mmac.bf16.vm acc{n % 8}, v{n % 8}, {8 + n}(a0){chr(10)}" for n in range(32))}
    addi t0, t0, 1
    j loop
"""
#: Arithmetic, a load, a store and branches: 10 instructions a round, for ever.
SCALAR_LOOP = f"""
    li a0, {_DATA:#x}
loop:
    ld t0, 0(a0)
    addi t0, t0, 3
    mul t1, t0, t0
    xor t2, t2, t1
    srli t3, t2, 7
    sd t0, 0(a0)
    sltu t4, t3, t2
    beqz t4, skip
    add t5, t5, t3
skip:
    j loop
"""


def median_rate(amount: float, run: Callable[[], object]) -> float:
    """Return `amount` by the median time of a run."""
    run()
    times = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return amount / statistics.median(times)


def gemm_operands() -> tuple[np.ndarray, np.ndarray]:
    """Return the operands of the product that is measured."""
    generator = np.random.default_rng(1)
    a, b = generator.standard_normal((2, _GEMM_SIZE, _GEMM_SIZE))
    return a.astype(ml_dtypes.bfloat16), b.astype(ml_dtypes.bfloat16)


def _image(source: str) -> bytes:
    """Return SRAM from address 0: a program and random BF16 operands."""
    values = np.random.default_rng(2).standard_normal(_DATA_BYTES // 2).astype(ml_dtypes.bfloat16)
    return assemble(source).code.ljust(_DATA, b"\0") + values.tobytes()


def start_loop(device: Device, source: str) -> None:
    """Load a program that never ends, with its operands, and start it."""
    device.write(0, _image(source))
    device.start(0)


def require_running(device: Device) -> None:
    """Refuse the figure of a program that did not go on."""
    state = device.status()
    if state.status is not ThreadStatus.RUNNING:
        raise DeviceError(f"the measured program must go on, not be {state}")


def _busy_rate(device: Device) -> float:
    start_loop(device, MATRIX_LOOP)
    rate = median_rate(_NATIVE_CYCLES, partial(device.link.advance, _NATIVE_CYCLES))
    require_running(device)
    return rate


def _native_cycles_per_s() -> float:
    with open_device("rtl", PRESET) as device:
        return _busy_rate(device)


def _idle_cost_ratio() -> float:
    """Return the time of an idle cycle over that of a busy one."""
    with open_device("rtl", PRESET) as device:
        busy = _busy_rate(device)
        device.reset()
        return busy / median_rate(_NATIVE_CYCLES, partial(device.link.advance, _NATIVE_CYCLES))


def _cocotb_cycles_per_s() -> float:
    from d1_rtl.node.node import Node
    from d1_rtl.sim.cocotb_runner import run_cocotb

    from testbench import tb_speed

    with tempfile.TemporaryDirectory() as folder:
        image, seconds = Path(folder) / "image", Path(folder) / "seconds"
        image.write_bytes(_image(MATRIX_LOOP))
        run_cocotb(
            Node(preset(PRESET)),
            name=f"node_{PRESET}",
            design_key=repr(preset(PRESET)),
            test_module=tb_speed.__name__,
            seed=1,
            directory=folder,
            env={
                tb_speed.IMAGE: str(image),
                tb_speed.CYCLES: str(_COCOTB_CYCLES),
                tb_speed.RUNS: str(_RUNS),
                tb_speed.SECONDS: str(seconds),
            },
        )
        return _COCOTB_CYCLES / statistics.median(json.loads(seconds.read_text()))


def _gemm_mac_per_s(device: str) -> float:
    a, b = gemm_operands()
    return median_rate(_GEMM_SIZE**3, lambda: matmul(a, b, device=device, preset=PRESET))


def _golden_mips() -> float:
    with open_device("golden", PRESET) as device:
        start_loop(device, SCALAR_LOOP)
        rate = median_rate(_GOLDEN_INSTRUCTIONS, partial(device.link.run, _GOLDEN_INSTRUCTIONS))
        require_running(device)
        return rate / 1e6


def time_fresh_process(program: str, environment: Mapping[str, str]) -> float:
    """Return the seconds that a program takes in a Python of its own."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=os.environ | environment, check=True)
    return time.perf_counter() - started


def _first_result_s() -> float:
    program = "import d1, d1.bench.simulation as s; d1.matmul(*s.gemm_operands(), device='rtl')"
    time_fresh_process(program, {})  # warms the caches up
    return statistics.median(time_fresh_process(program, {}) for _ in range(3))


def _verilator_build_s() -> float:
    with tempfile.TemporaryDirectory() as folder:
        program = f"import d1; d1.open('rtl', preset={PRESET!r}).close()"
        return time_fresh_process(program, {"D1_CACHE": folder})


SIMULATION_METRICS: tuple[Metric, ...] = (
    Metric(
        "sim_native_cycles_per_s",
        "cycles/s",
        f"RTL of preset {PRESET}, native driver, a loop of matrix instructions",
        _native_cycles_per_s,
        lambda results: max(50e3, 3 * results["sim_cocotb_cycles_per_s"]),
    ),
    Metric(
        "sim_idle_cost_ratio",
        "1",
        "time that a cycle of an idle node takes over that of a busy one, native driver",
        _idle_cost_ratio,
        lambda _: 0.1,
        is_cost=True,
    ),
    Metric(
        "sim_cocotb_cycles_per_s",
        "cycles/s",
        "the same model and program under cocotb with the packet agent attached",
        _cocotb_cycles_per_s,
    ),
    Metric(
        "sim_gemm_mac_per_s",
        "MAC/s",
        f"{_GEMM} through `d1.matmul` on the RTL, warm, transfers included",
        partial(_gemm_mac_per_s, "rtl"),
        lambda _: 15e6,
    ),
    Metric(
        "golden_gemm_mac_per_s",
        "MAC/s",
        f"{_GEMM} through `d1.matmul` on the golden model, warm",
        partial(_gemm_mac_per_s, "golden"),
        lambda _: 200e6,
    ),
    Metric(
        "golden_mips",
        "MIPS",
        "golden model, a loop of scalar instructions",
        _golden_mips,
        lambda _: 20.0,
    ),
    Metric(
        "verilator_build_s",
        "s",
        f"RTL of preset {PRESET} from Amaranth to a running model, nothing cached",
        _verilator_build_s,
        lambda _: 360.0,
        is_cost=True,
        takes_minutes=True,
    ),
    Metric(
        "first_result_s",
        "s",
        f"a new Python process until it has the first {_GEMM} product from the RTL, caches warm",
        _first_result_s,
    ),
)
