"""What the node does in a cycle."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import ml_dtypes
import numpy as np
from d1_golden.memory_map import CounterRegister
from d1_golden.numerics import Cfp8Config, Cfp8Format
from d1_golden.params import preset

from d1.bench.metric import PRESET, Metric
from d1.device import Device, open_device
from d1.ipc import SCALAR_MIX, TOTAL_MIX, integer_ipc, mix_ipc
from d1.operands import Cfp8Array
from d1.operators import matmul, sgemm

__all__ = ["NODE_METRICS"]

_CFP8 = Cfp8Config(Cfp8Format.CFP8_1_4_3, bias=7)


def _product_metric(kind: str, size: int, bar: float) -> Metric:
    """Return the multiply-adds per cycle of a product."""
    fp32 = kind == "fp32"
    name, unit = ("sgemm", "fma") if fp32 else ("gemm", "mac")
    most = preset(PRESET).fp32_lanes if fp32 else preset(PRESET).macs_per_step
    return Metric(
        f"{name}_{kind}_{size}_{unit}_per_cycle",
        f"{unit.upper()}/cycle",
        f"{size} x {size} x {size} {kind.upper()} on the RTL, SRAM to SRAM, of {most} at most",
        partial(_multiply_adds_per_cycle, kind, size),
        lambda _: bar,
    )


def _multiply_adds_per_cycle(kind: str, size: int) -> float:
    a, b = np.random.default_rng(1).standard_normal((2, size, size)).astype(np.float32)
    with open_device("rtl", PRESET) as device:
        if kind == "fp32":
            sgemm(a, b, device=device)
        elif kind == "bf16":
            matmul(a.astype(ml_dtypes.bfloat16), b.astype(ml_dtypes.bfloat16), device=device)
        else:
            matmul(Cfp8Array.from_float(a, _CFP8), Cfp8Array.from_float(b, _CFP8), device=device)
        return size**3 / device.counters()[CounterRegister.CYCLES]


def _ipc(rate: Callable[[Device], float]) -> float:
    with open_device("rtl", PRESET) as device:
        return rate(device)


@cache
def _sram_bytes_per_cycle() -> dict[str, float]:
    from testbench.sram_streams import run_sram_streams

    return run_sram_streams(preset(PRESET)).bytes_per_cycle


NODE_METRICS: tuple[Metric, ...] = (
    _product_metric("bf16", 256, 243.0),
    _product_metric("bf16", 64, 205.0),
    _product_metric("cfp8", 256, 243.0),
    _product_metric("cfp8", 64, 205.0),
    _product_metric("fp32", 128, 14.4),
    Metric(
        "ipc_scalar_1thread",
        "IPC",
        "RTL, independent ALU instructions, loads and stores on one thread; 4 at most",
        partial(_ipc, partial(mix_ipc, source=SCALAR_MIX, threads=1)),
        lambda _: 3.8,
    ),
    Metric(
        "ipc_total_4threads",
        "IPC",
        "RTL, scalar, SIMD and matrix work on four threads; 6 at most",
        partial(_ipc, partial(mix_ipc, source=TOTAL_MIX, threads=4)),
        lambda _: 5.5,
    ),
    Metric(
        "coremark_like_ipc_1thread",
        "IPC",
        "RTL, the integer benchmark in C on one thread, start to end",
        partial(_ipc, partial(integer_ipc, threads=1)),
        lambda _: 1.2,
    ),
    Metric(
        "coremark_like_ipc_4threads",
        "IPC",
        "the same on four threads",
        partial(_ipc, partial(integer_ipc, threads=4)),
        lambda _: 2.5,
    ),
    Metric(
        "sram_bytes_per_cycle_read",
        "B/cycle",
        "RTL of the SRAM, all ports busy in banks of their own; 200 at most",
        lambda: _sram_bytes_per_cycle()["r"],
        lambda _: 190,
    ),
    Metric(
        "sram_bytes_per_cycle_write",
        "B/cycle",
        "the same; 136 at most",
        lambda: _sram_bytes_per_cycle()["w"],
        lambda _: 129,
    ),
)
