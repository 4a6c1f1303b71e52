"""The mesh: nodes of a die as devices, and all of them at once."""

import re
from collections.abc import Iterator
from pathlib import Path

import d1
import numpy as np
import pytest
from d1.compiler.stream import ARRIVED, RELEASED
from d1.device import Call
from d1.fabric import collectives
from d1.fabric.mesh import Mesh
from d1_golden.assembler import assemble
from d1_golden.fabric.place import Place
from d1_golden.memory_map import IDENTITY, IdentityRegister, ThreadStatus
from d1_golden.params import PRESETS

SIZE, DEAD = (3, 2), (2, 1)
#: Doubles the word at a0 and stores it, with the number of the node, behind.
PROGRAM = assemble(
    f"""
    li t1, {IDENTITY:#x}
    ld t1, {8 * IdentityRegister.NODE}(t1)
    ld t0, 0(a0)
    add t0, t0, t0
    sd t0, 8(a0)
    sd t1, 16(a0)
    ecall
    """
).code


@pytest.fixture(scope="module", params=["golden", "rtl"])
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    with d1.open(request.param, "tiny", mesh=SIZE, dead=[DEAD]) as opened:
        yield opened


def test_a_mesh_has_a_device_for_each_live_node(mesh: Mesh):
    assert list(mesh.nodes) == [(1, 1), (3, 1), (1, 2), (2, 2), (3, 2)]
    for place, node in mesh.nodes.items():
        words = node.read(IDENTITY, 64).view("<u8")
        assert words[IdentityRegister.NODE] == Place(*place).bits
        assert node is mesh.node(*place)


@pytest.mark.parametrize("place", [DEAD, (0, 1), (4, 1), (1, 3)])
def test_a_place_without_a_live_node_is_refused(mesh: Mesh, place: tuple[int, int]):
    with pytest.raises(ValueError, match=r"5 live nodes .* not \(\d, \d\)"):
        mesh.node(*place)


def test_nodes_have_memories_of_their_own(mesh: Mesh):
    for n, node in enumerate(mesh.nodes.values()):
        node.write(0x5003, np.full(70, n, np.uint8))
    for n, node in enumerate(mesh.nodes.values()):
        assert node.read(0x5003, 70).tolist() == [n] * 70


def test_many_nodes_are_written_and_read_in_one_exchange(mesh: Mesh):
    rng = np.random.default_rng(3)
    data = {node: rng.integers(0, 256, 200, np.uint8) for node in mesh.nodes.values()}
    mesh.write((node, 0x5007, contents) for node, contents in data.items())
    read = mesh.read([(node, 0x5007, 200) for node in data])
    for contents, expected in zip(read, data.values(), strict=True):
        assert np.array_equal(contents, expected)


def test_a_node_of_a_mesh_can_be_called_like_any_device(mesh: Mesh):
    node = mesh.node(3, 2)
    base = node.data.base
    (result,) = node.call(
        PROGRAM,
        base,
        inputs=[(base, np.array([21], np.uint64))],
        outputs=[(base + 8, 16)],
        max_cycles=1000,
    )
    assert result.view("<u8").tolist() == [42, Place(3, 2).bits]
    assert node.status().status is ThreadStatus.HALTED


def test_a_call_runs_on_many_nodes_at_the_same_time(mesh: Mesh):
    base = mesh.node(1, 1).data.base
    calls = {
        place: Call(
            PROGRAM,
            base,
            inputs=((base, np.array([n], np.uint64)),),
            outputs=((base + 8, 8), (base + 16, 8)),
        )
        for n, place in enumerate(mesh.nodes)
    }
    results = mesh.call(calls, max_cycles=10_000)
    for n, place in enumerate(mesh.nodes):
        words = [int(result.view("<u8")[0]) for result in results[place]]
        assert words == [2 * n, Place(*place).bits]


def test_products_run_on_a_node_of_a_mesh(mesh: Mesh):
    import ml_dtypes

    a, b = np.random.default_rng(4).standard_normal((2, 9, 9)).astype(ml_dtypes.bfloat16)
    alone = d1.matmul(a, b, device="golden", preset="tiny")
    assert np.array_equal(d1.matmul(a, b, device=mesh.node(1, 2)), alone)


def test_an_error_names_node_and_thread_and_leaves_the_mesh_usable(mesh: Mesh):
    good, bad = Call(PROGRAM, mesh.node(1, 1).data.base), Call(assemble("ebreak").code)
    with pytest.raises(d1.KernelFault, match=r"thread 0 .*breakpoint.* node \(3, 1\)"):
        mesh.call({(1, 1): good, (3, 1): bad}, max_cycles=1000)
    waiting = Call(assemble("swait 9\necall").code)
    with pytest.raises(d1.CycleLimitError, match=r"thread 0 .* 1000 cycles.* node \(2, 2\)"):
        mesh.call({(2, 2): waiting}, max_cycles=1000)
    assert len(mesh.call({(1, 1): good, (2, 2): good}, max_cycles=1000)) == 2


def test_an_address_that_is_nowhere_is_named_with_its_node(mesh: Mesh):
    with pytest.raises(d1.AccessError, match=r"0x700000 of node \(2, 2\)"):
        mesh.write([(mesh.node(2, 2), 0x70_0000, np.zeros(1, np.uint8))])
    with pytest.raises(d1.AccessError, match="must end within the SRAM"):
        mesh.node(1, 1).write(mesh.params.node.sram_bytes - 1, b"ab")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dead": [(1, 1)]}, "of a mesh"),
        ({"mesh": (31, 1)}, "columns must be in 1..30, not 31"),
        ({"mesh": (2, 2), "dead": [(3, 1)]}, "dead_cores must be places"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused(arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        d1.open("golden", "tiny", **arguments)


def test_the_example_of_the_page_does_what_it_says():
    page = (Path(__file__).parents[3] / "docs" / "collectives.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert "assert all" in example
    exec(example, {})


def test_the_page_names_the_semaphores_of_collectives_and_products():
    page = (Path(__file__).parents[3] / "docs" / "collectives.md").read_text()
    semaphores = sorted(
        (collectives._UP, collectives._DOWN, collectives._BY_COLUMN, collectives._BY_ROW)
    )
    assert semaphores == [28, 29, 30, 31]
    assert (ARRIVED, RELEASED + max(params.threads for params in PRESETS.values()) - 1) == (0, 4)
    assert "Collectives use semaphores 28 to 31, products 0 to 4." in page
