"""Operators whose elements are chosen by other elements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from d1.compiler.builder import Builder, Value, divided, inverse
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.registry import UnsupportedError, lowering

aten = torch.ops.aten


def _plus(a: Expr, b: Expr) -> Expr:
    return Expr.op("vadd.i32", a, b)


def _times(a: Expr, factor: int) -> Expr:
    return Expr.op("vmul.i32", a, Expr.word(factor))


def place_of(x: Value, indices: Sequence[Expr]) -> Expr:
    """Return where an element is, in words from the start of its tensor."""
    place = Expr.word(x.ref.offset)
    for index, stride in zip(indices, x.ref.strides, strict=True):
        if stride:
            place = _plus(place, _times(index, stride))
    return place


def wrapped(index: Expr, size: int) -> Expr:
    """Return an index that counts from the end where it is negative."""
    negative = Expr.op("vslt.i32", index, Expr.word(0))
    return Expr.op("vsel", _plus(index, Expr.word(size)), index, negative)


def bounded(index: Expr, size: int) -> Expr:
    """Return an index that is none outside: what is there is not an element, but in SRAM."""
    return Expr.op("vminu.i32", index, Expr.word(size - 1))


@lowering(aten.embedding.default)
def embedding(builder: Builder, weight: Value, indices: Value, *_: object, **__: object) -> Value:
    """Lower the rows of a table."""
    shape = (*indices.shape, weight.shape[1])
    index = builder.load(Value(indices.ref, indices.shape).broadcast_back(shape))
    row = bounded(index, weight.shape[0])
    gathered = Expr.gather(weight.ref.tensor, place_of(weight, (row, Expr.index(len(shape) - 1))))
    return builder.compute(shape, weight.dtype, gathered)


@lowering(aten.gather.default)
def gather(builder: Builder, x: Value, dim: int, index: Value, **_: object) -> Value:
    """Lower elements chosen along a dimension."""
    if not x.shape or not index.shape:
        x = x if x.shape else builder.reshape(x, (1,))
        count = math.prod(index.shape)
        chosen = gather(builder, x, 0, builder.reshape(index, (count,)))
        return builder.reshape(chosen, index.shape)
    rank = len(index.shape)
    dim %= rank
    chosen = bounded(builder.load(index), x.shape[dim])
    indices = [chosen if n == dim else Expr.index(n) for n in range(rank)]
    gathered = Expr.gather(x.ref.tensor, place_of(x, indices))
    return builder.compute(index.shape, x.dtype, gathered)


def chosen_places(
    chosen: Sequence[Value | None],
) -> tuple[dict[int, Value], tuple[int, ...], int]:
    """Return the indices by dimension, their shape together, and which dimension they are then.

    They come first, or where they were if they were side by side.
    """
    given = {n: index for n, index in enumerate(chosen) if index is not None}
    if any(index.dtype is not DType.I32 for index in given.values()):
        raise UnsupportedError("indices that are not integers")
    front = torch.broadcast_shapes(*(index.shape for index in given.values()))
    dims = list(given)
    return given, front, dims[0] if dims == [*range(dims[0], dims[-1] + 1)] else 0


@lowering(aten.index.Tensor, aten._unsafe_index.Tensor)
def index_(builder: Builder, x: Value, chosen: Sequence[Value | None]) -> Value:
    """Lower elements chosen along some dimensions."""
    given, front, first = chosen_places(chosen)
    others = [n for n in range(len(x.shape)) if n not in given]
    shape = [x.shape[n] for n in others]
    shape[first:first] = front
    behind = shape[first + len(front) :]
    indices: list[Expr] = []
    for n, size in enumerate(x.shape):
        if n in given:
            value = given[n].broadcast((*shape[:first], *front)).broadcast_back(shape)
            indices.append(bounded(wrapped(builder.load(value), size), size))
        else:
            at = others.index(n)
            indices.append(Expr.index(at if at < first else at + len(shape) - len(behind) - first))
    gathered = Expr.gather(x.ref.tensor, place_of(x, indices))
    return builder.compute(shape, x.dtype, gathered)


def _inside(dim: int, size: int, start: int, step: int) -> tuple[Expr, Expr]:
    """Return whether an index is that of one of some elements, and of which one.

    Parameters
    ----------
    dim
        The dimension of the domain.
    size, start, step
        How many elements, the index of the first, the distance from one to the next.

    """
    behind = Expr.op("vsub.i32", Expr.index(dim), Expr.word(start)) if start else Expr.index(dim)
    extent = (size - 1) * step + 1
    is_one = Expr.op("vsltu.i32", behind, Expr.word(extent))
    inside = bounded(behind, extent)
    index = divided(inside, step)
    if step > 1:
        is_one = Expr.op("mand", is_one, Expr.op("vseq.i32", inside, _times(index, step)))
    return is_one, index


def spread(
    builder: Builder,
    x: Value,
    shape: Sequence[int],
    places: Mapping[int, tuple[int, int]],
    fill: Expr,
) -> Value:
    """Return the elements of x among others.

    Parameters
    ----------
    builder
        Where.
    x
        The elements.
    shape
        Sizes of the result.
    places
        For each dimension in which it differs: the index of the first element, which may be
        outside, and the distance from one to the next.
    fill
        What the others are.

    """
    order = x.memory_order()
    mask = None
    indices = []
    for at, n in enumerate(order):
        index = Expr.index(at)
        if n in places:
            is_one, index = _inside(at, x.shape[n], *places[n])
            mask = is_one if mask is None else Expr.op("mand", mask, is_one)
        indices.append(index)
    element = Expr.gather(x.ref.tensor, place_of(x.permute(order), indices))
    result = element if mask is None else Expr.op("vsel", element, fill, mask)
    return builder.compute([shape[n] for n in order], x.dtype, result).permute(inverse(order))


@lowering(aten.slice_backward.default)
def slice_backward(
    builder: Builder, x: Value, shape: Sequence[int], dim: int, start: int, end: int, step: int
) -> Value:
    """Lower the gradient of a slice."""
    dim %= len(shape)
    chosen = range(shape[dim])[start:end:step]
    return spread(builder, x, shape, {dim: (chosen.start, step)}, Expr.word(0))


@lowering(aten.select_backward.default)
def select_backward(
    builder: Builder, x: Value, shape: Sequence[int], dim: int, index: int
) -> Value:
    """Lower the gradient of one index."""
    dim %= len(shape)
    one = builder.reshape(x, (*x.shape[:dim], 1, *x.shape[dim:]))
    return spread(builder, one, shape, {dim: (index % shape[dim], 1)}, Expr.word(0))


@lowering(aten.constant_pad_nd.default)
def pad(builder: Builder, x: Value, padding: Sequence[int], value: float = 0) -> Value:
    """Lower a border of one number."""
    fill = Expr.number(value) if x.dtype is DType.F32 else Expr.word(int(value))
    shape, places = list(x.shape), {}
    for n, (before, behind) in enumerate(zip(padding[::2], padding[1::2], strict=True), 1):
        shape[-n] += before + behind
        if before or behind:
            places[len(shape) - n] = (before, 1)
    return spread(builder, x, shape, places, fill) if places else x


@lowering(aten.cat.default)
def cat(builder: Builder, parts: Sequence[Value], dim: int = 0) -> Value:
    """Lower tensors side by side."""
    rank = len(parts[0].shape)
    dim %= rank
    if len({part.dtype for part in parts}) > 1 or parts[0].dtype is DType.BOOL:
        raise UnsupportedError("parts of different types, or of type bool")
    shape = list(parts[0].shape)
    shape[dim] = 0
    result: Expr = Expr.word(0)
    for part in parts:
        _, index = _inside(dim, part.shape[dim], shape[dim], 1)
        indices = [index if n == dim else Expr.index(n) for n in range(rank)]
        element = Expr.gather(part.ref.tensor, place_of(part, indices))
        before = Expr.op("vslt.i32", Expr.index(dim), Expr.word(shape[dim]))
        # What is deeper comes first: it takes no registers for all that are still to come.
        result = Expr.op("vsel", result, element, before)
        shape[dim] += part.shape[dim]
    return builder.compute(shape, parts[0].dtype, result)


@lowering(aten.embedding_dense_backward.default)
def embedding_backward(
    builder: Builder,
    gradient: Value,
    indices: Value,
    rows: int,
    padding_index: int = -1,
    scale_by_frequency: bool = False,
) -> Value:
    """Lower the sum of the gradients of each row of a table, in the order of the indices.

    Every row of the table looks at every index, which is right for small tables.
    """
    if scale_by_frequency:
        raise UnsupportedError("gradients divided by frequency")
    width = gradient.shape[-1]
    domain = (rows, *indices.shape, width)
    index = builder.load(indices.broadcast((rows, *indices.shape)).broadcast_back(domain))
    chosen = Expr.op("vseq.i32", index, Expr.index(0))
    if 0 <= padding_index < rows:
        padding = Expr.op("vseq.i32", index, Expr.word(padding_index))
        chosen = Expr.op("mandn", chosen, padding)
    element = builder.load(gradient, domain)
    return builder.reduce_domain(
        "vfadd.f32",
        domain,
        Expr.op("vsel", element, Expr.word(0), chosen),
        DType.F32,
    )


@lowering(aten.flip.default)
def flip(builder: Builder, x: Value, dims: Sequence[int]) -> Value:
    """Lower elements in the opposite order."""
    rank = len(x.shape)
    turned = {d % rank for d in dims}
    indices = [
        Expr.op("vsub.i32", Expr.word(x.shape[n] - 1), Expr.index(n))
        if n in turned
        else Expr.index(n)
        for n in range(rank)
    ]
    return builder.compute(x.shape, x.dtype, Expr.gather(x.ref.tensor, place_of(x, indices)))
