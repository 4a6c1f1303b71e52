"""About how many cycles a graph takes on each of its nodes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import ceil, prod

from d1_golden.params import LINE_BYTES, NodeParams

from d1.compiler.cost import kernel_cost
from d1.compiler.executable import lower
from d1.compiler.ir import (
    AllReduce,
    Choice,
    Graph,
    Kernel,
    Product,
    Receive,
    Repeat,
    Send,
    Tensor,
    flat,
)
from d1.compiler.kernel_key import kernel_key

__all__ = ["Estimate", "PipelineEstimate", "estimated", "kernel_cycles", "pipeline_estimated"]

#: Cycles of a sum over nodes, of the lines of a tensor to one node, of each line; fitted to sums of
#: up to 64 KiB over 4 and 16 nodes on the RTL of preset d1, of which the last is in the benchmarks.
_SUM, _TRANSFER, _LINE = 300.0, 2.4, 3.8

#: Cycles of sending and of receiving, and of each line sent; fitted to pipelines of preset tiny.
_SEND, _RECEIVE, _SENT_LINE = 120.0, 60.0, 2.0

#: What kernels take, by what their code follows from.
_known: dict[Hashable, float] = {}


@dataclass(frozen=True)
class Estimate:
    """Cycles, by what takes them.

    Parameters
    ----------
    products, loops, sums
        Of products, of all else that a node computes, of sums over nodes.

    """

    products: float
    loops: float
    sums: float

    @property
    def total(self) -> float:
        """All cycles."""
        return self.products + self.loops + self.sums

    def __str__(self) -> str:
        return (
            f"{self.total:,.0f} cycles: products {self.products:,.0f}, loops {self.loops:,.0f}, "
            f"sums over nodes {self.sums:,.0f}"
        )


@dataclass(frozen=True)
class PipelineEstimate:
    """Cycles of a pipeline.

    Parameters
    ----------
    total
        From the start to the end of the last stage.
    stages
        Cycles for which each has something to do.
    micro_batches
        Parts of the batch.

    """

    total: float
    stages: tuple[float, ...]
    micro_batches: int

    def __str__(self) -> str:
        stages = ", ".join(f"{cycles:,.0f}" for cycles in self.stages)
        plural = "es" if self.micro_batches > 1 else ""
        return (
            f"{self.total:,.0f} cycles: {self.micro_batches} micro-batch{plural}, "
            f"stages busy for {stages}"
        )


def estimated(graph: Graph) -> Estimate:
    """Return about how many cycles a graph takes on each of its nodes.

    Kernels are estimated from their code (`d1.compiler.cost`), sums over nodes by their lines.

    Raises
    ------
    RegisterPressureError
        A kernel needs more registers than a thread has.

    """
    products = loops = sums = 0.0
    for kernel in flat(graph.kernels):
        cycles = kernel_cycles(kernel, graph.params)
        match kernel:
            case AllReduce():
                sums += cycles
            case Product():
                products += cycles
            case _:
                loops += cycles
    return Estimate(products, loops, sums)


def pipeline_estimated(stages: Sequence[Graph], micro_batches: int) -> PipelineEstimate:
    """Return about how many cycles the stages of a pipeline take together.

    Parameters
    ----------
    stages
        What each computes, in the order in which work flows.
    micro_batches
        Parts of the batch.

    """
    there: dict[tuple[int, Tensor], float] = {}
    ends, busy = [], []
    for number, graph in enumerate(stages):
        now = waited = 0.0
        for kernel in graph.kernels:
            if isinstance(kernel, Receive):
                come = max(there[number, tensor] for tensor in kernel.tensors)
                waited += max(0.0, come - now)
                now = max(now, come)
            now += kernel_cycles(kernel, graph.params)
            if isinstance(kernel, Send):
                there |= {(node, tensor): now for tensor, node, _ in kernel.parcels}
        ends.append(now)
        busy.append(now - waited)
    return PipelineEstimate(max(ends), tuple(busy), micro_batches)


def kernel_cycles(kernel: Kernel, params: NodeParams) -> float:
    """Return about how many cycles a kernel takes, of several each once."""
    match kernel:
        case AllReduce():
            return _sum_cycles(kernel)
        case Receive():
            return _RECEIVE
        case Send():
            return _SEND + _SENT_LINE * sum(_lines(tensor) for tensor, _, _ in kernel.parcels)
        case Choice() | Repeat():
            return sum(kernel_cycles(part, params) for part in flat([kernel]))
        case _:
            key = params, kernel_key(kernel)[0]
            if key not in _known:
                _known[key] = kernel_cost(lower(kernel, params), params).cycles
            return _known[key]


def _sum_cycles(kernel: AllReduce) -> float:
    """Return about how many cycles a sum over nodes takes."""
    lines = sum(map(_lines, kernel.sources))
    return _SUM + _TRANSFER * len(kernel.sources) * prod(kernel.nodes) + _LINE * lines


def _lines(tensor: Tensor) -> int:
    return ceil(tensor.bytes / LINE_BYTES)
