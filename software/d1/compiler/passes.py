"""The passes over a graph, in order."""

from __future__ import annotations

from dataclasses import replace

from d1.compiler.builder import Value
from d1.compiler.expressions import Kind
from d1.compiler.fusion import fused
from d1.compiler.ir import AllReduce, Graph, Kernel, Pack, Tensor, reads, writes

__all__ = ["optimized", "packed_by_host", "without_dead_kernels"]


def optimized(graph: Graph) -> tuple[Graph, dict[Tensor, Value]]:
    """Return the graph that is to be run, and of which input what the host packs in tiles."""
    graph = without_dead_kernels(graph)
    graph = fused(graph)
    graph, packed = packed_by_host(graph)
    return without_dead_kernels(graph), packed


def without_dead_kernels(graph: Graph) -> Graph:
    """Return a graph without kernels that nobody needs, and inputs that nobody reads."""
    needed = set(graph.outputs)
    kernels: list[Kernel] = []
    for kernel in reversed(graph.kernels):
        if needed.isdisjoint(writes(kernel)):
            continue
        if not isinstance(kernel, (Pack, AllReduce)):
            stores = tuple(s for s in kernel.stores if s.target.tensor in needed)
            kernel = replace(kernel, stores=stores)
        needed |= set(reads(kernel))
        kernels.insert(0, kernel)
    inputs = [tensor for tensor in graph.inputs if tensor in needed]
    return replace(graph, kernels=kernels, inputs=inputs)


def packed_by_host(graph: Graph) -> tuple[Graph, dict[Tensor, Value]]:
    """Return a graph in which operands that are inputs come in tiles.

    Returns
    -------
    graph, packed
        `packed`: for each input in tiles which elements of which other input it is.

    """
    packed: dict[Tensor, Value] = {}
    kernels: list[Kernel] = []
    for kernel in graph.kernels:
        if isinstance(kernel, Pack) and kernel.value.kind is Kind.LOAD:
            ref = kernel.value.attribute
            if ref.tensor in graph.inputs:
                packed[kernel.target] = Value(ref, kernel.domain)
                continue
        kernels.append(kernel)
    return replace(graph, kernels=kernels, inputs=[*graph.inputs, *packed]), packed
