"""The die of separate instances: packets by its doors, time, activity and saved states."""

from dataclasses import replace

import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane
from d1_golden.memory_map import (
    TRANSFER_BASE,
    Command,
    RouterRegister,
    ThreadRegister,
    TransferRegister,
    register_address,
)
from d1_golden.packet import (
    ACK_FLAG,
    PACKET_DTYPE,
    Opcode,
    is_answered,
    read_requests,
    write_requests,
)
from d1_golden.params import DIES, LINE_BYTES
from d1_golden.transfer import TransferFault
from d1_rtl.sim.die_link import DieLink

from testbench.die_traffic import DieTraffic

TINY = DIES["tiny"]
CENTRE = Place(2, 2)
#: A core and a router that do not work; (1, 3) is where its row's nearer door would lead through.
DAMAGED = replace(TINY, name="damaged", columns=4, dead_cores=((3, 1),), dead_routers=((1, 2),))
LIMIT = 5000
SEED = 11
FOREVER = assemble("loop: j loop").code


@pytest.fixture(scope="module")
def tiny():
    with DieLink(TINY) as link:
        yield link


@pytest.fixture
def link(tiny):
    tiny.reset()
    return tiny


@pytest.fixture(scope="module")
def damaged():
    with DieLink(DAMAGED) as link:
        yield link


def nodes(params=TINY):
    return [Place(*place) for place in params.live_nodes]


def write(link, address, data):
    assert len(link.exchange(write_requests(address, data), LIMIT)) == 0


def read(link, address, size):
    replies = link.exchange(read_requests(address, size), LIMIT)
    assert (replies["opcode"] == Opcode.READ_REPLY).all()
    return replies["data"].reshape(-1)[:size]


def start(link, places, program):
    """Put a program at address 0 of nodes and start it."""
    words = np.array([0, 0, Command.START], "<u8").view(np.uint8)
    pc = register_address(ThreadRegister.PC)
    requests = [write_requests(place.address(), program) for place in places]
    requests += [write_requests(place.address(pc), words) for place in places]
    assert len(link.exchange(np.concatenate(requests), LIMIT)) == 0


def transfer(link, text):
    """Run a program of one transfer on the node in the centre; return the transfer's registers."""
    start(link, [CENTRE], assemble(f"{text}\nfence\necall").code)
    link.run(LIMIT)
    return read(link, CENTRE.address(TRANSFER_BASE), LINE_BYTES).view("<u8").tolist()


def test_what_is_written_by_all_doors_at_once_is_read_by_all(link):
    rng = np.random.default_rng(SEED)
    images = {place: rng.integers(0, 256, 4096, dtype=np.uint8) for place in nodes()}
    before = link.cycles
    requests = [write_requests(place.address(), image) for place, image in images.items()]
    assert len(link.exchange(np.concatenate(requests), LIMIT)) == 0
    # Two of three nodes of a row share a door, and each takes 64 lines, one in a cycle.
    assert 2 * 64 < link.cycles - before < 2 * 64 + 20
    order = rng.permutation([place for place in nodes() for _ in range(1)]).tolist()
    places = [Place(*place) for place in order]
    replies = link.exchange(
        np.concatenate([read_requests(place.address(), 4096) for place in places]), LIMIT
    )
    data = replies["data"].reshape(len(places), 4096)
    assert all(np.array_equal(row, images[place]) for place, row in zip(places, data, strict=True))


def test_replies_come_in_the_order_of_requests_with_their_tags_and_sources(link):
    rng = np.random.default_rng(SEED)
    places = [nodes()[i] for i in rng.integers(len(nodes()), size=200)]
    requests = np.concatenate([read_requests(place.address(), LINE_BYTES) for place in places])
    requests["tag"] = rng.integers(1 << 16, size=200)
    requests["source"] = 77
    replies = link.exchange(requests, LIMIT)
    assert np.array_equal(replies["tag"], requests["tag"])
    assert np.array_equal(replies["address"], requests["address"])
    assert replies["source"].tolist() == [link.door_of(place).bits for place in places]


