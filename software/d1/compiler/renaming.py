"""Kernels with other tensors in the place of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from d1.compiler.expressions import Expr, Kind, Ref
from d1.compiler.ir import Choice, Kernel, Loops, Pack, Product, Repeat, Stochastic, Store, Tensor

__all__ = ["renamed"]

_Rename = Callable[[Tensor], Tensor]
_AnyKernel = TypeVar("_AnyKernel", bound=Kernel)


def renamed(kernel: _AnyKernel, rename: _Rename) -> _AnyKernel:
    """Return a kernel that does the same with other tensors, of the same shapes.

    Parameters
    ----------
    kernel
        One that does nothing with other nodes.
    rename
        Gives the other tensor for each of its own.

    """
    match kernel:
        case Loops():
            return replace(kernel, stores=_stores(kernel.stores, rename))
        case Product():
            return replace(
                kernel,
                left=rename(kernel.left),
                right=rename(kernel.right),
                stores=_stores(kernel.stores, rename),
                formats=kernel.formats and (rename(kernel.formats[0]), rename(kernel.formats[1])),
            )
        case Pack():
            of = kernel.stochastic
            return replace(
                kernel,
                target=rename(kernel.target),
                value=_expression(kernel.value, rename),
                format=kernel.format and rename(kernel.format),
                stochastic=of and Stochastic(rename(of.seed), rename(of.stream)),
            )
        case Choice():
            return replace(
                kernel,
                predicate=rename(kernel.predicate),
                results=tuple(map(rename, kernel.results)),
                then=tuple(renamed(part, rename) for part in kernel.then),
                otherwise=tuple(renamed(part, rename) for part in kernel.otherwise),
            )
        case Repeat():
            return replace(
                kernel,
                condition=tuple(renamed(part, rename) for part in kernel.condition),
                predicate=rename(kernel.predicate),
                results=tuple(map(rename, kernel.results)),
                body=tuple(renamed(part, rename) for part in kernel.body),
                moves=tuple(renamed(part, rename) for part in kernel.moves),
            )
    raise TypeError(f"kernel must be of a node alone, not {kernel}")


def _stores(stores: tuple[Store, ...], rename: _Rename) -> tuple[Store, ...]:
    return tuple(
        Store(_ref(store.target, rename), _expression(store.value, rename)) for store in stores
    )


def _ref(ref: Ref, rename: _Rename) -> Ref:
    return replace(ref, tensor=rename(ref.tensor))


def _expression(value: Expr, rename: _Rename) -> Expr:
    def change(node: Expr) -> Expr | None:
        if node.kind is Kind.LOAD:
            return Expr.load(_ref(node.attribute, rename))
        if node.kind is Kind.GATHER:
            return Expr.gather(rename(node.attribute), _expression(node.args[0], rename))
        return None

    return value.map_down(change)
