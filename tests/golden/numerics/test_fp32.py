"""The vector lane's arithmetic against Berkeley SoftFloat, and the rest against restatements.

SoftFloat's C functions are called from compiled loops: ten million operations take a second.
"""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import softfloatpy
import softfloatpy._core
from d1_golden.numerics import fp32
from d1_golden.numerics.formats import Rounding
from d1_golden.numerics.vector_stimulus import FmaKind, fma_operands, fp32_corners
from numba import njit

SEED = 20250205
#: Operations of each comparison with SoftFloat: at least 10^7 in all kinds together.
VECTORS = 1_450_000
CORNERS = fp32_corners()
NAN = 0x7FC00000


def softfloat(name: str, operands: int) -> Callable:
    """Return a C function of SoftFloat; its `float32_t` is passed like the integer it holds."""
    function = getattr(ctypes.CDLL(softfloatpy._core.__file__), name)
    function.argtypes = [ctypes.c_uint32] * operands
    function.restype = ctypes.c_uint32
    return function


f32_add, f32_sub, f32_mul = (softfloat(f"f32_{name}", 2) for name in ("add", "sub", "mul"))
f32_mul_add = softfloat("f32_mulAdd", 3)


@njit
def softfloat_add(a, b, c, out):
    for i in range(out.size):
        out[i] = f32_add(a[i], c[i])


@njit
def softfloat_sub(a, b, c, out):
    for i in range(out.size):
        out[i] = f32_sub(a[i], c[i])


@njit
def softfloat_mul(a, b, c, out):
    for i in range(out.size):
        out[i] = f32_mul(a[i], b[i])


@njit
def softfloat_fma(a, b, c, out):
    for i in range(out.size):
        out[i] = f32_mul_add(a[i], b[i], c[i])


#: By name: SoftFloat's loop, ours, and whether the operation takes two operands of a sum.
OPERATIONS = {
    "add": (softfloat_add, lambda a, b, c: fp32.add_array(a, c), True),
    "sub": (softfloat_sub, lambda a, b, c: fp32.sub_array(a, c), True),
    "mul": (softfloat_mul, lambda a, b, c: fp32.mul_array(a, b), False),
    "fma": (softfloat_fma, fp32.fma_array, False),
}


def canonical(bits: np.ndarray) -> np.ndarray:
    """Return the bit patterns with every NaN made the canonical one."""
    return np.where(bits & 0x7FFFFFFF > 0x7F800000, np.uint32(NAN), bits)


def assert_agrees(name: str, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    softfloatpy.set_rounding_mode(softfloatpy.RoundingMode.NEAR_EVEN)
    reference, operation, _ = OPERATIONS[name]
    expected = np.empty(a.size, np.uint32)
    reference(a, b, c, expected)
    got = operation(a, b, c)
    wrong = np.flatnonzero(got != canonical(expected))
    assert wrong.size == 0, f"{name} seed {SEED}: {wrong.size} differ, first " + ", ".join(
        f"{x[wrong[0]]:08x}" for x in (a, b, c, got, expected)
    )


def test_the_comparison_covers_ten_million_operations_each() -> None:
    assert VECTORS * len(FmaKind) >= 10**7


@pytest.mark.parametrize("kind", FmaKind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic_agrees_with_softfloat_on_random_operands(name: str, kind: FmaKind) -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, kind, list(OPERATIONS).index(name)])
    is_sum = OPERATIONS[name][2]
    a, b, c = fma_operands(rng, VECTORS, kind, unit_factor=is_sum)
    if name == "sub" and kind is FmaKind.CANCELLING:
        c ^= np.uint32(1 << 31)
    assert_agrees(name, a, b, c)


@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic_agrees_with_softfloat_on_all_triples_of_corners(name: str) -> None:
    a, b, c = (grid.ravel() for grid in np.meshgrid(CORNERS, CORNERS, CORNERS))
    assert a.size >= 60**3
    assert_agrees(name, a, b, c)