@pytest.mark.parametrize(("place", "hops"), [((1, 1), 1), ((2, 1), 2), ((3, 1), 1), ((2, 2), 2)])
def test_a_read_takes_a_cycle_for_each_router_there_and_back_and_five(link, place, hops):
    link.run(LIMIT)
    before = link.cycles
    read(link, Place(*place).address(), LINE_BYTES)
    assert link.cycles - before == 2 * hops + 5


@pytest.mark.parametrize(("place", "hops"), [((2, 2), 0), ((1, 2), 1), ((2, 1), 1), ((1, 1), 2)])
def test_a_pull_of_a_line_takes_ten_cycles_and_two_for_each_hop(link, place, hops):
    program = f"""
        li a0, 0x1000
        li a1, {Place(*place).address(0x2000)}
        li s0, 4  # the last round comes from the instruction store
    round:
        fence
        csrr s1, mcycle
        fence
        csrr s2, mcycle
        pull a0, a1, 1
        fence
        csrr s3, mcycle
        addi s0, s0, -1
        bnez s0, round
        sd s1, 0x400(zero)
        sd s2, 0x408(zero)
        sd s3, 0x410(zero)
        fence
        ecall
    """
    start(link, [CENTRE], assemble(program).code)
    link.run(LIMIT)
    before, begin, end = read(link, CENTRE.address(0x400), LINE_BYTES).view("<u8").tolist()[:3]
    without = begin - before  # the same without the pull
    assert end - begin - without == 10 + 2 * hops


def test_all_nodes_sending_and_answering_at_full_load_make_progress(link):
    """Every thread of every node pulls lines of and pushes lines to all other nodes at once."""
    rng = np.random.default_rng(SEED)
    lines, rounds, threads = 4, 16, TINY.node.threads
    size, every = lines * LINE_BYTES, nodes()
    own, pulled, pushed = 0x4000, 0x6000, 0xA000

    def slot(base, thread, other):
        return base + size * (thread * len(every) + other)

    images = rng.integers(0, 256, (len(every), threads, size), dtype=np.uint8)
    requests = []
    for me, place in enumerate(every):
        requests.append(write_requests(place.address(own), images[me].reshape(-1)))
        for thread in range(threads):
            text = [f"li s0, {rounds}", "round:"]
            for k in range(1, len(every)):
                other = (me + k) % len(every)
                there = every[other]
                text += [
                    f"li a0, {slot(pulled, thread, other)}",
                    f"li a1, {there.address(own + size * thread)}",
                    f"pull a0, a1, {lines}",
                    f"li a0, {own + size * thread}",
                    f"li a1, {there.address(slot(pushed, thread, me))}",
                    f"push a0, a1, {lines}",
                ]
            text += ["addi s0, s0, -1", "bnez s0, round", "fence", "ecall"]
            code = assemble("\n".join(text)).code
            requests.append(write_requests(place.address(0x1000 * thread), code))
            words = np.array([0x1000 * thread, 0, Command.START], "<u8").view(np.uint8)
            pc = register_address(ThreadRegister.PC, thread)
            requests.append(write_requests(place.address(pc), words))
    link.exchange(np.concatenate(requests), 2 * LIMIT)
    before = link.cycles
    link.run(20 * LIMIT)
    sent = 2 * lines * rounds * threads * (len(every) - 1)  # packets of requests of a node
    assert link.cycles - before < 1.6 * sent
    for me, place in enumerate(every):
        for thread in range(threads):
            for other in set(range(len(every))) - {me}:
                for base in (pulled, pushed):
                    found = read(link, place.address(slot(base, thread, other)), size)
                    assert np.array_equal(found, images[other][thread])


