"""`torch.cond` and `torch.while_loop`: branches of the program, decided by a word in SRAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx import GraphModule, Node

from d1.compiler.builder import Builder, Value
from d1.torch.lowerings.registry import LOWERINGS, UnsupportedError, lowering
from d1.torch.types import to_numbers

_higher_order = torch.ops.higher_order


def known_value(builder: Builder, attribute: Any) -> Any:
    """Return what a graph has of its own: a tensor as a constant, a graph as it is.

    Raises
    ------
    UnsupportedError
        An integer has more than 32 bits.

    """
    if not isinstance(attribute, torch.Tensor):
        return attribute
    try:
        with unset_fake_temporarily():
            return builder.constant(to_numbers(attribute))
    except ValueError as error:
        raise UnsupportedError(str(error)) from None


def lowered_graph(builder: Builder, module: GraphModule, operands: Sequence[Value]) -> list[Value]:
    """Return the results of a graph inside another one.

    Raises
    ------
    UnsupportedError
        An operator in it cannot be compiled.

    """
    values: dict[Node, Any] = {}
    given = iter(operands)

    def known(argument: Any) -> Any:
        return torch.fx.node.map_arg(argument, lambda node: values[node])

    for node in module.graph.nodes:
        match node.op:
            case "placeholder":
                values[node] = next(given)
            case "get_attr":
                values[node] = known_value(builder, getattr(module, str(node.target)))
            case "call_function":
                args, kwargs = known(node.args), known(node.kwargs)
                values[node] = LOWERINGS[node.target].function(builder, *args, **kwargs)
    (results,) = node.args
    results = results if isinstance(results, (tuple, list)) else (results,)
    if any(not isinstance(result, Node) for result in results):
        raise UnsupportedError("a result that is no tensor")
    return [values[result] for result in results]


@lowering(_higher_order.cond)
def cond(
    builder: Builder,
    predicate: Value,
    then: GraphModule,
    otherwise: GraphModule,
    operands: Sequence[Value],
) -> list[Value]:
    """Lower a choice: one of the two graphs is computed."""
    _check(predicate, *operands)
    return builder.choose(
        predicate,
        lambda: lowered_graph(builder, then, operands),
        lambda: lowered_graph(builder, otherwise, operands),
    )


@lowering(_higher_order.while_loop)
def while_loop(
    builder: Builder,
    condition: GraphModule,
    body: GraphModule,
    carried: Sequence[Value],
    others: Sequence[Value],
) -> list[Value]:
    """Lower a loop: the graphs are computed until the condition does not hold."""
    _check(*carried, *others)

    def holds(values: Sequence[Value]) -> Value:
        (result,) = lowered_graph(builder, condition, [*values, *others])
        return result

    return builder.repeat(
        holds, lambda values: lowered_graph(builder, body, [*values, *others]), carried
    )


def _check(*operands: Any) -> None:
    for operand in operands:
        if not isinstance(operand, Value):
            raise UnsupportedError(f"an operand that is no tensor but {operand!r}")
