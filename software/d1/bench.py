"""Measures the models and the simulator against their bars.

Figures per cycle are exact, and of a node that was just reset; those of products last from the
start of the first thread to the end of the last. Every other figure is wall-clock time on the
machine at hand; a rate is the median of several runs after one that warms up.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import ml_dtypes
import numpy as np
from d1_golden.assembler import assemble
from d1_golden.fabric.mesh import MeshModel, saturation
from d1_golden.fabric.traffic import Pattern
from d1_golden.memory_map import CounterRegister, ThreadStatus
from d1_golden.numerics import Cfp8Config, Cfp8Format
from d1_golden.params import DIES, preset
from rich.console import Console
from rich.table import Table

from d1.device import Device, open_device
from d1.errors import DeviceError
from d1.fabric.die_figures import all_reduce_cycles, barrier_cycles, broadcast_cycles, gemm_tflops
from d1.fabric.die_job import DIE_K, even_size
from d1.fabric.mesh import Mesh, open_mesh
from d1.ipc import SCALAR_MIX, TOTAL_MIX, integer_ipc, mix_ipc
from d1.operands import Cfp8Array
from d1.operators import matmul, sgemm

__all__ = [
    "MATRIX_LOOP",
    "METRICS",
    "SCALAR_LOOP",
    "Metric",
    "all_bars_met",
    "machine",
    "macs_per_cycle",
    "measure",
    "print_table",
    "shown",
    "start_loop",
    "write_json",
]

Results = Mapping[str, float]

_PRESET = "d1"
_CFP8 = Cfp8Config(Cfp8Format.CFP8_1_4_3, bias=7)
_GEMM_SIZE = 64
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


@dataclass(frozen=True)
class Metric:
    """One figure.

    Parameters
    ----------
    key
        Its name in the JSON file.
    unit
        Its unit.
    text
        What is measured.
    bar
        What it must at least be, from all results; None where there is no bar.
    is_cost
        Less is better: it must at most be that.

    """

    key: str
    unit: str
    text: str
    bar: Callable[[Results], float] | None = None
    is_cost: bool = False

    def meets(self, results: Results) -> bool | None:
        """Return whether the figure among `results` is as good as its bar, None without a bar."""
        if self.bar is None or self.key not in results:
            return None
        value, bar = results[self.key], self.bar(results)
        return value <= bar if self.is_cost else value >= bar


_DIE_PRODUCT = " x ".join(map(str, (*even_size(DIES["d1"]), DIE_K)))
_GEMM = f"{_GEMM_SIZE} x {_GEMM_SIZE} x {_GEMM_SIZE} BF16"
_COLLECTIVES: dict[str, Callable[[Mesh], float]] = {
    "barrier_354_cycles": barrier_cycles,
    "broadcast_354_cycles": broadcast_cycles,
    "allreduce_354_1KiB_cycles": all_reduce_cycles,
}
#: What a quick measurement leaves out.
_LONG = ("die_gemm_tflops", "verilator_build_s")
#: Products that are counted in cycles: operands, size, and the least multiply-adds per cycle.
_PRODUCTS = {
    "gemm_bf16_256_mac_per_cycle": ("bf16", 256, 243.0),
    "gemm_bf16_64_mac_per_cycle": ("bf16", 64, 205.0),
    "gemm_cfp8_256_mac_per_cycle": ("cfp8", 256, 243.0),
    "gemm_cfp8_64_mac_per_cycle": ("cfp8", 64, 205.0),
    "sgemm_fp32_128_fma_per_cycle": ("fp32", 128, 14.4),
}


def _product_metric(key: str) -> Metric:
    kind, size, bar = _PRODUCTS[key]
    fp32 = kind == "fp32"
    unit = "FMA/cycle" if fp32 else "MAC/cycle"
    most = preset(_PRESET).fp32_lanes if fp32 else preset(_PRESET).macs_per_step
    return Metric(
        key,
        unit,
        f"{size} x {size} x {size} {kind.upper()} on the RTL, SRAM to SRAM, of {most} at most",
        lambda _: bar,
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        "sim_native_cycles_per_s",
        "cycles/s",
        f"RTL of preset {_PRESET}, native driver, a loop of matrix instructions",
        lambda results: max(50e3, 3 * results["sim_cocotb_cycles_per_s"]),
    ),
    Metric(
        "sim_cocotb_cycles_per_s",
        "cycles/s",
        "the same model and program under cocotb with the packet agent attached",
    ),
    Metric(
        "sim_gemm_mac_per_s",
        "MAC/s",
        f"{_GEMM} through `d1.matmul` on the RTL, warm, transfers included",
        lambda _: 15e6,
    ),
    Metric(
        "golden_gemm_mac_per_s",
        "MAC/s",
        f"{_GEMM} through `d1.matmul` on the golden model, warm",
        lambda _: 200e6,
    ),
    Metric("golden_mips", "MIPS", "golden model, a loop of scalar instructions", lambda _: 20.0),
    *map(_product_metric, _PRODUCTS),
    Metric(
        "ipc_scalar_1thread",
        "IPC",
        "RTL, independent ALU instructions, loads and stores on one thread; 4 at most",
        lambda _: 3.8,
    ),
    Metric(
        "ipc_total_4threads",
        "IPC",
        "RTL, scalar, SIMD and matrix work on four threads; 6 at most",
        lambda _: 5.5,
    ),
    Metric(
        "coremark_like_ipc_1thread",
        "IPC",
        "RTL, the integer benchmark in C on one thread, start to end",
        lambda _: 1.2,
    ),
    Metric("coremark_like_ipc_4threads", "IPC", "the same on four threads", lambda _: 2.5),
    Metric(
        "mesh8_uniform_saturation",
        "packets/cycle",
        "accepted uniform traffic of 8 x 8 routers, per node and plane; golden mesh, equal to RTL",
        lambda _: 0.37,
    ),
    Metric(
        "barrier_354_cycles",
        "cycles",
        "RTL of a die, 354 nodes: from when the last comes to a barrier until the last leaves",
        lambda _: 400,
        is_cost=True,
    ),
    Metric(
        "broadcast_354_cycles",
        "cycles",
        "the same, 64 bytes from one node to all: from the first start to the last end",
        lambda _: 200,
        is_cost=True,
    ),
    Metric(
        "allreduce_354_1KiB_cycles",
        "cycles",
        "the same, 256 FP32 sums over all nodes, in every node",
    ),
    Metric(
        "die_gemm_tflops",
        "TFLOP/s",
        f"the same, {_DIE_PRODUCT} BF16 at 2 GHz, SRAM to SRAM, of 362 at most",
        lambda _: 250.0,
    ),
    Metric(
        "verilator_build_s",
        "s",
        f"RTL of preset {_PRESET} from Amaranth to a running model, nothing cached",
    ),
    Metric(
        "first_result_s",
        "s",
        f"a new Python process until it has the first {_GEMM} product from the RTL, caches warm",
    ),
)


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return all figures by key.

    Parameters
    ----------
    quick
        Leave out what takes minutes: `die_gemm_tflops`, and `verilator_build_s`, which builds the
        model anew.

    """
    console = Console(stderr=True)
    steps: list[tuple[str, Callable[[], float]]] = [
        ("sim_native_cycles_per_s", _native_cycles_per_s),
        ("sim_cocotb_cycles_per_s", _cocotb_cycles_per_s),
        ("sim_gemm_mac_per_s", lambda: _gemm_mac_per_s("rtl")),
        ("golden_gemm_mac_per_s", lambda: _gemm_mac_per_s("golden")),
        ("golden_mips", _golden_mips),
        *((key, partial(macs_per_cycle, key)) for key in _PRODUCTS),
        ("ipc_scalar_1thread", lambda: _ipc(partial(mix_ipc, source=SCALAR_MIX, threads=1))),
        ("ipc_total_4threads", lambda: _ipc(partial(mix_ipc, source=TOTAL_MIX, threads=4))),
        ("coremark_like_ipc_1thread", lambda: _ipc(partial(integer_ipc, threads=1))),
        ("coremark_like_ipc_4threads", lambda: _ipc(partial(integer_ipc, threads=4))),
        ("mesh8_uniform_saturation", _mesh8_uniform_saturation),
        ("first_result_s", _first_result_s),
        *((key, partial(_on_die, figure)) for key, figure in _COLLECTIVES.items()),
        ("die_gemm_tflops", lambda: _on_die(gemm_tflops)),
        ("verilator_build_s", _verilator_build_s),
    ]
    results = {}
    for key, function in steps[: -len(_LONG)] if quick else steps:
        console.print(f"measuring {key}")
        results[key] = function()
    return {metric.key: results[metric.key] for metric in METRICS if metric.key in results}


