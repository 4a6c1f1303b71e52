"""The device contract, on golden and on the RTL."""

from collections.abc import Iterator

import d1
import numpy as np
import pytest
from d1.device import Device, shared_device
from d1_golden.assembler import assemble
from d1_golden.csr import Cause
from d1_golden.memory_map import (
    COUNTER_LINES,
    IDENTITY,
    MACHINE_ID,
    CounterRegister,
    ThreadStatus,
)
from d1_golden.params import PRESETS

STORE_DOUBLED = assemble(
    """
    ld t0, 0(a0)
    add t0, t0, t0
    sd t0, 8(a0)
    ecall
    """
).code
ENDLESS = assemble("loop: j loop").code


@pytest.fixture(scope="module", params=["golden", "rtl"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with d1.open(request.param, "tiny") as opened:
        yield opened


def test_memory_reads_back_what_was_written_at_any_alignment(device: Device):
    payload = np.arange(200, dtype=np.uint8)
    device.write(0x8003, payload)
    assert np.array_equal(device.read(0x8003, 200), payload)
    device.write(0x8010, b"\xff")
    assert device.read(0x800F, 3).tolist() == [12, 255, 14]


def test_the_identity_registers_are_those_of_the_preset(device: Device):
    words = device.read(IDENTITY, 24).view("<u8")
    assert words.tolist() == [MACHINE_ID, 0, PRESETS["tiny"].sram_bytes]


def test_a_program_is_started_waited_for_and_read_back(device: Device):
    base = device.data.base
    device.write(0, STORE_DOUBLED)
    device.write(base, np.array([21], np.uint64))
    device.start(pc=0, arg=base)
    state = device.wait(max_cycles=1000)
    assert state.status is ThreadStatus.HALTED
    assert state.cause == Cause.ENVIRONMENT_CALL
    assert state.fault_pc == 12
    assert device.read(base + 8, 8).view("<u8")[0] == 42


def test_a_call_moves_data_in_and_out_and_keeps_its_program(device: Device):
    base = device.data.base
    for value in (1, 2, 3):
        before = device.counters()[CounterRegister.REQUESTS]
        (result,) = device.call(
            STORE_DOUBLED,
            base,
            inputs=[(base, np.array([value], np.uint64))],
            outputs=[(base + 8, 8)],
            max_cycles=1000,
        )
        assert result.view("<u8")[0] == 2 * value
        requests = device.counters()[CounterRegister.REQUESTS] - before
    # Without the program: data, start, status, result and the counters.
    assert requests == 4 + COUNTER_LINES


def test_the_counters_count_instructions(device: Device):
    before = device.counters()
    device.call(STORE_DOUBLED, device.data.base, max_cycles=1000)
    after = device.counters()
    # On the RTL, ecall does not retire.
    assert after[CounterRegister.INSTRUCTIONS] - before[CounterRegister.INSTRUCTIONS] in (3, 4)
    assert after[CounterRegister.CYCLES] > before[CounterRegister.CYCLES]


def test_programs_make_room_for_each_other_when_the_code_region_is_full(device: Device):
    half = device.code.size // 2 + 64
    for value in (5, 6, 7, 8):
        program = assemble(f"li t0, {value}\n sd t0, 0(a0)\n ecall\n .zero {half}").code
        (result,) = device.call(
            program, device.data.base, outputs=[(device.data.base, 8)], max_cycles=1000
        )
        assert result.view("<u8")[0] == value


def test_a_program_larger_than_the_code_region_is_refused(device: Device):
    with pytest.raises(d1.SramOverflowError, match=r"program must fit in the 16384 bytes free"):
        device.call(bytes(device.code.size + 4), max_cycles=10)


def test_a_program_that_never_ends_is_given_up_with_its_state(device: Device):
    with pytest.raises(
        d1.CycleLimitError, match=r"thread 0 must stop within 500 cycles, not be running"
    ):
        device.call(ENDLESS, max_cycles=500)
    (result,) = device.call(
        STORE_DOUBLED,
        device.data.base,
        inputs=[(device.data.base, np.array([4], np.uint64))],
        outputs=[(device.data.base + 8, 8)],
        max_cycles=1000,
    )
    assert result.view("<u8")[0] == 8


def test_a_running_thread_can_be_stopped(device: Device):
    device.write(0, ENDLESS)
    device.start(pc=0)
    with pytest.raises(d1.CycleLimitError):
        device.wait(max_cycles=100)
    assert device.status().status is ThreadStatus.RUNNING
    device.stop()
    assert device.wait(max_cycles=100).status is ThreadStatus.IDLE


def test_a_fault_names_cause_pc_and_value_and_leaves_the_device_usable(device: Device):
    program = assemble("li t0, 0x700001\n lw t1, 0(t0)\n ecall").code
    with pytest.raises(d1.KernelFault, match=r"cause 4 \(load misaligned\)") as fault:
        device.call(program, max_cycles=1000)
    assert fault.value.cause == Cause.LOAD_MISALIGNED
    assert fault.value.value == 0x700001
    assert fault.value.pc == 8
    device.call(STORE_DOUBLED, device.data.base, max_cycles=1000)


def test_a_vector_fault_stops_the_thread(device: Device):
    program = assemble("vld v1, 0(a0)\n ecall").code
    with pytest.raises(d1.KernelFault, match="vector fault") as fault:
        device.call(program, 0x8004, max_cycles=1000)
    assert fault.value.value == 0x8004


def test_an_address_where_nothing_is_is_refused(device: Device):
    with pytest.raises(d1.AccessError, match=r"address 0x10000 must be in SRAM \(0\.\.0xffff\)"):
        device.read(0x10000, 8)
    with pytest.raises(d1.AccessError, match=r"address 0x880000 must be in SRAM"):
        device.write(0x880000, bytes(8))


def test_a_range_that_straddles_the_end_of_sram_is_refused_before_anything_is_sent(device: Device):
    before = device.read(0xFFC0, 64)
    with pytest.raises(d1.AccessError, match=r"128 bytes at 0xffc0 must end within the SRAM of"):
        device.write(0xFFC0, bytes(128))
    assert np.array_equal(device.read(0xFFC0, 64), before)


#: Thread n stores n + 1 at its place; thread `only` then goes on at `otherwise`.
ON_EVERY_THREAD = """
    csrr t0, mhartid
    slli t1, t0, 3
    add t1, t1, a0
    addi t2, t0, 1
    sd t2, 0(t1)
    li t3, {only}
    beq t0, t3, otherwise
    ecall
otherwise: {otherwise}
"""


def on_every_thread(only: int, otherwise: str) -> bytes:
    return assemble(ON_EVERY_THREAD.format(only=only, otherwise=otherwise)).code


@pytest.mark.parametrize("threads", [1, 3, 4])
def test_a_call_runs_on_as_many_threads_as_it_says_and_waits_for_all(device: Device, threads: int):
    base = device.data.base
    # Thread 0 goes on when the others have ended.
    wait = "li t4, 300\n again: addi t4, t4, -1\n bnez t4, again\n sd t4, 32(a0)\n ecall"
    (result,) = device.call(
        on_every_thread(0, wait),
        base,
        threads=threads,
        inputs=[(base, np.full(5, 77, np.uint64))],
        outputs=[(base, 40)],
        max_cycles=5000,
    )
    stored = [thread + 1 if thread < threads else 77 for thread in range(4)]
    assert result.view("<u8").tolist() == [*stored, 0]


def test_a_fault_names_the_thread_that_faulted(device: Device):
    program = on_every_thread(2, "lw t1, 1(a0)")
    with pytest.raises(d1.KernelFault, match=r"thread 2 must end with ecall, not faulted") as fault:
        device.call(program, device.data.base, threads=4, max_cycles=5000)
    assert fault.value.thread == 2
    assert fault.value.cause == Cause.LOAD_MISALIGNED


def test_a_thread_that_faulted_is_named_before_those_that_still_run(device: Device):
    program = on_every_thread(3, "lw t1, 1(a0)").replace(
        assemble("ecall").code, assemble("loop: j loop").code
    )
    with pytest.raises(d1.KernelFault, match="thread 3 must end with ecall"):
        device.call(program, device.data.base, threads=4, max_cycles=20_000)


def test_the_thread_that_does_not_end_is_named(device: Device):
    program = on_every_thread(1, "j otherwise")
    with pytest.raises(d1.CycleLimitError, match="thread 1 must stop within 2000 cycles"):
        device.call(program, device.data.base, threads=4, max_cycles=2000)


def test_more_threads_than_there_are_are_refused_before_anything_is_sent(device: Device):
    before = device.counters()[CounterRegister.REQUESTS]
    with pytest.raises(ValueError, match=r"threads must be in 1\.\.4, not 5"):
        device.call(STORE_DOUBLED, threads=5, max_cycles=10)
    requests = device.counters()[CounterRegister.REQUESTS] - before
    assert requests == COUNTER_LINES


@pytest.mark.parametrize("thread", [-1, 4])
def test_a_thread_that_is_not_there_is_refused(device: Device, thread: int):
    with pytest.raises(ValueError, match=rf"thread must be in 0\.\.3, not {thread}"):
        device.status(thread)


def test_a_bound_of_no_cycles_is_refused(device: Device):
    with pytest.raises(ValueError, match="max_cycles must be positive, not 0"):
        device.wait(0)


def test_an_unknown_device_is_refused_with_those_known():
    with pytest.raises(ValueError, match=r"device must be one of board, golden, rtl, not 'gpu'"):
        d1.open("gpu")


def test_an_unknown_preset_is_refused_with_those_known():
    with pytest.raises(ValueError, match=r"preset must be one of d1, fpga, tiny, not 'd2'"):
        d1.open("golden", preset="d2")


def test_a_shared_device_is_opened_once():
    assert shared_device("golden", "tiny") is shared_device("golden", "tiny")
    assert shared_device("golden", "tiny") is not shared_device("golden", "d1")
