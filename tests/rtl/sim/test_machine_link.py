"""Simulated dies joined by links: one address space, windows, processes, links that come and go."""

from dataclasses import replace

import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.fabric.golden_machine import GoldenMachine
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.machine import MACHINES
from d1_golden.memory_map import (
    TRANSFER_BASE,
    Command,
    RouterRegister,
    SerdesCommand,
    SerdesRegister,
    ThreadRegister,
    TransferRegister,
    register_address,
)
from d1_golden.packet import PACKET_DTYPE, Opcode, read_requests, write_requests
from d1_golden.params import LINE_BYTES
from d1_golden.serdes.frame import LinkState
from d1_rtl.sim.machine_link import MachineLink

TINY2 = MACHINES["tiny2"]
NODES = TINY2.live_nodes
LIMIT = 5000
SEED = 21
#: Cycles from a reset within which all links are open.
BRING_UP = 3000
ALL_WIRES = 0b11
#: Where programs are, what they move, and where they put it; another block for each sender.
PROGRAM, DATA, RESULT, BLOCK = 0x100, 0x1000, 0x4000, 4 * LINE_BYTES


@pytest.fixture(scope="module")
def shared():
    with MachineLink(TINY2) as link:
        yield link


@pytest.fixture
def link(shared):
    shared.reset()
    shared.advance(BRING_UP)
    return shared


def write(link, address, *words):
    assert not len(link.exchange(write_requests(address, np.array(words, "<u8").view("u1")), LIMIT))


def read(link, address, size=LINE_BYTES):
    replies = link.exchange(read_requests(address, size), LIMIT)
    assert (replies["opcode"] == Opcode.READ_REPLY).all()
    return replies["data"].reshape(-1)[:size]


def end_registers(link, end):
    """Return the registers of a link's end."""
    address = register_address(SerdesRegister.STATUS, SIDES.index(end.side))
    return read(link, end.place.address(address), 2 * LINE_BYTES).view("<u8")


def start(link, programs):
    """Load and start a program on each of some nodes, at the same time."""
    pc = register_address(ThreadRegister.PC)
    words = np.array([PROGRAM, 0, Command.START], "<u8").view(np.uint8)
    loads = [write_requests(p.address(PROGRAM), assemble(t).code) for p, t in programs.items()]
    starts = [write_requests(place.address(pc), words) for place in programs]
    assert not len(link.exchange(np.concatenate([*loads, *starts]), LIMIT))


def pull(place, lines=1):
    return (
        f"li t0, {place.address(DATA):#x}\nli t1, {RESULT:#x}\npull t1, t0, {lines}\nfence\necall"
    )


def exchange_of_all_nodes(rng):
    """Return a program for each node that moves lines from and to some of all dies.

    What comes from where and goes where does not overlap, so time does not change the result.
    """
    number = {place: index for index, place in enumerate(NODES)}
    programs = {}
    for place in NODES:
        lines = []
        for slot, other in enumerate(rng.permutation(len(NODES))[:6]):
            there = NODES[other]
            here = RESULT + slot * BLOCK
            away = RESULT + (8 + number[place]) * BLOCK
            lines.append(
                f"li t0, {there.address(DATA):#x}\nli t1, {here:#x}\npull t1, t0, 4\n"
                f"li t0, {there.address(away):#x}\nli t1, {DATA:#x}\npush t1, t0, 4"
            )
        programs[place] = "\n".join([*lines, "fence", "ecall"])
    return programs


def fill(link, rng):
    """Fill what programs read, and clear what they write."""
    size = (8 + len(NODES)) * BLOCK
    images = [
        write_requests(place.address(address), data)
        for place in NODES
        for address, data in (
            (DATA, rng.integers(0, 256, BLOCK, dtype=np.uint8)),
            (RESULT, np.zeros(size, np.uint8)),
        )
    ]
    link.exchange(np.concatenate(images), 10 * LIMIT)
    return size


def test_all_links_open_after_a_reset_and_say_that_nothing_went_wrong(link):
    counters = slice(SerdesRegister.LOST_REQUESTS, None)
    for end in TINY2.ends:
        registers = end_registers(link, end)
        assert registers[SerdesRegister.STATUS] & 0xF == LinkState.OPEN
        assert registers[SerdesRegister.LANES] & 0xFFFF == 0x0303  # here and there
        assert not registers[counters].any()


def test_what_nodes_of_all_dies_send_each_other_is_what_the_golden_machine_has(link):
    print(f"seed {SEED}")
    golden = GoldenMachine(TINY2)
    contents = []
    for machine in (link, golden):
        rng = np.random.default_rng(SEED)
        size = fill(machine, rng)
        start(machine, exchange_of_all_nodes(rng))
        machine.run(4 * LIMIT)
        contents.append([read(machine, place.address(RESULT), size) for place in NODES])
    assert all(map(np.array_equal, *contents))
    assert sum(image.any() for image in contents[0]) == len(NODES)
    crossed = [link.sent_packets[die][:, :, column, side] for die, column, side in CROSSINGS]
    assert all((packets > 20).all() for packets in crossed)  # requests and replies, by each link


#: Die, index of the column and side of the edges that are joined.
CROSSINGS = (((0, 0), -1, Port.EAST), ((1, 0), 0, Port.WEST))


def record(**options):
    """Return what is at all ports of all dies in each cycle while nodes exchange lines."""
    with MachineLink(TINY2, seed=SEED, stall_probability=0.1, **options) as link:
        rng = np.random.default_rng(SEED)
        fill(link, rng)
        # Where an exchange ends depends on windows; what happens until then does not.
        link.advance(2000 - link.cycles)
        link.start_recording()
        start(link, exchange_of_all_nodes(rng))
        link.advance(2600 - link.cycles)
        return link.take_recorded()


