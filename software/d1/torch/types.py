"""PyTorch's types, and tensors as words of SRAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from d1.compiler.builder import Value
from d1.compiler.expressions import Ref
from d1.compiler.ir import DType, Tensor
from d1.compiler.layout import pack_operand
from d1.compiler.schedule import Groups

__all__ = ["DTYPES", "from_words", "to_numbers", "to_tiles", "to_words"]

#: What the words of tensors of each type are. Integers have 32 bits on the node, BF16 is FP32.
DTYPES: dict[torch.dtype, DType] = {
    torch.float32: DType.F32,
    torch.bfloat16: DType.F32,
    torch.int64: DType.I32,
    torch.int32: DType.I32,
    torch.bool: DType.BOOL,
}
_NUMPY = {DType.F32: np.float32, DType.I32: np.int32, DType.BOOL: np.uint32}


def to_numbers(value: torch.Tensor) -> NDArray[Any]:
    """Return elements as the node has them: FP32, integers of 32 bits, truth values.

    Raises
    ------
    ValueError
        An integer has more than 32 bits.

    """
    value = value.detach()
    if value.dtype is torch.bfloat16:
        value = value.float()
    array: NDArray[Any] = value.numpy()
    if array.dtype != np.int64:
        return array
    narrow = array.astype(np.int32)
    if not np.array_equal(narrow, array):
        raise ValueError(f"integers must be of 32 bits, not {int(np.abs(array).max())}")
    return narrow


def to_words(tensor: Tensor, value: torch.Tensor) -> NDArray[np.uint32]:
    """Return what is to be written to SRAM: rows padded to whole vectors.

    Raises
    ------
    ValueError
        An integer has more than 32 bits.

    """
    array = to_numbers(value).reshape(tensor.shape).astype(_NUMPY[tensor.dtype], copy=False)
    if tensor.pitch == tensor.shape[-1]:
        return np.ascontiguousarray(array).view(np.uint32).reshape(-1)
    words = np.zeros((tensor.rows, tensor.pitch), np.uint32)
    rows = array.reshape(tensor.rows, tensor.shape[-1])
    words[:, : tensor.shape[-1]] = np.ascontiguousarray(rows).view(np.uint32)
    return words.reshape(-1)


def to_tiles(
    tensor: Tensor, words: NDArray[np.uint32], ref: Ref, shape: Sequence[int]
) -> NDArray[np.uint32]:
    """Return an operand in tiles.

    Parameters
    ----------
    tensor
        The operand.
    words
        FP32 as `to_words` gives them.
    ref, shape
        Which of them are the elements, for batch, lines and k.

    """
    tiles = tensor.tiles
    assert tiles is not None
    height = tensor.lanes // 2
    matrices = _strided(words.view(np.float32), ref, shape).reshape(
        tiles.batch, tiles.lines, tiles.k
    )
    codes = matrices.astype(ml_dtypes.bfloat16).view(np.uint16)
    groups = Groups.cover(tiles.tiles, tiles.group)
    packed = pack_operand(codes, groups, height, 8).view(np.uint32)
    return np.concatenate([packed, np.zeros(tensor.words - packed.size, np.uint32)])


def from_words(words: NDArray[np.uint32], value: Value, dtype: torch.dtype) -> torch.Tensor:
    """Return the elements of a value from the words of its tensor."""
    typed = words.view(_NUMPY[value.dtype])
    elements = np.ascontiguousarray(_strided(typed, value.ref, value.shape)).reshape(value.shape)
    return torch.from_numpy(elements).to(dtype)


def _strided(words: NDArray[np.generic], ref: Ref, shape: Sequence[int]) -> NDArray[np.generic]:
    strides = [words.itemsize * stride for stride in ref.strides]
    return np.lib.stride_tricks.as_strided(words[ref.offset :], tuple(shape), strides)
