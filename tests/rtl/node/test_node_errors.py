"""What goes wrong around a program: flipped bits, refused packets, failing transfers and lists."""

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.memory_map import (
    ECC_BASE,
    SEMAPHORE_BASE,
    TRANSFER_BASE,
    Command,
    EccRegister,
    ThreadRegister,
    ThreadStatus,
    TransferRegister,
    register_address,
)
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, POST_FLAG, Opcode
from d1_golden.params import LINE_BYTES
from d1_golden.transfer import MAX_HOPS, TransferFault, TransferOp, descriptor

#: A line that programs access; they are in the lines before.
_PLACE = 0x1000
_ONE_BIT, _TWO_BITS = 0x10, 0x11
#: Cycles after which an injection is done, scrubbing or not.
_INJECTION_CYCLES = 36
_SRAM_END = 64 * 1024
_ELSEWHERE = 5 << 24  # another node; nobody is there


def _words(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little") for value in values)


def _inject(machine, address: int, data: int, check: int = 0) -> None:
    machine.write(register_address(EccRegister.INJECT_DATA), _words(data, check, address))
    machine.link.advance(_INJECTION_CYCLES)


def _registers(machine, base: int) -> list[int]:
    """Return a line of registers of the RTL; how often it meets a flipped bit is its own."""
    packet = np.zeros(1, PACKET_DTYPE)
    packet["opcode"], packet["address"] = Opcode.READ, base
    (reply,) = machine.link.exchange(packet, 1000)
    assert reply["opcode"] == Opcode.READ_REPLY
    return reply["data"].view("<u8").tolist()


_READS = {
    "ld": ("ld a1, 8(a0)", 8),
    "lw": ("lw a1, 12(a0)", 12),
    "lbu": ("lbu a1, 15(a0)", 15),
    "vld": ("vld v1, 0(a0)", 0),
    "vldb": ("vldb v1, 8(a0)", 8),
    "mmul.vm": ("mzero acc0\nmmul.bf16.vm acc0, v0, 0(a0)", 0),
    "vgather": ("li a3, 8\nvbc.x v2, a3\nvgather v1, (a0), v2", 8),
    "lwalk": ("addi a1, a0, 8\nli a2, 1\nlwalk a3, a1, a2", 8),
    "lfind, key": ("li a2, 5\nlfind a3, a0, a2", 8),
}


def _run_to_hardware_error(machine, pc: int):
    """Run on both nodes and compare how the thread ends.

    The golden node does not retire the instruction that stops the thread. The RTL finds the error
    when the data are there, after the instruction has retired.
    """
    machine.start(pc)
    machine.link.run(10_000)
    outcome = machine.outcome()
    machine.golden.start(pc)
    machine.golden.run(10_000)
    registers = (ThreadRegister.CAUSE, ThreadRegister.FAULT_PC, ThreadRegister.FAULT_VALUE)
    expected = map(machine.golden.thread_register, registers)
    assert (outcome.cause, outcome.pc, outcome.value) == tuple(expected)
    assert outcome.status is machine.golden.status is ThreadStatus.FAULTED
    assert outcome.cause == Cause.HARDWARE_ERROR
    return outcome


@pytest.mark.parametrize("name", _READS)
def test_a_read_of_two_flipped_bits_stops_the_thread(machine, name):
    text, offset = _READS[name]
    machine.write(_PLACE, bytes(64))
    _inject(machine, _PLACE + 8, _TWO_BITS)
    machine.load(f"li a0, {_PLACE}\n{text}\necall")
    outcome = _run_to_hardware_error(machine, 0)
    assert outcome.value == _PLACE + offset
    registers = _registers(machine, ECC_BASE)
    assert registers[EccRegister.UNCORRECTABLE] >= 1
    assert registers[EccRegister.FIRST_UNCORRECTABLE] & 0xFFFF_FFFF == _PLACE + 8
    assert registers[EccRegister.FIRST_UNCORRECTABLE] >> 63


@pytest.mark.parametrize("name", _READS)
def test_a_read_of_one_flipped_bit_is_corrected_counted_and_logged(machine, name):
    text, _offset = _READS[name]
    machine.write(_PLACE, bytes(64))
    _inject(machine, _PLACE + 8, _ONE_BIT)
    outcome = machine.execute(f"li a0, {_PLACE}\n{text}\necall")
    assert outcome.status is ThreadStatus.HALTED
    registers = _registers(machine, ECC_BASE)
    assert registers[EccRegister.CORRECTED] >= 1
    assert registers[EccRegister.UNCORRECTABLE] == 0
    assert registers[EccRegister.LAST_CORRECTED] & 0xFFFF_FFFF == _PLACE + 8


def test_a_fetch_from_a_line_with_two_flipped_bits_stops_the_thread(machine):
    base = 0x400
    machine.load("ecall", base)
    _inject(machine, base, 0, 3)
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
    _inject(machine, _PLACE + 8, _TWO_BITS)
    assert machine.execute(f"li a0, {_PLACE}\n{text}\necall").status is ThreadStatus.HALTED
    packet = np.zeros(1, PACKET_DTYPE)
    packet["opcode"], packet["address"] = Opcode.READ, _PLACE
    (reply,) = machine.exchange(packet)
    assert reply["opcode"] == (Opcode.READ_REPLY if heals else Opcode.FAULT_REPLY)


def test_logs_of_flipped_bits_are_cleared_by_writing_them_and_counts_are_not(machine):
    machine.write(_PLACE, bytes(64))
    _inject(machine, _PLACE, _ONE_BIT)
    _inject(machine, _PLACE + 8, _TWO_BITS)
    assert machine.execute(f"li a0, {_PLACE}\nld a1, 0(a0)\necall").status is ThreadStatus.HALTED
    for register in (EccRegister.LAST_CORRECTED, EccRegister.FIRST_UNCORRECTABLE):
        assert _registers(machine, ECC_BASE)[register] >> 63
        machine.write(register_address(register), _words(0))
        machine.link.advance(4)
        assert _registers(machine, ECC_BASE)[register] == 0
    assert _registers(machine, ECC_BASE)[EccRegister.CORRECTED] >= 1
    assert _registers(machine, ECC_BASE)[EccRegister.UNCORRECTABLE] >= 1


def test_an_injection_outside_of_sram_does_nothing(machine):
    for address in (_SRAM_END, 1 << 40, _PLACE):
        _inject(machine, address, _ONE_BIT)
    machine.read(_PLACE, 64)
    assert _registers(machine, ECC_BASE)[EccRegister.CORRECTED] == 1


def test_scrubbing_heals_single_flips_reports_double_ones_and_keeps_the_node_awake(machine):
    machine.write(_PLACE, bytes(128))
    _inject(machine, _PLACE + 16, _ONE_BIT)
    _inject(machine, _PLACE + 24, 0, 1)
    _inject(machine, _PLACE + 64, _TWO_BITS)
    interval = register_address(EccRegister.SCRUB_INTERVAL)
    machine.write(interval, _words(2))
    machine.link.advance(5 * _SRAM_END // LINE_BYTES)
    assert machine.link.get("idle") == 0
    machine.write(interval, _words(0))
    machine.link.run(100)
    registers = _registers(machine, ECC_BASE)
    assert registers[EccRegister.CORRECTED] == 2
    assert registers[EccRegister.UNCORRECTABLE] >= 1
    packets = np.zeros(2, PACKET_DTYPE)
    packets["opcode"], packets["address"] = Opcode.READ, (_PLACE, _PLACE + 64)
    good, bad = machine.link.exchange(packets, 1000)
    assert (good["opcode"], bad["opcode"]) == (Opcode.READ_REPLY, Opcode.FAULT_REPLY)
    assert _registers(machine, ECC_BASE)[EccRegister.CORRECTED] == 2


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


#: Set-up of a0 and a1, the instruction, its cause, and the register with the value.
_TRANSFERS = {
    "push, local misaligned": (0x1008, 0x2000, "push a0, a1, 1", Cause.LOAD_MISALIGNED, 0),
    "push, local outside": (_SRAM_END - 64, 0, "push a0, a1, 2", Cause.LOAD_ACCESS_FAULT, 0),
    "push, remote misaligned": (0x1000, 0x2001, "push a0, a1, 1", Cause.STORE_MISALIGNED, 1),
    "push, remote outside": (
        0x1000,
        (1 << 24) - 64,
        "push a0, a1, 2",
        Cause.STORE_ACCESS_FAULT,
        1,
    ),
    "pull, local misaligned": (0x1008, 0x2000, "pull a0, a1, 1", Cause.STORE_MISALIGNED, 0),
    "pull, local outside": (_SRAM_END, 0x2000, "pull a0, a1, 1", Cause.STORE_ACCESS_FAULT, 0),
    "pull, remote misaligned": (0x1000, 0x2001, "pull a0, a1, 1", Cause.LOAD_MISALIGNED, 1),
    "pull, remote too long": (0x1000, 1 << 56, "pull a0, a1, 1", Cause.LOAD_ACCESS_FAULT, 1),
    "bcast, no rectangle": (0x1000, 1 << 24, "bcast a0, a1, 1", Cause.STORE_ACCESS_FAULT, 1),
    "post, too long": (1 << 56, 0, "post a0, 3", Cause.STORE_ACCESS_FAULT, 0),
    "xlist, misaligned": (0x1008, 0, "xlist a0", Cause.LOAD_MISALIGNED, 0),
    "xlist, outside": (_SRAM_END, 0, "xlist a0", Cause.LOAD_ACCESS_FAULT, 0),
}


@pytest.mark.parametrize("name", _TRANSFERS)
def test_a_transfer_with_a_wrong_end_is_an_exception_before_anything_happens(machine, name):
    a0, a1, text, cause, operand = _TRANSFERS[name]
    outcome = machine.execute(f"li a0, {a0}\nli a1, {a1}\n{text}\necall")
    assert (outcome.status, outcome.cause) == (ThreadStatus.FAULTED, cause)
    assert outcome.value == (a0, a1)[operand]
    assert _registers(machine, TRANSFER_BASE)[:3] == [0, 0, TransferFault.NONE]


def test_transfers_to_the_own_node_arrive_before_the_fence_opens(machine):
    machine.write(_PLACE, bytes(range(256)) * 4)
    machine.write(0x3000, bytes(64))
    outcome = machine.execute(
        f"""
        li a0, {_PLACE}
        li a1, 0x3000
        push a0, a1, 3
        li a2, 0x3400
        pull a2, a0, 5
        li a3, 0x3800
        bcast a0, a3, 2
        post x0, 7
        fence
        li a4, 0x3400
        ld a5, 256(a4)
        ld a6, 128(a1)
        swait 7
        ecall
        """
    )
    assert outcome.status is ThreadStatus.HALTED
    machine.link.run(10_000)
    for address, lines in ((0x3000, 3), (0x3400, 5), (0x3800, 2)):
        assert machine.read(address, 64 * lines).any()


def test_refused_requests_to_another_node_are_counted_and_the_first_is_kept(machine):
    machine.execute(
        f"""
        li a0, {_PLACE}
        li a1, {_ELSEWHERE | 0x40}
        pull a0, a1, 2
        fence
        push a0, a1, 1
        fence
        ecall
        """
    )
    outstanding, faults, kind, address = machine.read(TRANSFER_BASE, 32).view("<u8").tolist()
    assert (outstanding, faults, kind) == (0, 3, TransferFault.REMOTE)
    assert address == _ELSEWHERE | 0x40
    machine.write(register_address(TransferRegister.FAULTS), _words(0))
    assert not machine.read(TRANSFER_BASE, 32).any()


def test_a_line_that_cannot_be_corrected_is_not_sent(machine):
    machine.write(_PLACE, bytes([7]) * 192)
    _inject(machine, _PLACE + 64, _TWO_BITS)
    machine.execute(f"li a0, {_PLACE}\nli a1, 0x3000\npush a0, a1, 3\nfence\necall")
    _, faults, kind, address = machine.read(TRANSFER_BASE, 32).view("<u8").tolist()
    assert (faults, kind, address) == (1, TransferFault.UNCORRECTABLE, _PLACE + 64)
    lines = machine.read(0x3000, 192).reshape(3, 64)
    assert [bool(line.any()) for line in lines] == [True, False, True]


def _list(machine, *descriptors) -> tuple[int, int, int, int]:
    """Run the list of some descriptors, a line each from `_PLACE` on; return the faults."""
    for number, one in enumerate(descriptors):
        if number + 1 < len(descriptors) and not one["next"].any():
            one["next"] = _PLACE + 64 * (number + 1)
        machine.write(_PLACE + 64 * number, one.view(np.uint8))
    outcome = machine.execute(f"li a0, {_PLACE}\nxlist a0\nfence\necall")
    assert outcome.status is ThreadStatus.HALTED
    return tuple(machine.read(TRANSFER_BASE, 32).view("<u8").tolist())


def test_a_list_pulls_pushes_broadcasts_and_posts_in_its_order(machine):
    machine.write(0x2000, bytes(range(256)))
    faults = _list(
        machine,
        descriptor(TransferOp.PULL, local=0x3000, remote=0x2000, lines=4, completion=1),
        descriptor(
            TransferOp.PUSH, local=0x3000, remote=0x3400, lines=4, wait=True, arrival=2,
            remote_stride=128, completion=3,
        ),
        descriptor(TransferOp.BCAST, local=0x2000, remote=0x3800, lines=2, arrival=4),
        descriptor(TransferOp.POST, arrival=5, completion=6),
        descriptor(TransferOp.PULL, local=0x3C00, remote=0x2000, local_stride=-64, completion=7),
        descriptor(TransferOp.POST, arrival=5, wait=True),
    )  # fmt: skip
    assert faults == (0, 0, TransferFault.NONE, 0)
    counts = machine.read(SEMAPHORE_BASE, 64).view("<u8").tolist()
    assert counts == [0, 1, 1, 1, 1, 2, 1, 1]
    assert machine.read(0x3400, 512).any()


def _broken(**fields: int) -> np.ndarray:
    one = descriptor(TransferOp.PUSH, local=0x2000, remote=0x3000)
    for name, value in fields.items():
        one[name] = value
    return one


@pytest.mark.parametrize(
    "fields",
    [
        {"opcode": 4},
        {"lines": 0},
        {"local": 0x2008},
        {"local": 1 << 24},
        {"remote": 1 << 56},
        {"remote_stride": 8},
        {"wait": 2},
        {"zero": 1},
        {"completion": 0x40},
        {"opcode": 2, "remote": 1 << 24, "corner": 0},
        {"opcode": 3, "arrival": 0},
    ],
    ids=str,
)
def test_a_malformed_descriptor_ends_its_list(machine, fields):
    good = descriptor(TransferOp.POST, arrival=1, completion=1)
    never = descriptor(TransferOp.POST, arrival=2, completion=2)
    _, faults, kind, address = _list(machine, good, _broken(**fields), never)
    assert (faults, kind, address) == (1, TransferFault.DESCRIPTOR, _PLACE + 64)
    assert machine.read(SEMAPHORE_BASE, 24).view("<u8").tolist() == [0, 2, 0]


@pytest.mark.parametrize("next_address", [8, _SRAM_END, 1 << 40])
def test_a_list_that_leads_nowhere_ends_there(machine, next_address):
    one = descriptor(TransferOp.POST, arrival=1)
    one["next"] = next_address
    _, faults, kind, address = _list(machine, one)
    assert (faults, kind, address) == (1, TransferFault.DESCRIPTOR, next_address)


def test_a_descriptor_that_cannot_be_corrected_ends_its_list(machine):
    machine.write(_PLACE, descriptor(TransferOp.POST, arrival=1).view(np.uint8))
    _inject(machine, _PLACE + 48, _TWO_BITS)
    machine.execute(f"li a0, {_PLACE}\nxlist a0\nfence\necall")
    _, faults, kind, address = machine.read(TRANSFER_BASE, 32).view("<u8").tolist()
    assert (faults, kind, address) == (1, TransferFault.UNCORRECTABLE, _PLACE)


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (
            descriptor(TransferOp.PUSH, local=_SRAM_END, remote=0x3000, completion=1),
            TransferFault.LOCAL,
        ),
        (
            descriptor(TransferOp.PULL, local=_SRAM_END, remote=0x3000, completion=1),
            TransferFault.LOCAL,
        ),
        (
            descriptor(TransferOp.PULL, local=0x3000, remote=_ELSEWHERE, completion=1),
            TransferFault.REMOTE,
        ),
        (
            descriptor(TransferOp.PUSH, local=0x3000, remote=_ELSEWHERE, completion=1),
            TransferFault.REMOTE,
        ),
    ],
    ids=["push outside", "pull outside", "pull refused", "push refused"],
)
def test_a_fault_in_a_line_ends_its_list_without_completion(machine, one, kind):
    later = descriptor(TransferOp.POST, arrival=2, completion=3, wait=True)
    _, faults, seen, _address = _list(machine, one.copy(), later)
    assert (faults, seen) == (1, kind)
    assert machine.read(SEMAPHORE_BASE, 32).view("<u8").tolist() == [0, 0, 0, 0]


