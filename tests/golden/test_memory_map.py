from dataclasses import replace

import pytest
from d1_golden.memory_map import (
    CONTROL_BASE,
    COUNTER_BASE,
    COUNTER_LINES,
    ECC_BASE,
    LOCAL_BITS,
    REGISTERS,
    SEMAPHORE_BASE,
    SERDES_BASE,
    SERDES_STRIDE,
    THREAD_BASE,
    TRANSFER_BASE,
    Access,
    CounterRegister,
    EccRegister,
    IssueSlot,
    SemaphoreRegister,
    SerdesRegister,
    StallCause,
    ThreadRegister,
    control_lines,
    issue_counter,
    issue_slots,
    register_address,
    router_lines,
    serdes_lines,
    stall_counter,
    thread_counter,
)
from d1_golden.params import LINE_BYTES, PRESETS, preset
from d1_golden.serdes.link_end import LANE_COUNTERS
from d1_golden.serdes.link_layer import COUNTERS


@pytest.mark.parametrize("name", PRESETS)
def test_every_register_is_in_a_line_that_exists_and_in_no_other_place(name: str) -> None:
    lines = (*control_lines(preset(name)), *router_lines(), *serdes_lines())
    assert [*lines] == sorted({*lines})
    assert all(CONTROL_BASE <= line < 1 << LOCAL_BITS and line % LINE_BYTES == 0 for line in lines)
    addresses = [register.address for register in REGISTERS]
    assert len({*addresses}) == len(addresses)
    assert {address - address % LINE_BYTES for address in addresses} <= {*lines}


def test_threads_have_a_line_each_and_semaphores_a_register_each() -> None:
    for threads in range(1, 5):
        lines = control_lines(replace(preset("tiny"), threads=threads))
        of_threads = [line for line in lines if THREAD_BASE <= line < COUNTER_BASE]
        assert of_threads == [register_address(ThreadRegister.PC, n) for n in range(threads)]
    of_semaphores = [line for line in lines if SEMAPHORE_BASE <= line < TRANSFER_BASE]
    counts = [register_address(SemaphoreRegister.COUNT, n) for n in range(32)]
    assert counts == [line + 8 * n for line in of_semaphores for n in range(8)]
    assert SEMAPHORE_BASE == 0x80_5000


def test_every_thread_slot_and_cause_has_a_counter_of_its_own() -> None:
    counters = [
        *map(thread_counter, range(4)),
        *map(issue_counter, IssueSlot),
        *map(stall_counter, StallCause),
    ]
    assert len({*counters}) == 4 + 6 + 12
    last = register_address(max(CounterRegister))
    assert last < COUNTER_BASE + COUNTER_LINES * LINE_BYTES <= ECC_BASE
    assert [*CounterRegister] == [*range(len(CounterRegister))]


@pytest.mark.parametrize(("slots", "missing"), [(4, set()), (2, {"ALU1", "ADDRESS1"})])
def test_half_of_the_scalar_slots_are_alus(slots: int, missing: set[str]) -> None:
    there = issue_slots(replace(preset("tiny"), scalar_slots=slots))
    assert {slot.name for slot in IssueSlot} - {slot.name for slot in there} == missing
    assert [*there] == sorted(there)


def test_causes_of_vector_queues_are_told_from_those_of_threads() -> None:
    vector = {cause.name for cause in StallCause if cause.is_vector}
    assert vector == {"VECTOR_OPERAND", "VECTOR_SLOT", "ACCUMULATOR", "VECTOR_BANK", "RESULT"}


def test_what_a_write_does_is_told_of_each_register() -> None:
    access = {register.name: register.access for register in REGISTERS}
    assert access["thread.command"] is access["ecc.inject_address"] is Access.WRITE_ONLY
    writable = {name for name, kind in access.items() if kind is Access.READ_WRITE}
    assert {"thread.pc", "thread.arg", "semaphore.count", "ecc.scrub_interval"} <= writable
    assert not {"identity.node", "counter.cycles", "ecc.corrected", "thread.status"} & writable
    # Members of different kinds may be equal as numbers.
    assert access["identity.machine"] is access["counter.cycles"] is Access.READ_ONLY


def test_the_log_of_errors_is_one_line() -> None:
    assert [register_address(register) for register in EccRegister] == [
        ECC_BASE + 8 * n for n in range(8)
    ]


def test_an_address_is_of_a_control_register_only() -> None:
    with pytest.raises(TypeError, match="register must be a control register, not <Access"):
        register_address(Access.READ_ONLY)  # type: ignore[arg-type]


def test_every_counter_of_a_link_has_a_register_and_links_of_a_place_have_their_own() -> None:
    counters = {name.upper() for name in (*COUNTERS, *LANE_COUNTERS)}
    assert counters < {*SerdesRegister.__members__}
    assert not {*serdes_lines(0)} & {*serdes_lines(1)}
    assert register_address(SerdesRegister.STATUS, 1) == SERDES_BASE + SERDES_STRIDE
