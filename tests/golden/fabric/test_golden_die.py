"""The golden die: what nodes do to each other, and what the host sees of them at the doors."""

import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.fabric.golden_die import GoldenDie
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane, RouteEntry
from d1_golden.memory_map import (
    LINK_BASE,
    Command,
    IdentityRegister,
    LinkRegister,
    RouterRegister,
    RouteTableRegister,
    SemaphoreRegister,
    ThreadRegister,
    TransferRegister,
    register_address,
)
from d1_golden.packet import (
    ACK_FLAG,
    PACKET_DTYPE,
    POST_FLAG,
    Opcode,
    read_requests,
    write_requests,
)
from d1_golden.params import DIES, PRESETS, DieParams
from d1_golden.transfer import TransferFault

DEAD = (2, 2)
DIE = DieParams(name="test", node=PRESETS["tiny"], columns=3, rows=3, dead_cores=(DEAD,))
LINE = np.arange(64, dtype=np.uint8)


@pytest.fixture
def die() -> GoldenDie:
    return GoldenDie(DIE)


def run(die: GoldenDie, programs: dict[tuple[int, int], str], max_cycles: int = 10_000) -> None:
    """Run a program on thread 0 of each node, with a0 = 0x1000."""
    for place, source in programs.items():
        die.exchange(write_requests(Place(*place).address(0), assemble(source).code))
    for place in programs:
        start = np.array([0, 0x1000, Command.START], np.uint64).view(np.uint8)
        pc = register_address(ThreadRegister.PC)
        die.exchange(write_requests(Place(*place).address(pc), start))
    die.run(max_cycles)


def packet(opcode: Opcode, address: int, *, flags: int = 0, mask: int = 0) -> np.ndarray:
    one = np.zeros(1, PACKET_DTYPE)
    one["opcode"], one["address"], one["flags"], one["mask"] = opcode, address, flags, mask
    one["data"] = LINE
    return one


def li(register: str, value: int) -> str:
    return f"li {register}, {value:#x}\n"


def test_every_live_node_knows_its_place(die: GoldenDie):
    address = register_address(IdentityRegister.NODE)
    for place in DIE.live_nodes:
        (reply,) = die.exchange(read_requests(Place(*place).address(address), 8))
        assert reply["opcode"] == Opcode.READ_REPLY
        offset = address % 64
        assert reply["data"][offset : offset + 8].view("<u8")[0] == Place(*place).bits


def test_replies_of_the_host_come_in_the_order_of_its_requests_whatever_nodes_they_are_to(
    die: GoldenDie,
):
    rng = np.random.default_rng(1)
    places = rng.permutation(np.array(DIE.places * 4))
    requests = np.concatenate([read_requests(Place(*map(int, p)).address(0), 1) for p in places])
    requests["tag"] = np.arange(len(requests))
    replies = die.exchange(requests)
    assert np.array_equal(replies["tag"], requests["tag"])
    assert np.array_equal(replies["address"], requests["address"])
    dead = [tuple(place) == DEAD for place in places]
    wanted = np.where(dead, Opcode.FAULT_REPLY, Opcode.READ_REPLY)
    assert np.array_equal(replies["opcode"], wanted)


@pytest.mark.parametrize(
    ("place", "door"),
    [(Place(1, 2), Place(0, 2)), (Place(2, 3), Place(0, 3)), (Place(3, 1), Place(4, 1))],
)
def test_the_host_stands_at_the_nearer_door_of_the_row(die: GoldenDie, place: Place, door: Place):
    (reply,) = die.exchange(read_requests(place.address(0), 1))
    assert Place.from_bits(int(reply["source"])) == door


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(Place(*DEAD).address(0), id="a dead core"),
        pytest.param(Place(4, 1).address(0), id="a door"),
        pytest.param(Place(1, 1, 1, 0).address(0), id="another die"),
        pytest.param(0, id="no place"),
        pytest.param(1 << 56 | Place(1, 1).address(0), id="bits above the place"),
    ],
)
def test_what_no_live_node_is_at_is_refused(die: GoldenDie, address: int):
    for opcode, flags in ((Opcode.READ, 0), (Opcode.WRITE, 0), (Opcode.POST, POST_FLAG)):
        (reply,) = die.exchange(packet(opcode, address, flags=flags))
        assert reply["opcode"] == Opcode.FAULT_REPLY
        assert reply["address"] == address


def test_a_broadcast_reaches_each_live_node_of_its_rectangle_and_no_other(die: GoldenDie):
    near, far = Place(2, 1), Place(3, 2)
    request = packet(Opcode.BROADCAST, near.address(0x40), flags=POST_FLAG | 3, mask=far.bits)
    assert len(die.exchange(request)) == 0
    inside = {(2, 1), (3, 1), (3, 2)}
    for place, node in die.nodes.items():
        assert np.array_equal(node.memory[0x40:0x80], LINE) == (place in inside)
        assert node.state.semaphore[3] == (place in inside)


