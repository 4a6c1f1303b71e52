"""What two kernels have in common whose code is the same."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from d1.compiler.expressions import Expr, Kind, Ref, ordered
from d1.compiler.ir import Computation, Loops, Pack, Product, Tensor

__all__ = ["kernel_key"]


def kernel_key(kernel: Computation) -> tuple[Hashable, list[Tensor]]:
    """Return what the code of a kernel follows from, and its tensors in some fixed order.

    Kernels with equal keys have the same code but for the addresses of their tensors, which
    correspond in order.
    """
    tensors: list[Tensor] = []
    numbers: dict[Tensor, int] = {}

    def number(tensor: Tensor) -> int:
        if tensor not in numbers:
            numbers[tensor] = len(tensors)
            tensors.append(tensor)
        return numbers[tensor]

    def place(ref: Ref) -> Hashable:
        return number(ref.tensor), ref.offset, ref.strides

    def attribute(node: Expr) -> Hashable:
        if node.kind is Kind.LOAD:
            return place(node.attribute)
        if node.kind is Kind.GATHER:
            return number(node.attribute)
        return node.attribute

    values = [kernel.value] if isinstance(kernel, Pack) else [s.value for s in kernel.stores]
    nodes = ordered(values)
    at = {node: n for n, node in enumerate(nodes)}
    expressions = tuple(
        (node.kind, tuple(at[arg] for arg in node.args), attribute(node)) for node in nodes
    )
    roots = tuple(at[value] for value in values)
    key: tuple[Any, ...] = (type(kernel), kernel.domain, expressions, roots)
    match kernel:
        case Pack():
            key += (number(kernel.target), kernel.target.tiles, kernel.format is None)
            key += tuple(map(number, kernel.scalars))
        case Loops():
            key += (kernel.reduced,)
        case Product():
            key += (kernel.k, number(kernel.left), number(kernel.right))
            key += tuple(map(number, kernel.formats or ()))
    if not isinstance(kernel, Pack):
        # Whether a store fills a row is told by the shape of its tensor.
        key += tuple((place(s.target), s.target.tensor.shape[-1:]) for s in kernel.stores)
    return key, tensors
