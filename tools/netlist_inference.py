"""Run digits through two layers on the netlist of a board's FPGA, as the host would on the board.

The netlist is what yosys made of the node, with the serial door, PLL and lights; its cells are the
vendor's models that come with yosys, and ours of block RAM, multiplier and PLL. Every bit of both
products is compared with golden arithmetic. Weights are random: it is bits that count here.
"""

import argparse
import sys
import time
from pathlib import Path

import d1
import numpy as np
from d1.backends.board import BoardLink
from d1.demo import Digits
from d1.device import Device
from d1_golden.fpga.uart import UartParams
from d1_golden.numerics.dot_product import matmul_reference
from d1_golden.params import preset
from d1_rtl.fpga.bitstream import build_bitstream
from d1_rtl.fpga.boards import BOARDS
from d1_rtl.fpga.fpga_top import FpgaTop
from d1_rtl.node.node import Node
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.serial_board import SerialBoard
from ml_dtypes import bfloat16

from testbench.ecp5_netlist import Ecp5Netlist, write_cells

_FOLDER = Path(__file__).parents[1] / "build" / "fpga" / "netlist"
_CLOCK_HZ = 25_000_000
#: A netlist is slow.
_ANSWER_S = 3600.0
#: Numbers of the hidden layer.
_HIDDEN = 16
PARAMS = preset("fpga")


def board_top() -> FpgaTop:
    """Return a fresh design of the board."""
    return FpgaTop(Node(PARAMS, gated=False), BOARDS["ulx3s"], clock_hz=_CLOCK_HZ)


def differing_bits(device: Device, images: np.ndarray) -> int:
    """Return how many bits of two layers differ from golden arithmetic."""
    rng = np.random.default_rng(1)
    shapes = (images.shape[1], _HIDDEN), (_HIDDEN, 10)
    hidden, out = (rng.standard_normal(shape).astype(bfloat16) for shape in shapes)
    differing = 0
    for weights in (hidden, out):
        started = time.monotonic()
        result = d1.matmul(images, weights, device=device)
        operands = (x.view(np.uint16) for x in (images, weights))
        expected = matmul_reference(*operands, PARAMS.dot_fraction_bits)
        differing += int(np.bitwise_count(result.view(np.uint32) ^ expected).sum())
        shape = f"{images.shape} x {weights.shape}"
        print(f"{shape}: {differing} bits differ, {time.monotonic() - started:.0f} s", flush=True)
        images = np.maximum(result, 0).astype(bfloat16)
    return differing


def main() -> int:
    """Return 0 if no bit differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    images = Digits.load(1).held_out_images[: parser.parse_args().images]
    made = build_bitstream(board_top(), name="fpga", folder=_FOLDER)
    sources = [made.netlist, write_cells(_FOLDER / "cells.v")]
    started = time.monotonic()
    with NativeModel(Ecp5Netlist(board_top()), name="node_netlist", extra_sources=sources) as model:
        print(f"netlist built in {time.monotonic() - started:.0f} s", flush=True)
        with SerialBoard(model, UartParams(clock_hz=_CLOCK_HZ)) as board:
            link = BoardLink(PARAMS, board.port, answer_seconds=_ANSWER_S)
            with Device(link, PARAMS, "") as device:
                return int(differing_bits(device, images.numpy().astype(bfloat16)) > 0)


if __name__ == "__main__":
    sys.exit(main())
