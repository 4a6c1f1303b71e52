"""The fused dot-product block against an independent restatement of its definition.

The oracle below shares no code and no method with the model: it holds every term as one exact
integer on a fixed grid (no alignment shifts), finds exponents with `frexp`, cuts terms by integer
division and rounds by exact remainders. Specials come from the host's own IEEE arithmetic.
"""

import math
import struct

import ml_dtypes
import numpy as np
import pytest
from d1_golden.numerics.dot_product import (
    PUBLISHED,
    DotProductParams,
    dot_block,
    matmul_reference,
    matrix_step,
)
from d1_golden.numerics.formats import BF16, FP32, FloatFormat, Rounding
from d1_golden.numerics.stimulus import OperandKind, dot_operands
from numba import njit

SEED = 20250117
#: Every term is an integer multiple of 2^-GRID: twice the exponent of the smallest BF16 number.
GRID = 266
KINDS = list(OperandKind)
E8M13 = FloatFormat(exponent_bits=8, mantissa_bits=13, bias=127, has_specials=True)
HOST_TYPES = {(8, 7): ml_dtypes.bfloat16, (5, 10): np.float16, (5, 2): ml_dtypes.float8_e5m2}


def host_values(codes: np.ndarray, operand: FloatFormat) -> np.ndarray:
    """Decode with types of the host, not with the decoder of the model."""
    kind = HOST_TYPES[operand.exponent_bits, operand.mantissa_bits]
    with np.errstate(invalid="ignore"):
        return codes.view(kind).astype(np.float64)


def host_exponents(values: np.ndarray, smallest: int) -> list:
    finite = np.where(np.isfinite(values), values, 0.0)
    return np.maximum(np.frexp(finite)[1] - 1, smallest).tolist()


def nearest_even(numerator: int, denominator: int) -> int:
    quotient, remainder = divmod(numerator, denominator)
    if 2 * remainder > denominator or (2 * remainder == denominator and quotient % 2):
        quotient += 1
    return quotient


