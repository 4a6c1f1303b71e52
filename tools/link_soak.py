"""Let everything happen to a link for long; write how many packets arrived to docs/link_soak.json.

Both ends are full in both planes over lanes of random ways, skews up to 32 blocks, crossings and
orders, and one scenario of `testbench.end_scenarios` follows the other, each with a new seed. Every
packet has to arrive once, in order and unchanged, but for those that resets lose, which have to be
reported; with the RTL, every output of both ends is compared with the golden ones in every clock.
"""

import argparse
import json
import time
from contextlib import ExitStack
from typing import NamedTuple

from d1.link_figures import SOAK, read_soak
from d1_golden.serdes.params import LINKS

from testbench.end_player import EndPair
from testbench.end_scenarios import (
    BUSY,
    FAULTS,
    REPEATED,
    SCENARIOS,
    Run,
    any_bench,
    deliver_all,
)

#: Clocks of one scenario, about.
_CLOCKS = 20_000
#: Packets by model.
PACKETS = {"RTL": 10**6, "golden ends": 10**7}


class Soak(NamedTuple):
    """What came of all runs of a scenario."""

    runs: int
    packets: int
    clocks: int
    reported: int


def soak(model: str, name: str, packets: int) -> Soak:
    """Run a scenario until so many packets have arrived."""
    total = Soak(0, 0, 0, 0)
    with ExitStack() as stack:
        pair = stack.enter_context(EndPair(LINKS["d1"])) if model == "RTL" else None
        while total.packets < packets:
            faults = FAULTS if name == REPEATED else None
            bench = any_bench(1000 + total.runs, traffic=BUSY, faults=faults)
            run: Run = bench.run
            if pair is not None:
                pair.join(bench)
                run = pair.run
            SCENARIOS[name](bench, run, _CLOCKS)
            deliver_all(bench, run)
            arrived = int(bench.received.sum())
            if pair is not None and pair.packets != arrived:
                raise AssertionError(f"the RTL must deliver {arrived} packets, not {pair.packets}")
            more = (1, arrived, bench.clocks, int(bench.lost.sum()))
            total = Soak(*(a + b for a, b in zip(total, more, strict=True)))
    return total


def main() -> None:
    """Run what the command line asks for."""
    names = [name for name in SCENARIOS if not name.startswith("bit errors")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=[*PACKETS], choices=[*PACKETS])
    parser.add_argument("--scenarios", nargs="*", default=names, choices=names)
    parser.add_argument("--packets", type=float, help="in place of 10^6, 10^7 by model")
    options = parser.parse_args()
    for model in options.models:
        for name in options.scenarios:
            started = time.monotonic()
            result = soak(model, name, int(options.packets or PACKETS[model]))
            rows = [row for row in read_soak() if (row["scenario"], row["model"]) != (name, model)]
            rows.append({"scenario": name, "model": model, **result._asdict()})
            rows.sort(key=lambda row: (names.index(row["scenario"]), row["model"]))
            SOAK.write_text(json.dumps(rows, indent=2) + "\n")
            print(f"{time.monotonic() - started:.0f} s: {model}, {name}: {result}", flush=True)


if __name__ == "__main__":
    main()
