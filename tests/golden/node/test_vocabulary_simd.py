"""The functions of the ISA table for vector arithmetic: each does what its name says."""

import numpy as np
import pytest
from d1_golden.isa import INSTRUCTIONS, Unit
from d1_golden.node import vocabulary_simd
from d1_golden.numerics import elementary, fp32
from d1_golden.numerics.formats import Rounding
from d1_golden.numerics.vector_stimulus import fp32_corners

from testbench.nodes import SHAPES

SEED = 20250302
VECTORS = 2_000
NAN = np.uint32(0x7FC00000)


def signed(words):
    return words.view(np.int32)


def number(words):
    return words.view(np.float32)


def tree(operation):
    """Return the reduction of rows by an operation of arrays, pairs of neighbours first."""

    def reduce(a):
        lanes = a.shape[1]
        while a.shape[1] > 1:
            a = operation(a[:, 0::2].copy(), a[:, 1::2].copy())
        return np.repeat(a, lanes, axis=1)

    return reduce


#: What numpy, or a tested function of arrays, has for each mnemonic.
OF_TWO = {
    "vadd_i32": lambda a, b: a + b,
    "vsub_i32": lambda a, b: a - b,
    "vmul_i32": lambda a, b: a * b,
    "vand_i32": lambda a, b: a & b,
    "vor_i32": lambda a, b: a | b,
    "vxor_i32": lambda a, b: a ^ b,
    "vsll_i32": lambda a, b: a << (b & 31),
    "vsrl_i32": lambda a, b: a >> (b & 31),
    "vsra_i32": lambda a, b: (signed(a) >> signed(b & 31)).view(np.uint32),
    "vmin_i32": lambda a, b: np.minimum(signed(a), signed(b)).view(np.uint32),
    "vmax_i32": lambda a, b: np.maximum(signed(a), signed(b)).view(np.uint32),
    "vminu_i32": np.minimum,
    "vmaxu_i32": np.maximum,
}
TO_MASK = {
    "vfeq_f32": lambda a, b: number(a) == number(b),
    "vflt_f32": lambda a, b: number(a) < number(b),
    "vfle_f32": lambda a, b: number(a) <= number(b),
    "vseq_i32": lambda a, b: a == b,
    "vslt_i32": lambda a, b: signed(a) < signed(b),
    "vsltu_i32": lambda a, b: a < b,
}
OF_ONE = {
    "vfrcp_f32": elementary.reciprocal_array,
    "vfrsqrt_f32": elementary.reciprocal_sqrt_array,
    "vfexp2_f32": elementary.exp2_array,
    "vcvt_i32_f32": lambda a: fp32.to_int32_array(a, Rounding.NEAREST_EVEN),
    "vcvt_f32_i32": lambda a: signed(a).astype(np.float32).view(np.uint32),
    "vfredsum_f32": tree(fp32.add_array),
    "vfredmin_f32": tree(fp32.minimum_array),
    "vfredmax_f32": tree(fp32.maximum_array),
    "vredsum_i32": tree(OF_TWO["vadd_i32"]),
    "vredmin_i32": tree(OF_TWO["vmin_i32"]),
    "vredmax_i32": tree(OF_TWO["vmax_i32"]),
    "vredminu_i32": tree(np.minimum),
    "vredmaxu_i32": tree(np.maximum),
}
#: Those are compared elsewhere (`test_xd1`).
OTHERS = {f"vf{name}_f32" for name in ("add", "sub", "mul", "madd", "nmadd", "min", "max")}


@pytest.fixture(scope="module", params=SHAPES, ids=lambda p: p.name)
def operands(request):
    """Two times vectors of corners, of any words, and of words that are often equal."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    shape = (2, VECTORS, request.param.fp32_lanes)
    words = rng.integers(0, 1 << 32, shape, np.uint32)
    words = np.where(rng.random(shape) < 0.4, rng.choice(fp32_corners(), shape), words)
    words[1] = np.where(rng.random(shape[1:]) < 0.3, words[0], words[1])
    return words


def run(name, *operands):
    """Return the results of a function of registers, one a row."""
    function = getattr(vocabulary_simd, name)
    results = []
    for rows in zip(*(words.view(np.uint64) for words in operands), strict=True):
        out = np.empty_like(rows[0])
        assert function(*rows, out) is out
        results.append(out.view(np.uint32))
    return np.array(results)


def test_every_instruction_of_vector_arithmetic_has_a_function():
    names = {row.name.replace(".", "_") for row in INSTRUCTIONS if row.unit is Unit.VECTOR_SIMD}
    assert names == OTHERS | OF_ONE.keys() | OF_TWO.keys() | TO_MASK.keys()
    for name in names:
        assert hasattr(vocabulary_simd, name)


@pytest.mark.parametrize("name", OF_TWO)
def test_function_of_two_registers_agrees(name, operands):
    assert np.array_equal(run(name, *operands), OF_TWO[name](*operands))


@pytest.mark.parametrize("name", OF_ONE)
def test_function_of_one_register_agrees(name, operands):
    assert np.array_equal(run(name, operands[0]), OF_ONE[name](operands[0]))


@pytest.mark.parametrize("name", TO_MASK)
def test_compare_returns_a_mask_of_the_lanes(name, operands):
    function = getattr(vocabulary_simd, name)
    rows = zip(*(words.view(np.uint64) for words in operands), strict=True)
    masks = [int(function(*registers)) for registers in rows]
    weights = 1 << np.arange(operands.shape[2])
    with np.errstate(invalid="ignore"):
        assert np.array_equal(masks, (TO_MASK[name](*operands) * weights).sum(axis=1))
