"""Operators on lists of tensors, which optimizers use, as those on one tensor each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["foreach_decompositions"]

_ALL = ("List", "Scalar", "ScalarList")


def _with_value(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function of three tensors that takes its number by name, with the number last."""
    return lambda a, b, c, value=1: function(a, b, c, value=value)


#: By name behind `_foreach_`: the function of one tensor, and for what operands there is one.
_FUNCTIONS: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "abs": (torch.abs, ("default",)),
    "add": (torch.add, (*_ALL, "Tensor")),
    "addcdiv": (_with_value(torch.addcdiv), ("Scalar", "ScalarList")),
    "addcmul": (_with_value(torch.addcmul), ("Scalar", "ScalarList")),
    "clamp_max": (torch.clamp_max, _ALL),
    "clamp_min": (torch.clamp_min, _ALL),
    "clone": (torch.clone, ("default",)),
    "div": (torch.div, (*_ALL, "Tensor")),
    "exp": (torch.exp, ("default",)),
    "lerp": (torch.lerp, _ALL),
    "log": (torch.log, ("default",)),
    "maximum": (torch.maximum, ("List",)),
    "minimum": (torch.minimum, ("List",)),
    "mul": (torch.mul, (*_ALL, "Tensor")),
    "neg": (torch.neg, ("default",)),
    "norm": (torch.linalg.vector_norm, ("Scalar",)),
    "pow": (torch.pow, (*_ALL, "ScalarAndTensor")),
    "reciprocal": (torch.reciprocal, ("default",)),
    "rsqrt": (torch.rsqrt, ("default",)),
    "sign": (torch.sign, ("default",)),
    "sqrt": (torch.sqrt, ("default",)),
    "sub": (torch.sub, _ALL),
}


@cache
def foreach_decompositions() -> dict[Any, Callable[..., list[Tensor]]]:
    """Return what the operators consist of."""
    return {
        getattr(getattr(torch.ops.aten, f"_foreach_{name}"), overload): _each(function)
        for name, (function, overloads) in _FUNCTIONS.items()
        for overload in overloads
    }


def _each(function: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    """Return a function of lists that calls one with what is at each place of them."""

    def decomposed(*arguments: Any, **options: Any) -> list[Tensor]:
        count = next(len(a) for a in arguments if isinstance(a, (list, tuple)))
        lists = [a if isinstance(a, (list, tuple)) else count * [a] for a in arguments]
        return [function(*row, **options) for row in zip(*lists, strict=True)]

    return decomposed
