"""The device "d1" of PyTorch: `import d1.torch.eager` and tensors can be brought to it.

>>> import torch
>>> import d1.torch.eager
>>> d1.torch.configure(device="golden", preset="tiny").device
'golden'
>>> torch.ones(2, device="d1") + torch.tensor([1.0, 2.0]).to("d1")
tensor([2., 3.], device='dojo:0')

PyTorch reads names of devices as letters alone, so its own name for this one is "dojo", after the
machine; the functions that take a device are wrapped to know "d1" too. All else is PyTorch's way to
add a device in Python ("PrivateUse1").
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils._device import _device_constructors
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

import d1.torch  # noqa: F401  (settings)
from d1.torch.d1_tensor import DEVICE, DEVICE_TYPE, D1Tensor

__all__ = ["DEVICE", "D1Tensor"]

#: Names by which the functions below know the device.
_NAMES = ("d1", "d1:0")


class _DeviceModule(_DummyBackendModule):
    """`torch.dojo`: what PyTorch asks about the device.

    Random numbers are the host's, whose state PyTorch keeps itself; the device has none.
    """

    @torch.compiler.disable
    def get_rng_state(self, device: object = None) -> Tensor:
        """Return the state of the device's generator: nothing."""
        return torch.empty(0, dtype=torch.uint8)

    @torch.compiler.disable
    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        """Do nothing, as there is no state."""


def _known(value: Any) -> Any:
    """Return the device for its name, everything else as it is."""
    return DEVICE if isinstance(value, str) and value in _NAMES else value


def _knowing(function: Callable[..., Any], *, anywhere: bool) -> Callable[..., Any]:
    """Return a function that takes the name of the device, as keyword or also by position."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "device" in kwargs:
            kwargs["device"] = _known(kwargs["device"])
        return function(*(map(_known, args) if anywhere else args), **kwargs)

    return wrapper


def _empty(size: Any, *, dtype: Any = None, **_: Any) -> D1Tensor:
    return D1Tensor(torch.empty(size, dtype=dtype))


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> D1Tensor:
    return D1Tensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    there, here = (x.elements if isinstance(x, D1Tensor) else x for x in (target, source))
    there.copy_(here)
    return target


def _register() -> torch.library.Library:
    _setup_privateuseone_for_python_backend(DEVICE_TYPE, _DeviceModule())
    library = torch.library.Library("aten", "IMPL")
    library.impl("empty.memory_format", _empty, "PrivateUse1")
    library.impl("empty_strided", _empty_strided, "PrivateUse1")
    library.impl("_copy_from", _copy_from, "PrivateUse1")  # by torch.tensor
    Tensor.to = _knowing(Tensor.to, anywhere=True)  # type: ignore[method-assign]
    Module.to = _knowing(Module.to, anywhere=True)  # type: ignore[method-assign]
    for function in cast("set[Callable[..., Any]]", _device_constructors()):
        if getattr(torch, function.__name__, None) is function:
            setattr(torch, function.__name__, _knowing(function, anywhere=False))
    return library


#: Holds the registrations.
_library = _register()
