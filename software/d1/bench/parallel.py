"""How much faster many nodes are than one."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from d1_golden.params import preset

from d1.bench.metric import PRESET, Metric
from d1.compiler.executable import build
from d1.compiler.ir import AllReduce, DType, Graph, Tensor
from d1.device import shared_device
from d1.examples import load_example
from d1.parallel.all_reduce import inbox_tensor
from d1.parallel.mesh_program import run_on_mesh
from d1.parallel.shared_group import shared_group

__all__ = ["PARALLEL_METRICS"]

#: Sequences of a step, and those that one node takes at a time: more do not fit in its SRAM.
_BATCH, _AT_A_TIME = 64, 32
_NODES = (4, 4)
_SUM_BYTES = 1 << 16


def _gpt_cycles(nodes: tuple[int, int], batch: int) -> int:
    """Return the cycles of programs for the loss and the gradients of the example's GPT."""
    import torch

    import d1.torch

    example = load_example("gpt_sort")
    torch.manual_seed(1)
    model = example.Sorter()
    tokens = example.sequences(batch, torch.Generator().manual_seed(1))
    options: dict[str, Any] = {"device": "rtl", "preset": PRESET, "nodes": nodes}
    run = torch.compile(model, backend="d1", options=options, dynamic=False)
    one = shared_device("rtl", PRESET)
    torch._dynamo.reset()
    before = one.call_cycles + d1.torch.statistics().mesh_cycles
    run(tokens).backward()
    return one.call_cycles + d1.torch.statistics().mesh_cycles - before


@cache
def _cycles() -> tuple[int, int]:
    """Return the cycles on one node, which takes the batch in turns, and on sixteen."""
    turns = _BATCH // _AT_A_TIME
    return turns * _gpt_cycles((1, 1), _AT_A_TIME), _gpt_cycles(_NODES, _BATCH)


def _speedup() -> float:
    one, many = _cycles()
    return one / many


def _sum_cycles() -> int:
    """Return the cycles of a program that is one sum over the nodes."""
    params = preset(PRESET)
    source, result = (
        Tensor(
            name,
            (_SUM_BYTES // params.vector_bytes, params.fp32_lanes),
            DType.F32,
            params.fp32_lanes,
        )
        for name in ("source", "result")
    )
    inbox = inbox_tensor(params, [source], _NODES, "inbox")
    kernel = AllReduce((source,), (result,), inbox, "vfadd.f32", _NODES)
    program = build(Graph(params, [source], [result], [kernel]))
    group = shared_group("rtl", PRESET, _NODES)
    words = len(group.members) * [np.zeros(source.words, np.uint32)]
    return run_on_mesh(program, group, {source: words}).cycles


PARALLEL_METRICS: tuple[Metric, ...] = (
    Metric(
        "gpt_step_speedup_16_nodes",
        "1",
        f"RTL, loss and gradients of the GPT that sorts, {_BATCH} sequences on 4 x 4 nodes against "
        f"the same in {_BATCH // _AT_A_TIME} turns of {_AT_A_TIME} on one node (strong scaling), "
        "sums between nodes included, the host's transfers on neither",
        _speedup,
        lambda _: 12.0,
        takes_minutes=True,
    ),
    Metric(
        "gpt_step_cycles_16_nodes",
        "cycles",
        f"the same, {_BATCH} sequences on 4 x 4 nodes",
        lambda: float(_cycles()[1]),
        takes_minutes=True,
    ),
    Metric(
        "graph_allreduce_64KiB_cycles",
        "cycles",
        "RTL of 4 x 4 nodes, a program that sums up 64 KiB of FP32 over them, with its start",
        lambda: float(_sum_cycles()),
    ),
)
