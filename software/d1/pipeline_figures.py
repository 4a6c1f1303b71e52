"""How much faster a perceptron is as a pipeline on four nodes than on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from d1.device import shared_device

__all__ = ["BATCHES", "FIGURES", "NODES", "Run", "measured", "read_pipeline_figures", "steady"]

#: Where tools/measure_pipeline.py keeps the figures.
FIGURES = Path(__file__).parents[2] / "docs" / "pipeline_figures.json"
#: Batches, of micro-batches of some sequences; columns and rows of nodes.
BATCHES, MICRO_BATCH, NODES = (32, 64, 128, 256), 16, (2, 2)
_PRESET = "tiny"
_LAYERS, _WIDTH = 4, 32


class Run(NamedTuple):
    """Cycles of a forward graph on the RTL, without the host's transfers.

    Parameters
    ----------
    batch
        Sequences.
    micro_batches
        Parts of it in the pipeline.
    one, many
        On one node, and on all.

    """

    batch: int
    micro_batches: int
    one: int
    many: int

    @property
    def speedup(self) -> float:
        """How much faster the pipeline is."""
        return self.one / self.many


def measured(batch: int) -> Run:
    """Run a perceptron of as many layers as there are nodes, all alike, on RTL; return the cycles.

    Raises
    ------
    DeviceError
        A node failed.
    RuntimeError
        The results differ.

    """
    import torch
    from torch import nn

    import d1.torch

    torch.manual_seed(1)
    layers = [part for _ in range(_LAYERS) for part in (nn.Linear(_WIDTH, _WIDTH), nn.ReLU())]
    model, x = nn.Sequential(*layers), torch.randn(batch, _WIDTH)
    node = shared_device("rtl", _PRESET)
    micro_batches = batch // MICRO_BATCH

    def run(**options: Any) -> tuple[torch.Tensor, int]:
        torch._dynamo.reset()
        options = {"device": "rtl", "preset": _PRESET} | options
        before = node.call_cycles + d1.torch.statistics().mesh_cycles
        with torch.no_grad():
            result = torch.compile(model, backend="d1", options=options, dynamic=False)(x)
        return result, node.call_cycles + d1.torch.statistics().mesh_cycles - before

    expected, one = run()
    result, many = run(nodes=NODES, parallel="pipeline", micro_batches=micro_batches)
    if not torch.equal(result, expected):
        raise RuntimeError("results of a pipeline must be those of one node, not others")
    return Run(batch, micro_batches, one, many)


def steady(runs: list[Run]) -> float:
    """Return how much faster a full pipeline is: by what the last doubling of the batch costs."""
    *_, half, whole = runs
    return (whole.one - half.one) / (whole.many - half.many)


def read_pipeline_figures() -> list[Run]:
    """Return what was measured."""
    return [Run(**row) for row in json.loads(FIGURES.read_text())]