def test_a_node_broadcasts_once_to_itself(die: GoldenDie):
    near, far = Place(1, 1), Place(3, 3)
    program = li("a1", far.bits << 32 | 0x1000) + li("a2", near.address(0x2000))
    program += "bcast a1, a2, 1\nfence\necall"
    die.exchange(write_requests(Place(1, 2).address(0x1000), LINE))
    before = die.nodes[1, 2].state.counter.copy()
    run(die, {(1, 2): program})
    assert all(np.array_equal(n.memory[0x2000:0x2040], LINE) for n in die.nodes.values())
    requests = die.nodes[1, 2].state.counter[3] - before[3]
    # The program, PC of the thread, and one copy of the broadcast.
    assert requests == -(-len(assemble(program).code) // 64) + 2


def test_nodes_push_pull_and_post(die: GoldenDie):
    there = Place(3, 3)
    program = li("a1", there.address(0x2000)) + li("a2", there.address(0))
    program += "li a3, 0x3000\npush a0, a1, 2\npost a2, 5\nfence\npull a3, a1, 2\nfence\necall"
    payload = np.random.default_rng(2).integers(0, 256, 128, np.uint8)
    die.exchange(write_requests(Place(1, 1).address(0x1000), payload))
    run(
        die,
        {(1, 1): program, (3, 3): "swait 5\nli a1, 0x2000\nld t0, 0(a1)\nsd t0, 0x100(a0)\necall"},
    )
    assert np.array_equal(die.nodes[3, 3].memory[0x2000:0x2080], payload)
    assert np.array_equal(die.nodes[1, 1].memory[0x3000:0x3080], payload)
    assert np.array_equal(die.nodes[3, 3].memory[0x1100:0x1108], payload[:8])


def test_a_request_of_a_node_to_a_dead_core_is_refused_and_counted(die: GoldenDie):
    dead = Place(*DEAD)
    run(die, {(1, 1): li("a1", dead.address(0x40)) + "push a0, a1, 1\nfence\necall"})
    read = read_requests(Place(1, 1).address(register_address(TransferRegister.OUTSTANDING)), 64)
    registers = die.exchange(read)[0]["data"].view("<u8")
    assert registers[TransferRegister.FAULTS] == 1
    assert registers[TransferRegister.FAULT_KIND] == TransferFault.REMOTE
    assert registers[TransferRegister.FAULT_ADDRESS] == dead.address(0x40)


def test_a_ring_of_nodes_hands_a_number_round(die: GoldenDie):
    ring = [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3), (2, 3), (1, 3), (1, 2)]
    programs = {}
    for here, there in zip(ring, ring[1:] + ring[:1], strict=True):
        program = "" if here == ring[0] else "swait 0\n"
        program += "ld t0, 0(a0)\naddi t0, t0, 1\nsd t0, 0(a0)\n"
        program += li("a1", Place(*there).address(0x1000)) + "push a0, a1, 1\npost a1, 0\nfence\n"
        programs[here] = program + ("swait 0\necall" if here == ring[0] else "ecall")
    run(die, programs)
    assert int(die.nodes[ring[0]].memory[0x1000:0x1008].view("<u8")[0]) == len(ring)
    assert die.idle


def test_nodes_that_all_wait_are_named_with_what_they_wait_for(die: GoldenDie):
    with pytest.raises(TimeoutError, match=r"\(1, 1\): thread 0 waits for semaphore 7 at pc 0x0"):
        run(die, {(1, 1): "swait 7\necall", (2, 1): "ecall"})
    assert "(2, 1)" not in die.waiting
    die.exchange(packet(Opcode.WRITE, Place(1, 1).address(0x4000), flags=POST_FLAG | ACK_FLAG | 7))
    assert die.run(100) == 2
    assert die.idle


def test_a_node_that_never_ends_takes_the_cycles_it_is_given_and_no_more(die: GoldenDie):
    with pytest.raises(TimeoutError, match="1 nodes still run"):
        run(die, {(1, 1): "loop: j loop", (2, 1): "ecall"}, max_cycles=200_000)
    assert die.cycles == 200_000
    assert die.advance(1000) == 1000
    die.reset()
    assert die.idle
    assert die.advance(10) == 0
    assert die.cycles == 201_010


def test_a_semaphore_may_be_written_from_anywhere(die: GoldenDie):
    address = Place(2, 3).address(register_address(SemaphoreRegister.COUNT, 4))
    die.exchange(write_requests(address, np.array([3], np.uint64).view(np.uint8)))
    run(die, {(2, 3): "swait 4\nswait 4\nswait 4\necall"})
    assert die.idle


def test_the_die_of_the_machine_has_354_nodes():
    die = GoldenDie(DIES["d1"])
    assert len(die.nodes) == 354
    replies = die.exchange(
        np.concatenate([read_requests(Place(*place).address(0), 1) for place in die.params.places])
    )
    assert np.count_nonzero(replies["opcode"] == Opcode.READ_REPLY) == 354


def registers(die: GoldenDie, place: tuple[int, int], address: int) -> np.ndarray:
    (reply,) = die.exchange(read_requests(Place(*place).address(address), 64))
    assert reply["opcode"] == Opcode.READ_REPLY
    return reply["data"].view("<u8")


