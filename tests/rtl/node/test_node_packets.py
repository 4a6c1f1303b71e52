"""Packets from outside to a whole node: refused, acknowledged, and commands to threads."""

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.memory_map import (
    SEMAPHORE_BASE,
    SEMAPHORE_BITS,
    Command,
    ThreadRegister,
    ThreadStatus,
    register_address,
)
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, POST_FLAG, Opcode, write_requests
from d1_golden.params import preset

_SRAM_END = preset("tiny").sram_bytes
_ELSEWHERE = 5 << 24  # another node; nobody is there

_PACKETS = {
    "no opcode": {"opcode": 0},
    "a reply": {"opcode": Opcode.READ_REPLY},
    "flag 5": {"opcode": Opcode.WRITE, "flags": 1 << 5},
    "semaphore without post": {"opcode": Opcode.WRITE, "flags": 3},
    "a READ with flags": {"opcode": Opcode.READ, "flags": ACK_FLAG},
    "a POST without flag 7": {"opcode": Opcode.POST, "flags": ACK_FLAG},
    "a POST with an offset": {"opcode": Opcode.POST, "flags": POST_FLAG, "address": 64},
    "a BROADCAST to acknowledge": {"opcode": Opcode.BROADCAST, "flags": ACK_FLAG},
    "a BROADCAST elsewhere": {"opcode": Opcode.BROADCAST, "address": 1 << 24, "mask": 2},
    "a BROADCAST with a long mask": {"opcode": Opcode.BROADCAST, "mask": 1 << 32},
    "bits 63..56": {"opcode": Opcode.READ, "address": 1 << 56},
    "another node": {"opcode": Opcode.READ, "address": _ELSEWHERE},
    "misaligned": {"opcode": Opcode.READ, "address": 8},
    "after SRAM": {"opcode": Opcode.WRITE, "address": _SRAM_END, "mask": 1},
    "no register, read": {"opcode": Opcode.READ, "address": 0x80_0100},
    "no register, written": {"opcode": Opcode.WRITE, "address": 0x80_0100, "mask": 0xFF},
    "half a register": {"opcode": Opcode.WRITE, "address": SEMAPHORE_BASE, "mask": 0x0F},
}


@pytest.mark.parametrize("name", _PACKETS)
def test_a_packet_at_fault_is_refused_and_changes_nothing(machine, name):
    packet = np.zeros(1, PACKET_DTYPE)
    packet["tag"], packet["source"] = 0x1234, 0xABCD
    for field, value in _PACKETS[name].items():
        packet[field] = value
    (reply,) = machine.exchange(packet)
    assert reply["opcode"] == Opcode.FAULT_REPLY
    assert not machine.read(0, 64).any()
    assert not machine.read(SEMAPHORE_BASE, 64).any()


def test_packets_write_post_and_are_acknowledged(machine):
    packets = np.zeros(5, PACKET_DTYPE)
    packets["opcode"] = (Opcode.WRITE, Opcode.POST, Opcode.BROADCAST, Opcode.WRITE, Opcode.READ)
    packets["flags"] = (ACK_FLAG, POST_FLAG | ACK_FLAG | 2, POST_FLAG | 3, POST_FLAG | 31, 0)
    packets["address"] = (64, 0, 128, 192, 128)
    packets["mask"] = (0xFF00, 0, 0, (1 << 64) - 1, 0)
    packets["data"] = np.arange(64)
    replies = machine.exchange(packets)
    expected = [Opcode.WRITE_REPLY, Opcode.WRITE_REPLY, Opcode.READ_REPLY]
    assert replies["opcode"].tolist() == expected
    counts = machine.read(SEMAPHORE_BASE, 256).view("<u8")
    assert np.flatnonzero(counts).tolist() == [2, 3, 31]
    assert machine.read(64, 192).any()


def test_each_semaphore_is_set_and_posted_by_itself_and_stays_at_its_greatest(machine):
    count = machine.params.semaphores
    greatest = (1 << SEMAPHORE_BITS) - 1
    expected = [greatest - number % 3 for number in range(count)]
    machine.write_words(SEMAPHORE_BASE, *expected)
    for number in range(count):
        post = np.zeros(2, PACKET_DTYPE)
        post["opcode"], post["flags"] = Opcode.POST, POST_FLAG | number
        assert not len(machine.exchange(post))
        expected[number] = min(expected[number] + 2, greatest)
        assert machine.read(SEMAPHORE_BASE, 8 * count).view("<u8").tolist() == expected
    takes = "\n".join(f"swait {number}\nspost {number}" for number in range(count))
    assert machine.execute(f"{takes}\necall").status is ThreadStatus.HALTED
    assert machine.read(SEMAPHORE_BASE, 8 * count).view("<u8").tolist() == [greatest] * count


@pytest.mark.parametrize(
    ("pc", "cause"),
    [
        (2, Cause.INSTRUCTION_MISALIGNED),
        (_SRAM_END, Cause.INSTRUCTION_ACCESS_FAULT),
        (0, Cause.ILLEGAL_INSTRUCTION),
    ],
)
def test_each_thread_faults_that_is_started_where_no_instruction_is(machine, pc, cause):
    for thread in range(machine.params.threads):
        outcome = machine.run_threads({thread: pc})[thread]
        assert (outcome.status, outcome.cause) == (ThreadStatus.FAULTED, cause)


@pytest.mark.parametrize("body", ["j 0", "swait 9", "fence\nj 0", "barrier 3"])
def test_a_running_or_waiting_thread_can_be_stopped_and_started_again(machine, body):
    base = 0x400
    machine.load(body, base)
    machine.start(base)
    machine.link.advance(200)
    assert machine.outcome().status is ThreadStatus.RUNNING
    machine.start(base + 64)  # ignored while it runs
    stop = np.array([Command.STOP], "<u8").view(np.uint8)
    command = register_address(ThreadRegister.COMMAND)
    machine.link.exchange(write_requests(command, stop), 1000)
    machine.link.run(10_000)
    assert machine.outcome().status is ThreadStatus.IDLE
    machine.load("li a0, 5\necall", base)
    assert machine.run(base).status is ThreadStatus.HALTED
