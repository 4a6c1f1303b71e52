"""A graph in stages, one a node, through which the parts of a batch flow one behind the other.

The graph of one micro-batch is the one that a node computes whose batch is divided by data; what
would be a sum over nodes there is one over micro-batches here, and added up where its terms are
computed. The program of a stage has the kernels of each micro-batch one after the other, with
tensors of their own, so nothing has to be told when it may be overwritten:

    once       [receive]  kernels that are the same for all micro-batches        [send]
    for each   [receive]  kernels, additions to sums over micro-batches          [send]

What needs such sums follows in another wave of the same kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from d1.compiler.expressions import Expr
from d1.compiler.ir import (
    AllReduce,
    Graph,
    Kernel,
    Loops,
    Receive,
    Send,
    Store,
    Tensor,
    reads,
    writes,
)
from d1.compiler.renaming import renamed
from d1.parallel.partition import PartitionError
from d1.parallel.stages import Phase, Phases

__all__ = ["Pipeline", "pipelined"]

#: Semaphores of a node, so most nodes that one node receives from.
_SEMAPHORES = 32


@dataclass(frozen=True)
class Pipeline:
    """The programs of nodes that are the stages of a pipeline.

    Parameters
    ----------
    stages
        What each node computes, in the order in which work flows.
    numbers
        Which of the stages that were asked for they are: some may have nothing to do.
    sources
        For each input that the host writes: of which input of the graph, of which micro-batch.
    outputs
        For each output of the graph: in which stage and tensor it is, for each micro-batch that it
        is another one for.
    homes
        For each tensor of the graph the number of the last stage that has it.

    """

    stages: tuple[Graph, ...]
    numbers: tuple[int, ...]
    sources: dict[Tensor, tuple[Tensor, int]] = field(default_factory=dict)
    outputs: dict[Tensor, list[tuple[int, Tensor]]] = field(default_factory=dict)
    homes: dict[Tensor, int] = field(default_factory=dict)


def pipelined(graph: Graph, phases: Phases, stages: Sequence[int], count: int) -> Pipeline:
    """Return a graph in stages.

    Parameters
    ----------
    graph
        Of one micro-batch, after fusion.
    phases
        When its kernels are done.
    stages
        The stage of each kernel; a sum is made where its terms are.
    count
        Micro-batches.

    Raises
    ------
    PartitionError
        A tensor is written in two stages, or a stage receives from more nodes than there are
        semaphores.

    """
    pipeliner = _Pipeliner(graph, phases, stages, count)
    for stage in range(len(pipeliner.pipeline.stages)):
        pipeliner.add(stage)
    return pipeliner.pipeline


class _Pipeliner:
    def __init__(self, graph: Graph, phases: Phases, stages: Sequence[int], count: int) -> None:
        self.graph, self.phases, self.count = graph, phases, count
        self.copies: dict[tuple[Tensor, int], Tensor] = {}
        self.producers: dict[Tensor, int] = {}
        self.readers: dict[Tensor, list[int]] = {}
        numbers, self.stages = self._numbered(stages)
        self.pipeline = Pipeline(tuple(Graph(graph.params) for _ in numbers), numbers)
        for kernel, stage in zip(graph.kernels, self.stages, strict=True):
            self._note(kernel, stage)
        self.senders: list[list[int]] = [[] for _ in self.pipeline.stages]
        for tensor, stage in self.producers.items():
            for reader in self._receivers(tensor):
                if stage not in self.senders[reader]:
                    self.senders[reader].append(stage)
        most = max(map(len, self.senders))
        if most > _SEMAPHORES:
            raise PartitionError(f"a stage must receive from {_SEMAPHORES} at most, not {most}")

    def _numbered(self, stages: Sequence[int]) -> tuple[tuple[int, ...], list[int]]:
        """Return which stages have something to do, and which of these does each kernel."""
        asked: list[int] = []
        where: dict[Tensor, int] = {}
        for kernel, stage in zip(self.graph.kernels, stages, strict=True):
            if isinstance(kernel, AllReduce):
                asked.append(where[kernel.sources[0]])
            else:
                asked.append(stage)
            where |= dict.fromkeys(writes(kernel), asked[-1])
        used = sorted(set(asked))
        return tuple(used), [used.index(stage) for stage in asked]

    def _note(self, kernel: Kernel, stage: int) -> None:
        for tensor in reads(kernel):
            known = self.readers.setdefault(tensor, [])
            if stage not in known:
                known.append(stage)
        for tensor in writes(kernel):
            if self.producers.setdefault(tensor, stage) != stage:
                raise PartitionError(f"{tensor} is written in two stages")
        for tensor in (*reads(kernel), *writes(kernel)):
            number = self.pipeline.numbers[stage]
            self.pipeline.homes[tensor] = max(number, self.pipeline.homes.get(tensor, 0))

    def _receivers(self, tensor: Tensor) -> list[int]:
        """Return the stages that get a tensor from the one that computes it."""
        return [n for n in self.readers.get(tensor, []) if n != self.producers[tensor]]

    def add(self, stage: int) -> None:
        """Add the kernels of a stage."""
        graph = self.pipeline.stages[stage]
        self._add_inputs(graph, stage)
        for wave in range(self.phases.waves):
            self._add_step(graph, stage, Phase(wave, False), 0)
            for number in range(self.count):
                self._add_step(graph, stage, Phase(wave, True), number)
        for tensor in self.graph.outputs:
            if self.producers[tensor] == stage:
                copies = [self._copy(tensor, number) for number in self._numbers(tensor)]
                graph.outputs += copies
                self.pipeline.outputs[tensor] = [(stage, copy) for copy in copies]

    def _add_inputs(self, graph: Graph, stage: int) -> None:
        for tensor in self.graph.inputs:
            if stage in self.readers.get(tensor, []):
                for number in self._numbers(tensor):
                    copy = self._copy(tensor, number)
                    graph.inputs.append(copy)
                    self.pipeline.sources[copy] = tensor, number

    def _numbers(self, tensor: Tensor) -> range:
        """Return the micro-batches for which there is a tensor of its own."""
        return range(self.count if self.phases.tensors[tensor].varies else 1)

    def _add_step(self, graph: Graph, stage: int, phase: Phase, number: int) -> None:
        """Add what a stage does in a wave once, or for one micro-batch."""
        crossing = [
            (tensor, producer, self._receivers(tensor))
            for tensor, producer in self.producers.items()
            if self.phases.tensors[tensor] == phase
        ]
        arriving = [(t, producer) for t, producer, readers in crossing if stage in readers]
        if arriving:
            receive = self._receive(stage, arriving, number)
            graph.kernels.append(receive)
            graph.inputs += receive.tensors
        for kernel, of, where in zip(
            self.graph.kernels, self.phases.kernels, self.stages, strict=True
        ):
            if (where, of) != (stage, phase):
                continue
            if isinstance(kernel, AllReduce):
                graph.kernels += self._sums(kernel, number) if number else []
            else:
                graph.kernels.append(renamed(kernel, lambda t: self._copy(t, number)))
        parcels = tuple(
            (self._copy(tensor, number), reader, self.senders[reader].index(stage))
            for tensor, producer, readers in crossing
            for reader in readers
            if producer == stage
        )
        if parcels:
            graph.kernels.append(Send(parcels))

    def _receive(self, stage: int, arriving: Sequence[tuple[Tensor, int]], number: int) -> Receive:
        posts = Counter(self.senders[stage].index(producer) for _, producer in arriving)
        tensors = tuple(self._copy(tensor, number) for tensor, _ in arriving)
        return Receive(tensors, tuple(sorted(posts.items())))

    def _sums(self, kernel: AllReduce, number: int) -> list[Loops]:
        """Return what adds the terms of a micro-batch to those before it."""
        added = []
        for source, result in zip(kernel.sources, kernel.results, strict=True):
            before = self._copy(source, 0) if number == 1 else self.copies[result, number - 1]
            is_last = number == self.count - 1
            total = result if is_last else replace(result, name=f"{result.name}_{number}")
            self.copies[result, number] = total
            terms = (before, self._copy(source, number))
            value = Expr.op(kernel.instruction, *(Expr.load(term.ref()) for term in terms))
            added.append(Loops(source.shape, (Store(total.ref(), value),), 0, kernel.operators))
        return added

    def _copy(self, tensor: Tensor, number: int) -> Tensor:
        """Return the tensor of a micro-batch."""
        if tensor.contents is not None or not self.phases.tensors[tensor].varies:
            return tensor
        key = tensor, number
        if key not in self.copies:
            self.copies[key] = replace(tensor, name=f"{tensor.name}_{number}")
        return self.copies[key]
