"""Report of what a simulation has reached of the RTL, file by file, with the exclusions explained.

`d1_rtl.sim.coverage` says what counts as a line and as a branch. The goal is set for lines: those
of our own components, of which the exclusions are taken out. An exclusion names a line by its text,
so it moves with the code and goes stale with it.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import d1_rtl
from d1_rtl.sim.coverage import Coverage, Place

__all__ = ["Exclusion", "Figures", "Report", "read_exclusions"]

#: What of the design is ours; the rest are parts of Amaranth.
_OURS = ("d1_rtl/",)
_SOURCES = Path(d1_rtl.__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """Lines that need not be reached.

    Parameters
    ----------
    file
        The file, as `d1_rtl/node/alu.py`.
    code
        The text of the lines, without spaces around it.
    reason
        Why the line cannot be reached in the node, or need not be.

    """

    file: str
    code: str
    reason: str


def read_exclusions(path: Path) -> tuple[Exclusion, ...]:
    """Read the tables `exclusion` of a TOML file.

    Raises
    ------
    ValueError
        When there is another key, or one is missing or empty.

    """
    content = tomllib.loads(path.read_text())
    if unknown := sorted(set(content) - {"exclusion"}):
        raise ValueError(f"{path} must have tables `exclusion` only, not {unknown[0]!r}")
    names = ("file", "code", "reason")
    for number, table in enumerate(content.get("exclusion", []), 1):
        if sorted(table) != sorted(names) or not all(str(table[name]).strip() for name in names):
            raise ValueError(
                f"exclusion {number} of {path} must have {', '.join(names)}, not {table!r}"
            )
    return tuple(Exclusion(**table) for table in content.get("exclusion", []))


class Figures(NamedTuple):
    """How many lines and branches there are, and how many of them were reached."""

    lines: int
    lines_reached: int
    branches: int
    branches_taken: int

    @property
    def percent(self) -> float:
        """Part of the lines that was reached."""
        return 100 * self.lines_reached / self.lines if self.lines else 100.0

    @property
    def branch_percent(self) -> float:
        """Part of the branches that was taken."""
        return 100 * self.branches_taken / self.branches if self.branches else 100.0


@dataclass(frozen=True)
class Report:
    """What was reached of the lines that count.

    Parameters
    ----------
    coverage
        What the simulation has counted.
    exclusions
        What need not be reached.
    sources
        The folder that the names of files start from.

    """

    coverage: Coverage
    exclusions: Sequence[Exclusion] = ()
    sources: Path = _SOURCES
    _texts: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False)

    @property
    def lines(self) -> dict[Place, int]:
        """How often each line was taken, of our own and without the excluded ones."""
        return {place: n for place, n in self._all_lines() if self._exclusion(place) is None}

    @property
    def unreached(self) -> list[Place]:
        """Lines that count and were never taken."""
        return sorted(place for place, count in self.lines.items() if not count)

    @property
    def excluded(self) -> dict[Place, Exclusion]:
        """Excluded lines."""
        found = ((place, self._exclusion(place)) for place, _count in self._all_lines())
        return {place: exclusion for place, exclusion in found if exclusion is not None}

    @property
    def stale(self) -> list[Exclusion]:
        """Exclusions that name no line with a branch."""
        used = set(self.excluded.values())
        return [exclusion for exclusion in self.exclusions if exclusion not in used]

    def untaken(self) -> dict[Place, tuple[int, int]]:
        """Return the lines of which some branch was never taken: how many, of how many."""
        never: Counter[Place] = Counter()
        total: Counter[Place] = Counter()
        for place, count in self._branches():
            total[place] += 1
            never[place] += not count
        return {place: (never[place], total[place]) for place in sorted(never) if never[place]}

    def figures(self) -> dict[str, Figures]:
        """Return the figures of each file with branches, in alphabetical order."""
        counts: dict[str, list[int]] = {}
        for place, count in self.lines.items():
            row = counts.setdefault(place.file, [0] * 4)
            row[0] += 1
            row[1] += bool(count)
        for place, count in self._branches():
            row = counts.setdefault(place.file, [0] * 4)
            row[2] += 1
            row[3] += bool(count)
        return {file: Figures(*counts[file]) for file in sorted(counts)}

    def total(self) -> Figures:
        """Return the figures of all files together."""
        return Figures(*map(sum, zip(*self.figures().values(), strict=True)))

    def problems(self, minimum: float) -> list[str]:
        """Return why the report is not good enough; nothing when it is.

        Parameters
        ----------
        minimum
            Percentage of the lines that must be reached.

        """
        problems = [
            f"an exclusion must name a line with a branch, but {e.file} has none that is `{e.code}`"
            for e in self.stale
        ]
        percent = self.total().percent
        if percent < minimum:
            problems.append(f"{minimum:g} % of lines must be reached, not {percent:.1f} %")
        return problems

    def text(self) -> Iterator[str]:
        """Yield the lines of the report."""
        yield f"{'component':<44}{'lines':>22}{'branches':>24}"
        total = self.total()
        for file, row in [*self.figures().items(), ("total", total)]:
            yield (
                f"{file:<44}{row.lines_reached:>6} of{row.lines:>6}{row.percent:>6.1f} %"
                f"{row.branches_taken:>7} of{row.branches:>7}{row.branch_percent:>6.1f} %"
            )
        yield f"\nexcluded lines: {len(self.excluded)}"
        for exclusion in self.exclusions:
            places = [place for place, found in self.excluded.items() if found == exclusion]
            for place in sorted(places):
                reached = " (reached all the same)" if self.coverage.lines[place] else ""
                yield f"  {place}: {exclusion.code}{reached}"
            yield f"      {exclusion.reason}"
        yield f"\nlines never reached: {len(self.unreached)}"
        yield from (f"  {place}: {self._text(place)}" for place in self.unreached)
        untaken = self.untaken()
        yield f"\nlines with branches never taken: {len(untaken)}"
        for place, (never, of) in untaken.items():
            yield f"  {place}: {never} of {of}: {self._text(place)}"

    def data(self) -> dict[str, Any]:
        """Return the report for a JSON file."""
        return {
            "total": self.total()._asdict() | {"line_percent": round(self.total().percent, 2)},
            "files": {file: row._asdict() for file, row in self.figures().items()},
            "lines": {str(place): count for place, count in sorted(self.lines.items())},
            "excluded": {str(place): e.reason for place, e in sorted(self.excluded.items())},
            "untaken": {str(place): counts for place, counts in self.untaken().items()},
        }

    def _all_lines(self) -> Iterator[tuple[Place, int]]:
        for place, count in self.coverage.lines.items():
            if place.file.startswith(_OURS):
                yield place, count

    def _branches(self) -> Iterator[tuple[Place, int]]:
        """Yield the first line of each branch that counts."""
        for count, places in self.coverage.branches.values():
            ours = [place for place in places if place.file.startswith(_OURS)]
            if ours and any(self._exclusion(place) is None for place in ours):
                yield ours[0], count

    def _exclusion(self, place: Place) -> Exclusion | None:
        for exclusion in self.exclusions:
            if exclusion.file == place.file and exclusion.code == self._text(place):
                return exclusion
        return None

    def _text(self, place: Place) -> str:
        if place.file not in self._texts:
            self._texts[place.file] = (self.sources / place.file).read_text().splitlines()
        return self._texts[place.file][place.line - 1].strip()
