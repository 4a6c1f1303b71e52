"""The picture of a job on a die: who computed how much, which links carried how much.

Beside it, how the latency of a packet grows with the load of the mesh, from the golden mesh, which
the RTL equals packet for packet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from d1_golden.fabric.mesh import MeshModel, MeshRun, latency_curve
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import Plane
from d1_golden.fabric.traffic import Pattern
from d1_golden.params import DieParams

from d1.fabric.die_job import DieRun
from d1.fabric.routing_tables import routing_tables
from d1.svg import Svg, shade

__all__ = ["latency_curves", "write_heatmap"]

_CELL, _NODE, _LINK = 34, 24, 4
_MARGIN, _GAP, _TOP = 40, 60, 70
_PLOT_WIDTH, _PLOT_HEIGHT = 480, 330
_DEAD, _NOTHING = "#ffffff", "#999999"
_COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#333333")
#: Packets per node and cycle that are offered; and how long, in cycles.
_LOADS = (0.01, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.32, 0.36, 0.4, 0.44, 0.48)
_CYCLES, _WARMUP = 2500, 1000
#: Curves end where packets wait longer: then the load is more than the mesh takes.
_MOST_LATENCY = 150.0


def latency_curves(die: DieParams) -> dict[Pattern, list[MeshRun]]:
    """Return runs of the golden mesh of a die's size by traffic pattern, each load after the other.

    With dead routers uniform traffic alone, which goes round them.
    """
    patterns = [p for p in Pattern if p is not Pattern.TRANSPOSE or die.columns == die.rows]
    entries = None
    if die.dead_routers:
        patterns = [Pattern.UNIFORM]
        entries = routing_tables(die).entries.reshape(len(die.places), 32, 32)
    model = MeshModel(die.columns, die.rows, entries=entries, dead=die.dead_routers)
    curves = {}
    for pattern in patterns:
        runs: list[MeshRun] = []
        for load in _LOADS:
            runs += latency_curve(model, pattern, [load], cycles=_CYCLES, warmup=_WARMUP)
            if not runs[-1].latency <= _MOST_LATENCY:
                break
        curves[pattern] = runs
    return curves


def write_heatmap(run: DieRun, curves: Mapping[Pattern, Sequence[MeshRun]], path: Path) -> None:
    """Write the picture as SVG.

    Parameters
    ----------
    run
        The job.
    curves
        See `latency_curves`.
    path
        The file.

    Raises
    ------
    OSError
        It cannot be written.

    """
    die = run.die
    map_width, map_height = die.columns * _CELL, die.rows * _CELL
    width = _MARGIN + map_width + _GAP + _PLOT_WIDTH + _MARGIN
    height = _TOP + max(map_height + 90, _PLOT_HEIGHT + 120)
    picture = Svg(width, height)
    picture.box(0, 0, width, height, "#ffffff")
    picture.text(
        _MARGIN,
        28,
        f"{run.m} x {run.n} x {run.k} BF16 on {len(die.live_nodes)} nodes: {run.cycles} cycles, "
        f"{run.tflops:.1f} TFLOP/s at 2 GHz",
        size=16,
    )
    _draw_nodes(picture, run)
    _draw_links(picture, run)
    below = _TOP + map_height + 20
    busiest = float(run.link_load[..., list(SIDES)].max())
    picture.legend(_MARGIN + 30, below, 120, "0", "1")
    picture.text(_MARGIN, below + 26, "nodes: matrix steps per cycle", size=11)
    picture.legend(_MARGIN + 30, below + 38, 120, "0", f"{busiest:.2g}")
    picture.text(_MARGIN, below + 64, "links: packets per cycle, both planes", size=11)
    _draw_curves(picture, curves, die, _MARGIN + map_width + _GAP, _TOP)
    picture.write(path)


def _corner(column: int, row: int) -> tuple[float, float]:
    """Return the upper left of a node's box."""
    inset = (_CELL - _NODE) / 2
    return _MARGIN + (column - 1) * _CELL + inset, _TOP + (row - 1) * _CELL + inset


