"""Conversions against ml_dtypes, SoftFloat and a table search that knows no bit tricks."""

import ml_dtypes
import numpy as np
import pytest
import softfloatpy
from d1_golden.csr import CSR_BY_NAME
from d1_golden.numerics import convert
from d1_golden.numerics.formats import BF16, CFP8_BIASES, FP32, Cfp8Config, Cfp8Format, Rounding
from d1_golden.numerics.random import next_seed
from d1_golden.numerics.stimulus import conversion_operands, corner_codes
from numba import njit

SEED = 20250118
ALL_CODES = np.arange(256, dtype=np.uint8)
STOCHASTIC = int(Rounding.STOCHASTIC)
CONFIGS = [Cfp8Config(cfp8, bias) for cfp8 in Cfp8Format for bias in CFP8_BIASES]
SOME_CONFIGS = [Cfp8Config(cfp8, bias) for cfp8 in Cfp8Format for bias in (0, 7, 15, 40, 63)]
#: Vectors of each nearest-even comparison of FP32 to CFP8; 128 configurations.
CFP8_VECTORS = 80_000


def name(config: Cfp8Config) -> str:
    return f"{config.format.name}-bias{config.bias}"


def numbers(bits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return bits.view(np.float32).astype(np.float64)


def magnitudes(config: Cfp8Config) -> np.ndarray:
    """Return the values of codes 0..127 by counting up from zero, one step a code."""
    binades = np.maximum(np.arange(127) >> config.format.mantissa_bits, 1)
    steps = 2.0 ** (binades - config.bias - config.format.mantissa_bits)
    return np.concatenate([[0.0], np.cumsum(steps)])


def nearest_even_by_search(bits: np.ndarray, config: Cfp8Config) -> np.ndarray:
    """Find the nearest code among all, exact in float64: midpoints have few bits."""
    table = magnitudes(config)
    midpoints = (table[1:] + table[:-1]) / 2
    values = numbers(bits)
    # NaN sorts behind all numbers, so it becomes the largest magnitude here too.
    codes = np.searchsorted(midpoints, np.abs(values))
    ties = (codes < 127) & (np.abs(values) == midpoints[np.minimum(codes, 126)])
    codes = np.where(ties & (codes % 2 == 1), codes + 1, codes)
    return (codes | (bits >> 31 << 7)).astype(np.uint8)


def test_fp32_to_bf16_agrees_with_ml_dtypes() -> None:
    rng = np.random.default_rng(SEED)
    top = np.arange(1 << 16, dtype=np.uint32)[:, None] << 16
    low = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xC000, 0xFFFF], dtype=np.uint32)
    bits = np.concatenate([(top | low).ravel(), rng.integers(0, 1 << 32, 1_500_000, np.uint32)])
    with np.errstate(invalid="ignore"):
        expected = bits.view(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    expected[np.isnan(numbers(bits))] = 0x7FC0
    assert np.array_equal(convert.fp32_to_bf16_array(bits), expected)


def test_fp32_to_bf16_agrees_with_softfloat() -> None:
    rng = np.random.default_rng(SEED)
    bits = conversion_operands(rng, 100_000, BF16)
    bits = np.concatenate([bits, corner_codes(FP32)])
    bits = bits[~np.isnan(numbers(bits))]
    softfloatpy.set_rounding_mode(softfloatpy.RoundingMode.NEAR_EVEN)
    expected = [
        int.from_bytes(
            softfloatpy.f32_to_bf16(
                softfloatpy.Float32.from_bytes(x.to_bytes(4, "big"))
            ).to_bytes(),
            "big",
        )
        for x in bits.tolist()
    ]
    assert np.array_equal(convert.fp32_to_bf16_array(bits), np.array(expected, np.uint16))


def test_truncation_to_bf16_drops_the_lower_half() -> None:
    rng = np.random.default_rng(SEED)
    bits = conversion_operands(rng, 100_000, BF16)
    bits = bits[~np.isnan(numbers(bits))]
    assert np.array_equal(convert.fp32_to_bf16_array(bits, Rounding.TRUNCATE), bits >> 16)


def test_the_nearest_even_comparisons_cover_ten_million_vectors() -> None:
    assert CFP8_VECTORS * len(CONFIGS) >= 10**7


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_fp32_to_cfp8_takes_the_nearest_of_all_codes(config: Cfp8Config) -> None:
    rng = np.random.default_rng([SEED, config.format, config.bias])
    bits = conversion_operands(rng, CFP8_VECTORS, config.float_format)
    got = convert.fp32_to_cfp8_array(bits, config)
    expected = nearest_even_by_search(bits, config)
    wrong = np.flatnonzero(got != expected)
    assert wrong.size == 0, (
        f"seed {SEED}: {wrong.size} differ, first {bits[wrong[0]]:#010x}: "
        f"got {got[wrong[0]]:#04x}, expected {expected[wrong[0]]:#04x}"
    )


@pytest.mark.parametrize(
    ("config", "other"),
    [
        (Cfp8Config(Cfp8Format.CFP8_1_5_2, 15), ml_dtypes.float8_e5m2),
        (Cfp8Config(Cfp8Format.CFP8_1_5_2, 16), ml_dtypes.float8_e5m2fnuz),
        (Cfp8Config(Cfp8Format.CFP8_1_4_3, 7), ml_dtypes.float8_e4m3),
        (Cfp8Config(Cfp8Format.CFP8_1_4_3, 7), ml_dtypes.float8_e4m3fn),
        (Cfp8Config(Cfp8Format.CFP8_1_4_3, 8), ml_dtypes.float8_e4m3fnuz),
        (Cfp8Config(Cfp8Format.CFP8_1_4_3, 11), ml_dtypes.float8_e4m3b11fnuz),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_fp32_to_cfp8_agrees_with_ml_dtypes_where_formats_coincide(
    config: Cfp8Config, other: type
) -> None:
    rng = np.random.default_rng(SEED)
    bits = conversion_operands(rng, 400_000, config.float_format)
    with np.errstate(all="ignore"):
        expected = bits.view(np.float32).astype(other)
        values = expected.astype(np.float64)
    # Inf and NaN are ordinary numbers here, and the unsigned-zero formats lose the sign of zero.
    same = np.isfinite(values) & ~((values == 0) & (bits >> 31 == 1))
    assert same.mean() > 0.4
    got = convert.fp32_to_cfp8_array(bits, config)
    assert np.array_equal(got[same], expected.view(np.uint8)[same])


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_all_cfp8_codes_widen_to_normal_bf16_of_the_same_value(config: Cfp8Config) -> None:
    table = magnitudes(config)
    expected = np.concatenate([table, -table])
    bf16 = convert.cfp8_to_bf16_array(ALL_CODES, config)
    assert np.array_equal(bf16.view(ml_dtypes.bfloat16).astype(np.float64), expected)
    assert np.array_equal(bf16 >> 15, ALL_CODES >> 7)
    exponents = bf16[expected != 0] >> 7 & 0xFF
    assert exponents.min() >= 1 and exponents.max() <= 254
    fp32 = convert.cfp8_to_fp32_array(ALL_CODES, config)
    assert np.array_equal(numbers(fp32), expected)
    for rounding in Rounding:
        assert np.array_equal(convert.fp32_to_cfp8_array(fp32, config, rounding, 99), ALL_CODES)


def test_bf16_widens_by_sixteen_zeros_and_narrows_back() -> None:
    codes = np.arange(1 << 16, dtype=np.uint16)
    fp32 = convert.bf16_to_fp32_array(codes)
    assert np.array_equal(fp32, codes.astype(np.uint32) << 16)
    numeric = ~np.isnan(numbers(fp32))
    for rounding in Rounding:
        assert np.array_equal(
            convert.fp32_to_bf16_array(fp32, rounding, 99)[numeric], codes[numeric]
        )
    assert int(convert.bf16_to_fp32(np.uint16(0xFF81))) == 0xFF810000


@pytest.mark.parametrize("rounding", Rounding, ids=lambda rounding: rounding.name)
def test_specials_and_zeros_by_every_rounding(rounding: Rounding) -> None:
    bits = FP32.encode([np.inf, -np.inf, np.nan, 0.0, -0.0])
    bits = np.append(bits, np.array([0xFFFFFFFF, 0x7F800001], np.uint32))
    bf16 = convert.fp32_to_bf16_array(bits, rounding, 5)
    assert bf16.tolist() == [0x7F80, 0xFF80, 0x7FC0, 0x0000, 0x8000, 0x7FC0, 0x7FC0]
    for config in SOME_CONFIGS:
        cfp8 = convert.fp32_to_cfp8_array(bits, config, rounding, 5)
        assert cfp8.tolist() == [0x7F, 0xFF, 0x7F, 0x00, 0x80, 0xFF, 0x7F]


@njit
def stochastic_bf16(bits, random):
    out = np.empty(random.size, np.uint16)
    for i in range(random.size):
        out[i] = convert.fp32_to_bf16(bits, STOCHASTIC, random[i])
    return out


@njit
def stochastic_cfp8(bits, mantissa_bits, bias, random):
    out = np.empty(random.size, np.uint8)
    for i in range(random.size):
        out[i] = convert.fp32_to_cfp8(bits, mantissa_bits, bias, STOCHASTIC, random[i])
    return out


def test_stochastic_bf16_rounds_up_in_exactly_the_share_that_is_cut_off() -> None:
    # Only the upper 16 bits matter: all of them once each is the whole distribution.
    random = np.arange(1 << 16, dtype=np.uint32) << 16
    for bits in (
        0x3F801234,
        0x3F80FFFF,
        0xBF808000,
        0x00001234,
        0x007FFFFF,
        0x3F7F0001,
        0x80000001,
    ):
        codes = stochastic_bf16(bits, random)
        assert set(codes.tolist()) == {bits >> 16, (bits >> 16) + 1}
        assert (codes == (bits >> 16) + 1).sum() == bits & 0xFFFF


def test_stochastic_bf16_never_turns_a_finite_number_into_infinity() -> None:
    random = np.arange(1 << 16, dtype=np.uint32) << 16
    assert set(stochastic_bf16(0x7F7FFFFF, random).tolist()) == {0x7F7F}
    assert set(stochastic_bf16(0xFF7FFFFF, random).tolist()) == {0xFF7F}


@pytest.mark.parametrize("config", SOME_CONFIGS, ids=name)
def test_stochastic_cfp8_rounds_up_in_exactly_the_share_that_is_cut_off(config: Cfp8Config) -> None:
    rng = np.random.default_rng([SEED, config.bias])
    table = magnitudes(config)
    # Multiples of 2^-18 of a step: all upper 18 random bits are the whole distribution.
    random = np.arange(1 << 18, dtype=np.uint32) << 14
    for code in (0, 1, 5, 8, 9, 63, 100, 126):
        share = int(rng.integers(1, 1 << 18))
        value = table[code] + (table[code + 1] - table[code]) * share / (1 << 18)
        bits = int(np.float32(value).view(np.uint32))
        codes = stochastic_cfp8(bits, config.format.mantissa_bits, config.bias, random)
        assert set(codes.tolist()) == {code, code + 1}, f"seed {SEED}, code {code}"
        assert (codes == code + 1).sum() == share, f"seed {SEED}, code {code}"


def test_stochastic_cfp8_clamps_to_the_largest_magnitude() -> None:
    config = Cfp8Config(Cfp8Format.CFP8_1_4_3, 7)
    bits = FP32.encode(np.full(1000, -495.0))
    assert set(convert.fp32_to_cfp8_array(bits, config, Rounding.STOCHASTIC, 1).tolist()) == {0xFF}


def test_stochastic_bits_below_the_twenty_fourth_are_dropped() -> None:
    # 2^-25 of the smallest subnormal never rounds up, 2^-24 does for the largest random word only.
    config = Cfp8Config(Cfp8Format.CFP8_1_4_3, 7)
    smallest = config.float_format.smallest_subnormal
    random = np.array([0xFFFFFFFF, 0xFFFFFF00, 0xFFFFFE00], dtype=np.uint32)
    for exponent, expected in ((-25, [0, 0, 0]), (-24, [1, 1, 0]), (-23, [1, 1, 1])):
        bits = int(FP32.encode(smallest * 2.0**exponent))
        assert stochastic_cfp8(bits, 3, 7, random).tolist() == expected


@pytest.mark.parametrize("config", [None, *SOME_CONFIGS], ids=lambda c: name(c) if c else "BF16")
def test_stochastic_rounding_is_unbiased_by_its_own_random_bits(config: Cfp8Config | None) -> None:
    lanes, seed = 1 << 17, 0x5EED_5EED_0000_0000
    form = config.float_format if config else BF16
    rng = np.random.default_rng([SEED, form.bias])
    z_scores = []
    for _ in range(24):
        exponent = int(rng.integers(form.min_exponent - form.mantissa_bits + 1, form.max_exponent))
        value = np.float32(rng.choice([-1.0, 1.0]) * rng.uniform(1, 2) * 2.0**exponent)
        bits = np.full(lanes, value.view(np.uint32))
        if config:
            codes = convert.fp32_to_cfp8_array(bits, config, Rounding.STOCHASTIC, seed)
        else:
            codes = convert.fp32_to_bf16_array(bits, Rounding.STOCHASTIC, seed)
        seed = int(next_seed(np.uint64(seed), lanes))
        values = form.decode(codes)
        low, high = values.min(), values.max()
        assert low <= value <= high
        deviation = np.sqrt((value - low) * (high - value) / lanes)
        if low < high:
            z_scores.append((values.mean() - value) / deviation)
    assert len(z_scores) >= 20
    scores = np.array(z_scores)
    assert np.abs(scores).max() < 4.5, f"seed {SEED}: {scores}"
    # All values together: a common small bias would add up.
    assert abs(scores.sum()) / np.sqrt(scores.size) < 4.5, f"seed {SEED}: {scores}"


def test_stochastic_rounding_repeats_with_its_seed_and_only_with_it() -> None:
    rng = np.random.default_rng(SEED)
    bits = conversion_operands(rng, 4096, BF16)
    config = Cfp8Config(Cfp8Format.CFP8_1_5_2, 15)

    def both(seed: int) -> list[np.ndarray]:
        return [
            convert.fp32_to_bf16_array(bits, Rounding.STOCHASTIC, seed),
            convert.fp32_to_cfp8_array(bits, config, Rounding.STOCHASTIC, seed),
        ]

    for first, again, other in zip(both(12345), both(12345), both(12345 << 32), strict=True):
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_arrays_keep_their_shape_and_number_lanes_in_order() -> None:
    rng = np.random.default_rng(SEED)
    bits = conversion_operands(rng, 48, BF16).reshape(2, 3, 8)
    seed = 77
    got = convert.fp32_to_bf16_array(bits.transpose(1, 0, 2), Rounding.STOCHASTIC, seed)
    assert got.shape == (3, 2, 8)
    flat = np.ascontiguousarray(bits.transpose(1, 0, 2)).ravel()
    expected = convert.fp32_to_bf16_array(flat, Rounding.STOCHASTIC, seed)
    assert np.array_equal(got.ravel(), expected)


def test_codes_of_roundings_are_the_values_of_the_rounding_csr() -> None:
    csr = CSR_BY_NAME["mround"]
    assert csr.doc.endswith("0 nearest even, 1 stochastic")
    assert (Rounding.NEAREST_EVEN, Rounding.STOCHASTIC) == (0, 1)


def test_arrays_of_another_dtype_are_rejected() -> None:
    with pytest.raises(TypeError, match="bits must be of uint32, not float32"):
        convert.fp32_to_bf16_array(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="codes must be of uint8, not uint16"):
        convert.cfp8_to_bf16_array(np.zeros(3, np.uint16), SOME_CONFIGS[0])
