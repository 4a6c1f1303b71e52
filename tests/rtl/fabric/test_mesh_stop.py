# amaranth: UnusedElaboratable=no
"""A mesh stop: full rate on every stream, the registers, refusals, and what idle promises."""

import random
from collections import deque

import numpy as np
import pytest
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.router_control import RouterControl
from d1_golden.fabric.routing import Plane, RouteEntry, is_router_register, route
from d1_golden.memory_map import (
    LINK_BASE,
    ROUTE_TABLE_BASE,
    ROUTER_BASE,
    RouterRegister,
    RouteTableRegister,
    register_address,
    router_lines,
    serdes_lines,
)
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, POST_FLAG, Opcode, refuse
from d1_golden.params import LINE_BYTES
from d1_rtl.fabric.mesh_stop import MeshStop
from d1_rtl.node.interfaces import packet_layout
from d1_rtl.sim.native import NativeModel, to_words

SEED = 5
HERE = Place(3, 2)
HOST = Place(9, 2)  # to the east, in the same row
PACKET_BITS = 8 * PACKET_DTYPE.itemsize
CONTROL_LINE = register_address(RouterRegister.EXITS)
ALL = (1 << LINE_BYTES) - 1
STREAMS = [
    *(f"{plane.name}_{side.name}".lower() for plane in Plane for side in SIDES),
    *(f"node_{plane.name}".lower() for plane in Plane),
]


def stream(plane: Plane, port: Port) -> str:
    """Return the name of the stream of a port without its direction."""
    return (
        f"node_{plane.name}".lower() if port is Port.LOCAL else f"{plane.name}_{port.name}".lower()
    )


def packet(opcode: Opcode, place: Place, offset: int = 0, **fields) -> np.void:
    one = np.zeros(1, PACKET_DTYPE)
    one["opcode"], one["address"], one["source"] = opcode, place.address(offset), HOST.bits
    one["mask"] = ALL
    for name, value in fields.items():
        one[name] = value
    return one[0]


def reply_to(place: Place, **fields) -> np.void:
    return packet(Opcode.READ_REPLY, HERE, source=place.bits, **fields)


class Driver:
    """Sends and takes packets at every stream of a stop."""

    def __init__(self, model: NativeModel):
        self.model = model
        self.cycle = 0
        for name in STREAMS:
            model.set(f"i_{name}__valid", 0)
            model.set(f"o_{name}__ready", 1)
        model.set("place", HERE.bits)
        model.reset()

    def run(self, sent=None, *, cycles=None, take=None, rng=None):
        """Send what there is for each stream; return what came, with its cycle, by stream.

        Ends when all is sent and the stop is idle, or after a number of cycles. `take` is the
        chance that a packet is taken in a cycle.
        """
        left = {name: deque(packets) for name, packets in (sent or {}).items()}
        came = {}
        model = self.model
        for n in range(3000) if cycles is None else range(cycles):
            if cycles is None and model.get("idle") and not any(left.values()):
                return came
            for name, queue in left.items():
                model.set(f"i_{name}__valid", bool(queue))
                if queue:
                    value = int.from_bytes(queue[0].tobytes(), "little")
                    model.set(f"i_{name}__payload", value)
            for name in STREAMS:
                ready = take is None or rng.random() < take
                model.set(f"o_{name}__ready", ready)
                if ready and model.get(f"o_{name}__valid"):
                    raw = model.get(f"o_{name}__payload").to_bytes(PACKET_DTYPE.itemsize, "little")
                    came.setdefault(name, []).append((n, np.frombuffer(raw, PACKET_DTYPE)[0]))
            for name, queue in left.items():
                if queue and model.get(f"i_{name}__ready"):
                    queue.popleft()
            model.step()
        assert cycles is not None, "the stop must become idle within 3000 cycles"
        for name in left:
            model.set(f"i_{name}__valid", 0)
        return came

    def ask(self, request: np.void) -> list[np.void]:
        """Send a request from the east; return the replies that leave for the east."""
        came = self.run({"request_east": [request]})
        assert set(came) <= {"reply_east"}, came
        return [reply for _, reply in came.get("reply_east", [])]

    def registers(self, line: int) -> list[int]:
        (reply,) = self.ask(packet(Opcode.READ, HERE, line))
        assert reply["opcode"] == Opcode.READ_REPLY
        return [int(word) for word in reply["data"].view("<u8")]

    def write(self, register, value: int, index: int = 0) -> None:
        address = register_address(register, index)
        line, n = address & -LINE_BYTES, address % LINE_BYTES // 8
        words = np.zeros(8, "<u8")
        words[n] = value
        fields = {"mask": 0xFF << 8 * n, "data": words.view(np.uint8)}
        assert not self.ask(packet(Opcode.WRITE, HERE, line, **fields))


