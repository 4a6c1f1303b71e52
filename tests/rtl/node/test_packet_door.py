"""The packet door with real SRAM and control block behind it, against the golden node."""

import random

import numpy as np
import pytest
from d1_golden import memory_map
from d1_golden.memory_map import CounterRegister, IdentityRegister, ThreadRegister
from d1_golden.node import GoldenNode
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, POST_FLAG, Opcode, read_requests
from d1_golden.params import LINE_BYTES, PRESETS
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

from testbench.network_bench import NetworkBench
from testbench.on_fpga import LINE_PORTS, CycleModel

PARAMS = PRESETS["tiny"]
NODE = 0x0102_0304
ALL_BYTES = (1 << LINE_BYTES) - 1
SRAM_LINES = PARAMS.sram_bytes // LINE_BYTES
THREAD = memory_map.THREAD_BASE
COUNTERS = memory_map.COUNTER_BASE
#: What the door holds at most: two requests not yet carried out and three replies.
CAPACITY = 5


class Driver:
    """Sends requests and takes replies with random pauses, and notes the cycles of both."""

    def __init__(self, model: NativeModel):
        self.model = model
        self.sent: list[int] = []  # cycle of each request
        for port in ("i_request__valid", "o_reply__ready", "r_vector_0__request__valid"):
            model.set(port, 0)
        model.set("node_id", NODE)
        model.reset()

    def exchange(
        self,
        requests: np.ndarray,
        replies: int,
        *,
        send: float = 1.0,
        take: float = 1.0,
        compete: float = 0.0,
        rng: random.Random | None = None,
    ) -> tuple[np.ndarray, list[int], list[int]]:
        """Return replies, and the cycles in which requests and replies were transferred."""
        rng = rng or random.Random(0)
        model = self.model
        left = [int.from_bytes(packet.tobytes(), "little") for packet in reversed(requests)]
        received: list[bytes] = []
        sent_at: list[int] = []
        received_at: list[int] = []
        offering = competing = False
        limit = 200 + int(20 * (len(requests) + 8) / (send * take))
        for cycle in range(limit):
            if not left and len(received) == replies and not model.get("busy"):
                break
            if left and not offering and rng.random() < send:
                offering = True
                model.set("i_request__payload", left[-1])
            model.set("i_request__valid", offering)
            model.set("o_reply__ready", ready := rng.random() < take)
            if not competing:
                competing = rng.random() < compete
                model.set("r_vector_0__request__valid", competing)
                model.set("r_vector_0__request__payload", rng.randrange(SRAM_LINES))
            took = model.get("i_request__ready") and offering
            replied = model.get("o_reply__valid") and ready
            payload = model.get("o_reply__payload") if replied else 0
            served = model.get("r_vector_0__request__ready")
            model.step()
            if took:
                left.pop()
                sent_at.append(cycle)
                offering = False
            if replied:
                received.append(payload.to_bytes(PACKET_DTYPE.itemsize, "little"))
                received_at.append(cycle)
            competing = competing and not served
        else:
            raise TimeoutError(
                f"{len(left)} requests not taken and {len(received)} of {replies} replies after "
                f"{limit} cycles"
            )
        model.set("i_request__valid", 0)
        model.set("o_reply__ready", 0)
        return np.frombuffer(b"".join(received), PACKET_DTYPE), sent_at, received_at


@pytest.fixture(scope="module", params=["simulator", "FPGA"])
def model(request):
    if request.param == "simulator":
        with NativeModel(NetworkBench(PARAMS), name="network_tiny") as model:
            yield model
    else:
        with NativeModel(OnFpga(NetworkBench(PARAMS)), name="network_on_fpga") as model:
            yield CycleModel(model, late=LINE_PORTS)


@pytest.fixture
def door(model):
    return Driver(model)


@pytest.fixture
def golden():
    return GoldenNode(PARAMS, NODE)


def packet(
    opcode: int,
    address: int,
    *,
    data: bytes = bytes(LINE_BYTES),
    mask: int = ALL_BYTES,
    tag: int = 0x1234,
    source: int = 0x0A0B_0C0D,
    flags: int = 0,
) -> np.ndarray:
    one = np.zeros(1, PACKET_DTYPE)
    one["opcode"], one["flags"], one["tag"], one["source"] = opcode, flags, tag, source
    one["address"], one["mask"], one["data"] = address, mask, np.frombuffer(data, np.uint8)
    return one


