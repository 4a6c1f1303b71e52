"""Replay buffer and credits are what the round trip needs, and not one more."""

from dataclasses import replace

import pytest
from d1_golden.serdes.link_bench import LinkBench
from d1_golden.serdes.link_users import Traffic
from d1_golden.serdes.params import LINKS, LinkParams

D1 = LINKS["d1"]
BOTH_PLANES = Traffic()
ONE_PLANE = Traffic(offer=((1, 0), (1, 0)))
#: Rows that the markers take.
WITHOUT_MARKERS = 1 << 30
#: Packets over lane bits when every frame is full.
FULL = 5 * 704 / (7 * 8 * 66)


def worst_efficiency(params: LinkParams) -> float:
    """Return the efficiency of a full link whose lanes take as long as the parameters allow."""
    worst = 1.0
    for traffic in (BOTH_PLANES, ONE_PLANE):
        bench = LinkBench(
            params=params, delay=params.flight_cycles + params.coding_cycles, traffic=traffic
        )
        bench.run(4000)
        start = bench.progress(0)
        bench.run(16500)  # whole frames
        worst = min(worst, bench.efficiency(0, start))
    return worst


def test_the_sizes_follow_from_the_round_trip():
    # By hand: 3 rows in each transmitter, 6 behind the first, up to 7 of a frame that has begun,
    # at 66/56 cycles; 140 cycles of flight, 60 of coding and 3 in the receiver each way.
    cycles = (3 + 6 + 7 + 3) * 66 / 56 + 2 * (140 + 60 + 3)
    assert D1.acknowledge_cycles == pytest.approx(cycles)
    frame = 7 * 66 / 56
    assert D1.window - 1 < cycles / frame <= D1.window == 52
    credits = D1.request_credits
    assert credits == D1.reply_credits
    assert credits - 1 < 5 * (cycles + 1) / frame <= credits == 261


@pytest.mark.parametrize("flight", range(134, 150))
def test_a_link_of_these_sizes_is_full_whatever_the_phase_of_the_round_trip(flight):
    params = LinkParams(name="phase", flight_cycles=flight, marker_interval=WITHOUT_MARKERS)
    assert worst_efficiency(params) == pytest.approx(FULL, rel=0.0005)


@pytest.mark.parametrize("name", ["fpga", "tiny"])
def test_links_of_fewer_lanes_are_full_too(name):
    params = replace(LINKS[name], marker_interval=WITHOUT_MARKERS)
    full = 5 * 704 / (params.frame_words * 66)
    assert worst_efficiency(params) == pytest.approx(full, rel=0.01)


def test_one_entry_less_of_the_replay_buffer_loses_throughput():
    params = replace(D1, window=D1.window - 1, marker_interval=WITHOUT_MARKERS)
    assert worst_efficiency(params) < 0.99 * FULL


def test_one_credit_less_loses_throughput():
    # In a phase of the round trip that needs all of them.
    params = LinkParams(name="phase", flight_cycles=138, marker_interval=WITHOUT_MARKERS)
    less = replace(params, request_credits=params.request_credits - 1)
    assert worst_efficiency(params) == pytest.approx(FULL, rel=0.0005)
    assert worst_efficiency(less) < 0.998 * FULL


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("window", 97, "window must be in 1..96, not 97"),
        ("request_credits", -1, "request_credits must be in 1..384, not -1"),
        ("reply_credits", 385, "reply_credits must be in 1..384, not 385"),
        ("flight_cycles", -1, "flight_cycles must be at least 0, not -1"),
        ("retrain_cycles", 0, "retrain_cycles must be at least 1, not 0"),
        ("packet_slots", 6, "packet_slots must be in 1..5, not 6"),
    ],
)
def test_sizes_out_of_range_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        replace(D1, **{name: value})
