"""The command `d1 die`: matrices multiplied on every node of a die, checked and measured."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from d1_golden.fabric.ports import SIDES
from d1_golden.params import DIES
from rich.console import Console
from rich.table import Table

from d1.fabric.die_job import DieRun, even_size, peak_tflops, run_product
from d1.fabric.heatmap import latency_curves, write_heatmap
from d1.fabric.mesh import open_mesh

__all__ = ["run_die"]


def run_die(device: str, die_name: str, k: int, *, seed: int, heatmap: Path | None) -> int:
    """Run the job and print what came of it; return the exit code.

    Parameters
    ----------
    device
        "rtl" or "golden".
    die_name
        Of `d1_golden.params.DIES`.
    k
        Size that is summed over; the others follow from the die.
    seed
        Of the matrices.
    heatmap
        Where the picture goes, if anywhere.

    Returns
    -------
    int
        0, or 1 if a bit of the result is wrong or a node had nothing to do.

    """
    console = Console(soft_wrap=True, highlight=False)
    die = DIES[die_name]
    m, n = even_size(die)
    console.print(
        f"{len(die.live_nodes)} live nodes of preset {die.node.name} in {die.columns} x {die.rows} "
        f"places, {device}: {m} x {n} x {k} BF16"
    )
    with open_mesh(device, die) as mesh:
        started = time.monotonic()
        run = run_product(mesh, m, n, k, seed=seed)
        console.print(f"done and checked after {time.monotonic() - started:.0f} s")
    console.print(_table(run, timed=device == "rtl"))
    if heatmap is not None:
        write_heatmap(run, latency_curves(die), heatmap)
        console.print(f"{heatmap} written")
    return 1 if run.different or run.idle_nodes else 0


def _table(run: DieRun, *, timed: bool) -> Table:
    table = Table(show_header=False)
    elements = f"{run.m * run.n:,}"
    wrong = f"{run.different:,} of {elements} elements differ from golden"
    live = [(row - 1, column - 1) for column, row in run.die.live_nodes]
    used = np.array([run.utilisation[place] for place in live])
    peak = peak_tflops(run.die)
    table.add_row(
        "result", wrong if run.different else f"all {elements} elements equal, to the bit"
    )
    table.add_row("nodes that worked", f"{len(live) - len(run.idle_nodes)} of {len(live)}")
    if not timed:  # the golden die has no clock
        return table
    table.add_row("cycles, SRAM to SRAM", f"{run.cycles:,}")
    table.add_row("at 2 GHz", f"{run.tflops:.1f} of {peak:.1f} TFLOP/s ({run.tflops / peak:.1%})")
    shares = f"{used.min():.1%} to {used.max():.1%} of the cycles"
    table.add_row("matrix units busy", shares)
    busiest = float(run.link_load[..., list(SIDES)].max())
    table.add_row("busiest link", f"{busiest:.3f} packets a cycle")
    return table
