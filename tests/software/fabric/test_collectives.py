"""Collectives: what all nodes of a rectangle have at the end, to the bit."""

from collections.abc import Iterator

import d1
import numpy as np
import pytest
from d1.device import Call
from d1.fabric.collectives import Group, barrier_subroutine
from d1.fabric.fan_out import Rectangle, fan_out
from d1.fabric.mesh import Mesh
from d1_golden.assembler import assemble
from d1_golden.fabric.place import Place
from d1_golden.transfer import TransferOp

SIZE, DEAD = (3, 3), (2, 1)
RECTANGLES = [((1, 1), (3, 3)), ((1, 1), (2, 1)), ((2, 2), (3, 3)), ((3, 1), (3, 3))]
ADDRESS, RESULT = 0x8000, 0x9000


@pytest.fixture(scope="module", params=["golden", "rtl"])
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    with d1.open(request.param, "tiny", mesh=SIZE, dead=[DEAD]) as opened:
        yield opened


def numbers(group: Group, size: int, seed: int) -> dict[tuple[int, int], np.ndarray]:
    """Return FP32 numbers of different size for each node, so that the order of sums shows."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    return {
        place: (rng.standard_normal(size) * 2.0 ** rng.integers(-12, 12, size)).astype(np.float32)
        for place in group.members
    }


def sum_in_order(of_nodes: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    """Add by column in each row, then by row."""
    total = None
    for row in sorted({row for _, row in of_nodes}):
        columns = sorted(column for column, of_row in of_nodes if of_row == row)
        of_row = of_nodes[columns[0], row]
        for column in columns[1:]:
            of_row = of_row + of_nodes[column, row]
        total = of_row if total is None else total + of_row
    assert total is not None
    return total


def give(mesh: Mesh, values: dict[tuple[int, int], np.ndarray], address: int = ADDRESS) -> None:
    mesh.write((mesh.node(*place), address, value) for place, value in values.items())


def contents(mesh: Mesh, address: int, size: int) -> dict[tuple[int, int], np.ndarray]:
    read = mesh.read([(node, address, 4 * size) for node in mesh.nodes.values()])
    return {place: data.view(np.float32) for place, data in zip(mesh.nodes, read, strict=True)}


@pytest.mark.parametrize("rectangle", RECTANGLES)
@pytest.mark.parametrize("size", [16, 48, 256])
def test_all_reduce_adds_up_by_column_then_by_row_in_every_node(
    mesh: Mesh, rectangle: tuple[tuple[int, int], tuple[int, int]], size: int
):
    group = Group(mesh, *rectangle)
    values = numbers(group, size, 1)
    give(mesh, {place: np.zeros(size, np.float32) for place in mesh.nodes}, RESULT)
    give(mesh, values)
    group.all_reduce(ADDRESS, 4 * size, RESULT)
    expected = sum_in_order(values).view(np.uint32)
    for place, result in contents(mesh, RESULT, size).items():
        inside = place in group.members
        assert np.array_equal(result.view(np.uint32), expected if inside else 0 * expected)


def test_the_order_of_a_sum_shows_in_its_bits(mesh: Mesh):
    """Else the test above could not tell one order from another."""
    values = numbers(Group(mesh), 256, 1)
    backwards = {(4 - column, 4 - row): value for (column, row), value in values.items()}
    assert np.any(sum_in_order(values) != sum_in_order(backwards))


def test_all_reduce_may_replace_its_operands(mesh: Mesh):
    group = Group(mesh)
    values = numbers(group, 80, 2)
    give(mesh, values)
    group.all_reduce(ADDRESS, 4 * 80)
    for result in contents(mesh, ADDRESS, 80).values():
        assert np.array_equal(result, sum_in_order(values))


@pytest.mark.parametrize("root", [None, (3, 3), (1, 1)])
def test_reduce_brings_the_sums_to_one_node_and_leaves_the_others_as_they_are(
    mesh: Mesh, root: tuple[int, int] | None
):
    group = Group(mesh)
    values = numbers(group, 48, 3)
    give(mesh, values)
    group.reduce(ADDRESS, 4 * 48, root=root)
    values[root or group.root] = sum_in_order(values)
    for place, result in contents(mesh, ADDRESS, 48).items():
        assert np.array_equal(result, values[place])


@pytest.mark.parametrize("rectangle", RECTANGLES)
@pytest.mark.parametrize("size", [16, 16 * 40])
def test_broadcast_brings_lines_of_any_node_to_the_whole_group(
    mesh: Mesh, rectangle: tuple[tuple[int, int], tuple[int, int]], size: int
):
    group = Group(mesh, *rectangle)
    for seed, root in enumerate(group.members):
        everywhere = numbers(Group(mesh), size, seed)
        give(mesh, everywhere)
        group.broadcast(ADDRESS, 4 * size, root)
        for place, result in contents(mesh, ADDRESS, size).items():
            source = root if place in group.members else place
            assert np.array_equal(result, everywhere[source])


def test_a_barrier_ends_in_every_node(mesh: Mesh):
    for rectangle in RECTANGLES:
        group = Group(mesh, *rectangle)
        group.barrier()
        group.barrier()


def test_nobody_leaves_a_barrier_before_all_have_come(mesh: Mesh):
    """Every node pushes a number to the next, and reads its own only behind the barrier."""
    group = Group(mesh)
    data = mesh.data.base + group.barrier_bytes
    blocks = group.barrier_blocks(mesh.data.base)
    program = assemble(
        f"""
        ld t2, 0(a1)                # rounds
        addi a2, a1, 64             # here the number goes out,
        addi a3, a1, 128            # here it comes in
        ld a4, 8(a1)                # the next node
        mv s1, ra
        li s2, 0
