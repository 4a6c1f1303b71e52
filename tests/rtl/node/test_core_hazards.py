"""Every unit's result, used by every unit, with 0 to 4 instructions in between."""

import itertools
import random

import numpy as np
import pytest
from d1_golden.memory_map import IDENTITY

_DISTANCES = range(5)
_DATA = 0x4000
_RESULTS = 0x6000
_SEED = 11

#: Instructions that write t0; s0 points to data, t0 holds something else before.
_SCALAR_PRODUCERS = {
    "alu": "xor t0, s2, s3",
    "lui": "lui t0, 4096",
    "mul": "mul t0, s2, s4",
    "div": "divu t0, s2, s4",
    "load": "lhu t0, 2(s0)",
    "control load": "ld t0, 16(s1)",
    "csr": "csrrw t0, mscratch, s3",
    "link": "jal t0, 4",
}

#: Instructions that read t0; each leaves what it did in a1, memory, v1 or acc1.
_SCALAR_CONSUMERS = {
    "alu rs1": "addi a1, t0, 3",
    "alu rs2": "sub a1, s2, t0",
    "branch": "bltu s2, t0, 8\nli a1, 99",
    "mul": "mulhu a1, t0, s2",
    "div": "rem a1, s3, t0",
    "store data": "sd t0, 8(s5)",
    "csr": "csrrs a1, mscratch, t0",
    "link over the result": "jal t0, 4\nmv a1, t0",
}

#: The same for an address in t0, which the producers make from s0.
_ADDRESS_PRODUCERS = {
    "alu": "addi t0, s0, 0",
    "mul": "mul t0, s0, s6",
    "div": "div t0, s0, s6",
    "load": "ld t0, 0(s7)",
    "csr": "csrrw t0, mscratch, s0",
}
_ADDRESS_CONSUMERS = {
    "load": "lw a1, 4(t0)",
    "store": "sh s2, 6(t0)",
    "vld": "vld v1, 1(t0)",
    "vst": "vst v2, 2(t0)",
    "mmul.vm": "mmul.bf16.vm acc1, v2, 3(t0)",
}

_VECTOR_PRODUCERS = {
    "vld": "vld v3, 4(s0)",
    "mrd": "mrd v3, acc2, 0",
    "vcvt.f32.bf16": "vcvt.f32.bf16 v3, v4, 1",
    "vcvt.bf16.f32": "vcvt.bf16.f32 v3, v4, 0",
    "vcvt.f32.cfp8": "vcvt.f32.cfp8 v3, v4, 3",
    "vcvt.cfp8.f32": "vcvt.cfp8.f32 v3, v4, 2",
    "vfadd": "vfadd.f32 v3, v4, v5",
    "vfmadd": "vfmadd.f32 v3, v4, v5",
}
_VECTOR_CONSUMERS = {
    "vst": "vst v3, 0(s5)",
    "first operand": "mmul.bf16.vv acc1, v3, v4",
    "second operand": "mmac.bf16.vv acc1, v4, v3",
    "operand beside memory": "mmac.cfp8.hi.vm acc1, v3, 5(s0)",
    "mwr": "mwr acc1, v3, 0",
    "converted": "vcvt.f32.bf16 v1, v3, 0",
    "first term": "vfsub.f32 v1, v3, v4",
    "second term": "vfmax.f32 v1, v4, v3",
    "addend": "vfnmadd.f32 v3, v4, v5\nvst v3, 0(s5)",
    "kept in part": "vcvt.bf16.f32 v3, v4, 1\nvst v3, 0(s5)",
    "overwritten by vld": "vld v3, 6(s0)\nvst v3, 0(s5)",
    "overwritten by mrd": "mrd v3, acc3, 0\nvst v3, 0(s5)",
    "overwritten by vcvt": "vcvt.f32.cfp8 v3, v5, 0\nvst v3, 0(s5)",
    "overwritten by vfmul": "vfmul.f32 v3, v5, v6\nvst v3, 0(s5)",
}
#: Instructions that read v3 and, after them, those that overwrite it.
_VECTOR_READERS = {
    name: _VECTOR_CONSUMERS[name]
    for name in ("vst", "first operand", "operand beside memory", "mwr", "converted", "second term")
}

_ACCUMULATOR_PRODUCERS = {
    "mmac": "mmac.bf16.vv acc1, v4, v5",
    "mmul": "mmul.bf16.vm acc1, v4, 5(s0)",
    "cfp8": "mmac.cfp8.lo.vv acc1, v4, v5",
    "mzero": "mzero acc1",
    "mwr": "mwr acc1, v6, 0",
}
_ACCUMULATOR_CONSUMERS = {
    **_ACCUMULATOR_PRODUCERS,
    "mrd": "mrd v1, acc1, 0",
    "mmac.vm": "mmac.bf16.vm acc1, v5, 6(s0)",
}

