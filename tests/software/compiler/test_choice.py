import json

import pytest
from d1.compiler import choice
from d1.compiler.choice import Choice, choose_schedule, product_key, spread
from d1_golden.numerics import BF16, FP32, Cfp8Config, Cfp8Format
from d1_golden.params import PRESETS

CFP8 = (Cfp8Config(Cfp8Format.CFP8_1_4_3, 7), Cfp8Config(Cfp8Format.CFP8_1_5_2, 15))
D1 = PRESETS["d1"]


@pytest.fixture
def unmeasured(tmp_path, monkeypatch):
    """Choose by the estimate alone."""
    (tmp_path / "none.json").write_text("{}")
    monkeypatch.setattr(choice, "MEASURED", tmp_path / "none.json")
    choice.forget()
    yield
    choice.forget()


@pytest.mark.usefixtures("unmeasured")
def test_the_square_product_holds_one_row_of_tiles_in_each_thread():
    schedule, _ = choose_schedule(D1, 1, 8, 8, 16, BF16)
    assert schedule.register_group == 1
    assert 4 <= schedule.memory_group <= D1.accumulators
    assert len(schedule.passes) == 4


@pytest.mark.usefixtures("unmeasured")
def test_a_narrow_result_puts_its_narrow_side_in_registers():
    schedule, swapped = choose_schedule(D1, 1, 64, 1, 16, BF16)
    assert swapped
    assert schedule.register_group == 1
    schedule, swapped = choose_schedule(D1, 1, 1, 64, 16, BF16)
    assert not swapped
    assert schedule.register_group == 1


@pytest.mark.usefixtures("unmeasured")
def test_few_tiles_are_divided_among_the_threads():
    for tiles, threads in (((2, 2), 4), ((1, 4), 4), ((4, 1), 4), ((3, 3), 3)):
        schedule, _ = choose_schedule(D1, 1, *tiles, 64, BF16)
        assert len(schedule.passes) == threads, tiles


def test_formats_change_sides_with_their_operands():
    schedule, swapped = choose_schedule(D1, 1, 64, 1, 16, CFP8)
    assert swapped
    assert schedule.formats == CFP8[::-1]


def test_fp32_never_changes_sides():
    schedule, swapped = choose_schedule(D1, 1, 4, 64, 16, FP32)
    assert not swapped
    assert schedule.register_tiles == 4


@pytest.mark.parametrize("threads,q,leads", [(4, 8, (2, 4, 6, 0)), (2, 8, (4, 0)), (1, 8, (0,))])
def test_leads_are_spread_evenly(threads, q, leads):
    assert spread(threads, q) == leads


def test_of_the_choices_measured_the_one_of_fewest_cycles_is_taken(tmp_path, monkeypatch):
    figures = [
        {
            "cycles": cycles,
            "choice": {
                "swapped": True,
                "register_group": p,
                "memory_group": 2,
                "threads": 3,
                "leads": [1],
                "unroll": 6,
            },
        }
        for p, cycles in ((1, 900), (2, 700), (3, 800))
    ]
    path = tmp_path / "measured.json"
    path.write_text(json.dumps({product_key(D1, 1, 8, 8, 16, BF16): figures}))
    monkeypatch.setattr(choice, "MEASURED", path)
    choice.forget()
    schedule, swapped = choose_schedule(D1, 1, 8, 8, 16, BF16)
    other, _ = choose_schedule(D1, 1, 8, 8, 17, BF16)
    choice.forget()
    assert swapped
    assert (schedule.register_group, schedule.memory_group) == (2, 2)
    assert (schedule.threads, schedule.leads, schedule.unroll) == (3, (1,), 6)
    assert other.threads == D1.threads


def test_the_figures_in_the_repository_are_of_choices_that_can_be_made():
    for key, figures in json.loads(choice.MEASURED.read_text()).items():
        preset, *_ = key.split()
        for figure in figures:
            made = Choice(**figure["choice"] | {"leads": tuple(figure["choice"]["leads"])})
            assert 1 <= made.threads <= PRESETS[preset].threads
            assert figure["cycles"] > 0
