"""Every cause, with and without a handler: what stops, what traps, what is left unchanged."""

import pytest
from d1_golden.assembler import assemble
from d1_golden.csr import MSTATUS_RESET, Cause
from d1_golden.isa import encode
from d1_golden.memory_map import (
    CONTROL_BASE,
    ThreadRegister,
    ThreadStatus,
    register_address,
)
from d1_golden.node import GoldenNode
from d1_golden.params import preset

SRAM = preset("tiny").sram_bytes
#: Where a fifth thread would have its registers.
NO_THREAD = register_address(ThreadRegister.PC, preset("tiny").threads)
ILLEGAL_ACC = encode("mzero", acc_d=8)

#: Text that raises the exception at label `here`, cause, and the value as an expression of `here`.
SCALAR_FAULTS = [
    ("here: jal a1, 6", Cause.INSTRUCTION_MISALIGNED, "here + 6"),
    ("here: jalr a1, 7(a1)", Cause.INSTRUCTION_MISALIGNED, "6"),
    ("here: beq a1, x0, 10", Cause.INSTRUCTION_MISALIGNED, "here + 10"),
    ("here: bgeu a1, x0, -2", Cause.INSTRUCTION_MISALIGNED, "(here - 2) % (1 << 64)"),
    ("here: .word 0", Cause.ILLEGAL_INSTRUCTION, "0"),
    ("here: .word 0xFFFFFFFF", Cause.ILLEGAL_INSTRUCTION, "0xFFFFFFFF"),
    (f"here: .word {ILLEGAL_ACC}", Cause.ILLEGAL_INSTRUCTION, f"{ILLEGAL_ACC}"),
    ("here: ebreak", Cause.BREAKPOINT, "here"),
    ("here: lh a1, 1(a1)", Cause.LOAD_MISALIGNED, "1"),
    ("here: lhu a1, 3(a1)", Cause.LOAD_MISALIGNED, "3"),
    ("here: lw a1, 2(a1)", Cause.LOAD_MISALIGNED, "2"),
    ("here: lwu a1, 1(a1)", Cause.LOAD_MISALIGNED, "1"),
    ("here: ld a1, 4(a1)", Cause.LOAD_MISALIGNED, "4"),
    (f"li a2, {SRAM}\nhere: lb a1, 0(a2)", Cause.LOAD_ACCESS_FAULT, f"{SRAM}"),
    (f"li a2, {SRAM}\nhere: ld a1, 0(a2)", Cause.LOAD_ACCESS_FAULT, f"{SRAM}"),
    ("here: ld a1, -8(a1)", Cause.LOAD_ACCESS_FAULT, "(1 << 64) - 8"),
    ("li a2, 0x1000000\nhere: lw a1, 0(a2)", Cause.LOAD_ACCESS_FAULT, "1 << 24"),
    (f"li a2, {CONTROL_BASE}\nhere: lw a1, 0(a2)", Cause.LOAD_ACCESS_FAULT, f"{CONTROL_BASE}"),
    (f"li a2, {CONTROL_BASE}\nhere: lbu a1, 1(a2)", Cause.LOAD_ACCESS_FAULT, f"{CONTROL_BASE + 1}"),
    (f"li a2, {NO_THREAD}\nhere: ld a1, 0(a2)", Cause.LOAD_ACCESS_FAULT, f"{NO_THREAD}"),
    ("here: sh a2, 1(a1)", Cause.STORE_MISALIGNED, "1"),
    ("here: sw a2, 2(a1)", Cause.STORE_MISALIGNED, "2"),
    ("here: sd a2, 4(a1)", Cause.STORE_MISALIGNED, "4"),
    (f"li a2, {SRAM}\nhere: sb a1, 0(a2)", Cause.STORE_ACCESS_FAULT, f"{SRAM}"),
    ("here: sd a2, -8(a1)", Cause.STORE_ACCESS_FAULT, "(1 << 64) - 8"),
    (f"li a2, {CONTROL_BASE}\nhere: sw a1, 0(a2)", Cause.STORE_ACCESS_FAULT, f"{CONTROL_BASE}"),
    (f"li a2, {NO_THREAD}\nhere: sd a1, 0(a2)", Cause.STORE_ACCESS_FAULT, f"{NO_THREAD}"),
    # Misaligned and outside memory: misaligned.
    ("here: ld a1, -1(a1)", Cause.LOAD_MISALIGNED, "(1 << 64) - 1"),
    ("here: sd a1, -1(a1)", Cause.STORE_MISALIGNED, "(1 << 64) - 1"),
    ("here: ecall", Cause.ENVIRONMENT_CALL, "0"),
]  # fmt: skip

VECTOR_FAULTS = [
    ("li a2, 8\nhere: vld v1, 0(a2)", "8"),
    ("here: vld v1, -1(a1)", "(1 << 64) - 16"),
    ("li a2, 8\nhere: vst v1, 1(a2)", "24"),
    (f"li a2, {SRAM - 16}\nhere: vst v1, 1(a2)", f"{SRAM}"),
    (f"li a2, {CONTROL_BASE}\nhere: vld v1, 0(a2)", f"{CONTROL_BASE}"),
    ("li a2, 4\nhere: mmac.bf16.vm acc0, v1, 0(a2)", "4"),
    (f"li a2, {SRAM}\nhere: mmul.cfp8.hi.vm acc0, v1, 255(a2)", f"{SRAM + 255 * 16}"),
]


