"""What becomes of graphs, in reports and by `d1 explain`."""

import json
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from d1.cli import main
from d1.device import Device
from d1.torch import capture
from d1.torch.explain import as_json, explained
from torch.nn import functional as F

SCRIPT = """
import sys
import torch

torch.manual_seed(int(sys.argv[1]))
layer = torch.nn.Linear(12, 20)

def model(x):
    return torch.cummax(torch.relu(layer(x)), 1).values.sum()

options = {"device": "golden", "preset": "tiny"}
run = torch.compile(model, backend="d1", options=options, dynamic=False)
print("the sum is", run(torch.randn(8, 12)).item())
"""


def compiled(function, **options):
    options = {"device": "golden", "preset": "tiny"} | options
    return torch.compile(function, backend="d1", options=options, dynamic=False)


def test_a_report_says_what_was_fused_into_each_kernel() -> None:
    def model(x, w, b):
        return F.softmax(torch.relu(x @ w + b), -1)

    generator = torch.Generator().manual_seed(1)
    x, w, b = (torch.randn(s, generator=generator) for s in ((8, 12), (12, 20), (20,)))
    with explained("golden") as reports, torch.no_grad():
        compiled(model)(x, w, b)
    (report,) = reports
    product, softmax = report.kernels
    assert (product.kind, product.domain) == ("product", "8 x 20 over 12")
    assert product.operators == ["mm", "add", "relu"]
    assert softmax.kind == "loops" and softmax.domain == "8 x 20"
    assert {"amax", "exp", "sum"} <= set(softmax.operators)
    assert report.refused == [] and report.programs == 1


def test_a_report_has_the_memory_plan() -> None:
    with explained("golden") as reports, torch.no_grad():
        compiled(lambda a: F.softmax((a @ a.T) @ (a @ a.T), 1).T @ a)(torch.ones(16, 16))
    (report,) = reports
    assert 0 < report.peak < report.unplanned
    assert max(t.place + t.size for t in report.tensors) <= report.peak
    assert sum(t.size for t in report.tensors) <= report.unplanned
    for one in report.tensors:
        for other in report.tensors:
            together = one.first <= other.last and other.first <= one.last
            apart = one.place + one.size <= other.place or other.place + other.size <= one.place
            assert one is other or not together or apart


def test_a_report_has_the_bytes_that_the_host_writes_and_reads_for_a_run() -> None:
    call = Device.call
    written, read = [], []

    def counting(device: Device, *args: Any, **kwargs: Any) -> Any:
        written.extend(data.nbytes for _, data in kwargs["inputs"])
        results = call(device, *args, **kwargs)
        read.extend(data.nbytes for data in results)
        return results

    with explained("golden") as reports, torch.no_grad():
        run = compiled(lambda a: (F.softmax(a @ a.T, 1), a.sum(0)))
        run(torch.ones(9, 16))
    with patch.object(Device, "call", counting):
        run(torch.ones(9, 16))
    (report,) = reports
    assert report.host_writes == sum(written) > 9 * 16 * 4
    assert report.host_reads == sum(read) >= (9 * 9 + 16) * 4


def test_a_report_has_cycles_that_are_predicted_and_simulated() -> None:
    def model(x, w):
        return torch.tanh(x @ w).sum(0)

    with explained("rtl") as reports, torch.no_grad():
        run = compiled(model)
        first = run(torch.ones(32, 40), torch.ones(40, 48))
        assert torch.equal(run(torch.ones(32, 40), torch.ones(40, 48)), first)
    (report,) = reports
    assert len(report.kernels) == 2
    for kernel in report.kernels:
        assert kernel.simulated is not None
        assert 0.6 < kernel.predicted / kernel.simulated < 1.6


def test_forward_and_backward_are_two_graphs_with_their_names() -> None:
    with explained("golden") as reports:
        x = torch.ones(4, 6, requires_grad=True)
        compiled(lambda a: a.exp().sum())(x).backward()
    assert ["forward" in r.name for r in reports] == [True, False]
    assert ["backward" in r.name for r in reports] == [False, True]


def test_what_is_pytorchs_is_reported_with_its_reason() -> None:
    capture._warned.clear()
    with explained("golden") as reports, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        compiled(lambda a: torch.cummax(a * 2, 1).values + 1)(torch.ones(3, 4))
    refused = [entry for report in reports for entry in report.refused]
    assert refused == [("aten.cummax.default", "there is no lowering")]
    assert sum(len(report.kernels) for report in reports) == 2
    assert capture.observers == []


def test_the_command_runs_a_script_and_shows_its_graphs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, target = tmp_path / "script.py", tmp_path / "report.json"
    script.write_text(SCRIPT)
    options = ["--device", "golden", "--json", str(target)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["explain", *options, str(script), "7"]) == 0
    shown = capsys.readouterr().out
    for text in ("the sum is", "forward", "product", "addmm", "relu", "PyTorch", "cummax", "KiB"):
        assert text in shown
    reports = json.loads(target.read_text())
    kernels = [kernel for report in reports for kernel in report["kernels"]]
    assert any("relu" in kernel["operators"] for kernel in kernels)
    assert all(kernel["predicted"] > 0 and kernel["simulated"] > 0 for kernel in kernels)


def test_the_command_has_the_exit_code_of_the_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit(3)")
    assert main(["explain", str(script)]) == 3
    assert main(["explain", str(tmp_path / "none.py")]) == 100
    assert "none.py: there is no such script" in capsys.readouterr().err


def test_reports_can_be_written_as_json() -> None:
    with explained("golden") as reports, torch.no_grad():
        compiled(lambda a: a * 2)(torch.ones(5))
    (report,) = json.loads(as_json(reports))
    assert report["preset"] == "tiny" and report["kernels"][0]["operators"] == ["mul"]
