"""The golden link layer: two ends, a channel that does its worst, and packets that all arrive."""

from dataclasses import replace

import numpy as np
import pytest
from d1_golden.serdes.frame import CONTROL_FIELDS, LinkState, encode_frame, unpack_word
from d1_golden.serdes.link_bench import LinkBench
from d1_golden.serdes.link_users import Traffic
from d1_golden.serdes.params import LINKS
from d1_golden.serdes.row_channel import ChannelFaults

D1 = LINKS["d1"]
#: Users who offer and take now and then, each plane at another rate.
UNEVEN = Traffic(offer=((0.3, 0.2), (0.02, 0.5)), take=((0.9, 0.1), (0.5, 1.0)))
PACKETS = 40_000
#: No user offers anything by itself.
NOTHING = ((0.0, 0.0), (0.0, 0.0))


def delay_of(params):
    return params.flight_cycles + params.coding_cycles


def bench_of(name, **options):
    params = LINKS[name]
    return LinkBench(params=params, **({"delay": delay_of(params)} | options))


def quiet(name="d1", **options):
    """Return a bench whose users offer nothing."""
    return bench_of(name, traffic=Traffic(offer=NOTHING), **options)


@pytest.mark.parametrize("rate", [0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4])
def test_every_packet_arrives_once_and_in_order_at_any_rate_of_bit_errors(rate):
    bench = bench_of("d1", faults=ChannelFaults(bit_errors=rate))
    bench.run_packets(PACKETS if rate < 1e-4 else PACKETS // 8, clocks=400_000)
    assert bench.lost.sum() == 0
    replays = [bench.counters(end)["replays"] for end in range(2)]
    if rate == 0:
        assert replays == [0, 0]
    if rate >= 1e-6:
        assert min(replays) > 0


FAULTS = {
    "bursts": ChannelFaults(bursts=1e-3),
    "lost rows": ChannelFaults(dropped_rows=1e-3),
    "lost frames": ChannelFaults(dropped_frames=0.02),
    "doubled frames": ChannelFaults(doubled_frames=0.02),
    "swapped frames": ChannelFaults(swapped_frames=0.02),
    "outages": ChannelFaults(outages=3e-4),
    "everything": ChannelFaults(
        bit_errors=1e-5,
        bursts=1e-4,
        dropped_rows=1e-4,
        dropped_frames=0.002,
        doubled_frames=0.002,
        swapped_frames=0.002,
        outages=3e-5,
    ),
}


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_every_packet_arrives_whatever_the_channel_does(name, faults):
    params = LINKS[name]
    params = replace(params, lane_width=max(params.lane_width, 8))  # serial ones take too long
    delay = max(delay_of(params), 2 * int(params.cycles_per_frame) + 2)
    bench = LinkBench(params=params, delay=delay, traffic=UNEVEN, faults=faults)
    bench.run_packets(PACKETS // 8, clocks=1_000_000)
    assert bench.lost.sum() == 0
    counters = [bench.counters(end) for end in range(2)]
    assert all(counter["replays"] > 0 for counter in counters)


def test_training_again_at_the_wish_of_either_end_loses_nothing():
    bench = bench_of("d1", traffic=replace(UNEVEN, retrains=1e-3))
    bench.run_packets(PACKETS, clocks=1_000_000)
    assert bench.lost.sum() == 0
    assert all(bench.counters(end)["retrains"] > 20 for end in range(2))


@pytest.mark.parametrize("name", ["d1", "tiny"])
def test_what_a_reset_of_an_end_loses_is_reported_by_the_other_one(name):
    # The bench compares what is gone with the report, and everything else still has to arrive.
    bench = bench_of(
        name,
        traffic=replace(UNEVEN, resets=3e-4, retrains=1e-4),
        faults=ChannelFaults(bit_errors=1e-6, outages=1e-5),
    )
    bench.run_packets(PACKETS, clocks=2_000_000)
    assert (bench.lost > 0).all()


def test_a_reset_is_detected_within_a_round_trip_and_reported_with_what_was_in_flight():
    bench = quiet()
    bench.run(2000)
    bench.send(0, 0, 13)
    bench.send(0, 1, 9)
    bench.run(1000)
    assert bench.received[0].tolist() == [13, 9]
    # These stay in the receive buffer of end 1, and are lost with it.
    bench.set_traffic(Traffic(offer=NOTHING, take=((1, 1), (0, 0))))
    bench.send(0, 0, 4)
    bench.send(0, 1, 2)
    bench.run(1000)
    bench.reset(1)
    bench.set_traffic(Traffic(offer=NOTHING))
    record = bench.record(2000)
    reports = np.flatnonzero(record.outputs["report_valid"][:, 0])
    assert len(reports) == 1
    assert bench.delay < reports[0] <= bench.delay + 12
    report = record.outputs[reports[0], 0]
    assert (report["report_request"], report["report_reply"]) == (4, 2)
    assert bench.lost.tolist() == [[4, 2], [0, 0]]
    assert bench.counters(0)["peer_resets"] == 1
    assert not record.outputs["report_valid"][:, 1].any()
    assert (bench.ends["state"] == LinkState.OPEN).all()
    bench.send(0, 0, 5)
    bench.run(1000)
    assert bench.received[0].tolist() == [18, 9]


def test_an_end_that_is_not_reset_is_not_reported():
    bench = bench_of("d1", traffic=replace(UNEVEN, retrains=1e-3), faults=FAULTS["outages"])
    bench.run(50_000)
    assert [bench.counters(end)["peer_resets"] for end in range(2)] == [0, 0]


def test_a_link_is_open_after_three_trips_and_the_rows_in_between():
    bench = quiet()
    record = bench.record(2000)
    opened = [int(np.argmax(record.outputs["state"][:, end] == LinkState.OPEN)) for end in (0, 1)]
    assert 0 < max(opened) <= 4 * (bench.delay + 10)


def test_an_end_that_hears_nothing_good_trains_again_and_so_does_the_other():
    bench = quiet()
    bench.run(2000)
    bench.set_faults(ChannelFaults(dropped_rows=0.999_999))
    bench.run(D1.silence_cycles + 2 * bench.delay)
    assert (bench.ends["state"] == LinkState.DOWN).all()
    assert [bench.counters(end)["retrains"] for end in range(2)] == [1, 1]
    bench.set_faults(ChannelFaults())
    bench.run(2000)
    assert (bench.ends["state"] == LinkState.OPEN).all()


def test_a_packet_that_finds_the_link_idle_takes_nine_clocks_and_the_rows_of_its_frame():
    # At each phase of the lanes: one clock in eight there is no row to be sent.
    latencies = set()
    for clocks in range(2000, 2033):
        bench = quiet()
        bench.run(clocks)
        bench.send(0, 0, 1)
        bench.run(400)
        assert bench.received[0, 0] == 1
        latencies.add(bench.latencies[0] - bench.delay)
    # Four clocks to the first row, one more to the second, four to the output; lanes pause.
    assert min(latencies) == 9
    assert max(latencies) <= 10


def test_the_efficiency_of_a_full_link_is_that_of_its_frames_and_markers():
    bench = bench_of("d1")
    bench.run(3000)
    start = [bench.progress(end) for end in range(2)]
    bench.run(100_000)
    full = 5 * 704 / (7 * 8 * 66)
    for end in range(2):
        assert bench.efficiency(end, start[end]) == pytest.approx(full * 1023 / 1024, rel=1e-3)
        assert bench.efficiency(end, start[end]) > 0.92


BUSY = {"both ways": Traffic(), "one way": Traffic(offer=((1, 1), (0, 0)))}


@pytest.mark.parametrize("traffic", BUSY.values(), ids=BUSY)
def test_a_wrong_bit_costs_at_most_a_round_trip_and_50_clocks(traffic):
    row_bits = D1.lanes * 66
    for row in range(14):  # of two frames, each with another lane and bit, headers included
        bench = bench_of("d1", traffic=traffic)
        bench.run(2000)
        bench.spoil_bit(0, row * row_bits + row * 47 % row_bits)
        while bench.channels["errors"][0] == 0:
            bench.run(1)
        arrival = bench.clocks - 1 + bench.delay
        first = bench.clocks
        record = bench.record(1500)
        got = np.zeros(1500, bool)
        for name in ("request", "reply"):
            taken = record.inputs[f"{name}_ready"] & record.outputs[f"{name}_valid"]
            got |= taken[:, 1] == 1
        after = np.flatnonzero(got[arrival - first + 20 :])[0] + 20
        longest = np.diff(np.flatnonzero(got)).max()
        assert longest > 2 * bench.delay, "the error must have had an effect"
        assert after <= 2 * bench.delay + 50
        assert longest <= 2 * bench.delay + 50


def test_a_packet_that_waits_for_its_user_does_not_hold_up_the_other_plane():
    bench = bench_of("d1", traffic=Traffic(take=((1, 1), (0, 1))))
    bench.run(5000)
    start = int(bench.received[0, 1])
    bench.run(16_500)
    # The reply plane alone has the whole link.
    rate = (int(bench.received[0, 1]) - start) / 16_500
    assert bench.received[0, 0] == 0
    assert rate == pytest.approx(5 / D1.cycles_per_frame, rel=0.002)


def test_rows_are_what_the_layout_of_frames_says():
    bench = quiet("d1")
    bench.run(2000)
    bench.send(0, 0, 6)
    bench.send(0, 1, 5)
    record = bench.record(100)
    outputs, inputs = record.outputs[:, 0], record.inputs[:, 0]
    sent = (outputs["row_valid"] & inputs["row_ready"]) == 1
    entered = {0: [], 1: []}
    for plane, name in enumerate(("request", "reply")):
        taken = (inputs[f"{name}_valid"] & outputs[f"{name}_ready"]) == 1
        entered[plane] = [list(map(int, words)) for words in inputs["packets"][taken, plane]]
    frame, frames = [], []
    for words, control in zip(outputs["words"][sent], outputs["row_control"][sent], strict=True):
        if control != 0xFF:
            frame.append(list(map(int, words)))
        if control == 0x80:
            frames.append(frame)
            frame = []
    session = (int(bench.ends["session"][0]), int(bench.ends["peer"][0]))
    number = 0
    for rows in frames:
        control = unpack_word(CONTROL_FIELDS, rows[-1][-1])
        count = {2: 1, 3: 2, 5: 3, 6: 4, 7: 5}[len(rows)]
        packets = [entered[control["replies"] >> n & 1].pop(0) for n in range(count)]
        fields = {name: value for name, value in control.items() if name != "crc"}
        assert encode_frame(D1, packets, session, **fields) == rows
        assert control["sequence"] == number
        number += 1
    assert entered == {0: [], 1: []}
    assert number > 1


def test_the_bench_notices_a_packet_that_is_changed_or_missing():
    for change, message in ((1, "came with a wrong word"), (0, "lost, doubled or reordered")):
        bench = quiet()
        bench.run(2000)
        bench.set_traffic(Traffic(offer=NOTHING, take=((0, 0), (0, 0))))
        bench.send(0, 0, 2)
        bench.run(400)
        bench.ends["queue"][1, 0, int(bench.ends["queue_head"][1, 0]), change] ^= 1 << 20
        bench.set_traffic(Traffic(offer=NOTHING))
        with pytest.raises(AssertionError, match=message):
            bench.run(10)


def test_too_few_packets_in_time_are_an_error_that_names_the_states():
    with pytest.raises(TimeoutError, match=r"0 of 5 packets arrived after 100 clocks, .*'INIT'"):
        quiet(delay=50).run_packets(5, clocks=100)


def test_rates_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"bit_errors must be in \[0, 1\), not 1"):
        ChannelFaults(bit_errors=1)
    with pytest.raises(ValueError, match=r"a rate must be in \[0, 1\], not 2"):
        Traffic(resets=2)
    with pytest.raises(ValueError, match=r"delay must be in 17..1024, not 10"):
        bench_of("d1", delay=10, faults=FAULTS["swapped frames"])