_MEMORY_PRODUCERS = {
    "sd": "sd s2, 64(s0)",
    "sb": "sb s2, 69(s0)",
    "vst": "vst v4, 4(s0)",
}
_MEMORY_CONSUMERS = {
    "ld": "ld a1, 64(s0)",
    "lhu": "lhu a1, 68(s0)",
    "vld": "vld v1, 4(s0)",
    "mmul.vm": "mmul.bf16.vm acc1, v5, 4(s0)",
    "sh": "sh s3, 68(s0)\nld a1, 64(s0)",
    "vst": "vst v5, 4(s0)\nld a1, 64(s0)",
}


def _set_up() -> str:
    """Return code that makes the state that every pair starts from."""
    vectors = "\n".join(f"vld v{n}, {n}(s0)" for n in range(8))
    accumulators = "\n".join(f"mmul.bf16.vv acc{n}, v{n + 1}, v{n + 2}" for n in range(4))
    return f"""
        li s0, {_DATA}
        li s1, {IDENTITY}
        li s2, 0x123456789abcdef
        li s3, -987654321
        li s4, 77
        li s5, {_DATA + 0x800}
        li s6, 1
        li s7, {_DATA + 0xC00}
        li s8, {_RESULTS}
        sd s0, 0(s7)
        {vectors}
        {accumulators}
    """


def _pair(producer: str, distance: int, consumer: str, vector_bytes: int) -> str:
    """Return code for one pair that ends by storing all it may have changed."""
    between = "\n".join(["addi a2, a2, 1"] * distance)
    return f"""
        vld v1, 7(s0)
        vld v3, 2(s0)
        mmul.bf16.vv acc1, v2, v3
        li a1, 5
        li t0, 6
        csrw mscratch, s2
        {producer}
        {between}
        {consumer}
        csrr t1, mscratch
        mrd v9, acc1, 0
        ld t2, 64(s0)
        ld t3, 8(s5)
        sd a1, 0(s8)
        sd t0, 8(s8)
        sd t1, 16(s8)
        sd t2, 24(s8)
        sd t3, 32(s8)
        vst v1, {48 // vector_bytes}(s8)
        vst v3, {64 // vector_bytes}(s8)
        vst v9, {80 // vector_bytes}(s8)
        addi s8, s8, 96
    """


def _check(machine, producers: dict[str, str], consumers: dict[str, str]) -> None:
    """Run all pairs at all distances on both nodes and compare registers and memory."""
    rng = np.random.default_rng(_SEED)
    print(f"seed {_SEED}")
    # BF16 patterns of moderate size: sums that show every operand.
    data = (rng.integers(0x3F00, 0x4100, 0x800) | rng.integers(0, 2, 0x800) << 15).astype("<u2")
    pairs = list(itertools.product(producers, _DISTANCES, consumers))
    random.Random(_SEED).shuffle(pairs)
    vector_bytes = machine.params.vector_bytes
    for first in range(0, len(pairs), 80):
        batch = pairs[first : first + 80]
        machine.write(_DATA, data.view(np.uint8))
        blocks = [_pair(producers[p], n, consumers[c], vector_bytes) for p, n, c in batch]
        text = "\n".join([_set_up(), *blocks, "ecall"])
        machine.execute(text)
        results = machine.read(_RESULTS, 96 * len(batch)).reshape(-1, 96)
        expected = machine.golden.memory[_RESULTS:][: 96 * len(batch)].reshape(-1, 96)
        for pair, actual, wanted in zip(batch, results, expected, strict=True):
            assert actual.tobytes() == wanted.tobytes(), pair
        assert len(np.unique(results, axis=0)) > 1, "pairs leave traces"


@pytest.mark.parametrize(
    ("producers", "consumers"),
    [
        pytest.param(_SCALAR_PRODUCERS, _SCALAR_CONSUMERS, id="scalar registers"),
        pytest.param(_ADDRESS_PRODUCERS, _ADDRESS_CONSUMERS, id="addresses"),
        pytest.param(_VECTOR_PRODUCERS, _VECTOR_CONSUMERS, id="vector registers"),
        pytest.param(_VECTOR_READERS, _VECTOR_PRODUCERS, id="vector registers overwritten"),
        pytest.param(_ACCUMULATOR_PRODUCERS, _ACCUMULATOR_CONSUMERS, id="accumulators"),
        pytest.param(_MEMORY_PRODUCERS, _MEMORY_CONSUMERS, id="memory"),
    ],
)
def test_a_result_reaches_every_unit_at_every_distance(machine, producers, consumers):
    _check(machine, producers, consumers)