def test_routers_have_registers_where_the_core_is_dead_too(die: GoldenDie):
    line = register_address(RouterRegister.EXITS)
    for place in DIE.places:
        words = registers(die, place, line)
        assert words[RouterRegister.CORE_DISABLED] == (place == DEAD)


def test_a_core_that_is_disabled_gets_nothing(die: GoldenDie):
    there = Place(3, 1)
    disable = there.address(register_address(RouterRegister.CORE_DISABLED))
    die.exchange(write_requests(disable, np.ones(1, np.uint64).view(np.uint8)))
    (reply,) = die.exchange(read_requests(there.address(0), 1))
    assert reply["opcode"] == Opcode.FAULT_REPLY
    die.exchange(packet(Opcode.BROADCAST, Place(1, 1).address(0x40), mask=Place(3, 3).bits))
    received = {p for p, node in die.nodes.items() if node.memory[0x41] == 1}
    assert received == set(die.nodes) - {(3, 1)}
    line = register_address(RouterRegister.EXITS)
    words = registers(die, (3, 1), line)
    assert words[RouterRegister.DROPPED] == words[RouterRegister.REFUSED] == 1
    die.reset()
    (reply,) = die.exchange(read_requests(there.address(0), 1))
    assert reply["opcode"] == Opcode.READ_REPLY


def table_entry(at: Place, to: Place, entry: RouteEntry) -> np.ndarray:
    """Return the request that sets one entry of a router, the rest of its register to 0."""
    register = 2 * to.row + to.column // 16
    address = at.address(register_address(RouteTableRegister.ENTRIES, register))
    word = np.array([int(entry) << 4 * (to.column % 16)], np.uint64)
    return write_requests(address, word.view(np.uint8))


def test_packets_go_as_the_tables_say(die: GoldenDie):
    near, middle, far = Place(1, 1), Place(1, 2), Place(3, 2)
    die.exchange(table_entry(near, far, RouteEntry.SOUTH))
    die.passed[:] = 0
    store = "li t0, 7\nsd t0, 0(a0)\n"
    program = store + li("a1", far.address(0x2000)) + "push a0, a1, 1\nfence\necall"
    run(die, {near[:2]: program})
    assert die.nodes[far[:2]].memory[0x2000] == 7
    requests = die.passed[Plane.REQUEST]
    assert requests[near.row - 1, near.column - 1, Port.SOUTH] == 1
    assert requests[middle.row - 1, middle.column - 1, Port.EAST] == 1
    die.exchange(table_entry(near, far, RouteEntry.UNREACHABLE))
    before = die.nodes[near[:2]].state.control.copy()
    run(die, {near[:2]: program})
    faults = register_address(TransferRegister.FAULTS)
    assert registers(die, near[:2], faults - faults % 64)[TransferRegister.FAULTS] == 1
    assert not np.array_equal(before, die.nodes[near[:2]].state.control)


def test_each_link_of_the_tree_carries_a_broadcast_once(die: GoldenDie):
    near, far = Place(2, 1), Place(3, 3)
    die.exchange(packet(Opcode.BROADCAST, near.address(0x40), mask=far.bits), door=Place(0, 2))
    expected = {
        (1, 2): {Port.EAST},
        (2, 2): {Port.EAST, Port.NORTH, Port.SOUTH, Port.LOCAL},
        (3, 2): {Port.NORTH, Port.SOUTH, Port.LOCAL},
        **{(column, row): {Port.LOCAL} for column in (2, 3) for row in (1, 3)},
    }
    for column, row in DIE.places:
        counts = die.passed[Plane.REQUEST, row - 1, column - 1]
        assert set(np.flatnonzero(counts)) == expected.get((column, row), set())
        assert counts.max() <= 1
    assert not die.passed[Plane.REPLY].any()
    words = registers(die, (2, 2), LINK_BASE)
    assert words[LinkRegister.REQUEST_NORTH] == 1


def test_a_packet_that_would_wait_at_a_dead_router_is_an_error():
    params = DieParams(name="x", node=PRESETS["tiny"], columns=3, rows=3, dead_routers=((2, 1),))
    die = GoldenDie(params)
    with pytest.raises(RuntimeError, match=r"wait for ever at \(2, 1\), which is dead"):
        run(die, {(1, 1): li("a1", Place(3, 1).address()) + "push a0, a1, 1\nfence\necall"})
    # The host takes another door.
    assert die.door_of(Place(3, 1)) == Place(4, 1)
    assert len(die.exchange(read_requests(Place(3, 1).address(0), 1))) == 1


def test_requests_may_enter_by_any_door(die: GoldenDie):
    for door in (Place(2, 0), Place(3, 4), Place(4, 1), Place(0, 3)):
        (reply,) = die.exchange(read_requests(Place(1, 2).address(0), 1), door=door)
        assert Place.from_bits(int(reply["source"])) == door
    with pytest.raises(ValueError, match="door must be beside a place"):
        die.exchange(read_requests(Place(1, 2).address(0), 1), door=Place(0, 0))
