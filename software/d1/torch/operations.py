"""How many floating-point operations an operator is, on the node or in PyTorch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["HostOperations", "operations"]

aten = torch.ops.aten
#: Of products, which argument's last dimension is summed over.
_PRODUCTS = {
    aten.mm: 0,
    aten.bmm: 0,
    aten.mv: 0,
    aten.dot: 0,
    aten.addmm: 1,
    aten.addmv: 1,
    aten.baddbmm: 1,
}
#: What moves, makes or converts elements without computing any.
_MOVES = frozenset(
    """
    _to_copy _unsafe_view alias arange cat clone constant_pad_nd copy copy_ detach embedding empty
    empty_like empty_strided expand fill fill_ full full_like gather index index_select
    lift_fresh lift_fresh_copy new_empty new_full new_zeros ones ones_like permute repeat reshape
    scalar_tensor select select_backward slice slice_backward split split_with_sizes squeeze stack
    t transpose unbind unsqueeze view where masked_fill zero_ zeros zeros_like
    """.split()
)


def operations(target: Any, arguments: Any, result: Any) -> int:
    """Return how many floating-point operations a call of an ATen operator is.

    Two for each term of a product; else one for each element of the largest operand or result of
    floating point, whatever the function; none for what only moves elements.

    Parameters
    ----------
    target
        The operator.
    arguments, result
        What it takes and returns, with tensors or their fake ones.

    """
    packet = getattr(target, "overloadpacket", None)
    if packet is None or packet.__name__ in _MOVES:
        return 0
    tensors = [
        value
        for value in tree_leaves((arguments, result))
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    ]
    if packet in _PRODUCTS:
        terms = arguments[_PRODUCTS[packet]].shape[-1]
        return 2 * terms * math.prod(result.shape)
    return max((math.prod(tensor.shape) for tensor in tensors), default=0)


class HostOperations(TorchDispatchMode):
    """Counts the operations of the operators that PyTorch computes inside a `with` statement.

    Members
    -------
    count : int
        How many there were.

    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Return that compiled code is to run as it does without this."""
        return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute and count."""
        result = func(*args, **kwargs or {})
        self.count += operations(func, args, result)
        return result
