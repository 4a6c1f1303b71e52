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
#: Of the words that gathers and scatters meet, for each lane.
_OFFSETS = (8, 0, 12, 4)

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
    "lane": "vmv.x.v t0, v4, 1",
    "mask": "vmv.x.m t0, m2",
    "list": "lwalk t0, s9, s6",
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
    "broadcast": "vbc.x v1, t0",
    "mask": "vmv.m.x m1, t0\nvmv.x.m a1, m1",
    "padding": "vpad.b32 v1, v4, t0",
    "overwritten by a lane": "vmv.x.v t0, v5, 0",
    "list": "lwalk a1, s9, t0",
}

#: The same for an address in t0, which the producers make from s0.
_ADDRESS_PRODUCERS = {
    "alu": "addi t0, s0, 0",
    "mul": "mul t0, s0, s6",
    "div": "div t0, s0, s6",
    "load": "ld t0, 0(s7)",
    "csr": "csrrw t0, mscratch, s0",
    "lane": "vmv.x.v t0, v8, 1",
}
_ADDRESS_CONSUMERS = {
    "load": "lw a1, 4(t0)",
    "store": "sh s2, 6(t0)",
    "vld": "vld v1, 1(t0)",
    "vst": "vst v2, 2(t0)",
    "mmul.vm": "mmul.bf16.vm acc1, v2, 3(t0)",
    "vldb": "vldb v1, 12(t0)",
    "vld.m": "vld.m v1, (t0), m2",
    "vst.m": "vst.m v2, (t0), m2",
    "vgather": "vgather v1, (t0), v7",
    "vscatter.m": "vscatter.m v2, (t0), v7, m2",
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
    "vldb": "vldb v3, 20(s0)",
    "vld.m": "vld.m v3, (s0), m2",
    "vgather": "vgather v3, (s0), v7",
    "vgather.m": "vgather.m v3, (s0), v7, m2",
    "integer lanes": "vmul.i32 v3, v4, v5",
    "reduction": "vredsum.i32 v3, v4",
    "elementary": "vfrcp.f32 v3, v4",
    "to integers": "vcvt.i32.f32 v3, v4",
    "select": "vsel v3, v4, v5, m2",
    "shuffle": "vshuf v3, v4, v5",
    "transpose": "vtrans.b32 v3, v4",
    "slide": "vslide v3, v4, v5, 1",
    "broadcast": "vbc.x v3, s2",
    "lane": "vbc.l v3, v4, 1",
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
    "stored in part": "vst.m v3, (s5), m2",
    "added": "vadd.i32 v1, v3, v4",
    "reduced": "vfredmax.f32 v1, v3",
    "exponent": "vfexp2.f32 v1, v3",
    "compared": "vslt.i32 m1, v4, v3\nvmv.x.m a1, m1",
    "selected": "vsel v1, v4, v3, m2",
    "moved": "vslide v1, v4, v3, 2",
    "indices": "vshuf v1, v4, v3",
    "to a scalar": "vmv.x.v a1, v3, 1",
    "scattered": "vscatter v3, (s5), v7",
    "kept where masked": "vld.m v3, (s0), m2\nvst v3, 0(s5)",
    "kept where not gathered": "vgather.m v3, (s0), v7, m2\nvst v3, 0(s5)",
    "overwritten by a reduction": "vredmin.i32 v3, v5\nvst v3, 0(s5)",
    "overwritten by a gather": "vgather v3, (s0), v7\nvst v3, 0(s5)",
    "overwritten by a move": "vbc.x v3, s3\nvst v3, 0(s5)",
    "overwritten by vld": "vld v3, 6(s0)\nvst v3, 0(s5)",
    "overwritten by mrd": "mrd v3, acc3, 0\nvst v3, 0(s5)",
    "overwritten by vcvt": "vcvt.f32.cfp8 v3, v5, 0\nvst v3, 0(s5)",
    "overwritten by vfmul": "vfmul.f32 v3, v5, v6\nvst v3, 0(s5)",
}
#: Instructions that read v3 and, after them, those that overwrite it.
_VECTOR_READERS = {
    name: _VECTOR_CONSUMERS[name]
    for name in (
        *("vst", "first operand", "operand beside memory", "mwr", "converted", "second term"),
        *("stored in part", "exponent", "selected", "indices", "to a scalar", "scattered"),
    )
}

