"""Graphs of a model on a rectangle of nodes: which inputs are divided, and what comes back."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch._guards import TracingContext
from torch.fx import GraphModule, Node

from d1.compiler.builder import Value
from d1.compiler.ir import Graph, Tensor
from d1.compiler.passes import optimized
from d1.parallel.cost_model import Estimate, PipelineEstimate, estimated
from d1.parallel.division import Division, in_stages, over_nodes
from d1.parallel.partition import Partition, PartitionError, partitioned
from d1.parallel.placement import Placement, Split, walked
from d1.parallel.tensor_parallel import tensor_parallel
from d1.torch.configuration import Settings
from d1.torch.types import to_words

__all__ = ["Parallelism", "parts", "whole"]

_Words = NDArray[np.uint32]
_ONE_NODE = "one node"
#: More make each stage's program longer for little.
_MOST_MICRO_BATCHES = 16
#: The arguments that inputs of a graph are, and how they lie in them.
Inputs = Mapping[Tensor, tuple[Node, Value]]


@dataclass
class Parallelism:
    """What is known of how the graphs of one model are divided.

    The forward graph comes first. What it says of its outputs tells how the backward graph, which
    is given them, is divided best; any choice would be right, since the host has all of each.

    Members
    -------
    batch
        The size of the dimension that inputs begin with.
    fixed
        Names of inputs that are parameters or buffers.
    splits
        By name of a node: how the nodes have it.
    shapes
        Shapes of results that are divided along their first dimension.
    is_backward
        Whether the forward graph has been compiled.
    kind
        What was chosen for it, if it was not told.
    homes
        Of a pipeline, by name of a node: the last of its nodes that has it.

    """

    batch: int | None = None
    fixed: set[str] = field(default_factory=set)
    splits: dict[str, Split] = field(default_factory=dict)
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    is_backward: bool = False
    kind: str = _ONE_NODE
    homes: dict[str, int] = field(default_factory=dict)

    def begin(self, module: GraphModule) -> None:
        """Look at a whole graph before it is compiled."""
        if self.batch is not None:
            self.is_backward = True
            return
        inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
        context = TracingContext.try_get()
        metadata = context.fw_metadata if context is not None else None
        fixed = metadata.static_input_indices if metadata is not None else []
        self.fixed = {inputs[n].name for n in fixed}
        sizes = [
            node.meta["val"].shape[0]
            for node in inputs
            if node.name not in self.fixed and _dimensions(node)
        ]
        self.batch = sizes[0] if sizes else 0

    def divided(
        self, graph: Graph, chosen: Settings, inputs: Inputs, results: Sequence[tuple[Node, Value]]
    ) -> Division | None:
        """Return a graph as nodes compute it, or None if it runs on one node.

        A graph that cannot be divided as it should be warns. One that may be divided in several
        ways prints what each should take.

        Parameters
        ----------
        graph
            As the operators were lowered.
        chosen
            Where it is to run, and how it is to be divided.
        inputs
            The arguments that its inputs are, and how they lie in them.
        results
            What it returns, with the nodes of PyTorch's graph.

        """
        kinds = [chosen.parallel]
        if chosen.parallel == "auto":
            kinds = [self.kind] if self.is_backward else ["data", "tensor", "pipeline"]
        found: dict[str, Division] = {}
        refused: dict[str, str] = {}
        for kind in kinds:
            for name, divide in self._ways(graph, kind, chosen, inputs):
                try:
                    found[name] = divide()
                except PartitionError as error:
                    refused[name] = str(error)
        estimates: dict[str, Estimate | PipelineEstimate] = {}
        if chosen.parallel == "auto":
            estimates[_ONE_NODE] = estimated(optimized(graph)[0])
        estimates |= {name: division.estimate for name, division in found.items()}
        if not found and chosen.parallel != "auto":
            reasons = "; ".join(dict.fromkeys(refused.values()))
            warnings.warn(f"a graph runs on one node: {reasons}", stacklevel=2)
            return None
        name = min(estimates, key=lambda name: estimates[name].total)
        if len(estimates) + len(refused) > 1:
            _print_choice(graph, chosen.nodes, estimates, refused, name)
        division = found.get(name)
        self.kind = division.kind if division is not None else _ONE_NODE
        if division is not None:
            self._remember(division, inputs, results)
        return division

    def _ways(
        self, graph: Graph, kind: str, chosen: Settings, inputs: Inputs
    ) -> Iterator[tuple[str, Callable[[], Division]]]:
        """Yield the ways in which a graph may be divided: a name, and what does it."""
        nodes = math.prod(chosen.nodes)
        if kind in ("data", "tensor"):
            yield (
                kind,
                lambda: over_nodes(kind, self._partition(graph, chosen.nodes, kind, inputs), nodes),
            )
        if kind != "pipeline":
            return
        batch = self.batch or 1
        counts = [chosen.micro_batches] if chosen.micro_batches else _divisors(batch)
        homes = None
        if self.is_backward:
            named = ((tensor, self.homes.get(node.name)) for tensor, (node, _) in inputs.items())
            homes = {tensor: home for tensor, home in named if home is not None}
        for count in counts:
            plural = "es" if count > 1 else ""

            def divide(count: int = count) -> Division:
                partition = self._micro_batch(graph, count, inputs)
                return in_stages(partition, count, nodes, homes)

            yield f"pipeline of {count} micro-batch{plural}", divide

    def _micro_batch(self, graph: Graph, count: int, inputs: Inputs) -> Partition:
        """Return what is computed of a micro-batch: what one of so many nodes would compute."""
        if count == 1:
            return partitioned(graph, (1, 1), {})
        return self._partition(graph, (count, 1), "data", inputs)

    def _partition(
        self, graph: Graph, nodes: tuple[int, int], kind: str, inputs: Inputs
    ) -> Partition:
        if kind == "tensor" and not self.is_backward:
            weights = [tensor for tensor, (node, _) in inputs.items() if node.name in self.fixed]
            return tensor_parallel(graph, nodes, weights)
        splits = {
            tensor: split
            for tensor, (node, value) in inputs.items()
            if (split := self._split_in_memory(node, value, math.prod(nodes)))
        }
        if not splits:
            raise PartitionError("none of its inputs is divided")
        return partitioned(graph, nodes, splits)

    def _remember(
        self, division: Division, inputs: Inputs, results: Sequence[tuple[Node, Value]]
    ) -> None:
        """Note how inputs and results are divided, for the backward graph."""
        partition = division.partition
        used: dict[Tensor, set[Placement]] = {}
        for tensor, placement in partition.inputs.values():
            used.setdefault(tensor, set()).add(placement)
        lying = [(*inputs[tensor], kinds) for tensor, kinds in used.items() if tensor in inputs]
        lying += [(n, value, {partition.placements[value.ref.tensor]}) for n, value in results]
        for node, value, kinds in lying:
            if value.ref.tensor in division.homes:
                self.homes[node.name] = division.homes[value.ref.tensor]
            for j in range(len(value.shape)):
                split = walked(value.ref, value.shape, j, division.parts)
                if split is not None and kinds == {split}:
                    self.splits[node.name] = Split(j)
                    if j == 0:
                        self.shapes.add(value.shape)

    def _split_in_memory(self, node: Node, value: Value, nodes: int) -> Split | None:
        """Return how the tensor of an argument is split.

        Raises
        ------
        PartitionError
            Its size is no multiple of the number of nodes.

        """
        wanted = self._split_of(node)
        if wanted is None:
            return None
        split = walked(value.ref, value.shape, wanted.dim, nodes)
        if split is None:
            raise PartitionError(
                f"dimension {wanted.dim} of {node.name}, {value.shape}, is no multiple of {nodes}"
            )
        return split

    def _split_of(self, node: Node) -> Split | None:
        if node.name in self.splits:
            return self.splits[node.name]
        if node.name in self.fixed or not _dimensions(node):
            return None
        shape = tuple(node.meta["val"].shape)
        if node.name.startswith("tangents"):
            return Split(0) if shape in self.shapes else None
        # What else only the backward graph has is whole.
        return Split(0) if shape[0] == self.batch and not self.is_backward else None


def _print_choice(
    graph: Graph,
    nodes: tuple[int, int],
    estimates: Mapping[str, Estimate | PipelineEstimate],
    refused: Mapping[str, str],
    chosen: str,
) -> None:
    """Say what was thought of, and what was chosen."""
    lines = [f"d1: a graph of {len(graph.kernels)} operations on {nodes[0]} x {nodes[1]} nodes"]
    lines += [f"  {name}: about {estimate}" for name, estimate in estimates.items()]
    lines += [f"  {name}: not possible, {reason}" for name, reason in refused.items()]
    print("\n".join([*lines, f"  chosen: {chosen}"]), file=sys.stderr)


def _divisors(size: int) -> list[int]:
    """Return in how many equal micro-batches a batch may be divided."""
    most = min(size, _MOST_MICRO_BATCHES)
    return [count for count in range(1, most + 1) if size % count == 0]


def _dimensions(node: Node) -> int:
    value = node.meta.get("val")
    return value.dim() if isinstance(value, torch.Tensor) else 0


def parts(
    tensor: Tensor, value: torch.Tensor, shape: Sequence[int], placement: Placement, nodes: int
) -> list[_Words]:
    """Return what the host writes to each node.

    Parameters
    ----------
    tensor
        What a node has.
    value
        All of it.
    shape, placement
        Of all of it, and which part each node has.
    nodes
        How many.

    """
    if not isinstance(placement, Split):
        return nodes * [to_words(tensor, value)]
    pieces = value.reshape(tuple(shape)).chunk(nodes, placement.dim)
    return [to_words(tensor, piece) for piece in pieces]


def whole(tensor: Tensor, part: Tensor, placement: Placement, words: Sequence[_Words]) -> _Words:
    """Return the words of a tensor of which each node has a part.

    Parameters
    ----------
    tensor, part
        The whole and what a node has.
    placement
        Which part.
    words
        Of the nodes, in order.

    """
    if not isinstance(placement, Split):
        return words[0]
    sizes = (*part.shape[:-1], part.pitch)
    pieces = [w.reshape(sizes)[..., : part.shape[-1]] for w in words]
    joined = np.concatenate(pieces, axis=placement.dim)
    result = np.zeros((*tensor.shape[:-1], tensor.pitch), np.uint32)
    result[..., : tensor.shape[-1]] = joined
    return result.reshape(-1)
