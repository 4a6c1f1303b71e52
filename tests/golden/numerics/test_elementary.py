"""The elementary functions: errors against float64, special cases, and that no bit changes."""

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from d1_golden.numerics import elementary, fp32
from d1_golden.numerics.elementary import (
    CONSTANTS,
    EXP2,
    RECIPROCAL,
    RECIPROCAL_SQRT,
    SEQUENCES,
    Operand,
    Sequence,
)
from d1_golden.numerics.vector_report import DOMAINS, Domain, error_row, measure
from numba import njit

SEED = 20250206
DOCUMENT = (Path(__file__).parents[3] / "docs" / "vector_numerics.md").read_text()
NAN, INFINITY = 0x7FC00000, 0x7F800000
FUNCTIONS = {
    RECIPROCAL.name: elementary.reciprocal_array,
    RECIPROCAL_SQRT.name: elementary.reciprocal_sqrt_array,
    EXP2.name: elementary.exp2_array,
}
#: Largest errors in units of the last place, for normal and for subnormal results.
BOUNDS = {RECIPROCAL.name: (0.52, 0.76), RECIPROCAL_SQRT.name: (0.86, 0), EXP2.name: (0.62, 0.82)}
#: Domains larger than that are measured on every 61st operand here, on all in the report.
WHOLE = 1 << 24
STRIDE = 61
CASES = [(sequence, domain) for sequence in SEQUENCES for domain in DOMAINS[sequence.name]]


def bits(value: float) -> np.uint32:
    return np.float32(value).view(np.uint32)


def apply(name: str, *values: float) -> list[int]:
    return FUNCTIONS[name](np.array(values, np.float32).view(np.uint32)).tolist()


@pytest.mark.parametrize(
    ("sequence", "domain"), CASES, ids=[f"{s.name} {d.title}" for s, d in CASES]
)
def test_errors_are_within_their_bounds_and_as_documented(
    sequence: Sequence, domain: Domain
) -> None:
    whole = domain.last - domain.first <= WHOLE
    errors = measure(sequence, domain, 1 if whole else STRIDE)
    assert not whole or error_row(sequence, domain, errors) in DOCUMENT
    assert errors.count > 10**6
    assert errors.worst_ulp < BOUNDS[sequence.name]["subnormal results" in domain.title]
    if sequence is RECIPROCAL or (sequence is EXP2 and domain.first < 1 << 31):
        assert errors.reversals == 0


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.name)
def test_no_function_turns_around_at_an_edge_of_its_domains(sequence: Sequence) -> None:
    edges = {
        RECIPROCAL.name: [2.0**-128, 2.0**-126, 1.0, 2.0, 2.0**126, 2.0**127],
        RECIPROCAL_SQRT.name: [2.0**-126, 0.25, 1.0, 2.0, 4.0, 2.0**126],
        EXP2.name: [-150.0, -149.0, -126.0, -1.0, 0.0, 1.0, 2.0, 127.0, 128.0],
    }
    for edge in np.float32(edges[sequence.name]):
        around = [
            np.nextafter(edge, np.float32(-np.inf)),
            edge,
            np.nextafter(edge, np.float32(np.inf)),
        ]
        results = np.array(apply(sequence.name, *around), np.uint32).view(np.float32)
        ordered = results if sequence is EXP2 else results[::-1]
        assert np.all(ordered[:-1] <= ordered[1:])


@pytest.mark.parametrize("name", [RECIPROCAL.name, RECIPROCAL_SQRT.name])
def test_a_power_of_four_changes_nothing_but_the_exponent_of_a_normal_result(name: str) -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    significands = rng.uniform(1, 4, 20_000).astype(np.float32)
    base = np.array(apply(name, *significands), np.uint32).view(np.float32)
    for exponent in range(-126, 125, 2):
        result = np.array(apply(name, *np.ldexp(significands, exponent)), np.uint32)
        shift = -exponent if name == RECIPROCAL.name else -exponent // 2
        expected = np.ldexp(base, shift)
        normal = (expected >= 2.0**-126) & np.isfinite(expected)
        assert normal.all() or (name == RECIPROCAL.name and exponent >= 124)
        assert np.array_equal(result.view(np.float32)[normal], expected[normal])


def test_the_reciprocal_is_odd() -> None:
    print(f"seed {SEED}")
    x = np.random.default_rng(SEED).integers(0, 1 << 31, 1_000_000, np.uint32)
    positive, negative = (FUNCTIONS["reciprocal"](x | sign) for sign in np.uint32([0, 1 << 31]))
    nan = x > INFINITY
    assert np.array_equal(negative[~nan], positive[~nan] | np.uint32(1 << 31))
    assert np.all(negative[nan] == NAN) and np.all(positive[nan] == NAN)


