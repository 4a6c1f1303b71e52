import random

import pytest
from d1_golden.csr import CSR_BY_NAME, CSRS, Cause, Csr
from d1_golden.isa import encode
from d1_golden.memory_map import ThreadRegister, ThreadStatus

SEED = 3
COUNTING = {"mcycle", "minstret", "cycle", "instret"}
WRITABLE = [csr for csr in CSRS if not csr.read_only and csr.name not in COUNTING]


@pytest.mark.parametrize("csr", WRITABLE, ids=lambda csr: csr.name)
def test_a_write_changes_exactly_the_bits_of_the_mask(execute, csr: Csr) -> None:
    rng = random.Random(SEED)
    for value in (0, (1 << 64) - 1, rng.getrandbits(64)):
        # mtvec is put back, for the ecall that ends the program.
        node = execute(f"""
            li a1, {value}
            csrr a2, {csr.name}
            csrrw a3, {csr.name}, a1
            csrrw a4, {csr.name}, a2
            ecall
        """)
        assert node.status is ThreadStatus.HALTED
        assert node.x[13] == csr.reset
        assert node.x[14] == csr.reset & ~csr.write_mask | value & csr.write_mask


def test_set_and_clear_forms_change_the_bits_of_their_operand(execute) -> None:
    node = execute("""
        li a1, 0xFF0F
        csrrw x0, mscratch, a1
        li a2, 0x00F1
        csrrs a3, mscratch, a2
        csrrc a4, mscratch, a2
        csrrsi a5, mscratch, 0x11
        csrrci a6, mscratch, 0x1
        csrrwi a7, mscratch, 0x1E
        csrr s2, mscratch
        ecall
    """)
    assert node.x[13:19].tolist()[:5] == [0xFF0F, 0xFFFF, 0xFF0E, 0xFF1F, 0xFF1E]
    assert node.x[18] == 0x1E


def test_the_old_value_is_read_before_rd_is_rs1(execute) -> None:
    node = execute("li a1, 5\ncsrw mscratch, a1\nli a1, 9\ncsrrw a1, mscratch, a1\necall")
    assert node.x[11] == 5
    assert node.read_csr("mscratch") == 9


@pytest.mark.parametrize("name", ["csrrw", "csrrwi"])
@pytest.mark.parametrize("csr", [c for c in CSRS if c.read_only], ids=lambda csr: csr.name)
def test_writing_a_read_only_csr_is_illegal_even_with_zero(execute, csr: Csr, name: str) -> None:
    operand = {"csrrw": "rs1", "csrrwi": "imm_z"}[name]
    word = encode(name, rd=11, csr=csr.number, **{operand: 0})
    node = execute(f".word {word}")
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.ILLEGAL_INSTRUCTION
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == word


@pytest.mark.parametrize("name", ["csrrs", "csrrc", "csrrsi", "csrrci"])
@pytest.mark.parametrize("csr", [c for c in CSRS if c.read_only], ids=lambda csr: csr.name)
def test_a_read_only_csr_may_be_read_but_not_changed(execute, csr: Csr, name: str) -> None:
    operand = "imm_z" if name.endswith("i") else "rs1"
    read = encode(name, rd=11, csr=csr.number, **{operand: 0})
    write = encode(name, rd=11, csr=csr.number, **{operand: 1})
    node = execute(f".word {read}\n.word {write}")
    assert node.thread_register(ThreadRegister.FAULT_PC) == 4
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == write
    assert node.x[11] == (0 if csr.name in COUNTING else csr.reset)


def test_every_number_that_is_no_csr_is_illegal(execute) -> None:
    known = {csr.number for csr in CSRS}
    rng = random.Random(SEED)
    unknown = [n for n in range(4096) if n not in known]
    edges = [n + d for n in known for d in (-1, 1) if n + d not in known]
    for number in {*rng.sample(unknown, 50), *edges}:
        node = execute(f".word {encode('csrrs', rd=11, csr=number, rs1=0)}")
        assert node.thread_register(ThreadRegister.CAUSE) == Cause.ILLEGAL_INSTRUCTION, hex(number)


def test_instret_counts_what_retired_before_it(execute) -> None:
    node = execute("""
        nop
        nop
        csrr a1, instret
        csrr a2, minstret
        csrr a3, cycle
        csrr a4, mcycle
        ecall
    """)
    assert node.x[11:15].tolist() == [2, 3, 4, 5]


def test_a_trap_counts_as_a_cycle_but_not_as_retired(execute) -> None:
    node = execute("""
        la t0, handler
        csrw mtvec, t0
        ebreak
    handler:
        csrr a1, minstret
        csrr a2, mcycle
        csrw mtvec, x0
        ecall
    """)
    assert node.x[12] == node.x[11] + 2  # the ebreak, and the csrr between the two reads


@pytest.mark.parametrize("name", ["minstret", "mcycle"])
def test_a_written_counter_reads_that_value_in_the_next_instruction(execute, name: str) -> None:
    node = execute(
        f"li a1, 1000\nnop\ncsrrw a2, {name}, a1\ncsrr a3, {name}\ncsrr a4, {name}\necall"
    )
    assert node.x[12:15].tolist() == [2, 1000, 1001]


def test_counters_go_on_over_several_runs(execute) -> None:
    node = execute("nop\nnop\necall")
    execute("csrr a1, instret\necall", node=node)
    assert node.x[11] == 2


def test_csrs_keep_their_values_from_one_start_to_the_next(execute) -> None:
    node = execute("li a1, 77\ncsrw mscratch, a1\ncsrw mseed, a1\necall")
    execute("csrr a2, mscratch\ncsrr a3, mseed\necall", node=node)
    assert node.x[12:14].tolist() == [77, 77]


def test_every_csr_has_a_place_in_the_golden_state(execute) -> None:
    names = [csr.name for csr in CSRS if csr.name not in ("mtvec",)]
    node = execute("\n".join(f"csrr a1, {name}" for name in names) + "\necall")
    assert node.status is ThreadStatus.HALTED
    for name in ("cycle", "instret"):
        assert node.read_csr(name) == node.read_csr(f"m{name}")
    assert CSR_BY_NAME["misa"].reset == node.read_csr("misa")
