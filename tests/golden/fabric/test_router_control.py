"""The golden twin of the routers' control: registers, refusals, drops."""

import numpy as np
import pytest
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.router_control import RouterControl
from d1_golden.fabric.routing import Plane, RouteEntry
from d1_golden.memory_map import (
    LINK_BASE,
    ROUTE_TABLE_BASE,
    ROUTER_BASE,
    RouterRegister,
    register_address,
    router_lines,
)
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, POST_FLAG, Opcode
from d1_golden.params import LINE_BYTES

HERE = Place(3, 2)
CONTROL_LINE = register_address(RouterRegister.EXITS)
ALL = (1 << LINE_BYTES) - 1


@pytest.fixture
def control() -> RouterControl:
    return RouterControl(HERE)


def request(opcode: Opcode, address: int, words: list[int] | None = None, **fields: int) -> np.void:
    packet = np.zeros(1, PACKET_DTYPE)
    packet["opcode"], packet["address"], packet["mask"] = opcode, address, ALL
    packet["tag"], packet["source"] = 77, Place(1, 1).bits
    packet["data"] = np.array((words or []) + [0] * 8, "<u8")[:8].view(np.uint8)
    for name, value in fields.items():
        packet[name] = value
    return packet[0]


def read(control: RouterControl, address: int) -> list[int]:
    (reply,) = control.carry_out(request(Opcode.READ, HERE.address(address)))
    assert reply["opcode"] == Opcode.READ_REPLY and reply["tag"] == 77
    assert reply["source"] == Place(1, 1).bits and reply["address"] == HERE.address(address)
    return [int(word) for word in reply["data"].view("<u8")]


def test_what_is_written_to_the_table_is_read_back_and_holds(control: RouterControl) -> None:
    words = [0x1111_2222_3333_0450 + n for n in range(8)]
    line = ROUTE_TABLE_BASE + 2 * LINE_BYTES  # registers 16 to 23: rows 8 to 11
    assert not len(control.carry_out(request(Opcode.WRITE, HERE.address(line), words)))
    assert read(control, line) == words
    assert control.state.entries[8, :4].tolist() == [0, 5, 4, 0]
    assert control.state.entries[11, 16] == 7
    assert control.state.entries.sum() == control.state.entries[8:12].sum()
    control.reset()
    assert read(control, line) == [0] * 8


def test_a_write_is_of_the_registers_that_its_mask_covers(control: RouterControl) -> None:
    write = request(
        Opcode.WRITE, HERE.address(CONTROL_LINE), [0x5432, 1, 9, 9], mask=0xFF, flags=ACK_FLAG
    )
    (reply,) = control.carry_out(write)
    assert reply["opcode"] == Opcode.WRITE_REPLY and not reply["data"].any()
    assert control.state.exits.tolist() == [2, 3, 4, 5] and not control.state.core_disabled
    control.carry_out(request(Opcode.WRITE, HERE.address(CONTROL_LINE), [0, 1, 9, 9]))
    assert control.state.core_disabled
    assert read(control, CONTROL_LINE) == [0, 1, 0, 0, 0, 0, 0, 0]  # counters are read only


def test_packets_of_links_are_counted_where_they_are_read(control: RouterControl) -> None:
    control.passed[Plane.REQUEST, Port.WEST] = 5
    control.passed[Plane.REPLY, Port.NORTH] = 1 << 40
    assert read(control, LINK_BASE) == [0, 0, 0, 0, 5, 0, 0, 0]
    assert read(control, LINK_BASE + LINE_BYTES) == [0, 1 << 40, 0, 0, 0, 0, 0, 0]


BAD = {
    "another place": request(Opcode.READ, Place(3, 3).address(ROUTER_BASE)),
    "no place": request(Opcode.READ, ROUTER_BASE),
    "an address with bit 56": request(Opcode.READ, 1 << 56 | HERE.address(ROUTER_BASE)),
    "the node's memory": request(Opcode.READ, HERE.address(0)),
    "the line after the last": request(
        Opcode.READ, HERE.address(router_lines()[-1] + LINE_BYTES), flags=0
    ),
    "no line": request(Opcode.WRITE, HERE.address(ROUTER_BASE + 8)),
    "a part of a register": request(Opcode.WRITE, HERE.address(ROUTER_BASE), mask=0x7F),
    "a post": request(Opcode.POST, HERE.address(), flags=POST_FLAG),
    "a write that posts": request(Opcode.WRITE, HERE.address(ROUTER_BASE), flags=POST_FLAG),
    "a read with a flag": request(Opcode.READ, HERE.address(ROUTER_BASE), flags=ACK_FLAG),
    "a reply": request(Opcode.READ_REPLY, HERE.address(ROUTER_BASE)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_at_fault_is_refused_and_counted(control: RouterControl, name: str) -> None:
    (reply,) = control.carry_out(BAD[name])
    assert reply["opcode"] == Opcode.FAULT_REPLY
    assert all(reply[field] == BAD[name][field] for field in ("tag", "source", "address"))
    assert not reply["flags"] and not reply["data"].any()
    assert (control.refused, control.dropped) == (1, 0)
    assert not control.state.entries.any()


def test_broadcasts_write_where_they_reach_and_are_dropped_elsewhere(
    control: RouterControl,
) -> None:
    words = [RouteEntry.UNREACHABLE] * 8

    def broadcast(near: Place, far: Place, **fields: int) -> None:
        packet = request(Opcode.BROADCAST, near.address(ROUTER_BASE), words, **fields)
        packet["mask"] = fields.get("mask", far.bits)
        assert not len(control.carry_out(packet))

    for near, far, fields in (
        (Place(1, 1), Place(2, 2), {}),
        (Place(4, 1), Place(9, 9), {}),
        (Place(1, 1), Place(9, 9), {"flags": POST_FLAG}),
        (Place(1, 1), Place(9, 9), {"mask": Place(9, 9).bits | 1 << 32}),
    ):
        broadcast(near, far, **fields)
    assert control.dropped == 4 and not control.state.entries.any()
    broadcast(Place(1, 1), Place(9, 9))
    assert (control.dropped, control.refused) == (4, 0)
    assert (control.state.entries[:4, 0] == RouteEntry.UNREACHABLE).all()
    control.drop()
    assert read(control, CONTROL_LINE)[RouterRegister.DROPPED] == 5
