# amaranth: UnusedElaboratable=no
"""The physical layer against its golden twin, clock by clock, through every kind of trouble."""

import numpy as np
import pytest
from d1_golden.serdes.channel import LaneFate
from d1_golden.serdes.params import LinkParams
from d1_rtl.serdes.blocks import peer_report_layout, received_row_layout, row_layout
from d1_rtl.serdes.physical_layer import PhysicalLayer
from d1_rtl.sim.native import NativeModel

from testbench.lane_pair import EndTrace, LanePair
from testbench.layouts import pack_lanes, pack_rows

#: Bits of a lane, lanes, and clocks between two events. What depends on the width are the
#: gearboxes, which tests/rtl/serdes/test_coding.py has in all of them.
LINKS = {"d1": (56, 8, 2000), "serial": (1, 2, 20_000)}
#: Ports of one value, as the trace has them.
STATUS = (
    *("up", "reversed", "transmit_mode", "receive_mode"),
    *("locked", "inverted", "bad_headers"),
)


def link(width, lanes):
    """Return a link with short intervals, so that a test sees many of them."""
    return LinkParams(
        name="test",
        lanes=lanes,
        lane_width=width,
        flight_cycles=0,
        skew_limit=12,
        marker_interval=64,
        lane_patience=300,
    )


@pytest.fixture(scope="module", params=LINKS)
def layer(request):
    width, lanes, clocks = LINKS[request.param]
    params = link(width, lanes)
    with NativeModel(PhysicalLayer(params), name=f"physical_layer_{width}") as model:
        model.params, model.clocks = params, clocks
        yield model


def joined(traces):
    return EndTrace(*(np.concatenate(arrays) for arrays in zip(*traces, strict=True)))


def unsigned(values):
    return np.ascontiguousarray(values).astype(np.uint64)


def inputs_of(params, trace):
    row = pack_rows(
        row_layout(params), words=unsigned(trace.i_words), controls=unsigned(trace.i_controls)
    )
    return {
        "lanes_i": pack_lanes(params.lane_width, trace.lanes_i),
        "disabled": unsigned(trace.disabled),
        "restart": unsigned(trace.restart),
        "i__valid": unsigned(trace.i_valid),
        "i__payload": row,
    }


def outputs_of(params, trace):
    """Return all the outputs there should be; payloads are zero where nothing is given."""
    report = peer_report_layout(params)
    delivered = trace.o_valid[:, None]
    row = row_layout(params).size
    assert received_row_layout(params)["row"].width == row
    flags = unsigned(trace.o_controls) | unsigned(trace.o_errors) << np.uint64(params.lanes)
    payload = np.concatenate(
        [unsigned(trace.o_words).view(np.uint32), flags.astype(np.uint32)[:, None]], axis=1
    )
    return {
        "lanes_o": pack_lanes(params.lane_width, trace.lanes_o),
        "o__valid": unsigned(trace.o_valid),
        "o__payload": payload * delivered,
        "report": pack_rows(
            report, arriving=unsigned(trace.report_arriving), up=unsigned(trace.up)
        ),
        "peer": pack_rows(
            report, arriving=unsigned(trace.peer_arriving), up=unsigned(trace.peer_up)
        ),
        **{name: unsigned(getattr(trace, name)) for name in STATUS},
    }


def check(layer, trace):
    """Play what was recorded to the RTL from reset and compare every output in every clock."""
    params = layer.params
    expected = outputs_of(params, trace)
    layer.reset()
    seen = layer.play(inputs_of(params, trace), [*expected, "i__ready"])
    # The golden transmitter says whether a row was taken: it was offered, and there was room.
    taken = seen["i__ready"][:, 0] & unsigned(trace.i_valid).astype(np.uint32)
    assert np.array_equal(taken, trace.i_ready)
    seen["o__payload"] *= seen["o__valid"]
    for name, values in expected.items():
        values = values.reshape(len(values), -1)
        different = np.flatnonzero((seen[name] != values).any(axis=1))
        assert not len(different), f"{name} differs first in clock {different[0]}"
    return seen


def test_rows_both_ways_with_skew_crossed_wires_and_reversed_lanes(layer):
    for seed in range(3):
        print(f"seed {seed}")
        rng = np.random.default_rng(seed)
        pair = LanePair(layer.params, seed=seed, skewed=True)
        for channel in pair.channels:
            channel.state.inverted[:] = rng.integers(0, 2, layer.params.lanes)
            if seed % 2:
                channel.state.source[:] = channel.state.source[::-1].copy()
        trace = joined([pair.record(layer.clocks * 2), pair.record(layer.clocks // 4, sends=False)])
        check(layer, trace)
        assert trace.o_valid.sum() > 50
        assert bool(trace.reversed[-1]) == (seed % 2 == 1)
        assert trace.inverted[-1] != 0
        assert pair.counts(0).missing == pair.counts(0).damaged == 0


def test_lanes_that_die_and_return_errors_drift_and_restarts(layer):
    params, clocks = layer.params, layer.clocks
    seed = params.lane_width
    print(f"seed {seed}")
    pair = LanePair(params, seed=seed, skewed=True)
    to_it, from_it = (channel.state for channel in pair.channels)
    upper, lower = params.lanes - 1, params.lanes // 2 - 1
    traces = [pair.record(2 * clocks)]
    for channel in pair.channels:
        channel.set_errors(1e-4, burst_rate=3e-6)
    traces.append(pair.record(clocks))
    for lane, fate in ((upper, LaneFate.NOISE), (lower, LaneFate.SILENT)):
        to_it.fate[lane] = fate
        traces.append(pair.record(2 * clocks))
        to_it.fate[lane] = LaneFate.ALIVE
        from_it.fate[lane] = LaneFate.SILENT
        traces.append(pair.record(2 * clocks))
        from_it.fate[lane] = LaneFate.ALIVE
        traces.append(pair.record(clocks))
    pair.disabled[1] = 1
    traces.append(pair.record(2 * clocks))
    pair.disabled[1] = 0
    traces.append(pair.record(clocks))
    traces.append(pair.record(3, restart=True))
    traces.append(pair.record(clocks))
    pair.channels[0].set_drift(0, every=clocks // 2 + 1, bits=1)
    traces.append(pair.record(2 * clocks))
    trace = joined(traces)
    check(layer, trace)
    assert {*trace.receive_mode.tolist()} == {*trace.transmit_mode.tolist()} == {0, 1, 2}
    assert trace.bad_headers.any() and trace.o_errors[trace.o_valid].any()
    assert (np.diff(trace.up.astype(int)) == -1).sum() >= 6
    assert pair.counts(0).again == pair.counts(1).again == 0


def test_both_ends_take_the_time_of_two_rows_and_four_to_six_clocks(layer):
    params = layer.params
    pair = LanePair(params, seed=0)
    trace = pair.record(6 * layer.clocks)
    check(layer, trace)
    # Each row waits until the lanes take the next one, and then until its last bit has arrived.
    counts = pair.counts(0)
    assert 2 * params.cycles_per_row + 4 <= counts.shortest
    assert counts.longest <= 2 * params.cycles_per_row + 6