def read(address: int, **fields: int) -> np.ndarray:
    return packet(Opcode.READ, address, **fields)


def write(
    address: int, data: bytes = bytes(LINE_BYTES), mask: int = ALL_BYTES, flags: int = 0
) -> np.ndarray:
    return packet(Opcode.WRITE, address, data=data, mask=mask, flags=flags)


def post(semaphore: int, *, flags: int = 0, address: int = 0) -> np.ndarray:
    return packet(Opcode.POST, address, flags=POST_FLAG | semaphore | flags)


def broadcast(near: int, far: int, offset: int, **fields: int | bytes) -> np.ndarray:
    return packet(Opcode.BROADCAST, near << 24 | offset, mask=far, **fields)


def registers(reply: np.void) -> list[int]:
    return [int(value) for value in reply["data"].view("<u8")]


def copy_of_sram(door: Driver) -> np.ndarray:
    requests = np.concatenate([read(LINE_BYTES * n) for n in range(SRAM_LINES)])
    return door.exchange(requests, SRAM_LINES)[0]["data"].reshape(-1)


def test_a_line_written_is_read_back_with_the_header_of_its_request(door):
    data = bytes(range(LINE_BYTES))
    address = LINE_BYTES * 7 | NODE << 24
    (reply,), _, _ = door.exchange(
        np.concatenate([write(address, data), read(address, tag=0xBEEF, source=0xFFFF_FFFF)]), 1
    )
    assert reply["opcode"] == Opcode.READ_REPLY
    assert reply["tag"] == 0xBEEF and reply["source"] == 0xFFFF_FFFF
    assert reply["address"] == address
    assert reply["flags"] == 0 and reply["mask"] == 0
    assert reply["data"].tobytes() == data


def test_a_read_is_answered_after_three_cycles_and_so_is_a_fault(door):
    for request in (read(0), read(memory_map.IDENTITY), read(1)):
        _, (sent,), (received,) = door.exchange(request, 1)
        assert received - sent == 3


FAULTS = {
    "opcode 0": packet(0, 0),
    "opcode 8": packet(8, 0),
    "opcode 255": packet(255, 0),
    "a READ_REPLY": packet(Opcode.READ_REPLY, 0),
    "a FAULT_REPLY": packet(Opcode.FAULT_REPLY, 0),
    "a WRITE_REPLY": packet(Opcode.WRITE_REPLY, 0),
    "a read that posts": packet(Opcode.READ, 0, flags=POST_FLAG),
    "a read to be acknowledged": packet(Opcode.READ, 0, flags=ACK_FLAG),
    "flag 5": write(0, flags=0x20),
    "flag 5 of a post": post(0x20),
    "a semaphore that is not posted": write(0, flags=1),
    "a post without its flag": packet(Opcode.POST, 0, flags=3),
    "a post to a line": post(1, address=LINE_BYTES),
    "a post to a control register": post(1, address=THREAD),
    "a post to another node": post(1, flags=ACK_FLAG, address=(NODE ^ 1) << 24),
    "a broadcast to be acknowledged": broadcast(NODE, NODE, 0, flags=ACK_FLAG),
    "a broadcast with more than a corner": broadcast(NODE, NODE | 1 << 32, 0),
    "a broadcast before the node": broadcast(NODE - 1, NODE - 1, 0),
    "a broadcast after the node": broadcast(NODE + 1, NODE + 1, 0),
    "a broadcast beside the node in one direction": broadcast(0x0100_0304, 0x01FF_0303, 0),
    "a broadcast to the end of SRAM": broadcast(NODE, NODE, PARAMS.sram_bytes),
    "an acknowledged write to no register": write(COUNTERS + (1 << 16), flags=ACK_FLAG | POST_FLAG),
    "another node's address": read((NODE ^ 1) << 24),
    "another node's address in its highest bit": read((NODE ^ 1 << 31) << 24),
    "an address with bit 56": read(1 << 56),
    "an address with bit 63 and the node's number": read(1 << 63 | NODE << 24),
    "the end of SRAM": read(PARAMS.sram_bytes),
    "a write to the end of SRAM": write(PARAMS.sram_bytes),
    "the last line below the control block": read(memory_map.CONTROL_BASE - LINE_BYTES),
    "the line after identity": read(memory_map.IDENTITY + LINE_BYTES),
    "the line after the threads": read(THREAD + LINE_BYTES * PARAMS.threads),
    "the line after the counters": read(COUNTERS + LINE_BYTES * memory_map.COUNTER_LINES),
    "a write to a control line that is not there": write(memory_map.CONTROL_BASE + (1 << 16)),
    "the last line of the node": read((1 << memory_map.LOCAL_BITS) - LINE_BYTES),
} | {f"address bit {bit}": read(1 << bit) for bit in range(6)}
FAULTS |= {
    f"a write of {count} bytes of register {n}": write(
        THREAD, b"\xff" * LINE_BYTES, ((1 << count) - 1) << 8 * n | 0xFF << 8 * (n ^ 1)
    )
    for n, count in ((0, 1), (0, 7), (1, 4), (2, 1), (7, 7))
}
FAULTS |= {
    f"a write of byte {byte} of register {n} alone": write(THREAD, mask=1 << 8 * n + byte)
    for n, byte in ((0, 7), (5, 0), (7, 7))
}


