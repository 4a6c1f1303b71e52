"""Flipped bits in the memory of a whole node: corrected, reported or healed."""

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.memory_map import (
    ECC_BASE,
    EccRegister,
    ThreadStatus,
    register_address,
)
from d1_golden.packet import PACKET_DTYPE, Opcode
from d1_golden.params import LINE_BYTES, preset

#: Where what the tests access is; programs are in the lines before.
_PLACE = 0x1000
_SRAM_END = preset("tiny").sram_bytes

#: Where a copy of the line is, without flipped bits, and where what was read is stored.
_COPY, _RESULT = 0x1040, 0x1080
#: The line: it links to nowhere and has a key; as BF16 three are 1, one is 0.
_LINE = (0, 0x3F80_3F80_0000_3F80, *range(1, 7))

#: What reads the word at `_PLACE` + 8, where it says the fault is, what shows what was read.
_READS = {
    "ld": ("ld a1, 8(a0)", 8, "add a2, a1, x0"),
    "lw": ("lw a1, 12(a0)", 12, "add a2, a1, x0"),
    "lbu": ("lbu a1, 15(a0)", 15, "add a2, a1, x0"),
    "vld": ("vld v1, 0(a0)", 0, "vst v1, 0(a5)"),
    "vldb": ("vldb v1, 8(a0)", 8, "vst v1, 0(a5)"),
    "mmul.vm": ("mmul.bf16.vm acc0, v0, 0(a0)", 0, "mrd v1, acc0, 0\nvst v1, 0(a5)"),
    "vgather": ("vgather v1, (a0), v2", 8, "vst v1, 0(a5)"),
    "lwalk": ("lwalk a3, a6, a7", 8, "sd a3, 0(a5)"),
    "lfind, key": ("lfind a3, a0, a2", 8, "sd a3, 0(a5)"),
}


def _load_read(machine, name: str) -> int:
    """Load a program that reads; return the address in the fault of a word that is wrong."""
    text, offset, show = _READS[name]
    machine.write_words(_PLACE, *_LINE)
    machine.write_words(_COPY, *_LINE)
    machine.load(
        f"""
        li a0, {_PLACE}
        addi a6, a0, 8
        li a7, 1
        li a4, {_COPY}
        li a5, {_RESULT}
        ld a2, 8(a4)
        vld v0, 0(a4)
        li a3, 8
        vbc.x v2, a3
        {text}
        {show}
        fence
        ecall
        """
    )
    return _PLACE + offset


@pytest.mark.parametrize("name", _READS)
def test_a_read_of_two_flipped_bits_stops_the_thread(machine, name):
    place = _load_read(machine, name)
    machine.flip(_PLACE + 8, 0, 4)
    outcome = machine.run_threads({0: 0})[0]
    assert (outcome.status, outcome.cause) == (ThreadStatus.FAULTED, Cause.HARDWARE_ERROR)
    assert outcome.value == place
    registers = machine.rtl_line(ECC_BASE)
    assert registers[EccRegister.UNCORRECTABLE] >= 1
    assert registers[EccRegister.FIRST_UNCORRECTABLE] & 0xFFFF_FFFF == _PLACE + 8
    assert registers[EccRegister.FIRST_UNCORRECTABLE] >> 63


def _registers(machine) -> list[int]:
    """Return the registers, which must be the same in both nodes."""
    return machine.read(ECC_BASE, LINE_BYTES).view("<u8").tolist()


@pytest.mark.parametrize("name", _READS)
def test_a_read_of_one_flipped_bit_is_corrected_counted_and_logged(machine, name):
    _load_read(machine, name)
    machine.flip(_PLACE + 8, 4)
    assert machine.run(0).status is ThreadStatus.HALTED
    registers = _registers(machine)
    machine.read(_RESULT, LINE_BYTES)
    assert registers[EccRegister.CORRECTED] == 1
    assert registers[EccRegister.UNCORRECTABLE] == 0
    assert registers[EccRegister.LAST_CORRECTED] & 0xFFFF_FFFF == _PLACE + 8


#: What accesses the line at `_PLACE`, and how often the wrong word at 8 is found by that.
_ACCESSES = {
    "sd of it": ("sd a1, 8(a0)", 0),
    "sd of another": ("sd a1, 0(a0)", 0),
    "sw of it": ("sw a1, 8(a0)\nlw a2, 8(a0)", 1),
    "sb of another": ("sb a1, 0(a0)\nlw a2, 0(a0)", 2),
    "two loads": ("ld a1, 0(a0)\nlbu a2, 63(a0)", 2),
    "vst": ("vst v1, 0(a0)\nvld v1, 0(a0)", 0),
    "vst.m of half of it": ("li a1, 4\nvmv.m.x m1, a1\nvst.m v1, (a0), m1\nvld v2, 0(a0)", 1),
    "vld.m": ("li a1, 1\nvmv.m.x m1, a1\nvld.m v2, (a0), m1", 1),
    "vgather of two lines": ("vgather v1, (a0), v3", 1),
    "vscatter of two lines": ("vscatter v1, (a0), v3", 1),
    "vscatter of the word": ("vscatter v1, (a0), v4\nld a2, 8(a0)", 0),
    "push": ("push a0, a3, 2\nfence", 1),
    "pull": ("pull a0, a3, 2\nfence\nld a1, 0(a0)", 0),
    "lfind": ("lfind a1, a0, x0", 1),
}