#: Instructions that write offsets of words to v3, and those that use them.
_OFFSET_PRODUCERS = {
    "vld": "vld v3, 0(s10)",
    "vldb": "vldb v3, 8(s10)",
    "integer lanes": "vand.i32 v3, v7, v7",
    "reduction": "vredmax.i32 v3, v7",
    "shuffle": "vshuf v3, v7, v5",
    "broadcast": "vbc.x v3, a3",
    "gather": "vgather v3, (s10), v7",
}
_OFFSET_CONSUMERS = {
    "vgather": "vgather v1, (s0), v3",
    "vgather.m": "vgather.m v1, (s0), v3, m2",
    "vscatter": "vscatter v4, (s5), v3",
    "vscatter.m": "vscatter.m v4, (s5), v3, m2",
}

#: Instructions that write m1, and those that use it.
_MASK_PRODUCERS = {
    "FP32 compare": "vflt.f32 m1, v4, v5",
    "integer compare": "vsltu.i32 m1, v4, v5",
    "mask operation": "mandn m1, m3, m2",
    "scalar": "vmv.m.x m1, s3",
}
_MASK_CONSUMERS = {
    "select": "vsel v1, v4, v5, m1",
    "vld.m": "vld.m v1, (s0), m1",
    "vst.m": "vst.m v4, (s5), m1",
    "vgather.m": "vgather.m v1, (s0), v7, m1",
    "vscatter.m": "vscatter.m v4, (s5), v7, m1",
    "first mask": "mand m4, m1, m2\nvmv.x.m a1, m4",
    "second mask": "mxor m4, m2, m1\nvmv.x.m a1, m4",
    "to a scalar": "vmv.x.m a1, m1",
    "overwritten by a compare": "vfeq.f32 m1, v4, v4\nvmv.x.m a1, m1",
    "overwritten by a mask operation": "mor m1, m3, m2\nvmv.x.m a1, m1",
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
    "vst.m": "vst.m v4, (s5), m2\nvst.m v4, (s11), m2",
    "vscatter": "vscatter v4, (s11), v7",
    "push": "push s0, s11, 1\nfence",
}
_MEMORY_CONSUMERS = {
    "ld": "ld a1, 64(s0)",
    "lhu": "lhu a1, 68(s0)",
    "vld": "vld v1, 4(s0)",
    "mmul.vm": "mmul.bf16.vm acc1, v5, 4(s0)",
    "sh": "sh s3, 68(s0)\nld a1, 64(s0)",
    "vst": "vst v5, 4(s0)\nld a1, 64(s0)",
    "vldb": "vldb v1, 68(s0)",
    "vld.m": "vld.m v1, (s11), m2",
    "vgather": "vgather v1, (s11), v7",
    "vst.m": "vst.m v5, (s11), m3\nld a1, 64(s0)",
    "vscatter": "vscatter v5, (s11), v7\nlw a1, 68(s0)",
}


def _set_up() -> str:
    """Return code that makes the state that every pair starts from."""
    vectors = "\n".join(f"vld v{n}, {n}(s0)" for n in range(8))
    offsets = "\n".join(f"li t0, {value}\nsw t0, {4 * n}(s10)" for n, value in enumerate(_OFFSETS))
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
        li s9, {_DATA + 0xD00}
        li s10, {_DATA + 0xE00}
        addi s11, s0, 64
        sd s0, 0(s7)
        addi t0, s9, 64
        sd t0, 0(s9)
        sd x0, 64(s9)
        {offsets}
        li a3, 12
        li a4, 5
        {vectors}
        vld v7, 0(s10)
        vbc.x v8, s0
        vmv.m.x m2, a4
        vmv.m.x m3, s2
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
        pytest.param(_OFFSET_PRODUCERS, _OFFSET_CONSUMERS, id="offsets"),
        pytest.param(_MASK_PRODUCERS, _MASK_CONSUMERS, id="masks"),
        pytest.param(_ACCUMULATOR_PRODUCERS, _ACCUMULATOR_CONSUMERS, id="accumulators"),
        pytest.param(_MEMORY_PRODUCERS, _MEMORY_CONSUMERS, id="memory"),
    ],
)
def test_a_result_reaches_every_unit_at_every_distance(machine, producers, consumers):
    _check(machine, producers, consumers)
