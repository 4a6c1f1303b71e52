# amaranth: UnusedElaboratable=no
"""The fused multiply-add against golden: every corner with every other, and random operands."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.formats import Rounding
from d1_golden.numerics.fp32 import ONE, fma_array, from_int32_array, to_int32_array
from d1_golden.numerics.vector_stimulus import FmaKind, fma_operands, fp32_corners
from d1_rtl.numerics.fp32_fma import INTEGER_FRAME, Fp32Fma, from_int32
from d1_rtl.sim.native import NativeModel

SEED = 14
LATENCY = 2
OPERATIONS = 250_000


class FromInteger(wiring.Component):
    """A multiply-add that converts integers."""

    word: In(32)
    result: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.fma = fma = Fp32Fma()
        a, b, c = from_int32(self.word)
        m.d.comb += [fma.a.eq(a), fma.b.eq(b), fma.c.eq(c), fma.raw.eq(1)]
        m.d.comb += self.result.eq(fma.result)
        return m


@pytest.fixture(scope="module")
def lane():
    with NativeModel(Fp32Fma(), name="fp32_fma") as model:
        model.reset()
        yield model


def check(model, operands):
    """Play operands one a cycle and compare all results."""
    a, b, c = (np.concatenate([o, np.zeros(LATENCY, np.uint32)]) for o in operands)
    actual = model.play({"a": a, "b": b, "c": c}, ["result"])["result"][LATENCY:, 0]
    expected = fma_array(*operands)
    wrong = np.flatnonzero(actual != expected)[:3]
    assert not wrong.size, [
        [f"{int(x):#010x}" for x in (*operands[:, n], expected[n], actual[n])] for n in wrong
    ]


def test_corners_crossed_with_each_other_equal_golden(lane):
    corners = fp32_corners()
    operands = np.array(np.meshgrid(corners, corners, corners, indexing="ij")).reshape(3, -1)
    assert len(np.unique(fma_array(*operands))) > 1000
    check(lane, operands)


@pytest.mark.parametrize("unit_factor", [False, True])
@pytest.mark.parametrize("kind", FmaKind)
def test_random_operands_equal_golden(lane, kind, unit_factor):
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, kind])
    check(lane, fma_operands(rng, OPERATIONS, kind, unit_factor=unit_factor))


def integers(rng):
    """Return integers of every magnitude and either sign, many of them ties."""
    words = rng.integers(0, 1 << 32, OPERATIONS, np.uint32)
    words = np.concatenate([words >> rng.integers(0, 32, len(words), np.uint32), words])
    words = np.concatenate([words, words & np.uint32(0xFFFFFF80), words & np.uint32(0xFFFFFFC0)])
    ends = np.array([0, 1, (1 << 31) - 1, 1 << 31, (1 << 22) - 1, 1 << 22], np.uint32)
    return np.concatenate([ends, words, np.uint32(0) - ends, np.uint32(0) - words])


def test_integers_become_the_nearest_numbers_without_hidden_bits():
    print(f"seed {SEED}")
    words = integers(np.random.default_rng([SEED, 1]))
    with NativeModel(FromInteger(), name="fp32_from_integer") as model:
        model.reset()
        played = np.concatenate([words, np.zeros(LATENCY, np.uint32)])
        actual = model.play({"word": played}, ["result"])["result"][LATENCY:, 0]
    assert np.array_equal(actual, from_int32_array(words))


def test_numbers_become_the_nearest_integers_in_the_frame_of_a_word(lane):
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, 2])
    fields = rng.integers(127 - 3, 127 + 34, OPERATIONS, np.uint32)
    keep = np.uint32(0xFFFFFFFF) << rng.integers(0, 24, OPERATIONS, np.uint32)
    words = rng.integers(0, 1 << 32, OPERATIONS, np.uint32)
    near = (words & np.uint32(1 << 31)) | fields << 23 | words & keep & np.uint32(0x7FFFFF)
    numbers = np.concatenate([fp32_corners(), near, words, np.zeros(LATENCY, np.uint32)])
    inputs = {"a": np.full_like(numbers, INTEGER_FRAME), "b": np.full_like(numbers, ONE)}
    actual = lane.play(inputs | {"c": numbers}, ["integer"])["integer"][LATENCY:, 0]
    expected = to_int32_array(numbers, Rounding.NEAREST_EVEN)[:-LATENCY]
    assert np.array_equal(actual, expected)


def test_the_product_of_the_lower_24_bits_of_integers_comes_after_a_cycle(lane):
    print(f"seed {SEED}")
    a, b = np.random.default_rng([SEED, 3]).integers(0, 1 << 32, (2, OPERATIONS), np.uint32)
    lane.set("raw", 1)
    actual = lane.play({"a": a, "b": b}, ["product"])["product"][1:, 0]
    lane.set("raw", 0)
    expected = (a & 0xFFFFFF).astype(np.uint64) * (b & 0xFFFFFF)
    assert np.array_equal(actual, expected.astype(np.uint32)[:-1])
