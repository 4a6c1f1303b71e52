"""Where the tensors of a graph are in SRAM: those that are never needed together share places."""

from __future__ import annotations

from dataclasses import dataclass

from d1_golden.params import LINE_BYTES

from d1.compiler.ir import Graph, Tensor, reads, writes

__all__ = ["MemoryPlan", "plan_memory"]


@dataclass(frozen=True)
class MemoryPlan:
    """Places of tensors.

    Parameters
    ----------
    places
        Bytes from the start of the planned memory.
    lives
        The kernels, by number, that each is there for, first and last; -1 is before the first.
    peak
        Bytes that it takes.
    unplanned
        Bytes it would take if no tensor shared its place.

    """

    places: dict[Tensor, int]
    lives: dict[Tensor, tuple[int, int]]
    peak: int
    unplanned: int

    @property
    def ratio(self) -> float:
        """What is needed of what it would take unplanned."""
        return self.peak / self.unplanned if self.unplanned else 1.0


@dataclass
class _Life:
    first: int
    last: int


def plan_memory(graph: Graph) -> MemoryPlan:
    """Give every tensor a place from the kernel that writes it to the last that reads it.

    Inputs are there from the start and outputs to the end. The largest tensors are placed first,
    each as low as those allow that live at the same time.
    """
    end = len(graph.kernels)
    lives: dict[Tensor, _Life] = {tensor: _Life(-1, -1) for tensor in graph.inputs}
    for time, kernel in enumerate(graph.kernels):
        for tensor in (*reads(kernel), *writes(kernel)):
            if tensor.contents is None:
                lives.setdefault(tensor, _Life(time, time)).last = time
    for tensor in graph.outputs:
        lives.setdefault(tensor, _Life(-1, end)).last = end
    places: dict[Tensor, int] = {}
    for tensor in sorted(lives, key=lambda t: -_size(t)):
        life = lives[tensor]
        taken = sorted(
            (places[other], places[other] + _size(other))
            for other in places
            if lives[other].first <= life.last and life.first <= lives[other].last
        )
        place = 0
        for start, stop in taken:
            if place + _size(tensor) <= start:
                break
            place = max(place, stop)
        places[tensor] = place
    peak = max((place + _size(t) for t, place in places.items()), default=0)
    spans = {tensor: (life.first, life.last) for tensor, life in lives.items()}
    return MemoryPlan(places, spans, peak, sum(map(_size, lives)))


def _size(tensor: Tensor) -> int:
    return -(-tensor.bytes // LINE_BYTES) * LINE_BYTES