def test_every_port_is_the_same_in_every_cycle_in_lock_step_in_windows_and_in_processes():
    print(f"seed {SEED}")
    step, *others = record(window=1), record(), record(processes=True)
    for other in others:
        for die in TINY2.dies:
            assert step[die].keys() == other[die].keys()
            for name, rows in step[die].items():
                if name.endswith("__payload"):
                    valid = step[die][name.replace("payload", "valid")][:, 0] == 1
                    assert np.array_equal(rows[valid], other[die][name][valid]), name
                else:
                    assert np.array_equal(rows, other[die][name]), name
    moved = [np.count_nonzero(rows) for name, rows in step[1, 0].items() if "valid" in name]
    assert sum(moved) > 1000


def test_a_link_that_trains_again_while_packets_cross_it_loses_none(link):
    rng = np.random.default_rng(SEED)
    size = fill(link, rng)
    programs = exchange_of_all_nodes(rng)
    start(link, programs)
    command = register_address(SerdesRegister.COMMAND, SIDES.index(Port.EAST))
    for row, what in ((1, SerdesCommand.RETRAIN), (2, SerdesCommand.RESTART)):
        write(link, Place(3, row).address(command), what)
    link.run(10 * LIMIT)
    golden = GoldenMachine(TINY2)
    fill(golden, np.random.default_rng(SEED))
    start(golden, programs)
    golden.run(LIMIT)
    for place in NODES:
        contents = read(link, place.address(RESULT), size)
        assert np.array_equal(contents, read(golden, place.address(RESULT), size)), place
    ends = [end for end in TINY2.ends if end.place[:3] in ((3, 1, 0), (3, 2, 0))]
    assert [end_registers(link, end)[SerdesRegister.RETRAINS] for end in ends] == [1, 1]


def test_a_link_that_is_off_refuses_and_the_exits_lead_around_it(link):
    here, there = Place(2, 2), Place(2, 2, 1, 0)
    write(link, there.address(DATA), *range(1, 9))
    write(link, here.address(RESULT), *[0] * 8)
    ends = [end for end in TINY2.ends if end.place.row == 2]
    for end in ends:
        disabled = register_address(SerdesRegister.DISABLED, SIDES.index(end.side))
        write(link, end.place.address(disabled), ALL_WIRES)
    start(link, {here: pull(there)})
    link.run(LIMIT)
    faults = read(link, here.address(TRANSFER_BASE)).view("<u8")[TransferRegister.FAULTS]
    assert faults == 1 and not read(link, here.address(RESULT)).any()
    states = [end_registers(link, end) for end in ends]
    assert [int(state[SerdesRegister.REFUSED]) for state in states] == [1, 0]
    assert [int(state[SerdesRegister.STATUS]) & 0xF for state in states] == [LinkState.DOWN] * 2
    exits = register_address(RouterRegister.EXITS)
    for die in TINY2.dies:
        for column in (1, 2, 3):
            write(link, Place(column, 2, *die).address(exits), 0x4040)
    start(link, {here: pull(there)})
    link.run(LIMIT)
    assert read(link, here.address(RESULT)).view("<u8").tolist() == [*range(1, 9)]
    # On again: it trains, and carries packets as before.
    for end in ends:
        disabled = register_address(SerdesRegister.DISABLED, SIDES.index(end.side))
        write(link, end.place.address(disabled), 0)
    for die in TINY2.dies:
        for column in (1, 2, 3):
            write(link, Place(column, 2, *die).address(exits), 0)
    link.advance(BRING_UP)
    write(link, here.address(RESULT), *[0] * 8)
    start(link, {here: pull(there)})
    link.run(LIMIT)
    assert read(link, here.address(RESULT)).view("<u8").tolist() == [*range(1, 9)]
    assert end_registers(link, ends[0])[SerdesRegister.REFUSED] == 1


def test_what_is_addressed_to_no_die_is_refused_at_the_edge_of_the_machine(link):
    nowhere = Place(2, 2, 2, 0)
    requests = np.concatenate(
        [read_requests(place.address(DATA), 8) for place in (NODES[0], nowhere, NODES[-1])]
    )
    requests["tag"] = [7, 8, 9]
    replies = link.exchange(requests, LIMIT)
    assert replies["tag"].tolist() == [7, 8, 9]
    assert replies["opcode"].tolist() == [
        Opcode.READ_REPLY,
        Opcode.FAULT_REPLY,
        Opcode.READ_REPLY,
    ]
    start(link, {NODES[0]: pull(nowhere)})
    link.run(LIMIT)
    line = read(link, NODES[0].address(TRANSFER_BASE)).view("<u8")
    assert line[TransferRegister.FAULTS] == 1
    assert len(link.exchange(np.zeros(0, PACKET_DTYPE), LIMIT)) == 0


def test_waiting_too_long_says_for_what(link):
    start(link, {NODES[10]: "loop: j loop"})
    with pytest.raises(
        TimeoutError, match=r"waited 100 cycles .* become idle; busy nodes: \(2, 1\)"
    ):
        link.run(100)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"window must be in 1\.\.4 \(the flight\), not 5"):
        MachineLink(TINY2, window=5)
    with pytest.raises(ValueError, match=r"edge_links must be in 1\.\.3, not 4"):
        replace(TINY2, edge_links=4)
    with MachineLink(TINY2) as link:
        pass
    with pytest.raises(ValueError, match="machine tiny2 must be open, not closed"):
        link.advance(1)