def test_requests_to_one_place_are_carried_out_in_order(link):
    requests = []
    for value in range(1, 100):
        data = np.full(LINE_BYTES, value, np.uint8)
        requests += [write_requests(CENTRE.address(64), data), read_requests(CENTRE.address(64), 1)]
    replies = link.exchange(np.concatenate(requests), LIMIT)
    assert replies["data"][:, 0].tolist() == list(range(1, 100))


def test_silent_requests_at_fault_are_answered_and_acknowledged_ones_always(link):
    data = np.zeros(LINE_BYTES, np.uint8)
    good, bad = CENTRE.address(0), CENTRE.address(TINY.node.sram_bytes)
    requests = np.concatenate([write_requests(a, data) for a in (good, bad, good, bad, good)])
    requests["tag"] = np.arange(5)
    requests["flags"][2] = ACK_FLAG
    replies = link.exchange(requests, LIMIT)
    assert replies["tag"].tolist() == [1, 2, 3]
    assert replies["opcode"].tolist() == [
        Opcode.FAULT_REPLY,
        Opcode.WRITE_REPLY,
        Opcode.FAULT_REPLY,
    ]


def test_everything_is_carried_out_when_an_exchange_returns(link):
    start(link, nodes(), FOREVER)
    assert link.busy_nodes == nodes()


def test_requests_to_nobody_are_refused_at_once(link):
    places = [Place(0, 1), Place(4, 2), Place(2, 9), Place(2, 2, die_column=1), Place(0, 0)]
    before = link.cycles
    replies = link.exchange(np.concatenate([read_requests(p.address(), 1) for p in places]), LIMIT)
    assert (replies["opcode"] == Opcode.FAULT_REPLY).all() and len(replies) == len(places)
    assert link.cycles == before


@pytest.mark.parametrize("place", [Place(0, 2), Place(4, 1), Place(2, 0), Place(1, 4)])
def test_the_door_where_a_request_of_a_node_leaves_refuses_it(link, place):
    bits = place.address()
    registers = transfer(link, f"li a0, 0x1000\nli a1, {bits:#x}\npush a0, a1, 3")
    assert registers[TransferRegister.FAULT_KIND] == TransferFault.REMOTE
    link.run(LIMIT)


def test_a_broadcast_of_a_node_that_leaves_the_die_is_dropped(link):
    near, far = Place(2, 2).address(0x2000), Place(4, 2).bits << 32
    write(link, CENTRE.address(0x1000), np.arange(LINE_BYTES, dtype=np.uint8))
    registers = transfer(link, f"li a0, {far | 0x1000:#x}\nli a1, {near:#x}\nbcast a0, a1, 1")
    assert registers[TransferRegister.FAULTS] == 0
    assert read(link, Place(3, 2).address(0x2000), 64).tolist() == list(range(64))


def test_a_broadcast_of_the_host_reaches_all_nodes_of_a_rectangle_and_no_other(link):
    old, new = np.zeros(LINE_BYTES, np.uint8), np.full(LINE_BYTES, 5, np.uint8)
    for place in nodes():
        write(link, place.address(64), old)
    packet = write_requests(Place(2, 1).address(64), new)
    packet["opcode"], packet["mask"] = Opcode.BROADCAST, Place(3, 2).bits
    assert len(link.exchange(packet, LIMIT)) == 0
    link.run(LIMIT)
    reached = {place for place in nodes() if read(link, place.address(64), 1)[0] == 5}
    assert reached == {Place(2, 1), Place(3, 1), Place(2, 2), Place(3, 2)}


