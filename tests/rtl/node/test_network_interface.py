"""Transfers in RTL against the golden node: the same instructions, lists and packets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.isa import encode
from d1_golden.memory_map import (
    ECC_BASE,
    SEMAPHORE_BASE,
    TRANSFER_BASE,
    EccRegister,
    ThreadRegister,
    ThreadStatus,
    TransferRegister,
    register_address,
)
from d1_golden.node import GoldenNode
from d1_golden.packet import PACKET_DTYPE, Opcode, read_requests, refuse, write_requests
from d1_golden.params import LINE_BYTES, PRESETS, NodeParams
from d1_golden.transfer import TransferFault, TransferOp, descriptor
from d1_rtl.node.transfer_operation import transfer_operation_layout
from d1_rtl.sim.native import NativeModel

from testbench.network_bench import NetworkBench, NetworkDriver

HERE, THERE = 0x0102_0304, 0x0102_0305
HOST = 0x0F0F_0F0F
OPERATION = transfer_operation_layout()
#: Lines of the parts of a memory: what is sent, what lists are made of; the rest is received.
SOURCES, DESCRIPTORS = 128, 64
#: The line after the descriptors that holds golden's program; nothing transfers it.
CODE = SOURCES + DESCRIPTORS


@pytest.fixture(scope="module", params=["tiny", "fpga", "d1"])
def models(request: pytest.FixtureRequest) -> Iterator[tuple[NodeParams, NativeModel]]:
    params = PRESETS[request.param]
    with NativeModel(NetworkBench(params), name=f"network_{params.name}") as model:
        yield params, model


@pytest.fixture(scope="module")
def model() -> Iterator[NativeModel]:
    params = PRESETS["tiny"]
    with NativeModel(NetworkBench(params), name=f"network_{params.name}") as model:
        yield model


@dataclass
class Transfer:
    """A transfer instruction."""

    op: TransferOp
    x1: int
    x2: int = 0
    count: int = 0
    semaphore: int = 0
    thread: int = 0

    def bits(self) -> int:
        return OPERATION.const(vars(self)).as_value().value

    @property
    def word(self) -> int:
        operands = {"rs1": 10, "rs2": 11, "imm": self.count}
        if self.op is TransferOp.POST:
            operands = {"rs1": 10, "imm": self.semaphore}
        if self.op is TransferOp.XLIST:
            operands = {"rs1": 10}
        return encode(self.op.name.lower(), **operands)


@dataclass
class Pair:
    """The golden node and its neighbour, and the bench with another neighbour."""

    params: NodeParams
    driver: NetworkDriver
    golden: GoldenNode
    neighbours: tuple[GoldenNode, GoldenNode] = field(init=False)

    def __post_init__(self) -> None:
        self.neighbours = (GoldenNode(self.params, THERE), GoldenNode(self.params, THERE))
        self.golden.remote = self.neighbours[0].exchange
        self.driver.remote = self.neighbours[1].exchange
        rng = np.random.default_rng(3)
        for node in (self.golden, *self.neighbours):
            node.memory[:] = rng.integers(0, 256, self.params.sram_bytes, np.uint8)
        self.neighbours[1].memory[:] = self.neighbours[0].memory
        # The bench's memory: the golden one's.
        self.driver.exchange(from_host(write_requests(0, self.golden.memory.copy())))

    @property
    def lines(self) -> int:
        return self.params.sram_bytes // LINE_BYTES

    def write(self, address: int, data: np.ndarray) -> None:
        raw = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
        self.golden.memory[address : address + raw.size] = raw
        self.driver.exchange(from_host(write_requests(address, raw)))

    def execute(self, transfers: list[Transfer]) -> None:
        """Execute instructions on both sides, in the bench while nothing holds it."""
        for one in transfers:
            self.driver.offer("transfer", one.bits())
            execute_golden(self.golden, one)

    def compare(self) -> None:
        """Compare everything that can be seen."""
        replies = self.driver.exchange(from_host(read_requests(0, self.params.sram_bytes)))
        memory = replies["data"].reshape(-1)
        differs = np.flatnonzero(memory != self.golden.memory) // LINE_BYTES
        assert set(differs.tolist()) <= {CODE}, f"lines {sorted(set(differs.tolist()))[:9]}"
        assert np.array_equal(self.neighbours[0].memory, self.neighbours[1].memory)
        for node in self.neighbours:
            node.state.counter[:] = 0
        assert np.array_equal(self.neighbours[0].state.control, self.neighbours[1].state.control)
        for base, size in ((SEMAPHORE_BASE, 256), (TRANSFER_BASE, 64)):
            requests = from_host(read_requests(base, size))
            replies = self.driver.exchange(requests)
            assert np.array_equal(replies["data"], self.golden.exchange(requests)["data"])

    def status(self) -> list[int]:
        """Return the status line of the bench."""
        (reply,) = self.driver.exchange(from_host(read_requests(TRANSFER_BASE, 64)))
        return reply["data"].view("<u8").tolist()[:4]

    def semaphores(self) -> list[int]:
        """Return the counts of the bench."""
        replies = self.driver.exchange(from_host(read_requests(SEMAPHORE_BASE, 256)))
        return replies["data"].reshape(-1).view("<u8").tolist()


def from_host(packets: np.ndarray) -> np.ndarray:
    packets["source"] = HOST
    return packets


def execute_golden(golden: GoldenNode, one: Transfer) -> None:
    """Execute a transfer instruction by a program in line `CODE`."""
    code = LINE_BYTES * CODE
    words = np.array([one.word, 0x0000_000F, 0x0000_0073], np.uint32)  # fence; ecall
    golden.memory[code : code + 12] = words.view(np.uint8)
    golden.threads[one.thread].x[11] = one.x2
    golden.start(code, one.x1, one.thread)
    golden.finish(100)
    assert golden.threads[one.thread].register(ThreadRegister.CAUSE) == Cause.ENVIRONMENT_CALL
    assert golden.threads[one.thread].status is ThreadStatus.HALTED


def pair(params: NodeParams, model: NativeModel, **driver: object) -> Pair:
    return Pair(params, NetworkDriver(model, node=HERE, **driver), GoldenNode(params, HERE))


class Scenario:
    """Random transfers no two of which meet, so that every order gives the same memory."""

    def __init__(self, both: Pair, rng: random.Random) -> None:
        self.both, self.rng = both, rng
        first = CODE + 1
        self.free = {node: itertools.count(first) for node in (HERE, THERE)}
        self.descriptors = itertools.count(SOURCES)
        self.threads = both.params.threads

    def source(self, lines: int) -> int:
        return LINE_BYTES * self.rng.randrange(SOURCES - lines + 1)

    def target(self, node: int, lines: int) -> int:
        first = next(self.free[node])
        self.free[node] = itertools.count(first + lines)
        assert first + lines < self.both.lines
        return LINE_BYTES * first

    def broadcast_target(self, lines: int) -> int:
        first = max(next(free) for free in self.free.values())
        self.free = {node: itertools.count(first + lines) for node in self.free}
        assert first + lines < self.both.lines
        return LINE_BYTES * first

    def transfer(self) -> Transfer:
        rng = self.rng
        op = rng.choice(list(TransferOp))
        node, lines = rng.choice((HERE, THERE)), rng.choice((1, 2, 3, 8, 32))
        thread, count = rng.randrange(self.threads), lines & 31
        match op:
            case TransferOp.POST:
                semaphore = rng.randrange(32)
                return Transfer(op, node << 24 | rng.getrandbits(24), 0, 0, semaphore, thread)
            case TransferOp.XLIST:
                return Transfer(op, self.list(), thread=thread)
            case TransferOp.PUSH:
                ends = self.source(lines), node << 24 | self.target(node, lines)
            case TransferOp.PULL:
                ends = self.target(HERE, lines), node << 24 | self.source(lines)
            case TransferOp.BCAST:
                target = self.broadcast_target(lines)
                ends = THERE << 32 | self.source(lines), HERE << 24 | target
        return Transfer(op, *ends, count, thread=thread)

    def list(self) -> int:
        rng = self.rng
        places = [LINE_BYTES * next(self.descriptors) for _ in range(rng.randrange(1, 6))]
        for place, following in zip(places, [*places[1:], 0], strict=True):
            one = self.descriptor()
            one["next"] = following
            self.both.write(place, one)
        return places[0]

    def descriptor(self) -> np.ndarray:
        rng = self.rng
        op = rng.choice((TransferOp.PUSH, TransferOp.PULL, TransferOp.BCAST, TransferOp.POST))
        node, lines = rng.choice((HERE, THERE)), rng.choice((1, 2, 3, 8, 20))
        post = rng.randrange(32)
        fields = {
            "arrival": post if op is TransferOp.POST else rng.choice((None, post)),
            "completion": rng.choice((None, rng.randrange(32))),
            "wait": rng.random() < 0.3,
            "lines": lines,
        }
        stride = LINE_BYTES * rng.choice((1, 2, -1, 0))
        span = lines if abs(stride) != 2 * LINE_BYTES else 2 * lines
        source = self.source(span) + (LINE_BYTES * (lines - 1) if stride < 0 else 0)
        backwards = rng.random() < 0.3
        onward = -LINE_BYTES if backwards else LINE_BYTES
        shift = LINE_BYTES * (lines - 1) if backwards else 0
        match op:
            case TransferOp.PUSH:
                remote = node << 24 | self.target(node, lines) + shift
                fields |= {"local": source, "remote": remote}
                fields |= {"local_stride": stride, "remote_stride": onward}
            case TransferOp.PULL:
                fields |= {"local": self.target(HERE, lines) + shift, "remote": node << 24 | source}
                fields |= {"local_stride": onward, "remote_stride": stride}
            case TransferOp.BCAST:
                fields |= {"local": source, "remote": HERE << 24 | self.broadcast_target(lines)}
                fields |= {"local_stride": stride, "corner": THERE}
            case TransferOp.POST:
                fields["remote"] = node << 24
        return descriptor(op, **fields)


@pytest.mark.parametrize("seed", range(4))
def test_random_transfers_leave_what_the_golden_node_leaves(
    models: tuple[NodeParams, NativeModel], seed: int
) -> None:
    print(f"seed {seed}")
    params, model = models
    rng = random.Random(seed)
    both = pair(params, model)
    scenario = Scenario(both, rng)
    transfers = [scenario.transfer() for _ in range(25)]
    driver = both.driver
    driver.rng = rng
    driver.send, driver.take = rng.choice((0.3, 1.0)), rng.choice((0.3, 1.0))
    driver.compete, driver.delay = rng.choice((0.0, 0.8)), rng.choice((0, 5, 40))
    both.execute(transfers)
    reads = [from_host(read_requests(LINE_BYTES * rng.randrange(SOURCES), 64)) for _ in range(50)]
    expected = both.golden.memory[: LINE_BYTES * SOURCES].reshape(-1, LINE_BYTES)
    replies = driver.exchange(np.concatenate(reads))  # the door goes on beside it all
    assert [line.tobytes() for line in replies["data"]] == [
        expected[int(read["address"][0]) // LINE_BYTES].tobytes() for read in reads
    ]
    driver.send = driver.take = 1.0
    both.compare()
    assert both.status() == [0, 0, 0, 0]


def sent(driver: NetworkDriver) -> np.ndarray:
    return driver.packets("o_request")


def test_packets_say_who_asks_and_only_the_last_line_is_acknowledged(model: NativeModel) -> None:
    both = pair(PRESETS["tiny"], model)
    both.execute([Transfer(TransferOp.PUSH, 0, THERE << 24 | 640, 3, thread=1)])
    both.driver.run(100)
    packets = sent(both.driver)
    assert packets["opcode"].tolist() == [Opcode.WRITE] * 3
    assert packets["address"].tolist() == [THERE << 24 | 640 + 64 * n for n in range(3)]
    assert packets["source"].tolist() == [HERE] * 3
    assert packets["flags"].tolist() == [0, 0, 0x40]
    assert (packets["mask"] == 2**64 - 1).all()
    assert packets["data"].tobytes() == both.golden.memory[:192].tobytes()


def test_a_push_has_its_first_packet_out_after_three_cycles_and_then_one_every_cycle(
    model: NativeModel,
) -> None:
    both = pair(PRESETS["tiny"], model)
    driver = both.driver
    for n in range(8):
        driver.offer("transfer", Transfer(TransferOp.PUSH, 2048 * n, THERE << 24, 0).bits())
    start = driver.cycle
    driver.run(400)
    assert driver.cycles("o_request") == [*range(start + 3, start + 3 + 256)]


def test_pulls_keep_a_line_a_cycle_coming_over_a_distance_of_20_cycles(model: NativeModel) -> None:
    both = pair(PRESETS["tiny"], model, delay=10)
    driver = both.driver
    for n in range(8):
        driver.offer("transfer", Transfer(TransferOp.PULL, 2048 * n, THERE << 24, 0).bits())
    driver.run(500)
    cycles = driver.cycles("i_reply")
    assert cycles == [*range(cycles[0], cycles[0] + 256)]


def test_pushes_and_pulls_between_own_lines_move_a_line_a_cycle(model: NativeModel) -> None:
    both = pair(PRESETS["tiny"], model)
    driver = both.driver
    for op in (TransferOp.PUSH, TransferOp.PULL):
        for stream in driver.seen.values():
            stream.clear()
        transfers = [Transfer(op, 2048 * n, HERE << 24 | 32768 + 2048 * n) for n in range(8)]
        for one in transfers:
            driver.offer("transfer", one.bits())
        driver.run(600)
        cycles = driver.cycles("o_request")
        # What is read and what is written meet in a bank now and then.
        assert len(cycles) == 256 and cycles[-1] - cycles[0] <= 270


def test_a_list_runs_without_gaps_between_descriptors_of_four_lines(model: NativeModel) -> None:
    both = pair(PRESETS["tiny"], model, delay=3)
    places = [LINE_BYTES * (SOURCES + n) for n in range(20)]
    for place, following in zip(places, [*places[1:], 0], strict=True):
        one = descriptor(
            TransferOp.PUSH, local=0, remote=THERE << 24, lines=4, next_address=following,
            completion=1,
        )  # fmt: skip
        both.write(place, one)
    both.execute([Transfer(TransferOp.XLIST, places[0])])
    both.driver.run(400)
    cycles = both.driver.cycles("o_request")
    assert len(cycles) == 80 and cycles[-1] - cycles[0] <= 100
    assert both.semaphores()[1] == 20


def test_instructions_and_a_list_take_turns(model: NativeModel) -> None:
    both = pair(PRESETS["tiny"], model)
    place = LINE_BYTES * SOURCES
    both.write(place, descriptor(TransferOp.PUSH, remote=THERE << 24 | 32768, lines=100))
    both.driver.offer("transfer", Transfer(TransferOp.XLIST, place).bits())
    for _ in range(4):
        both.driver.offer("transfer", Transfer(TransferOp.PUSH, 0, THERE << 24, 25).bits())
    both.driver.run(400)
    of_list = sent(both.driver)["address"] >= THERE << 24 | 32768
    assert of_list.sum() == 100
    assert 0.4 < of_list[20:180].mean() < 0.6


def test_pending_rises_with_the_instruction_and_falls_with_the_last_reply(
    model: NativeModel,
) -> None:
    both = pair(PRESETS["tiny"], model, delay=20)
    driver = both.driver
    driver.offer("transfer", Transfer(TransferOp.PULL, 0, THERE << 24, 4, thread=2).bits())
    driver.step()
    assert driver.seen["transfer"]
    while len(driver.seen["i_reply"]) < 4:
        assert model.get("transfers_pending") == 0b100 and model.get("busy")
        driver.step()
        assert driver.cycle < 2000
    driver.step()
    assert model.get("transfers_pending") == 0 and not model.get("busy")


def test_refused_requests_are_noted_and_everything_goes_on(model: NativeModel) -> None:
    both = pair(PRESETS["tiny"], model)
    both.golden.remote = both.driver.remote = refuse
    place = LINE_BYTES * SOURCES
    one = descriptor(
        TransferOp.PUSH, remote=THERE << 24 | 64, lines=5, completion=3, next_address=place + 64
    )
    both.write(place, one)
    both.write(place + 64, descriptor(TransferOp.POST, remote=HERE << 24, arrival=4, wait=True))
    transfers = [
        Transfer(TransferOp.PUSH, 0, THERE << 24, 3),
        Transfer(TransferOp.PULL, 640, THERE << 24, 3),
        Transfer(TransferOp.POST, THERE << 24, 0, 0, 5),
        Transfer(TransferOp.BCAST, THERE << 32, HERE << 24 | 32768, 2),
        Transfer(TransferOp.XLIST, place),
    ]
    both.execute(transfers)
    both.driver.run(1000)
    assert both.status() == [0, 14, TransferFault.REMOTE, THERE << 24]
    assert not any(both.semaphores())
    # Which of several faults came first may differ; these were in one order.
    both.compare()
    requests = from_host(
        write_requests(register_address(TransferRegister.FAULTS), np.zeros(8, np.uint8))
    )
    both.driver.exchange(requests)
    assert both.status() == [0, 0, 0, 0]


BROKEN: dict[str, Callable[[np.ndarray], None]] = {
    name: lambda one, name=name, value=value: one.__setitem__(name, value)
    for name, value in {
        "opcode": 4,
        "wait": 2,
        "completion": 0x20,
        "arrival": 0x40,
        "lines": 0,
        "zero": 1,
        "local": 8,
        "remote": 1 << 56,
        "local_stride": 32,
        "remote_stride": 1,
        "zero_corner": 1,
        "zero_end": 255,
    }.items()
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_descriptor_ends_its_list(model: NativeModel, name: str) -> None:
    both = pair(PRESETS["tiny"], model)
    place = LINE_BYTES * SOURCES
    good = descriptor(
        TransferOp.PUSH, remote=THERE << 24, lines=2, completion=1, next_address=place + 64
    )
    bad = descriptor(TransferOp.PUSH, remote=THERE << 24, lines=2, completion=2)
    BROKEN[name](bad)
    both.write(place, good)
    both.write(place + 64, bad)
    both.execute([Transfer(TransferOp.XLIST, place, thread=1)])
    both.driver.run(500)
    assert both.status() == [0, 1, TransferFault.DESCRIPTOR, place + 64]
    both.compare()


@pytest.mark.parametrize("following", [32, PRESETS["tiny"].sram_bytes, 1 << 63])
def test_a_chain_that_leads_out_of_sram_ends_there(model: NativeModel, following: int) -> None:
    both = pair(PRESETS["tiny"], model)
    place = LINE_BYTES * SOURCES
    one = descriptor(TransferOp.POST, remote=THERE << 24, arrival=1, completion=2)
    one["next"] = following
    both.write(place, one)
    both.execute([Transfer(TransferOp.XLIST, place)])
    both.driver.run(500)
    assert both.status() == [0, 1, TransferFault.DESCRIPTOR, following]
    both.compare()


@pytest.mark.parametrize("op", [TransferOp.PUSH, TransferOp.PULL, TransferOp.BCAST])
def test_lines_of_a_list_outside_sram_are_noted_and_the_others_are_done(
    model: NativeModel, op: TransferOp
) -> None:
    both = pair(PRESETS["tiny"], model)
    place = LINE_BYTES * SOURCES
    last = LINE_BYTES * (both.lines - 2)
    one = descriptor(
        op, local=last, remote=HERE << 24 | 32768, corner=HERE, lines=4, arrival=1, completion=2,
        next_address=place + 64,
    )  # fmt: skip
    both.write(place, one)
    both.write(place + 64, descriptor(TransferOp.POST, remote=HERE << 24, arrival=3, wait=True))
    both.execute([Transfer(TransferOp.XLIST, place)])
    both.driver.run(500)
    assert both.status() == [0, 2, TransferFault.LOCAL, both.params.sram_bytes]
    both.compare()
    assert both.semaphores()[2:4] == [0, 0]


def flip_two_bits(driver: NetworkDriver, address: int) -> None:
    """Let the control block flip two bits of a stored word."""
    line = np.zeros(8, np.uint64)
    line[EccRegister.INJECT_DATA], line[EccRegister.INJECT_ADDRESS] = 0b101, address
    first = ECC_BASE + 8 * EccRegister.INJECT_DATA
    words = line[EccRegister.INJECT_DATA :].copy().view(np.uint8)
    driver.exchange(from_host(write_requests(first, words)))
    for _ in range(100):
        driver.step()


def test_lines_that_cannot_be_corrected_are_not_sent(model: NativeModel) -> None:
    both = pair(PRESETS["tiny"], model)
    driver = both.driver
    flip_two_bits(driver, 64 + 8)
    (reply,) = driver.exchange(from_host(read_requests(64, 64)))
    assert reply["opcode"] == Opcode.FAULT_REPLY
    before = both.neighbours[1].memory.copy()
    driver.offer("transfer", Transfer(TransferOp.PUSH, 0, THERE << 24 | 4096, 3).bits())
    driver.run(500)
    after = both.neighbours[1].memory
    assert after[4096 : 4096 + 64].tobytes() == both.golden.memory[:64].tobytes()
    assert after[4160 : 4160 + 64].tobytes() == before[4160 : 4160 + 64].tobytes()
    assert both.status() == [0, 1, TransferFault.UNCORRECTABLE, 64]
    # A list whose descriptor is corrupt does not begin.
    place = LINE_BYTES * SOURCES
    both.write(place, descriptor(TransferOp.POST, remote=THERE << 24, arrival=1))
    flip_two_bits(driver, place)
    driver.offer("transfer", Transfer(TransferOp.XLIST, place).bits())
    driver.run(500)
    assert both.status()[:2] == [0, 2] and not both.neighbours[1].state.semaphore.any()


def test_replies_that_nobody_waits_for_change_nothing(model: NativeModel) -> None:
    both = pair(PRESETS["tiny"], model)
    replies = np.zeros(4, PACKET_DTYPE)
    replies["opcode"] = [Opcode.READ_REPLY, Opcode.WRITE_REPLY, Opcode.FAULT_REPLY, 200]
    replies["tag"] = [0x8000, 0x4000, 0x8001, 0x8000]
    for reply in replies:
        both.driver.offer("i_reply", int.from_bytes(reply.tobytes(), "little"))
    both.driver.run(100)
    both.compare()
    assert both.status() == [0, 0, 0, 0]


def test_no_output_to_other_nodes_depends_on_an_input_of_the_same_cycle(
    model: NativeModel,
) -> None:
    driver = NetworkDriver(model, node=HERE)
    driver.offer("transfer", Transfer(TransferOp.PUSH, 0, THERE << 24, 0).bits())
    rng = random.Random(7)
    inputs = [
        f"{name}__{part}"
        for name, parts in {
            "i_request": ("valid", "payload"),
            "i_reply": ("valid", "payload"),
            "o_request": ("ready",),
            "o_reply": ("ready",),
        }.items()
        for part in parts
    ]
    outputs = ["i_request__ready", "i_reply__ready", "o_request__valid", "o_request__payload"]
    outputs += ["o_reply__valid", "o_reply__payload"]
    for _ in range(60):
        driver.step()
        seen = set()
        for _ in range(4):
            for port in inputs:
                # An opcode that no packet has: it is refused, or dropped.
                value = rng.getrandbits(1)
                if port.endswith("payload"):
                    value = rng.getrandbits(690) << 8 | 0xEE
                model.set(port, value)
            seen.add(tuple(model.get(port) for port in outputs))
        assert len(seen) == 1
