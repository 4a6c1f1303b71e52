"""The `torch.compile` backend "d1".

AOTAutograd hands over the forward and the backward graph in ATen operators. In mode "graph" each
is compiled as a whole (`capture`). In mode "products" every `matmul`, `linear`, `einsum` and so
on, which has become one of those of :data:`PRODUCTS`, is replaced by `d1::matmul`; the rest of the
graph stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch.fx import GraphModule, Node
from torch.nn.attention import SDPBackend, sdpa_kernel

from d1.torch import operator  # noqa: F401  (defines torch.ops.d1.matmul)
from d1.torch.capture import Target, chosen_settings, compile_aten
from d1.torch.configuration import Settings
from d1.torch.decompositions import decompositions

__all__ = ["PRODUCTS", "compile_graph"]

_aten = torch.ops.aten
_Options = dict[str, Any]
#: Options that `d1::matmul` takes.
_OF_PRODUCTS = ("device", "preset", "check")
_DTYPES = (torch.float32, torch.bfloat16)


def compile_graph(
    graph: GraphModule, example_inputs: list[torch.Tensor], *, options: _Options | None = None
) -> Callable[..., Any]:
    """Compile a graph of Dynamo: ``torch.compile(model, backend="d1", options={...})``.

    Parameters
    ----------
    graph, example_inputs
        From Dynamo.
    options
        Members of `Settings`, for this model only; what is left out follows `configure`.

    Raises
    ------
    ValueError
        An option is unknown, or its value.

    """
    target = Target(options or {})
    known = Settings.__dataclass_fields__
    if unknown := [name for name in target if name not in known]:
        raise ValueError(f"options must be among {', '.join(known)}, not {unknown[0]!r}")
    Settings(**target)

    def offload(module: GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        _offload(module, {name: target[name] for name in _OF_PRODUCTS if name in target})
        return make_boxed_func(module.forward)

    def compile_whole(module: GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        target.parallelism.begin(module)
        return make_boxed_func(compile_aten(module, target))

    if chosen_settings(target).mode == "products":
        compiler = aot_autograd(fw_compiler=offload)
    else:
        compiler = aot_autograd(
            fw_compiler=compile_whole,
            decompositions=decompositions(),
            partition_fn=min_cut_rematerialization_partition,
        )
    # Attention as the operators that it consists of.
    with sdpa_kernel(SDPBackend.MATH):
        compiled: Callable[..., Any] = compiler(graph, example_inputs)
    return compiled


def _offload(module: GraphModule, target: _Options) -> None:
    """Replace the products of a graph."""
    graph = module.graph
    for node in list(graph.nodes):
        replace = PRODUCTS.get(node.target) if node.op == "call_function" else None
        if replace is None or not _is_for_device(node):
            continue
        with graph.inserting_before(node):
            result = replace(_Builder(node, target), *node.args, **node.kwargs)
        node.replace_all_uses_with(result)
        graph.erase_node(node)
    graph.lint()
    module.recompile()


def _is_for_device(node: Node) -> bool:
    """Whether a device can do it: floating point that it has, and not empty."""
    tensors = [n.meta["val"] for n in (node, *node.all_input_nodes) if "val" in n.meta]
    return all(t.dtype in _DTYPES and 0 not in t.shape and t.device.type == "cpu" for t in tensors)


class _Builder:
    """Writes the nodes that take the place of one product."""

    def __init__(self, node: Node, target: _Options) -> None:
        self.node, self.target = node, target

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Node:
        return self.node.graph.call_function(function, args, kwargs)

    def product(self, a: Node, b: Node) -> Node:
        """Multiply on the device, in the type that the original had."""
        result = self.call(torch.ops.d1.matmul.default, a, b, **self.target)
        dtype = self.node.meta["val"].dtype
        if dtype != torch.float32:
            result = self.call(_aten._to_copy.default, result, dtype=dtype)
        return result

    def vector_product(self, a: Node, b: Node) -> Node:
        column = self.call(_aten.unsqueeze.default, b, 1)
        return self.call(_aten.squeeze.dim, self.product(a, column), 1)

    def dot(self, a: Node, b: Node) -> Node:
        row = self.call(_aten.unsqueeze.default, a, 0)
        return self.call(_aten.squeeze.dim, self.vector_product(row, b), 0)

    def scaled_sum(self, addend: Node, result: Node, beta: float, alpha: float) -> Node:
        """Return beta x addend + alpha x result, where a beta of 0 ignores the addend."""
        if alpha != 1:
            result = self.call(_aten.mul.Scalar, result, alpha)
        if beta == 0:
            return result
        if beta != 1:
            addend = self.call(_aten.mul.Scalar, addend, beta)
        return self.call(_aten.add.Tensor, result, addend)

    def add_product(
        self, addend: Node, a: Node, b: Node, *, beta: float = 1, alpha: float = 1
    ) -> Node:
        return self.scaled_sum(addend, self.product(a, b), beta, alpha)

    def add_vector_product(
        self, addend: Node, a: Node, b: Node, *, beta: float = 1, alpha: float = 1
    ) -> Node:
        return self.scaled_sum(addend, self.vector_product(a, b), beta, alpha)


#: The operators that are offloaded, and what takes their place.
PRODUCTS: dict[Any, Callable[..., Node]] = {
    _aten.mm.default: _Builder.product,
    _aten.bmm.default: _Builder.product,
    _aten.mv.default: _Builder.vector_product,
    _aten.dot.default: _Builder.dot,
    _aten.addmm.default: _Builder.add_product,
    _aten.baddbmm.default: _Builder.add_product,
    _aten.addmv.default: _Builder.add_vector_product,
}