def all_bars_met(results: Results) -> bool:
    """Tell whether every figure that has a bar reaches it."""
    return all(metric.meets(results) is not False for metric in METRICS)


def print_table(results: Results) -> None:
    """Print the figures beside their bars."""
    table = Table("key", "measured", "unit", "bar", "", title=machine())
    for metric in METRICS:
        if metric.key in results:
            met = {None: "", True: "met", False: "MISSED"}[metric.meets(results)]
            bar = shown(metric.bar(results)) if metric.bar else ""
            table.add_row(metric.key, shown(results[metric.key]), metric.unit, bar, met)
    Console(soft_wrap=True).print(table)


def shown(value: float) -> str:
    """Return a figure with four digits that count: "35,350,000", "151.2"."""
    return f"{float(f'{value:.4g}'):,.0f}" if value >= 1000 else f"{value:.4g}"


def write_json(results: Results, path: Path) -> None:
    """Write the figures as one flat JSON object of name and number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(results), indent=2) + "\n")


def machine() -> str:
    """Describe the machine in a line: processor, cores, and versions of what the speed hangs on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor() or platform.machine()
    tools = ", ".join(f"{name} {version(name)}" for name in ("verilator", "numba", "torch"))
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {tools}"
    )


def _rate(amount: float, run: Callable[[], object]) -> float:
    """Return `amount` by the median time of a run."""
    run()
    times = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return amount / statistics.median(times)


