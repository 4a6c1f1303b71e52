"""Figures of long runs of a SerDes link, and their curves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import log10
from pathlib import Path
from typing import Any, NamedTuple

from d1.svg import Svg

__all__ = ["FIGURES", "MODELS", "PICTURE", "SOAK", "Figures", "curves", "read_figures", "read_soak"]

_DOCS = Path(__file__).parents[2] / "docs"
#: Where tools/link_runs.py keeps the figures, and their picture.
FIGURES = _DOCS / "link_figures.json"
PICTURE = _DOCS / "link_curves.svg"
#: Where tools/link_soak.py keeps what it has carried.
SOAK = _DOCS / "link_soak.json"
#: What can be run: RTL of whole ends, golden whole ends, golden link layers alone.
MODELS = ("RTL", "golden ends", "golden layers")


class Figures(NamedTuple):
    """What came of one run.

    Parameters
    ----------
    packets, clocks
        Packets that arrived, both ways and from the start, and clocks.
    goodput
        Bits of packets over bits of the lanes, mean of both ways.
    least_latency, mean_latency, most_latency
        Clocks from entry to exit.
    replays
        Times that either end sent frames again.

    """

    packets: int
    clocks: int
    goodput: float
    least_latency: int
    mean_latency: float
    most_latency: int
    replays: int

    def joined(self, other: Figures) -> Figures:
        """Return what came of this run and another one of the same kind."""
        packets, clocks = self.packets + other.packets, self.clocks + other.clocks
        goodput = self.goodput * self.clocks + other.goodput * other.clocks
        latency = self.mean_latency * self.packets + other.mean_latency * other.packets
        return Figures(
            packets=packets,
            clocks=clocks,
            goodput=goodput / clocks,
            least_latency=min(self.least_latency, other.least_latency),
            mean_latency=latency / packets,
            most_latency=max(self.most_latency, other.most_latency),
            replays=self.replays + other.replays,
        )


Runs = Mapping[tuple[str, float], Figures]


def read_figures(path: Path = FIGURES) -> dict[tuple[str, float], Figures]:
    """Return the figures that were measured, by model and rate of bit errors."""
    rows = json.loads(path.read_text()) if path.exists() else []
    return {(row.pop("model"), row.pop("rate")): Figures(**row) for row in rows}


def read_soak() -> list[dict[str, Any]]:
    """Return what tools/link_soak.py has carried: a row for each scenario and model."""
    rows: list[dict[str, Any]] = json.loads(SOAK.read_text()) if SOAK.exists() else []
    return rows


#: Size of a curve's frame, its place in the picture, and what a decade of the rate is wide.
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 300.0, 200.0, 60.0, 40.0, 90.0
_LEAST = -9
_COLOURS = dict(zip(MODELS, ("#c0392b", "#222222", "#1f6fb2"), strict=True))
#: Sizes of the marks, so that equal ones are seen one in the other.
_MARKS = dict(zip(MODELS, (5.0, 9.0, 13.0), strict=True))


def curves(runs: Runs) -> Svg:
    """Return goodput and mean latency against the rate of bit errors, of all models in one."""
    svg = Svg(2 * (_LEFT + _WIDTH) + _GAP, _TOP + _HEIGHT + 70)
    goodput = [n / 10 for n in range(0, 11, 2)]
    _frame(svg, 0, "goodput", runs, lambda figures: figures.goodput, goodput)
    _frame(
        svg,
        _LEFT + _WIDTH + _GAP / 2,
        "mean latency, clocks",
        runs,
        lambda figures: log10(figures.mean_latency),
        [log10(n) for n in (100, 300, 1000, 3000, 10_000, 30_000)],
        label=lambda value: f"{round(10**value):,}",
    )
    for n, model in enumerate(MODELS):
        x, y = _LEFT + 180 * n, _TOP + _HEIGHT + 58
        _mark(svg, x, y - 4, model)
        svg.text(x + 14, y, model)
    return svg


def _mark(svg: Svg, x: float, y: float, model: str, title: str = "") -> None:
    size = _MARKS[model]
    corner = x - size / 2, y - size / 2
    svg.box(*corner, size, size, "none", stroke=_COLOURS[model], title=title)


def _frame(
    svg: Svg,
    left: float,
    name: str,
    runs: Runs,
    value: Callable[[Figures], float],
    ticks: list[float],
    *,
    label: Callable[[float], str] = "{:g}".format,
) -> None:
    """Add one frame with the curve of each model; the rate 0 is left of all others."""
    low, high = ticks[0], ticks[-1]
    left += _LEFT

    def x(rate: float) -> float:
        decade = log10(rate) - _LEAST + 1 if rate else 0.0
        return left + 15 + decade * (_WIDTH - 30) / (-4 - _LEAST + 1)

    def y(number: float) -> float:
        return _TOP + _HEIGHT * (high - number) / (high - low)

    svg.text(left, _TOP - 14, name, size=13)
    for tick in ticks:
        svg.line([(left, y(tick)), (left + _WIDTH, y(tick))], "#dddddd")
        svg.text(left - 6, y(tick) + 4, label(tick), size=10, anchor="end")
    for rate in (0.0, *(10.0**power for power in range(_LEAST, -3))):
        svg.text(
            x(rate), _TOP + _HEIGHT + 16, f"{rate:.0e}" if rate else "0", size=10, anchor="middle"
        )
    svg.text(left + _WIDTH / 2, _TOP + _HEIGHT + 34, "bit errors", size=11, anchor="middle")
    for model in MODELS:
        points = sorted(
            (rate, value(figures)) for (of, rate), figures in runs.items() if of == model
        )
        svg.line([(x(rate), y(number)) for rate, number in points], _COLOURS[model])
        for rate, number in points:
            _mark(svg, x(rate), y(number), model, f"{model}, {rate:g}: {label(number)}")
