"""Flipped bits as a program and packets meet them: corrected, reported or healed."""

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.memory_map import EccRegister, ThreadRegister, ThreadStatus, register_address
from d1_golden.node import GoldenNode
from d1_golden.packet import Opcode, read_requests, write_requests
from d1_golden.params import preset

#: A line that programs access; they are in the lines before.
PLACE = 0x1000
TWO_BITS, ONE_BIT = 0x11, 0x10


@pytest.fixture
def node() -> GoldenNode:
    return GoldenNode(preset("tiny"))


def inject(node: GoldenNode, address: int, data: int, check: int = 0) -> None:
    values = np.array([data, check, address], np.uint64)
    node.exchange(write_requests(register_address(EccRegister.INJECT_DATA), values.view(np.uint8)))


def register(node: GoldenNode, which: EccRegister) -> int:
    (reply,) = node.exchange(read_requests(register_address(EccRegister.CORRECTED), 64))
    return int(reply["data"].view(np.uint64)[which])


def stored(node: GoldenNode, address: int) -> int:
    return int(node.memory.view(np.uint64)[address // 8])


READS = [
    ("ld a1, 8(a0)", 8),
    ("lw a1, 12(a0)", 12),
    ("lbu a1, 15(a0)", 15),
    ("vld v1, 0(a0)", 0),
    ("vldb v1, 8(a0)", 8),
    ("mzero acc0\nmmul.bf16.vm acc0, v0, 0(a0)", 0),
    ("vgather v1, (a0), v0", 8),
]


@pytest.mark.parametrize(("text", "offset"), READS)
def test_a_read_of_two_flipped_bits_stops_the_thread_whatever_handler_there_is(
    execute, node, text, offset
):
    node.exchange(write_requests(PLACE, bytes(range(64))))
    inject(node, PLACE + 8, TWO_BITS)
    thread = node.threads[0]
    if "vgather" in text:
        thread.v.view(np.uint32)[0, :] = 8
    execute(f"li a0, {PLACE}\nli a2, 64\ncsrrw x0, mtvec, a2\n{text}\necall", node=node)
    assert thread.status is ThreadStatus.FAULTED
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.HARDWARE_ERROR
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == PLACE + offset
    assert register(node, EccRegister.UNCORRECTABLE) == 1
    assert register(node, EccRegister.FIRST_UNCORRECTABLE) & 0xFFFF_FFFF == PLACE + 8


@pytest.mark.parametrize(("text", "offset"), READS)
def test_a_read_of_one_flipped_bit_is_corrected_and_counted(execute, node, text, offset):
    node.exchange(write_requests(PLACE, bytes(range(64))))
    inject(node, PLACE + 8, ONE_BIT)
    execute(f"li a0, {PLACE}\n{text}\necall", node=node)
    thread = node.threads[0]
    assert thread.status is ThreadStatus.HALTED
    assert register(node, EccRegister.CORRECTED) >= 1
    assert stored(node, PLACE + 8) == 0x0F0E0D0C0B0A0908


def test_a_fetch_from_a_line_with_two_flipped_bits_is_a_hardware_error(execute, node):
    execute("ecall", node=node)
    inject(node, 56, 0, 3)  # of the line of the program, but not of its instruction
    execute("ecall", node=node)
    thread = node.threads[0]
    assert thread.status is ThreadStatus.FAULTED
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.HARDWARE_ERROR
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == 0


@pytest.mark.parametrize(
    ("text", "heals"),
    [
        ("sd a0, 8(a0)", True),
        ("sw a0, 8(a0)", False),
        ("sb a0, 15(a0)", False),
        ("vst v0, 0(a0)", True),
        ("sd a0, 0(a0)", False),
    ],
)
def test_a_store_of_the_whole_word_heals_two_flipped_bits(execute, node, text, heals):
    inject(node, PLACE + 8, TWO_BITS)
    execute(f"li a0, {PLACE}\n{text}\necall", node=node)
    (reply,) = node.exchange(read_requests(PLACE, 64))
    assert reply["opcode"] == (Opcode.READ_REPLY if heals else Opcode.FAULT_REPLY)


def test_packets_meet_flipped_bits_like_programs(node):
    inject(node, PLACE, ONE_BIT)
    inject(node, PLACE + 64, TWO_BITS)
    good, bad = node.exchange(read_requests(PLACE, 128))
    assert good["opcode"] == Opcode.READ_REPLY
    assert not good["data"].any()
    assert bad["opcode"] == Opcode.FAULT_REPLY
    node.exchange(write_requests(PLACE + 64, bytes(64)))
    (healed,) = node.exchange(read_requests(PLACE + 64, 64))
    assert healed["opcode"] == Opcode.READ_REPLY
    assert register(node, EccRegister.CORRECTED) == register(node, EccRegister.UNCORRECTABLE) == 1
