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
from d1.parallel.division import Division, Level, in_stages, over_nodes
from d1.parallel.partition import Partition, PartitionError, partitioned
from d1.parallel.placement import REPLICATED, Placement, Split, local_ref, walked
from d1.parallel.tensor_parallel import tensor_parallel
from d1.torch.configuration import Settings
from d1.torch.types import to_words

__all__ = ["Parallelism", "parts", "whole"]

_Words = NDArray[np.uint32]
_ONE_NODE = "one node"
_KINDS = ("data", "tensor", "data x tensor", "pipeline")
#: More make each stage's program longer for little.
_MOST_MICRO_BATCHES = 16
#: The arguments that inputs of a graph are, and how they lie in them.
Inputs = Mapping[Tensor, tuple[Node, Value]]
#: What a graph returns, with the nodes of PyTorch's graph.
Results = Sequence[tuple[Node, Value]]


@dataclass
class _Axis:
    """How the graphs of one model are divided along one side of a rectangle, or along all of it.

    Members
    -------
    splits
        By name of a node: how the nodes have it.
    shapes
        Shapes of results that are divided along their first dimension.

    """

    splits: dict[str, Split] = field(default_factory=dict)
    shapes: set[tuple[int, ...]] = field(default_factory=set)

    def remember(self, level: Level, inputs: Inputs, results: Results) -> None:
        """Note how inputs and results are divided, for the backward graph."""
        used: dict[Tensor, set[Placement]] = {}
        for tensor, placement in level.partition.inputs.values():
            used.setdefault(tensor, set()).add(placement)
        lying = [(*inputs[tensor], kinds) for tensor, kinds in used.items() if tensor in inputs]
        known = level.partition.placements
        lying += [(node, value, {known[value.ref.tensor]}) for node, value in results]
        for node, value, kinds in lying:
            for j in range(len(value.shape)):
                split = walked(value.ref, value.shape, j, level.parts)
                if split is not None and kinds == {split}:
                    self.splits[node.name] = Split(j)
                    if j == 0:
                        self.shapes.add(_shape(node))


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
    axes
        What is known of the first division, and of the division of its parts.
    is_backward
        Whether the forward graph has been compiled.
    kind
        What was chosen for it, if it was not told.
    homes
        Of a pipeline, by name of a node: the last of its nodes that has it.

    """

    batch: int | None = None
    fixed: set[str] = field(default_factory=set)
    axes: tuple[_Axis, _Axis] = field(default_factory=lambda: (_Axis(), _Axis()))
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
        self, graph: Graph, chosen: Settings, inputs: Inputs, results: Results
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
            kinds = [self.kind] if self.is_backward else list(_KINDS)
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
        columns, rows = chosen.nodes
        nodes, cfp8 = columns * rows, chosen.precision == "cfp8"
        if kind in ("data", "tensor"):
            yield (
                kind,
                lambda: over_nodes(kind, self._level(graph, chosen.nodes, kind, inputs), cfp8=cfp8),
            )
        if kind == "data x tensor" and not cfp8:
            yield kind, lambda: over_nodes(kind, *self._two_levels(graph, chosen.nodes, inputs))
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
                return in_stages(partition, count, nodes, homes, cfp8=cfp8)

            yield f"pipeline of {count} micro-batch{plural}", divide

    def _micro_batch(self, graph: Graph, count: int, inputs: Inputs) -> Partition:
        """Return what is computed of a micro-batch: what one of so many nodes would compute."""
        if count == 1:
            return partitioned(graph, (1, 1), {})
        return self._level(graph, (count, 1), "data", inputs).partition

    def _two_levels(
        self, graph: Graph, nodes: tuple[int, int], inputs: Inputs
    ) -> tuple[Level, Level]:
        """Return a graph whose batch is divided over rows of nodes, and weights over columns."""
        columns, rows = nodes
        if 1 in nodes:
            raise PartitionError(f"{columns} x {rows} nodes have one side alone")
        data = self._level(graph, (1, rows), "data", inputs)
        return data, self._level(
            data.partition.graph, (columns, 1), "tensor", _inputs(data, inputs), self.axes[1]
        )

    def _level(
        self,
        graph: Graph,
        nodes: tuple[int, int],
        kind: str,
        inputs: Inputs,
        axis: _Axis | None = None,
    ) -> Level:
        """Return a graph divided over nodes by data or weights."""
        axis = axis or self.axes[0]
        count = math.prod(nodes)
        if kind == "tensor" and not self.is_backward:
            weights = [tensor for tensor, (node, _) in inputs.items() if node.name in self.fixed]
            return Level(tensor_parallel(graph, nodes, weights), count)
        splits = {
            tensor: split
            for tensor, (node, value) in inputs.items()
            if (split := self._split_in_memory(axis, node, value, count))
        }
        if not splits:
            raise PartitionError("none of its inputs is divided")
        return Level(partitioned(graph, nodes, splits), count)

    def _remember(self, division: Division, inputs: Inputs, results: Results) -> None:
        """Note how inputs and results are divided, for the backward graph."""
        for node, value in (*inputs.values(), *results):
            if value.ref.tensor in division.homes:
                self.homes[node.name] = division.homes[value.ref.tensor]
        for axis, level in zip(self.axes, division.levels, strict=False):
            axis.remember(level, inputs, results)
            inputs, of = _inputs(level, inputs), level.partition.outputs
            results = [
                (node, _part(value, *of[value.ref.tensor], level.parts)) for node, value in results
            ]

    def _split_in_memory(self, axis: _Axis, node: Node, value: Value, nodes: int) -> Split | None:
        """Return how the tensor of an argument is split.

        Raises
        ------
        PartitionError
            Its size is no multiple of the number of nodes.

        """
        wanted = self._split_of(axis, node)
        if wanted is None:
            return None
        split = walked(value.ref, value.shape, wanted.dim, nodes)
        if split is None:
            raise PartitionError(
                f"dimension {wanted.dim} of {node.name}, {value.shape}, is no multiple of {nodes}"
            )
        return split

    def _split_of(self, axis: _Axis, node: Node) -> Split | None:
        if node.name in axis.splits:
            return axis.splits[node.name]
        if node.name in self.fixed or not _dimensions(node):
            return None
        shape = _shape(node)
        if node.name.startswith("tangents"):
            return Split(0) if shape in axis.shapes else None
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


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _inputs(level: Level, inputs: Inputs) -> dict[Tensor, tuple[Node, Value]]:
    """Return what the inputs of a part of a graph are of arguments."""
    found = {}
    for part, (tensor, placement) in level.partition.inputs.items():
        if tensor in inputs:
            node, value = inputs[tensor]
            found[part] = node, _part(value, part, placement, level.parts)
    return found


def _part(value: Value, part: Tensor, placement: Placement, count: int) -> Value:
    """Return what is in a part of its tensor of a value."""
    split = [
        j
        for j in range(len(value.shape))
        if walked(value.ref, value.shape, j, count) == placement != REPLICATED
    ]
    shape = tuple(size // count if j in split[:1] else size for j, size in enumerate(value.shape))
    return Value(local_ref(value.ref, part, placement), shape)


def parts(
    tensor: Tensor,
    value: torch.Tensor,
    shape: Sequence[int],
    placements: Sequence[tuple[Placement, int]],
) -> list[_Words]:
    """Return what the host writes to each node.

    Parameters
    ----------
    tensor
        What a node has.
    value, shape
        All of it, and its sizes in memory.
    placements
        Which part of it each node has, of how many; and again for the parts.

    """
    pieces = [value.reshape(tuple(shape))]
    for placement, count in placements:
        if isinstance(placement, Split):
            pieces = [part for piece in pieces for part in piece.chunk(count, placement.dim)]
        else:
            pieces = [piece for piece in pieces for _ in range(count)]
    words: dict[int, _Words] = {}
    for piece in pieces:
        if id(piece) not in words:
            words[id(piece)] = to_words(tensor, piece)
    return [words[id(piece)] for piece in pieces]


def whole(division: Division, tensor: Tensor, outputs: Mapping[Tensor, Sequence[_Words]]) -> _Words:
    """Return the words of an output of a graph of which each node has a part.

    Parameters
    ----------
    division
        Of the graph.
    tensor
        The output.
    outputs
        The words of the outputs of the nodes, in their order.

    """
    ways = []
    for level in division.levels:
        part, placement = level.partition.outputs[tensor]
        ways.append((tensor, part, placement, level.parts))
        tensor = part
    words = outputs[tensor]
    for result, part, placement, count in reversed(ways):
        ranges = (words[n : n + count] for n in range(0, len(words), count))
        words = [_joined(result, part, placement, those) for those in ranges]
    return words[0]


def _joined(tensor: Tensor, part: Tensor, placement: Placement, words: Sequence[_Words]) -> _Words:
    """Return the words of a tensor from those of its parts."""
    if not isinstance(placement, Split):
        return words[0]
    sizes = (*part.shape[:-1], part.pitch)
    pieces = [w.reshape(sizes)[..., : part.shape[-1]] for w in words]
    joined = np.concatenate(pieces, axis=placement.dim)
    result = np.zeros((*tensor.shape[:-1], tensor.pitch), np.uint32)
    result[..., : tensor.shape[-1]] = joined
    return result.reshape(-1)
