"""What the node of a board takes of its FPGA, from the report that is kept, and its picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d1.svg import Svg, shade

__all__ = [
    "FIGURES",
    "KINDS",
    "PICTURE",
    "build_seconds",
    "node_hz",
    "read_report",
    "utilisation",
]

_DOCS = Path(__file__).parents[2] / "docs"
#: Where `tools/bitstream.py --record` keeps the report, and the picture of it.
FIGURES = _DOCS / "fpga_report.json"
PICTURE = _DOCS / "fpga_utilisation.svg"
#: What cells are called, by kind.
KINDS = {
    "lut": "LUT4, those of adders and small memories too",
    "ff": "registers",
    "ram": "write ports of small memories",
    "bram": "block RAMs of 18 kbit",
    "dsp": "multipliers of 18 x 18",
}
_LEFT, _WIDTH, _ROW = 290.0, 360.0, 30.0


def read_report() -> dict[str, Any]:
    """Return the report; `d1_rtl.fpga.bitstream.Report` has what is in it."""
    report: dict[str, Any] = json.loads(FIGURES.read_text())
    return report


def build_seconds(report: Mapping[str, Any]) -> float:
    """Return how long all steps took together."""
    return sum(report["seconds"].values())


def node_hz(report: Mapping[str, Any]) -> float:
    """Return the cycles of the node in a second, at the clock that was wanted."""
    return float(report["clock_hz"] / report["cycle_clocks"])


def utilisation(report: Mapping[str, Any]) -> Svg:
    """Return the parts of the FPGA that are used, as bars."""
    svg = Svg(_LEFT + _WIDTH + 130, _ROW * len(KINDS) + 16)
    for n, (kind, name) in enumerate(KINDS.items()):
        used, available = report["used"][kind], report["available"][kind]
        y = 12 + _ROW * n
        svg.text(_LEFT - 10, y + 14, name, anchor="end")
        svg.box(_LEFT, y, _WIDTH, 18, "#eeeeee")
        svg.box(_LEFT, y, _WIDTH * used / available, 18, shade(used / available))
        svg.text(_LEFT + _WIDTH + 8, y + 14, f"{used:,} of {available:,}")
    return svg
