"""Runs a program on all nodes of a group at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d1.compiler.executable import Executable, Program, cycle_limit
from d1.compiler.ir import AllReduce, Tensor
from d1.device import Call
from d1.errors import SramOverflowError
from d1.fabric.collectives import Group
from d1.parallel.all_reduce import blocks

__all__ = ["MeshRun", "run_on_mesh"]

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

    outputs: dict[Tensor, Words]
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
        known |= _run_part(part, group, known)
        cycles += group.mesh.call_cycles
    return MeshRun({tensor: known[tensor] for tensor in program.graph.outputs}, cycles)


def _run_part(part: Executable, group: Group, known: Mapping[Tensor, Words]) -> dict[Tensor, Words]:
    mesh, graph = group.mesh, part.graph
    with mesh.lock, mesh.data.scratch(part.data_bytes) as base:
        image = (part.image + np.uint64(base) * part.addresses).view(np.uint8)
        start = base + image.nbytes
        addresses = {tensor: start + place for tensor, place in part.plan.places.items()}
        images = {place: image.copy() for place in group.members}
        for number, kernel in enumerate(part.kernels):
            if isinstance(kernel.kernel, AllReduce):
                table = part.table(number)
                told = blocks(kernel.kernel, graph.params, group, base + table, addresses)
                for place, block in told.items():
                    images[place][table : table + block.size] = block
        calls = {
            place: Call(
                part.program,
                base,
                graph.params.threads,
                (
                    (base, images[place]),
                    *((addresses[t], known[t][number]) for t in graph.inputs),
                ),
                tuple((addresses[t], t.bytes) for t in graph.outputs),
            )
            for number, place in enumerate(group.members)
        }
        results = mesh.call(calls, max_cycles=cycle_limit(part))
    return {
        tensor: [results[place][n].view(np.uint32) for place in group.members]
        for n, tensor in enumerate(graph.outputs)
    }
