"""The way to a device: one node, the mesh of a die, or several dies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

import d1_golden.params as node_params
from d1_golden.machine import MachineParams
from d1_golden.params import DieParams
from d1_golden.serdes.params import LINKS

from d1.device import Device, open_device
from d1.fabric.machine import Machine, open_machine
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
    dies: None = ...,
) -> Mesh: ...


@overload
def open(
    device: str = ...,
    preset: str = ...,
    *,
    mesh: tuple[int, int],
    dead: Iterable[tuple[int, int]] = ...,
    dies: tuple[int, int],
    edge_links: int | None = ...,
    processes: bool = ...,
) -> Machine: ...


def open(
    device: str = "rtl",
    preset: str | None = None,
    *,
    mesh: tuple[int, int] | None = None,
    dead: Iterable[tuple[int, int]] = (),
    dead_routers: Iterable[tuple[int, int]] = (),
    dies: tuple[int, int] | None = None,
    edge_links: int | None = None,
    processes: bool = False,
    port: str | None = None,
) -> Device | Mesh | Machine:
    """Return a new device, or a mesh or a machine of them; it is the caller's to close.

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
        Places where nothing works; not with several dies.
    dies
        Columns and rows of dies, each with a mesh, joined by the links that the preset's name has
        in `d1_golden.serdes.params.LINKS`; without, there is one die.
    edge_links
        Links of each edge between dies; as many as the shorter edge has places if not said.
    processes
        Whether each die of the simulated RTL gets a process of its own.
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
        if dies is not None:
            raise ValueError(f"dies must be of a mesh each, not {dies!r} of {mesh!r}")
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
    if dies is None:
        return open_mesh(device, params)
    machine = MachineParams(
        name=f"{dies[0]} x {dies[1]} of {params.name}",
        die=params,
        columns=dies[0],
        rows=dies[1],
        link=LINKS[preset],
        edge_links=min(mesh) if edge_links is None else edge_links,
    )
    return open_machine(device, machine, processes=processes)