@pytest.mark.parametrize("request_packet", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_reported_and_changes_nothing(door, golden, request_packet):
    requests = np.concatenate([request_packet, read(THREAD), read(0), read(COUNTERS)])
    before, _, _ = door.exchange(requests[1:2], 1)
    replies, _, _ = door.exchange(requests, 4)
    assert replies[0]["opcode"] == Opcode.FAULT_REPLY
    assert replies[0]["flags"] == 0 and replies[0]["mask"] == 0
    for field in ("tag", "source", "address"):
        assert replies[0][field] == request_packet[0][field]
    assert not replies[0]["data"].any()
    assert replies[1]["data"].tobytes() == before[0]["data"].tobytes()
    assert registers(replies[3])[CounterRegister.FAULT_REPLIES] == 1
    golden.exchange(requests[1:2])
    golden.memory[:LINE_BYTES] = replies[2]["data"]
    assert golden.exchange(requests).tobytes() == replies.tobytes()


@pytest.mark.parametrize("node", [0, NODE], ids=["the host's shorthand", "the node's number"])
@pytest.mark.parametrize("line", [0, SRAM_LINES - 1])
def test_both_ways_to_name_the_node_reach_its_sram(door, node, line):
    address = node << 24 | line * LINE_BYTES
    data = (node + line).to_bytes(LINE_BYTES, "little")
    (reply,), _, _ = door.exchange(np.concatenate([write(address, data), read(address)]), 1)
    assert reply["data"].tobytes() == data


def test_a_write_with_an_empty_mask_writes_nothing_and_is_not_answered(door):
    requests = [write(0, b"a" * 64), write(0, b"b" * 64, 0), write(THREAD, b"c" * 64, 0)]
    replies, _, _ = door.exchange(np.concatenate([*requests, read(0), read(THREAD)]), 2)
    assert replies[0]["data"].tobytes() == b"a" * 64
    assert registers(replies[1])[ThreadRegister.PC] == 0


def test_the_identity_line_tells_the_preset_and_the_node(door):
    (reply,), _, _ = door.exchange(read(memory_map.IDENTITY), 1)
    assert registers(reply) == list(memory_map.identity_values(PARAMS, NODE))
    assert registers(reply)[IdentityRegister.NODE] == NODE


def test_the_line_of_counters_counts_itself_and_the_replies_before_it(door):
    requests = [read(COUNTERS), read(1), write(0), read(COUNTERS), read(0), read(COUNTERS)]
    replies, _, _ = door.exchange(np.concatenate(requests), 5)
    of = [CounterRegister.REQUESTS, CounterRegister.REPLIES, CounterRegister.FAULT_REPLIES]
    assert [[registers(replies[n])[c] for c in of] for n in (0, 2, 4)] == [
        [1, 0, 0],
        [4, 2, 1],
        [6, 4, 1],
    ]


def random_request(rng: random.Random, tag: int) -> np.ndarray:
    """Return a request: mostly good, near to others in place, sometimes at fault."""
    writes = (Opcode.WRITE, Opcode.WRITE, Opcode.POST, Opcode.BROADCAST)
    opcode = rng.choice((Opcode.READ,) * 4 + writes) if rng.random() < 0.95 else rng.randrange(256)
    base = rng.choice(
        (
            *(0, LINE_BYTES, LINE_BYTES * PARAMS.sram_banks, PARAMS.sram_bytes - LINE_BYTES),
            *(PARAMS.sram_bytes, memory_map.IDENTITY, THREAD, THREAD + LINE_BYTES, COUNTERS),
            *(memory_map.SEMAPHORE_BASE, memory_map.TRANSFER_BASE),
        )
        if rng.random() < 0.5
        else range(0, PARAMS.sram_bytes, LINE_BYTES)
    )
    node = rng.choice((0, NODE)) if rng.random() < 0.95 else rng.getrandbits(40)
    offset = 0 if rng.random() < 0.95 else rng.randrange(LINE_BYTES)
    mask = rng.choice((0, ALL_BYTES, 0xFFFF, 0xFF00_FF00_0000_00FF, rng.getrandbits(LINE_BYTES)))
    flags = 0
    if opcode != Opcode.READ:
        flags = rng.choice((0, POST_FLAG | rng.randrange(32))) | rng.choice((0, ACK_FLAG))
    if opcode == Opcode.POST and rng.random() < 0.95:
        base, offset, flags = 0, 0, flags | POST_FLAG
    if opcode == Opcode.BROADCAST and rng.random() < 0.9:
        node, mask, flags = NODE & rng.getrandbits(32), NODE | rng.getrandbits(32), flags & 0x9F
    return packet(
        opcode,
        node << 24 | base | offset,
        data=rng.randbytes(LINE_BYTES),  # COMMAND is never START or STOP: nothing runs here
        mask=mask,
        tag=tag & 0xFFFF,
        source=rng.getrandbits(32),
        flags=flags if rng.random() < 0.95 else rng.randrange(256),
    )


@pytest.mark.parametrize("seed", range(6))
def test_random_requests_are_answered_as_by_the_golden_node_with_any_pauses(door, golden, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    golden.memory[:] = copy_of_sram(door)
    door = Driver(door.model)  # counters from zero again
    requests = np.concatenate([random_request(rng, tag) for tag in range(1500)])
    expected = golden.exchange(requests)
    kinds = {Opcode.READ_REPLY, Opcode.FAULT_REPLY, Opcode.WRITE_REPLY}
    assert kinds == {*expected["opcode"]}
    replies, _, _ = door.exchange(
        requests,
        len(expected),
        send=rng.choice((0.3, 1.0)),
        take=rng.choice((0.3, 1.0)),
        compete=rng.choice((0.0, 0.9)),
        rng=rng,
    )
    for got, wanted in zip(replies, expected, strict=True):
        assert got.tobytes() == wanted.tobytes(), (
            f"{Opcode(wanted['opcode']).name} of {wanted['address']:#x}"
        )
    assert copy_of_sram(door).tobytes() == golden.memory.tobytes()
    semaphores = read_requests(memory_map.SEMAPHORE_BASE, 256)
    replies, _, _ = door.exchange(semaphores, len(semaphores))
    assert replies.tobytes() == golden.exchange(semaphores).tobytes()
    assert replies["data"].any()


@pytest.mark.parametrize("base", [0, THREAD], ids=["SRAM", "control block"])
def test_reads_are_taken_and_answered_one_per_cycle(door, base):
    step = LINE_BYTES if base == 0 else 0
    requests = np.concatenate([read(base + step * n, tag=n) for n in range(300)])
    replies, sent, received = door.exchange(requests, 300)
    assert [*replies["tag"]] == [*range(300)]
    assert sent == [*range(sent[0], sent[0] + 300)]
    assert received == [cycle + 3 for cycle in sent]


def test_writes_and_faults_are_taken_one_per_cycle(door):
    requests = np.concatenate([write(LINE_BYTES * n) if n % 2 else read(1) for n in range(300)])
    _, sent, received = door.exchange(requests, 150)
    assert sent == [*range(sent[0], sent[0] + 300)]
    assert received == [cycle + 3 for cycle in sent[::2]]


def test_with_replies_held_up_the_door_takes_what_it_can_hold_and_loses_nothing(model, door):
    requests = np.concatenate([read(LINE_BYTES * n, tag=n) for n in range(2 * CAPACITY)])
    taken = 0
    for _ in range(50):
        model.set("i_request__valid", 1)
        model.set("i_request__payload", int.from_bytes(requests[taken].tobytes(), "little"))
        taken += model.get("i_request__ready")
        model.step()
    assert taken == CAPACITY
    assert model.get("busy")
    replies, _, received = door.exchange(requests[taken:], len(requests))
    assert [*replies["tag"]] == [*range(len(requests))]
    # The door resumes at full speed.
    assert received == [*range(received[0], received[0] + len(requests))]


def test_the_door_is_busy_from_the_request_to_the_last_reply(model, door):
    model.set("o_reply__ready", 0)
    assert not model.get("busy")
    model.set("i_request__payload", int.from_bytes(read(0).tobytes(), "little"))
    model.set("i_request__valid", 1)
    model.step()
    model.set("i_request__valid", 0)
    for _ in range(10):
        assert model.get("busy")
        model.step()
    model.set("o_reply__ready", 1)
    assert model.get("busy")
    model.step()
    assert not model.get("busy")


def test_no_output_depends_on_an_input_of_the_same_cycle(model, door):
    rng = random.Random(7)
    inputs = ["i_request__valid", "i_request__payload", "o_reply__ready"]
    outputs = ["i_request__ready", "o_reply__valid", "o_reply__payload"]
    if isinstance(model, CycleModel):  # it takes a cycle to look at a line
        outputs.remove("o_reply__payload")
    for cycle in range(100):
        seen = set()
        for _ in range(4):
            for port in inputs:
                width = model.ports[port].width
                payload = int.from_bytes(random_request(rng, cycle).tobytes(), "little")
                model.set(port, payload if width > 1 else rng.getrandbits(1))
            seen.add(tuple(model.get(port) for port in outputs))
        assert len(seen) == 1
        model.step()


def test_writes_and_posts_are_acknowledged_in_order_after_three_cycles(door):
    requests = [
        write(0, b"a" * 64, flags=ACK_FLAG),
        write(THREAD, bytes(64), flags=ACK_FLAG | POST_FLAG | 7),
        post(7, flags=ACK_FLAG),
        post(31),
        read(memory_map.SEMAPHORE_BASE),
        read(memory_map.SEMAPHORE_BASE + 192),
    ]
    replies, sent, received = door.exchange(np.concatenate(requests), 5)
    assert replies["opcode"].tolist() == [Opcode.WRITE_REPLY] * 3 + [Opcode.READ_REPLY] * 2
    assert [cycle - 3 for cycle in received] == [*sent[:3], *sent[4:]]
    assert not replies["data"][:3].any() and not replies["flags"].any()
    assert registers(replies[3]) == [0] * 7 + [2]
    assert registers(replies[4]) == [0] * 7 + [1]


def test_a_semaphore_is_posted_when_its_line_is_written_and_not_before(model, door):
    model.set(
        "i_request__payload", int.from_bytes(write(0, flags=POST_FLAG | 3).tobytes(), "little")
    )
    model.set("i_request__valid", 1)
    model.step()
    model.set("i_request__valid", 0)
    cycles = 0
    while not model.get("nonzero"):
        model.step()
        cycles += 1
        assert cycles < 10
    # Taken at 0, written to SRAM at 1, told at 2: a thread sees the count from cycle 3 on.
    assert cycles == 2 and model.get("nonzero") == 1 << 3


def test_a_broadcast_writes_the_whole_line_of_every_node_between_its_corners(door):
    near, far = 0x0102_0000, 0x0102_FFFF
    data = bytes(range(64))
    requests = [broadcast(near, far, 128, data=data, flags=POST_FLAG | 1), read(128)]
    replies, _, _ = door.exchange(np.concatenate(requests), 1)
    assert replies[0]["data"].tobytes() == data
    (reply,), _, _ = door.exchange(read(memory_map.SEMAPHORE_BASE), 1)
    assert registers(reply)[1] == 1
