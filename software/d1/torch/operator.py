"""The operator `d1::matmul` of PyTorch: fake kernel, autograd, and the check against golden."""

from typing import Any

import numpy as np
import torch
from d1_golden.numerics import matmul_reference

from d1.device import shared_device
from d1.operands import Operand
from d1.operators import multiply
from d1.torch.configuration import Settings, Statistics, count, settings

__all__ = ["matmul"]

_DTYPES = (torch.float32, torch.bfloat16)


@torch.library.custom_op("d1::matmul", mutates_args=(), device_types="cpu")
def matmul(
    a: torch.Tensor,
    b: torch.Tensor,
    device: str = "",
    preset: str = "",
    check: bool | None = None,
) -> torch.Tensor:
    """Return the product of two matrices, or batches of them, in FP32, computed on a device.

    FP32 operands are rounded to BF16, nearest even, on their way to the device; so are gradients.

    Parameters
    ----------
    a, b
        Tensors of float32 or bfloat16 with two or more dimensions; those before the last two are a
        batch and are broadcast.
    device, preset, check
        As in `Settings`; where not given, the settings apply.

    Raises
    ------
    TypeError
        An operand is of another type.
    ValueError
        Shapes do not fit or are empty; no such device or preset.
    DeviceError
        The device failed.

    """
    _require(a, b)
    chosen = settings()
    target = Settings(
        device=device or chosen.device,
        preset=preset or chosen.preset,
        check=chosen.check if check is None else check,
    )
    left, right = _codes("a", a), _codes("b", b)
    node = shared_device(target.device, target.preset)
    result = multiply(node, Operand(left), Operand(right))
    done = Statistics(products=1, macs=result.size * left.shape[-1])
    if target.check:
        expected = _reference(left, right, node.params.dot_fraction_bits)
        done.checked_outputs = result.size
        done.differing_bits = int(np.bitwise_count(result.view(np.uint32) ^ expected).sum())
    count(done)
    return torch.from_numpy(result)


@matmul.register_fake
def _(
    a: torch.Tensor,
    b: torch.Tensor,
    device: str = "",
    preset: str = "",
    check: bool | None = None,
) -> torch.Tensor:
    _require(a, b)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return a.new_empty((*batch, a.shape[-2], b.shape[-1]), dtype=torch.float32)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    a, b, *ctx.target = inputs
    ctx.save_for_backward(a, b)


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Return the gradients, which are products on the same device."""
    a, b = ctx.saved_tensors
    to_a = to_b = None
    if ctx.needs_input_grad[0]:
        to_a = matmul(gradient, b.mT, *ctx.target).sum_to_size(a.shape).to(a.dtype)
    if ctx.needs_input_grad[1]:
        to_b = matmul(a.mT, gradient, *ctx.target).sum_to_size(b.shape).to(b.dtype)
    return to_a, to_b, None, None, None


matmul.register_autograd(_backward, setup_context=_setup_context)


def _require(a: torch.Tensor, b: torch.Tensor) -> None:
    for name, value in (("a", a), ("b", b)):
        if value.dtype not in _DTYPES:
            raise TypeError(f"{name} must be of float32 or bfloat16, not {value.dtype}")
        if value.ndim < 2:
            raise ValueError(f"{name} must have two or more dimensions, not {value.ndim}")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"a and b must agree in the size that is summed over, not be of shapes "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )


def _codes(name: str, value: torch.Tensor) -> np.ndarray:
    if not value.numel():
        raise ValueError(f"{name} must not be empty, not of shape {tuple(value.shape)}")
    return value.detach().to(torch.bfloat16).view(torch.uint16).numpy()


def _reference(left: np.ndarray, right: np.ndarray, fraction_bits: int) -> np.ndarray:
    """Return the bits of the product as the golden numerics define it."""
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    flat = [
        np.broadcast_to(x, batch + x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (left, right)
    ]
    products = [matmul_reference(a, b, fraction_bits) for a, b in zip(*flat, strict=True)]
    return np.stack(products).reshape(*batch, left.shape[-2], right.shape[-1])
