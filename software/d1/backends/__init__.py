"""The kinds of device there are, by name; each is one module with an `open_link`."""

from __future__ import annotations

import importlib

from d1_golden.params import NodeParams

from d1.link import Link

__all__ = ["BACKENDS", "open_link"]

#: Name of a device and the module that opens it, imported only when it is asked for.
BACKENDS = {"golden": "d1.backends.golden", "rtl": "d1.backends.rtl"}


def open_link(device: str, params: NodeParams) -> Link:
    """Return a new link to a device of the kind `device`.

    Raises
    ------
    ValueError
        There is no such kind; the message lists those there are.

    """
    if device not in BACKENDS:
        raise ValueError(f"device must be one of {', '.join(sorted(BACKENDS))}, not {device!r}")
    link: Link = importlib.import_module(BACKENDS[device]).open_link(params)
    return link
