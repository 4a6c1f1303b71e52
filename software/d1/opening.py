"""The way to a device: one node, or the mesh of a die."""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

import d1_golden.params as node_params
from d1_golden.params import DieParams

from d1.device import Device, open_device
from d1.fabric.mesh import Mesh, open_mesh

__all__ = ["open"]


@overload
def open(
    device: str = ..., preset: str | None = ..., *, mesh: None = ..., port: str | None = ...
) -> Device: ...


@overload
def open(
    device: str = ...,
    preset: str | None = ...,
    *,
    mesh: tuple[int, int],
    dead: Iterable[tuple[int, int]] = ...,
    dead_routers: Iterable[tuple[int, int]] = ...,
) -> Mesh: ...


def open(
    device: str = "rtl",
    preset: str | None = None,
    *,
    mesh: tuple[int, int] | None = None,
    dead: Iterable[tuple[int, int]] = (),
    dead_routers: Iterable[tuple[int, int]] = (),
    port: str | None = None,
) -> Device | Mesh:
    """Return a new device, or a mesh of them; it is the caller's to close.

    Parameters
    ----------
    device
        "rtl" for the simulated RTL, "golden" for the golden model, "board" for an FPGA board.
    preset
        Name of the nodes' parameters: "d1", "fpga" or "tiny"; by default "fpga" for a board, "d1"
        for others.
    mesh
        Columns and rows of a die; without, there is one node.
    dead
        Places of the die, (column, row) from (1, 1), whose nodes do not work.
    dead_routers
        Places where nothing works.
    port
        Of a board: the name of its serial port; by default that in the environment variable
        `D1_PORT`, or the one USB serial port that there is.

    Raises
    ------
    ValueError
        There is no such device, preset or place, the message lists those there are; or no such
        option for it.
    BoardError
        The board is not there, does not answer, or has another node.

    """
    if mesh is None:
        if list(dead) or list(dead_routers):
            raise ValueError(f"dead and dead_routers must be of a mesh, not of {mesh!r}")
        return open_device(device, preset, port)
    if port is not None:
        raise ValueError(f"port must be of one board, not {port!r} of a mesh")
    preset = preset or "d1"
    columns, rows = mesh
    params = DieParams(
        name=f"{preset} {columns} x {rows}",
        node=node_params.preset(preset),
        columns=columns,
        rows=rows,
        dead_cores=tuple(dead),
        dead_routers=tuple(dead_routers),
    )
    return open_mesh(device, params)
