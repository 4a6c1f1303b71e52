"""The physical layer as a whole: two golden ends, two channels, rows both ways."""

from dataclasses import replace

import numpy as np
import pytest
from d1_golden.serdes.block import RowMode
from d1_golden.serdes.channel import LaneFate
from d1_golden.serdes.params import BLOCK_BITS, LINKS, LinkParams
from d1_golden.serdes.receiver import BondState, patience_cycles

from testbench.lane_pair import LanePair

D1 = replace(LINKS["d1"], flight_cycles=0)
#: Widths of a lane and, so that all numbers of lanes are used, how many.
WIDTHS = ((56, 8), (1, 4), (20, 2), (32, 4), (40, 8), (64, 8), (33, 2))
#: What bring-up may take in clocks.
BRING_UP = 20_000
ENDS = (0, 1)


def link(width, lanes):
    return LinkParams(name="test", lanes=lanes, lane_width=width, flight_cycles=0)


def modes(pair):
    return [RowMode(int(tx.registers["mode"][0])) for tx in pair.transmitters]


def is_up(pair, end):
    return pair.receivers[end].bond["state"][0] == BondState.UP


def arriving(pair, end):
    return int(pair.receivers[end].bond["arriving"][0])


def delivered(pair):
    return [pair.counts(end).right for end in ENDS]


def run_until_up(pair, clocks):
    """Run until both ends are up in the mode of the other one; return the clocks it took."""
    begin = pair.clock
    while pair.clock < begin + clocks:
        pair.run(1)
        if all(is_up(pair, end) for end in ENDS):
            return pair.clock - begin
    raise AssertionError(f"waited {clocks} clocks for both ends to be up")


