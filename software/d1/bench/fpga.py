"""The bitstream of a node, from the last report of its build."""

from __future__ import annotations

from d1.bench.metric import Metric
from d1.fpga_figures import build_seconds, node_hz, read_report

__all__ = ["FPGA_METRICS"]


def _used(kind: str) -> float:
    return float(read_report()["used"][kind])


FPGA_METRICS = (
    Metric(
        "fpga_fmax_mhz",
        "MHz",
        "clock of the node of preset fpga on an LFE5U-85F, at most, by nextpnr",
        lambda: read_report()["fmax_hz"] / 1e6,
        bar=lambda _: 25.0,
    ),
    Metric(
        "fpga_node_mhz",
        "MHz",
        "cycles of that node in a microsecond, at 25 MHz: a cycle has several clocks",
        lambda: node_hz(read_report()) / 1e6,
    ),
    Metric(
        "fpga_lut",
        "LUT4",
        "LUT4 of that FPGA's 83 640",
        lambda: _used("lut"),
        bar=lambda _: 0.9 * 83_640,
        is_cost=True,
    ),
    Metric("fpga_dsp", "multipliers", "multipliers of 156", lambda: _used("dsp"), is_cost=True),
    Metric("fpga_bram", "block RAMs", "block RAMs of 208", lambda: _used("bram"), is_cost=True),
    Metric(
        "fpga_build_s",
        "s",
        "Verilog, synthesis, placement, routing and packing of that bitstream",
        lambda: build_seconds(read_report()),
        bar=lambda _: 45 * 60.0,
        is_cost=True,
    ),
)
