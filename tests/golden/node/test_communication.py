"""Transfers, semaphores, barrier and links of the golden node, called as the interpreter does."""

import random

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.memory_map import (
    CONTROL_BASE,
    CounterRegister,
    ThreadRegister,
    TransferRegister,
    register_address,
)
from d1_golden.node import GoldenNode, communication
from d1_golden.node.communication import NO_CAUSE
from d1_golden.node.ecc_state import inject
from d1_golden.node.state import BARRIER_OPEN, NOT_WAITING, TRANSFER_LINE, WAITS_FOR_SEMAPHORE
from d1_golden.packet import Opcode, refuse, write_requests
from d1_golden.params import LINE_BYTES, preset
from d1_golden.transfer import MAX_HOPS, TransferFault, TransferOp, descriptor

U = np.uint64
HERE, THERE = 0x0102, 0x0103
TINY = preset("tiny")
LINES = TINY.sram_bytes // LINE_BYTES


def remote(node: int, address: int) -> int:
    return node << 24 | address


@pytest.fixture
def node() -> GoldenNode:
    node = GoldenNode(TINY, HERE)
    node.memory[:] = np.random.default_rng(5).integers(0, 256, TINY.sram_bytes, np.uint8)
    return node


@pytest.fixture
def neighbour(node: GoldenNode) -> GoldenNode:
    neighbour = GoldenNode(TINY, THERE)
    node.remote = neighbour.exchange
    return neighbour


def line(node: GoldenNode, number: int) -> bytes:
    return node.memory[LINE_BYTES * number :][:LINE_BYTES].tobytes()


def transfer(node: GoldenNode, name: str, *operands: int, thread: int = 0) -> tuple[int, int]:
    """Execute a transfer instruction of a thread; return cause and value."""
    assert not communication.transfers_wait(thread, node.state.waiting, node.state)
    cause, value = getattr(communication, name)(*map(U, operands), thread, node.state)
    return int(cause), int(value)


def fence(node: GoldenNode, thread: int = 0) -> bool:
    return bool(communication.fence(thread, node.state.waiting, node.state))


def status(node: GoldenNode) -> list[int]:
    return node.state.control[TRANSFER_LINE].tolist()[:4]


def put(node: GoldenNode, address: int, words: np.ndarray) -> None:
    raw = words.view(np.uint8)
    node.memory[address : address + len(raw)] = raw


def test_a_push_to_the_own_node_is_done_at_once_through_the_own_door(node: GoldenNode) -> None:
    before = [line(node, n) for n in range(5)]
    assert transfer(node, "push", 0, remote(HERE, 64 * 100), 5) == (NO_CAUSE, 0)
    assert [line(node, 100 + n) for n in range(5)] == before
    counter = node.state.counter
    assert counter[CounterRegister.REQUESTS] == 5
    assert counter[CounterRegister.REPLIES] == 1  # the last line is acknowledged
    assert fence(node)


def test_a_push_to_another_node_is_complete_when_its_last_line_is_acknowledged(
    node: GoldenNode, neighbour: GoldenNode
) -> None:
    assert transfer(node, "push", 64, remote(THERE, 0), 0) == (NO_CAUSE, 0)
    assert not fence(node) and fence(node, 1)
    requests = node.take_outgoing()
    assert requests["opcode"].tolist() == [Opcode.WRITE] * 32
    assert (requests["flags"] != 0).tolist() == [False] * 31 + [True]
    assert (requests["source"] == HERE).all()
    assert status(node)[TransferRegister.OUTSTANDING] == 1
    replies = neighbour.exchange(requests)
    assert replies["opcode"].tolist() == [Opcode.WRITE_REPLY]
    assert not fence(node)
    node.deliver(replies)
    assert fence(node)
    assert neighbour.memory[: 64 * 32].tobytes() == node.memory[64 : 64 * 33].tobytes()