@pytest.mark.parametrize(("width", "lanes"), WIDTHS)
def test_rows_arrive_in_order_after_any_bring_up(width, lanes):
    params = link(width, lanes)
    for seed in range(4):
        print(f"seed {seed}")
        pair = LanePair(params, seed=seed, skewed=seed > 0)
        for n, channel in enumerate(pair.channels):
            if seed + n & 2:
                channel.state.source[:] = channel.state.source[::-1].copy()
            channel.state.inverted[:] = np.random.default_rng(seed).integers(0, 2, lanes)
        took = run_until_up(pair, BRING_UP)
        print(f"width {width}: up after {took} clocks")
        pair.run(40 * patience_cycles(params) // 10)
        for end in ENDS:
            counts = pair.counts(end)
            assert counts.right > 1500
            assert counts.damaged == counts.flagged == counts.missing == counts.again == 0
            assert counts.drops == 0
            assert counts.sent - counts.right < 50 + 33


def test_the_way_through_both_ends_takes_eight_clocks_at_the_width_of_the_machine():
    pair = LanePair(D1, seed=0)
    pair.run(5000)
    for end in ENDS:
        counts = pair.counts(end)
        assert (counts.shortest, counts.longest) == (7, 8)


def test_a_full_link_loses_one_row_of_1024_to_markers():
    pair = LanePair(D1, seed=0)
    run_until_up(pair, BRING_UP)
    pair.run(100)
    before = pair.counts(0).sent
    clocks = 100_000
    pair.run(clocks)
    rows = clocks * D1.lane_width / BLOCK_BITS
    assert pair.counts(0).sent - before == pytest.approx(rows * 1023 / 1024, abs=2)


def test_rows_wait_for_the_slowest_lane_and_no_longer():
    pair = LanePair(D1, seed=0)
    pair.channels[0].set_delays([0, D1.skew_bits, 5, 1000, 77, 2, 0, 800])
    pair.run(20_000)
    latest = D1.skew_bits / D1.lane_width
    counts = pair.counts(0)
    assert counts.missing == counts.damaged == 0
    assert 7 + latest - 1 <= counts.shortest <= counts.longest <= 8 + latest + 1


def test_more_skew_than_the_buffers_hold_is_never_taken_for_data():
    params = replace(D1, skew_limit=4)
    pair = LanePair(params, seed=0)
    channel = pair.channels[0].state
    grown = type(channel)(**{**channel._asdict(), "history": np.zeros((8, 64), np.uint64)})
    pair.channels[0].state = grown
    grown.delay[3] = 30 * BLOCK_BITS
    pair.run(5000)
    assert not is_up(pair, 1)
    assert pair.counts(0).right == pair.counts(0).damaged == 0


@pytest.mark.parametrize("fate", [LaneFate.SILENT, LaneFate.NOISE])
@pytest.mark.parametrize(("lane", "mode"), [(6, RowMode.LOW), (1, RowMode.HIGH)])
def test_a_dead_lane_halves_the_link_and_its_return_makes_it_whole(fate, lane, mode):
    pair = LanePair(D1, seed=3, skewed=True)
    pair.run(3000)
    pair.channels[0].state.fate[lane] = fate
    pair.run(3000)
    assert arriving(pair, 1) == 0xFF & ~(1 << lane)
    assert modes(pair) == [mode, RowMode.FULL]
    assert is_up(pair, 0) and is_up(pair, 1)
    before = delivered(pair)
    clocks = 20_000
    pair.run(clocks)
    rows = [after - was for after, was in zip(delivered(pair), before, strict=True)]
    full = clocks * D1.lane_width / BLOCK_BITS
    assert rows[0] == pytest.approx(full / 2, rel=0.005)
    assert rows[1] == pytest.approx(full, rel=0.005)
    assert pair.counts(1).missing == 0
    pair.channels[0].state.fate[lane] = LaneFate.ALIVE
    pair.run(3000)
    assert modes(pair) == [RowMode.FULL, RowMode.FULL]
    before = delivered(pair)
    pair.run(clocks)
    rows = [after - was for after, was in zip(delivered(pair), before, strict=True)]
    assert rows == [pytest.approx(full, rel=0.005)] * 2
    assert pair.counts(0).again == pair.counts(1).again == 0


def test_a_link_with_a_dead_lane_comes_up_at_half_its_width():
    for seed in range(3):
        pair = LanePair(D1, seed=seed, skewed=True)
        pair.channels[0].state.fate[2] = LaneFate.NOISE
        pair.channels[1].state.fate[7] = LaneFate.SILENT
        took = run_until_up(pair, BRING_UP)
        pair.run(3000)
        assert modes(pair) == [RowMode.HIGH, RowMode.LOW], took
        assert [arriving(pair, end) for end in ENDS] == [0x7F, 0xFB]
        assert min(delivered(pair)) > 500
        assert pair.counts(0).missing == pair.counts(1).missing == 0


def test_without_a_whole_half_the_link_is_down_until_a_lane_returns():
    pair = LanePair(D1, seed=5)
    pair.run(2000)
    pair.channels[0].state.fate[[1, 6]] = LaneFate.NOISE
    pair.run(3000)
    assert not is_up(pair, 1)
    before = pair.counts(0).right
    pair.run(1000)
    assert pair.counts(0).right == before
    pair.channels[0].state.fate[1] = LaneFate.ALIVE
    pair.run(3000)
    assert is_up(pair, 1) and modes(pair)[0] == RowMode.LOW
    assert pair.counts(0).right > before


@pytest.mark.parametrize("rate", [1e-6, 1e-5, 1e-4])
def test_errors_damage_rows_but_never_their_order(rate):
    pair = LanePair(D1, seed=int(1 / rate), skewed=True)
    pair.run(2000)
    for channel in pair.channels:
        channel.set_errors(rate, burst_rate=rate / 100)
    clocks = 200_000
    pair.run(clocks)
    for end in ENDS:
        counts = pair.counts(end)
        assert counts.again == 0
        errors = int(pair.channels[end].state.errors.sum())
        assert errors == pytest.approx(
            rate * (1 + 0.32) * clocks * D1.lanes * D1.lane_width, rel=0.35
        )
        # One wrong bit spoils at most two rows; a burst or a false marker not many more.
        assert counts.missing <= 2 * errors + 40 * counts.drops + 5
        assert counts.right > 0.9 * counts.sent


def test_a_lane_that_drifts_is_found_again():
    pair = LanePair(D1, seed=8, skewed=True)
    pair.channels[0].set_drift(4, every=9000, bits=1)
    pair.channels[0].set_drift(5, every=13_000, bits=-1)
    pair.run(60_000)
    counts = pair.counts(0)
    assert counts.drops >= 6
    assert counts.again == 0
    assert is_up(pair, 1) and modes(pair)[0] == RowMode.FULL
    assert counts.right > 0.7 * 60_000 * D1.lane_width / BLOCK_BITS
    assert pair.counts(1).missing == 0


@pytest.mark.parametrize("end", ENDS)
def test_an_end_that_is_reset_is_met_again(end):
    pair = LanePair(D1, seed=11, skewed=True)
    pair.run(3000)
    pair.reset(end)
    took = run_until_up(pair, 100) if all(is_up(pair, e) for e in ENDS) else 0
    pair.run(3000)
    assert is_up(pair, 0) and is_up(pair, 1), took
    before = delivered(pair)
    pair.run(1000)
    assert all(b - a > 800 for a, b in zip(before, delivered(pair), strict=True))
    assert pair.counts(0).again == pair.counts(1).again == 0
