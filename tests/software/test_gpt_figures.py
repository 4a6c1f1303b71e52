"""What was measured of the GPT that sorts, and its picture."""

from d1.gpt_figures import (
    CFP8,
    GOLDEN,
    PICTURE,
    PYTORCH,
    WANTED,
    Run,
    curves,
    read_figures,
    read_runs,
)


def test_the_picture_of_the_documentation_is_that_of_the_figures():
    assert PICTURE.read_text() == str(curves(read_runs())), "run `make docs`"


def test_the_gpt_learns_to_sort_on_the_node_within_a_thousand_steps():
    runs = read_runs()
    assert set(runs) == {PYTORCH, GOLDEN, CFP8}
    for run in runs.values():
        assert run.learnt <= len(run.losses) <= 1000
        assert run.accuracies[len(run.losses)] >= WANTED


def test_steps_on_the_rtl_had_the_bits_of_the_golden_node():
    rtl = read_figures()["rtl"]
    assert rtl["steps"] >= 3
    # A loss, and a gradient and a weight for each of 85 728 parameters.
    assert rtl["numbers"] == rtl["steps"] * (1 + 2 * 85_728)
    assert rtl["differing_bits"] == 0


def test_curves_show_every_run():
    runs = {"one": Run([1.0, 0.1], {1: 0.5, 2: 1.0}), "other": Run([2.0, 0.2], {2: 0.25})}
    picture = str(curves(runs))
    assert picture.count("<polyline") == 5 + 6 + 3 * len(runs)
    assert ">other<" in picture
    assert runs["one"].learnt == 2
