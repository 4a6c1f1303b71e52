"""About how many cycles a graph takes on each of its nodes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil, prod

from d1_golden.params import LINE_BYTES, NodeParams

from d1.compiler.cost import kernel_cost
from d1.compiler.executable import lower
from d1.compiler.ir import AllReduce, Computation, Graph, Product, flat
from d1.compiler.kernel_key import kernel_key

__all__ = ["Estimate", "estimated"]

#: Cycles of a sum over nodes, of the lines of a tensor to one node, of each line; fitted to sums of
#: up to 64 KiB over 4 and 16 nodes on the RTL of preset d1, of which the last is in the benchmarks.
_SUM, _TRANSFER, _LINE = 300.0, 2.4, 3.8

#: What kernels take, by what their code follows from.
_known: dict[Hashable, float] = {}


@dataclass(frozen=True)
class Estimate:
    """Cycles, by what takes them.

    Parameters
    ----------
    products, loops, sums
        Of products, of all else that a node computes, of sums over nodes.

    """

    products: float
    loops: float
    sums: float

    @property
    def total(self) -> float:
        """All cycles."""
        return self.products + self.loops + self.sums

    def __str__(self) -> str:
        return (
            f"{self.total:,.0f} cycles: products {self.products:,.0f}, loops {self.loops:,.0f}, "
            f"sums over nodes {self.sums:,.0f}"
        )


def estimated(graph: Graph) -> Estimate:
    """Return about how many cycles a graph takes on each of its nodes.

    Kernels are estimated from their code (`d1.compiler.cost`), sums over nodes by their lines.

    Raises
    ------
    RegisterPressureError
        A kernel needs more registers than a thread has.

    """
    products = loops = sums = 0.0
    for kernel in flat(graph.kernels):
        match kernel:
            case AllReduce():
                sums += sum_cycles(kernel)
            case Product():
                products += _cycles(kernel, graph.params)
            case _:
                loops += _cycles(kernel, graph.params)
    return Estimate(products, loops, sums)


def sum_cycles(kernel: AllReduce) -> float:
    """Return about how many cycles a sum over nodes takes."""
    lines = sum(ceil(source.bytes / LINE_BYTES) for source in kernel.sources)
    return _SUM + _TRANSFER * len(kernel.sources) * prod(kernel.nodes) + _LINE * lines


def _cycles(kernel: Computation, params: NodeParams) -> float:
    key = params, kernel_key(kernel)[0]
    if key not in _known:
        _known[key] = kernel_cost(lower(kernel, params), params).cycles
    return _known[key]
