"""What may be multiplied: matrices of BF16 or CFP8, from numpy or PyTorch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from d1_golden.numerics import Cfp8Config
from d1_golden.numerics.convert import cfp8_to_fp32_array, fp32_to_cfp8_array
from numpy.typing import ArrayLike, NDArray

__all__ = ["Cfp8Array", "Operand", "fp32_operand", "is_torch_tensor", "operand"]


@dataclass(frozen=True)
class Cfp8Array:
    """An array of 8-bit configurable floats.

    Parameters
    ----------
    codes : uint8 array
        The bit patterns.
    config : Cfp8Config
        Format and exponent bias of all of them.

    Raises
    ------
    TypeError
        `codes` is not an array of uint8, or `config` not a `Cfp8Config`.

    """

    codes: NDArray[np.uint8]
    config: Cfp8Config

    def __post_init__(self) -> None:
        if not isinstance(self.codes, np.ndarray) or self.codes.dtype != np.uint8:
            found = getattr(self.codes, "dtype", type(self.codes).__name__)
            raise TypeError(f"codes must be a numpy array of uint8, not {found}")
        if not isinstance(self.config, Cfp8Config):
            raise TypeError(f"config must be a Cfp8Config, not {self.config!r}")

    @classmethod
    def from_float(cls, values: ArrayLike, config: Cfp8Config) -> Cfp8Array:
        """Return `values`, taken as FP32, rounded to nearest even; too large ones are clamped."""
        return cls(
            fp32_to_cfp8_array(np.asarray(values, np.float32).view(np.uint32), config), config
        )

    def to_float(self) -> NDArray[np.float32]:
        """Return the exact values."""
        return cfp8_to_fp32_array(self.codes, self.config).view(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.codes.shape


@dataclass(frozen=True)
class Operand:
    """Codes of a matrix or a batch: uint32 are FP32, uint16 BF16, uint8 CFP8 of `config`."""

    codes: NDArray[np.generic]
    config: Cfp8Config | None = None


def is_torch_tensor(value: object) -> bool:
    """Return whether a value is a PyTorch tensor, without importing PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def operand(name: str, value: Any) -> Operand:
    """Return the codes of an operand.

    Parameters
    ----------
    name
        What the error message calls it.
    value
        numpy array of `ml_dtypes.bfloat16`, PyTorch tensor of bfloat16 on the CPU, or `Cfp8Array`.

    Raises
    ------
    TypeError
        It is something else.
    ValueError
        It has no elements.

    """
    if isinstance(value, Cfp8Array):
        result = Operand(value.codes, value.config)
    elif isinstance(value, np.ndarray) and value.dtype == ml_dtypes.bfloat16:
        result = Operand(value.view(np.uint16))
    elif is_torch_tensor(value) and str(value.dtype) == "torch.bfloat16":
        if value.device.type != "cpu":
            raise TypeError(f"{name} must be on the cpu, not on {value.device}")
        torch = sys.modules["torch"]
        result = Operand(value.detach().view(torch.uint16).numpy())
    else:
        found = getattr(value, "dtype", None) or f"a {type(value).__name__}"
        raise TypeError(
            f"{name} must be of bfloat16 (numpy with ml_dtypes, or torch) or a Cfp8Array, "
            f"not {found}"
        )
    _require_elements(name, result)
    return result


def fp32_operand(name: str, value: Any) -> Operand:
    """Return the codes of an operand that is FP32 already.

    Parameters
    ----------
    name
        What the error message calls it.
    value
        numpy array of float32 or PyTorch tensor of float32 on the CPU.

    Raises
    ------
    TypeError
        It is something else, or a tensor that requires grad.
    ValueError
        It has no elements.

    """
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        codes = value
    elif is_torch_tensor(value) and str(value.dtype) == "torch.float32":
        if value.device.type != "cpu" or value.requires_grad:
            raise TypeError(
                f"{name} must be on the cpu and not require grad, not be on {value.device} with "
                f"requires_grad={value.requires_grad}"
            )
        codes = value.numpy()
    else:
        found = getattr(value, "dtype", None) or f"a {type(value).__name__}"
        raise TypeError(f"{name} must be of float32 (numpy or torch), not {found}")
    result = Operand(codes.view(np.uint32))
    _require_elements(name, result)
    return result


def _require_elements(name: str, value: Operand) -> None:
    if not value.codes.size:
        raise ValueError(f"{name} must not be empty, not of shape {value.codes.shape}")
