"""What a figure of the benchmark is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["PRESET", "Metric", "Results"]

#: Figures by key.
Results = Mapping[str, float]

#: The node that is measured.
PRESET = "d1"


@dataclass(frozen=True)
class Metric:
    """One figure.

    Parameters
    ----------
    key
        Its name in the JSON file.
    unit
        Its unit.
    text
        What is measured.
    measure
        Measures it.
    bar
        What it must at least be, from all results; None where there is no bar.
    is_cost
        Less is better: it must at most be that.
    takes_minutes
        A quick measurement leaves it out.

    """

    key: str
    unit: str
    text: str
    measure: Callable[[], float]
    bar: Callable[[Results], float] | None = None
    is_cost: bool = False
    takes_minutes: bool = False

    def meets(self, results: Results) -> bool | None:
        """Return whether the figure among `results` is as good as its bar, None without a bar."""
        if self.bar is None or self.key not in results:
            return None
        value, bar = results[self.key], self.bar(results)
        return value <= bar if self.is_cost else value >= bar
