"""Write docs/benchmarks.md and README's table from the figures of `d1 bench --json FILE`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from d1.bench import METRICS
from d1.bench.report import machine, shown
from write_docs import ROOT, fill, table

PAGE = """\
# Benchmarks

`make bench` measures, writes `build/bench.json` (one flat object of name and number) and this
page. What is counted in cycles is exact and the same everywhere; all else is wall-clock time,
depends on the machine, and rates are medians of seven runs after a warm-up. `d1 bench --check` ends
with 1 where a bar is missed.

<!-- benchmarks -->
<!-- end -->
"""


def section(results: Mapping[str, float]) -> str:
    """Return the table and the machine it was measured on."""
    rows = []
    for metric in METRICS:
        value = results[metric.key]
        bar = metric.bar(results) if metric.bar else None
        met = ""
        if bar is not None:
            side = "at most" if metric.is_cost else "at least"
            met = f"{side} {shown(bar)} ({'met' if metric.meets(results) else 'missed'})"
        rows.append((f"`{metric.key}`", shown(value), metric.unit, met, metric.text))
    head = ("key", "measured", "unit", "bar", "what")
    return f"{table(head, rows)}\nMeasured on: {machine()}.\n"


if __name__ == "__main__":
    figures = json.loads(Path(sys.argv[1]).read_text())
    readme = ROOT / "README.md"
    for path, text in ((ROOT / "docs" / "benchmarks.md", PAGE), (readme, readme.read_text())):
        path.write_text(fill(text, {"benchmarks": lambda: section(figures)}))
        print(f"{path.relative_to(ROOT)} written")
