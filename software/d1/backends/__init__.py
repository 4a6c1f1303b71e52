"""The kinds of device there are, by name; each is one module that opens links.

`open_link(params)` opens one to a node, `open_die_link(params)` one to a die.
"""

from __future__ import annotations

import importlib
from typing import Any

from d1_golden.params import DieParams, NodeParams

from d1.link import DieLink, Link

__all__ = ["BACKENDS", "open_die_link", "open_link"]

#: Name of a device and the module that opens it, imported only when it is asked for.
BACKENDS = {"golden": "d1.backends.golden", "rtl": "d1.backends.rtl"}


def open_link(device: str, params: NodeParams) -> Link:
    """Return a new link to a device of the kind `device`.

    Raises
    ------
    ValueError
        There is no such kind; the message lists those there are.

    """
    link: Link = _backend(device).open_link(params)
    return link


def open_die_link(device: str, params: DieParams) -> DieLink:
    """Return a new link to a die of the kind `device`.

    Raises
    ------
    ValueError
        There is no such kind; the message lists those there are.

    """
    link: DieLink = _backend(device).open_die_link(params)
    return link


def _backend(device: str) -> Any:
    if device not in BACKENDS:
        raise ValueError(f"device must be one of {', '.join(sorted(BACKENDS))}, not {device!r}")
    return importlib.import_module(BACKENDS[device])