@pytest.fixture(scope="module")
def model():
    with NativeModel(MeshStop(), name="mesh_stop", design_key="") as model:
        yield model


@pytest.fixture
def stop(model):
    return Driver(model)


def test_the_packet_of_every_stream_is_the_packet_of_the_specification():
    members = MeshStop().signature.members
    for name in STREAMS:
        for way in "io":
            assert members[f"{way}_{name}"].signature.members["payload"].shape == packet_layout()


def test_every_stream_of_both_planes_carries_64_bytes_in_every_cycle_at_once(stop):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    cycles = 1000
    # From each port to another one, all ports taken, every bit of the data in use.
    to = {
        Port.NORTH: (Port.SOUTH, Place(3, 9)),
        Port.SOUTH: (Port.NORTH, Place(3, 1)),
        Port.EAST: (Port.WEST, Place(1, 7)),
        Port.WEST: (Port.LOCAL, HERE),
        Port.LOCAL: (Port.EAST, Place(8, 1)),
    }
    inputs, expected = {}, {}
    for plane in Plane:
        for i, (o, place) in to.items():
            sent = []
            for _ in range(cycles):
                data = np.frombuffer(rng.randbytes(LINE_BYTES), np.uint8)
                opcode = rng.choice([Opcode.WRITE, Opcode.READ])
                one = packet(opcode, place, data=data, tag=rng.randrange(1 << 16))
                one["source"] = place.bits if plane is Plane.REPLY else HOST.bits
                sent.append(int.from_bytes(one.tobytes(), "little"))
            rows = to_words(sent, PACKET_BITS)
            inputs[f"i_{stream(plane, i)}__payload"] = rows
            inputs[f"i_{stream(plane, i)}__valid"] = np.ones(cycles, np.uint8)
            expected[f"o_{stream(plane, o)}"] = rows
    shown = stop.model.play(
        inputs,
        [f"{name}__{part}" for name in expected for part in ("payload", "valid")]
        + [f"i_{name}__ready" for name in STREAMS],
    )
    for name, rows in expected.items():
        assert shown[f"{name}__valid"][1:].all()
        assert (shown[f"{name}__payload"][1:] == rows[:-1]).all()
    assert all(shown[f"i_{name}__ready"].all() for name in STREAMS)


def test_no_output_follows_an_input_within_a_cycle(stop):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    model = stop.model
    outputs = [name for name, port in model.ports.items() if not port.is_input]
    places = [HERE, HOST, Place(1, 1), Place(3, 9), Place(3, 1)]

    def scramble():
        for name in STREAMS:
            one = packet(
                rng.choice([Opcode.READ, Opcode.BROADCAST]),
                rng.choice(places),
                rng.choice([0, ROUTER_BASE]),
                source=rng.choice(places).bits,
                mask=Place(9, 9).bits,
            )
            model.set(f"i_{name}__payload", int.from_bytes(one.tobytes(), "little"))
            model.set(f"i_{name}__valid", rng.random() < 0.6)
            model.set(f"o_{name}__ready", rng.random() < 0.6)

    changed = 0
    before = [model.get(name) for name in outputs]
    for _ in range(300):
        scramble()
        assert [model.get(name) for name in outputs] == before
        model.step()
        after = [model.get(name) for name in outputs]
        changed += after != before
        before = after
    assert changed > 200


