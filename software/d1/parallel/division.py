"""A graph divided over nodes, ready to be compiled: what it should take, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from d1.compiler.builder import Value
from d1.compiler.cfp8_operands import use_cfp8
from d1.compiler.executable import Program, build
from d1.compiler.ir import AllReduce, Graph, Tensor
from d1.compiler.memory_plan import plan_memory
from d1.compiler.passes import optimized
from d1.device import data_region
from d1.errors import SramOverflowError
from d1.fabric.collectives import Group
from d1.parallel.buckets import bucketed
from d1.parallel.cost_model import (
    Estimate,
    PipelineEstimate,
    estimated,
    kernel_cycles,
    pipeline_estimated,
)
from d1.parallel.mesh_program import MeshRun, Words, path, run_on_mesh, run_pipeline
from d1.parallel.partition import Partition, PartitionError
from d1.parallel.pipeline import Pipeline, pipelined
from d1.parallel.placement import Placement, Split
from d1.parallel.stages import Phases, balanced, following, phases

__all__ = ["Division", "Level", "in_stages", "over_nodes"]

#: What a kernel takes in its program's tables, about.
_KERNEL_BYTES = 160


class Level(NamedTuple):
    """A way of dividing a graph, and in how many parts."""

    partition: Partition
    parts: int


@dataclass(frozen=True)
class Division:
    """A graph as several nodes compute it.

    Parameters
    ----------
    kind
        "data", "tensor", "data x tensor" or "pipeline".
    levels
        How inputs and outputs are divided, over nodes or in a pipeline in micro-batches: the parts
        of each level are divided once more by the next.
    graph, packed
        What is computed of a part, as `optimized` gives it.
    estimate
        What it should take.
    pipeline
        The stages, if it is one.
    path
        Of each stage the number of its node, along `mesh_program.path`.
    homes
        The last of these that has an input or an output of the whole graph.

    """

    kind: str
    levels: tuple[Level, ...]
    graph: Graph
    packed: dict[Tensor, Value]
    estimate: Estimate | PipelineEstimate
    pipeline: Pipeline | None = None
    path: tuple[int, ...] = ()
    homes: Mapping[Tensor, int] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """In how many parts inputs are that are divided by all levels."""
        return prod(level.parts for level in self.levels)

    def origin(self, tensor: Tensor) -> Tensor:
        """Return of which input of the whole graph, or of which number of parts, an input is."""
        return self._descent(tensor)[-1]

    def split(self, tensor: Tensor) -> list[tuple[Placement, int]]:
        """Return how an input of the whole graph is divided by each level so that it is this."""
        of_levels = zip(self._descent(tensor), reversed(self.levels), strict=False)
        return [(level.partition.inputs[part][1], level.parts) for part, level in of_levels][::-1]

    def numbers(self) -> dict[Tensor, list[int]]:
        """Return the inputs that are numbers of parts, with what they are for each part."""
        found = {}
        inner = 1
        for level in reversed(self.levels):
            for tensor in self.graph.inputs:
                if self.origin(tensor) is level.partition.rank:
                    found[tensor] = [n // inner % level.parts for n in range(self.parts)]
            inner *= level.parts
        return found

    def _descent(self, tensor: Tensor) -> list[Tensor]:
        """Return an input, of which input of the level before it is a part, and so on."""
        tensors = [tensor]
        for level in reversed(self.levels):
            if tensors[-1] not in level.partition.inputs:
                break
            tensors.append(level.partition.inputs[tensors[-1]][0])
        return tensors

    def build(self) -> Program:
        """Return the program; of a pipeline those of its stages, as its parts.

        Raises
        ------
        SramOverflowError
            A kernel or a stage does not fit in the SRAM of a node.

        """
        if self.pipeline is None:
            return build(self.graph)
        programs = [build(stage) for stage in self.pipeline.stages]
        if any(len(program.parts) > 1 for program in programs):
            raise SramOverflowError("a stage of a pipeline must fit in the SRAM of a node")
        return Program(self.graph, tuple(part for program in programs for part in program.parts))

    def run(self, program: Program, group: Group, inputs: Mapping[Tensor, Words]) -> MeshRun:
        """Run the program.

        Parameters
        ----------
        program
            From `build`.
        group
            The nodes.
        inputs
            The words of each input of the graph, for every part.

        Raises
        ------
        DeviceError
            A node failed; all have been reset.

        """
        if self.pipeline is None:
            return run_on_mesh(program, group, inputs)
        nodes = path(group)
        places = [nodes[number] for number in self.path]
        return run_pipeline(self.pipeline, program, places, group, inputs)


def over_nodes(kind: str, *levels: Level, cfp8: bool = False) -> Division:
    """Return a graph that all nodes compute at the same time, each its part.

    Parameters
    ----------
    kind
        "data", "tensor" or "data x tensor".
    levels
        The parts; each but the first is of those of the one before.
    cfp8
        Whether products multiply CFP8; for one level alone.

    """
    graph, packed = _optimized(levels[-1].partition, cfp8)
    graph = bucketed(graph)
    return Division(kind, levels, graph, packed, estimated(graph))


def in_stages(
    partition: Partition,
    micro_batches: int,
    nodes: int,
    homes: Mapping[Tensor, int] | None = None,
    *,
    cfp8: bool = False,
) -> Division:
    """Return a graph that micro-batches flow through, from node to node.

    Parameters
    ----------
    partition
        A micro-batch, as one of so many nodes would compute its part.
    micro_batches
        Parts of the batch.
    nodes
        The most stages.
    homes
        Of a backward graph: on which nodes its inputs are at home. It flows back through them. A
        forward graph is divided so that all stages take about the same.
    cfp8
        Whether products multiply CFP8.

    Raises
    ------
    PartitionError
        A stage does not fit in the SRAM of a node, or receives from too many.

    """
    graph, packed = _optimized(partition, cfp8)
    rows = {t: packed[t].ref.tensor if t in packed else t for t in graph.inputs}
    wholes = {t: partition.inputs[own][0] for t, own in rows.items() if own in partition.inputs}
    known = phases(graph, [t for t, own in rows.items() if _varies(own, partition)])
    last = nodes - 1
    if homes is None:
        numbers = balanced(graph, _cycles(graph, known, micro_batches), nodes)
    else:
        flow = {t: last - homes[whole] for t, whole in wholes.items() if whole in homes}
        numbers = following(graph, flow)
    pipeline = pipelined(graph, known, numbers, micro_batches)
    for stage in pipeline.stages:
        _require_room(stage)
    wholes |= {part: whole for whole, (part, _) in partition.outputs.items()}
    nodes_of = {n: n if homes is None else last - n for n in pipeline.numbers}
    return Division(
        "pipeline",
        (Level(partition, micro_batches),),
        graph,
        packed,
        pipeline_estimated(pipeline.stages, micro_batches),
        pipeline,
        tuple(nodes_of.values()),
        {wholes[t]: nodes_of[n] for t, n in pipeline.homes.items() if t in wholes},
    )


def _optimized(partition: Partition, cfp8: bool) -> tuple[Graph, dict[Tensor, Value]]:
    if cfp8:
        use_cfp8(partition.builder, partition.own, partition.rank)
    return optimized(partition.graph)


def _varies(tensor: Tensor, partition: Partition) -> bool:
    """Return whether an input is another one for each micro-batch."""
    if tensor is partition.rank:
        return True
    return tensor in partition.inputs and isinstance(partition.inputs[tensor][1], Split)


def _cycles(graph: Graph, known: Phases, micro_batches: int) -> list[float]:
    """Return about how many cycles each kernel takes for all micro-batches, of those in stages."""
    return [
        0.0
        if isinstance(kernel, AllReduce)
        else (micro_batches if phase.varies else 1) * kernel_cycles(kernel, graph.params)
        for kernel, phase in zip(graph.kernels, known.kernels, strict=True)
    ]


def _require_room(stage: Graph) -> None:
    """Refuse a stage that cannot fit; `Division.build` knows exactly."""
    params = stage.params
    needed = plan_memory(stage).peak + _KERNEL_BYTES * len(stage.kernels)
    room = data_region(params).size
    if needed > room:
        raise PartitionError(f"a stage needs about {needed} of the {room} bytes of a node")
