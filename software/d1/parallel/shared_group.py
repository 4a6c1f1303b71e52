"""The process's rectangles of nodes, opened at first use."""

from __future__ import annotations

from functools import cache

from d1_golden.params import DieParams, preset

from d1.fabric.collectives import Group
from d1.fabric.mesh import open_mesh

__all__ = ["shared_group"]


@cache
def shared_group(device: str, preset_name: str, nodes: tuple[int, int]) -> Group:
    """Return the process's one die of a kind, preset and size, all of its nodes.

    Parameters
    ----------
    device, preset_name
        As in `d1.open`.
    nodes
        Columns and rows.

    Raises
    ------
    ValueError
        There is no such device or preset.

    """
    columns, rows = nodes
    die = DieParams(
        name=f"{preset_name} {columns} x {rows}",
        node=preset(preset_name),
        columns=columns,
        rows=rows,
    )
    return Group(open_mesh(device, die))
