"""Which kernels of a graph are done how often in a pipeline, and by which of its stages.

Work flows from stage 0 on, so a kernel is never in an earlier stage than what it reads comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from d1.compiler.ir import AllReduce, Graph, Kernel, Tensor, reads, writes
from d1.parallel.partition import PartitionError

__all__ = ["Phase", "Phases", "balanced", "following", "phases"]

#: Halvings of the range in which the longest stage is sought.
_HALVINGS = 30


class Phase(NamedTuple):
    """When something is computed, in the order in which everything is.

    Parameters
    ----------
    wave
        How many sums over all micro-batches it needs, one after the other.
    varies
        Whether it is computed for each micro-batch, behind what is computed once.

    """

    wave: int
    varies: bool


@dataclass(frozen=True)
class Phases:
    """The phases of a graph of one micro-batch.

    Parameters
    ----------
    kernels
        Of each kernel; of a sum over micro-batches when its terms are added.
    tensors
        Of each tensor.

    """

    kernels: tuple[Phase, ...]
    tensors: Mapping[Tensor, Phase]

    @property
    def waves(self) -> int:
        """How many waves there are."""
        return 1 + max((phase.wave for phase in self.tensors.values()), default=0)


def phases(graph: Graph, varying: Iterable[Tensor]) -> Phases:
    """Return when everything in a graph is computed.

    Parameters
    ----------
    graph
        As a node computes a micro-batch, sums over nodes in the place of those over micro-batches.
    varying
        Inputs that are others for each micro-batch.

    Raises
    ------
    PartitionError
        A tensor is written more than once, not each time in the same phase.

    """
    once = Phase(0, False)
    tensors = dict.fromkeys(graph.inputs, once) | dict.fromkeys(varying, Phase(0, True))
    kernels = []
    for kernel in graph.kernels:
        needed = [tensors.get(tensor, once) for tensor in reads(kernel)]
        wave = max((phase.wave for phase in needed), default=0)
        phase = Phase(wave, any(phase.varies for phase in needed))
        result = phase
        if isinstance(kernel, AllReduce):
            phase, result = Phase(wave, True), Phase(wave + 1, False)
        for tensor in writes(kernel):
            if tensors.setdefault(tensor, result) != result:
                raise PartitionError(f"{tensor} is written once and for each micro-batch")
        kernels.append(phase)
    return Phases(tuple(kernels), tensors)


def balanced(graph: Graph, cycles: Sequence[float], stages: int) -> list[int]:
    """Return the stage of each kernel: kernels in a row, the longest stage as short as can be.

    Parameters
    ----------
    graph
        What is divided.
    cycles
        What each kernel takes.
    stages
        The most stages.

    """
    joined = _written_on(graph.kernels)

    def cut(limit: float) -> list[int]:
        numbers, stage, taken = [], 0, 0.0
        for cost, stays in zip(cycles, joined, strict=True):
            if taken and cost and taken + cost > limit and not stays:
                stage, taken = stage + 1, 0.0
            taken += cost
            numbers.append(stage)
        return numbers

    least, most = 0.0, sum(cycles)
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        if cut(middle)[-1] < stages:
            most = middle
        else:
            least = middle
    return cut(most)


def _written_on(kernels: Sequence[Kernel]) -> list[bool]:
    """Return for each kernel whether something is written before it and by it or behind it."""
    last = {tensor: n for n, kernel in enumerate(kernels) for tensor in writes(kernel)}
    first: dict[Tensor, int] = {}
    for n, kernel in enumerate(kernels):
        for tensor in writes(kernel):
            first.setdefault(tensor, n)
    spans = [(first[tensor], last[tensor]) for tensor in first if first[tensor] < last[tensor]]
    return [any(start < n <= stop for start, stop in spans) for n in range(len(kernels))]


def following(graph: Graph, homes: Mapping[Tensor, int]) -> list[int]:
    """Return the stage of each kernel: where its inputs are, or behind it if it must be.

    Parameters
    ----------
    graph
        What is divided.
    homes
        The stage in which an input is at home, of those that have one.

    """
    stages = dict(homes)
    numbers = []
    for kernel in graph.kernels:
        stage = max((stages.get(tensor, 0) for tensor in reads(kernel)), default=0)
        stages |= dict.fromkeys(writes(kernel), stage)
        numbers.append(stage)
    return numbers
