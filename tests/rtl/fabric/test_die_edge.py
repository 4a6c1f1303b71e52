# amaranth: UnusedElaboratable=no
"""A link's end at a door: its registers, and what it does while it is off."""

import random

import numpy as np
import pytest
from d1_golden.fabric.ports import SIDES
from d1_golden.fabric.routing import Plane
from d1_golden.memory_map import SerdesRegister
from d1_golden.packet import PACKET_DTYPE, Opcode, refuse
from d1_golden.serdes.params import LINKS
from d1_rtl.fabric.die_edge import DieEdge
from d1_rtl.fabric.interfaces import edge_access_layout
from d1_rtl.fabric.mesh_stop import MeshStop
from d1_rtl.node.interfaces import packet_layout
from d1_rtl.sim.native import NativeModel

SEED = 9
TINY = LINKS["tiny"]
SIDE = 1
ALL_WIRES = (1 << TINY.lanes) - 1
#: Fields of an access, from bit 0: select, number, write, data.
NUMBER, WRITE, DATA = 4, 8, 9
STREAMS = ("i_request", "i_reply")


@pytest.fixture(scope="module")
def model():
    with NativeModel(DieEdge(TINY), name="die_edge_tiny", design_key=repr(TINY)) as model:
        yield model


@pytest.fixture
def edge(model):
    for name in STREAMS:
        model.set(f"{name}__valid", 0)
    for name in ("o_request__ready", "o_reply__ready"):
        model.set(name, 1)
    model.set("access", 0)
    model.set("lanes_i", 0)
    model.set("side", SIDE)
    model.reset()
    return model


def access(edge, register, data=None, side=SIDE):
    """Access a register; return what `read` is two cycles later, as the routers' control looks."""
    word = 1 << side | register << NUMBER
    if data is not None:
        word |= 1 << WRITE | data << DATA
    edge.set("access", word)
    edge.step()
    edge.set("access", 0)
    return edge.get("read")


def packets(rng, count, opcodes):
    found = np.frombuffer(rng.randbytes(count * PACKET_DTYPE.itemsize), PACKET_DTYPE).copy()
    found["opcode"] = [rng.choice(opcodes) for _ in range(count)]
    return found


def test_packets_and_accesses_are_those_of_the_stop_beside_it():
    edge, stop = DieEdge(TINY).signature.members, MeshStop().signature.members
    for name in ("i_request", "o_request", "i_reply", "o_reply"):
        assert edge[name].signature.members["payload"].shape == packet_layout()
    assert edge["access"].shape == stop["edge_access"].shape == edge_access_layout()
    assert edge["side"].shape == range(len(SIDES))


def test_disabled_wires_are_written_and_read_and_only_by_an_access_to_this_side(edge):
    assert access(edge, SerdesRegister.DISABLED) == 0
    access(edge, SerdesRegister.DISABLED, 0b10)
    assert access(edge, SerdesRegister.DISABLED) == 0b10
    access(edge, SerdesRegister.DISABLED, 0b01, side=SIDE + 1)
    assert access(edge, SerdesRegister.DISABLED) == 0b10
    access(edge, SerdesRegister.STATUS, (1 << 64) - 1)
    assert access(edge, SerdesRegister.STATUS) == 0  # dark lanes: down, nothing arrives


def test_no_output_follows_an_input_within_a_cycle(edge):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    inputs = [name for name, port in edge.ports.items() if port.is_input]
    outputs = [name for name, port in edge.ports.items() if not port.is_input]
    scrambled = set(inputs) - {"clk", "rst", "side"}
    changed = 0
    for _ in range(300):
        before = [edge.get(name) for name in outputs]
        for name in scrambled:
            edge.set(name, rng.getrandbits(edge.ports[name].width))
        assert [edge.get(name) for name in outputs] == before
        edge.step()
        changed += before != [edge.get(name) for name in outputs]
    assert changed > 200


def test_while_off_requests_are_refused_in_order_and_the_rest_is_dropped_and_all_counted(edge):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    access(edge, SerdesRegister.DISABLED, ALL_WIRES)
    edge.step(2)
    left = {
        "i_request": packets(rng, 60, [Opcode.READ, Opcode.WRITE, Opcode.BROADCAST]),
        "i_reply": packets(rng, 30, [Opcode.READ_REPLY, Opcode.FAULT_REPLY]),
    }
    asked = left["i_request"]
    expected = refuse(asked[asked["opcode"] != Opcode.BROADCAST])
    came, sent, quiet = [], dict.fromkeys(left, 0), 0
    for _ in range(1000):
        for name, queue in left.items():
            offered = sent[name] < len(queue)
            edge.set(f"{name}__valid", offered)
            if offered:
                value = int.from_bytes(queue[sent[name]].tobytes(), "little")
                edge.set(f"{name}__payload", value)
            sent[name] += offered and edge.get(f"{name}__ready")
        ready = rng.random() < 0.5
        edge.set("o_reply__ready", ready)
        if ready and edge.get("o_reply__valid"):
            raw = edge.get("o_reply__payload").to_bytes(PACKET_DTYPE.itemsize, "little")
            came.append(np.frombuffer(raw, PACKET_DTYPE)[0])
        assert not edge.get("o_request__valid")
        quiet += bool(edge.get("idle"))
        edge.step()
    assert np.array(came, PACKET_DTYPE).tobytes() == expected.tobytes()
    assert access(edge, SerdesRegister.REFUSED) == 90
    assert [edge.get(f"sent__{plane}") for plane in Plane] == [0, 0]
    assert edge.get("idle") and 100 < quiet < 1000


def test_without_the_other_end_an_edge_that_is_on_holds_what_it_gets(edge):
    rng = random.Random(SEED)
    (packet,) = packets(rng, 1, [Opcode.READ])
    edge.set("i_request__payload", int.from_bytes(packet.tobytes(), "little"))
    edge.set("i_request__valid", 1)
    taken = 0
    for _ in range(50):
        taken += edge.get("i_request__ready")
        assert not edge.get("o_reply__valid")
        edge.step()
    # Two here, two in the entry of the link, and no more.
    assert taken == 4 and edge.get("sent__0") == 2 and not edge.get("idle")
