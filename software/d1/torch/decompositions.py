"""What operators without lowering are made of."""

from __future__ import annotations

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
    _: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.reshape(batch, groups, -1)
    variance, mean = torch.var_mean(rows, -1, correction=0, keepdim=True)
    scale = torch.rsqrt(variance + eps)
    result = ((rows - mean) * scale).reshape(x.shape)
    of_channel = (channels, *(1 for _ in x.shape[2:]))
    if weight is not None:
        result = result * weight.reshape(of_channel)
    if bias is not None:
        result = result + bias.reshape(of_channel)
    return result, mean.squeeze(-1), scale.squeeze(-1)


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
    table[_aten.native_group_norm.default] = _group_norm
    return {op: rule for op, rule in table.items() if op not in LOWERINGS}
