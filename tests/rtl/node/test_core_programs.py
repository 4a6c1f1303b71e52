"""What a thread does from start to stop: programs loaded, started and read back as packets."""

import numpy as np
from d1_golden.csr import CSR_BY_NAME, CSRS
from d1_golden.isa import encode
from d1_golden.memory_map import (
    CONTROL_BASE,
    Command,
    CounterRegister,
    ThreadRegister,
    ThreadStatus,
    register_address,
)
from d1_golden.node.trace import explain_difference
from d1_golden.packet import read_requests, write_requests


def test_a_thread_starts_with_its_argument_in_a0_and_halts_at_ecall(machine):
    outcome = machine.execute("sd a0, 0x400(x0)\necall", arg=0x1234_5678_9ABC_DEF0)
    assert outcome.status is ThreadStatus.HALTED
    assert machine.read(0x400, 8).view("<u8")[0] == 0x1234_5678_9ABC_DEF0


def test_registers_and_csrs_keep_their_values_from_one_start_to_the_next(machine):
    scalar = "\n".join(f"li x{n}, {0x1000 + n}" for n in range(1, 32) if n != 10)
    machine.execute(
        f"{scalar}\nvld v31, 0(x0)\nli t0, 99\ncsrw mscratch, t0\ncsrw mseed, t0\necall"
    )
    dump = "\n".join(f"sd x{n}, {0x400 + 8 * n}(x0)" for n in range(32))
    machine.execute(f"{dump}\nvst v31, 0x60(x0)\ncsrr t1, mscratch\nsd t1, 0x500(x0)\necall", arg=7)
    expected = [0, *(0x1000 + n for n in range(1, 32))]
    expected[5], expected[10] = 99, 7
    assert machine.read(0x400, 256).view("<u8").tolist() == expected
    assert machine.read(0x500, 8).view("<u8")[0] == 99


def test_every_csr_keeps_exactly_its_writable_bits(machine):
    text, place = "", 0x400
    checked = [csr for csr in CSRS if csr.name not in ("mcycle", "minstret", "cycle", "instret")]
    for csr in checked:
        if not csr.read_only:
            text += f"li t0, -1\ncsrw {csr.name}, t0\n"
        text += f"csrr t1, {csr.name}\n"
        if not csr.read_only:
            text += f"csrw {csr.name}, x0\n"
        text += f"sd t1, {place}(x0)\n"
        place += 8
    assert machine.execute(text + "ecall").status is ThreadStatus.HALTED
    values = machine.read(0x400, 8 * len(checked)).view("<u8").tolist()
    for csr, value in zip(checked, values, strict=True):
        fixed = csr.reset & ~csr.write_mask
        assert value == (csr.reset if csr.read_only else fixed | csr.write_mask), csr.name


def test_csr_instructions_without_a_set_bit_do_not_write(machine):
    outcome = machine.execute(
        "csrrs t0, mhartid, x0\ncsrrc t0, instret, x0\n"
        "csrrsi t0, instret, 0\ncsrrci t0, misa, 0\necall"
    )
    assert outcome.status is ThreadStatus.HALTED
    assert outcome.retired["value"][3] == CSR_BY_NAME["misa"].reset


def test_instret_counts_what_retired_before(machine):
    outcome = machine.execute(
        "csrw minstret, x0\nnop\nnop\ncsrr t0, minstret\nmul t1, t0, t0\ncsrr t0, instret\necall"
    )
    assert outcome.retired["value"][[3, 5]].tolist() == [2, 4]


def test_mcycle_counts_the_cycles_of_the_thread(machine):
    program = machine.load("csrr t0, mcycle\nnop\nnop\ncsrr t1, mcycle\necall")
    machine.start(program.base)
    machine.link.run(1000)
    first, *_, second = machine.outcome().retired["value"].tolist()
    assert second - first == 2  # the first alone, then two, then the last


