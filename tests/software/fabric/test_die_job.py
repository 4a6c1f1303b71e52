"""The headline job: what it computes, checks and counts, and the picture of it."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from d1 import die as die_command
from d1.cli import main
from d1.fabric import die_job
from d1.fabric.die_figures import all_reduce_cycles, barrier_cycles, broadcast_cycles
from d1.fabric.die_job import DieRun, even_size, peak_tflops, run_product
from d1.fabric.distributed_matmul import choose_bands
from d1.fabric.heatmap import latency_curves, write_heatmap
from d1.fabric.mesh import open_mesh
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane
from d1_golden.fabric.traffic import Pattern
from d1_golden.numerics import BF16
from d1_golden.params import DIES, PRESETS, DieParams

DIE = DieParams(name="small", node=PRESETS["tiny"], columns=3, rows=3, dead_cores=((3, 3),))


@pytest.fixture(scope="module")
def run() -> DieRun:
    with open_mesh("rtl", DIE) as mesh:
        return run_product(mesh, *even_size(DIE), 64)


def test_on_the_simulated_die_all_nodes_work_and_every_bit_is_right(run: DieRun):
    assert run.different == 0
    assert run.idle_nodes == []
    steps = run.matrix_steps[run.matrix_steps > 0]
    assert len(steps) == 8
    assert len(set(steps.tolist())) == 1
    assert int(steps.sum()) * DIE.node.macs_per_step == run.m * run.n * run.k


def test_matrix_units_are_busy_nine_tenths_of_the_time(run: DieRun):
    assert run.tflops > 0.9 * peak_tflops(DIE)
    live = run.utilisation[run.matrix_steps > 0]
    assert run.tflops == pytest.approx(live.mean() * peak_tflops(DIE))


def test_links_carry_what_the_product_moves(run: DieRun):
    requests = run.packets[Plane.REQUEST]
    # Both operands in BF16: each node of the grid of two rows gets its rows and its columns.
    (band, last) = choose_bands(DIE, run.m, run.n, BF16)
    lines = (band.row_tiles + band.column_tiles) * run.k * 2 * DIE.node.matrix_rows // 64
    assert requests[0, 0, Port.LOCAL] >= lines
    assert requests[0, 0, Port.LOCAL] <= lines + 100
    # Nobody sends to the dead core, and what goes north or south stays in its grid.
    assert not requests[1:, 2, Port.SOUTH].any()
    assert len(last.rows) == 1
    assert not requests[1, :, Port.SOUTH].any()


def test_a_wrong_bit_fails_the_job(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    reference = die_job.matmul_reference

    def flipped(*arguments) -> np.ndarray:
        result = reference(*arguments)
        result[3, 4] ^= 1
        return result

    monkeypatch.setattr(die_job, "matmul_reference", flipped)
    assert main(["die", "--device", "golden", "--die", "tiny", "--k", "8"]) == 1
    assert "1 of 11,016 elements differ" in capsys.readouterr().out


def test_an_idle_node_fails_the_job(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(die_command, "even_size", lambda die: (4, 4))
    assert main(["die", "--device", "golden", "--die", "tiny", "--k", "8"]) == 1
    assert "4 of 9" in capsys.readouterr().out


def test_the_command_writes_the_picture(tmp_path: Path, capsys) -> None:
    path = tmp_path / "pictures" / "die.svg"
    arguments = ["die", "--device", "golden", "--die", "tiny", "--k", "16"]
    assert main([*arguments, "--heatmap", str(path)]) == 0
    out = capsys.readouterr().out
    assert "elements equal, to the bit" in out
    assert "9 of 9" in out
    assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_the_picture_shows_nodes_links_and_curves(run: DieRun, tmp_path: Path) -> None:
    path = tmp_path / "die.svg"
    curves = latency_curves(DIE)
    write_heatmap(run, curves, path)
    root = ElementTree.parse(path).getroot()
    titles = [title.text or "" for title in root.iter("{http://www.w3.org/2000/svg}title")]
    for column, row in DIE.live_nodes:
        used = f"({column}, {row}): {run.utilisation[row - 1, column - 1]:.1%} of the cycles"
        assert used in titles
    assert "(3, 3): dead core" in titles
    load = float(run.link_load[Plane.REQUEST, 0, 0, Port.EAST])
    assert any(t.startswith(f"(1, 1) east: {load:.3f} requests") for t in titles)
    assert sum(" requests and " in title for title in titles) == 2 * (2 * 3 + 3 * 2)
    lines = root.iter("{http://www.w3.org/2000/svg}polyline")
    assert sum(line.get("stroke-width") == "2" for line in lines) >= 2 * len(curves) - 1


def test_latency_grows_with_the_load_and_is_that_of_the_way_without(tmp_path: Path) -> None:
    curves = latency_curves(DIES["tiny"])
    assert set(curves) == set(Pattern)
    for pattern, runs in curves.items():
        latencies = [run.latency for run in runs]
        assert latencies[0] <= latencies[-1], pattern
    neighbour, complement = (
        curves[p][0].latency for p in (Pattern.NEIGHBOUR, Pattern.BIT_COMPLEMENT)
    )
    assert neighbour < complement
    around = latency_curves(
        DieParams(name="x", node=PRESETS["tiny"], columns=4, rows=4, dead_routers=((2, 2),))
    )
    assert set(around) == {Pattern.UNIFORM}
    assert around[Pattern.UNIFORM][0].astray == 0


@pytest.mark.parametrize(
    "die",
    [
        *DIES.values(),
        DIE,
        DieParams(name="x", node=PRESETS["tiny"], columns=5, rows=4, dead_cores=((2, 3), (1, 1))),
    ],
    ids=lambda die: die.name,
)
def test_sizes_that_are_even_give_every_node_equally_much(die: DieParams):
    m, n = even_size(die)
    bands = choose_bands(die, m, n, BF16)
    assert len({band.tiles for band in bands}) == 1
    assert sum(len(band.rows) * len(band.columns) for band in bands) == len(die.live_nodes)
    tiles = m * n // die.node.matrix_rows**2
    assert tiles == bands[0].tiles * len(die.live_nodes)


def test_what_nodes_do_together_takes_few_cycles():
    """On the 3 x 3 tiny die; those of 354 nodes are in the benchmarks."""
    with open_mesh("rtl", DIE) as mesh:
        assert barrier_cycles(mesh) <= 70
        assert broadcast_cycles(mesh) <= 80
        assert all_reduce_cycles(mesh) <= 1000


def test_peak_is_that_of_the_live_nodes():
    assert peak_tflops(DIES["d1"]) == pytest.approx(354 * 256 * 2 * 2e9 / 1e12)
