import pytest
from d1.compiler.schedule import Groups, Schedule, choose_schedule
from d1_golden.numerics import Cfp8Config, Cfp8Format
from d1_golden.params import PRESETS

CFP8 = (Cfp8Config(Cfp8Format.CFP8_1_4_3, 7), Cfp8Config(Cfp8Format.CFP8_1_5_2, 15))


@pytest.mark.parametrize("tiles", range(1, 20))
@pytest.mark.parametrize("size", [1, 3, 8])
def test_groups_cover_every_tile_once(tiles: int, size: int):
    covered = [
        group.first + tile
        for group in Groups.cover(tiles, size)
        for tile in range(group.count * group.size)
    ]
    assert covered == list(range(tiles))


@pytest.mark.parametrize("formats", [None, CFP8])
@pytest.mark.parametrize("steps", [1, 2, 3, 31, 32, 33, 64, 257, 1000])
@pytest.mark.parametrize("block", [(1, 8), (8, 1), (2, 4), (1, 1), (3, 2)])
def test_runs_make_up_all_vectors_within_reach_of_an_instruction(formats, steps, block):
    p, q = block
    schedule = Schedule(
        params=PRESETS["d1"],
        batch=1,
        register_tiles=8,
        memory_tiles=8,
        steps=steps,
        register_group=p,
        memory_group=q,
        formats=formats,
    )
    head, body, repeats, tail = schedule.runs(p, q)
    assert head + body * repeats + tail == schedule.vectors
    assert schedule.halves * (schedule.vectors - tail) + tail == steps
    assert body % 2 == 0
    assert max(head, body) * q <= 256
    assert max(head, body) * p + p <= 2048
    assert repeats == 0 or head > 0


def test_the_square_product_holds_one_row_of_eight_tiles():
    schedule, _ = choose_schedule(PRESETS["d1"], 1, 8, 8, 16)
    assert (schedule.register_group, schedule.memory_group) == (1, 8)
    assert schedule.instructions <= 1730


def test_a_narrow_result_puts_its_narrow_side_in_registers():
    schedule, swapped = choose_schedule(PRESETS["d1"], 1, 16, 1, 16)
    assert swapped
    assert schedule.memory_group == 8
    schedule, swapped = choose_schedule(PRESETS["d1"], 1, 1, 16, 16)
    assert not swapped
    assert schedule.memory_group == 8


def test_formats_change_sides_with_their_operands():
    schedule, swapped = choose_schedule(PRESETS["d1"], 1, 16, 1, 16, CFP8)
    assert swapped
    assert schedule.formats == CFP8[::-1]
