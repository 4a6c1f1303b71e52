"""Transfers and transfer lists of a whole node: what they do, and how they fail."""

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.memory_map import (
    SEMAPHORE_BASE,
    TRANSFER_BASE,
    ThreadStatus,
    TransferRegister,
    register_address,
)
from d1_golden.params import preset
from d1_golden.transfer import TransferFault, TransferOp, descriptor

#: Where what the tests access is; programs are in the lines before.
_PLACE = 0x1000
_SRAM_END = preset("tiny").sram_bytes
_ELSEWHERE = 5 << 24  # another node; nobody is there

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
    assert machine.rtl_line(TRANSFER_BASE)[:3] == [0, 0, TransferFault.NONE]


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
    machine.write_words(register_address(TransferRegister.FAULTS), 0)
    assert not machine.read(TRANSFER_BASE, 32).any()


def test_a_line_that_cannot_be_corrected_is_not_sent(machine):
    machine.write(_PLACE, bytes([7]) * 192)
    machine.flip(_PLACE + 64, 0, 4)
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
    machine.flip(_PLACE + 48, 0, 4)
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
