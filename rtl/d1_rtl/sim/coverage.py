"""What a simulation has reached: Verilator's counters as lines and branches of the source.

A model that was made with `coverage=True` counts how often each case of each process and each side
of each multiplexer is taken. The Verilog of such a model names the lines of Python behind them
(`d1_rtl.source_lines`); the Verilog cells are their own source.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from d1_rtl.source_lines import ATTRIBUTE

__all__ = ["Branch", "Coverage", "Place"]

_RECORD = re.compile(r"^C '(.*)' (\d+)$", re.MULTILINE)
_LINES = re.compile(rf'{ATTRIBUTE} = "([^"]*)"')


class Place(NamedTuple):
    """A line of source: the file, as `d1_rtl/node/alu.py`, and the number of the line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Branch(NamedTuple):
    """One way that a module can go.

    Members
    -------
    module
        Name in the Verilog. Equal instances share one.
    line
        Number of the line in the Verilog.
    arm
        `case` of a switch (`If`, `Elif`, `Else`, `Case`), `then` or `else` of a `Mux`; in a cell
        also `block`, `if` or `else`.
    """

    module: str
    line: int
    arm: str


def _read_counts(paths: Iterable[Path]) -> Counter[Branch]:
    """Return the sums of counters, over files and over instances of a module."""
    counts: Counter[Branch] = Counter()
    for path in paths:
        records = _RECORD.findall(path.read_text())
        if not records:
            raise ValueError(f"coverage data must have counters, but {path} has none")
        for text, count in records:
            fields = dict(part.split("\x02", 1) for part in text.split("\x01") if part)
            module = fields["page"].partition("/")[2]
            arm = fields["o"].removeprefix("cond_")
            counts[Branch(module, int(fields["l"]), arm)] += int(count)
    return counts


@dataclass(frozen=True)
class Coverage:
    """How often the lines and branches of a design were taken.

    A line here is one with an assignment that depends on a condition. What is assigned always,
    and the inputs of operators, are not counted: they cannot be missed. A line that a loop or
    several instances use again is reached when it is so for any of them; its branches say whether
    it is for all.

    Parameters
    ----------
    lines
        How often each line was taken.
    branches
        How often each branch was taken, and the lines that it belongs to. Those that nobody has
        written, such as resets, are not there.
    """

    lines: Mapping[Place, int]
    branches: Mapping[Branch, tuple[int, tuple[Place, ...]]]

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "Coverage":
        """Add up what `NativeModel.write_coverage` has written for one design.

        Raises
        ------
        ValueError
            When there is no file, one has no counters, or they are of several designs.
        """
        designs = {path.with_suffix(".v").read_text() for path in paths}
        if len(designs) != 1:
            raise ValueError(f"coverage data must be of one design, not of {len(designs)}")
        (verilog,) = designs
        counts = _read_counts(paths)
        text = verilog.splitlines()
        cells = dict(_cell_places(verilog))
        lines: Counter[Place] = Counter()
        branches = {}
        for branch, count in counts.items():
            if branch.line in cells:
                places: tuple[Place, ...] = (cells[branch.line],)
            elif branch.arm == "case":
                places = _named_in(text[branch.line - 2])  # the comment in front of it
            elif branch.arm in ("then", "else"):
                places = _named_in(text[branch.line - 1])
            else:  # registers and memories
                places = ()
            if places:
                branches[branch] = count, places
            if branch.arm not in ("then", "else") or branch.line in cells:
                lines.update({place: count for place in places})
        return cls(dict(lines), branches)


def _named_in(line: str) -> tuple[Place, ...]:
    found = _LINES.search(line)
    if found is None:
        return ()
    return tuple(
        Place(file, int(number))
        for file, _, number in (place.rpartition(":") for place in found[1].split("|"))
    )


def _cell_places(verilog: str) -> Iterator[tuple[int, Place]]:
    """Yield the places of the lines of the project's own cells in the text."""
    for cell in (files("d1_rtl") / "cells").iterdir():
        content = cell.read_text()
        start = verilog.find(content)
        if start >= 0:
            first = verilog.count("\n", 0, start) + 1
            for number in range(content.count("\n")):
                yield first + number, Place(f"d1_rtl/cells/{cell.name}", number + 1)
