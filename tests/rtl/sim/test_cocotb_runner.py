# amaranth: UnusedElaboratable=no
"""cocotb on a Verilated component."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.sim.cocotb_runner import CocotbError, run_cocotb


class Counter(wiring.Component):
    step: In(40)
    count: Out(100)

    def elaborate(self, platform):
        m = Module()
        hidden = Signal(100)
        m.d.sync += hidden.eq(hidden + self.step)
        m.d.comb += self.count.eq(hidden)
        return m


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def run(*tests, seed=1, **options):
        return run_cocotb(
            Counter(),
            name="counter",
            test_module="cocotb_counter",
            testcase=tests,
            seed=seed,
            directory=tmp_path / "run",
            **options,
        )

    return run


def test_tests_that_pass_are_reported_and_see_only_ports(run, tmp_path):
    report = tmp_path / "junit.xml"
    result = run("counts", "only_ports_are_visible", results_xml=report)
    assert result.tests == ("cocotb_counter.counts", "cocotb_counter.only_ports_are_visible")
    assert result.waves is None
    cases = [case.get("name") for case in ElementTree.parse(report).iter("testcase")]
    assert cases == ["counts", "only_ports_are_visible"]


def test_a_failing_test_is_named_with_the_seed(run):
    with pytest.raises(
        CocotbError, match=r"counter with seed 23: failed cocotb_counter.fails"
    ) as e:
        run("counts", "fails", seed=23)
    assert e.value.failed == ("cocotb_counter.fails",)


def test_a_simulation_that_dies_is_no_success(run):
    with pytest.raises(CocotbError, match="the simulation did not end well"):
        run("dies")


def test_no_test_at_all_is_no_success(run):
    with pytest.raises(CocotbError, match="the simulation did not end well"):
        run("absent")


def test_the_seed_decides_the_random_numbers(run, tmp_path):
    record = tmp_path / "numbers"
    for seed in (5, 5, 6):
        run("records_a_random_number", seed=seed, env={"COUNTER_RECORD": str(record)})
    first, second, third = record.read_text().split()
    assert first == second != third


def test_a_waveform_is_written_when_asked_for(run):
    result = run("counts", waves=True)
    assert result.waves.stat().st_size > 1000
