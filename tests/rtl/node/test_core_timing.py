"""Cycles: the throughput and the latencies that docs/pipeline.md promises."""

import pytest

_DATA = "li a1, 0x4000\nli a2, 0x800000\nli a3, 3\n"
#: The line of the code is fetched beside the accesses: a bank is taken now and then.
_FETCH_SHARE = 1 / 16


def _cycles(machine, text: str) -> int:
    """Return the CYCLES register after a program."""
    return machine.execute(f"{_DATA}{text}\necall").cycles


def _cycles_of(machine, body: str, repeats: int = 32) -> float:
    """Return the cycles of one round of straight-line code, without start, stop and fetch."""
    return (
        _cycles(machine, f"{body}\n" * 2 * repeats) - _cycles(machine, f"{body}\n" * repeats)
    ) / repeats


def _loop_cycles(machine, body: str) -> float:
    """Return the cycles of one round of a loop whose code is buffered: body, addi, bnez."""

    def run(rounds: int) -> int:
        return _cycles(machine, f"li t6, {rounds}\nagain: {body}\naddi t6, t6, -1\nbnez t6, again")

    return (run(60) - run(20)) / 40


def _rotating(count: int, template: str) -> str:
    return "\n".join(template.format(n=n, m=n + 8) for n in range(count))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("addi t0, t1, 1\nxor t2, t3, t4", id="independent ALU"),
        pytest.param("addi t0, t0, 1", id="dependent ALU"),
        pytest.param("csrrw t0, mscratch, t0", id="CSR"),
        pytest.param("ld t0, 0(a1)\nld t1, 64(a1)", id="scalar loads"),
        pytest.param("sd t0, 64(a1)\nsd t1, 0(a1)", id="scalar stores"),
        pytest.param("sd t0, 64(a1)\nld t1, 64(a1)", id="load after store"),
        pytest.param(_rotating(8, "vld v{n}, {n}(a1)"), id="vld"),
        pytest.param(_rotating(8, "vst v{n}, {n}(a1)"), id="vst"),
        pytest.param(_rotating(8, "mmac.bf16.vv acc{n}, v1, v2"), id="mmac.vv"),
        pytest.param(_rotating(3, "mmac.bf16.vv acc{n}, v1, v2"), id="mmac.vv on three"),
        pytest.param(_rotating(8, "mmac.bf16.vm acc{n}, v1, {n}(a1)"), id="mmac.vm"),
        pytest.param(_rotating(8, "mmac.cfp8.lo.vm acc{n}, v1, {n}(a1)"), id="mmac.cfp8.vm"),
        pytest.param(_rotating(8, "mmul.bf16.vv acc0, v{n}, v2"), id="mmul on one"),
        pytest.param(_rotating(8, "vcvt.bf16.f32 v{m}, v{n}, 0"), id="vcvt"),
        pytest.param(_rotating(8, "vfadd.f32 v{m}, v{n}, v0"), id="vfadd"),
        pytest.param(_rotating(5, "vfmadd.f32 v{n}, v8, v9"), id="vfmadd on five"),
        pytest.param(_rotating(8, "mrd v{n}, acc{n}, 0"), id="mrd"),
        pytest.param(_rotating(8, "mwr acc{n}, v{n}, 0"), id="mwr"),
        pytest.param(
            _rotating(8, "mrd v{m}, acc{n}, 0") + "\n" + _rotating(8, "vst v{m}, {n}(a1)"),
            id="read-out",
        ),
        pytest.param(
            "mrd v8, acc0, 0\nmrd v9, acc1, 0\nmrd v10, acc2, 0\n"
            + "\n".join(
                f"mrd v{8 + n % 4}, acc{n % 8}, 0\nvst v{8 + (n - 3) % 4}, {n}(a1)"
                for n in range(3, 19)
            )
            + "\nvst v8, 20(a1)\nvst v9, 21(a1)\nvst v10, 22(a1)",
            id="read-out, interleaved",
        ),
    ],
)
def test_straight_line_code_takes_one_cycle_an_instruction(machine, body):
    per_instruction = _cycles_of(machine, body) / (body.count("\n") + 1)
    assert 1 <= per_instruction <= 1 + _FETCH_SHARE


def test_a_block_of_loads_and_matrix_steps_takes_one_cycle_an_instruction(machine):
    # The inner loop of a matrix product: one operand tile loaded ahead, eight steps from memory.
    body = "\n".join(
        f"vld v{1 + (k + 1) % 2}, {32 + k}(a1)\n"
        + _rotating(8, "mmac.bf16.vm acc{n}, v" + str(1 + k % 2) + ", {n}(a1)")
        for k in range(2)
    )
    assert 9 <= _cycles_of(machine, body, 16) / 2 <= 9 * (1 + _FETCH_SHARE)


