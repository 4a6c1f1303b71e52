"""How the example's GPT learns on the node and without it, and the curves of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import log10
from pathlib import Path
from typing import Any, NamedTuple

from d1.svg import Svg

__all__ = [
    "CFP8",
    "FIGURES",
    "GOLDEN",
    "PICTURE",
    "PYTORCH",
    "WANTED",
    "Run",
    "curves",
    "keep",
    "read_figures",
    "read_runs",
]

_DOCS = Path(__file__).parents[2] / "docs"
#: Where tools/train_gpt.py keeps what it has measured, and the picture of it.
FIGURES = _DOCS / "gpt_training.json"
PICTURE = _DOCS / "gpt_training.svg"
#: What runs are called.
PYTORCH, GOLDEN, CFP8 = "PyTorch, FP32", "d1, golden node", "d1, golden node, CFP8"
#: The part of sequences that has to be sorted right.
WANTED = 0.95


class Run(NamedTuple):
    """A run of training.

    Parameters
    ----------
    losses
        Of each step.
    accuracies
        The part of test sequences that was sorted right, by how many steps there had been.

    """

    losses: list[float]
    accuracies: dict[int, float]

    @property
    def learnt(self) -> int:
        """Steps behind which it first sorted as many as are wanted."""
        return next(step for step, part in self.accuracies.items() if part >= WANTED)


def read_figures() -> dict[str, Any]:
    """Return all that was measured."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    return figures


def read_runs() -> dict[str, Run]:
    """Return the runs, by what they ran on."""
    return {
        name: Run(run["losses"], {int(step): part for step, part in run["accuracies"].items()})
        for name, run in read_figures()["runs"].items()
    }


def keep(name: str, value: object) -> None:
    """Write a part of what was measured to the file; the others stay."""
    FIGURES.write_text(json.dumps(read_figures() | {name: value}) + "\n")


#: Size of a frame, its place in the picture, from one to the next.
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 360.0, 220.0, 60.0, 40.0, 90.0
_COLOURS = ("#c0392b", "#1f6fb2", "#1e8449")
#: Losses are means of so many steps.
_STEPS = 10
_DECADES = (1.0, 0.1, 0.01, 0.001, 0.0001)


def curves(runs: Mapping[str, Run]) -> Svg:
    """Return loss and accuracy against steps, of all runs in one."""
    svg = Svg(2 * (_LEFT + _WIDTH) + _GAP, _TOP + _HEIGHT + 70)
    steps = max(len(run.losses) for run in runs.values())
    loss = _Frame(svg, _LEFT, steps, log10(_DECADES[-1]), log10(2))
    accuracy = _Frame(svg, 2 * _LEFT + _WIDTH + _GAP / 2, steps, 0.0, 1.0)
    loss.draw(f"loss, mean of {_STEPS} steps", [(log10(x), f"{x:g}") for x in _DECADES])
    accuracy.draw("sequences sorted right", [(n / 5, f"{n / 5:.0%}") for n in range(6)])
    for n, (name, run) in enumerate(runs.items()):
        loss.curve([(at, log10(max(x, _DECADES[-1]))) for at, x in _means(run.losses)], _COLOURS[n])
        accuracy.curve(list(run.accuracies.items()), _COLOURS[n])
        x, y = _LEFT + 240 * n, _TOP + _HEIGHT + 58
        svg.line([(x, y - 4), (x + 20, y - 4)], _COLOURS[n], 2)
        svg.text(x + 28, y, name)
    return svg


def _means(losses: Sequence[float]) -> Iterator[tuple[float, float]]:
    for start in range(0, len(losses), _STEPS):
        some = losses[start : start + _STEPS]
        yield start + len(some) / 2, sum(some) / len(some)


class _Frame:
    """Axes of curves."""

    def __init__(self, svg: Svg, left: float, steps: int, low: float, high: float) -> None:
        self.svg, self.left, self.steps, self.low, self.high = svg, left, steps, low, high

    def place(self, step: float, value: float) -> tuple[float, float]:
        part = (self.high - value) / (self.high - self.low)
        return self.left + _WIDTH * step / self.steps, _TOP + _HEIGHT * part

    def draw(self, name: str, ticks: Sequence[tuple[float, str]]) -> None:
        self.svg.text(self.left, _TOP - 14, name, size=13)
        for value, label in ticks:
            _, y = self.place(0, value)
            self.svg.line([(self.left, y), (self.left + _WIDTH, y)], "#dddddd")
            self.svg.text(self.left - 6, y + 4, label, size=10, anchor="end")
        for n in range(6):
            step = self.steps * n // 5
            x, _ = self.place(step, self.low)
            self.svg.text(x, _TOP + _HEIGHT + 16, str(step), size=10, anchor="middle")
        middle = self.left + _WIDTH / 2
        self.svg.text(middle, _TOP + _HEIGHT + 34, "steps", size=11, anchor="middle")

    def curve(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        self.svg.line([self.place(*point) for point in points], colour, 1.5)