def test_links_are_followed_over_lines_and_end(machine):
    places = [0x2038, 0x2100, 0x2178, 0x2200]
    for place in places:
        machine.write(place & ~63, bytes(64))
    for n, place in enumerate(places):
        behind = places[n + 1] if n + 1 < len(places) else 0
        machine.execute(
            f"li a0, {place}\nli a1, {behind}\nli a2, {100 + n}\nsd a1, 0(a0)\nsd a2, 8(a0)\necall"
        )
    outcome = machine.execute(
        """
        li a0, 0x2038
        li a1, 2
        lwalk a2, a0, a1
        li a1, 9
        lwalk a3, a0, a1
        li a1, 102
        lfind a4, a0, a1
        li a1, 99
        lfind a5, a0, a1
        lwalk a6, a0, x0
        ecall
        """
    )
    rows = outcome.retired
    results = {int(r["rd"]): int(r["value"]) for r in rows if r["rd_valid"]}
    assert [results[rd] for rd in (12, 13, 14, 15, 16)] == [0x2178, 0, 0x2178, 0, 0x2038]


@pytest.mark.parametrize(
    ("record", "text", "cause", "value"),
    [
        (0x2004, "lwalk a2, a0, a1", Cause.LOAD_MISALIGNED, 0x2004),
        (_SRAM_END, "lwalk a2, a0, a1", Cause.LOAD_ACCESS_FAULT, _SRAM_END),
        (_SRAM_END - 8, "lfind a2, a0, a1", Cause.LOAD_ACCESS_FAULT, _SRAM_END),
    ],
)
def test_a_record_in_the_wrong_place_is_an_exception(machine, record, text, cause, value):
    outcome = machine.execute(f"li a0, {record}\nli a1, 7\n{text}\necall")
    assert (outcome.status, outcome.cause, outcome.value) == (ThreadStatus.FAULTED, cause, value)


