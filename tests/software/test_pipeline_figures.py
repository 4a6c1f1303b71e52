"""The figures of the pipeline on its page, and that they are measured."""

import pytest
from d1.pipeline_figures import BATCHES, measured, read_pipeline_figures, steady

RUNS = read_pipeline_figures()


def test_the_figures_are_those_of_the_rtl() -> None:
    batch = BATCHES[-2]
    (known,) = (run for run in RUNS if run.batch == batch)
    run = measured(batch)
    # Other kernels may have changed it a little since.
    assert run.one == pytest.approx(known.one, rel=0.05), "run tools/measure_pipeline.py"
    assert run.many == pytest.approx(known.many, rel=0.05), "run tools/measure_pipeline.py"


def test_a_full_pipeline_of_four_stages_is_more_than_three_times_as_fast_as_one_node() -> None:
    assert [run.batch for run in RUNS] == list(BATCHES)
    speedups = [run.speedup for run in RUNS]
    assert speedups == sorted(speedups) and speedups[-1] > 2.5
    assert 3 < steady(RUNS) <= 4