def test_a_pull_reads_lines_of_another_node(node: GoldenNode, neighbour: GoldenNode) -> None:
    neighbour.memory[: 64 * 7] = 7
    assert transfer(node, "pull", 640, remote(THERE, 0), 7, thread=1) == (NO_CAUSE, 0)
    assert status(node)[TransferRegister.OUTSTANDING] == 7
    assert not fence(node, 1) and fence(node, 0)
    node.run(0)  # no instruction, but packets go
    assert fence(node, 1)
    assert (node.memory[640 : 640 + 64 * 7] == 7).all() and node.memory[640 + 64 * 7] != 7


def test_replies_may_come_in_any_order_and_those_nobody_waits_for_are_dropped(
    node: GoldenNode, neighbour: GoldenNode
) -> None:
    neighbour.memory[:] = np.random.default_rng(6).integers(0, 256, TINY.sram_bytes, np.uint8)
    transfer(node, "pull", 0, remote(THERE, 128), 9)
    replies = neighbour.exchange(node.take_outgoing())
    node.deliver(replies[::-1])
    copy = node.memory.copy()
    assert copy[: 64 * 9].tobytes() == neighbour.memory[128 : 128 + 64 * 9].tobytes()
    replies["data"] = 0
    node.deliver(replies)
    assert np.array_equal(node.memory, copy) and status(node) == [0, 0, 0, 0]


def test_a_post_counts_at_the_other_node_up_to_the_greatest_count(
    node: GoldenNode, neighbour: GoldenNode
) -> None:
    neighbour.state.semaphore[9] = 0xFFFE
    for _ in range(3):
        # Any address of the node will do.
        assert transfer(node, "post", remote(THERE, 0x123), 9)[0] == NO_CAUSE
    node.run(0)
    assert neighbour.state.semaphore[9] == 0xFFFF and fence(node)
    assert not neighbour.state.semaphore[:9].any()


def test_a_broadcast_reaches_the_own_node_too_and_leaves_once_for_the_others(
    node: GoldenNode, neighbour: GoldenNode
) -> None:
    near, far = 0x0002, 0x0205
    assert transfer(node, "bcast", far << 32 | 64, remote(near, 640), 3)[0] == NO_CAUSE
    assert fence(node)
    assert node.memory[640 : 640 + 192].tobytes() == node.memory[64 : 64 + 192].tobytes()
    requests = node.take_outgoing()
    assert requests["opcode"].tolist() == [Opcode.BROADCAST] * 3
    assert (requests["mask"] == far).all()
    assert len(neighbour.exchange(requests)) == 0
    assert neighbour.memory[640 : 640 + 192].tobytes() == node.memory[64 : 64 + 192].tobytes()


def test_a_thread_of_another_node_can_be_started_by_a_push(
    node: GoldenNode, neighbour: GoldenNode
) -> None:
    neighbour.memory[:4] = list((0x73).to_bytes(4, "little"))  # ecall
    put(node, 64, np.array([0, 5, 1, 0, 0, 0, 0, 0], U))
    transfer(node, "push", 64, remote(THERE, CONTROL_BASE + 0x1000), 1)
    node.run(0)
    assert neighbour.run(10) == 1 and neighbour.x[10] == 5


