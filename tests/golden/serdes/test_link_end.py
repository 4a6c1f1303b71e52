"""Two golden ends, whole, with lanes between them: what packets must not notice, and figures."""

from dataclasses import replace

import numpy as np
import pytest
from d1_golden.serdes.block import RowMode
from d1_golden.serdes.channel import LaneFate
from d1_golden.serdes.end_bench import EndBench
from d1_golden.serdes.frame import LinkState
from d1_golden.serdes.link_bench import LinkBench
from d1_golden.serdes.link_users import ENDS, Traffic
from d1_golden.serdes.params import BLOCK_BITS, LINKS
from d1_golden.serdes.row_channel import ChannelFaults

from testbench.end_scenarios import (
    BUSY,
    FAULTS,
    NOTHING,
    QUIET,
    REPEATED,
    SCENARIOS,
    UNEVEN,
    any_bench,
    deliver_all,
)

D1 = LINKS["d1"]
#: What bring-up may take in clocks.
BRING_UP = 20_000
#: What recovery from a spoilt block may take beside a round trip.
RECOVERY = 50
TRAFFIC = {"full": BUSY, "uneven": UNEVEN}


@pytest.mark.parametrize("traffic", TRAFFIC.values(), ids=TRAFFIC)
@pytest.mark.parametrize("name", SCENARIOS)
def test_packets_arrive_once_and_in_order_whatever_happens(name, traffic):
    seed = 100 + [*SCENARIOS].index(name)
    print(f"seed {seed}")
    faults = FAULTS if name == REPEATED else None
    bench = any_bench(seed, traffic=traffic, faults=faults)
    SCENARIOS[name](bench, bench.run, 40_000)
    deliver_all(bench, bench.run)
    assert bench.received.min() > 100
    if name != "either end is reset":
        assert bench.lost.sum() == 0


@pytest.mark.parametrize("name", ["fpga", "serial", "tiny"])
def test_links_of_other_shapes_carry_everything_too(name):
    bench = any_bench(7, params=LINKS[name])
    # Of a lane of one bit, block lock alone takes 66 x 66 x 2 clocks and more.
    bench.run_until_open(2 * BRING_UP if name == "serial" else BRING_UP)
    bench.set_errors(1e-5)
    bench.run(60_000)
    deliver_all(bench, bench.run)
    assert bench.received.min() > 10
    assert bench.lost.sum() == 0


def test_a_link_is_open_long_before_20_000_clocks_whatever_the_lanes_are():
    took = []
    for seed in range(30):
        bench = any_bench(seed, traffic=QUIET)
        took.append(bench.run_until_open(BRING_UP))
    print(f"open after {min(took)} to {max(took)} clocks")
    assert max(took) <= 1700


def test_a_packet_takes_17_or_18_clocks_and_the_flight():
    for flight in (0, D1.flight_cycles):
        bench = EndBench(params=replace(D1, flight_cycles=flight), traffic=QUIET)
        bench.run_until_open(BRING_UP)
        bench.run(1000)
        for _ in range(66):  # in every phase of the lanes
            bench.send(0, 0, 1)
            bench.run(501)
        assert bench.received[0, 0] == 66
        assert bench.latencies[:2] == (17 + flight, 18 + flight)


def test_a_packet_passes_the_stations_that_the_documentation_shows():
    bench = EndBench(params=replace(D1, flight_cycles=0), traffic=QUIET)
    bench.run_until_open(BRING_UP)
    bench.run(1001)
    bench.send(0, 0, 1)
    record = bench.record(30)
    # The record has what a link layer got in the clock before.
    rows = record.inputs["row_valid"] * (record.inputs["row_control"] != 0xFF)
    assert np.flatnonzero(rows[:, 1]).tolist() == [13, 14]
    assert np.flatnonzero(record.outputs["request_valid"][:, 1]).tolist() == [17]


