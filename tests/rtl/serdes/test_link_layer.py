# amaranth: UnusedElaboratable=no
"""The link layer in RTL against the golden model, every output in every clock, and its parts."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Shape
from d1_golden.packet import PACKET_DTYPE
from d1_golden.serdes.frame import LinkState
from d1_golden.serdes.link_bench import LinkBench
from d1_golden.serdes.link_users import Traffic
from d1_golden.serdes.params import LINKS, WORD_BITS
from d1_golden.serdes.row_channel import ChannelFaults
from d1_rtl.serdes.blocks import row_layout
from d1_rtl.serdes.credit_counter import CreditCounter
from d1_rtl.serdes.credit_issuer import CreditIssuer
from d1_rtl.serdes.link_layer import LinkLayer
from d1_rtl.serdes.link_words import (
    control_word_layout,
    first_row_layout,
    plane_packet_layout,
    replayed_packet_layout,
    status_word_layout,
)
from d1_rtl.serdes.packet_queue import PacketQueue

from testbench.link_player import open_link_layer, play_record

D1 = LINKS["d1"]
DELAY = D1.flight_cycles + D1.coding_cycles
UNEVEN = Traffic(offer=((0.3, 0.2), (0.02, 0.5)), take=((0.9, 0.1), (0.5, 1.0)))
RATES = {f"bit errors {rate:g}": ChannelFaults(bit_errors=rate) for rate in (0, 1e-6, 1e-5, 1e-4)}
FAULTS = RATES | {
    "bursts": ChannelFaults(bursts=1e-2),
    "lost rows": ChannelFaults(dropped_rows=1e-2),
    "frames lost, doubled, swapped": ChannelFaults(
        dropped_frames=0.02, doubled_frames=0.02, swapped_frames=0.02
    ),
    "outages": ChannelFaults(outages=1e-3),
}


@pytest.fixture(scope="module")
def model():
    with open_link_layer(D1) as model:
        yield model


def start(model, bench, *, end):
    """Reset one end in both realisations and give them one session number."""
    bench.reset(end)
    bench.run(1)
    model.set("rst", 1)
    model.step()
    model.set("rst", 0)
    bench.ends["session"][end] = model.get("session")


def play(model, bench, clocks, *, end):
    start(model, bench, end=end)
    record = bench.record(clocks)
    play_record(model, bench.params, record, end)
    return record


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_every_output_is_that_of_the_golden_model_in_every_clock(model, faults, end):
    bench = LinkBench(params=D1, delay=DELAY, traffic=UNEVEN, faults=faults, seed=end + 1)
    record = play(model, bench, 6000, end=end)
    assert (record.outputs["state"] == LinkState.OPEN).any(axis=0).all()
    assert bench.received.min() > 0


def test_the_same_holds_for_a_link_that_is_full(model):
    bench = LinkBench(params=D1, delay=DELAY, faults=ChannelFaults(bit_errors=1e-6))
    record = play(model, bench, 10_000, end=0)
    assert bench.efficiency(0) > 0.5
    assert record.outputs["replays"][-1].max() > 0


def test_the_same_holds_for_resets_and_new_training_at_any_time(model):
    traffic = replace(UNEVEN, resets=1e-3, retrains=1e-3)
    faults = ChannelFaults(bit_errors=1e-6, outages=1e-4)
    bench = LinkBench(params=D1, delay=DELAY, traffic=traffic, faults=faults)
    record = play(model, bench, 20_000, end=0)
    # Every kind of reset was there: of this end, of the other one, with packets in flight.
    assert record.inputs["reset"][:, 0].sum() > 5
    reports = record.outputs[:, 0][record.outputs["report_valid"][:, 0] != 0]
    assert len(reports) > 5
    assert (reports["report_request"] + reports["report_reply"]).max() > 0


@pytest.mark.parametrize(
    ("output", "message"),
    [("words", "o_row__payload"), ("request_ready", "i_request__ready"), ("replays", "counters")],
)
def test_a_difference_of_one_bit_is_noticed(model, output, message):
    bench = LinkBench(params=D1, delay=DELAY, traffic=UNEVEN)
    start(model, bench, end=0)
    record = bench.record(1500)
    clock = int(np.flatnonzero(record.outputs["row_valid"][:, 0])[1000])
    record.outputs[output][clock, 0] ^= 1
    with pytest.raises(AssertionError, match=f"{message} must be"):
        play_record(model, D1, record, 0)


def test_layouts_are_those_of_the_golden_model():
    assert control_word_layout().size == status_word_layout().size == WORD_BITS
    packet = 8 * PACKET_DTYPE.itemsize
    assert plane_packet_layout().size == packet + 1
    assert replayed_packet_layout().size == packet + 2
    for link in LINKS.values():
        assert row_layout(link).size == link.lanes * (WORD_BITS + 1)
        assert first_row_layout(link).members["row"] == row_layout(link)


def test_both_ends_of_every_stream_have_one_layout():
    layer = LinkLayer(D1)
    ports = layer.signature.members
    shapes = [ports[name].signature.members["payload"].shape for name in ("i_request", "o_request")]
    assert shapes[0] == shapes[1]
    sent, received = (ports[name].signature.members["payload"].shape for name in ("o_row", "i_row"))
    assert received.members["row"] == sent


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        PacketQueue(Shape.cast(8), depth=0)
    for component in (CreditCounter, CreditIssuer):
        with pytest.raises(ValueError, match=r"credits must be in 1\.\.384, not 385"):
            component(385)