FAULTS = {
    "a local address that is not a line": ("push", 8, 0, 1, Cause.LOAD_MISALIGNED, 8),
    "local to write that is not a line": ("pull", 8, 0, 1, Cause.STORE_MISALIGNED, 8),
    "a line after the end of SRAM": (
        *("push", TINY.sram_bytes - 64, 0, 2),
        *(Cause.LOAD_ACCESS_FAULT, TINY.sram_bytes - 64),
    ),
    "32 lines that do not fit": (
        *("pull", TINY.sram_bytes - 31 * 64, 0, 0),
        *(Cause.STORE_ACCESS_FAULT, TINY.sram_bytes - 31 * 64),
    ),
    "local in the control block": (
        *("push", CONTROL_BASE, 0, 1),
        *(Cause.LOAD_ACCESS_FAULT, CONTROL_BASE),
    ),
    "local with a node": ("push", 1 << 24, 0, 1, Cause.LOAD_ACCESS_FAULT, 1 << 24),
    "local at the end of the world": (
        *("push", (1 << 64) - 64, 0, 1),
        *(Cause.LOAD_ACCESS_FAULT, (1 << 64) - 64),
    ),
    "a remote address that is not a line": ("push", 0, 32, 1, Cause.STORE_MISALIGNED, 32),
    "remote to read that is not a line": ("pull", 0, 32, 1, Cause.LOAD_MISALIGNED, 32),
    "bit 56 of a remote address": ("push", 0, 1 << 56, 1, Cause.STORE_ACCESS_FAULT, 1 << 56),
    "bit 63, reading": ("pull", 0, 1 << 63, 1, Cause.LOAD_ACCESS_FAULT, 1 << 63),
    "remote lines that run into the next node": (
        *("push", 0, (1 << 24) - 64, 2),
        *(Cause.STORE_ACCESS_FAULT, (1 << 24) - 64),
    ),
    "a rectangle whose corners are swapped": (
        *("bcast", 1 << 32, 2 << 24, 1),
        *(Cause.STORE_ACCESS_FAULT, 2 << 24),
    ),
    "a rectangle whose corners are swapped in one direction": (
        *("bcast", 0x0102 << 32, 0x0201 << 24, 1),
        *(Cause.STORE_ACCESS_FAULT, 0x0201 << 24),
    ),
    "local of a broadcast": ("bcast", 4, 0, 1, Cause.LOAD_MISALIGNED, 4),
}


@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
def test_a_bad_transfer_is_an_exception_before_anything_happens(
    node: GoldenNode, case: tuple
) -> None:
    name, x1, x2, count, cause, value = case
    memory = node.memory.copy()
    assert transfer(node, name, x1, x2, count) == (cause, value)
    assert np.array_equal(node.memory, memory) and not node.take_outgoing().size
    assert status(node) == [0, 0, 0, 0]


def test_bad_posts_and_lists_are_exceptions(node: GoldenNode) -> None:
    assert transfer(node, "post", 1 << 56, 1) == (Cause.STORE_ACCESS_FAULT, 1 << 56)
    assert transfer(node, "xlist", 32) == (Cause.LOAD_MISALIGNED, 32)
    end = TINY.sram_bytes
    assert transfer(node, "xlist", end) == (Cause.LOAD_ACCESS_FAULT, end)
    assert transfer(node, "xlist", end - 64) == (NO_CAUSE, 0)


def test_a_refused_transfer_is_noted_and_the_fence_opens(node: GoldenNode) -> None:
    transfer(node, "push", 0, remote(THERE, 0), 3)
    transfer(node, "pull", 0, remote(THERE, 64), 2)
    node.remote = refuse
    node.run(0)
    assert fence(node)
    assert status(node) == [0, 5, TransferFault.REMOTE, remote(THERE, 0)]


