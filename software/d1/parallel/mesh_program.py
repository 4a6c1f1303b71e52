"""Runs programs on nodes of a group at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d1.compiler.executable import Executable, Program, cycle_limit
from d1.compiler.ir import AllReduce, Send, Tensor
from d1.device import Call
from d1.errors import SramOverflowError
from d1.fabric.collectives import Group
from d1.fabric.fan_out import Rectangle
from d1.parallel.all_reduce import blocks
from d1.parallel.handover import parcel_list
from d1.parallel.pipeline import Pipeline

__all__ = ["MeshRun", "path", "run_on_mesh", "run_pipeline"]

_Node = tuple[int, int]
#: What each node has of a tensor, in the order of the nodes.
Words = Sequence[NDArray[np.uint32]]


@dataclass(frozen=True)
class MeshRun:
    """What came of a program.

    Parameters
    ----------
    outputs
        The words of each output, of every node.
    cycles
        From the first start to the end of the last node, without the host's transfers; of several
        parts their sum.

    """

    outputs: Mapping[Tensor, Words]
    cycles: int


def run_on_mesh(program: Program, group: Group, inputs: Mapping[Tensor, Words]) -> MeshRun:
    """Run a program on all nodes of a group.

    Parameters
    ----------
    program
        The same for all nodes.
    group
        The nodes.
    inputs
        The words of each input, for every node.

    Raises
    ------
    DeviceError
        A node failed; all have been reset.
    SramOverflowError
        A kernel is in pieces, which is for one node alone.

    """
    if any(part.windows for part in program.parts):
        raise SramOverflowError("a kernel of a program for many nodes must fit in SRAM undivided")
    known = dict(inputs)
    cycles = 0
    for part in program.parts:
        of_nodes = {
            place: {tensor: known[tensor][number] for tensor in part.graph.inputs}
            for number, place in enumerate(group.members)
        }
        results = _run_together(dict.fromkeys(group.members, part), group, of_nodes)
        for tensor in part.graph.outputs:
            known[tensor] = [results[place][tensor] for place in group.members]
        cycles += group.mesh.call_cycles
    return MeshRun({tensor: known[tensor] for tensor in program.graph.outputs}, cycles)


def run_pipeline(
    pipeline: Pipeline,
    program: Program,
    places: Sequence[_Node],
    group: Group,
    inputs: Mapping[Tensor, Words],
) -> MeshRun:
    """Run the stages of a pipeline, each on a node.

    Parameters
    ----------
    pipeline
        The stages.
    program
        Their programs.
    places
        The node of each.
    group
        Where these are.
    inputs
        The words of each input of the graph of a micro-batch, for every micro-batch.

    Raises
    ------
    DeviceError
        A node failed; all have been reset.

    """
    of_nodes = {}
    for place, stage in zip(places, pipeline.stages, strict=True):
        written = [tensor for tensor in stage.inputs if tensor in pipeline.sources]
        sources = [pipeline.sources[tensor] for tensor in written]
        of_nodes[place] = {
            tensor: inputs[source][number]
            for tensor, (source, number) in zip(written, sources, strict=True)
        }
    results = _run_together(dict(zip(places, program.parts, strict=True)), group, of_nodes)
    outputs = {
        output: [results[places[stage]][tensor] for stage, tensor in copies]
        for output, copies in pipeline.outputs.items()
    }
    return MeshRun(outputs, group.mesh.call_cycles)


def path(group: Group) -> list[_Node]:
    """Return the nodes of a group in an order in which each is a neighbour of the one before."""
    rows = (row[:: -1 if number % 2 else 1] for number, row in enumerate(group.rows.values()))
    return [place for row in rows for place in row]


def _run_together(
    parts: Mapping[_Node, Executable],
    group: Group,
    inputs: Mapping[_Node, Mapping[Tensor, NDArray[np.uint32]]],
) -> dict[_Node, dict[Tensor, NDArray[np.uint32]]]:
    """Run a program on each of some nodes; return the words of the outputs of each.

    Other nodes are known to programs by their numbers in `parts`.
    """
    mesh = group.mesh
    with mesh.lock, mesh.data.scratch(max(part.data_bytes for part in parts.values())) as base:
        places = {place: _addresses(part, base) for place, part in parts.items()}
        images = _images(parts, group, base, places)
        calls = {
            place: Call(
                part.program,
                base,
                part.graph.params.threads,
                (
                    (base, images[place]),
                    *((places[place][tensor], words) for tensor, words in inputs[place].items()),
                ),
                tuple((places[place][t], t.bytes) for t in part.graph.outputs),
                part.evidence(base),
            )
            for place, part in parts.items()
        }
        results = mesh.call(calls, max_cycles=max(map(cycle_limit, parts.values())))
    return {
        place: {
            tensor: words.view(np.uint32)
            for tensor, words in zip(part.graph.outputs, results[place], strict=True)
        }
        for place, part in parts.items()
    }


def _addresses(part: Executable, base: int) -> dict[Tensor, int]:
    """Return where the tensors of a program are."""
    start = base + part.image.nbytes
    return {tensor: start + place for tensor, place in part.plan.places.items()}


def _images(
    parts: Mapping[_Node, Executable],
    group: Group,
    base: int,
    places: Mapping[_Node, Mapping[Tensor, int]],
) -> dict[_Node, NDArray[np.uint8]]:
    """Return what else is in each node's SRAM, with whom it exchanges what filled in."""
    images = {}
    sums: dict[tuple[int, int, _Node], dict[_Node, NDArray[np.uint8]]] = {}
    nodes = list(places.items())
    for place, part in parts.items():
        image = (part.image + np.uint64(base) * part.addresses).view(np.uint8)
        for number, lowered in enumerate(part.kernels):
            match lowered.kernel:
                case AllReduce() as kernel:
                    table, rectangle = part.table(number), _around(place, kernel.nodes, group)
                    key = (id(part), number, rectangle.near)
                    if key not in sums:
                        those = Group(group.mesh, *rectangle)
                        sums[key] = blocks(
                            kernel, part.graph.params, those, base + table, places[place]
                        )
                    block = sums[key][place]
                case Send() as kernel:
                    table = part.table(number)
                    block = parcel_list(kernel, base + table, places[place], nodes)
                case _:
                    continue
            image[table : table + block.size] = block
        images[place] = image
    return images


def _around(place: _Node, nodes: tuple[int, int], group: Group) -> Rectangle:
    """Return those columns and rows of a group whose nodes sum up with one of them."""
    start = group.rectangle.near
    near, far = [], []
    for at, first, size in zip(place, start, nodes, strict=True):
        near.append(first + (at - first) // size * size)
        far.append(near[-1] + size - 1)
    return Rectangle((near[0], near[1]), (far[0], far[1]))
