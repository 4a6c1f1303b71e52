"""Links check themselves; the presets keep the project's bars."""

from dataclasses import replace

import pytest
from d1_golden.serdes.params import LINKS, LinkParams, link_preset

D1 = LINKS["d1"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lanes", 3, "lanes must be 2, 4 or 8, not 3"),
        ("lane_width", 0, r"lane_width must be in 1\.\.64, not 0"),
        ("lane_width", 65, r"lane_width must be in 1\.\.64, not 65"),
        ("flight_cycles", -1, "flight_cycles must be at least 0, not -1"),
        ("skew_limit", 33, r"skew_limit must be in 1\.\.32, not 33"),
        ("marker_interval", 1001, "marker_interval must be even and at least 4, not 1001"),
        ("lane_patience", 0, "lane_patience must be at least 1, not 0"),
    ],
)
def test_a_value_of_the_lanes_out_of_range_is_refused_by_name(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(D1, **{field: value})


def test_the_link_of_the_machine_is_eight_lanes_of_56_bits_with_skew_up_to_32_blocks():
    assert (D1.lanes, D1.lane_width, D1.skew_limit) == (8, 56, 32)


def test_markers_take_at_most_two_thousandths_of_the_rows():
    for params in LINKS.values():
        assert params.marker_share <= 0.002


def test_a_frame_of_the_machine_is_seven_rows_of_eight_words():
    assert (D1.frame_rows, D1.frame_words) == (7, 56)


def test_an_unknown_preset_is_refused_with_a_list_of_those_there_are():
    with pytest.raises(ValueError, match="link must be one of d1, fpga, serial, tiny, not 'x'"):
        link_preset("x")
    assert link_preset("tiny") is LINKS["tiny"]


def test_the_deskew_buffers_hold_twice_the_skew():
    assert LinkParams(name="x", skew_limit=32).deskew_rows == 64
    assert LinkParams(name="x", skew_limit=5).deskew_rows == 16