def test_a_list_of_every_kind_runs_on_its_own(node: GoldenNode, neighbour: GoldenNode) -> None:
    neighbour.memory[:] = np.random.default_rng(8).integers(0, 256, TINY.sram_bytes, np.uint8)
    base, step = 64 * 512, 64 * 3
    places = [base, base + 640, base + 128, base + 1280]
    chain = [
        descriptor(
            TransferOp.PULL, local=0, remote=remote(THERE, 64 * 40), lines=4, local_stride=128,
            remote_stride=-step, arrival=1, completion=2, next_address=places[1],
        ),
        descriptor(
            TransferOp.PUSH, local=128, remote=remote(THERE, 64 * 200), lines=3, arrival=3,
            completion=4, wait=True, next_address=places[2],
        ),
        descriptor(
            TransferOp.BCAST, local=64 * 50, remote=remote(HERE, 64 * 60), corner=THERE, lines=2,
            arrival=5, completion=6, next_address=places[3],
        ),
        descriptor(TransferOp.POST, remote=remote(THERE, 0), arrival=7, completion=8),
    ]  # fmt: skip
    for place, one in zip(places, chain, strict=True):
        put(node, place, one)
    assert transfer(node, "xlist", places[0], thread=1) == (NO_CAUSE, 0)
    assert not fence(node, 1) and fence(node, 0)
    node.run(0)
    assert fence(node, 1) and status(node) == [0, 0, 0, 0]
    for n in range(4):
        assert line(node, 2 * n) == line(neighbour, 40 - 3 * n)
    assert [line(neighbour, 200 + n) for n in range(3)] == [line(node, 2 + n) for n in range(3)]
    for receiver in (node, neighbour):
        assert [line(receiver, 60), line(receiver, 61)] == [line(node, 50), line(node, 51)]
    own, others = (n.state.semaphore.nonzero()[0].tolist() for n in (node, neighbour))
    assert own == [2, 4, 5, 6, 8] and others == [1, 3, 5, 7]


BAD_DESCRIPTORS = {
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
}


@pytest.mark.parametrize("field", BAD_DESCRIPTORS)
def test_a_malformed_descriptor_ends_its_list(node: GoldenNode, field: str) -> None:
    good = descriptor(TransferOp.POST, remote=remote(HERE, 0), arrival=1, next_address=64)
    bad = descriptor(TransferOp.PUSH, remote=remote(HERE, 640), arrival=2, completion=3)
    bad[field] = BAD_DESCRIPTORS[field]
    put(node, 0, good)
    put(node, 64, bad)
    transfer(node, "xlist", 0)
    assert fence(node)
    assert status(node) == [0, 1, TransferFault.DESCRIPTOR, 64]
    assert node.state.semaphore.nonzero()[0].tolist() == [1]


@pytest.mark.parametrize("following", [32, TINY.sram_bytes, 1 << 32])
def test_a_chain_that_leads_out_of_sram_ends_there(node: GoldenNode, following: int) -> None:
    one = descriptor(TransferOp.POST, remote=remote(HERE, 0), arrival=1, completion=2)
    one["next"] = following
    put(node, 0, one)
    transfer(node, "xlist", 0)
    assert status(node) == [0, 1, TransferFault.DESCRIPTOR, following]
    assert node.state.semaphore.nonzero()[0].tolist() == [1, 2]


def test_lines_of_a_list_outside_sram_are_noted_and_the_others_are_done(node: GoldenNode) -> None:
    last = TINY.sram_bytes - 64
    one = descriptor(
        TransferOp.PUSH, local=last, remote=remote(HERE, 640), lines=3, arrival=1, completion=2,
        next_address=64,
    )  # fmt: skip
    put(node, 0, one)
    put(node, 64, descriptor(TransferOp.POST, remote=remote(HERE, 0), arrival=3))
    old = [line(node, n) for n in (11, 12)]
    transfer(node, "xlist", 0)
    assert fence(node)
    assert status(node) == [0, 2, TransferFault.LOCAL, last + 64]
    assert line(node, 10) == line(node, LINES - 1)
    assert [line(node, n) for n in (11, 12)] == old
    assert not node.state.semaphore.any()


def test_a_chain_that_never_ends_is_cut_off(node: GoldenNode) -> None:
    one = descriptor(TransferOp.POST, remote=remote(HERE, 0), arrival=1, next_address=64)
    put(node, 64, one)
    transfer(node, "xlist", 64)
    assert fence(node)
    assert status(node) == [0, 1, TransferFault.DESCRIPTOR, 64]
    assert node.state.semaphore[1] == 0xFFFF


