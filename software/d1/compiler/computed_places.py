"""Places that a kernel computes, computed by the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from d1.compiler.expressions import Expr, Kind, Ref, ordered

__all__ = ["Words", "evaluated", "is_known", "of_data"]

#: 32-bit words, with room for what instructions make of them.
Words = NDArray[np.int64]


def _real(function: Callable[..., NDArray[np.float32]]) -> Callable[..., Words]:
    def of_bits(*operands: Words) -> Words:
        values = [operand.astype(np.uint32).view(np.float32) for operand in operands]
        return function(*values).astype(np.float32).view(np.uint32).astype(np.int64)

    return of_bits


def _signed(words: Words) -> Words:
    return words.astype(np.uint32).view(np.int32).astype(np.int64)


#: What indices are computed with; results are taken modulo 2^32.
_INSTRUCTIONS: dict[str, Callable[..., Words]] = {
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


def is_known(place: Expr) -> bool:
    """Return whether the host can compute a place, given what is loaded for it."""
    return not any(
        node.kind in (Kind.ROW_REDUCE, Kind.OUTER_REDUCE, Kind.ACCUMULATOR)
        or (node.kind is Kind.OPERATION and node.attribute not in _INSTRUCTIONS)
        for node in ordered([place])
    )


def of_data(place: Expr) -> list[Expr]:
    """Return what is loaded for a place and is not known before the program runs."""
    return [
        node
        for node in ordered([place])
        if node.kind is Kind.GATHER
        or (node.kind is Kind.LOAD and node.attribute.tensor.contents is None)
    ]


def evaluated(place: Expr, indices: Sequence[Words], loaded: Mapping[Expr, Words]) -> Words:
    """Return a place for some indices.

    Parameters
    ----------
    place
        One that `is_known`.
    indices
        Of each dimension of the domain; arrays that numpy broadcasts with each other.
    loaded
        What is loaded of data.

    """
    values: dict[Expr, Words] = {}
    for node in ordered([place]):
        if node in loaded:
            values[node] = loaded[node]
        elif node.kind is Kind.INDEX:
            values[node] = indices[node.attribute]
        elif node.kind is Kind.CONSTANT:
            values[node] = np.array(node.attribute, np.int64)
        elif node.kind is Kind.LOAD:
            values[node] = _constant(node.attribute, indices)
        else:
            operands = [values[arg] for arg in node.args]
            values[node] = _INSTRUCTIONS[node.attribute](*operands) & 0xFFFFFFFF
    return values[place]


def _constant(ref: Ref, indices: Sequence[Words]) -> Words:
    """Return what is loaded of a tensor that is known."""
    assert ref.tensor.contents is not None
    places = np.array(ref.offset, np.int64)
    for stride, index in zip(ref.strides, indices, strict=True):
        places = places + stride * index if stride else places
    words: Words = ref.tensor.contents[places].astype(np.int64)
    return words