def test_links_that_go_round_end_after_so_many(machine):
    machine.write(_PLACE, _words(_PLACE, 0))
    outcome = machine.execute(f"li a0, {_PLACE}\nli a1, 7\nlfind a2, a0, a1\necall")
    assert (outcome.status, outcome.cause) == (ThreadStatus.FAULTED, Cause.LOAD_ACCESS_FAULT)
    assert outcome.cycles > 2 * MAX_HOPS


@pytest.mark.parametrize("body", ["j 0", "swait 9", "fence\nj 0", "barrier 3"])
def test_a_running_or_waiting_thread_can_be_stopped_and_started_again(machine, body):
    base = 0x400
    machine.load(body, base)
    machine.start(base)
    machine.link.advance(200)
    assert machine.outcome().status is ThreadStatus.RUNNING
    machine.start(base + 64)  # ignored while it runs
    machine.link.exchange(_command(Command.STOP), 1000)
    machine.link.run(10_000)
    assert machine.outcome().status is ThreadStatus.IDLE
    machine.load("li a0, 5\necall", base)
    assert machine.run(base).status is ThreadStatus.HALTED


def _command(command: Command) -> np.ndarray:
    packet = np.zeros(1, PACKET_DTYPE)
    packet["opcode"], packet["mask"] = Opcode.WRITE, 0xFF << 8 * ThreadRegister.COMMAND
    packet["address"] = register_address(ThreadRegister.PC)
    packet["data"][0, 8 * ThreadRegister.COMMAND] = command
    return packet
