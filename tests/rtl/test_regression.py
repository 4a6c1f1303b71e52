"""The regression itself: a difference is found, shrunk, reported and can be replayed."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from d1_golden.isa import INSTRUCTION_BY_NAME
from numpy.typing import NDArray

from testbench import regression
from testbench.checker import Outcome
from testbench.workload import Case, Workload


@pytest.fixture
def a_wrong_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the RTL's trace show a wrong result for every `mulh`."""
    real, row = regression.NativeNode.run, INSTRUCTION_BY_NAME["mulh"]

    def run(node: regression.NativeNode, workload: Workload, **options: object) -> Outcome:
        outcome = real(node, workload, **options)  # type: ignore[arg-type]
        wrong = (outcome.retired["insn"] & row.mask) == row.match
        outcome.retired["value"] ^= np.uint64(4) * (wrong & (outcome.retired["rd_valid"] != 0))
        return outcome

    monkeypatch.setattr(regression.NativeNode, "run", run)


@pytest.mark.usefixtures("a_wrong_product")
def test_a_difference_is_shrunk_and_replayed_with_a_windowed_waveform(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, waves = tmp_path / "junit.xml", tmp_path / "waves" / "failure"
    options = ["--preset", "tiny", "--seed", "41", "--count", "1", "--junit", str(report)]
    assert regression.main([*options, "--waves", str(waves)]) == 1
    printed = capsys.readouterr().out
    body = printed.split("enough:\n")[1].split("replay")[0].splitlines()
    assert body[0].startswith("thread ")
    mnemonics = [line.split()[2] for line in body[1:]]
    assert mnemonics.count("mulh") == 1 and len(mnemonics) <= 10
    assert "make regression PRESET=tiny SEED=41 LENGTH=300 N=1 WAVES=" in printed
    failure = ElementTree.parse(report).find("testcase/failure")
    assert failure is not None and "retired instruction" in failure.attrib["message"]
    (waveform,) = waves.parent.iterdir()
    assert waveform.stat().st_size > 10_000


def test_a_run_without_difference_passes_and_reports_every_case(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    options = ["--preset", "tiny", "--seed", "41", "--count", "3", "--junit", str(report)]
    assert regression.main(options) == 0
    suite = ElementTree.parse(report).getroot()
    assert [case.attrib["name"] for case in suite] == ["seed_41", "seed_42", "seed_43"]
    assert suite.attrib["failures"] == "0"


def test_replaying_one_seed_repeats_the_very_same_cycles() -> None:
    node = regression.NativeNode(regression.preset("tiny"))
    workloads = {seed: Case(node.params, seed).workload() for seed in (50, 51)}
    alone = node.run(workloads[51], traffic=True)
    node.run(workloads[50], traffic=True)
    again = node.run(workloads[51], traffic=True)
    node.close()
    assert np.array_equal(alone.retired, again.retired)


def test_count_must_be_positive(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        regression.main(["--count", "0"])
    assert "--count must be positive, not 0" in capsys.readouterr().err


def test_a_node_as_on_an_fpga_has_no_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.json"
    with pytest.raises(SystemExit):
        regression.main(["--on-fpga", "--record", str(record)])
    assert "--record must be without --on-fpga" in capsys.readouterr().err
    assert not record.exists()


def test_a_packet_that_reads_what_was_not_written_is_a_difference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = regression.NodeLink.exchange

    def exchange(link: regression.NodeLink, requests: NDArray, max_cycles: int) -> NDArray:
        replies = real(link, requests, max_cycles)
        if requests["tag"].any() and not link.get("idle"):  # a burst beside a running program
            replies["data"][:, 7] ^= 1
        return replies

    monkeypatch.setattr(regression.NodeLink, "exchange", exchange)
    report = tmp_path / "junit.xml"
    options = ["--preset", "tiny", "--seed", "41", "--count", "1", "--junit", str(report)]
    assert regression.main(options) == 1
    assert "packets must read" in capsys.readouterr().out
