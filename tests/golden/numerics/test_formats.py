import re
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from d1_golden.numerics.formats import (
    BF16,
    CFP8_BIASES,
    FP32,
    Cfp8Config,
    Cfp8Format,
    FloatFormat,
)

SEED = 7
ALL_CODES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("cfp8", Cfp8Format, ids=lambda cfp8: cfp8.name)
@pytest.mark.parametrize("bias", CFP8_BIASES)
def test_all_codes_of_cfp8_decode_to_their_definition(cfp8: Cfp8Format, bias: int) -> None:
    exponent_bits, mantissa_bits = {"CFP8_1_4_3": (4, 3), "CFP8_1_5_2": (5, 2)}[cfp8.name]
    values = Cfp8Config(cfp8, bias).float_format.decode(ALL_CODES)
    for code, value in zip(ALL_CODES.tolist(), values.tolist(), strict=True):
        text = f"{code:08b}"
        exponent = int(text[1 : 1 + exponent_bits], 2)
        fraction = Fraction(int(text[1 + exponent_bits :], 2), 2**mantissa_bits)
        magnitude = (
            (1 + fraction) * Fraction(2) ** (exponent - bias)
            if exponent
            else fraction * Fraction(2) ** (1 - bias)
        )
        assert Fraction(value) == (-magnitude if text[0] == "1" else magnitude)
        assert np.signbit(value) == (text[0] == "1")


@pytest.mark.parametrize("cfp8", Cfp8Format, ids=lambda cfp8: cfp8.name)
@pytest.mark.parametrize("bias", CFP8_BIASES)
def test_ranges_of_cfp8_are_the_published_ones(cfp8: Cfp8Format, bias: int) -> None:
    form = Cfp8Config(cfp8, bias).float_format
    largest = 1.875 * 2.0 ** (15 - bias) if cfp8 == 0 else 1.75 * 2.0 ** (31 - bias)
    assert form.largest == largest
    assert form.smallest_normal == 2.0 ** (1 - bias)
    assert form.smallest_subnormal == 2.0 ** (1 - bias - cfp8.mantissa_bits)


@pytest.mark.parametrize(
    ("form", "other"),
    [
        (FloatFormat(5, 2, 15, True), ml_dtypes.float8_e5m2),
        (FloatFormat(4, 3, 7, True), ml_dtypes.float8_e4m3),
        (FloatFormat(4, 3, 7, False), ml_dtypes.float8_e4m3fn),
        (FloatFormat(4, 3, 8, False), ml_dtypes.float8_e4m3fnuz),
        (FloatFormat(4, 3, 11, False), ml_dtypes.float8_e4m3b11fnuz),
        (FloatFormat(5, 2, 16, False), ml_dtypes.float8_e5m2fnuz),
        (FloatFormat(5, 10, 15, True), np.float16),
        (BF16, ml_dtypes.bfloat16),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_decoding_agrees_with_ml_dtypes_where_formats_coincide(
    form: FloatFormat, other: type
) -> None:
    codes = np.arange(1 << form.width, dtype=form.dtype)
    with np.errstate(invalid="ignore"):
        expected = codes.view(other).astype(np.float64)
    got = form.decode(codes)
    # Formats without our specials still have a NaN or two of their own.
    same = np.ones(codes.size, bool) if form.has_specials else np.isfinite(expected)
    assert same.sum() >= codes.size - 2
    assert np.array_equal(got[same], expected[same], equal_nan=True)
    assert np.array_equal(
        np.signbit(got[same & (got == got)]), codes[same & (got == got)] >> (form.width - 1)
    )


@pytest.mark.parametrize(
    "form",
    [BF16, FloatFormat(5, 10, 15, True)]
    + [Cfp8Config(cfp8, bias).float_format for cfp8 in Cfp8Format for bias in (0, 7, 15, 63)],
    ids=str,
)
def test_every_code_but_nan_survives_decoding_and_encoding(form: FloatFormat) -> None:
    codes = np.arange(1 << form.width, dtype=form.dtype)
    values = form.decode(codes)
    got = form.encode(values)
    assert np.array_equal(got[values == values], codes[values == values])
    if form.has_specials:
        assert set(got[values != values].tolist()) == {form.nan_code}


def test_encoding_to_fp32_and_bf16_rounds_as_the_host_does() -> None:
    rng = np.random.default_rng(SEED)
    values = rng.normal(size=200_000) * 2.0 ** rng.integers(-160, 130, 200_000)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    assert np.array_equal(FP32.encode(values), single.view(np.uint32))
    # From exact float32, as ml_dtypes would round float64 twice.
    expected = single.astype(ml_dtypes.bfloat16).view(np.uint16)
    assert np.array_equal(BF16.encode(single.astype(np.float64)), expected)


def test_formats_without_specials_clamp_and_keep_signs() -> None:
    form = Cfp8Config(Cfp8Format.CFP8_1_4_3, 7).float_format
    values = [np.inf, -np.inf, 1e30, -1e30, np.nan, -np.nan, 0.0, -0.0, 1e-30, -1e-30]
    expected = [0x7F, 0xFF, 0x7F, 0xFF, 0x7F, 0xFF, 0x00, 0x80, 0x00, 0x80]
    assert form.encode(values).tolist() == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FloatFormat(9, 3, 7, True), "exponent_bits must be 1..8, not 9"),
        (lambda: FloatFormat(8, 24, 7, True), "mantissa_bits must be 1..23, not 24"),
        (lambda: FloatFormat(8, 23, 256, True), "bias must be 0..255, not 256"),
        (lambda: Cfp8Config(Cfp8Format.CFP8_1_4_3, 64), "CFP8 bias must be 0..63, not 64"),
        (lambda: Cfp8Config(Cfp8Format.CFP8_1_4_3, 3).float_format.nan_code, "must have specials"),
        (lambda: BF16.decode([1 << 16]), "codes must be of 16 bits, not 65536..65536"),
    ],
)
def test_bad_formats_and_codes_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
