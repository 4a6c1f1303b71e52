"""Exceptions of the core: cause, place and value, with and without a trap handler."""

import pytest
from d1_golden.csr import CSR_BY_NAME, Cause
from d1_golden.memory_map import CONTROL_BASE, ThreadStatus

#: Program before the instruction, the instruction, its cause, and the value (None: the word).
_SRAM_END = 64 * 1024
_CASES = {
    "ecall": ("", "ecall", Cause.ENVIRONMENT_CALL, 0),
    "ebreak": ("", "ebreak", Cause.BREAKPOINT, "pc"),
    "zero word": ("", ".word 0", Cause.ILLEGAL_INSTRUCTION, "word"),
    "all ones": ("", ".word 0xffffffff", Cause.ILLEGAL_INSTRUCTION, "word"),
    "unknown csr": ("", "csrrw t0, 0x123, t1", Cause.ILLEGAL_INSTRUCTION, "word"),
    "write to a read-only csr": ("", "csrrw t0, cycle, t1", Cause.ILLEGAL_INSTRUCTION, "word"),
    "set bits of a read-only csr": (
        "",
        "csrrsi t0, mhartid, 1",
        Cause.ILLEGAL_INSTRUCTION,
        "word",
    ),
    "missing accumulator": ("", "mzero acc8", Cause.ILLEGAL_INSTRUCTION, "word"),
    "missing part": ("", "mrd v1, acc0, 1", Cause.ILLEGAL_INSTRUCTION, "word"),
    "jump to half a word": ("li t0, 0x102", "jalr ra, 0(t0)", Cause.INSTRUCTION_MISALIGNED, 0x102),
    "lh misaligned": ("li t0, 0x1001", "lh t1, 0(t0)", Cause.LOAD_MISALIGNED, 0x1001),
    "lw misaligned": ("li t0, 0x1002", "lw t1, 0(t0)", Cause.LOAD_MISALIGNED, 0x1002),
    "ld misaligned": ("li t0, 0x1004", "ld t1, 0(t0)", Cause.LOAD_MISALIGNED, 0x1004),
    "sh misaligned": ("li t0, 0x1001", "sh t1, 0(t0)", Cause.STORE_MISALIGNED, 0x1001),
    "sw misaligned": ("li t0, 0x1002", "sw t1, 0(t0)", Cause.STORE_MISALIGNED, 0x1002),
    "sd misaligned": ("li t0, 0x1004", "sd t1, 0(t0)", Cause.STORE_MISALIGNED, 0x1004),
    "load after SRAM": (
        f"li t0, {_SRAM_END}",
        "lb t1, 0(t0)",
        Cause.LOAD_ACCESS_FAULT,
        _SRAM_END,
    ),
    "load below SRAM": ("", "ld t1, -8(x0)", Cause.LOAD_ACCESS_FAULT, (1 << 64) - 8),
    "load of another node": (
        "li t0, 0x1000000",
        "ld t1, 0(t0)",
        Cause.LOAD_ACCESS_FAULT,
        1 << 24,
    ),
    "store after SRAM": (
        f"li t0, {_SRAM_END}",
        "sb t1, 0(t0)",
        Cause.STORE_ACCESS_FAULT,
        _SRAM_END,
    ),
    "misaligned and outside": (
        f"li t0, {_SRAM_END + 1}",
        "ld t1, 0(t0)",
        Cause.LOAD_MISALIGNED,
        _SRAM_END + 1,
    ),
    "half a control register": (
        f"li t0, {CONTROL_BASE}",
        "lw t1, 0(t0)",
        Cause.LOAD_ACCESS_FAULT,
        CONTROL_BASE,
    ),
    "store to half a control register": (
        f"li t0, {CONTROL_BASE}",
        "sw t1, 0(t0)",
        Cause.STORE_ACCESS_FAULT,
        CONTROL_BASE,
    ),
    "load of no control register": (
        f"li t0, {CONTROL_BASE + 0x100}",
        "ld t1, 0(t0)",
        Cause.LOAD_ACCESS_FAULT,
        CONTROL_BASE + 0x100,
    ),
    "store to no control register": (
        f"li t0, {CONTROL_BASE + 0x100}",
        "sd t1, 0(t0)",
        Cause.STORE_ACCESS_FAULT,
        CONTROL_BASE + 0x100,
    ),
}

_VECTOR_CASES = {
    "vld misaligned": ("li t0, 0x1008", "vld v1, 0(t0)", 0x1008),
    "vst misaligned": ("li t0, 0x1008", "vst v1, 0(t0)", 0x1008),
    "mmac misaligned": ("li t0, 0x1008", "mmac.bf16.vm acc1, v1, 0(t0)", 0x1008),
    "vld after SRAM": (f"li t0, {_SRAM_END}", "vld v1, 0(t0)", _SRAM_END),
    "vst below SRAM": ("", "vst v1, -1(x0)", (1 << 64) - 16),
    "mmul in the control block": (
        f"li t0, {CONTROL_BASE}",
        "mmul.bf16.vm acc1, v1, 0(t0)",
        CONTROL_BASE,
    ),
}

#: Counts exceptions in s0 and goes on after the instruction.
_HANDLER = """
    li s11, 8
    j main
handler:
    addi s0, s0, 1
    csrr s1, mcause
    csrr s2, mtval
    csrr s3, mepc
    csrr s4, mstatus
    addi s3, s3, 4
    csrw mepc, s3
    mret
main:
    csrw mtvec, s11
"""