_EVERLASTING = """
    li s0, 0x4000
    li s1, 0x800000
again:
    addi t0, t0, 1
    sd t0, 0x400(x0)
    vld v1, 0(s0)
    mmac.bf16.vm acc1, v1, 1(s0)
    mrd v2, acc1, 0
    mul t1, t0, t0
    vst v2, 3(s0)
    vcvt.bf16.f32 v3, v2, 0
    divu t2, t1, t0
    ld t3, 0(s1)
    vst v3, 4(s0)
    sd t2, 0x408(x0)
    mwr acc2, v3, 0
    vld v4, 5(s0)
    vst v4, 6(s0)
    j again
"""


def test_a_stopped_thread_has_done_a_number_of_whole_instructions(machine):
    rng = np.random.default_rng(21)
    print("seed 21")
    data = rng.integers(0x3F00, 0x4100, 64).astype("<u2").view(np.uint8)
    command = register_address(ThreadRegister.COMMAND)
    stop = write_requests(command, int(Command.STOP).to_bytes(8, "little"))
    for cycles in range(150, 260):
        machine.reset()
        machine.write(0x4000, data)
        machine.load(_EVERLASTING)
        machine.link.take_retired()
        machine.start(0)
        machine.link.advance(cycles)
        machine.link.exchange(stop, 1000)
        machine.link.run(200)
        outcome = machine.outcome()
        assert outcome.status is ThreadStatus.IDLE
        machine.golden.start(0, 0)
        expected = machine.golden.run_traced(len(outcome.retired))
        assert explain_difference(expected, outcome.retired) is None
        machine.golden.exchange(stop)
        actual = machine.link.exchange(read_requests(0x400, 0x4400), 100_000)["data"].reshape(-1)
        assert actual.tobytes() == machine.golden.memory[0x400:0x4800].tobytes(), cycles


def test_a_thread_can_stop_itself(machine):
    command = register_address(ThreadRegister.COMMAND)
    text = f"li t0, {command}\nli t1, {int(Command.STOP)}\nsd t1, 0(t0)\nloop: j loop"
    machine.load(text)
    machine.start(0)
    machine.link.run(1000)
    assert machine.outcome().status is ThreadStatus.IDLE


def test_a_halted_thread_has_all_its_stores_and_accumulators_done(machine):
    fill = "\n".join(f"mmac.bf16.vv acc{n % 8}, v1, v2" for n in range(16))
    outcome = machine.execute(f"{fill}\nmrd v3, acc7, 0\nvst v3, 64(x0)\nsd t0, 0x480(x0)\necall")
    assert outcome.status is ThreadStatus.HALTED
    assert len(outcome.retired) == 19


def test_an_earlier_branch_of_a_block_weakens_the_prediction_of_a_later_one(machine):
    outcome = machine.execute(
        """
        li s0, 40
        li s1, 8
        j loop
        .align 5
    loop:
        addi s0, s0, -1
        rem t0, s0, s1
        beqz t0, eighth
        bnez s0, loop
        j end
    eighth:
        bnez s0, loop
    end:
        ecall
        """
    )
    assert outcome.status is ThreadStatus.HALTED
    assert np.count_nonzero(outcome.retired["insn"] & 0x7F == 0x63) == 80


def test_changed_code_runs_after_fence_i(machine):
    word = encode("addi", rd=6, rs1=0, imm=77)
    outcome = machine.execute(f"""
        li t0, {word}
        li t2, 3
    again:
        sw t0, 0x80(x0)
        fence.i
        jal ra, patched
        addi t2, t2, -1
        addi t0, t0, 1024
        slli t3, t2, 20
        add t0, t0, t3
        bnez t2, again
        ecall
        .align 7
    patched:
        addi t1, x0, 1
        jalr x0, 0(ra)
    """)
    assert outcome.status is ThreadStatus.HALTED
    values = outcome.retired["value"][outcome.retired["pc"] == 0x80].tolist()
    assert len(values) == 3 and values[0] == 77


