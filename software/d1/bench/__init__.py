"""Measures the models and the simulator against their bars.

Figures per cycle are exact, and of a node that was just reset; those of products last from the
start of the first thread to the end of the last. Every other figure is wall-clock time on the
machine at hand; a rate is the median of several runs after one that warms up.
"""

from rich.console import Console

from d1.bench.compiler import COMPILER_METRICS
from d1.bench.fabric import FABRIC_METRICS
from d1.bench.fpga import FPGA_METRICS
from d1.bench.metric import Metric, Results
from d1.bench.node import NODE_METRICS
from d1.bench.parallel import PARALLEL_METRICS
from d1.bench.serdes import SERDES_METRICS
from d1.bench.simulation import SIMULATION_METRICS

__all__ = ["METRICS", "Metric", "Results", "all_bars_met", "find_metric", "measure"]

#: All figures, in the order in which they are measured and shown.
METRICS: tuple[Metric, ...] = (
    *SIMULATION_METRICS,
    *NODE_METRICS,
    *COMPILER_METRICS,
    *FABRIC_METRICS,
    *PARALLEL_METRICS,
    *SERDES_METRICS,
    *FPGA_METRICS,
)


def find_metric(key: str) -> Metric:
    """Return the metric of a name.

    Raises
    ------
    ValueError
        There is none.

    """
    for metric in METRICS:
        if metric.key == key:
            return metric
    raise ValueError(f"a metric must be one of {[m.key for m in METRICS]}, not {key!r}")


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return all figures by key, or all but those that take minutes, and tell which is measured."""
    console = Console(stderr=True)
    results = {}
    for metric in METRICS:
        if quick and metric.takes_minutes:
            continue
        console.print(f"measuring {metric.key}")
        results[metric.key] = metric.measure()
    return results


def all_bars_met(results: Results) -> bool:
    """Tell whether every figure that has a bar reaches it."""
    return all(metric.meets(results) is not False for metric in METRICS)
