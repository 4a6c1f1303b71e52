"""Make the bitstream of a node on a board: build/fpga/BOARD/top.bit, with a report."""

import argparse
import sys
from pathlib import Path

from d1.fpga_figures import FIGURES
from d1_golden.params import PRESETS, preset
from d1_rtl.fpga.bitstream import FpgaToolError, build_bitstream
from d1_rtl.fpga.boards import BOARDS
from d1_rtl.fpga.fpga_top import FpgaTop
from d1_rtl.node.node import Node

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Return 0 if the bitstream is there and its clock is as fast as wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", choices=sorted(BOARDS), default="ulx3s")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="fpga")
    parser.add_argument("--clock", type=float, default=25.0, help="the node's clock in MHz")
    parser.add_argument("--record", action="store_true", help="keep the report in docs/")
    arguments = parser.parse_args()
    board = BOARDS[arguments.board]
    try:
        node = Node(preset(arguments.preset), gated=False)
        top = FpgaTop(node, board, clock_hz=round(arguments.clock * 1e6))
        folder = ROOT / "build" / "fpga" / board.name
        made = build_bitstream(top, name=arguments.preset, folder=folder)
    except (FpgaToolError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(made.report.text(), end="")
    if arguments.record:
        made.report.write(FIGURES)
    print(f"{made.bitstream.relative_to(ROOT)}: {made.report.bitstream_bytes} bytes")
    if not made.report.meets_timing:
        print("error: the clock is faster than the design", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