def test_lanes_that_are_32_blocks_apart_leave_a_packet_within_100_ns():
    bench = EndBench(params=D1, traffic=QUIET)
    for channel in bench.channels:
        delays = [D1.flight_cycles * D1.lane_width + D1.skew_bits * (n % 2) for n in range(8)]
        channel.set_delays(delays)
    bench.run_until_open(BRING_UP)
    bench.run(1000)
    for _ in range(66):
        bench.send(1, 1, 1)
        bench.run(501)
    assert bench.received[1, 1] == 66
    assert bench.latencies[1] <= 200


def test_a_full_link_carries_packets_in_95_percent_of_its_bits_and_payload_in_69():
    bench = EndBench(params=D1, skewed=True)
    bench.run(4000)
    start = [bench.progress(end) for end in range(ENDS)]
    bench.run(50_000)
    for end in range(ENDS):
        efficiency = bench.efficiency(end, start[end])
        assert efficiency == pytest.approx(5 * 704 / (7 * 8 * 66) * 1023 / 1024, rel=1e-3)
        assert efficiency * 512 / 704 == pytest.approx(0.692, abs=1e-3)


def test_half_of_the_lanes_carry_half_of_the_packets_and_software_is_told():
    bench = EndBench(params=D1, skewed=True)
    bench.run(4000)
    bench.channels[0].state.fate[6] = LaneFate.SILENT
    bench.run(4000)
    status = bench.states[1].receiver.bond[0]
    assert (status["mode"], status["arriving"]) == (RowMode.LOW, 0xBF)
    assert bench.states[0].receiver.bond[0]["peer_arriving"] == 0xBF
    start = [bench.progress(end) for end in range(ENDS)]
    bench.run(40_000)
    half, whole = (bench.efficiency(end, start[end]) for end in range(ENDS))
    full = 5 * 704 / (7 * 8 * 66)
    assert half == pytest.approx(full / 2, rel=0.005)
    assert whole == pytest.approx(full, rel=0.005)
    assert bench.lost.sum() == 0


def test_without_half_of_its_lanes_a_link_is_down_and_goes_on_when_one_returns():
    bench = EndBench(params=D1, skewed=True, traffic=UNEVEN)
    bench.run(4000)
    fate = bench.channels[1].state.fate
    fate[[0, 7]] = LaneFate.NOISE
    bench.run(6000)
    assert (bench.ends["state"] != LinkState.OPEN).all()
    before = bench.received.copy()
    bench.run(6000)
    assert (bench.received == before).all()
    fate[0] = LaneFate.ALIVE
    bench.run(6000)
    assert (bench.ends["state"] == LinkState.OPEN).all()
    assert bench.states[0].receiver.bond[0]["mode"] == RowMode.LOW
    deliver_all(bench, bench.run)
    assert (bench.received > before).all()
    assert bench.lost.sum() == 0


def test_an_end_whose_wires_are_all_disabled_is_down_until_they_are_not():
    bench = EndBench(params=D1, traffic=UNEVEN)
    bench.run(4000)
    bench.disable(0, 0xFF)
    bench.run(8000)
    assert (bench.ends["state"] != LinkState.OPEN).all()
    bench.disable(0, 0)
    bench.run(4000)
    assert (bench.ends["state"] == LinkState.OPEN).all()
    deliver_all(bench, bench.run)
    assert bench.lost.sum() == 0