round:  ld t3, 0(a3)
        add s2, s2, t3
        addi t3, t3, 1
        sd t3, 0(a2)
        call barrier_of_group       # all have read
        push a2, a4, 1
        fence
        call barrier_of_group       # all have pushed
        addi t2, t2, -1
        bnez t2, round
        sd s2, 16(a1)
        ecall
        {barrier_subroutine()}
        """.replace("ld t2, 0(a1)", f"li a1, {data:#x}\nld t2, 0(a1)")
    ).code
    rounds, base = 5, mesh.data.base
    following = dict(zip(group.members, (*group.members[1:], group.members[0]), strict=True))
    calls = {}
    for number, place in enumerate(group.members):
        words = np.zeros(24, np.uint64)
        words[0], words[1] = rounds, Place(*following[place]).address(data + 128)
        words[16] = 100 * number
        calls[place] = Call(
            program,
            base,
            inputs=((base, blocks[place]), (data, words)),
            outputs=((data + 16, 8),),
        )
    results = mesh.call(calls, max_cycles=100_000)
    count = len(group.members)
    for number, place in enumerate(group.members):
        seen = [100 * ((number - n) % count) + n for n in range(rounds)]
        assert int(results[place][0].view(np.uint64)[0]) == sum(seen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 1), (2, 2)), "corners of a rectangle in 3 x 3 places"),
        (((2, 2), (1, 3)), "corners of a rectangle"),
        (((2, 1), (2, 1)), "must have a live node"),
    ],
)
def test_a_group_that_cannot_be_is_refused(
    mesh: Mesh, arguments: tuple[tuple[int, int], tuple[int, int]], message: str
):
    with pytest.raises(ValueError, match=message):
        Group(mesh, *arguments)


def test_what_is_not_whole_lines_or_not_of_a_member_is_refused(mesh: Mesh):
    group = Group(mesh, (1, 1), (1, 3))
    for address, size in ((4, 64), (64, 4), (64, 0)):
        with pytest.raises(ValueError, match="whole lines"):
            group.all_reduce(address, size)
    with pytest.raises(ValueError, match=r"root must be a live node of the group, not \(2, 2\)"):
        group.broadcast(ADDRESS, 64, (2, 2))
    with pytest.raises(d1.SramOverflowError, match="data must fit"):
        Group(mesh).all_reduce(ADDRESS, 0x8000)


def targets(mesh: Mesh, source: tuple[int, int]) -> list[Rectangle]:
    found = []
    for one in fan_out(mesh, source, list(mesh.nodes), local=0, remote=0):
        near = Place.from_bits(int(one["remote"][0]) >> 24)[:2]
        far = Place.from_bits(int(one["corner"][0]))[:2]
        found.append(Rectangle(near, near if one["opcode"][0] == TransferOp.PUSH else far))
    return found


def test_one_broadcast_reaches_a_rectangle_where_every_router_works():
    with d1.open("golden", "tiny", mesh=(9, 7), dead=[(4, 4)]) as mesh:
        assert targets(mesh, (9, 1)) == [Rectangle((1, 1), (9, 7))]


@pytest.mark.parametrize("dead", [[(3, 3)], [(2, 2), (5, 4)], [(1, 1), (4, 4), (4, 5)]])
def test_around_dead_routers_every_live_node_is_reached_once(dead: list[tuple[int, int]]):
    with d1.open("golden", "tiny", mesh=(6, 7), dead_routers=dead) as mesh:
        for source in [(1, 2), (6, 7), (4, 3)]:
            parts = targets(mesh, source)
            assert all(sum(place in part for part in parts) == 1 for place in mesh.nodes)
            for part in parts:
                if part.near != part.far:
                    passed = mesh.broadcast_trees(source).routers(*part)
                    assert not passed & set(dead)


@pytest.mark.parametrize("device", ["golden", "rtl"])
def test_collectives_work_around_dead_routers(device: str):
    size, dead, dead_routers = (4, 4), [(4, 1), (4, 4)], [(2, 2), (3, 4)]
    with d1.open(device, "tiny", mesh=size, dead=dead, dead_routers=dead_routers) as mesh:
        group = Group(mesh)
        group.barrier()
        values = numbers(group, 64, 5)
        give(mesh, values)
        group.all_reduce(ADDRESS, 4 * 64, RESULT)
        for result in contents(mesh, RESULT, 64).values():
            assert np.array_equal(result, sum_in_order(values))
        for root in [(1, 1), (4, 3)]:
            give(mesh, values)
            group.broadcast(ADDRESS, 4 * 64, root)
            for result in contents(mesh, ADDRESS, 64).values():
                assert np.array_equal(result, values[root])
        with pytest.raises(d1.AccessError, match=r"of node \(4, 1\)"):
            mesh.node(1, 1).write(Place(4, 1).address() - mesh.node(1, 1).base, b"x")
        mesh.reset()
        group.barrier()