def test_an_idle_stop_offers_nothing_takes_anything_and_stays_as_it_is(stop):
    print(f"seed {SEED}")
    rng = random.Random(SEED)

    def traffic(seed):
        chance = random.Random(seed)
        places = [Place(c, r) for c in range(1, 6) for r in range(1, 4)]
        return {
            stream(plane, port): [
                packet(
                    Opcode.READ,
                    chance.choice(places),
                    chance.choice([0, 0, LINK_BASE]),
                    source=chance.choice(places).bits,
                    tag=chance.randrange(1 << 16),
                )
                for _ in range(12)
            ]
            for plane in Plane
            for port in Port
        }

    def bits(came):
        return {name: [(n, one.tobytes()) for n, one in packets] for name, packets in came.items()}

    stop.run(traffic(1), take=0.5, rng=rng)
    come = []
    for pause in (0, 17):
        driver = Driver(stop.model)
        driver.run(traffic(1), take=0.5, rng=random.Random(SEED))
        for _ in range(pause):
            assert stop.model.get("idle")
            for name in STREAMS:
                assert stop.model.get(f"i_{name}__ready") and not stop.model.get(f"o_{name}__valid")
                stop.model.set(f"o_{name}__ready", rng.randrange(2))
                stop.model.set(f"i_{name}__payload", rng.getrandbits(PACKET_BITS))
            stop.model.step()
        come.append(bits(driver.run(traffic(2), take=0.5, rng=random.Random(SEED))))
    assert come[0] == come[1]
    assert sum(map(len, come[0].values())) > 100


def test_a_packet_takes_one_cycle_to_each_output_and_a_register_ten_to_the_reply(stop):
    for place, o in (
        (Place(1, 2), "request_west"),
        (Place(4, 1), "request_east"),
        (Place(3, 1), "request_north"),
        (Place(3, 7), "request_south"),
        (HERE, "node_request"),
    ):
        came = stop.run({"request_north": [packet(Opcode.READ, place)]})
        assert [(name, [n for n, _ in packets]) for name, packets in came.items()] == [(o, [1])]
    came = stop.run({"request_east": [packet(Opcode.READ, HERE, LINK_BASE)]})
    assert [n for n, _ in came["reply_east"]] == [10]
    stop.write(RouterRegister.CORE_DISABLED, 1)
    came = stop.run({"request_east": [packet(Opcode.READ, HERE)]})
    assert [n for n, _ in came["reply_east"]] == [3]


def random_request(rng: random.Random) -> np.void:
    """Return a request to the routers' registers, or one that is nearly that."""
    one = np.frombuffer(rng.randbytes(PACKET_DTYPE.itemsize), PACKET_DTYPE).copy()[0]
    one["opcode"] = rng.choice([Opcode.READ] * 3 + [Opcode.WRITE] * 4 + [Opcode.BROADCAST] * 2)
    one["source"] = HOST.bits
    one["flags"] = 0
    if one["opcode"] == Opcode.WRITE:
        one["flags"] = rng.choice([0, ACK_FLAG, ACK_FLAG])
        one["mask"] = sum(0xFF << 8 * n for n in range(8) if rng.random() < 0.7)
    address = HERE.address(rng.choice(router_lines()))
    if one["opcode"] == Opcode.BROADCAST:
        one["mask"] = Place(rng.randint(3, 9), 2).bits  # from here to the east, where it came from
    # The line that disables the core makes the rest dull.
    if address & 0xFF_FFFF == CONTROL_LINE:
        one["data"][8] &= 0xFE
    if rng.random() < 0.25:
        match rng.randrange(6):
            case 0:
                one["flags"] |= rng.choice([POST_FLAG, 0x20, 3, ACK_FLAG])
            case 1:
                one["mask"] ^= np.uint64(1 << rng.randrange(64))
            case 2:
                address |= 1 << rng.choice([0, 5, 56, 63])
            case 3:
                address += LINE_BYTES * rng.randrange(11, 900)
            case 4:
                one["opcode"] = rng.randrange(256)
            case 5:
                one["mask"] = ALL
    one["address"] = address
    return one


