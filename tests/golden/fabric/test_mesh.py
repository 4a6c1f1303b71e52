"""The golden mesh: every packet once, unchanged and in order, and as many as the bars ask for."""

import itertools
from collections import Counter

import numpy as np
import pytest
from d1_golden.fabric.mesh import MeshModel, MeshRun, latency_curve, stalls
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane, RouteEntry, RoutingState, route
from d1_golden.fabric.traffic import Pattern, Traffic, random_traffic
from d1_golden.packet import PACKET_DTYPE, Opcode

SEED = 7


def random(pattern: Pattern, columns: int, rows: int, load: float, cycles: int) -> Traffic:
    rng = np.random.default_rng(SEED)
    return random_traffic(pattern, columns, rows, load=load, cycles=cycles, rng=rng)


def of_lists(packets: list[list[tuple[int, int]]]) -> Traffic:
    """Return traffic from a list of (place, cycle) for each place."""
    most = max(map(len, packets))
    place = np.zeros((len(packets), most), np.int32)
    cycle = np.full((len(packets), most), Traffic.NEVER)
    for n, sent in enumerate(packets):
        for k, (to, at) in enumerate(sent):
            place[n, k], cycle[n, k] = to, at
    return Traffic(place, cycle)


def assert_in_order(run: MeshRun, packets: int) -> None:
    assert run.delivered == packets
    assert run.out_of_order == run.astray == 0


