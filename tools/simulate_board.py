"""Simulate a board with a node behind a pseudo terminal, until interrupted.

What is simulated is the RTL of the FPGA without pins and PLL, at four clock cycles a bit of the
line.
"""

import argparse
import threading

from d1_golden.params import PRESETS, preset
from d1_rtl.sim.serial_board import SIMULATED_UART, SerialBoard, uart_node_model


def main() -> None:
    """Simulate until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="fpga")
    params = preset(parser.parse_args().preset)
    with uart_node_model(params) as model, SerialBoard(model, SIMULATED_UART) as board:
        print(f"port {board.port}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("unplugged")


if __name__ == "__main__":
    main()
