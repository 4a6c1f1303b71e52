"""The passes over a graph, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from d1.compiler.builder import Value
from d1.compiler.expressions import Kind
from d1.compiler.fusion import fused
from d1.compiler.ir import (
    Choice,
    Graph,
    Kernel,
    Loops,
    Pack,
    Product,
    Repeat,
    Tensor,
    reads,
    writes,
)

__all__ = ["optimized", "packed_by_host", "without_dead_kernels"]


def optimized(graph: Graph) -> tuple[Graph, dict[Tensor, Value]]:
    """Return the graph that is to be run, and of which input what the host packs in tiles."""
    graph = _with_parts_optimized(without_dead_kernels(graph))
    graph = fused(graph)
    graph, packed = packed_by_host(graph)
    return without_dead_kernels(graph), packed


def _with_parts_optimized(graph: Graph) -> Graph:
    """Return a graph whose kernels that are made of several have better ones."""

    def better(kernels: Sequence[Kernel], results: Sequence[Tensor]) -> tuple[Kernel, ...]:
        part = Graph(graph.params, outputs=list(results), kernels=list(kernels))
        return tuple(fused(_with_parts_optimized(without_dead_kernels(part))).kernels)

    def change(kernel: Kernel) -> Kernel:
        match kernel:
            case Choice():
                return replace(
                    kernel,
                    then=better(kernel.then, kernel.results),
                    otherwise=better(kernel.otherwise, kernel.results),
                )
            case Repeat():
                # A move may write what another one reads only when all of the body has run.
                new = [tensor for move in kernel.moves for tensor in reads(move)]
                return replace(
                    kernel,
                    condition=better(kernel.condition, [kernel.predicate]),
                    body=better(kernel.body, new),
                )
            case _:
                return kernel

    return replace(graph, kernels=[change(kernel) for kernel in graph.kernels])


def without_dead_kernels(graph: Graph) -> Graph:
    """Return a graph without kernels that nobody needs, and inputs that nobody reads."""
    needed = set(graph.outputs)
    kernels: list[Kernel] = []
    for kernel in reversed(graph.kernels):
        if needed.isdisjoint(writes(kernel)):
            continue
        if isinstance(kernel, (Loops, Product)):
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
        # The format of CFP8 follows from the data, which the node looks at.
        by_node = isinstance(kernel, Pack) and kernel.format is not None
        if isinstance(kernel, Pack) and not by_node and kernel.value.kind is Kind.LOAD:
            ref = kernel.value.attribute
            if ref.tensor in graph.inputs:
                packed[kernel.target] = Value(ref, kernel.domain)
                continue
        kernels.append(kernel)
    return replace(graph, kernels=kernels, inputs=[*graph.inputs, *packed]), packed
