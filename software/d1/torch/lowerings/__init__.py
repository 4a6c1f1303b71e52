"""ATen operators for the compiler, one registration each.

`registry` has what a registration is; every other module of this folder is loaded and registers its
operators.
"""

from __future__ import annotations

import importlib
import pkgutil

from d1.torch.lowerings.registry import LOWERINGS, Lowering, UnsupportedError, lowering

__all__ = ["LOWERINGS", "Lowering", "UnsupportedError", "lowering"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