@pytest.mark.parametrize("kind", FmaKind, ids=lambda kind: kind.name)
def test_random_operands_reach_what_their_kind_is_for(kind: FmaKind) -> None:
    print(f"seed {SEED}")
    a, b, c = fma_operands(np.random.default_rng(SEED), 20_000, kind)
    result = fp32.fma_array(a, b, c)
    magnitude = result & 0x7FFFFFFF
    subnormal = (magnitude > 0) & (magnitude < 0x800000)
    reached = {
        FmaKind.UNIFORM: np.unique(result >> 23).size > 500,
        FmaKind.NEAR: np.unique(result >> 23).size > 500,
        FmaKind.CANCELLING: np.mean(magnitude == 0) > 0.01 and np.mean(subnormal) > 0.1,
        FmaKind.SUBNORMAL: np.mean(subnormal) > 0.2,
        FmaKind.HUGE: 0.2 < np.mean(magnitude == 0x7F800000) < 0.8,
        FmaKind.UNNORMALISED: np.all(a & 0x7F800000 == 0) and np.unique(result >> 23).size > 250,
        FmaKind.SPECIAL: np.mean(result == NAN) > 0.05 and np.mean(magnitude == 0x7F800000) > 0.05,
    }
    assert reached[kind]


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (0x7F800000, 0x00000000, 0x7FC00000, NAN),  # Inf x 0 + NaN
        (0x7F800000, 0x80000000, 0x3F800000, NAN),  # Inf x -0 + 1
        (0x7F800000, 0x3F800000, 0xFF800000, NAN),  # Inf - Inf
        (0x7F800000, 0xBF800000, 0xFF800000, 0xFF800000),  # -Inf - Inf
        (0xFFFFFFFF, 0x3F800000, 0x3F800000, NAN),  # a negative NaN with payload
        (0x3F800000, 0x3F800000, 0xBF800000, 0x00000000),  # 1 - 1 is +0
        (0x00000000, 0xBF800000, 0x80000000, 0x80000000),  # -0 + -0 is -0
        (0x00000001, 0x3F000000, 0x00000000, 0x00000000),  # half of the least: tie to even
        (0x00000001, 0xBF000000, 0x00000000, 0x80000000),  # rounded to zero, sign kept
        (0x00000003, 0x3F000000, 0x00000000, 0x00000002),  # 1.5 of the least: tie to even
        (0x7F7FFFFF, 0x40000000, 0xFF7FFFFF, 0x7F7FFFFF),  # product alone overflows
        (0x3F800001, 0x3F800001, 0xBF800002, 0x28800000),  # the product's last bit, exactly
    ],
)
def test_fma_of_cases_worked_by_hand(a: int, b: int, c: int, expected: int) -> None:
    assert fp32.fma(np.uint32(a), np.uint32(b), np.uint32(c)) == expected


