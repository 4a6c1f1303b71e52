"""What the mesh accepts: no less than the bars, and what the router page says."""

import pytest
from d1_golden.fabric.mesh import MeshModel, latency_curve

from testbench.mesh_report import BARS, PAGE, Mesh, saturated, with_table


@pytest.mark.parametrize("mesh", BARS, ids=lambda mesh: f"{mesh[0]}x{mesh[1]} {mesh[2].value}")
def test_a_mesh_accepts_no_less_than_its_bar(mesh: Mesh) -> None:
    run = saturated(mesh)
    print(f"{run.accepted:.3f} packets per node and cycle")
    assert run.accepted >= BARS[mesh]
    assert run.out_of_order == run.astray == 0


def test_more_than_the_saturation_is_not_accepted() -> None:
    for columns, rows, pattern in BARS:
        if pattern.value == "neighbour":
            continue  # every link that is used carries all of one node's packets
        load = saturated((columns, rows, pattern)).offered + 0.03
        (run,) = latency_curve(MeshModel(columns, rows), pattern, [load], cycles=3000, warmup=1500)
        assert run.accepted < 0.99 * run.offered


def test_the_figures_of_the_router_page_are_those_of_the_golden_mesh() -> None:
    page = PAGE.read_text()
    assert with_table(page) == page, "write them anew with `python -m testbench.mesh_report`"
    assert "| 8 x 8 | uniform |" in page
