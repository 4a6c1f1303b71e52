# amaranth: UnusedElaboratable=no
"""Both whole ends of a link in RTL against their golden twins, every output in every clock."""

import numpy as np
import pytest
from d1_golden.serdes.end_bench import EndBench
from d1_golden.serdes.link_end import LANE_COUNTERS
from d1_golden.serdes.link_layer import COUNTERS
from d1_golden.serdes.link_users import ENDS
from d1_golden.serdes.params import LINKS
from d1_rtl.node.interfaces import packet_layout
from d1_rtl.serdes.link_end import LinkEnd
from d1_rtl.serdes.link_words import end_counters_layout

from testbench.end_player import EndPair, open_end, play_end
from testbench.end_scenarios import (
    BUSY,
    FAULTS,
    REPEATED,
    SCENARIOS,
    UNEVEN,
    any_bench,
    deliver_all,
)

D1 = LINKS["d1"]


@pytest.fixture(scope="module")
def pair():
    """Return the RTL of two ends, to be joined to one bench after the other."""
    with EndPair(D1) as pair:
        yield pair


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_output_is_that_of_the_golden_end_in_every_clock(pair, name):
    seed = 200 + [*SCENARIOS].index(name)
    print(f"seed {seed}")
    faults = FAULTS if name == REPEATED else None
    bench = any_bench(seed, traffic=BUSY if seed % 2 else UNEVEN, faults=faults)
    pair.join(bench)
    SCENARIOS[name](bench, pair.run, 6000)
    deliver_all(bench, pair.run)
    assert pair.packets == bench.received.sum() > 200
    if name != "either end is reset":
        assert bench.lost.sum() == 0


def test_the_same_holds_for_a_link_of_two_lanes_of_64_bits():
    params = LINKS["tiny"]
    bench = EndBench(params=params, traffic=UNEVEN, skewed=True)
    with EndPair(params) as pair:
        pair.join(bench)
        pair.run(4000)
        bench.set_errors(1e-5)
        pair.run(8000)
        assert pair.packets == bench.received.sum() > 100


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("lanes_o", "lanes_o"),
        ("packets", "o_request__payload"),
        ("receive_mode", "status"),
        ("bad_headers", "counters"),
    ],
)
def test_a_difference_of_one_bit_is_noticed(pair, output, message):
    bench = EndBench(params=D1)
    pair.join(bench)
    pair.run(2500)
    record = bench.record(500)
    clock = int(np.flatnonzero(record.outputs["request_valid"][:, 0])[-1])
    record.outputs[output][clock, 0] ^= 1
    with pytest.raises(AssertionError, match=f"{message} must be"):
        play_end(pair.models[0], D1, record, 0)


def test_all_outputs_come_straight_from_registers():
    # Whatever the inputs are set to within a clock, no output moves.
    rng = np.random.default_rng(1)
    with open_end(D1) as model:
        model.reset()
        model.step(100)
        inputs = [p for p in model.ports.values() if p.is_input and p.name not in ("clk", "rst")]
        outputs = [p.name for p in model.ports.values() if not p.is_input]
        before = [model.get(name) for name in outputs]
        for _ in range(10):
            for port in inputs:
                model.set(port.name, int.from_bytes(rng.bytes(88), "little") % (1 << port.width))
            assert [model.get(name) for name in outputs] == before


def test_layouts_are_those_of_the_mesh_and_of_the_other_end():
    ports = LinkEnd(D1).signature.members
    for plane in ("request", "reply"):
        for way in "io":
            shape = ports[f"{way}_{plane}"].signature.members["payload"].shape
            assert shape == packet_layout()
    assert ports["lanes_o"].shape == ports["lanes_i"].shape
    counters = end_counters_layout()
    assert [*counters["layer"].shape.members] == [*COUNTERS]
    assert [*counters["lanes"].shape.members] == [*LANE_COUNTERS]
    assert ENDS == 2
