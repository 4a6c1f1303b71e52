"""Which weights are worth dividing over the nodes."""

from __future__ import annotations

from collections.abc import Sequence

from d1.compiler.ir import Graph, Pack, Tensor
from d1.parallel.cost_model import estimated
from d1.parallel.partition import Partition, PartitionError, partitioned
from d1.parallel.placement import Split

__all__ = ["tensor_parallel"]


def tensor_parallel(graph: Graph, nodes: tuple[int, int], weights: Sequence[Tensor]) -> Partition:
    """Return a graph with those weights divided whose division should save cycles.

    They are tried in order, each along both dimensions, and kept if the estimate gets less. What
    reads the columns that a divided weight gives is divided along its rows by itself, and summed up
    over the nodes: so a perceptron of two layers takes one sum over nodes.

    Parameters
    ----------
    graph
        As the operators were lowered, before fusion.
    nodes
        Columns and rows.
    weights
        Inputs that may be divided.

    Raises
    ------
    PartitionError
        None is worth it.

    """
    operands = {
        tensor
        for kernel in graph.kernels
        if isinstance(kernel, Pack)
        for tensor in kernel.value.tensors()
    }
    least = estimated(graph).total
    splits: dict[Tensor, Split] = {}
    best: Partition | None = None
    for weight in weights:
        if weight not in operands or len(weight.shape) != 2:
            continue
        for dim in (0, 1):
            try:
                tried = partitioned(graph, nodes, splits | {weight: Split(dim)})
            except PartitionError:
                continue
            cycles = estimated(tried.graph).total
            if cycles < least:
                best, least = tried, cycles
                splits[weight] = Split(dim)
    if best is None:
        raise PartitionError("no weight is worth dividing")
    return best