def test_a_list_longer_than_the_queues_holds_up_other_transfers_until_packets_go(
    node: GoldenNode, neighbour: GoldenNode
) -> None:
    one = descriptor(
        TransferOp.PULL, local=64, local_stride=0, remote=remote(THERE, 64), remote_stride=0,
        lines=5000, completion=3,
    )  # fmt: skip
    put(node, 32768, one)
    transfer(node, "xlist", 32768, thread=1)
    assert communication.transfers_wait(2, node.state.waiting, node.state)
    node.run(0)
    assert fence(node, 1) and status(node) == [0, 0, 0, 0]
    assert transfer(node, "post", remote(THERE, 0), 1, thread=2) == (NO_CAUSE, remote(THERE, 0))
    assert node.state.semaphore.nonzero()[0].tolist() == [3]
    assert neighbour.state.counter[CounterRegister.REQUESTS] == 5000
    assert line(node, 1) == line(neighbour, 1)


def test_a_write_clears_the_faults_in_the_status_line(node: GoldenNode) -> None:
    transfer(node, "push", 0, remote(THERE, 0), 3)
    node.run(0)
    assert status(node) == [0, 3, TransferFault.REMOTE, remote(THERE, 0)]
    ignored = np.array([9], U).view(np.uint8)
    node.exchange(write_requests(register_address(TransferRegister.FAULT_KIND), ignored))
    assert status(node)[1] == 3
    node.exchange(write_requests(register_address(TransferRegister.FAULTS), ignored))
    assert status(node) == [0, 0, 0, 0]


def test_a_semaphore_lets_as_many_through_as_it_counts(node: GoldenNode) -> None:
    semaphore, waiting = node.state.semaphore, node.state.waiting
    communication.spost(U(3), semaphore)
    assert communication.swait(U(3), 1, semaphore, waiting)
    assert not communication.swait(U(3), 1, semaphore, waiting)
    assert waiting.tolist() == [NOT_WAITING, WAITS_FOR_SEMAPHORE + 3, 0, 0]
    communication.spost(U(3), semaphore)
    assert communication.swait(U(3), 1, semaphore, waiting)
    assert waiting[1] == NOT_WAITING and not semaphore.any()


@pytest.mark.parametrize(("members", "needed"), [(0, 0b1111), (0b0110, 0b0110), (0b10100, 0b0110)])
def test_a_barrier_opens_for_all_when_the_last_arrives(
    node: GoldenNode, members: int, needed: int
) -> None:
    state = node.state
    threads = [n for n in range(4) if needed >> n & 1]
    if members == 0b10100:  # bits of threads that are not there, and the own one, do not matter
        members_of = {1: 0b10100, 2: 0b10010}
    else:
        members_of = dict.fromkeys(threads, members)
    for thread in threads[:-1]:
        assert not communication.barrier(
            U(members_of[thread]), thread, state.waiting, state.barrier_arrived
        )
    last = threads[-1]
    assert communication.barrier(U(members_of[last]), last, state.waiting, state.barrier_arrived)
    assert (state.waiting[threads[:-1]] == BARRIER_OPEN).all()
    for thread in threads[:-1]:
        assert communication.barrier(
            U(members_of[thread]), thread, state.waiting, state.barrier_arrived
        )
    assert not state.waiting.any() and not state.barrier_arrived.any()


