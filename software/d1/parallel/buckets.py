"""Sums over all nodes that nobody waits for are done together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from d1.compiler.ir import AllReduce, Graph, Kernel, reads
from d1.parallel.all_reduce import inbox_tensor

__all__ = ["bucketed"]

#: Bytes of tensors that are enough for one sum.
_BUCKET_BYTES = 1 << 16


def bucketed(graph: Graph, bucket_bytes: int = _BUCKET_BYTES) -> Graph:
    """Return a graph in which sums that are only outputs wait for each other.

    A bucket is summed up when it is full, so that what it was made of is gone early.
    """
    needed = {tensor for kernel in graph.kernels for tensor in reads(kernel)}
    kernels: list[Kernel] = []
    waiting: dict[tuple[str, tuple[int, int]], list[AllReduce]] = {}
    for kernel in graph.kernels:
        if not isinstance(kernel, AllReduce) or not needed.isdisjoint(kernel.results):
            kernels.append(kernel)
            continue
        bucket = waiting.setdefault((kernel.instruction, kernel.nodes), [])
        bucket.append(kernel)
        if sum(source.bytes for one in bucket for source in one.sources) >= bucket_bytes:
            kernels.append(_together(graph, bucket))
            bucket.clear()
    kernels += [_together(graph, bucket) for bucket in waiting.values() if bucket]
    return replace(graph, kernels=kernels)


def _together(graph: Graph, bucket: Sequence[AllReduce]) -> AllReduce:
    first = bucket[0]
    sources = tuple(source for one in bucket for source in one.sources)
    results = tuple(result for one in bucket for result in one.results)
    inbox = inbox_tensor(graph.params, sources, first.nodes, first.inbox.name)
    operators = tuple(operator for one in bucket for operator in one.operators)
    return AllReduce(sources, results, inbox, first.instruction, first.nodes, operators)
