"""Run a die of separate instances beside the same die as one Verilog top, clock by clock.

Random programs on every node of 3 x 3, which send to each other, and packets of a host that
stalls. All doors, idle bits and retired instructions are compared in every cycle; the exit code
is 1 if anything differs.
"""

import argparse
import sys
from dataclasses import replace

from d1_golden.params import DIES

from testbench.die_comparison import DieComparison


def main() -> int:
    """Run both; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of programs and packets")
    parser.add_argument("--cycles", type=int, default=100_000, help="that are compared")
    arguments = parser.parse_args()
    comparison = DieComparison(replace(DIES["tiny"], name="3x3"), arguments.seed)
    try:
        comparison.run(arguments.cycles)
        print(
            f"{comparison.link.cycles} cycles, {comparison.retired} instructions, "
            f"{comparison.link.sent_packets.sum()} packets over links and to nodes, "
            f"{comparison.packets} through doors: no difference"
        )
    except AssertionError as error:
        print(f"seed {arguments.seed}: {error}")
        return 1
    finally:
        comparison.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