def test_registers_refusals_and_counters_are_those_of_the_golden_control(stop):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    golden = RouterControl(HERE)
    outcomes = set()
    for _ in range(500):
        request = random_request(rng)
        taken = route(Plane.REQUEST, HERE, Port.EAST, request, golden.state)
        # Keep to what ends here: tables and exits may by now lead anywhere.
        if taken.outputs != {Port.LOCAL} or not taken.control:
            continue
        expected = golden.carry_out(request)
        ways_back = [
            route(Plane.REPLY, HERE, Port.LOCAL, reply, golden.state) for reply in expected
        ]
        came = stop.run({"request_east": [request]})
        golden.passed[Plane.REQUEST, Port.LOCAL] += 1
        names = []
        for way in ways_back:
            (port,) = way.outputs
            golden.passed[Plane.REPLY, port] += 1
            if port is Port.LOCAL and way.control:
                golden.drop()
                assert not came
            else:
                names.append(stream(Plane.REPLY, port))
        assert sorted(came) == names
        for name in names:
            ((_, reply),) = came[name]
            assert reply.tobytes() == expected.tobytes(), request
        outcomes |= {(int(request["opcode"]), *map(int, expected["opcode"]))}
    assert {
        (Opcode.READ, Opcode.READ_REPLY),
        (Opcode.READ, Opcode.FAULT_REPLY),
        (Opcode.WRITE, Opcode.WRITE_REPLY),
        (Opcode.WRITE, Opcode.FAULT_REPLY),
        (Opcode.WRITE,),
        (Opcode.BROADCAST,),
    } <= outcomes
    assert golden.refused > 20 and golden.dropped > 3


def test_a_line_of_a_links_end_is_read_a_register_every_three_cycles_where_there_is_one(stop):
    model, east = stop.model, SIDES.index(Port.EAST)
    request = packet(Opcode.READ, HERE, serdes_lines(east)[1])
    (refused,) = stop.ask(request)
    assert refused["opcode"] == Opcode.FAULT_REPLY
    model.set("edge_present", 1 << east)
    model.set("i_request_east__payload", int.from_bytes(request.tobytes(), "little"))
    accesses, cycle = [], 0
    while not model.get("o_reply_east__valid"):
        model.set("i_request_east__valid", cycle == 0)
        word = model.get("edge_access")
        model.step()
        if word & 0xF:  # what it names is there in the cycle after next
            accesses.append((cycle, word & 0xF, word >> 4 & 0xF))
            model.set(f"edge_read__{east}", 1000 + (word >> 4 & 0xF))
        cycle += 1
        assert cycle < 100
    assert accesses == [(2 + 3 * n, 1 << east, 8 + n) for n in range(8)]
    assert cycle == 26
    raw = model.get("o_reply_east__payload").to_bytes(PACKET_DTYPE.itemsize, "little")
    (reply,) = np.frombuffer(raw, PACKET_DTYPE)
    assert reply["data"].view("<u8").tolist() == [1008 + n for n in range(8)]
    model.step()  # it is taken
    (refused,) = stop.ask(packet(Opcode.READ, HERE, serdes_lines(east + 1)[0]))
    assert refused["opcode"] == Opcode.FAULT_REPLY
    model.set("edge_present", 0)


def test_a_reset_clears_the_table(stop):
    stop.write(RouteTableRegister.ENTRIES, RouteEntry.UNREACHABLE << 4 * 9, index=4)
    request = packet(Opcode.READ, HOST, source=Place(8, 2).bits)  # to column 9 of row 2
    came = stop.run({"request_west": [request]})
    assert [one["opcode"] for _, one in came["reply_east"]] == [Opcode.FAULT_REPLY]
    stop = Driver(stop.model)
    assert set(stop.run({"request_west": [request]})) == {"request_east"}
    assert stop.registers(ROUTE_TABLE_BASE) == [0] * 8


