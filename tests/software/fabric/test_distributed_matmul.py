"""Products on the nodes of a mesh: the same bits as one node, wherever they are computed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import d1
import ml_dtypes
import numpy as np
import pytest
from d1.compiler.choice import choose_schedule
from d1.compiler.tile import ceil_div
from d1.fabric.distributed_matmul import choose_bands, panel_steps, streamed_matmul
from d1.fabric.matmul_choice import is_better_streamed
from d1.fabric.mesh import Mesh
from d1.operands import Cfp8Array
from d1_golden.fabric.routing import Plane
from d1_golden.memory_map import CounterRegister
from d1_golden.numerics import BF16, Cfp8Config, Cfp8Format, matmul_reference
from d1_golden.params import DIES, LINE_BYTES, PRESETS, DieParams
from numpy.typing import NDArray

#: Two rows with three live nodes, one with two.
SIZE, DEAD = (3, 3), (3, 3)
SHAPES = [(6, 6, 8), (1, 1, 1), (20, 30, 100), (37, 29, 133), (3, 50, 7), (40, 6, 64)]


@pytest.fixture(scope="module", params=["golden", "rtl"])
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    with d1.open(request.param, "tiny", mesh=SIZE, dead=[DEAD]) as opened:
        yield opened


def operands(m: int, n: int, k: int, seed: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return BF16 codes of every finite size, rows of both operands."""
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.integers(-20, 20, (m + n, k))
    codes = (rng.standard_normal((m + n, k)) * scale).astype(ml_dtypes.bfloat16).view(np.uint16)
    return codes[:m], codes[m:]


def streamed(mesh: Mesh, left: NDArray, right: NDArray) -> NDArray[np.uint32]:
    return streamed_matmul(mesh, left, right, BF16)[0].view(np.uint32)


def reference(left: NDArray, right: NDArray) -> NDArray[np.uint32]:
    return matmul_reference(left, right.T, PRESETS["tiny"].dot_fraction_bits)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_a_streamed_product_has_the_bits_of_the_exact_order(mesh: Mesh, m: int, n: int, k: int):
    left, right = operands(m, n, k, 1)
    assert np.array_equal(streamed(mesh, left, right), reference(left, right))


def test_every_live_node_multiplies_its_part_of_a_large_product(mesh: Mesh):
    left, right = operands(96, 96, 32, 2)
    mesh.reset()
    assert np.array_equal(streamed(mesh, left, right), reference(left, right))
    steps = [node.counters()[CounterRegister.MATRIX_STEPS] for node in mesh.nodes.values()]
    assert min(steps) > 0.9 * max(steps)
    assert sum(steps) >= 96 * 96 * 32 // mesh.params.node.macs_per_step


def test_sums_that_exceed_sram_with_their_operands_are_continued(mesh: Mesh):
    left, right = operands(24, 24, 3000, 3)
    assert np.array_equal(streamed(mesh, left, right), reference(left, right))


def test_results_that_exceed_sram_are_computed_in_parts():
    with d1.open("golden", "tiny", mesh=(2, 1)) as mesh, mesh.data.scratch(32 << 10):
        left, right = operands(100, 90, 20, 4)
        assert np.array_equal(streamed(mesh, left, right), reference(left, right))


def test_what_does_not_fit_at_all_is_refused():
    with d1.open("golden", "tiny", mesh=(2, 1)) as mesh, mesh.data.scratch(48 * 1024 - 256):
        left, right = operands(4, 4, 4, 4)
        with pytest.raises(d1.SramOverflowError, match="one step of one tile must fit"):
            streamed(mesh, left, right)


@pytest.mark.parametrize(
    "die",
    [
        DieParams(name="column", node=PRESETS["tiny"], columns=1, rows=4),
        DieParams(name="row", node=PRESETS["tiny"], columns=4, rows=1, dead_cores=((2, 1),)),
        DieParams(
            name="holes",
            node=PRESETS["tiny"],
            columns=4,
            rows=4,
            dead_cores=((1, 1), (3, 2), (2, 3), (3, 3), (1, 4), (2, 4), (3, 4), (4, 4)),
        ),
    ],
    ids=lambda die: die.name,
)
def test_dead_cores_may_be_anywhere(die: DieParams):
    size = (die.columns, die.rows)
    with d1.open("golden", "tiny", mesh=size, dead=die.dead_cores) as mesh:
        left, right = operands(30, 31, 70, 5)
        assert np.array_equal(streamed(mesh, left, right), reference(left, right))


@pytest.mark.parametrize("device", ["golden", "rtl"])
def test_operands_stream_around_dead_routers(device: str):
    with d1.open(device, "tiny", mesh=(4, 4), dead=[(4, 4)], dead_routers=[(2, 2)]) as mesh:
        left, right = operands(50, 46, 36, 9)
        assert np.array_equal(streamed(mesh, left, right), reference(left, right))


def test_other_formats_stream_too():
    config = Cfp8Config(Cfp8Format.CFP8_1_4_3, bias=7)
    rng = np.random.default_rng(6)
    a, b = (
        Cfp8Array.from_float(rng.standard_normal(shape), config) for shape in ((40, 75), (75, 44))
    )
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 75), (75, 44)))
    with d1.open("golden", "tiny", mesh=(2, 2)) as mesh:
        for operator, left, right in ((d1.matmul, a, b), (d1.sgemm, x, y)):
            alone = operator(left, right, device="golden", preset="tiny")
            assert np.array_equal(operator(left, right, device=mesh), alone)