@pytest.mark.parametrize("end", range(ENDS))
def test_a_reset_is_reported_by_the_other_end_with_what_was_in_flight(end):
    bench = EndBench(params=D1, skewed=True, traffic=QUIET)
    bench.run_until_open(BRING_UP)
    bench.run(1000)
    # These stay in the receive buffer of the end that is reset, and are lost with it.
    take = ((1, 1), (0, 0)) if end else ((0, 0), (1, 1))
    bench.set_traffic(Traffic(offer=NOTHING, take=take))
    bench.send(1 - end, 0, 4)
    bench.send(1 - end, 1, 2)
    bench.run(1000)
    bench.reset(end)
    bench.set_traffic(QUIET)
    bench.run(4000)
    lost = [[0, 0], [0, 0]]
    lost[1 - end] = [4, 2]
    assert bench.lost.tolist() == lost
    counters = bench.lane_counters(1 - end)
    assert (counters["lost_requests"], counters["lost_replies"]) == (4, 2)
    assert bench.counters(1 - end)["peer_resets"] == 1
    assert not any(bench.lane_counters(end).values())
    assert (bench.ends["state"] == LinkState.OPEN).all()
    bench.send(1 - end, 0, 5)
    bench.run(1000)
    assert bench.received[1 - end].tolist() == [5, 0]


def longest_pause(bench, clocks):
    """Return the most clocks without a packet at end 1, and whether a frame was hit."""
    record = bench.record(clocks)
    got = np.zeros(clocks, bool)
    for name in ("request", "reply"):
        got |= (record.inputs[f"{name}_ready"] & record.outputs[f"{name}_valid"])[:, 1] == 1
    return int(np.diff(np.flatnonzero(got)).max()), bench.counters(1)["bad_frames"] > 0


@pytest.mark.parametrize("burst", [1, BLOCK_BITS - 2], ids=["a bit", "64 bits"])
def test_a_spoilt_block_costs_at_most_a_round_trip_and_50_clocks(burst):
    hit = 0
    pauses = []
    for phase in range(40):
        bench = EndBench(params=D1, seed=phase)
        bench.run(2500 + 7 * phase)
        channel = bench.channels[0].state
        if burst == 1:
            bench.spoil_bit(0, phase % 8, phase)
        else:
            bench.channels[0].set_errors(0, burst_rate=1e-12, burst_bits=burst)
            channel.next_burst[phase % 8] = phase
        longest, was_hit = longest_pause(bench, 1500)
        hit += was_hit
        pauses.append(longest)
    round_trip = 2 * bench.row_clocks
    print(f"pauses of {min(pauses)} to {max(pauses)} clocks, round trip {round_trip}")
    assert hit > 30
    assert max(pauses) > round_trip
    assert max(pauses) <= round_trip + RECOVERY


@pytest.mark.parametrize("rate", [0.0, 1e-6, 1e-5, 1e-4])
def test_link_layers_alone_do_what_whole_ends_do_when_rows_take_as_long(rate):
    ends = EndBench(params=D1, skewed=True)
    layers = LinkBench(params=D1, delay=ends.row_clocks)
    figures = []
    for bench in (ends, layers):
        bench.run(4000)
        if bench is ends:
            ends.set_errors(rate)
        else:
            layers.set_faults(ChannelFaults(bit_errors=rate))
        bench.restart_latencies()
        start = [bench.progress(end) for end in range(ENDS)]
        bench.run(200_000 if rate else 20_000)
        figures.append((sum(bench.efficiency(end, start[end]) for end in range(ENDS)),))
        figures[-1] += (bench.latencies[2],)
    whole, alone = figures
    tolerance = 0.15 if rate >= 1e-5 else 0.03 if rate else 0.002
    assert alone[0] == pytest.approx(whole[0], rel=tolerance)
    assert alone[1] == pytest.approx(whole[1], rel=max(tolerance, 0.01))


def test_a_repeater_without_faults_only_takes_time():
    bench = EndBench(params=D1, faults=ChannelFaults())
    bench.run(4000)
    start = bench.progress(0)
    bench.run(20_000)
    assert bench.counters(0)["replays"] == bench.counters(1)["bad_frames"] == 0
    assert bench.efficiency(0, start) > 0.9


def test_ends_that_do_not_open_in_time_are_an_error_that_names_their_states():
    bench = EndBench(params=D1)
    with pytest.raises(TimeoutError, match=r"waited 100 clocks for both ends .* \['DOWN', 'DOWN'"):
        bench.run_until_open(100)
