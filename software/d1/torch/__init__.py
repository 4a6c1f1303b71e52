"""PyTorch on the device: the operator `d1::matmul` and the `torch.compile` backend "d1".

>>> import d1.torch, torch
>>> d1.torch.configure(device="golden", preset="tiny", check=True)
Settings(device='golden', preset='tiny', check=True)
>>> model = torch.compile(torch.nn.Linear(4, 3), backend="d1")
>>> model(torch.ones(2, 4)).shape, d1.torch.statistics().differing_bits
(torch.Size([2, 3]), 0)

The backend is an entry point of this package, so `torch.compile` knows it without an import.
"""

from d1.torch.backend import compile_graph
from d1.torch.configuration import (
    Settings,
    Statistics,
    configure,
    reset_statistics,
    settings,
    statistics,
)
from d1.torch.operator import matmul

__all__ = [
    "Settings",
    "Statistics",
    "compile_graph",
    "configure",
    "matmul",
    "reset_statistics",
    "settings",
    "statistics",
]