def test_matmul_on_a_mesh_gives_one_nodes_bits_by_either_method(mesh: Mesh):
    rng = np.random.default_rng(7)
    for m, k, n, all_nodes in ((5, 9, 4, False), (64, 64, 64, True)):
        a = rng.standard_normal((2, m, k)).astype(ml_dtypes.bfloat16)
        b = rng.standard_normal((2, k, n)).astype(ml_dtypes.bfloat16)
        mesh.reset()
        result = d1.matmul(a, b, device=mesh)
        assert np.array_equal(result, d1.matmul(a, b, device="golden", preset="tiny"))
        worked = [node.counters()[CounterRegister.MATRIX_STEPS] > 0 for node in mesh.nodes.values()]
        assert all(worked) if all_nodes else sum(worked) == 1, (m, worked)


def test_large_products_are_streamed_and_small_ones_are_not():
    for die in DIES.values():
        sizes = [2**n for n in range(1, 11)]
        streamed = [is_better_streamed(die, size, size, size, BF16) for size in sizes]
        assert not streamed[0]
        assert streamed[-1]
        assert streamed == sorted(streamed)
    one = replace(DIES["tiny"], columns=1, rows=1)
    assert not is_better_streamed(one, 1000, 1000, 1000, BF16)


@pytest.mark.parametrize("seed", range(20))
def test_bands_are_grids_of_live_nodes_that_cover_the_result_once(seed: int):
    rng = np.random.default_rng(seed)
    columns, rows = (int(n) for n in rng.integers(1, 9, 2))
    places = [(c, r) for c in range(1, columns + 1) for r in range(1, rows + 1)]
    dead = {places[int(n)] for n in rng.integers(len(places), size=len(places) // 5)}
    if len(dead) == len(places):
        dead.pop()
    die = DieParams(
        name="x", node=PRESETS["tiny"], columns=columns, rows=rows, dead_cores=tuple(dead)
    )
    m, n = (int(size) for size in rng.integers(1, 300, 2))
    bands = choose_bands(die, m, n, BF16)
    used = [(c, r) for band in bands for r in band.rows for c in band.columns]
    assert len(used) == len(set(used))
    assert set(used) <= set(die.live_nodes)
    height = sum(len(band.rows) * band.row_tiles for band in bands)
    assert height >= ceil_div(m, 2)
    last = bands[-1]
    assert height - last.row_tiles < ceil_div(m, 2)  # no row without work
    for band in bands:
        assert band.rows == tuple(range(band.rows[0], band.rows[-1] + 1))
        assert len(band.columns) * band.column_tiles >= ceil_div(n, 2)
        inside = range(band.columns[0], band.columns[-1] + 1)
        skipped = {(c, r) for r in band.rows for c in inside} - set(used)
        assert skipped <= set(die.dead_cores)


def test_on_the_die_of_the_machine_all_nodes_have_equal_work():
    bands = choose_bands(DIES["d1"], 2832, 2448, BF16)
    assert [(len(b.rows), len(b.columns), b.row_tiles, b.column_tiles) for b in bands] == [
        (14, 18, 18, 17),
        (6, 17, 17, 18),
    ]


def test_the_first_panel_is_small_and_the_second_travels_while_it_is_multiplied():
    whole, _ = choose_schedule(PRESETS["d1"], 1, 18, 17, 128, BF16)
    first, second = panel_steps(whole)
    assert first + second == 128
    lines = 18 + 17  # of a step
    assert lines * second <= 18 * 17 * first
    assert lines * first < 0.02 * 18 * 17 * 128
    # Few steps come in one panel: another one costs more than it saves.
    assert panel_steps(replace(whole, steps=16)) == (16,)


def test_as_many_packets_pass_each_link_in_golden_as_in_rtl():
    """Requests; of replies the doors of the RTL ask for some to know that writes are done."""
    left, right = operands(60, 50, 64, 10)
    passed = []
    for device in ("golden", "rtl"):
        with d1.open(device, "tiny", mesh=SIZE, dead=[DEAD]) as mesh:
            mesh.reset()
            streamed(mesh, left, right)
            link: Any = mesh.link
            counts = link.passed if device == "golden" else link.sent_packets
            passed.append(counts[Plane.REQUEST].copy())
    assert passed[0].sum() > 1000
    assert np.array_equal(*passed)


def test_each_node_sends_its_share_of_the_operands_once(mesh: Mesh):
    left, right = operands(96, 96, 64, 8)
    mesh.reset()
    streamed(mesh, left, right)
    sent = {
        place: LINE_BYTES * node.counters()[CounterRegister.PACKETS_SENT]
        for place, node in mesh.nodes.items()
    }
    grid = [sent[column, row] for row in (1, 2) for column in (1, 2, 3)]
    assert max(grid) <= 1.2 * min(grid)
    # The last row has no column to share the right operand with.
    assert left.nbytes + right.nbytes <= sum(sent.values()) <= 1.1 * (left.nbytes + right.nbytes)
