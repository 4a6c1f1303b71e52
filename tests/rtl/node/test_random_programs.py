"""Random programs on the RTL node, compared with the golden node instruction by instruction."""

from pathlib import Path

import pytest
from d1_golden.params import PRESETS, preset
from d1_rtl.node.core import Core
from d1_rtl.node.node import Node
from d1_rtl.sim.cocotb_runner import run_cocotb

from testbench.regression import run_cases, unseen_instructions, unseen_stalls

#: Seeds and cases for each preset; together more than 2 x 10^5 instructions.
NATIVE_CASES = {"tiny": (1000, 280), "fpga": (2000, 80), "d1": (3000, 80)}


@pytest.mark.parametrize("name", PRESETS)
def test_random_programs_with_traffic_match_golden_under_the_native_driver(name: str) -> None:
    first, count = NATIVE_CASES[name]
    print(f"seeds {first}..{first + count - 1}")
    regression = run_cases(preset(name), range(first, first + count))
    assert not regression.failures, "\n".join(text for _, _, text in regression.results if text)
    assert unseen_instructions(regression.instructions) == []
    assert unseen_stalls(regression.stalls) == []
    least = {"tiny": 140_000, "fpga": 40_000, "d1": 40_000}[name]
    assert regression.instructions.total() >= least


def test_random_programs_match_golden_on_a_node_whose_cycles_have_turns() -> None:
    seeds = range(4000, 4012)
    print(f"seeds {seeds.start}..{seeds.stop - 1}")
    regression = run_cases(preset("fpga"), seeds, on_fpga=True)
    assert not regression.failures, "\n".join(text for _, _, text in regression.results if text)
    assert regression.instructions.total() >= 5_000


def test_random_programs_with_stalled_packets_match_golden_under_cocotb(tmp_path: Path) -> None:
    result = run_cocotb(
        Node(preset("tiny")),
        name="node_tiny",
        test_module="testbench.tb_node",
        seed=1,
        directory=tmp_path,
        env={"D1_PRESET": "tiny", "D1_SEED": "1", "D1_COUNT": "6"},
    )
    assert len(result.tests) == 2


def test_random_programs_match_golden_while_memory_refuses_the_core(tmp_path: Path) -> None:
    result = run_cocotb(
        Core(preset("tiny")),
        name="core_tiny",
        test_module="testbench.tb_core",
        seed=1,
        directory=tmp_path,
        env={"D1_PRESET": "tiny", "D1_SEED": "100", "D1_COUNT": "9"},
    )
    assert len(result.tests) == 1
