"""Measure a pipeline against one node on the RTL; write the cycles to docs/pipeline_figures.json.

    python tools/measure_pipeline.py

Takes a minute. `make docs` brings them into the page.
"""

from __future__ import annotations

import json

from d1.pipeline_figures import BATCHES, FIGURES, measured


def main() -> None:
    """Measure all batches."""
    rows = [measured(batch)._asdict() for batch in BATCHES]
    FIGURES.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