@pytest.mark.parametrize("name", _ACCESSES)
def test_both_nodes_count_the_same(machine, name):
    text, count = _ACCESSES[name]
    machine.write_words(_PLACE, 0, 5, *range(1, 15))
    lanes = np.array([[4, 64, 16, 8], [0, 8, 4, 12]], "<u4")
    machine.write(_RESULT, lanes.view(np.uint8).reshape(-1))
    machine.flip(_PLACE + 8, 4)
    outcome = machine.execute(
        f"li a0, {_PLACE}\nli a3, 0x3000\nli a4, {_RESULT}\n"
        f"vld v3, 0(a4)\nvld v4, 1(a4)\n{text}\nfence\necall"
    )
    assert outcome.status is ThreadStatus.HALTED
    assert _registers(machine)[EccRegister.CORRECTED] == count


@pytest.mark.parametrize("text", ["ld a1, 8(a0)\nadd a2, a1, x0", "vld v1, 0(a0)", ".word 0"])
def test_each_thread_stops_for_what_it_reads_itself(machine, text):
    code, threads = 0x400, range(machine.params.threads)
    for thread in threads:
        place = _PLACE + 128 * thread
        body = f"li a0, {place}\nj next\n.align 6\nnext:\n{text}\nfence\necall"
        machine.load(body, code + 128 * thread)
        machine.write(place, bytes(64))
    for wrong in threads:
        fetched = code + 128 * wrong + 64
        machine.flip(fetched if text == ".word 0" else _PLACE + 128 * wrong + 8, 3, 9)
        ends = machine.run_threads({thread: code + 128 * thread for thread in threads})
        assert ends[wrong].status is ThreadStatus.FAULTED
    assert {end.cause for end in ends.values()} == {Cause.HARDWARE_ERROR}


def test_every_bit_in_every_bank_and_place_of_a_line_is_corrected(machine):
    banks = machine.params.sram_banks
    contents = np.random.default_rng(7).integers(0, 256, LINE_BYTES * banks, np.uint8)
    for bit in range(72):
        machine.write(_PLACE, contents)
        for bank in range(banks):
            machine.flip(_PLACE + LINE_BYTES * bank + 8 * ((bit + bank) % 8), bit)
        assert np.array_equal(machine.read(_PLACE, len(contents)), contents)
        registers = _registers(machine)
        assert registers[EccRegister.CORRECTED] == banks * (bit + 1)
        assert registers[EccRegister.UNCORRECTABLE] == 0


def test_a_fetch_from_a_line_with_two_flipped_bits_stops_the_thread(machine):
    base = 0x400
    machine.load("ecall", base)
    machine.flip(base, 64, 65)
    outcome = machine.run(base)
    assert (outcome.status, outcome.cause) == (ThreadStatus.FAULTED, Cause.HARDWARE_ERROR)


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
def test_only_a_store_of_the_whole_word_heals_two_flipped_bits(machine, text, heals):
    machine.write(_PLACE, bytes(64))
    machine.flip(_PLACE + 8, 0, 4)
    assert machine.execute(f"li a0, {_PLACE}\n{text}\necall").status is ThreadStatus.HALTED
    packet = np.zeros(1, PACKET_DTYPE)
    packet["opcode"], packet["address"] = Opcode.READ, _PLACE
    (reply,) = machine.exchange(packet)
    assert reply["opcode"] == (Opcode.READ_REPLY if heals else Opcode.FAULT_REPLY)


def test_logs_of_flipped_bits_are_cleared_by_writing_them_and_counts_are_not(machine):
    machine.write(_PLACE, bytes(64))
    machine.flip(_PLACE, 4)
    machine.flip(_PLACE + 8, 0, 4)
    assert machine.execute(f"li a0, {_PLACE}\nld a1, 0(a0)\necall").status is ThreadStatus.HALTED
    for register in (EccRegister.LAST_CORRECTED, EccRegister.FIRST_UNCORRECTABLE):
        assert machine.rtl_line(ECC_BASE)[register] >> 63
        machine.write_words(register_address(register), 0)
        machine.link.advance(4)
        assert machine.rtl_line(ECC_BASE)[register] == 0
    assert machine.rtl_line(ECC_BASE)[EccRegister.CORRECTED] >= 1
    assert machine.rtl_line(ECC_BASE)[EccRegister.UNCORRECTABLE] >= 1


def test_an_injection_outside_of_sram_does_nothing(machine):
    for address in (_SRAM_END, 1 << 40, _PLACE):
        machine.flip(address, 4)
    machine.read(_PLACE, 64)
    assert machine.rtl_line(ECC_BASE)[EccRegister.CORRECTED] == 1


def test_scrubbing_heals_single_flips_reports_double_ones_and_keeps_the_node_awake(machine):
    machine.write(_PLACE, bytes(128))
    machine.flip(_PLACE + 16, 4)
    machine.flip(_PLACE + 24, 64)
    machine.flip(_PLACE + 64, 0, 4)
    interval = register_address(EccRegister.SCRUB_INTERVAL)
    machine.write_words(interval, 2)
    machine.link.advance(5 * _SRAM_END // LINE_BYTES)
    assert machine.link.get("idle") == 0
    machine.write_words(interval, 0)
    machine.link.run(100)
    registers = machine.rtl_line(ECC_BASE)
    assert registers[EccRegister.CORRECTED] == 2
    assert registers[EccRegister.UNCORRECTABLE] >= 1
    packets = np.zeros(2, PACKET_DTYPE)
    packets["opcode"], packets["address"] = Opcode.READ, (_PLACE, _PLACE + 64)
    good, bad = machine.link.exchange(packets, 1000)
    assert (good["opcode"], bad["opcode"]) == (Opcode.READ_REPLY, Opcode.FAULT_REPLY)
    assert machine.rtl_line(ECC_BASE)[EccRegister.CORRECTED] == 2
