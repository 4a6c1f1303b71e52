"""Several golden dies as one address space."""

import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.fabric.golden_machine import GoldenMachine
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.machine import MachineParams
from d1_golden.memory_map import (
    SERDES_BASE,
    TRANSFER_BASE,
    Command,
    RouterRegister,
    SerdesRegister,
    ThreadRegister,
    TransferRegister,
    register_address,
)
from d1_golden.packet import Opcode, read_requests, write_requests
from d1_golden.params import DIES, LINE_BYTES
from d1_golden.serdes.frame import LinkState
from d1_golden.serdes.params import LINKS

SEED = 5
SQUARE = MachineParams(
    name="square", die=DIES["tiny"], columns=2, rows=2, link=LINKS["tiny"], edge_links=3
)
ALL_WIRES = 0b11


@pytest.fixture
def machine():
    return GoldenMachine(SQUARE)


def write(machine, address, *words):
    data = np.array(words, "<u8").view(np.uint8)
    return machine.exchange(write_requests(address, data))


def read(machine, address, size=LINE_BYTES):
    replies = machine.exchange(read_requests(address, size))
    assert (replies["opcode"] == Opcode.READ_REPLY).all()
    return replies["data"].reshape(-1)[:size]


def pull(place):
    """Return a program that pulls the first line of a node to 0x1000."""
    return f"li t0, {place.address():#x}\nli t1, 0x1000\npull t1, t0, 1\nfence\necall"


def run(machine, place, text):
    """Run a program at address 0x100 of a node."""
    assert not len(machine.exchange(write_requests(place.address(0x100), assemble(text).code)))
    pc = place.address(register_address(ThreadRegister.PC))
    assert not len(write(machine, pc, 0x100, 0, Command.START))
    machine.run(10_000)


def test_every_node_of_every_die_is_written_and_read_by_its_address(machine):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    images = {place: rng.integers(0, 256, 256, dtype=np.uint8) for place in SQUARE.live_nodes}
    assert len(images) == 36
    requests = [write_requests(place.address(), image) for place, image in images.items()]
    assert not len(machine.exchange(np.concatenate(requests)))
    for place, image in images.items():
        assert np.array_equal(read(machine, place.address(), 256), image)


def test_a_node_pulls_from_and_pushes_to_every_other_die(machine):
    here = Place(2, 2, 0, 0)
    for die in SQUARE.dies[1:]:
        there = Place(3, 1, *die)
        words = [die[0] + 1, die[1] + 1, 3, 4, 5, 6, 7, 8]
        assert not len(write(machine, there.address(), *words))
        text = f"li t0, {there.address():#x}\nli t1, {there.address(64):#x}\nli t2, 0x1000\n"
        run(machine, here, f"{text} pull t2, t0, 1\n fence\n push t2, t1, 1\n fence\n ecall")
        assert read(machine, here.address(0x1000)).view("<u8").tolist() == words
        assert read(machine, there.address(64)).view("<u8").tolist() == words


def test_what_is_addressed_to_no_die_is_refused_wherever_it_comes_from(machine):
    nowhere = Place(1, 1, 2, 0)
    (reply,) = machine.exchange(read_requests(nowhere.address(), 8))
    assert reply["opcode"] == Opcode.FAULT_REPLY
    here = Place(1, 1, 0, 1)
    run(machine, here, pull(nowhere))
    registers = read(machine, here.address(TRANSFER_BASE)).view("<u8")
    assert registers[TransferRegister.FAULTS] == 1


def test_a_broadcast_reaches_its_rectangle_of_each_die_that_it_names(machine):
    line = np.arange(64, dtype=np.uint8)
    here = Place(2, 1, 0, 0)
    assert not len(machine.exchange(write_requests(here.address(0x1000), line)))
    near, far = Place(1, 2, 0, 0), Place(2, 3, 1, 1)
    text = f"""
        li t0, {near.address(0x2000):#x}
        li t1, {far.bits << 32 | 0x1000:#x}
        bcast t1, t0, 1
        fence
        ecall
    """
    run(machine, here, text)
    for place in SQUARE.live_nodes:
        inside = place.column in (1, 2) and place.row in (2, 3)
        written = np.array_equal(read(machine, place.address(0x2000)), line)
        assert written == inside, place


def test_registers_of_a_link_are_at_the_place_beside_it_and_nowhere_else(machine):
    east = register_address(SerdesRegister.STATUS, SIDES.index(Port.EAST))
    assert read(machine, Place(3, 2).address(east)).view("<u8")[0] == LinkState.OPEN
    for place in (Place(2, 2), Place(3, 2, 1, 0)):
        (reply,) = machine.exchange(read_requests(place.address(east), 8))
        assert reply["opcode"] == Opcode.FAULT_REPLY
    north = Place(3, 2).address(SERDES_BASE)
    (reply,) = machine.exchange(read_requests(north, 8))
    assert reply["opcode"] == Opcode.FAULT_REPLY


def test_a_link_that_is_off_refuses_and_the_exits_lead_around_it(machine):
    here, there = Place(1, 2), Place(1, 2, 1, 0)
    ends = (Place(3, 2), Port.EAST), (Place(1, 2, 1, 0), Port.WEST)
    for place, side in ends:
        disabled = register_address(SerdesRegister.DISABLED, SIDES.index(side))
        assert not len(write(machine, place.address(disabled), ALL_WIRES))
    assert not len(write(machine, there.address(), 77))
    text = pull(there)
    run(machine, here, text)
    assert not read(machine, here.address(0x1000)).any()
    refused = register_address(SerdesRegister.REFUSED, SIDES.index(Port.EAST))
    line = refused - refused % LINE_BYTES
    counts = read(machine, Place(3, 2).address(line)).view("<u8")
    assert counts[SerdesRegister.REFUSED] == 1 and counts[SerdesRegister.STATUS] == LinkState.DOWN
    # East and west by way of the row in the south.
    exits = register_address(RouterRegister.EXITS)
    for die in ((0, 0), (1, 0)):
        for column in (1, 2, 3):
            assert not len(write(machine, Place(column, 2, *die).address(exits), 0x4040))
    run(machine, here, text)
    assert read(machine, here.address(0x1000)).view("<u8")[0] == 77


def test_a_packet_to_a_link_that_is_down_but_not_off_is_an_error(machine):
    disabled = register_address(SerdesRegister.DISABLED, SIDES.index(Port.WEST))
    assert not len(write(machine, Place(1, 2, 1, 0).address(disabled), ALL_WIRES))
    with pytest.raises(RuntimeError, match=r"door \(4, 2\), whose link is down"):
        run(machine, Place(1, 2), pull(Place(1, 2, 1, 0)))
