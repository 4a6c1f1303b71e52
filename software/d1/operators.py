"""Operators that run on a device."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from d1_golden.numerics import BF16, FP32
from numpy.typing import NDArray

from d1.compiler.layout import unpack_result
from d1.compiler.tile import OperandFormats
from d1.compiler.tiling import Piece, Product, choose_tiling
from d1.device import Device, shared_device
from d1.fabric.distributed_matmul import streamed_matmul
from d1.fabric.matmul_choice import is_better_streamed
from d1.fabric.mesh import Mesh
from d1.launch import launch
from d1.operands import Operand, fp32_operand, is_torch_tensor, operand

__all__ = ["matmul", "multiply", "sgemm"]


def matmul(a: Any, b: Any, *, device: str | Device | Mesh = "rtl", preset: str = "d1") -> Any:
    """Return the matrix product of `a` and `b` in FP32, computed on a device.

    Every element is summed as `d1_golden.numerics.matmul_reference` defines, whatever the shapes.
    Dimensions are treated as by `torch.matmul`: those before the last two are a batch and are
    broadcast, and a vector is a row on the left and a column on the right.

    Parameters
    ----------
    a, b
        Both of BF16 (`ml_dtypes.bfloat16` arrays or torch tensors) or both `Cfp8Array`.
    device
        Kind of device, one of which is shared in the process, or a device or a mesh of your own. On
        a mesh a product runs on one node or on all, whichever should take fewer cycles
        (`d1.fabric.matmul_choice`).
    preset
        Node parameters of the shared device.

    Returns
    -------
    array or tensor of float32
        A torch tensor where an operand is one; it takes part in autograd where they do.

    Raises
    ------
    TypeError
        An operand is of another type.
    ValueError
        Shapes do not fit or are empty; no such device or preset.
    DeviceError
        The device failed.

    """
    left, right = operand("a", a), operand("b", b)
    tensors = [value for value in (a, b) if is_torch_tensor(value)]
    if any(tensor.requires_grad for tensor in tensors):
        return _differentiable(a, b, device, preset)
    where = shared_device(device, preset) if isinstance(device, str) else device
    result = multiply(where, left, right)
    return sys.modules["torch"].from_numpy(result) if tensors else result


def sgemm(a: Any, b: Any, *, device: str | Device | Mesh = "rtl", preset: str = "d1") -> Any:
    """Return the matrix product of `a` and `b` in FP32, computed by the vector lanes of a device.

    Every element starts at +0 and takes the terms of k in order, each with one fused multiply-add
    (`d1_golden.numerics.fp32.fma`): exact products, one rounding to FP32 behind each addition.
    Nothing is rounded on the way to the device, and the matrix unit takes no part. Shapes, the
    device and errors are those of `matmul`.

    Parameters
    ----------
    a, b
        numpy arrays of float32 or torch tensors of float32 on the CPU, without gradients.
    device, preset
        As for `matmul`.

    Returns
    -------
    array or tensor of float32
        A torch tensor where an operand is one.

    """
    left, right = fp32_operand("a", a), fp32_operand("b", b)
    where = shared_device(device, preset) if isinstance(device, str) else device
    result = multiply(where, left, right)
    tensors = is_torch_tensor(a) or is_torch_tensor(b)
    return sys.modules["torch"].from_numpy(result) if tensors else result


def _differentiable(a: Any, b: Any, device: str | Device | Mesh, preset: str) -> Any:
    """Multiply tensors that need gradients: the torch operator knows how."""
    if not isinstance(device, str):
        raise TypeError(
            f"device must be a name where a tensor requires grad (the backward pass opens it "
            f"too), not {device!r}"
        )
    from d1.torch import operator

    left = a.unsqueeze(0) if a.ndim == 1 else a
    right = b.unsqueeze(1) if b.ndim == 1 else b
    result = operator.matmul(left, right, device=device, preset=preset)
    vectors = tuple(axis for axis, x in ((-2, a), (-1, b)) if x.ndim == 1)
    return result.squeeze(vectors)


def multiply(device: Device | Mesh, a: Operand, b: Operand) -> NDArray[np.float32]:
    """Return the product of two operands; see `matmul`."""
    formats = _formats(a, b)
    left, right = a.codes, b.codes
    if not left.ndim or not right.ndim:
        raise ValueError(
            f"a and b must have at least one dimension, not shapes {left.shape}, {right.shape}"
        )
    left = left[None] if a.codes.ndim == 1 else left
    right = right[:, None] if b.codes.ndim == 1 else right
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(
            f"a and b must agree in the size that is summed over, not be of shapes "
            f"{a.codes.shape} and {b.codes.shape}"
        )
    result = _batched(device, left, right, formats)
    vectors = tuple(axis for axis, x in ((-2, a), (-1, b)) if x.codes.ndim == 1)
    return result.squeeze(vectors)


def _formats(a: Operand, b: Operand) -> OperandFormats:
    if a.config and b.config:
        return a.config, b.config
    if a.codes.dtype == b.codes.dtype == np.uint32:
        return FP32
    if a.config or b.config:
        raise TypeError(
            f"a and b must both be of bfloat16 or both CFP8, not {_name(a)} and {_name(b)}"
        )
    return BF16


def _name(value: Operand) -> str:
    return "CFP8" if value.config else "bfloat16"


def _batched(
    device: Device | Mesh,
    left: NDArray[np.generic],
    right: NDArray[np.generic],
    formats: OperandFormats,
) -> NDArray[np.float32]:
    """Broadcast the batch dimensions; where the right operand has none, they are only rows."""
    if right.ndim == 2:
        rows = left.reshape(1, -1, left.shape[-1])
        return _run(device, rows, right[None], formats).reshape(*left.shape[:-1], -1)
    try:
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise ValueError(
            f"batch dimensions of a and b must broadcast, not be {left.shape[:-2]} and "
            f"{right.shape[:-2]}"
        ) from None
    count = int(np.prod(batch))
    flat = [
        np.broadcast_to(x, batch + x.shape[-2:]).reshape(count, *x.shape[-2:])
        for x in (left, right)
    ]
    result = _run(device, flat[0], flat[1], formats)
    return result.reshape(*batch, *result.shape[1:])


def _run(
    device: Device | Mesh,
    left: NDArray[np.generic],
    right: NDArray[np.generic],
    formats: OperandFormats,
) -> NDArray[np.float32]:
    """Multiply ``[batch, m, k]`` by ``[batch, k, n]``, piece by piece."""
    batch, m, k = left.shape
    n = right.shape[2]
    if isinstance(device, Mesh):
        if is_better_streamed(device.params, m, n, k, formats):
            products = [
                streamed_matmul(device, rows, np.ascontiguousarray(columns.T), formats)[0]
                for rows, columns in zip(left, right, strict=True)
            ]
            return np.stack(products)
        device = next(iter(device.nodes.values()))
    whole = Product(params=device.params, batch=batch, m=m, n=n, k=k, formats=formats)
    # Both with k last, so that either can take either side.
    right = right.transpose(0, 2, 1)
    result = np.empty((batch, m, n), np.float32)
    with device.lock:
        for piece in choose_tiling(whole, device.data.free).pieces():
            rows = left[piece.batch, piece.rows, piece.k]
            columns = right[piece.batch, piece.columns, piece.k]
            part = _call(device, piece, rows, columns)
            if part is not None:
                result[piece.batch, piece.rows, piece.columns] = part
    return result


def _call(
    device: Device, piece: Piece, rows: NDArray[np.generic], columns: NDArray[np.generic]
) -> NDArray[np.float32] | None:
    """Run one piece; return its part of the result once it is complete."""
    schedule = piece.schedule
    sides = (columns, rows) if piece.swapped else (rows, columns)
    result = launch(device, schedule, sides, read=piece.last)
    if result is None:
        return None
    part = unpack_result(result, schedule)
    if piece.swapped:
        part = part.transpose(0, 2, 1)
    return part[:, : rows.shape[1], : columns.shape[1]]
