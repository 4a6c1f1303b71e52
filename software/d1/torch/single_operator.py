"""One operator of PyTorch as a graph of its own, compiled once for each shape of its operands."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
from torch.func import functionalize
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from d1.torch.capture import Target, compile_aten, is_symbolic, warn_once
from d1.torch.configuration import settings
from d1.torch.decompositions import decompositions
from d1.torch.lowerings import LOWERINGS

__all__ = ["run_operator", "written_arguments"]

_aten = torch.ops.aten
#: Errors of tracing: shapes or results follow from the data.
_UNTRACEABLE = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)


def run_operator(operator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """Return the results of an operator, then new contents for the arguments that it writes.

    It is compiled by the passes that compile whole graphs, so the bits are those of a graph with
    this operator alone. What cannot be compiled is PyTorch's, with one warning that names it.

    Parameters
    ----------
    operator
        An overload of ATen or of a library.
    args, kwargs
        Its arguments; tensors are on the CPU.

    Raises
    ------
    DeviceError
        The device failed.
    ValueError
        An integer has more than 32 bits.

    """
    function, args, kwargs = _with_numbers_as_tensors(operator, args, kwargs)
    leaves, spec = tree_flatten((list(args), kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    reason = _refusal(operator, tensors)
    if not reason:
        key = (operator, spec, _signature(leaves), settings().preset, settings().precision)
        if key not in _compiled:
            _compiled[key] = _compile(function, operator, leaves, spec)
        known = _compiled[key]
        if known is not None:
            return list(known(*tensors))
        reason = "sizes of its results follow from data"
    if reason != _NOTHING:
        warn_once(operator, reason)
    return _call(function, operator, leaves, spec)


_compiled: dict[Hashable, Callable[..., Sequence[Any]] | None] = {}
#: With an empty operand there is next to nothing to do, and nothing to warn of.
_NOTHING = "an operand is empty"


def _refusal(operator: Any, tensors: Sequence[Tensor]) -> str:
    """Return why an operator is not even tried."""
    if torch.Tag.nondeterministic_seeded in operator.tags and operator not in LOWERINGS:
        return "random numbers are the host's"
    if any(tensor.numel() == 0 for tensor in tensors):
        return _NOTHING
    return ""


def _signature(leaves: Sequence[Any]) -> Hashable:
    return tuple(
        (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else (type(leaf), leaf)
        for leaf in leaves
    )


def written_arguments(operator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """Return the tensors among the arguments that an operator writes, in order."""
    written: list[Any] = []
    for n, argument in enumerate(operator._schema.arguments):
        value = args[n] if n < len(args) else kwargs.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write and value is not None:
            written += value if isinstance(value, (list, tuple)) else [value]
    return written


def _call(
    function: Callable[..., Any], operator: Any, leaves: Sequence[Any], spec: TreeSpec
) -> list[Any]:
    """Return flat results and what was written, for which the arguments are copied."""
    args, kwargs = tree_unflatten(list(leaves), spec)
    if not operator._schema.is_mutable:
        return tree_flatten(function(*args, **kwargs))[0]
    copies = {id(x): x.clone() for x in written_arguments(operator, args, kwargs)}
    flat = [copies.get(id(leaf), leaf) for leaf in tree_flatten((args, kwargs))[0]]
    args, kwargs = tree_unflatten(flat, spec)
    results = function(*args, **kwargs)
    if function is not operator:  # it has returned what the operator writes
        return [results]
    others = [r for r in tree_flatten(results)[0] if all(r is not c for c in copies.values())]
    return [*others, *copies.values()]


def _compile(
    function: Callable[..., Any], operator: Any, leaves: Sequence[Any], spec: TreeSpec
) -> Callable[..., Sequence[Any]] | None:
    """Return a compiled operator; None if sizes of its results follow from data."""
    places = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def of_tensors(*tensors: Tensor) -> list[Any]:
        known = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            known[place] = tensor
        return _call(function, operator, known, spec)

    def trace() -> GraphModule:
        traced = make_fx(
            functionalize(of_tensors, remove="mutations_and_views"),
            decomposition_table=decompositions(),
            tracing_mode="fake",
        )(*(leaves[place] for place in places))
        traced.graph.eliminate_dead_code()
        return traced

    # Within an operator PyTorch has switched off what functionalization needs, for this thread.
    with ThreadPoolExecutor(1) as other_thread:
        try:
            traced = other_thread.submit(trace).result()
        except _UNTRACEABLE:
            return None
    return None if is_symbolic(traced) else compile_aten(traced, Target({"nodes": (1, 1)}))


# Numbers that change from call to call, as the step of an optimizer does, are operands: a kernel
# with the number in it would be compiled anew each time.


def _add(a: Tensor, b: Tensor, *, alpha: Any) -> Tensor:
    return a + alpha * b


def _subtract(a: Tensor, b: Tensor, *, alpha: Any) -> Tensor:
    return a - alpha * b


def _add_quotient(a: Tensor, b: Tensor, c: Tensor, *, value: Any) -> Tensor:
    return a + value * (b / c)


_WITH_NUMBER: dict[Any, tuple[str, Callable[..., Tensor]]] = {
    _aten.add.Tensor: ("alpha", _add),
    _aten.add_.Tensor: ("alpha", _add),
    _aten.sub.Tensor: ("alpha", _subtract),
    _aten.sub_.Tensor: ("alpha", _subtract),
    _aten.addcdiv.default: ("value", _add_quotient),
    _aten.addcdiv_.default: ("value", _add_quotient),
}


def _with_numbers_as_tensors(
    operator: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    """Return a call in which numbers that stand for operands are tensors.

    The operand beside a number has its type whatever the number is only if both are real.
    """
    args, kwargs = list(args), dict(kwargs)
    if not args or not isinstance(args[0], Tensor) or args[0].dtype is not torch.float32:
        return operator, args, kwargs
    for n, argument in enumerate(operator._schema.arguments[: len(args)]):
        if isinstance(args[n], float) and isinstance(argument.type, torch.TensorType):
            args[n] = torch.tensor(args[n])
    name, function = _WITH_NUMBER.get(operator, ("", operator))
    if isinstance(kwargs.get(name), float):
        kwargs[name] = torch.tensor(kwargs[name])
        return function, args, kwargs
    return operator, args, kwargs