def _value(kind, pc: int, machine) -> int:
    word = int.from_bytes(machine.read(pc, 4).tobytes(), "little")
    return {"pc": pc, "word": word}.get(kind, kind)


@pytest.mark.parametrize("name", _CASES)
def test_without_a_handler_an_exception_stops_the_thread_before_any_effect(machine, name):
    before, instruction, cause, kind = _CASES[name]
    text = f"li s5, 1\n{before}\nhere: {instruction}\nli s5, 2\necall"
    program = machine.load(text)
    outcome = machine.run(0)
    halts = cause is Cause.ENVIRONMENT_CALL
    assert outcome.status is (ThreadStatus.HALTED if halts else ThreadStatus.FAULTED)
    assert (outcome.cause, outcome.pc) == (cause, program.labels["here"])
    assert outcome.value == _value(kind, outcome.pc, machine)
    assert outcome.retired["pc"].max() == outcome.pc - 4, "all before it retired, and it did not"


@pytest.mark.parametrize("name", _CASES)
def test_with_a_handler_an_exception_traps_and_the_thread_goes_on(machine, name):
    before, instruction, cause, kind = _CASES[name]
    text = f"{_HANDLER}\n{before}\nhere: {instruction}\n"
    text += "csrw mtvec, x0\nsd s0, 0x400(x0)\nsd s1, 0x408(x0)\nsd s2, 0x410(x0)\necall"
    program = machine.load(text)
    assert program.labels["handler"] == 8, "which the program writes to mtvec"
    outcome = machine.run(0)
    assert (outcome.status, outcome.cause) == (ThreadStatus.HALTED, Cause.ENVIRONMENT_CALL)
    count, seen_cause, seen_value = machine.read(0x400, 24).view("<u8").tolist()
    assert (count, seen_cause) == (1, cause)
    assert seen_value == _value(kind, program.labels["here"], machine)


@pytest.mark.parametrize("handler", [False, True])
@pytest.mark.parametrize("name", _VECTOR_CASES)
def test_a_vector_fault_stops_the_thread_with_or_without_a_handler(machine, name, handler):
    before, instruction, address = _VECTOR_CASES[name]
    install = "li s11, 0x40\ncsrw mtvec, s11" if handler else ""
    program = machine.load(f"{install}\n{before}\nhere: {instruction}\necall")
    outcome = machine.run(0)
    assert (outcome.status, outcome.cause) == (ThreadStatus.FAULTED, Cause.VECTOR_FAULT)
    assert (outcome.pc, outcome.value) == (program.labels["here"], address)


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        (_SRAM_END, Cause.INSTRUCTION_ACCESS_FAULT),
        (CONTROL_BASE, Cause.INSTRUCTION_ACCESS_FAULT),
        (1 << 40, Cause.INSTRUCTION_ACCESS_FAULT),
        ((1 << 64) - 4, Cause.INSTRUCTION_ACCESS_FAULT),
    ],
)
def test_a_jump_out_of_memory_faults_at_its_target(machine, target, cause):
    outcome = machine.execute(f"li t0, {target}\njalr ra, 0(t0)\necall")
    assert (outcome.status, outcome.cause) == (ThreadStatus.FAULTED, cause)
    assert (outcome.pc, outcome.value) == (target, target)


def test_code_that_runs_off_the_end_of_memory_faults_there(machine):
    base = _SRAM_END - 16
    outcome = machine.execute("nop\nnop\nnop\nnop", base=base)
    assert outcome.cause == Cause.INSTRUCTION_ACCESS_FAULT
    assert (outcome.pc, outcome.value, len(outcome.retired)) == (_SRAM_END, _SRAM_END, 4)


@pytest.mark.parametrize("pc", [2, 0x102, 1])
def test_a_start_at_half_a_word_faults(machine, pc):
    machine.load("ecall")
    outcome = machine.run(pc)
    assert (outcome.status, outcome.cause) == (
        ThreadStatus.FAULTED,
        Cause.INSTRUCTION_MISALIGNED,
    )
    assert (outcome.pc, outcome.value) == (pc, pc)


def test_an_untaken_branch_to_half_a_word_is_no_exception(machine):
    beq = 0x0000_0063 | 1 << 15 | 1 << 8  # beq x1, x0, 2
    assert machine.execute(f"li x1, 1\n.word {beq}\necall").status is ThreadStatus.HALTED
    outcome = machine.execute(f"li x1, 0\n.word {beq}\necall")
    assert (outcome.cause, outcome.pc, outcome.value) == (Cause.INSTRUCTION_MISALIGNED, 4, 6)


def test_an_exception_behind_a_taken_branch_never_happens(machine):
    text = (
        "j over\n.word 0\n.word 0\n.word 0\nover: li t0, 1\nbnez t0, end\nlb t1, -1(x0)\nend: ecall"
    )
    assert machine.execute(text).status is ThreadStatus.HALTED


def test_mret_restores_the_interrupt_enable_that_the_trap_saved(machine):
    text = f"{_HANDLER}\ncsrrwi x0, mstatus, 8\nebreak\ncsrr s5, mstatus\n"
    text += "sd s4, 0x400(x0)\nsd s5, 0x408(x0)\ncsrw mtvec, x0\necall"
    machine.execute(text)
    inside, after = machine.read(0x400, 16).view("<u8").tolist()
    fixed = CSR_BY_NAME["mstatus"].reset
    assert (inside, after) == (fixed | 1 << 7, fixed | 1 << 7 | 1 << 3)