def values(bits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return bits.view(np.float32).astype(np.float64)


def pairs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of corners, random pairs, neighbours, and equals up to the sign."""
    grid = [x.ravel() for x in np.meshgrid(CORNERS, CORNERS)]
    a = rng.integers(0, 1 << 32, 1_000_000, dtype=np.uint32)
    b = rng.integers(0, 1 << 32, 1_000_000, dtype=np.uint32)
    offsets = rng.integers(-1, 2, 500_000).astype(np.uint32)
    b[:500_000] = (a[:500_000] + offsets) ^ (rng.integers(0, 2, 500_000, np.uint32) << 31)
    return np.concatenate([grid[0], a]), np.concatenate([grid[1], b])


def test_minimum_and_maximum_take_the_number_and_order_the_zeros() -> None:
    print(f"seed {SEED}")
    a, b = pairs(np.random.default_rng(SEED))
    x, y = values(a), values(b)
    # Equal values are equal bits, or zeros: then the sign decides, as a second key.
    a_less = (x < y) | ((x == y) & (a >> 31 > b >> 31))
    take_a = np.isnan(y) | (a_less & ~np.isnan(x))
    expected = np.where(np.isnan(x) & np.isnan(y), np.uint32(NAN), np.where(take_a, a, b))
    assert np.array_equal(fp32.minimum_array(a, b), expected)
    take_a = np.isnan(y) | (~a_less & ~np.isnan(x))
    expected = np.where(np.isnan(x) & np.isnan(y), np.uint32(NAN), np.where(take_a, a, b))
    assert np.array_equal(fp32.maximum_array(a, b), expected)


def test_minimum_of_zeros_and_nans_whichever_comes_first() -> None:
    zeros = np.array([0, 1 << 31], np.uint32)
    for a, b in (zeros, zeros[::-1]):
        assert fp32.minimum(a, b) == 1 << 31
        assert fp32.maximum(a, b) == 0
    signalling, one = np.uint32(0x7F800001), np.uint32(0x3F800000)
    for operation in (fp32.minimum, fp32.maximum):
        assert operation(signalling, one) == one
        assert operation(one, signalling) == one
        assert operation(signalling, np.uint32(0xFFC00000)) == NAN


def test_comparisons_agree_with_the_host() -> None:
    print(f"seed {SEED}")
    a, b = pairs(np.random.default_rng([SEED, 1]))
    x, y = values(a), values(b)
    assert np.array_equal(fp32.equal_array(a, b), x == y)
    assert np.array_equal(fp32.less_array(a, b), x < y)
    assert np.array_equal(fp32.less_equal_array(a, b), x <= y)


def to_integers(bits: np.ndarray, rounding: Rounding, least: int, greatest: int) -> np.ndarray:
    """Return what the conversions are to give: rounded in float64, then limited."""
    x = values(bits)
    rounded = np.rint(x) if rounding is Rounding.NEAREST_EVEN else np.trunc(x)
    rounded = np.clip(np.where(np.isnan(rounded), float(greatest), rounded), least, greatest)
    return rounded.astype(np.int64).astype(np.uint32)


@pytest.mark.parametrize("rounding", [Rounding.NEAREST_EVEN, Rounding.TRUNCATE])
def test_conversions_to_integers_round_and_saturate(rounding: Rounding) -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, 2])
    fields = rng.integers(127 - 3, 127 + 34, 1_000_000, np.uint32)
    # Few bits at the top of the mantissa make ties.
    keep = np.uint32(0xFFFFFFFF) << rng.integers(0, 24, fields.size, np.uint32)
    words = rng.integers(0, 1 << 32, fields.size, np.uint32)
    near = (words & np.uint32(1 << 31)) | fields << 23 | words & keep & np.uint32(0x7FFFFF)
    bits = np.concatenate([CORNERS, near, rng.integers(0, 1 << 32, 500_000, np.uint32)])
    signed = to_integers(bits, rounding, -(1 << 31), (1 << 31) - 1)
    assert np.array_equal(fp32.to_int32_array(bits, rounding), signed)
    unsigned = to_integers(bits, rounding, 0, (1 << 32) - 1)
    assert np.array_equal(fp32.to_uint32_array(bits, rounding), unsigned)


@pytest.mark.parametrize(
    ("number", "signed", "unsigned"),
    [
        (np.nan, 0x7FFFFFFF, 0xFFFFFFFF),
        (np.inf, 0x7FFFFFFF, 0xFFFFFFFF),
        (-np.inf, 0x80000000, 0),
        (2.0**31, 0x7FFFFFFF, 0x80000000),
        (-(2.0**31), 0x80000000, 0),
        (2.0**32, 0x7FFFFFFF, 0xFFFFFFFF),
        (2.5, 2, 2),
        (-0.5, 0, 0),
        (-1.5, 0xFFFFFFFE, 0),
    ],
)
def test_conversions_to_integers_at_their_ends(number: float, signed: int, unsigned: int) -> None:
    bits = np.float32(number).view(np.uint32)
    assert fp32.to_int32(bits, int(Rounding.NEAREST_EVEN)) == signed
    assert fp32.to_uint32(bits, int(Rounding.NEAREST_EVEN)) == unsigned


def test_conversions_from_integers_agree_with_the_host() -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, 3])
    words = rng.integers(0, 1 << 32, 1_000_000, np.uint32)
    # Of every magnitude, and with ties: long runs of zeros below the bits that stay.
    words = np.concatenate(
        [CORNERS, words >> rng.integers(0, 32, words.size, np.uint32), words & 0xFFFFFF80, words]
    )
    words = np.concatenate([words, np.uint32(0) - words])
    expected = words.view(np.int32).astype(np.float32).view(np.uint32)
    assert np.array_equal(fp32.from_int32_array(words), expected)
    assert np.array_equal(fp32.from_uint32_array(words), words.astype(np.float32).view(np.uint32))


def test_the_scalar_functions_can_be_called_from_compiled_code() -> None:
    @njit
    def lanes(a, b, c, out):
        for i in range(out.size):
            out[i] = fp32.fma(a[i], b[i], c[i])

    a, b, c = fma_operands(np.random.default_rng(SEED), 1000, FmaKind.NEAR)
    out = np.empty_like(a)
    lanes(a, b, c, out)
    assert np.array_equal(out, fp32.fma_array(a, b, c))


def test_arrays_that_are_not_bit_patterns_are_refused() -> None:
    with pytest.raises(TypeError, match="operands must be of uint32, not float32"):
        fp32.add_array(np.ones(3, np.float32), np.zeros(3, np.uint32))
