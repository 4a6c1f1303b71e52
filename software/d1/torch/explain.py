"""What becomes of the graphs of a program: kernels, memory, PyTorch's share, cycles."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table
from torch._functorch._aot_autograd.logging_utils import get_aot_graph_name
from torch._guards import TracingContext

from d1.compiler.cost import kernel_cost
from d1.compiler.executable import Branch, Executable, LoweredKernel
from d1.compiler.ir import AllReduce, Operator, Product, Receive, Send, Tensor
from d1.device import shared_device
from d1.torch import capture
from d1.torch.capture import CompiledGraph, chosen_settings

__all__ = ["GraphReport", "KernelReport", "TensorReport", "as_json", "explained", "print_reports"]

_KIB = 1024


@dataclass(frozen=True)
class KernelReport:
    """A kernel of a graph.

    Parameters
    ----------
    kind
        "product", "loops", "pack", "branch", "sum of nodes", "send" or "receive".
    domain
        Sizes of what it is computed for; of a product with the terms of a sum.
    operators
        Of PyTorch, that have become this kernel; several: they were fused.
    predicted
        Cycles by `compiler.cost`.
    simulated
        Cycles on the device, of the first run; None if there was none.

    """

    kind: str
    domain: str
    operators: list[str]
    predicted: int
    simulated: int | None = None


@dataclass(frozen=True)
class TensorReport:
    """A tensor in SRAM: its place in bytes, size, and the kernels it is there for."""

    name: str
    shape: str
    place: int
    size: int
    first: int
    last: int


@dataclass
class GraphReport:
    """What has become of a graph, or of a part between operators that are PyTorch's.

    Parameters
    ----------
    name
        Of PyTorch's graph, or the operator that runs by itself.
    preset, device
        The node, and where it was simulated.
    kernels
        In order.
    programs
        How many there are: more than one where not everything fits in SRAM.
    peak, unplanned
        Bytes of tensors in SRAM at a time, and of all tensors.
    host_writes, host_reads
        Bytes that the host writes and reads for each run.
    tensors
        The plan, of the program that takes most.
    refused
        Operators that are PyTorch's, each with the reason.

    """

    name: str
    preset: str
    device: str
    kernels: list[KernelReport] = field(default_factory=list)
    programs: int = 0
    peak: int = 0
    unplanned: int = 0
    host_writes: int = 0
    host_reads: int = 0
    tensors: list[TensorReport] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


class _Recorder:
    """Observes graphs."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.reports: list[GraphReport] = []
        self.refusals: list[tuple[str, str]] = []
        self.known: dict[CompiledGraph, GraphReport] = {}

    def refused(self, operator: Any, reason: str) -> None:
        if (str(operator), reason) not in self.refusals:
            self.refusals.append((str(operator), reason))

    def compiled(self, graph: CompiledGraph) -> None:
        preset = chosen_settings(graph.target).preset
        report = GraphReport(_name(), preset, self.device, refused=self.refusals)
        self.refusals = []
        self.reports.append(report)
        self.known[graph] = report
        if graph.program is None:
            return
        largest = max(graph.program.parts, key=lambda part: part.plan.peak)
        report.programs = len(graph.program.parts)
        report.peak, report.unplanned = graph.program.peak, graph.program.unplanned
        report.host_writes = sum(part.host_writes for part in graph.program.parts)
        report.host_reads = sum(part.host_reads for part in graph.program.parts)
        report.tensors = list(_tensors(largest))
        kernels = [kernel for part in graph.program.parts for kernel in part.kernels]
        params = graph.program.graph.params
        report.kernels = [
            _kernel(kernel, round(kernel_cost(kernel, params).cycles)) for kernel in kernels
        ]

    def ran(self, graph: CompiledGraph, inputs: list[NDArray[np.uint32]]) -> None:
        report = self.known.get(graph)
        if report is None or graph.program is None or report.kernels[0].simulated is not None:
            return
        device = shared_device(self.device, report.preset)
        _, cycles = graph.program.profile(device, inputs)
        report.kernels = [
            KernelReport(**vars(kernel) | {"simulated": taken})
            for kernel, taken in zip(report.kernels, cycles, strict=True)
        ]


@contextmanager
def explained(device: str = "rtl") -> Iterator[list[GraphReport]]:
    """Give reports of the graphs that are compiled inside; they are complete behind it.

    Parameters
    ----------
    device
        Where the cycles are from: each graph runs there once, beside where it runs anyway.

    """
    recorder = _Recorder(device)
    capture.observers.append(recorder)
    try:
        yield recorder.reports
        if recorder.refusals:
            rest = GraphReport("not compiled", "", device, refused=recorder.refusals)
            recorder.reports.append(rest)
    finally:
        capture.observers.remove(recorder)


def _name() -> str:
    """Return PyTorch's name of the graph that is being compiled."""
    return get_aot_graph_name() if TracingContext.try_get() else "operator by itself"


