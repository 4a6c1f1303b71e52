# amaranth: UnusedElaboratable=no
"""The random bits of stochastic rounding."""

import numpy as np
import pytest
from d1_golden.numerics.random import random_words
from d1_rtl.numerics.random import RandomWord
from d1_rtl.sim.native import NativeModel

SEED = 3


def test_words_equal_the_golden_hash_one_cycle_later():
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    lane = 13
    seeds = rng.integers(0, 1 << 64, 20_000, np.uint64)
    # The counter wraps into neither the key nor a 33rd bit.
    seeds[:4] = [0, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFF3]
    expected = np.array([random_words(int(seed), [lane])[0] for seed in seeds])
    with NativeModel(RandomWord(lane=lane), name="random_word") as model:
        enabled = {"seed": seeds, "en": np.ones(len(seeds), np.uint8)}
        word = model.play(enabled, ["word"])["word"][:, 0]
        held = model.play({"seed": seeds, "en": np.zeros(len(seeds), np.uint8)}, ["word"])["word"]
    assert np.array_equal(word[1:], expected[:-1])
    assert (held == expected[-1]).all(), "without en the word stays"


def test_a_lane_that_cannot_be_is_rejected():
    with pytest.raises(ValueError, match="lane must be 0 or more, not -1"):
        RandomWord(lane=-1)
