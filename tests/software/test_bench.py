"""What `make bench` measures, and that it measures programs that really run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import d1
import pytest
from d1 import bench
from d1.bench import report, simulation
from d1_golden.memory_map import CounterRegister, ThreadStatus

KEYS = [
    "sim_native_cycles_per_s",
    "sim_idle_cost_ratio",
    "sim_cocotb_cycles_per_s",
    "sim_gemm_mac_per_s",
    "golden_gemm_mac_per_s",
    "golden_mips",
    "verilator_build_s",
    "first_result_s",
    "gemm_bf16_256_mac_per_cycle",
    "gemm_bf16_64_mac_per_cycle",
    "gemm_cfp8_256_mac_per_cycle",
    "gemm_cfp8_64_mac_per_cycle",
    "sgemm_fp32_128_fma_per_cycle",
    "ipc_scalar_1thread",
    "ipc_total_4threads",
    "coremark_like_ipc_1thread",
    "coremark_like_ipc_4threads",
    "sram_bytes_per_cycle_read",
    "sram_bytes_per_cycle_write",
    "linear_256_b64_mac_per_cycle",
    "gpt_step_cycles",
    "gpt_step_mac_per_cycle",
    "gpt_step_fraction_on_d1",
    "memory_plan_ratio",
    "compile_cold_ms",
    "compile_warm_ms",
    "mesh8_uniform_saturation",
    "barrier_354_cycles",
    "broadcast_354_cycles",
    "allreduce_354_1KiB_cycles",
    "die2_pull_cycles",
    "die_gemm_tflops",
    "die_node_cycles_per_s",
    "die_idle_cost_ratio",
    "die_build_s",
    "gpt_step_speedup_16_nodes",
    "gpt_step_cycles_16_nodes",
    "graph_allreduce_64KiB_cycles",
    "serdes_packet_efficiency",
    "serdes_payload_efficiency",
    "serdes_goodput_ber_1e6",
    "serdes_latency_cycles",
    "serdes_latency_flight_cycles",
    "serdes_bring_up_cycles",
    "serdes_recovery_cycles",
    "fpga_fmax_mhz",
    "fpga_node_mhz",
    "fpga_lut",
    "fpga_dsp",
    "fpga_bram",
    "fpga_build_s",
]
GOOD = {
    "sim_native_cycles_per_s": 60e3,
    "sim_idle_cost_ratio": 0.1,
    "sim_cocotb_cycles_per_s": 20e3,
    "sim_gemm_mac_per_s": 15e6,
    "golden_gemm_mac_per_s": 2e8,
    "golden_mips": 20.0,
    "verilator_build_s": 360.0,
    "first_result_s": 1e9,
    "gemm_bf16_256_mac_per_cycle": 243.0,
    "gemm_bf16_64_mac_per_cycle": 205.0,
    "gemm_cfp8_256_mac_per_cycle": 243.0,
    "gemm_cfp8_64_mac_per_cycle": 205.0,
    "sgemm_fp32_128_fma_per_cycle": 14.4,
    "ipc_scalar_1thread": 3.8,
    "ipc_total_4threads": 5.5,
    "coremark_like_ipc_1thread": 1.2,
    "coremark_like_ipc_4threads": 2.5,
    "sram_bytes_per_cycle_read": 190.0,
    "sram_bytes_per_cycle_write": 129.0,
    "linear_256_b64_mac_per_cycle": 205.0,
    "gpt_step_cycles": 1e9,
    "gpt_step_mac_per_cycle": 0.0,
    "gpt_step_fraction_on_d1": 0.99,
    "memory_plan_ratio": 1.0,
    "compile_cold_ms": 1e9,
    "compile_warm_ms": 5.0,
    "mesh8_uniform_saturation": 0.37,
    "barrier_354_cycles": 400,
    "broadcast_354_cycles": 200,
    "allreduce_354_1KiB_cycles": 1e9,
    "die2_pull_cycles": 1e9,
    "die_gemm_tflops": 250.0,
    "die_node_cycles_per_s": 1.0,
    "die_idle_cost_ratio": 0.01,
    "die_build_s": 420.0,
    "gpt_step_speedup_16_nodes": 12.0,
    "gpt_step_cycles_16_nodes": 1e9,
    "graph_allreduce_64KiB_cycles": 1e9,
    "serdes_packet_efficiency": 0.92,
    "serdes_payload_efficiency": 0.0,
    "serdes_goodput_ber_1e6": 0.0,
    "serdes_latency_cycles": 60,
    "serdes_latency_flight_cycles": 200,
    "serdes_bring_up_cycles": 20_000,
    "serdes_recovery_cycles": 50,
    "fpga_fmax_mhz": 25.0,
    "fpga_node_mhz": 2.5,
    "fpga_lut": 75_276,
    "fpga_dsp": 156,
    "fpga_bram": 208,
    "fpga_build_s": 2700.0,
}


def test_the_figures_have_the_names_that_others_read() -> None:
    assert [metric.key for metric in bench.METRICS] == KEYS


def test_figures_at_their_bars_meet_them() -> None:
    assert bench.all_bars_met(GOOD)


def test_native_must_make_50_000_cycles_a_second_however_slow_cocotb_is() -> None:
    slow = {"sim_native_cycles_per_s": 49e3, "sim_cocotb_cycles_per_s": 1e3}
    assert not bench.all_bars_met(GOOD | slow)


@pytest.mark.parametrize("key", [metric.key for metric in bench.METRICS if metric.bar])
def test_a_figure_beyond_its_bar_misses_it(key: str) -> None:
    metric = bench.find_metric(key)
    worse = 1.01 if metric.is_cost else 0.99
    assert not bench.all_bars_met(GOOD | {key: GOOD[key] * worse})


def test_native_must_be_three_times_as_fast_as_cocotb() -> None:
    assert not bench.all_bars_met(GOOD | {"sim_cocotb_cycles_per_s": 20.1e3})


def test_the_json_file_is_one_flat_object_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "bench.json"
    report.write_json(GOOD, path)
    assert json.loads(path.read_text()) == GOOD


def test_the_table_shows_what_was_missed(capsys) -> None:
    report.print_table(GOOD | {"golden_mips": 19.0})
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert "MISSED" in lines["golden_mips"]
    assert "MISSED" not in lines["golden_gemm_mac_per_s"]


@pytest.mark.parametrize(
    ("value", "text"), [(35346123.0, "35,350,000"), (151.234, "151.2"), (0.51279, "0.5128")]
)
def test_figures_are_shown_with_four_digits(value: float, text: str) -> None:
    assert report.shown(value) == text


def test_the_machine_is_described_by_cores_and_versions() -> None:
    assert re.search(r", \d+ cores, \w+, Python 3\.\d+\.\d+.*, verilator 5\.", report.machine())


@pytest.mark.parametrize("key", [m.key for m in bench.METRICS if m.bar and "_per_cycle" in m.key])
def test_products_and_sram_reach_their_bars_in_cycles_of_the_rtl(key: str) -> None:
    metric = bench.find_metric(key)
    assert metric.measure() >= metric.bar({})


#: What is measured is simulated from given seeds, so it is known.
SERDES = {
    "serdes_packet_efficiency": pytest.approx(0.9514, abs=1e-3),
    "serdes_payload_efficiency": pytest.approx(0.6920, abs=1e-3),
    "serdes_goodput_ber_1e6": pytest.approx(0.80, abs=0.03),
    "serdes_latency_cycles": 18,
    "serdes_latency_flight_cycles": 195,
    "serdes_bring_up_cycles": 1271,
    "serdes_recovery_cycles": 37,
}


@pytest.mark.parametrize("key", [key for key in KEYS if key.startswith("serdes_")])
def test_links_reach_their_bars_in_cycles_of_the_rtl(key: str) -> None:
    metric = bench.find_metric(key)
    measured = metric.measure()
    assert measured == SERDES[key]
    assert metric.meets({key: measured}) is not False


@pytest.mark.parametrize(
    ("source", "steps"),
    [(simulation.MATRIX_LOOP, 7520), (simulation.SCALAR_LOOP, 0)],
    ids=["matrix", "scalar"],
)
def test_the_measured_loops_go_on_for_ever_and_compute(source: str, steps: int) -> None:
    with d1.open("golden", "d1") as device:
        simulation.start_loop(device, source)
        device.link.advance(1 + 42 * 235)
        assert device.status().status is ThreadStatus.RUNNING
        assert device.counters()[CounterRegister.MATRIX_STEPS] == steps


def test_a_metric_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"metric must be one of .*, not 'speed'"):
        bench.find_metric("speed")