def here(text: str, base: int = 0) -> int:
    """Return the address of the instruction at fault: the last of the text."""
    return assemble(text, base).labels["here"]


def unchanged(node: GoldenNode) -> None:
    """Check that no instruction of the texts above had its result."""
    assert node.x[11] == 0
    assert not node.acc.any()
    assert not node.v.any()


def test_every_cause_is_covered() -> None:
    covered = {cause for _, cause, _ in SCALAR_FAULTS} | {Cause.VECTOR_FAULT}
    # A jump, see below; and what only a flipped bit raises.
    elsewhere = {Cause.INSTRUCTION_ACCESS_FAULT, Cause.HARDWARE_ERROR}
    assert covered == set(Cause) - elsewhere


@pytest.mark.parametrize(("text", "cause", "value"), SCALAR_FAULTS)
def test_without_a_handler_an_exception_stops_the_thread(execute, text, cause, value) -> None:
    node = execute(text)
    ends = ThreadStatus.HALTED if cause is Cause.ENVIRONMENT_CALL else ThreadStatus.FAULTED
    place = here(text)
    assert node.status is ends
    assert node.thread_register(ThreadRegister.CAUSE) == cause
    assert node.thread_register(ThreadRegister.FAULT_PC) == place
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == eval(value, {"here": place})
    assert (node.read_csr("mcause"), node.read_csr("mepc"), node.read_csr("mtval")) == (0, 0, 0)
    assert node.read_csr("minstret") == node.read_csr("mcycle") - 1
    unchanged(node)


@pytest.mark.parametrize(("text", "cause", "value"), SCALAR_FAULTS)
def test_with_a_handler_an_exception_traps_and_mret_returns(execute, text, cause, value) -> None:
    set_up = "la t0, handler\ncsrw mtvec, t0\ncsrrsi x0, mstatus, 8\n"
    node = execute(f"""
        {set_up}{text}
        csrr s5, mstatus
        csrw mtvec, x0
        ecall
    handler:
        csrr s0, mcause
        csrr s1, mepc
        csrr s2, mtval
        csrr s3, mstatus
        addi s4, s1, 4
        csrw mepc, s4
        mret
    """)
    place = here(set_up + text + "\nhandler:")
    assert node.status is ThreadStatus.HALTED
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.ENVIRONMENT_CALL
    assert (node.x[8], node.x[9]) == (cause, place)
    assert node.x[18] == eval(value, {"here": place})
    assert node.x[19] == MSTATUS_RESET | 1 << 7  # MIE moved to MPIE
    assert node.x[21] == MSTATUS_RESET | 1 << 7 | 1 << 3  # and back
    unchanged(node)


@pytest.mark.parametrize(("text", "value"), VECTOR_FAULTS)
@pytest.mark.parametrize("handler", [0, 0x40])
def test_a_vector_fault_stops_the_thread_handler_or_not(execute, text, value, handler) -> None:
    text = f"li t0, {handler}\ncsrw mtvec, t0\n{text}\necall"
    node = execute(text)
    assert node.status is ThreadStatus.FAULTED
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.VECTOR_FAULT
    assert node.thread_register(ThreadRegister.FAULT_PC) == here(text)
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == eval(value)
    assert node.read_csr("mcause") == 0
    unchanged(node)


@pytest.mark.parametrize("target", [SRAM, CONTROL_BASE, 1 << 24, (1 << 64) - 4])
def test_a_jump_out_of_memory_faults_at_its_target(execute, target: int) -> None:
    node = execute(f"li a2, {target}\njalr a1, 0(a2)")
    assert node.status is ThreadStatus.FAULTED
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.INSTRUCTION_ACCESS_FAULT
    assert node.thread_register(ThreadRegister.FAULT_PC) == target
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == target
    assert node.x[11] != 0  # the jump itself was done


def test_running_off_the_end_of_memory_faults(execute) -> None:
    node = execute("nop", base=SRAM - 4)
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.INSTRUCTION_ACCESS_FAULT
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == SRAM


def test_a_start_at_a_misaligned_address_faults() -> None:
    node = GoldenNode(preset("tiny"))
    node.start(0x102)
    node.finish(10)
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.INSTRUCTION_MISALIGNED
    assert node.thread_register(ThreadRegister.FAULT_PC) == 0x102
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == 0x102


def test_a_handler_outside_memory_traps_for_ever_within_the_bound() -> None:
    node = GoldenNode(preset("tiny"))
    node.write_csr("mtvec", CONTROL_BASE)
    node.start(0)
    with pytest.raises(TimeoutError, match="must stop within 50 instructions"):
        node.finish(50)
    assert node.read_csr("mepc") == CONTROL_BASE
    assert node.read_csr("minstret") == 0


def test_a_branch_that_is_not_taken_may_have_any_target(execute) -> None:
    node = execute("bne x0, x0, 6\nli a2, 3\necall")
    assert node.status is ThreadStatus.HALTED
    assert node.x[12] == 3