def test_a_place_that_cannot_be_reached_is_refused_where_that_is_known_and_replies_drop(stop):
    far = Place(5, 3)
    stop.write(RouteTableRegister.ENTRIES, RouteEntry.UNREACHABLE << 4 * 5, index=6)
    (reply,) = stop.ask(packet(Opcode.WRITE, far, tag=9))
    assert reply.tobytes() == refuse(np.array([packet(Opcode.WRITE, far, tag=9)])).tobytes()
    # Even one that looks like a request to a router's register.
    (reply,) = stop.ask(packet(Opcode.READ, far, ROUTER_BASE))
    assert reply["opcode"] == Opcode.FAULT_REPLY
    assert not stop.run({"reply_west": [reply_to(far)], "node_reply": [reply_to(far)]})
    exits, disabled, dropped, refused, *rest = stop.registers(CONTROL_LINE)
    assert (exits, disabled, dropped, refused, rest) == (0, 0, 2, 2, [0] * 4)


def test_nothing_reaches_a_disabled_core_and_its_registers_still_work(stop):
    stop.write(RouterRegister.CORE_DISABLED, 1)
    for opcode in (Opcode.READ, Opcode.WRITE, Opcode.POST, Opcode.READ_REPLY):
        (reply,) = stop.ask(packet(opcode, HERE, 0x40, tag=3))
        assert reply["opcode"] == Opcode.FAULT_REPLY and reply["tag"] == 3
    assert not stop.run({"reply_south": [reply_to(HERE)]})
    # A broadcast goes on to the others.
    everywhere = packet(Opcode.BROADCAST, Place(1, 1), mask=Place(9, 9).bits)
    came = stop.run({"request_east": [everywhere]})
    assert set(came) == {"request_west", "request_north", "request_south"}
    assert stop.registers(CONTROL_LINE)[:4] == [0, 1, 2, 4]
    stop.write(RouterRegister.CORE_DISABLED, 0)
    assert set(stop.run({"request_east": [everywhere]})) == {*came, "node_request"}


def test_links_are_counted_by_plane_and_port(stop):
    sent = {
        stream(plane, port): [
            packet(Opcode.READ, place, source=place.bits)
            for place, count in (
                (HERE, 1),
                (Place(3, 1), 2),
                (Place(5, 2), 3),
                (Place(3, 4), 4),
                (Place(2, 9), 5),
            )
            for _ in range(count)
        ]
        for plane in Plane
        for port in Port
    }
    stop.run(sent)
    requests = stop.registers(LINK_BASE)
    assert requests == [5, 10, 15, 20, 25, 0, 0, 0]
    # Of replies, the answer that was just given went to the east.
    assert stop.registers(LINK_BASE + LINE_BYTES) == [5, 10, 16, 20, 25, 0, 0, 0]


def test_node_and_control_take_turns_with_replies(stop):
    count = 60
    to_host = [reply_to(HOST, tag=n) for n in range(count)]
    refused = [packet(Opcode.POST, HERE, ROUTER_BASE, tag=1000 + n) for n in range(count)]
    came = stop.run({"node_reply": to_host, "request_east": refused})["reply_east"]
    tags = [int(reply["tag"]) for _, reply in came]
    assert sorted(tags) == [*range(count), *range(1000, 1000 + count)]
    for kind in (range(count), range(1000, 1000 + count)):
        assert [tag for tag in tags if tag in kind] == [*kind]
    # Neither waits for long: of the first replies each has its share.
    assert 20 <= sum(tag >= 1000 for tag in tags[:60]) <= 40
    # And the link is never without a reply while both have some.
    cycles = [n for n, _ in came[: 2 * count - 10]]
    assert cycles == [*range(1, len(cycles) + 1)]


def test_registers_of_routers_are_told_from_those_of_the_node():
    assert not is_router_register(HERE.address(0x80_0000))
    assert all(is_router_register(HERE.address(line)) for line in router_lines())
