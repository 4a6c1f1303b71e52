"""Figures of the golden mesh for docs/router.md; run as a module to write them there anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from d1_golden.fabric.mesh import MeshModel, MeshRun, latency_curve, saturation
from d1_golden.fabric.traffic import Pattern

__all__ = ["BARS", "PAGE", "Mesh", "saturated", "table", "with_table"]

#: The page, and where in it the table is.
PAGE = Path(__file__).parents[1] / "docs" / "router.md"
_SECTION = re.compile(r"(?<=-m testbench.mesh_report -->\n\n).*?(?=\n<!-- /figures -->)", re.DOTALL)

#: Size of a mesh and what is sent through it.
Mesh = tuple[int, int, Pattern]
#: What each must accept, in packets per node, cycle and plane; 0 where nothing is asked for.
BARS: dict[Mesh, float] = {
    (8, 8, Pattern.UNIFORM): 0.42,
    (8, 8, Pattern.TRANSPOSE): 0.14,
    (8, 8, Pattern.BIT_COMPLEMENT): 0.23,
    (8, 8, Pattern.TORNADO): 0.24,
    (8, 8, Pattern.NEIGHBOUR): 0.0,
    (8, 8, Pattern.HOTSPOT): 0.0,
    (18, 20, Pattern.UNIFORM): 0.16,
}
#: Cycles of each run and before it counts; of the large mesh fewer.
_CYCLES = {(8, 8): (8000, 3000), (18, 20): (3000, 1500)}
#: Shares of the saturation load at which the latency is given.
_SHARES = (0.1, 0.5, 0.9)


@cache
def saturated(mesh: Mesh) -> MeshRun:
    """Return the run of a mesh at its saturation."""
    columns, rows, pattern = mesh
    cycles, warmup = _CYCLES[columns, rows]
    return saturation(MeshModel(columns, rows), pattern, cycles=cycles, warmup=warmup)


def _rows() -> Iterator[tuple[str, ...]]:
    for mesh in BARS:
        columns, rows, pattern = mesh
        load = saturated(mesh).accepted
        cycles, warmup = _CYCLES[columns, rows]
        runs = latency_curve(
            MeshModel(columns, rows),
            pattern,
            [share * load for share in _SHARES],
            cycles=cycles,
            warmup=warmup,
        )
        yield (
            f"{columns} x {rows}",
            pattern.value,
            f"{load:.3f}",
            f"{BARS[mesh]:.2f}" if BARS[mesh] else "",
            *(f"{run.latency:.1f}" for run in runs),
        )


def table() -> str:
    """Return accepted loads and latencies as a Markdown table."""
    head = ["mesh", "traffic", "accepted", "at least", *(f"at {s:.0%}" for s in _SHARES)]
    lines = [head, ["---"] * len(head), *_rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_table(page: str) -> str:
    """Return the page with the table written anew."""
    return _SECTION.sub(lambda _: table(), page)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
