"""What operators without lowering are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, decomposition_table, get_decompositions

from d1.torch.foreach import foreach_decompositions
from d1.torch.lowerings import LOWERINGS

__all__ = ["decompositions"]

_aten = torch.ops.aten

#: Operators of which PyTorch's reference is made of operators again, and not of its primitives.
_BY_REFERENCE = (
    _aten.addcdiv,
    _aten.addcmul,
    _aten.elu,
    _aten.gelu,
    _aten.hardtanh,
    _aten.index_select,
    _aten.leaky_relu,
    _aten.lerp,
    _aten.linalg_vector_norm,
    _aten.native_layer_norm,
    _aten.repeat,
)


#: Constants of a graph pass through these when it is captured; rules for them stop that.
_KEPT = (_aten.lift.default, _aten.lift_fresh.default)


def _group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    batch: int,
    channels: int,
    places: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.reshape(batch, groups, channels // groups * places)
    variance, mean = torch.var_mean(rows, -1, correction=0, keepdim=True)
    scale = torch.rsqrt(variance + eps)
    result = ((rows - mean) * scale).reshape(x.shape)
    of_channel = (channels, *(1 for _ in x.shape[2:]))
    if weight is not None:
        result = result * weight.reshape(of_channel)
    if bias is not None:
        result = result + bias.reshape(of_channel)
    return result, mean.squeeze(-1), scale.squeeze(-1)


def _add_products(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    product = torch.bmm(a, b).sum(0)
    product = product if alpha == 1 else product * alpha
    return product if beta == 0 else product + (x if beta == 1 else x * beta)


def _trilinear(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    expand_a: list[int],
    expand_b: list[int],
    expand_c: list[int],
    summed: list[int],
    _: int = 1,
) -> Tensor:
    """Return the product of three, with new dimensions each, summed along some."""
    factors = []
    for x, new in ((a, expand_a), (b, expand_b), (c, expand_c)):
        for dim in new:
            x = x.unsqueeze(dim)
        factors.append(x)
    product = factors[0] * factors[1] * factors[2]
    return product.sum(summed) if summed else product


def _round_decimals(x: Tensor, *, decimals: int) -> Tensor:
    if decimals < 0:
        return (x / 10.0**-decimals).round() * 10.0**-decimals
    return (x * 10.0**decimals).round() / 10.0**decimals


def _hypot(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.abs(), b.abs()
    large, small = torch.maximum(a, b), torch.minimum(a, b)
    ratio = small / large
    size = large * (1 + ratio * ratio).sqrt()
    return torch.where((small == 0) | (small == large) & large.isinf(), large, size)


def _put(x: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    flat = x.reshape(-1).index_put((index.reshape(-1),), source.reshape(-1), accumulate)
    return flat.reshape(x.shape)


def _index_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, name: str, *, include_self: bool = True
) -> Tensor:
    if not x.dim():
        one = _index_reduce(
            x.reshape(1), 0, index, source.reshape(1), name, include_self=include_self
        )
        return one.reshape(())
    places = index.reshape([-1 if n == dim % x.dim() else 1 for n in range(x.dim())])
    return x.scatter_reduce(dim, places.expand_as(source), source, name, include_self=include_self)


def _kth_value(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    if not x.dim():
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    values, places = torch.sort(x, dim=dim, stable=True)
    chosen = (values.narrow(dim, k - 1, 1), places.narrow(dim, k - 1, 1))
    return chosen if keepdim else (chosen[0].squeeze(dim), chosen[1].squeeze(dim))


def _median(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    count = x.shape[dim] if x.dim() else 1
    return _kth_value(x, (count + 1) // 2, dim, keepdim)


def _median_of_all(x: Tensor) -> Tensor:
    return _median(x.reshape(-1), 0)[0]


def _search_sorted(
    row: Tensor,
    x: Tensor | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Return how many elements of a row are before each element, or before a number."""
    if sorter is not None:
        row = row.gather(-1, sorter)
    if isinstance(x, Tensor) and x.dim():
        row, x = row.unsqueeze(-2), x.unsqueeze(-1)
    before = row <= x if right or side == "right" else row < x
    return before.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def _bucketize(
    x: Tensor | float, edges: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    if not isinstance(x, Tensor):
        return _search_sorted(edges, x, out_int32=out_int32, right=right)
    places = _search_sorted(edges, x.reshape(-1), out_int32=out_int32, right=right)
    return places.reshape(x.shape)


def _repeat_places(repeats: Tensor, *, output_size: int | None = None) -> Tensor:
    """Return the number of the element that each result repeats."""
    if output_size is None:
        return NotImplemented
    return _search_sorted(
        repeats.cumsum(0), torch.arange(output_size, device=repeats.device), right=True
    )


def _numbers_of_chosen(mask: Tensor) -> Tensor:
    """Return, where a mask is true, how many before are."""
    return mask.reshape(-1).cumsum(0).reshape(mask.shape) - 1


def _masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    x, mask = torch.broadcast_tensors(x, mask)
    return torch.where(mask, source.reshape(-1)[_numbers_of_chosen(mask).relu()], x)


def _masked_scatter_backward(gradient: Tensor, mask: Tensor, shape: list[int]) -> Tensor:
    """Return what each element that was brought to a place gets from there."""
    mask, count = mask.expand_as(gradient), math.prod(shape)
    places = torch.where(mask, _numbers_of_chosen(mask), count).reshape(-1)
    result = gradient.new_zeros(count + 1).scatter_add(0, places, gradient.reshape(-1))
    return result[:count].reshape(shape)


def _histogram(x: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    if not x.numel():
        return x.new_zeros(bins)
    x = x.reshape(-1)
    low, high = x.new_full((), min), x.new_full((), max)
    if min == max:
        low, high = x.amin(), x.amax()
        low, high = torch.where(low == high, low - 1, low), torch.where(low == high, high + 1, high)
    number = torch.div((x - low) * bins, high - low, rounding_mode="floor").clamp(max=bins - 1)
    inside = (x >= low) & (x <= high)
    of_bin = number == torch.arange(bins, dtype=x.dtype, device=x.device).unsqueeze(1)
    return (of_bin & inside).sum(1, dtype=x.dtype)


def _most_frequent(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Return of the most frequent elements the least, and the last place where it is."""
    if not x.dim():
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    rows = x.movedim(dim, -1)
    counts = (rows.unsqueeze(-1) == rows.unsqueeze(-2)).sum(-1)
    others = counts < counts.amax(-1, keepdim=True)
    value = torch.where(others, rows.amax(-1, keepdim=True), rows).amin(-1, keepdim=True)
    numbers = torch.arange(rows.shape[-1], device=x.device)
    places = torch.where(rows == value, numbers, -1).amax(-1, keepdim=True)
    if keepdim:
        return value.movedim(-1, dim), places.movedim(-1, dim)
    return value.squeeze(-1), places.squeeze(-1)


def _pad_by_edges_backward(gradient: Tensor, x: Tensor, padding: list[int]) -> Tensor:
    """Return the gradient of what was padded with its edges: an edge has those of its copies."""
    for n in range(len(padding) // 2):
        dim, before = x.dim() - 1 - n, padding[2 * n]
        size = x.shape[dim]
        gradient = torch.constant_pad_nd(
            gradient, [*2 * n * [0], *(max(-by, 0) for by in padding[2 * n : 2 * n + 2])]
        )
        before = max(before, 0)
        behind = gradient.shape[dim] - before - size
        if size == 1:
            gradient = gradient.sum(dim, keepdim=True)
            continue
        parts = [before + 1, size - 2, behind + 1]
        first, middle, last = gradient.split(parts, dim)
        edges = [part.sum(dim, keepdim=True) for part in (first, last)]
        gradient = torch.cat([edges[0], *([middle] if size > 2 else []), edges[1]], dim)
    return gradient


_OWN: dict[Any, Callable[..., Any]] = {
    _aten.native_group_norm.default: _group_norm,
    _aten.addbmm.default: _add_products,
    _aten._trilinear.default: _trilinear,
    _aten.round.decimals: _round_decimals,
    _aten.hypot.default: _hypot,
    _aten.put.default: _put,
    _aten.index_reduce.default: _index_reduce,
    _aten.kthvalue.default: _kth_value,
    _aten.median.dim: _median,
    _aten.median.default: _median_of_all,
    _aten.searchsorted.Tensor: _search_sorted,
    _aten.searchsorted.Scalar: _search_sorted,
    _aten.bucketize.Tensor: _bucketize,
    _aten.bucketize.Scalar: _bucketize,
    _aten.repeat_interleave.Tensor: _repeat_places,
    _aten.masked_scatter.default: _masked_scatter,
    _aten.masked_scatter_backward.default: _masked_scatter_backward,
    _aten.histc.default: _histogram,
    _aten.mode.default: _most_frequent,
    _aten.replication_pad1d_backward.default: _pad_by_edges_backward,
    _aten.replication_pad2d_backward.default: _pad_by_edges_backward,
    _aten.replication_pad3d_backward.default: _pad_by_edges_backward,
}


@cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return the rules: PyTorch's for the most part, but for operators that have a lowering."""
    table = {
        op: rule
        for op, rule in decomposition_table.items()
        if rule.__module__ == "torch._decomp.decompositions" and op not in _KEPT
    }
    # The table of the core set is filled when it is walked through, so it cannot be joined.
    table.update(core_aten_decompositions().items())
    table.update(get_decompositions(_BY_REFERENCE))
    table |= foreach_decompositions()
    table |= _OWN
    return {op: rule for op, rule in table.items() if op not in LOWERINGS}