@pytest.mark.parametrize(
    ("body", "cycles"),
    [
        pytest.param("mul t0, t1, t2", 4, id="mul"),
        pytest.param("divu t0, t1, a3", 68, id="div"),
        pytest.param("remw t0, t1, a3", 68, id="remw"),
        pytest.param("ld t0, 0(a2)", 2, id="control load"),
        pytest.param("ld t0, 0(a1)\naddi t1, t0, 1", 3, id="load, use"),
        pytest.param("ld t0, 0(a1)\nnop\naddi t1, t0, 1", 3, id="load, other, use"),
        pytest.param("mul t0, t1, t2\naddi t3, t0, 1", 5, id="mul, use"),
        pytest.param("j 8\nnop", 3, id="jump within the buffered lines"),
        pytest.param("beq x0, x0, 8\nnop", 3, id="taken branch"),
        pytest.param("bne x0, x0, 8\nnop", 2, id="untaken branch"),
        pytest.param("vld v1, 0(a1)\nmmul.bf16.vv acc0, v1, v2", 2, id="vld, matrix"),
        pytest.param("vld v1, 0(a1)\nvst v1, 5(a1)", 3, id="vld, vst"),
        pytest.param("mmac.bf16.vv acc0, v1, v2", 3, id="accumulate on one"),
        pytest.param("mmul.bf16.vv acc0, v1, v2\nmrd v3, acc0, 0", 4, id="step, mrd"),
        pytest.param("mrd v1, acc0, 0\nmmul.bf16.vv acc1, v1, v2", 4, id="mrd, matrix"),
        pytest.param("mrd v1, acc0, 0\nvst v1, 0(a1)", 5, id="mrd, vst"),
        pytest.param("vcvt.f32.bf16 v1, v2, 0\nmmul.bf16.vv acc1, v1, v2", 4, id="vcvt, matrix"),
        pytest.param("vcvt.bf16.f32 v1, v2, 0\nvst v1, 0(a1)", 5, id="vcvt, vst"),
        pytest.param("vfadd.f32 v1, v2, v3\nmmul.bf16.vv acc1, v1, v2", 6, id="vfadd, matrix"),
        pytest.param("vfmul.f32 v1, v2, v3\nvst v1, 0(a1)", 7, id="vfmul, vst"),
        pytest.param("vfmadd.f32 v1, v2, v3", 5, id="vfmadd on one"),
        pytest.param("vfmin.f32 v1, v2, v3\nvcvt.f32.bf16 v2, v1, 0", 8, id="vfmin, vcvt, vfmin"),
        pytest.param(
            "vfadd.f32 v1, v2, v3\nmmul.bf16.vv acc1, v4, v5\nvcvt.f32.bf16 v6, v4, 0\n"
            "mmul.bf16.vv acc2, v4, v5\nmmul.bf16.vv acc3, v4, v5",
            6,
            id="vcvt two after vfadd",
        ),
        pytest.param(
            "vfadd.f32 v1, v2, v3\nmmul.bf16.vv acc1, v4, v5\nmrd v6, acc0, 0\n"
            "mmul.bf16.vv acc2, v4, v5\nmmul.bf16.vv acc3, v4, v5",
            6,
            id="mrd two after vfadd",
        ),
        pytest.param(
            "vfadd.f32 v1, v2, v3\nmmul.bf16.vv acc1, v4, v5\nmmul.bf16.vv acc2, v4, v5\n"
            "mmul.bf16.vv acc3, v4, v5\nvld v6, 0(a1)",
            6,
            id="vld four after vfadd",
        ),
        pytest.param("mmac.bf16.vv acc0, v1, v2\nmzero acc0", 4, id="step, mzero, step"),
        pytest.param("mwr acc0, v1, 0\nmrd v3, acc0, 0", 3, id="mwr, mrd"),
    ],
)
def test_latencies_are_the_documented_ones(machine, body, cycles):
    # Fetch takes banks from loads and stores in at most one cycle of a line of code.
    share = _FETCH_SHARE * (body.count("\n") + 1)
    assert cycles <= _cycles_of(machine, body) <= cycles + share


def test_a_small_loop_pays_two_cycles_for_its_taken_branch(machine):
    assert _loop_cycles(machine, "nop\nnop\nnop\nnop") == 6 + 2


def test_a_loop_that_fits_the_line_buffers_is_not_fetched_again(machine):
    assert _loop_cycles(machine, "\n".join(["nop"] * 30)) == 32 + 2


def test_a_jump_to_a_line_that_is_not_buffered_pays_four_cycles(machine):
    far = "".join(f"j at{n}\n.align 9\nat{n}: nop\n" for n in range(20))
    near = "".join(f"j at{n}\nnop\nat{n}: nop\n" for n in range(20))
    jumps = (_cycles(machine, far) - _cycles(machine, near)) / 20
    assert 2 <= jumps <= 2.5, "beside the two cycles of every taken branch"
