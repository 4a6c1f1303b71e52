"""The table of operators that the compiler takes.

A lowering is a function of a `Builder` and the operator's arguments, with `Value`s in the place of
tensors; it returns a `Value`, or a tuple of them where the operator has several results:

    @lowering(aten.relu.default)
    def relu(builder: Builder, x: Value) -> Value:
        return builder.elementwise(
            lambda a: Expr.op("vfmax.f32", a, Expr.number(0)), x, dtype=DType.F32
        )
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["LOWERINGS", "Lowering", "UnsupportedError", "lowering"]


class UnsupportedError(Exception):
    """An operator cannot be compiled with these arguments; the message says why."""


@dataclass(frozen=True)
class Lowering:
    """How an operator becomes kernels.

    Parameters
    ----------
    function
        Appends the kernels; raises `UnsupportedError` before it has changed anything.
    is_view
        Whether PyTorch gives a view of the operand.

    """

    function: Callable[..., Any]
    is_view: bool = False


LOWERINGS: dict[Any, Lowering] = {}


def lowering(*targets: Any, is_view: bool = False) -> Callable[[Any], Any]:
    """Register a function as the lowering of operators.

    Raises
    ------
    ValueError
        One of them has a lowering.

    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for target in targets:
            if target in LOWERINGS:
                raise ValueError(f"{target} must have one lowering, not two")
            LOWERINGS[target] = Lowering(function, is_view)
        return function

    return register
