"""The figures of the link's long runs, and that the page's picture shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from d1.link_figures import MODELS, PICTURE, Figures, curves, read_figures, read_soak

from testbench.end_scenarios import RATES, SCENARIOS

RUNS = read_figures()


def test_the_picture_of_the_documentation_is_that_of_the_figures() -> None:
    assert PICTURE.read_text() == str(curves(RUNS)), "run `make docs`"


@pytest.mark.parametrize("rate", sorted({rate for _, rate in RUNS}))
def test_all_models_of_a_link_tell_the_same(rate: float) -> None:
    rtl = RUNS["RTL", rate]
    for model in MODELS:
        if (model, rate) in RUNS:
            # Errors are drawn anew for link layers, and come in as many ways as there are packets.
            other = RUNS[model, rate]
            assert other.goodput == pytest.approx(rtl.goodput, rel=0.1 if rate >= 1e-5 else 0.02)
            assert other.mean_latency == pytest.approx(rtl.mean_latency, rel=0.1)


@pytest.mark.parametrize("rate", RATES)
def test_a_million_packets_went_through_the_rtl_at_every_rate(rate: float) -> None:
    assert RUNS["RTL", rate].packets >= 10**6
    # At the worst rate a link is 24 times as slow.
    assert RUNS["golden layers", rate].packets >= (10**8 if rate < 1e-4 else 2 * 10**7)


def test_links_lost_nothing_but_by_resets_and_that_was_reported() -> None:
    rows = read_soak()
    assert {row["scenario"] for row in rows} == {
        name for name in SCENARIOS if not name.startswith("bit errors")
    }
    for row in rows:
        assert (row["reported"] > 0) == ("reset" in row["scenario"])


def test_goodput_falls_and_latency_rises_with_the_rate_of_errors() -> None:
    for model in MODELS:
        of_model = [RUNS[model, rate] for rate in RATES if (model, rate) in RUNS]
        goodput = [figures.goodput for figures in of_model]
        latency = [figures.mean_latency for figures in of_model]
        assert goodput == sorted(goodput, reverse=True)
        assert latency == sorted(latency)


def test_every_figure_is_a_mark_in_both_curves_with_its_value() -> None:
    figures = Figures(1000, 2000, 0.5, 190, 300.0, 400, 7)
    picture = str(curves({("RTL", 0.0): figures, ("golden ends", 1e-6): figures}))
    for title in ("RTL, 0: 0.5", "golden ends, 1e-06: 0.5", "RTL, 0: 300"):
        assert f"<title>{title}</title>" in picture


def test_joined_runs_count_by_their_length() -> None:
    short = Figures(100, 1000, 0.5, 190, 300.0, 400, 7)
    long = Figures(300, 3000, 0.1, 180, 500.0, 300, 1)
    joined = Figures(400, 4000, pytest.approx(0.2), 180, pytest.approx(450.0), 400, 8)
    assert short.joined(long) == long.joined(short) == joined


def test_figures_that_are_not_there_are_none(tmp_path: Path) -> None:
    assert read_figures(tmp_path / "figures.json") == {}