def test_code_that_was_replaced_between_two_runs_is_fetched_again(machine):
    first = machine.execute("li t0, 1\necall")
    second = machine.execute("li t0, 2\necall")
    assert (first.retired["value"][0], second.retired["value"][0]) == (1, 2)


def test_a_program_can_read_the_identity_and_its_own_thread_registers(machine):
    arg = register_address(ThreadRegister.ARG)
    outcome = machine.execute(
        f"li t0, {CONTROL_BASE}\nld t1, 0(t0)\nli t0, {arg}\nld t2, 0(t0)\n"
        "li t3, 55\nsd t3, 0(t0)\nld t4, 0(t0)\necall",
        arg=31,
    )
    assert outcome.status is ThreadStatus.HALTED
    by_register = {int(r["rd"]): int(r["value"]) for r in outcome.retired if r["rd_valid"]}
    assert (by_register[6], by_register[7], by_register[29]) == (0x4431_0001, 31, 55)


def test_counters_count_instructions_and_matrix_steps(machine):
    before = _counters(machine)
    outcome = machine.execute(
        "mzero acc0\nmmul.bf16.vv acc0, v1, v2\nmmac.bf16.vm acc1, v1, 0(x0)\necall"
    )
    after = _counters(machine)
    assert after[CounterRegister.INSTRUCTIONS] - before[CounterRegister.INSTRUCTIONS] == 3
    assert after[CounterRegister.MATRIX_STEPS] - before[CounterRegister.MATRIX_STEPS] == 2
    assert after[CounterRegister.CYCLES] - before[CounterRegister.CYCLES] == outcome.cycles


def _counters(machine) -> list[int]:
    request = read_requests(register_address(CounterRegister.CYCLES), 64)
    return machine.link.exchange(request, 1000)["data"].view("<u8")[0].tolist()


def test_stochastic_conversions_step_the_seed_and_others_do_not(machine):
    values = np.random.default_rng(3).standard_normal(64).astype("<f4")
    machine.write(0x4000, values.tobytes())
    outcome = machine.execute(
        """
        li t0, 0x4000
        vld v1, 0(t0)
        li t1, 0x7fffffff12345678
        csrw mseed, t1
        vcvt.bf16.f32 v2, v1, 0
        csrr t2, mseed
        csrwi_stochastic
        vcvt.f32.bf16 v3, v2, 0
        csrr t3, mseed
        vcvt.bf16.f32 v2, v1, 1
        vcvt.cfp8.f32 v4, v1, 1
        csrr t4, mseed
        vst v2, 4(t0)
        vst v4, 5(t0)
        ecall
    """.replace("csrwi_stochastic", "csrrwi x0, mround, 1")
    )
    seen = {int(r["rd"]): int(r["value"]) for r in outcome.retired if r["rd_valid"]}
    lanes = machine.params.fp32_lanes
    assert seen[7] == seen[28] == seen[6]
    assert seen[29] == seen[6] + 2 * lanes
    vector_bytes = machine.params.vector_bytes
    size = 2 * vector_bytes
    expected = machine.golden.memory[0x4000 + 4 * vector_bytes :][:size]
    assert machine.read(0x4000 + 4 * vector_bytes, size).tobytes() == expected.tobytes()


def test_registers_and_memory_outlive_a_reset_and_csrs_do_not(machine):
    fill = "li a1, 77\ncsrw mscratch, a1\nsd a1, 1024(x0)\nvld v3, 64(x0)\nmwr acc2, v3, 0\necall"
    assert machine.execute(fill).status is ThreadStatus.HALTED
    machine.link.reset()
    machine.golden.reset()
    dump = "csrr a2, mscratch\nmrd v4, acc2, 0\nvst v3, 80(x0)\nvst v4, 81(x0)\necall"
    assert machine.execute(dump).status is ThreadStatus.HALTED
    stored = machine.read(1280, 32).view("<u8")
    assert stored.tolist() == [77, 0, 77, 0]
