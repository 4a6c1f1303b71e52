"""Places that are computed: whether a block of indices stays within a block of the tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from d1.compiler.expressions import Expr, Kind, Ref, ordered

__all__ = ["moves_with"]

_Words = NDArray[np.int64]
#: Points of a domain that are looked at, at least.
_POINTS = 4096


def _real(function: Callable[..., NDArray[np.float32]]) -> Callable[..., _Words]:
    def of_bits(*operands: _Words) -> _Words:
        values = [operand.astype(np.uint32).view(np.float32) for operand in operands]
        return function(*values).astype(np.float32).view(np.uint32).astype(np.int64)

    return of_bits


def _signed(words: _Words) -> _Words:
    return words.astype(np.uint32).view(np.int32).astype(np.int64)


#: What indices are computed with; results are taken modulo 2^32.
_INSTRUCTIONS: dict[str, Callable[..., _Words]] = {
    "vadd.i32": lambda a, b: a + b,
    "vsub.i32": lambda a, b: a - b,
    "vmul.i32": lambda a, b: a * b,
    "vminu.i32": lambda a, b: np.minimum(a, b),
    "vsel": lambda a, b, mask: np.choose(mask, [b, a]),
    "vslt.i32": lambda a, b: (_signed(a) < _signed(b)).astype(np.int64),
    "vsltu.i32": lambda a, b: (a < b).astype(np.int64),
    "vseq.i32": lambda a, b: (a == b).astype(np.int64),
    "vcvt.f32.i32": lambda a: _signed(a).astype(np.float32).view(np.uint32).astype(np.int64),
    "vcvt.i32.f32": lambda a: np.rint(a.astype(np.uint32).view(np.float32)).astype(np.int64),
    "vfadd.f32": _real(np.add),
    "vfsub.f32": _real(np.subtract),
    "vfmul.f32": _real(np.multiply),
}


def moves_with(place: Expr, domain: Sequence[int], j: int, nodes: int, block: int) -> bool:
    """Return whether a step of a part of dimension `j` is a step of a block of words in a place.

    Then a node that counts the dimension from its own start counts words from its own block's. What
    is loaded may be anything: it is the same before and behind the step. All indices of the
    dimension are tried, with others at random.

    Parameters
    ----------
    place
        Words from the start of the tensor.
    domain, j
        The domain and the dimension that is split.
    nodes
        Parts.
    block
        Words of a part of the tensor.

    """
    if domain[j] % nodes:
        return False
    nodes_of = ordered([place])
    if any(
        n.kind in (Kind.ROW_REDUCE, Kind.OUTER_REDUCE, Kind.ACCUMULATOR)
        or (n.kind is Kind.OPERATION and n.attribute not in _INSTRUCTIONS)
        for n in nodes_of
    ):
        return False
    rng = np.random.default_rng(len(nodes_of))
    part = domain[j] // nodes
    points = max(part, _POINTS)
    own = np.arange(points) % part
    at = [rng.integers(0, size, points) for size in domain]
    data = (Kind.LOAD, Kind.GATHER)
    loaded = {n: rng.integers(0, 4, points) for n in nodes_of if n.kind in data}

    def places(rank: int) -> _Words:
        indices = [own + rank * part if n == j else index for n, index in enumerate(at)]
        values: dict[Expr, _Words] = {}
        for node in nodes_of:
            if node.kind is Kind.INDEX:
                values[node] = indices[node.attribute]
            elif node.kind is Kind.CONSTANT:
                values[node] = np.full(points, node.attribute)
            elif node.kind is Kind.LOAD and node.attribute.tensor.contents is not None:
                values[node] = _constant(node.attribute, indices)
            elif node.kind is Kind.OPERATION:
                operands = [values[arg] for arg in node.args]
                values[node] = _INSTRUCTIONS[node.attribute](*operands) & 0xFFFFFFFF
            else:
                values[node] = loaded[node]
        return values[place]

    first = places(0)
    return all(np.array_equal(places(r) - first, np.full(points, r * block)) for r in range(nodes))


def _constant(ref: Ref, indices: Sequence[_Words]) -> _Words:
    """Return what is loaded of a tensor that is known."""
    assert ref.tensor.contents is not None
    places = sum((s * index for s, index in zip(ref.strides, indices, strict=True)), ref.offset)
    words: _Words = ref.tensor.contents[places].astype(np.int64)
    return words
