# amaranth: UnusedElaboratable=no
"""Meshes of routers in RTL against the golden mesh: packet for packet and cycle for cycle."""

import itertools

import numpy as np
import pytest
from d1_golden.fabric.mesh import MeshModel, MeshRun
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane, RouteEntry
from d1_golden.fabric.traffic import Pattern, Traffic, random_traffic
from d1_rtl.fabric.input_buffer import InputBuffer
from d1_rtl.fabric.router import Router
from d1_rtl.node.interfaces import packet_layout

from testbench.router_mesh import RouterMesh, narrow_layout

SEED = 3


def assert_equal(golden: MeshModel, mesh: RouterMesh, sent: Traffic, stall: float = 0.0) -> MeshRun:
    """Run both and compare every delivery and the packets at every port."""
    run = golden.run(sent, 200_000, stall=stall, seed=SEED, record=True, drain=True)
    try:
        deliveries, passed, cycles = mesh.run(sent, 200_000, stall=stall, seed=SEED)
    finally:
        mesh.close()
    assert cycles == run.cycles
    assert (deliveries == run.deliveries).all()
    assert (passed == run.passed).all()
    assert run.out_of_order == run.astray == 0
    return run


def random(pattern: Pattern, columns: int, rows: int, load: float, cycles: int) -> Traffic:
    rng = np.random.default_rng(SEED)
    return random_traffic(pattern, columns, rows, load=load, cycles=cycles, rng=rng)


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize(("load", "stall"), [(0.1, 0.0), (0.45, 0.0), (0.3, 0.5)])
def test_all_traffic_of_an_8_x_8_mesh_is_that_of_the_golden_mesh(pattern, load, stall):
    sent = random(pattern, 8, 8, load, 500)
    run = assert_equal(MeshModel(8, 8), RouterMesh(8, 8), sent, stall)
    assert run.delivered == sent.packets > 2000


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (1, 5), (7, 2)])
def test_meshes_of_other_shapes_are_too(columns, rows):
    sent = random(Pattern.UNIFORM, columns, rows, 0.4, 400)
    assert_equal(MeshModel(columns, rows), RouterMesh(columns, rows), sent, 0.2)


def test_replies_go_by_their_source_just_so():
    sent = random(Pattern.UNIFORM, 4, 4, 0.4, 1000)
    assert_equal(MeshModel(4, 4), RouterMesh(4, 4, plane=Plane.REPLY), sent, 0.2)


def test_shallow_buffers_lose_throughput_and_nothing_else():
    sent = random(Pattern.UNIFORM, 4, 4, 0.9, 1000)
    runs = [
        assert_equal(MeshModel(4, 4, depth=depth), RouterMesh(4, 4, depth=depth), sent)
        for depth in (2, 8)
    ]
    assert runs[0].cycles > runs[1].cycles


def test_tables_are_followed():
    # By columns first, then along the row: every way that turns differs from dimension order.
    columns, rows = 4, 4
    entries = np.zeros((columns * rows, 32, 32), np.uint8)
    for n, (row, column) in itertools.product(range(columns * rows), np.ndindex(rows, columns)):
        own_row = n // columns
        if row != own_row:
            way = RouteEntry.SOUTH if row > own_row else RouteEntry.NORTH
            entries[n, row + 1, column + 1] = way
    sent = random(Pattern.TRANSPOSE, columns, rows, 0.4, 500)
    plain = assert_equal(MeshModel(columns, rows), RouterMesh(columns, rows), sent)
    turned = assert_equal(
        MeshModel(columns, rows, entries=entries),
        RouterMesh(columns, rows, entries=entries),
        sent,
    )
    assert plain.passed[1, Port.SOUTH] != turned.passed[1, Port.SOUTH]


def test_packets_go_round_a_dead_router():
    entries = np.zeros((6, 32, 32), np.uint8)
    entries[0, 1, 3] = entries[2, 1, 1] = RouteEntry.SOUTH
    entries[3, 1, 3] = RouteEntry.EAST
    options = {"entries": entries, "dead": [(2, 1)]}
    to = np.array([2, 0, 0, 0, 2, 0], np.int32)[:, None].repeat(50, axis=1)
    cycle = np.arange(50)[None].repeat(6, axis=0)
    cycle[1] = Traffic.NEVER
    sent = Traffic(to, cycle)
    run = assert_equal(MeshModel(3, 2, **options), RouterMesh(3, 2, **options), sent, 0.2)
    assert run.delivered == 250 and not run.passed[1].any()


def test_a_broadcast_reaches_every_rectangle_from_everywhere_and_keeps_its_order():
    columns, rows = 4, 3
    corners = [(c, r) for r in range(1, rows + 1) for c in range(1, columns + 1)]
    rectangles = [
        (near, far)
        for near, far in itertools.product(corners, repeat=2)
        if near[0] <= far[0] and near[1] <= far[1]
    ]
    assert len(rectangles) == 60
    # Every source sends to every rectangle, packets to single places in between.
    rng = np.random.default_rng(SEED)
    places = columns * rows
    to = np.stack([rng.permutation(places + len(rectangles)) for _ in range(places)])
    cycle = np.sort(rng.integers(0, 600, to.shape), axis=1)
    sent = Traffic(to.astype(np.int32), cycle)
    run = assert_equal(
        MeshModel(columns, rows, rectangles=rectangles),
        RouterMesh(columns, rows, rectangles=rectangles),
        sent,
        0.1,
    )
    for source in range(places):
        of_source = run.deliveries[run.deliveries["source"] == source]
        for number, place in enumerate(to[source]):
            reached = sorted(of_source["place"][of_source["number"] == number])
            if place < places:
                assert reached == [place]
                continue
            (left, top), (right, bottom) = rectangles[place - places]
            inside = [
                columns * (r - 1) + c - 1
                for r in range(top, bottom + 1)
                for c in range(left, right + 1)
            ]
            assert reached == inside


def test_every_node_sending_broadcasts_at_full_load_makes_progress():
    columns, rows = 4, 4
    rectangles = [((1, 1), (4, 4)), ((2, 2), (3, 4))]
    to = np.tile([16, 17, 5], 60)[None].repeat(16, axis=0).astype(np.int32)
    sent = Traffic(to, np.zeros(to.shape, np.int64))
    run = assert_equal(
        MeshModel(columns, rows, rectangles=rectangles),
        RouterMesh(columns, rows, rectangles=rectangles),
        sent,
    )
    assert run.delivered == 16 * 60 * (16 + 6 + 1)


def test_the_layout_of_tests_has_the_fields_of_a_packet_that_routers_look_at():
    whole, narrow = packet_layout().members, narrow_layout().members
    assert narrow.keys() < whole.keys()
    assert all(narrow[name] == whole[name] for name in narrow.keys() - {"data"})
    assert Router(Plane.REQUEST).i_local.payload.shape() == packet_layout()


def test_a_buffer_for_one_packet_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 2, not 1"):
        InputBuffer(1)
    with pytest.raises(ValueError, match="rectangles must be empty in the reply plane"):
        RouterMesh(2, 2, plane=Plane.REPLY, rectangles=[((1, 1), (2, 2))])