def _draw_nodes(picture: Svg, run: DieRun) -> None:
    live = set(run.die.live_nodes)
    for column, row in run.die.places:
        x, y = _corner(column, row)
        if (column, row) in live:
            used = float(run.utilisation[row - 1, column - 1])
            title = f"({column}, {row}): {used:.1%} of the cycles"
            picture.box(x, y, _NODE, _NODE, shade(used), title=title)
            continue
        what = "router" if (column, row) in run.die.dead_routers else "core"
        title = f"({column}, {row}): dead {what}"
        picture.box(x, y, _NODE, _NODE, _DEAD, stroke=_NOTHING, title=title)
        picture.line([(x, y), (x + _NODE, y + _NODE)], _NOTHING)
        if what == "router":
            picture.line([(x, y + _NODE), (x + _NODE, y)], _NOTHING)


def _draw_links(picture: Svg, run: DieRun) -> None:
    """Draw a bar for each direction of each link, beside each other."""
    load = run.link_load
    busiest = max(float(load[..., list(SIDES)].max()), 1e-9)
    gap = _CELL - _NODE
    middle = _NODE / 2
    for column, row in run.die.live_routers:
        x, y = _corner(column, row)
        for side in SIDES:
            beside = Place(column, row).neighbour(side)[:2]
            if beside not in run.die.places:
                continue
            requests, replies = (float(load[plane, row - 1, column - 1, side]) for plane in Plane)
            title = (
                f"({column}, {row}) {side.name.lower()}: {requests:.3f} requests and "
                f"{replies:.3f} replies a cycle"
            )
            # Traffic keeps to the right of its way.
            left, top, width, height = {
                Port.EAST: (x + _NODE, y + middle + 1, gap, _LINK),
                Port.WEST: (x - gap, y + middle - 1 - _LINK, gap, _LINK),
                Port.SOUTH: (x + middle - 1 - _LINK, y + _NODE, _LINK, gap),
                Port.NORTH: (x + middle + 1, y - gap, _LINK, gap),
            }[side]
            colour = shade((requests + replies) / busiest)
            picture.box(left, top, width, height, colour, title=title)


def _draw_curves(
    picture: Svg,
    curves: Mapping[Pattern, Sequence[MeshRun]],
    die: DieParams,
    left: float,
    top: float,
) -> None:
    bottom, right = top + _PLOT_HEIGHT, left + _PLOT_WIDTH
    most_load = max(_LOADS)

    def point(run: MeshRun) -> tuple[float, float]:
        latency = min(run.latency, _MOST_LATENCY)
        return (
            left + run.offered / most_load * _PLOT_WIDTH,
            bottom - latency / _MOST_LATENCY * _PLOT_HEIGHT,
        )

    picture.text(left, top - 14, f"A plane of {die.columns} x {die.rows} routers", size=13)
    for tick in np.arange(0, most_load, 0.1):
        x = left + tick / most_load * _PLOT_WIDTH
        picture.line([(x, top), (x, bottom)], "#dddddd")
        picture.text(x, bottom + 16, f"{tick:.1f}", size=10, anchor="middle")
    for latency in range(0, int(_MOST_LATENCY) + 1, 25):
        y = bottom - latency / _MOST_LATENCY * _PLOT_HEIGHT
        picture.line([(left, y), (right, y)], "#dddddd")
        picture.text(left - 6, y + 4, str(latency), size=10, anchor="end")
    picture.line([(left, top), (left, bottom), (right, bottom)], "#000000")
    picture.text(
        (left + right) / 2,
        bottom + 34,
        "offered packets per node and cycle",
        size=11,
        anchor="middle",
    )
    picture.text(left + 6, top + 14, "mean latency in cycles", size=11)
    for number, (pattern, runs) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [point(run) for run in runs if np.isfinite(run.latency)]
        if len(points) > 1:
            picture.line(points, colour, width=2)
        y = bottom + 56 + 16 * (number // 3)
        x = left + (number % 3) * 150
        picture.line([(x, y - 4), (x + 20, y - 4)], colour, width=2)
        picture.text(x + 26, y, pattern.value, size=11)
