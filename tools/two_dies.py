"""Run all nodes of two whole dies joined by their 18 links, each die in a process of its own.

Every node pulls a line from the node at the same place of the other die, all at the same time; the
time that each step takes is printed. The exit code is 1 if a line is wrong.
"""

import argparse
import sys
import time

from d1.fabric.machine import open_machine
from d1.fabric.machine_pulls import pull_all
from d1_golden.machine import MACHINES
from d1_golden.serdes.frame import LinkState


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the lines")
    parser.add_argument("--device", default="rtl", help="golden or rtl")
    parser.add_argument("--machine", default="d1x2", choices=MACHINES, help="preset")
    arguments = parser.parse_args()
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s: {what}", flush=True)

    params = MACHINES[arguments.machine]
    processes = arguments.device == "rtl"
    with open_machine(arguments.device, params, processes=processes) as machine:
        states = [status.state for status in machine.link_status().values()]
        is_open = sum(state is LinkState.OPEN for state in states)
        say(f"{len(machine.nodes)} nodes, {is_open} of {len(states)} links' ends open")
        pairs = {place: place._replace(die_column=1 - place.die_column) for place in machine.nodes}
        right = pull_all(machine, pairs, seed=arguments.seed, max_cycles=1_000_000)
        say(f"{right} of {len(pairs)} lines right, in {machine.call_cycles} cycles")
    return int(right != len(pairs) or is_open != len(states))


if __name__ == "__main__":
    sys.exit(main())