def test_an_empty_mesh_takes_a_cycle_for_each_hop_and_one_more() -> None:
    columns, rows = 4, 3
    places = columns * rows
    model = MeshModel(columns, rows)
    # One packet at a time: 20 cycles each.
    sent = [[(to, 20 * (source * places + to)) for to in range(places)] for source in range(places)]
    run = model.run(of_lists(sent), 10_000, record=True, drain=True)
    assert_in_order(run, places**2)
    for delivery in run.deliveries:
        source, to = int(delivery["source"]), int(delivery["place"])
        hops = abs(source % columns - to % columns) + abs(source // columns - to // columns)
        assert delivery["cycle"] - 20 * (source * places + to) == hops + 1
        assert delivery["number"] == to


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_nothing_is_lost_doubled_astray_or_out_of_order(pattern: Pattern, stall: float) -> None:
    sent = random(pattern, 6, 6, 0.3, 1500)
    run = MeshModel(6, 6).run(sent, 100_000, stall=stall, seed=SEED, record=True, drain=True)
    assert_in_order(run, sent.packets)
    received = Counter(zip(run.deliveries["source"], run.deliveries["number"], strict=True))
    assert set(received.values()) == {1} and len(received) == sent.packets
    assert run.passed[:, Port.LOCAL].sum() == sent.packets


def test_links_that_meet_at_a_router_carry_a_packet_in_every_cycle() -> None:
    # Through the middle of a 3 x 3 mesh in all directions at once, and from its node to itself.
    north, west, middle, east, south = 1, 3, 4, 5, 7
    ways = {north: south, south: north, east: west, west: east, middle: middle}
    cycles = 1000
    sent = [[(ways[n], k) for k in range(cycles)] if n in ways else [] for n in range(9)]
    run = MeshModel(3, 3).run(of_lists(sent), cycles + 4, drain=True)
    assert_in_order(run, 5 * cycles)
    assert run.worst_latency == 3
    assert (run.passed[middle] == cycles).all()


def test_packets_pass_those_that_wait_for_another_output() -> None:
    # Place 2 keeps the node of place 1 busy, so that half of what place 0 sends there must wait;
    # what it sends to place 2 after that goes by.
    to_1, to_2 = [(1, k) for k in range(4)], [(2, k) for k in range(4, 8)]
    sent = of_lists([[*to_1, *to_2], [], [(1, k) for k in range(40)]])
    run = MeshModel(3, 1).run(sent, 1000, record=True, drain=True)
    passing = run.deliveries[run.deliveries["place"] == 2]
    assert passing["cycle"].tolist() == [k + 3 for _, k in to_2]
    waiting = run.deliveries[(run.deliveries["place"] == 1) & (run.deliveries["source"] == 0)]
    assert waiting["cycle"][-1] > passing["cycle"][0]


def test_latency_grows_with_load_from_the_mean_of_hops() -> None:
    loads = [0.02, 0.2, 0.4, 0.44]
    runs = latency_curve(MeshModel(8, 8), Pattern.UNIFORM, loads, cycles=3000, warmup=1000)
    latencies = [run.latency for run in runs]
    # Without other traffic: 16/3 hops on average to any other of 64 nodes, and one cycle.
    assert latencies[0] == pytest.approx(16 / 3 + 1, rel=0.03)
    assert latencies == sorted(latencies) and latencies[2] < 3 * latencies[0]


def test_a_mesh_beyond_saturation_goes_on_at_the_same_rate_for_every_node() -> None:
    (run,) = latency_curve(MeshModel(8, 8), Pattern.UNIFORM, [1.0], cycles=6000, warmup=3000)
    assert run.accepted > 0.42
    rates = run.passed[:, Port.LOCAL] / run.cycles
    assert rates.min() > 0.9 * rates.mean()


def test_broadcasts_and_packets_to_one_place_keep_their_order() -> None:
    columns, rows = 4, 3
    rectangles = [((1, 1), (4, 3)), ((2, 1), (3, 3)), ((4, 2), (4, 3))]
    areas = {12: 12, 13: 6, 14: 2}
    rng = np.random.default_rng(SEED)
    to = rng.integers(15, size=(12, 150)).astype(np.int32)
    sent = Traffic(to, np.arange(150, dtype=np.int64).repeat(12).reshape(150, 12).T.copy())
    model = MeshModel(columns, rows, rectangles=rectangles)
    run = model.run(sent, 20_000, stall=0.3, seed=SEED, record=True, drain=True)
    assert_in_order(run, sum(areas.get(int(place), 1) for place in to.ravel()))
    for source, number in itertools.product(range(12), range(150)):
        if to[source, number] < 12:
            continue
        (left, top), (right, bottom) = rectangles[to[source, number] - 12]
        mine = (run.deliveries["source"] == source) & (run.deliveries["number"] == number)
        inside = {
            columns * (r - 1) + c - 1
            for c in range(left, right + 1)
            for r in range(top, bottom + 1)
        }
        assert sorted(run.deliveries["place"][mine]) == sorted(inside)


def test_ways_are_those_of_route() -> None:
    columns, rows = 5, 4
    rng = np.random.default_rng(SEED)
    entries = rng.integers(0, 16, (columns * rows, 32, 32)).astype(np.uint8)
    entries[rng.random(entries.shape) < 0.5] = RouteEntry.DIMENSION_ORDER
    ways = MeshModel(columns, rows, entries=entries)._ways
    packet = np.zeros(1, PACKET_DTYPE)[0]
    packet["opcode"] = Opcode.READ
    places = [Place(n % columns + 1, n // columns + 1) for n in range(columns * rows)]
    for (n, here), (k, to) in itertools.product(enumerate(places), enumerate(places)):
        packet["address"] = to.address()
        taken = route(Plane.REQUEST, here, Port.NORTH, packet, RoutingState(entries[n]))
        assert (ways[n, :, k] == sum(1 << port for port in taken.outputs)).all()


def test_tables_lead_round_a_dead_router() -> None:
    # In 3 x 2 the middle of the upper row is dead: row 2 is the way between its ends.
    entries = np.zeros((6, 32, 32), np.uint8)
    entries[0, 1, 3] = entries[2, 1, 1] = RouteEntry.SOUTH
    entries[3, 1, 3] = RouteEntry.EAST
    model = MeshModel(3, 2, entries=entries, dead=[(2, 1)])
    assert model.live.tolist() == [True, False, True, True, True, True]
    run = model.run(of_lists([[(2, 0)], [], [(0, 0)], [], [], []]), 100, record=True, drain=True)
    assert_in_order(run, 2)
    assert (run.deliveries["cycle"] == 5).all()
    with pytest.raises(ValueError, match="traffic must go to live places, not to dead ones"):
        model.run(of_lists([[(1, 0)], [], [], [], [], []]), 100)


def test_uniform_traffic_of_a_mesh_with_dead_routers_is_among_the_live() -> None:
    # A dead corner needs no tables: no way by dimension order leads through it.
    model = MeshModel(4, 4, dead=[(1, 1)])
    (run,) = latency_curve(model, Pattern.UNIFORM, [0.1], cycles=2000, warmup=500)
    assert run.accepted == pytest.approx(0.1, rel=0.05) and run.astray == 0
    assert (run.passed[0] == 0).all()


def test_what_does_not_arrive_in_time_is_told() -> None:
    sent = of_lists([[(2, 0), (2, 1)], [], []])
    with pytest.raises(TimeoutError, match="waited 4 cycles for 2 packets, of which 1 were"):
        MeshModel(3, 1).run(sent, 4, drain=True)


def test_stalls_are_as_frequent_as_asked_for_and_differ_between_places_and_seeds() -> None:
    drawn = np.array([[stalls(1, place, n, 65536 // 4) for n in range(4000)] for place in (0, 1)])
    assert drawn.mean(axis=1) == pytest.approx([0.25, 0.25], abs=0.03)
    assert 0.25 < (drawn[0] != drawn[1]).mean() < 0.5
    assert [stalls(2, 0, n, 65536 // 4) for n in range(4000)] != drawn[0].tolist()


def test_a_stall_and_a_size_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"stall must be in \[0, 1\), not 1"):
        MeshModel(2, 2).run(of_lists([[], [], [], []]), 10, stall=1)
    with pytest.raises(ValueError, match="places and rectangles must be fewer than 32768"):
        MeshModel(200, 200)