def test_links_lead_to_the_record_a_walk_over_the_bytes_finds(node: GoldenNode) -> None:
    rng = random.Random(11)
    memory = node.state.memory64
    for _ in range(300):
        records = [8 * n for n in rng.sample(range(1, len(memory) - 1, 2), rng.randrange(1, 20))]
        for record, following in zip(records, [*records[1:], 0], strict=True):
            memory[record // 8 : record // 8 + 2] = following, record * 3
        steps = rng.randrange(25)
        expected = records[steps] if steps < len(records) else 0
        assert communication.lwalk(U(records[0]), U(steps), node.state) == (NO_CAUSE, expected)
        key = rng.choice([*records, 1]) * 3
        expected = key // 3 if key != 3 else 0
        assert communication.lfind(U(records[0]), U(key), node.state) == (NO_CAUSE, expected)


def test_links_fault_where_a_record_is_not_and_stop_after_65536(node: GoldenNode) -> None:
    memory, end = node.state.memory64, TINY.sram_bytes
    for walk, operand in ((communication.lwalk, U(1)), (communication.lfind, U(1))):
        assert walk(U(12), operand, node.state) == (Cause.LOAD_MISALIGNED, 12)
        assert walk(U(end), operand, node.state) == (Cause.LOAD_ACCESS_FAULT, end)
        assert walk(U(0), operand, node.state) == (NO_CAUSE, 0)
    assert communication.lfind(U(end - 8), U(1), node.state) == (Cause.LOAD_ACCESS_FAULT, end)
    assert communication.lwalk(U(12), U(0), node.state) == (NO_CAUSE, 12)
    memory[2:4] = 16, 0
    assert communication.lwalk(U(16), U(MAX_HOPS), node.state) == (NO_CAUSE, 16)
    assert communication.lwalk(U(16), U(MAX_HOPS + 1), node.state) == (Cause.LOAD_ACCESS_FAULT, 16)
    assert communication.lfind(U(16), U(1), node.state) == (Cause.LOAD_ACCESS_FAULT, 16)


def test_a_reset_forgets_what_was_under_way(node: GoldenNode) -> None:
    transfer(node, "pull", 0, remote(THERE, 0), 4)
    assert not fence(node)
    node.reset()
    assert fence(node) and not node.take_outgoing().size
    assert node.thread_register(ThreadRegister.STATUS) == 0


def flip_two_bits(node: GoldenNode, address: int) -> None:
    inject(node.state.ecc, node.state.memory64, address // 8, U(0b101), np.uint8(0))


def test_lines_that_cannot_be_corrected_are_not_sent(
    node: GoldenNode, neighbour: GoldenNode
) -> None:
    before = neighbour.memory.copy()
    flip_two_bits(node, 64 + 8)
    transfer(node, "push", 0, remote(THERE, 4096), 3)
    node.run(0)
    assert fence(node)
    assert status(node) == [0, 1, TransferFault.UNCORRECTABLE, 64]
    for n, expected in enumerate((line(node, 0), before[4160:4224].tobytes(), line(node, 2))):
        assert line(neighbour, 64 + n) == expected
    put(node, 640, descriptor(TransferOp.POST, remote=remote(THERE, 0), arrival=1))
    flip_two_bits(node, 640)
    transfer(node, "xlist", 640)
    assert fence(node) and not neighbour.state.semaphore.any()
    assert status(node)[1] == 2
    # A line that is pulled is whole again.
    transfer(node, "pull", 64, remote(THERE, 0), 1)
    node.run(0)
    transfer(node, "push", 64, remote(THERE, 64), 1)
    assert status(node)[1] == 2


def test_a_record_that_cannot_be_corrected_is_a_hardware_error(node: GoldenNode) -> None:
    memory = node.state.memory64
    memory[8:10] = 128 + 56, 3
    memory[23:25] = 0, 4
    flip_two_bits(node, 80)  # beside the record
    assert communication.lwalk(U(64), U(2), node.state) == (NO_CAUSE, 0)
    flip_two_bits(node, 192)
    assert communication.lwalk(U(64), U(2), node.state) == (NO_CAUSE, 0)
    assert communication.lfind(U(64), U(4), node.state) == (Cause.HARDWARE_ERROR, 192)
    flip_two_bits(node, 64)
    assert communication.lwalk(U(64), U(1), node.state) == (Cause.HARDWARE_ERROR, 64)
    assert communication.lfind(U(64), U(3), node.state) == (NO_CAUSE, 64)
    assert communication.lfind(U(64), U(4), node.state) == (Cause.HARDWARE_ERROR, 64)