def _kernel(lowered: LoweredKernel, predicted: int) -> KernelReport:
    kernel = lowered.kernel
    match kernel:
        case Product():
            kind, domain = "product", f"{_sizes(kernel.domain)} over {kernel.k}"
        case AllReduce():
            words = _words(kernel.results)
            kind, domain = "sum of nodes", f"{words}, {_sizes(kernel.nodes)} nodes"
        case Send():
            kind, domain = "send", _words(tensor for tensor, _, _ in kernel.parcels)
        case Receive():
            kind, domain = "receive", _words(kernel.tensors)
        case Branch():
            kind, domain = "branch", f"{kernel.distance:+} kernels"
        case _:
            kind, domain = type(kernel).__name__.lower(), _sizes(kernel.domain)
    return KernelReport(kind, domain, [_short(o) for o in kernel.operators], predicted)


def _words(tensors: Iterable[Tensor]) -> str:
    return f"{sum(tensor.words for tensor in tensors)} words"


def _sizes(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _short(operator: Operator) -> str:
    """Return the name of an operator without library and overload."""
    return re.sub(r"^aten\.|\.\w+$", "", operator.name)


def _tensors(part: Executable) -> Iterator[TensorReport]:
    plan = part.plan
    for tensor in sorted(plan.places, key=lambda t: (plan.places[t], plan.lives[t])):
        shape = _sizes(tensor.shape) + (" in tiles" if tensor.tiles else "")
        first, last = plan.lives[tensor]
        yield TensorReport(tensor.name, shape, plan.places[tensor], tensor.bytes, first, last)


def as_json(reports: Sequence[GraphReport]) -> str:
    """Return reports as JSON: a list of graphs with the members of `GraphReport`."""
    return json.dumps([asdict(report) for report in reports], indent=1)


def print_reports(reports: Sequence[GraphReport], console: Console, tensors: int = 10) -> None:
    """Print reports as tables.

    Parameters
    ----------
    reports
        Of graphs.
    console
        Where to.
    tensors
        How many of the largest tensors to show of each graph.

    """
    for number, report in enumerate(reports):
        _print_kernels(number, report, console)
        if report.tensors:
            _print_memory(report, console, tensors)
    measured = [k for report in reports for k in report.kernels if k.simulated]
    if measured:
        console.print(_summary(measured, reports[0].device))


def _print_kernels(number: int, report: GraphReport, console: Console) -> None:
    unit = "instructions" if report.device == "golden" else "cycles"
    node = f", {report.programs} program(s) for a node of preset {report.preset}"
    table = Table(
        "",
        "runs as",
        "for",
        Column("operators of PyTorch", overflow="fold", ratio=1),
        Column("predicted cycles", justify="right"),
        Column(f"{unit}, {report.device}", justify="right"),
        title=f"Graph {number}: {report.name}{node if report.programs else ''}",
    )
    for n, kernel in enumerate(report.kernels):
        taken = "" if kernel.simulated is None else str(kernel.simulated)
        operators = _counted(kernel.operators)
        table.add_row(str(n), kernel.kind, kernel.domain, operators, str(kernel.predicted), taken)
    for operator, reason in report.refused:
        table.add_row("", "PyTorch", "", f"{operator}: {reason}")
    if report.kernels:
        predicted = sum(kernel.predicted for kernel in report.kernels)
        simulated = sum(kernel.simulated or 0 for kernel in report.kernels)
        table.add_section()
        table.add_row("", "all", "", "", str(predicted), str(simulated) if simulated else "")
    console.print(table)


def _counted(operators: Sequence[str]) -> str:
    counts = Counter(operators)
    return ", ".join(f"{n} x {name}" if n > 1 else name for name, n in counts.items())


def _print_memory(report: GraphReport, console: Console, most: int) -> None:
    ratio = report.peak / report.unplanned
    table = Table(
        "tensor",
        "shape",
        "from byte",
        "bytes",
        "kernels",
        title=f"Memory: {report.peak / _KIB:.1f} KiB at most of {report.unplanned / _KIB:.1f} KiB "
        f"of tensors, {ratio:.0%}; the host writes {report.host_writes / _KIB:.1f} KiB and reads "
        f"{report.host_reads / _KIB:.1f} KiB a run",
    )
    for tensor in sorted(report.tensors, key=lambda t: -t.size)[:most]:
        first = "start" if tensor.first < 0 else str(tensor.first)
        last = "end" if tensor.last >= len(report.kernels) else str(tensor.last)
        kernels = first if first == last else f"{first} to {last}"
        table.add_row(tensor.name, tensor.shape, str(tensor.place), str(tensor.size), kernels)
    if len(report.tensors) > most:
        rest = sorted((t.size for t in report.tensors), reverse=True)[most:]
        table.add_row(f"{len(rest)} more", "", "", str(sum(rest)), "")
    console.print(table)


def _summary(kernels: Sequence[KernelReport], device: str) -> str:
    """Return how far the prediction is from what was simulated."""
    predicted = sum(kernel.predicted for kernel in kernels)
    simulated = sum(kernel.simulated or 0 for kernel in kernels)
    if device == "golden":
        return f"all: {predicted} cycles predicted; {simulated} instructions of thread 0"
    ratios = sorted(abs(math.log(k.predicted / (k.simulated or 1))) for k in kernels)
    middle = math.expm1(ratios[len(ratios) // 2])
    return (
        f"all: {predicted} cycles predicted, {simulated} simulated "
        f"({predicted / simulated - 1:+.0%}); half of the kernels are right to {middle:.0%}"
    )
