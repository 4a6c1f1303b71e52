"""The kinds of device there are, by name; each is one module that opens links.

`open_link(params)` opens one to a node, `open_die_link(params)` one to a die,
`open_machine_link(params, processes=...)` one to a machine of several dies.
"""

from __future__ import annotations

import importlib
from typing import Any

from d1_golden.machine import MachineParams
from d1_golden.params import DieParams, NodeParams

from d1.link import DieLink, Link, MachineLink

__all__ = ["BACKENDS", "open_die_link", "open_link", "open_machine_link"]

#: Name of a device and the module that opens it, imported only when it is asked for.
BACKENDS = {
    "board": "d1.backends.board",
    "golden": "d1.backends.golden",
    "rtl": "d1.backends.rtl",
}


def open_link(device: str, params: NodeParams, port: str | None = None) -> Link:
    """Return a new link to a device of the kind `device`.

    Parameters
    ----------
    device
        The kind.
    params
        Parameters of the node.
    port
        Of a board: the name of its serial port.

    Raises
    ------
    ValueError
        There is no such kind, the message lists those there are; or it has no port.

    """
    backend = _backend(device)
    if port is not None and device != "board":
        raise ValueError(f"port must be None for device {device!r}, not {port!r}")
    link: Link = backend.open_link(params) if port is None else backend.open_link(params, port)
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


def open_machine_link(
    device: str, params: MachineParams, *, processes: bool = False
) -> MachineLink:
    """Return a new link to a machine of the kind `device`.

    Raises
    ------
    ValueError
        There is no such kind; the message lists those there are.

    """
    link: MachineLink = _backend(device).open_machine_link(params, processes=processes)
    return link


def _backend(device: str) -> Any:
    if device not in BACKENDS:
        raise ValueError(f"device must be one of {', '.join(sorted(BACKENDS))}, not {device!r}")
    return importlib.import_module(BACKENDS[device])
