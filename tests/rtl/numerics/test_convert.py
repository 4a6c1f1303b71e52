# amaranth: UnusedElaboratable=no
"""Narrowing FP32 to BF16 and CFP8, a million vectors in each direction."""

import numpy as np
import pytest
from d1_golden.numerics import BF16, CFP8_BIASES, Cfp8Config, Cfp8Format, Rounding
from d1_golden.numerics.convert import fp32_to_bf16, fp32_to_cfp8
from d1_golden.numerics.stimulus import conversion_operands
from d1_rtl.numerics.convert import Fp32Narrow
from d1_rtl.sim.native import NativeModel
from numba import njit

SEED = 4
VECTORS = 1_000_000
CONFIGS = [Cfp8Config(split, bias) for split in Cfp8Format for bias in CFP8_BIASES]


@pytest.fixture(scope="module")
def model():
    with NativeModel(Fp32Narrow(), name="fp32_narrow") as model:
        yield model


@njit
def bf16_of(values, stochastic, random):
    out = np.empty(values.size, np.uint16)
    for i in range(values.size):
        out[i] = fp32_to_bf16(values[i], np.int64(stochastic[i]), random[i])
    return out


@njit
def cfp8_of(values, split, bias, stochastic, random):
    out = np.empty(values.size, np.uint8)
    for i in range(values.size):
        mantissa_bits = np.int64(3) - split[i]
        out[i] = fp32_to_cfp8(
            values[i], mantissa_bits, np.int64(bias[i]), np.int64(stochastic[i]), random[i]
        )
    return out


def narrow(model, values, *, to_cfp8, config, stochastic, random, output):
    """Return the output for each of `values`; rounding and random bits are one cycle later."""
    late = {"stochastic": stochastic, "random": random}
    inputs = {
        "value": np.append(values, values[:1]),
        "to_cfp8": np.full(len(values) + 1, to_cfp8, np.uint8),
        "config": np.append(config, config[:1]),
        "en": np.ones(len(values) + 1, np.uint8),
        **{name: np.append(array[:1], array) for name, array in late.items()},
    }
    return model.play(inputs, [output])[output][1:, 0]


def stimulus(destinations):
    """Return values around each of the destinations, and random words and roundings for them."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    share = -(-VECTORS // len(destinations))
    values = np.concatenate([conversion_operands(rng, share, form) for form in destinations])
    random = rng.integers(0, 1 << 32, len(values), dtype=np.uint32)
    extreme = rng.choice(np.array([0, 0xFF, 0x100, 0xFFFF_FF00, 0xFFFF_FFFF], np.uint32), share)
    random[:share] = extreme
    stochastic = rng.integers(0, 2, len(values), dtype=np.uint8)
    assert {Rounding(int(code)) for code in np.unique(stochastic)} == {
        Rounding.NEAREST_EVEN,
        Rounding.STOCHASTIC,
    }
    return values, random, stochastic


def test_bf16_by_either_rounding_equals_golden_on_a_million_vectors(model):
    values, random, stochastic = stimulus([BF16])
    config = np.zeros(len(values), np.uint8)
    bf16 = narrow(
        model, values, to_cfp8=0, config=config, stochastic=stochastic, random=random, output="bf16"
    )
    assert len(bf16) >= VECTORS
    assert np.array_equal(bf16, bf16_of(values, stochastic, random))


def test_every_cfp8_by_either_rounding_equals_golden_on_a_million_vectors(model):
    values, random, stochastic = stimulus([config.float_format for config in CONFIGS])
    share = len(values) // len(CONFIGS)
    split = np.repeat([int(config.format) for config in CONFIGS], share)
    bias = np.repeat([config.bias for config in CONFIGS], share)
    cfp8 = narrow(
        model,
        values,
        to_cfp8=1,
        config=(bias | split << 6).astype(np.uint8),
        stochastic=stochastic,
        random=random,
        output="cfp8",
    )
    assert len(cfp8) >= VECTORS
    assert np.array_equal(cfp8, cfp8_of(values, split, bias, stochastic, random))


def test_a_number_that_is_not_taken_leaves_the_result(model):
    one, two = 0x3F80_0000, 0x4000_0000
    inputs = {
        "value": np.array([one, two, two], np.uint32),
        "to_cfp8": np.zeros(3, np.uint8),
        "config": np.zeros(3, np.uint8),
        "en": np.array([1, 0, 0], np.uint8),
        "stochastic": np.zeros(3, np.uint8),
        "random": np.zeros(3, np.uint32),
    }
    bf16 = model.play(inputs, ["bf16"])["bf16"][1:, 0]
    assert list(bf16) == [one >> 16] * 2
