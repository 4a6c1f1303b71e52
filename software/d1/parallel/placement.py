"""How a tensor lies on several nodes, and how places in it change when it is split.

A split is seen in memory alone: a block of a tensor is what a dimension of the domain that reads it
walks through, so views, transposes and merged dimensions need no rules of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from d1.compiler.expressions import Ref
from d1.compiler.ir import Tensor

__all__ = ["REPLICATED", "Partial", "Placement", "Replicated", "Split", "local_ref", "walked"]


@dataclass(frozen=True)
class Replicated:
    """Every node has all of it, the same bits."""


@dataclass(frozen=True)
class Split:
    """Every node has an equal part, in the order of the nodes.

    Parameters
    ----------
    dim
        The dimension that is divided.

    """

    dim: int


@dataclass(frozen=True)
class Partial:
    """Every node has numbers of its own for all elements; combined they are the tensor.

    Parameters
    ----------
    instruction
        What combines them, of the vector lanes.

    """

    instruction: str


REPLICATED = Replicated()
Placement = Replicated | Split | Partial


def local_shape(shape: Sequence[int], placement: Placement, nodes: int) -> tuple[int, ...]:
    """Return the sizes of what each node has."""
    if not isinstance(placement, Split):
        return tuple(shape)
    return tuple(size // nodes if n == placement.dim else size for n, size in enumerate(shape))


def walked(ref: Ref, domain: Sequence[int], j: int, nodes: int) -> Split | None:
    """Return the split of a tensor that splitting dimension `j` of a domain makes of what is read.

    It is one if, whatever the other indices, equal parts of the dimension read equal parts of the
    tensor, each its own. None if there is no such split.
    """
    for dim in range(len(ref.tensor.shape)):
        if _walks(ref, domain, j, dim, nodes):
            return Split(dim)
    return None


def _walks(ref: Ref, domain: Sequence[int], j: int, dim: int, nodes: int) -> bool:
    shape, strides = ref.tensor.shape, ref.tensor.strides
    if shape[dim] % nodes or domain[j] % nodes or min((ref.offset, *ref.strides)) < 0:
        return False
    if ref.strides[j] * domain[j] != shape[dim] * strides[dim]:
        return False
    outer = strides[dim - 1] if dim else None
    reach = ref.offset % outer if outer else ref.offset
    for n, (stride, size) in enumerate(zip(ref.strides, domain, strict=True)):
        if n != j and not (outer and stride % outer == 0):
            reach += stride * (size - 1)
    return reach < ref.strides[j]


def local_ref(ref: Ref, tensor: Tensor, placement: Placement) -> Ref:
    """Return the place in a node's part of a tensor; of a split one that `walked` gave.

    Parameters
    ----------
    ref
        The place in the whole.
    tensor
        The part.
    placement
        Which part it is.

    """
    if not isinstance(placement, Split) or placement.dim == 0:
        return replace(ref, tensor=tensor)
    outer, own = ref.tensor.strides[placement.dim - 1], tensor.strides[placement.dim - 1]

    def moved(distance: int) -> int:
        return distance // outer * own + distance % outer

    strides = tuple(moved(stride) for stride in ref.strides)
    return Ref(tensor, moved(ref.offset), strides)