def _operands() -> tuple[np.ndarray, np.ndarray]:
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


def _require_running(device: Device) -> None:
    """Refuse the figure of a program that did not go on."""
    state = device.status()
    if state.status is not ThreadStatus.RUNNING:
        raise DeviceError(f"the measured program must go on, not be {state}")


def _native_cycles_per_s() -> float:
    with open_device("rtl", _PRESET) as device:
        start_loop(device, MATRIX_LOOP)
        rate = _rate(_NATIVE_CYCLES, partial(device.link.advance, _NATIVE_CYCLES))
        _require_running(device)
        return rate


def _cocotb_cycles_per_s() -> float:
    from d1_rtl.node.node import Node
    from d1_rtl.sim.cocotb_runner import run_cocotb

    from testbench import tb_speed

    with tempfile.TemporaryDirectory() as folder:
        image, seconds = Path(folder) / "image", Path(folder) / "seconds"
        image.write_bytes(_image(MATRIX_LOOP))
        run_cocotb(
            Node(preset(_PRESET)),
            name=f"node_{_PRESET}",
            design_key=repr(preset(_PRESET)),
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
    a, b = _operands()
    return _rate(_GEMM_SIZE**3, lambda: matmul(a, b, device=device, preset=_PRESET))


def _golden_mips() -> float:
    with open_device("golden", _PRESET) as device:
        start_loop(device, SCALAR_LOOP)
        rate = _rate(_GOLDEN_INSTRUCTIONS, partial(device.link.run, _GOLDEN_INSTRUCTIONS))
        _require_running(device)
        return rate / 1e6


def macs_per_cycle(key: str) -> float:
    """Return multiply-adds per cycle of the product that a metric is about."""
    kind, size, _ = _PRODUCTS[key]
    a, b = np.random.default_rng(1).standard_normal((2, size, size)).astype(np.float32)
    with open_device("rtl", _PRESET) as device:
        if kind == "fp32":
            sgemm(a, b, device=device)
        elif kind == "bf16":
            matmul(a.astype(ml_dtypes.bfloat16), b.astype(ml_dtypes.bfloat16), device=device)
        else:
            matmul(Cfp8Array.from_float(a, _CFP8), Cfp8Array.from_float(b, _CFP8), device=device)
        return size**3 / device.counters()[CounterRegister.CYCLES]


def _ipc(rate: Callable[[Device], float]) -> float:
    with open_device("rtl", _PRESET) as device:
        return rate(device)


def _mesh8_uniform_saturation() -> float:
    return saturation(MeshModel(8, 8), Pattern.UNIFORM).accepted


def _time_process(program: str, environment: Mapping[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=os.environ | environment, check=True)
    return time.perf_counter() - started


def _first_result_s() -> float:
    program = "import d1, d1.bench; d1.matmul(*d1.bench._operands(), device='rtl')"
    _time_process(program, {})  # warms the caches up
    return statistics.median(_time_process(program, {}) for _ in range(3))


def _on_die(figure: Callable[[Mesh], float]) -> float:
    with open_mesh("rtl", DIES["d1"]) as mesh:
        return figure(mesh)


def _verilator_build_s() -> float:
    with tempfile.TemporaryDirectory() as folder:
        program = f"import d1; d1.open('rtl', preset={_PRESET!r}).close()"
        return _time_process(program, {"D1_CACHE": folder})
