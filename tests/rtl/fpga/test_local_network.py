# amaranth: UnusedElaboratable=no
"""The way of packets around a node that has no neighbours."""

import numpy as np
import pytest
from d1_golden.fabric.place import Place
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.packet import PACKET_DTYPE, Opcode, refuse
from d1_rtl.fpga.local_network import LocalNetwork
from d1_rtl.sim.native import NativeModel

OTHER = Place(1, 2).bits
STREAMS_IN, STREAMS_OUT = ("i_host", "i_own", "i_reply"), ("o_request", "o_host", "o_own")


@pytest.fixture(scope="module")
def model():
    with NativeModel(LocalNetwork(BOARD_NODE), name="local_network") as opened:
        yield opened


@pytest.fixture
def network(model):
    for name in STREAMS_IN:
        model.set(f"{name}__valid", 0)
    for name in STREAMS_OUT:
        model.set(f"{name}__ready", 0)
    model.reset()
    return model


def packet(opcode, place, *, far=0, source=BOARD_NODE, tag=7):
    packets = np.zeros(1, PACKET_DTYPE)
    packets["opcode"], packets["tag"], packets["source"] = opcode, tag, source
    packets["address"], packets["mask"] = place << 24 | 0x40, far
    packets["data"] = np.arange(64)
    return packets


def value(packets):
    return int.from_bytes(packets[0].tobytes(), "little")


def offer(network, name, packets):
    network.set(f"{name}__payload", value(packets))
    network.set(f"{name}__valid", 1)


def offered(network):
    """Return the streams that have something to give."""
    return [name for name in STREAMS_OUT if network.get(f"{name}__valid")]


def header(network, name):
    """Return a payload as a packet without its data."""
    raw = network.get(f"{name}__payload").to_bytes(PACKET_DTYPE.itemsize, "little")
    packets = np.frombuffer(raw, PACKET_DTYPE).copy()
    packets["data"] = 0
    return packets


def take(network, name, source):
    """Let a stream be taken for a cycle; return whether that took the source too."""
    network.set(f"{name}__ready", 1)
    taken = bool(network.get(f"{source}__ready"))
    network.step()
    network.set(f"{name}__ready", 0)
    return taken


def test_a_request_to_the_node_itself_comes_back_whole(network):
    request = packet(Opcode.WRITE, BOARD_NODE, far=0xFFFF)
    offer(network, "i_own", request)
    assert offered(network) == ["o_request"]
    assert network.get("o_request__payload") == value(request)
    assert not network.get("i_own__ready")
    assert take(network, "o_request", "i_own")


@pytest.mark.parametrize("place", [OTHER, 0, BOARD_NODE ^ 1 << 31])
def test_a_request_to_another_node_is_refused_as_golden_does(network, place):
    request = packet(Opcode.READ, place)
    offer(network, "i_own", request)
    assert offered(network) == ["o_own"]
    assert header(network, "o_own") == refuse(request)
    assert take(network, "o_own", "i_own")


@pytest.mark.parametrize(
    ("near", "far", "ways"),
    [
        (BOARD_NODE, BOARD_NODE, ["o_request"]),
        (BOARD_NODE, OTHER, ["o_request", "o_own"]),
        (Place(0, 0).bits, OTHER, ["o_request", "o_own"]),
        (OTHER, OTHER, ["o_own"]),
        (Place(2, 1).bits, Place(3, 3).bits, ["o_own"]),
        (Place(1, 1, 1).bits, Place(3, 3, 1).bits, ["o_own"]),
    ],
)
def test_a_broadcast_goes_to_the_node_and_is_refused_for_the_others(network, near, far, ways):
    request = packet(Opcode.BROADCAST, near, far=far)
    offer(network, "i_own", request)
    for way in ways:
        assert offered(network) == [way]
        assert take(network, way, "i_own") == (way == ways[-1])
    # The next one is treated alike.
    assert offered(network) == ways[:1]


def test_host_and_node_take_turns_and_what_is_offered_stays(network):
    host, own = packet(Opcode.READ, 0, source=0, tag=1), packet(Opcode.READ, BOARD_NODE, tag=2)
    offer(network, "i_own", own)
    network.step()
    offer(network, "i_host", host)
    tags = []
    for _ in range(6):
        network.step(3)
        tag = int(header(network, "o_request")["tag"][0])
        assert take(network, "o_request", "i_host" if tag == 1 else "i_own")
        tags.append(tag)
    assert tags == [2, 1, 2, 1, 2, 1]


def test_replies_go_back_by_their_source(network):
    for source, way in ((BOARD_NODE, "o_own"), (0, "o_host"), (OTHER, "o_host")):
        reply = packet(Opcode.READ_REPLY, BOARD_NODE, source=source)
        offer(network, "i_reply", reply)
        assert offered(network) == [way]
        assert network.get(f"{way}__payload") == value(reply)
        assert take(network, way, "i_reply")


def test_a_number_that_is_the_hosts_is_refused():
    with pytest.raises(ValueError, match=r"node_id must be in 1\.\.2\^32 - 1, not 0"):
        LocalNetwork(0)