@pytest.mark.parametrize(
    ("name", "operand", "expected"),
    [
        ("reciprocal", 0x00000000, 0x7F800000),
        ("reciprocal", 0x80000000, 0xFF800000),
        ("reciprocal", 0x7F800000, 0x00000000),
        ("reciprocal", 0xFF800000, 0x80000000),
        ("reciprocal", 0xFFC12345, NAN),
        ("reciprocal", 0x00200000, 0x7F800000),  # 2^-128: 2^128 is Inf
        ("reciprocal", 0x00200001, 0x7F7FFFF8),  # the least with a finite reciprocal
        ("reciprocal", 0x7F7FFFFF, 0x00200000),  # of the largest: subnormal
        ("reciprocal_sqrt", 0x00000000, 0x7F800000),
        ("reciprocal_sqrt", 0x80000000, 0xFF800000),
        ("reciprocal_sqrt", 0x7F800000, 0x00000000),
        ("reciprocal_sqrt", 0xFF800000, NAN),
        ("reciprocal_sqrt", 0x80000001, NAN),
        ("reciprocal_sqrt", 0xBF800000, NAN),
        ("reciprocal_sqrt", 0x7F800001, NAN),
        ("reciprocal_sqrt", 0x40800000, 0x3F000000),  # 4
        ("reciprocal_sqrt", 0x00000002, 0x64800000),  # 2^-148
        ("exp2", 0x00000000, 0x3F800000),
        ("exp2", 0x80000001, 0x3F800000),
        ("exp2", 0x7F800000, 0x7F800000),
        ("exp2", 0xFF800000, 0x00000000),
        ("exp2", 0x7FFFFFFF, NAN),
        ("exp2", 0xFFFFFFFF, NAN),
        ("exp2", 0x43000000, 0x7F800000),  # 128
        ("exp2", 0x42FFFFFF, 0x7F7FFFA7),  # just below 128: the row of its own
        ("exp2", 0x7F7FFFFF, 0x7F800000),
        ("exp2", 0xC3150000, 0x00000001),  # -149
        ("exp2", 0xC315FFFF, 0x00000001),  # just above -150
        ("exp2", 0xC3160000, 0x00000000),  # -150: a tie, to even
        ("exp2", 0xFF7FFFFF, 0x00000000),
    ],
)
def test_special_operands(name: str, operand: int, expected: int) -> None:
    got = FUNCTIONS[name](np.array([operand], np.uint32))[0]
    assert got == expected, f"{got:08x}"


def test_powers_of_two_are_exact() -> None:
    exponents = np.arange(-126, 127)
    assert apply("reciprocal", *2.0**exponents) == [int(bits(2.0**-e)) for e in exponents]
    even = np.arange(-148, 128, 2)
    assert apply("reciprocal_sqrt", *2.0**even) == [int(bits(2.0 ** (-e // 2))) for e in even]
    integers = np.arange(-149, 128)
    assert apply("exp2", *integers) == [int(bits(2.0**e)) for e in integers]


#: SHA-256 of the results of every 4099th bit pattern, and of the tables.
DIGESTS = {
    "reciprocal": "9a8b1a206159f04e1a69a72dc0163d28",
    "reciprocal_sqrt": "3f508401a84a5bab08c4f2ce37305740",
    "exp2": "b20bc43af92c0e669bbec2b900788e79",
}


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.name)
def test_no_bit_of_a_table_or_a_result_has_changed(sequence: Sequence) -> None:
    operands = np.arange(0, 1 << 32, 4099, dtype=np.int64).astype(np.uint32)
    digest = hashlib.sha256(sequence.table.astype("<u4").tobytes())
    digest.update(FUNCTIONS[sequence.name](operands).astype("<u4").tobytes())
    assert digest.hexdigest()[:32] == DIGESTS[sequence.name]


def rounded(value: Fraction) -> Fraction:
    """Return a number rounded to 24 significant bits, to nearest even; exponents have no end."""
    if value == 0:
        return value
    exponent = abs(value.numerator).bit_length() - value.denominator.bit_length()
    exponent -= abs(value) < Fraction(2) ** exponent
    quantum = Fraction(2) ** (exponent - 23)
    return round(value / quantum) * quantum


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.name)
def test_the_functions_are_the_listed_steps_in_exact_arithmetic(sequence: Sequence) -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, SEQUENCES.index(sequence)])
    low, high = (-20, 20) if sequence is EXP2 else (0.25, 4)
    operands = rng.uniform(low, high, 300).astype(np.float32)
    for x, got in zip(operands, apply(sequence.name, *operands), strict=True):
        values = {o: Fraction(float(np.uint32(c).view(np.float32))) for o, c in CONSTANTS.items()}
        values |= {Operand.X: Fraction(float(x)), Operand.CLAMPED: Fraction(float(x))}
        values[Operand.PRESCALE] = Fraction(1)
        for step in sequence.steps:
            product = values[step.a] * values[step.b] * (-1 if step.negate_product else 1)
            result = rounded(product + values[step.c] * (-1 if step.negate_addend else 1))
            if step.to is Operand.ARGUMENT:
                values |= wired(sequence, result)
            if step.to is not None:
                values[step.to] = result
        assert result == Fraction(float(np.uint32(got).view(np.float32)))


def wired(sequence: Sequence, argument: Fraction) -> dict[Operand, Fraction]:
    """Return what an ordinary argument selects, found by arithmetic and not from its bits."""
    if sequence is EXP2:
        index = int((argument - Fraction(3 << 16)) * 64)
        row, scale, m = index % 64, Fraction(2) ** (index // 64), Fraction(0)
    else:
        exponent = next(
            e for e in range(-8, 8) if Fraction(2) ** e <= argument < 2 ** Fraction(e + 1)
        )
        significand = argument / Fraction(2) ** exponent
        if sequence is RECIPROCAL:
            row, m, scale = (
                int((significand - 1) * 64),
                significand / 2,
                Fraction(2) ** (-exponent - 1),
            )
        else:
            odd = exponent % 2
            row = int((significand - 1) * 32) + (0 if odd else 32)
            m, scale = significand / 2 * (1 + odd), Fraction(2) ** -(exponent // 2)
    coefficients = sequence.table[row].view(np.float32).tolist()
    named = zip(sequence.coefficients, map(Fraction, coefficients), strict=True)
    return {**dict(named), Operand.SIGNIFICAND: m, Operand.SCALE: scale}


def test_the_scalar_functions_can_be_called_from_compiled_code() -> None:
    @njit
    def softmax_denominator(x, y):
        return elementary.reciprocal(fp32.add(elementary.exp2(x), elementary.exp2(y)))

    assert softmax_denominator(bits(1.0), bits(1.0)) == bits(0.25)