def test_idle_instances_are_not_evaluated_and_lose_no_time(link):
    link.run(LIMIT)
    start(link, [Place(1, 1)], FOREVER)
    nodes_before, stops_before = link.busy_cycles, link.stop_cycles
    link.advance(1000)
    expected = np.zeros((3, 3))
    expected[0, 0] = 1000
    assert np.array_equal(link.busy_cycles - nodes_before, expected)
    assert np.array_equal(link.stop_cycles, stops_before)
    cycles = register_address(ThreadRegister.CYCLES)
    assert read(link, Place(1, 1).address(cycles // 64 * 64), 64).view("<u8")[
        ThreadRegister.CYCLES
    ] in range(1000, 1030)


def test_time_passes_where_all_is_idle(link):
    link.run(LIMIT)
    before, evaluated = link.cycles, link.busy_cycles.sum()
    link.advance(10**12)
    assert link.cycles == before + 10**12
    assert link.busy_cycles.sum() == evaluated
    read(link, CENTRE.address(), 64)


def test_a_run_ends_with_the_last_node(link):
    link.run(LIMIT)
    assert link.run(0) == 0
    count = assemble("li t0, 200\nloop: addi t0, t0, -1\nbnez t0, loop\necall").code
    start(link, [Place(3, 3)], count)
    assert 300 < link.run(LIMIT) < 900
    assert link.busy_nodes == []


def test_a_wait_that_is_too_long_names_the_busy_nodes(link):
    start(link, [Place(1, 2), Place(3, 3)], FOREVER)
    with pytest.raises(
        TimeoutError,
        match=r"waited 100 cycles for die tiny to become idle; "
        r"busy nodes: \(1, 2\), \(3, 3\); busy routers: none",
    ):
        link.run(100)
    with pytest.raises(TimeoutError, match=r"to take 3000 requests; it took \d+; busy nodes"):
        link.exchange(np.tile(read_requests(CENTRE.address(), 1), 3000), 100)
    # What was under way does no harm to what follows.
    write(link, CENTRE.address(64), np.full(64, 9, np.uint8))
    assert read(link, CENTRE.address(64), 64).tolist() == [9] * 64


def test_packets_are_counted_on_every_link_that_they_take(link):
    link.run(LIMIT)
    sent, entered = link.sent_packets, link.entered_packets
    read(link, Place(3, 2).address(), 5 * LINE_BYTES)
    read(link, Place(2, 2).address(), 3 * LINE_BYTES)
    there, back = (
        link.sent_packets[Plane.REQUEST] - sent[0],
        link.sent_packets[Plane.REPLY] - sent[1],
    )
    assert there[1, 2, Port.LOCAL] == 5 and back[1, 2, Port.EAST] == 5
    assert there[1, 0, Port.EAST] == there[1, 1, Port.LOCAL] == 3
    assert back[1, 1, Port.WEST] == back[1, 0, Port.WEST] == 3
    assert there.sum() == 5 + 2 * 3 and back.sum() == there.sum()
    came = link.entered_packets[Plane.REPLY] - entered[1]
    assert came[1, 2, Port.LOCAL] == 5 and came[1, 1, Port.LOCAL] == came[1, 0, Port.EAST] == 3


def test_the_number_of_threads_does_not_matter():
    print(f"seed {SEED}")
    recorded = [played(threads) for threads in (1, 3)]
    assert recorded[0].keys() == recorded[1].keys()
    for port, rows in recorded[0].items():
        assert np.array_equal(rows, recorded[1][port]), port
    assert sum((rows[:, 0] & 1).sum() for p, rows in recorded[0].items() if "retire" in p) > 500


def played(threads):
    """Return what is at the doors and nodes of a die under random traffic."""
    traffic = DieTraffic(TINY, SEED)
    with DieLink(TINY, threads=threads, stall_probability=0.3, seed=SEED) as link:
        link.start_recording()
        link.exchange(traffic.programs(nodes()[:5]), LIMIT)
        link.advance(300)
        link.exchange(traffic.host_packets(50), LIMIT)
        return link.take_recorded()


def test_a_restored_die_goes_on_as_the_saved_one(tmp_path):
    print(f"seed {SEED}")
    states = []
    for restores in (False, True):
        traffic = DieTraffic(TINY, SEED)
        with DieLink(TINY, stall_probability=0.3, seed=SEED) as link:
            programs, packets = traffic.programs(nodes()[:4]), traffic.host_packets(50)
            if restores:
                link.advance(17)
                link.restore(tmp_path / "state")
            else:
                link.exchange(programs, LIMIT)
                link.advance(101)
                link.save(tmp_path / "state")
            link.start_recording()
            replies = link.exchange(packets, LIMIT)
            link.advance(500)
            states.append((link.cycles, replies, link.busy_cycles, link.take_recorded()))
    (cycles, replies, busy, recorded), again = states
    assert again[0] == cycles and np.array_equal(again[1], replies)
    assert np.array_equal(again[2], busy)
    assert all(np.array_equal(rows, again[3][port]) for port, rows in recorded.items())


def test_states_of_other_dies_and_broken_ones_are_refused(link, damaged, tmp_path):
    state = tmp_path / "state"
    damaged.save(state)
    for bad in (state, tmp_path / "short"):
        (tmp_path / "short").write_bytes(b"d1")
        with pytest.raises(ValueError, match="must be the saved state of die DieParams"):
            link.restore(bad)
    link.save(state)
    state.write_bytes(state.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="must be the saved state"):
        link.restore(state)
    with pytest.raises(FileNotFoundError):
        link.restore(tmp_path / "none")
    with pytest.raises(OSError, match="must be writable"):
        link.save(tmp_path / "no folder" / "state")


def test_dead_cores_are_refused_by_their_routers_and_dead_routers_by_the_link(damaged):
    requests = [read_requests(Place(*p).address(), 1) for p in ((3, 1), (1, 2))]
    replies = damaged.exchange(np.concatenate(requests), LIMIT)
    assert replies["opcode"].tolist() == [Opcode.FAULT_REPLY] * 2
    register = register_address(RouterRegister.CORE_DISABLED)
    line = read(damaged, Place(3, 1).address(register // 64 * 64), 64).view("<u8")
    assert line[RouterRegister.CORE_DISABLED] == 1


def test_places_behind_a_dead_router_are_reached_by_other_doors(damaged):
    assert damaged.door_of(Place(2, 2)) == Place(5, 2)  # not by (1, 2), though that is nearer
    for place in nodes(DAMAGED):
        data = np.full(LINE_BYTES, place.column + 8 * place.row, np.uint8)
        write(damaged, place.address(128), data)
        assert np.array_equal(read(damaged, place.address(128), LINE_BYTES), data)
    assert damaged.run(LIMIT) == 0


def test_a_waveform_shows_one_node_in_a_window(tmp_path):
    with DieLink(replace(TINY, columns=1, rows=1), trace=(1, 1)) as link:
        start(link, [Place(1, 1)], FOREVER)
        link.trace(tmp_path / "node.wave", link.cycles + 10, link.cycles + 20)
        link.advance(100)
    assert (tmp_path / "node.wave").stat().st_size > 1000


def test_only_a_link_made_for_it_writes_waveforms(link, tmp_path):
    with pytest.raises(ValueError, match="must be made with trace"):
        link.trace(tmp_path / "x")


def test_no_requests_have_no_replies(link):
    assert len(link.exchange(np.zeros(0, PACKET_DTYPE), 0)) == 0
    assert not is_answered(write_requests(0, b"1"))[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"stall_probability": 1.0}, "stall_probability must be from 0 to below 1, not 1.0"),
        ({"seed": -1}, "seed must be from 0 to below 2"),
        ({"trace": (4, 1)}, r"trace must be the place of a live node, not \(4, 1\)"),
    ],
)
def test_bad_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DieLink(TINY, **arguments)


def test_bad_requests_are_refused(link):
    with pytest.raises(ValueError, match="requests must be an array of PACKET_DTYPE"):
        link.exchange(np.zeros(3), LIMIT)
    with pytest.raises(ValueError, match="cycles must be at least 0, not -1"):
        link.advance(-1)


def test_a_closed_link_says_so():
    link = DieLink(TINY)
    link.close()
    link.close()
    with pytest.raises(ValueError, match="die tiny must be open, not closed"):
        link.advance(1)
