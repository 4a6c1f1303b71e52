"""What the compiler makes of models, and how long it takes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from d1_golden.memory_map import CounterRegister

from d1.bench.metric import PRESET, Metric
from d1.device import shared_device
from d1.examples import load_example

__all__ = ["COMPILER_METRICS"]

#: Sizes of the layer, and sequences of a step of the GPT.
_ROWS, _FEATURES, _BATCH = 64, 256, 32


def _counted(device: str, run: Callable[[], object]) -> dict[CounterRegister, int]:
    """Return what the counters of the node have counted while something ran."""
    node = shared_device(device, PRESET)
    before = node.counters()
    run()
    return {name: value - before[name] for name, value in node.counters().items()}


def _compiled(function: Any, device: str) -> Any:
    import torch

    return torch.compile(
        function, backend="d1", options={"device": device, "preset": PRESET}, dynamic=False
    )


def _linear_macs_per_cycle() -> float:
    import torch

    torch.manual_seed(1)
    layer = torch.nn.Linear(_FEATURES, _FEATURES)
    rows = torch.randn(_ROWS, _FEATURES)
    run = _compiled(layer, "rtl")
    with torch.no_grad():
        counters = _counted("rtl", lambda: run(rows))
    return _ROWS * _FEATURES**2 / counters[CounterRegister.CYCLES]


def _gpt_step(device: str) -> Callable[[], None]:
    """Return a function that is a step of training of the example's GPT."""
    import torch

    example = load_example("gpt_sort")
    trainer = example.Trainer()
    tokens = example.sequences(_BATCH, torch.Generator().manual_seed(1))
    run = _compiled(trainer.step, device)

    def step() -> None:
        run(tokens)

    return step


def _gpt_fraction() -> float:
    """Return which part of the floating-point operations of a step the node computes."""
    from d1.torch import statistics
    from d1.torch.operations import HostOperations

    step = _gpt_step("golden")
    step()
    before = statistics().operations
    with HostOperations() as host:
        step()
    on_node = statistics().operations - before
    return on_node / (on_node + host.count)


@cache
def _gpt_counters() -> dict[CounterRegister, int]:
    return _counted("rtl", _gpt_step("rtl"))


def _gpt_macs_per_cycle() -> float:
    from d1_golden.params import preset

    counters = _gpt_counters()
    macs = counters[CounterRegister.MATRIX_STEPS] * preset(PRESET).macs_per_step
    return macs / counters[CounterRegister.CYCLES]


@cache
def _compile_milliseconds() -> dict[str, float]:
    """Return how long it takes to build the layer's program, without and with compiled kernels."""
    import torch

    from d1.compiler import objects
    from d1.compiler.executable import build, forget_lowered
    from d1.torch import capture

    with torch.no_grad():
        _compiled(torch.nn.Linear(_FEATURES, _FEATURES), "golden")(torch.ones(_ROWS, _FEATURES))
    graph = capture.programs[-1].graph

    def milliseconds() -> float:
        start = time.perf_counter()
        build(graph)
        return 1000 * (time.perf_counter() - start)

    before = os.environ.get("D1_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["D1_CACHE"] = folder
        try:
            objects.forget()
            forget_lowered()
            cold = milliseconds()
        finally:
            os.environ.pop("D1_CACHE")
            if before is not None:
                os.environ["D1_CACHE"] = before
    return {"cold": cold, "warm": milliseconds()}


def _memory_plan_ratio() -> float:
    from d1.torch import capture

    first = len(capture.programs)
    _gpt_step("golden")()
    programs = capture.programs[first:]
    peak = max(program.peak for program in programs)
    return peak / max(program.unplanned for program in programs)


COMPILER_METRICS: tuple[Metric, ...] = (
    Metric(
        "linear_256_b64_mac_per_cycle",
        "MAC/cycle",
        "RTL, `torch.compile` of a layer of 256 x 256 with bias, 64 rows; 256 at most",
        _linear_macs_per_cycle,
        lambda _: 205.0,
    ),
    Metric(
        "gpt_step_cycles",
        "cycles",
        f"RTL, a step of the GPT that sorts, {_BATCH} sequences: loss, gradients, AdamW",
        lambda: float(_gpt_counters()[CounterRegister.CYCLES]),
        takes_minutes=True,
    ),
    Metric(
        "gpt_step_mac_per_cycle",
        "MAC/cycle",
        "the same, multiply-accumulates of the matrix unit, padding included",
        _gpt_macs_per_cycle,
        takes_minutes=True,
    ),
    Metric(
        "gpt_step_fraction_on_d1",
        "1",
        "the same on the golden node, floating-point operations on the node of all of the step",
        _gpt_fraction,
        lambda _: 0.99,
        takes_minutes=True,
    ),
    Metric(
        "memory_plan_ratio",
        "1",
        "the GPT's step, most bytes of tensors in SRAM against those of all tensors of a graph",
        _memory_plan_ratio,
    ),
    *(
        Metric(
            f"compile_{kind}_ms",
            "ms",
            f"the layer of 256 x 256, from kernels to the program, {text}",
            partial(lambda kind: _compile_milliseconds()[kind], kind),
            (lambda _: 5.0) if kind == "warm" else None,
            is_cost=True,
        )
        for kind, text in (("cold", "nothing compiled before"), ("warm", "all compiled before"))
    ),
)