def exact_blocks(
    acc_bits: np.ndarray, a_bits: np.ndarray, b_bits: np.ndarray, params: DotProductParams
) -> np.ndarray:
    """Apply the definition of the block, term by term, in integers of unbounded size."""
    smallest = params.operand.min_exponent
    a_values, b_values = (host_values(x, params.operand) for x in (a_bits, b_bits))
    with np.errstate(invalid="ignore"):
        acc_values = acc_bits.view(np.float32).astype(np.float64)
        specials = (acc_values + (a_values * b_values).sum(axis=1)).tolist()
    a_exponents, b_exponents = (host_exponents(v, smallest) for v in (a_values, b_values))
    acc_exponents = host_exponents(acc_values, -126)
    unit = math.ldexp(1.0, GRID)
    results = []
    for special, acc, acc_exponent, a, a_exponent, b, b_exponent in zip(
        specials,
        acc_values.tolist(),
        acc_exponents,
        a_values.tolist(),
        a_exponents,
        b_values.tolist(),
        b_exponents,
        strict=True,
    ):
        if special - special != 0:
            nan = special != special
            results.append(0x7FC00000 if nan else 0x7F800000 if special > 0 else 0xFF800000)
            continue
        terms = [(int(acc * unit), acc_exponent)]
        for x, ex, y, ey in zip(a, a_exponent, b, b_exponent, strict=True):
            terms.append((int(x * y * unit), ex + ey))
        largest = max((exponent for value, exponent in terms if value), default=0)
        step = 1 << max(largest - params.fraction_bits + GRID, 0)
        total = sum(abs(v) // step * (step if v > 0 else -step) for v, _ in terms)
        results.append(rounded(total, params))
    return np.array(results, dtype=np.uint32)


def rounded(total: int, params: DotProductParams) -> int:
    """Return the FP32 pattern of total x 2^-GRID."""
    magnitude = abs(total)
    mantissa = params.output.mantissa_bits
    truncate = params.rounding is Rounding.TRUNCATE
    binade = max(magnitude.bit_length() - 1 - GRID, -126)
    # All terms are multiples of the grid, which is finer than any step of the output.
    step = 1 << (binade - mantissa + GRID)
    steps = magnitude // step if truncate else nearest_even(magnitude, step)
    # Exact in float64: at most 24 bits, 2^-149 to 2^128.
    value = math.ldexp(steps, binade - mantissa)
    if value >= 2.0**128:
        value = (2.0 - 2.0**-mantissa) * 2.0**127 if truncate else math.inf
    return struct.unpack("<I", struct.pack("<f", -value if total < 0 else value))[0]


def machine(fraction_bits: int) -> DotProductParams:
    return DotProductParams(fraction_bits=fraction_bits)


def truncated(terms: int, fraction_bits: int, output: FloatFormat = FP32) -> DotProductParams:
    return DotProductParams(
        terms=terms, fraction_bits=fraction_bits, rounding=Rounding.TRUNCATE, output=output
    )


#: Parameter sets and the blocks of each kind of operand: 1 100 400 blocks in all.
EXACT_SETS = {
    "4 terms F=26": (machine(26), 70_000),
    "4 terms F=25": (machine(25), 20_000),
    "4 terms F=24": (machine(24), 20_000),
    "4 terms F=23": (machine(23), 20_000),
    "4 terms F=14": (machine(14), 10_000),
    "4 terms F=5": (machine(5), 5_000),
    "4 terms F=48": (machine(48), 5_000),
    "1 term F=23": (DotProductParams(terms=1, fraction_bits=23), 2_000),
    "4 terms F=23 truncated": (truncated(4, 23), 10_000),
    "8 terms F=24 nearest even": (DotProductParams(terms=8, fraction_bits=24), 4_000),
    "16 terms F=13 truncated e8m13": (truncated(16, 13, E8M13), 2_000),
    "4 terms F=13 nearest even e8m13": (DotProductParams(fraction_bits=13, output=E8M13), 5_000),
    "V100 FP16": (PUBLISHED["V100 FP16"], 2_000),
    "A100 BF16": (PUBLISHED["A100 BF16"], 4_000),
    "A100 FP16": (PUBLISHED["A100 FP16"], 1_000),
    "H100 BF16": (PUBLISHED["H100 BF16"], 2_000),
    "H100 FP16": (PUBLISHED["H100 FP16"], 400),
    "Ada FP8 E5M2": (PUBLISHED["Ada FP8 E5M2"], 500),
    "H100 FP8 E5M2": (PUBLISHED["H100 FP8 E5M2"], 500),
}


def test_the_exact_comparison_covers_a_million_blocks() -> None:
    assert sum(blocks for _, blocks in EXACT_SETS.values()) * len(KINDS) >= 10**6


@pytest.mark.parametrize("name", EXACT_SETS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_block_equals_its_definition_in_exact_integers(name: str, kind: OperandKind) -> None:
    params, blocks = EXACT_SETS[name]
    rng = np.random.default_rng([SEED, KINDS.index(kind), list(EXACT_SETS).index(name)])
    acc, a, b = dot_operands(rng, blocks, params.terms, params.operand, kind)
    got = dot_block(acc, a, b, params)
    expected = exact_blocks(acc, a, b, params)
    wrong = np.flatnonzero(got != expected)
    assert wrong.size == 0, (
        f"seed {SEED}: {wrong.size} of {blocks} blocks differ, first {wrong[0]}: "
        f"acc {acc[wrong[0]]:#010x}, a {a[wrong[0]]}, b {b[wrong[0]]}: "
        f"got {got[wrong[0]]:#010x}, expected {expected[wrong[0]]:#010x}"
    )


def tile_as_blocks(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the operands of every element of ``a @ b.T``, in row-major order."""
    return np.repeat(a, len(b), axis=0), np.tile(b, (len(a), 1))


#: Tiles of each kind of operand and their edge: 1 130 400 blocks in all.
TILE_SETS = [(26, 8, 1500), (25, 8, 500), (24, 8, 250), (23, 8, 250), (14, 8, 100), (26, 4, 600)]
TILE_SETS += [(26, 2, 1500), (26, 16, 25)]


def test_the_tile_comparison_covers_a_million_blocks() -> None:
    assert sum(edge * edge * tiles for _, edge, tiles in TILE_SETS) * len(KINDS) >= 10**6


@pytest.mark.parametrize(("fraction_bits", "edge", "tiles"), TILE_SETS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_matrix_step_equals_the_general_block(
    kind: OperandKind, fraction_bits: int, edge: int, tiles: int
) -> None:
    rng = np.random.default_rng([SEED, KINDS.index(kind), fraction_bits, edge])
    scratch = np.empty(8 * edge, np.int32)
    for _ in range(tiles):
        _, a, b = dot_operands(rng, edge, 4, BF16, kind)
        acc, _, _ = dot_operands(rng, edge * edge, 1, BF16, kind)
        # Random tiles of special operands nearly all take the general path: keep some finite, so
        # that special accumulators meet the fast one.
        if rng.random() < 0.3:
            a, b = (np.where(x & 0x7F80 == 0x7F80, x & 0xBFFF, x) for x in (a, b))
        first = bool(rng.random() < 0.1)
        start = np.zeros_like(acc) if first else acc
        expected = dot_block(start, *tile_as_blocks(a, b), machine(fraction_bits))
        got = acc.copy()
        matrix_step(got, a.ravel(), b.ravel(), first, fraction_bits, scratch)
        assert np.array_equal(got, expected), (
            f"seed {SEED}: acc {acc}, a {a}, b {b}, first {first}: got {got}, expected {expected}"
        )


def test_matrix_step_runs_on_views_of_bytes_inside_compiled_code() -> None:
    @njit
    def step(
        accumulators: np.ndarray, registers: np.ndarray, sram: np.ndarray, scratch: np.ndarray
    ) -> None:
        a = registers[1].view(np.uint16)
        b = sram[128:192].view(np.uint16)
        matrix_step(accumulators[3], a, b, False, 26, scratch)

    rng = np.random.default_rng(SEED)
    acc, a, _ = dot_operands(rng, 64, 4, BF16, OperandKind.NEAR)
    a, b = a[:8], a[8:16]
    accumulators = np.zeros((8, 64), np.uint32)
    accumulators[3] = acc
    registers = np.zeros((4, 64), np.uint8)
    registers[1] = a.ravel().view(np.uint8)
    sram = np.zeros(256, np.uint8)
    sram[128:192] = b.ravel().view(np.uint8)
    step(accumulators, registers, sram, np.empty(64, np.int32))
    expected = np.zeros_like(accumulators)
    expected[3] = dot_block(acc, *tile_as_blocks(a, b), machine(26))
    assert np.array_equal(accumulators, expected)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (8, 4, 8), (17, 30, 9), (2, 0, 3)])
def test_matmul_reference_chains_blocks_of_four_terms_from_zero(
    shape: tuple[int, int, int], kind: OperandKind
) -> None:
    rows, depth, columns = shape
    rng = np.random.default_rng([SEED, *shape])
    _, a, _ = dot_operands(rng, rows, depth, BF16, kind)
    _, _, b = dot_operands(rng, columns, depth, BF16, kind)
    got = matmul_reference(a, b.T, 26)
    for row in range(rows):
        for column in range(columns):
            acc = np.zeros(1, np.uint32)
            for start in range(0, depth, 4):
                terms = np.zeros((2, 4), np.uint16)
                chunk = a[row, start : start + 4]
                terms[0, : chunk.size] = chunk
                terms[1, : chunk.size] = b[column, start : start + 4]
                acc = dot_block(acc, terms[:1], terms[1:], machine(26))
            assert got[row, column] == acc[0], f"seed {SEED}, element {row}, {column}"


def test_small_integers_multiply_exactly() -> None:
    rng = np.random.default_rng(SEED)
    a = rng.integers(-16, 17, (40, 50))
    b = rng.integers(-16, 17, (50, 30))
    got = matmul_reference(BF16.encode(a), BF16.encode(b), 26)
    assert np.array_equal(got.view(np.float32), (a @ b).astype(np.float32))


def one_block(params: DotProductParams, acc: float, a: list[float], b: list[float]) -> float:
    """Return the result of one block of numbers; missing terms are zero."""
    terms = np.zeros((2, params.terms))
    terms[0, : len(a)] = a
    terms[1, : len(b)] = b
    codes = params.operand.encode(terms)
    result = dot_block(FP32.encode([acc]), codes[:1], codes[1:], params)
    return float(result.view(np.float32)[0])


#: Terms -2^23, -0.5, -0.25, -0.125 and an accumulator of 2^23 sum to -0.875; a block of F fraction
#: bits sees only multiples of 2^(23 - F).
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("V100 FP16", 0.0),
        ("A100 FP16", -0.5),
        ("A100 BF16", -0.5),
        ("H100 FP16", -0.75),
        ("H100 BF16", -0.75),
        ("Ada FP8 E5M2", 0.0),
        ("H100 FP8 E5M2", 0.0),
    ],
)
def test_published_tensor_cores_lose_what_lies_below_their_fraction_bits(
    name: str, expected: float
) -> None:
    a = [-(2.0**13), -0.5, -0.25, -0.125]
    assert one_block(PUBLISHED[name], 2.0**23, a, [2.0**10, 1.0, 1.0, 1.0]) == expected


@pytest.mark.parametrize(("fraction_bits", "expected"), [(23, 0), (24, -0.5), (26, -0.875)])
def test_our_block_loses_what_lies_below_its_fraction_bits(
    fraction_bits: int, expected: float
) -> None:
    a = [-(2.0**13), -0.5, -0.25, -0.125]
    assert one_block(machine(fraction_bits), 2.0**23, a, [2.0**10, 1.0, 1.0, 1.0]) == expected


#: Ref: Fasi, Higham, Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ CS 2021,
#: section 3: no guard digits on V100, extra ones on A100, rounding toward zero, partial sums not
#: normalised.
@pytest.mark.parametrize("name", ["V100 FP16", "A100 FP16", "H100 FP16"])
def test_published_tensor_cores_round_toward_zero_on_both_sides(name: str) -> None:
    # 2 and 3 x 2^-23 (2^-13 x 3 x 2^-10): the sum ends half way between FP32 neighbours and above.
    for sign in (1.0, -1.0):
        result = one_block(PUBLISHED[name], sign * 2.0, [sign * 2.0**-13], [3 * 2.0**-10])
        assert result == sign * (2.0 + 2.0**-22)


def test_volta_has_no_guard_digits_and_ampere_has() -> None:
    a, b = [2.0**-12] * 4, [2.0**-12] * 4
    assert one_block(PUBLISHED["V100 FP16"], 1.0, a, b) == 1.0
    assert one_block(PUBLISHED["A100 FP16"], 1.0, a, b) == 1.0 + 2.0**-22


def test_hopper_has_one_more_guard_digit_than_ampere() -> None:
    a, b = [2.0**-12] * 8, [2.0**-13] * 8
    assert one_block(PUBLISHED["A100 FP16"], 1.0, a, b) == 1.0
    assert one_block(PUBLISHED["H100 FP16"], 1.0, a, b) == 1.0 + 2.0**-22


@pytest.mark.parametrize("name", ["Ada FP8 E5M2", "H100 FP8 E5M2"])
def test_fp8_tensor_cores_return_thirteen_mantissa_bits(name: str) -> None:
    params = PUBLISHED[name]
    assert one_block(params, 1.0 + 2.0**-13, [], []) == 1.0 + 2.0**-13
    assert one_block(params, 1.0 + 2.0**-14, [], []) == 1.0
    # Fourteen bits between the largest and the last: the carry out costs one.
    assert one_block(params, 1.0 + 2.0**-13, [1.0], [1.0]) == 2.0


def test_growing_the_accumulator_can_shrink_the_sum() -> None:
    # Growing the accumulator past a power of two moves the cut of the small terms.
    a, b = [2.0**-12] * 4, [2.0**-12] * 4
    below = one_block(PUBLISHED["V100 FP16"], 1.0 - 2.0**-24, a, b)
    above = one_block(PUBLISHED["V100 FP16"], 1.0, a, b)
    assert below > above


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("acc", "a", "b", "expected"),
    [
        (INF, [1.0], [1.0], 0x7F800000),
        (-INF, [1.0], [INF], 0x7FC00000),
        (0.0, [0.0], [INF], 0x7FC00000),
        (0.0, [-INF, 1.0], [2.0, 3.0], 0xFF800000),
        (0.0, [INF, INF], [1.0, -1.0], 0x7FC00000),
        (NAN, [INF], [1.0], 0x7FC00000),
        (-0.0, [-0.0], [1.0], 0),
        (1.5, [-1.5], [1.0], 0),
        (0.0, [2.0**100], [2.0**100], 0x7F800000),
        (0.0, [-(2.0**-100)], [2.0**-100], 0x80000000),
        (0.0, [2.0**-100], [2.0**-49], 1),
    ],
)
def test_specials_zeros_and_the_ends_of_the_range(
    acc: float, a: list[float], b: list[float], expected: int
) -> None:
    terms = np.zeros((2, 4))
    terms[0, : len(a)], terms[1, : len(b)] = a, b
    codes = BF16.encode(terms)
    assert dot_block(FP32.encode([acc]), codes[:1], codes[1:], machine(26))[0] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"terms": 0, "fraction_bits": 25}, "terms must be 1..64, not 0"),
        ({"fraction_bits": 49}, "fraction_bits must be 1..48, not 49"),
        ({"fraction_bits": 25, "rounding": Rounding.STOCHASTIC}, "rounding must be nearest"),
        ({"fraction_bits": 25, "output": FloatFormat(5, 10, 15, True)}, "output must have"),
        ({"fraction_bits": 25, "operand": FP32}, "operand must be at most 16 bits wide"),
    ],
)
def test_parameters_out_of_range_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DotProductParams(**arguments)


def test_operands_that_do_not_fit_are_named() -> None:
    two = np.zeros((2, 4), np.uint16)
    with pytest.raises(ValueError, match=r"shapes must be \(n,\), \(n, 4\), \(n, 4\), not \(3,\)"):
        dot_block(np.zeros(3, np.uint32), two, two, machine(26))
    with pytest.raises(ValueError, match=r"shapes must be \(M, K\) and \(K, N\), not \(2, 4\)"):
        matmul_reference(two, two, 26)
    with pytest.raises(ValueError, match=r"fraction_bits must be 14\.\.26, not 27"):
        matmul_reference(two, two.T, 27)
    with pytest.raises(TypeError, match="a must be of uint16, the codes of BF16, not float64"):
        matmul_reference(np.zeros((2, 4)), two.T, 26)
