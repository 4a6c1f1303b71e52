"""Tensors on the device "d1"."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from d1.torch.single_operator import run_operator, written_arguments

__all__ = ["DEVICE", "DEVICE_TYPE", "D1Tensor"]

_aten = torch.ops.aten
#: PyTorch's name of the device, letters alone; `eager` registers it.
DEVICE_TYPE = "dojo"
#: The device, by the name that it has before it is registered.
DEVICE = torch.device("privateuseone", 0)
#: What only moves, tells or makes data, and computes nothing.
_BY_HOST = frozenset(
    {
        _aten.clone.default,
        _aten.detach.default,
        _aten.lift_fresh.default,
        _aten._local_scalar_dense.default,
        _aten.is_pinned.default,
        _aten.equal.default,
        _aten.resize_.default,
        _aten.set_.source_Tensor,
        _aten.fill_.Scalar,
        _aten.zero_.default,
        _aten.empty_like.default,
        _aten.zeros_like.default,
        _aten.ones_like.default,
        _aten.full_like.default,
        _aten.new_empty.default,
        _aten.new_empty_strided.default,
        _aten.new_zeros.default,
        _aten.new_ones.default,
        _aten.new_full.default,
    }
)
#: Operators whose indices may be on the CPU while data are not, as in PyTorch.
_INDEXING = frozenset({_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default})
#: Operators that do not declare what they write, and their likes that do.
_DECLARING = {_aten.native_batch_norm.default: _aten._native_batch_norm_legit.default}
#: Types of tensors with elements; others stand for them while PyTorch traces.
_PLAIN = (Tensor, torch.nn.Parameter)


class D1Tensor(Tensor):
    """A tensor on the device "d1".

    Its elements are in the part of the host's memory that belongs to the device; each operator
    brings its operands to a node's SRAM, runs there, and brings the results back. Views share
    elements, as everywhere in PyTorch.

    Parameters
    ----------
    elements
        The elements, on the CPU; without gradient.

    """

    elements: Tensor

    @staticmethod
    def __new__(cls, elements: Tensor) -> D1Tensor:
        """Return a tensor of some elements."""
        made: D1Tensor = Tensor._make_wrapper_subclass(
            cls,
            elements.shape,
            strides=elements.stride(),
            storage_offset=elements.storage_offset(),
            dtype=elements.dtype,
            device=DEVICE,
        )
        return made

    def __init__(self, elements: Tensor) -> None:
        self.elements = elements

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Return the names of the tensors inside, for `torch.compile`."""
        return ["elements"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> D1Tensor:
        """Return a tensor with others inside, for `torch.compile`."""
        return D1Tensor(inner["elements"])

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator."""
        kwargs = kwargs or {}
        _require_one_device(func, args, kwargs)
        if func is _aten.copy_.default:
            args[0].elements.copy_(_elements(args[1]))
            return args[0]
        inner_args, inner_kwargs = tree_map(_elements, (list(args), kwargs))
        if kwargs.get("device") is not None:
            return _created(func, inner_args, inner_kwargs)
        if func.is_view or func in _BY_HOST or not _computes(func, inner_args, inner_kwargs):
            results = tree_map(_wrapped, func(*inner_args, **inner_kwargs))
        else:
            results = _run(func, args, kwargs, inner_args, inner_kwargs)
        return return_and_correct_aliasing(func, args, kwargs, results)

    def __repr__(self, *, tensor_contents: str | None = None) -> str:  # type: ignore[override]
        """Return the elements as PyTorch shows them, and the device."""
        text = tensor_contents or repr(self.elements)[:-1]
        if self.grad_fn is not None:
            tail = f", grad_fn=<{self.grad_fn.name()}>"
        else:
            tail = ", requires_grad=True" if self.requires_grad else ""
        head = "Parameter containing:\n" if isinstance(self, torch.nn.Parameter) else ""
        return f"{head}{text}, device='{DEVICE}'{tail})"

    def __format__(self, spec: str) -> str:
        """Return the text of a single element in some format, as of any tensor."""
        return format(self.elements, spec)

    def tolist(self) -> Any:
        """Return the elements as numbers in lists."""
        return self.elements.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what is pickled: the elements, so that it can be loaded where no device is."""
        plain = self.elements.detach().requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            plain = torch.nn.Parameter(plain, self.requires_grad)
        return plain.__reduce_ex__(protocol)


def _elements(value: Any) -> Any:
    return value.elements if isinstance(value, D1Tensor) else value


def _wrapped(value: Any) -> Any:
    return D1Tensor(value) if isinstance(value, Tensor) else value


def _require_one_device(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Refuse tensors of another device, but for single numbers, as PyTorch does."""
    if func is _aten.copy_.default:
        return
    some = args[:1] if func in _INDEXING else args
    for value in tree_flatten((some, kwargs))[0]:
        if isinstance(value, Tensor) and not isinstance(value, D1Tensor) and value.dim():
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, "
                f"{DEVICE} and {value.device}! ({func}; move one with .to())"
            )


def _computes(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Return whether an operator has operands, with elements: it is not traced by PyTorch.

    Nothing is computed either where a tensor is filled with random numbers, which are the host's.
    """
    if func._schema.is_mutable and torch.Tag.nondeterministic_seeded in func.tags:
        return False
    outputs = {argument.name for argument in func._schema.arguments if argument.is_out}
    read = {name: value for name, value in kwargs.items() if name not in outputs}
    tensors = [leaf for leaf in tree_flatten((args, read))[0] if isinstance(leaf, Tensor)]
    return bool(tensors) and all(type(tensor) in _PLAIN for tensor in tensors)


def _created(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Return a new tensor on the device that is named: copied to it or made there."""
    target = torch.device(kwargs["device"])
    result = func(*args, **kwargs | {"device": "cpu"})
    if target.type == DEVICE.type:
        return D1Tensor(result)
    return result if target.type == "cpu" else result.to(target)


def _run(
    func: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    inner_args: Sequence[Any],
    inner_kwargs: dict[str, Any],
) -> Any:
    """Run an operator on a node; return its results, and write what it writes."""
    if func in _DECLARING and None not in args:
        func = _DECLARING[func]
    results = run_operator(func, inner_args, inner_kwargs)
    written = written_arguments(func, args, kwargs)
    count = len(results) - len(written)
    for target, contents in zip(written, results[count:], strict=True):
        _elements(target).copy_(contents)
    leaves = tree_flatten((inner_args, inner_kwargs))[0]
    places = {leaf.data_ptr() for leaf in leaves if isinstance(leaf, Tensor)}
    fresh = [_wrapped(_unshared(result, places)) for result in results[:count]] or written
    returns = func._schema.returns
    if not returns:
        return None
    if len(returns) == 1:
        return fresh if isinstance(returns[0].type, torch.ListType) else fresh[0]
    return tuple(fresh)


def _unshared(value: Any, places: Collection[int]) -> Any:
    """Return a result; a copy where it is an operand, which compiled graphs hand through."""
    shared = isinstance(value, Tensor) and value.data_ptr() in places
    return value.clone() if shared else value
