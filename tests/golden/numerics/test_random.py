import numpy as np
import pytest
from d1_golden.numerics.random import next_seed, random_bits, random_words

SEED = 0x0123_4567_89AB_CDEF
WORD = 1 << 32


def restated(seed: int, lane: int) -> int:
    """Restate the hash in plain integers, sums modulo 2^32."""
    x = (seed + lane) % WORD
    x = (0x7ED55D16 + 4097 * x) % WORD
    x = x ^ 0xC761C23C ^ x // 2**19
    x = (0x165667B1 + 33 * x) % WORD
    x ^= seed // WORD
    x = (x + 0xD3A2646C) % WORD ^ x * 512 % WORD
    x = (0xFD7046C5 + 9 * x) % WORD
    return x ^ 0xB55A4F09 ^ x // 2**16


def test_random_bits_follow_the_written_hash() -> None:
    rng = np.random.default_rng(3)
    seeds = [0, 1, SEED, (1 << 64) - 1, *rng.integers(0, 1 << 64, 200, dtype=np.uint64).tolist()]
    for seed in seeds:
        for lane in (0, 1, 31, 63):
            assert int(random_bits(np.uint64(seed), lane)) == restated(seed, lane)


def test_the_counter_wraps_and_the_key_stays() -> None:
    assert next_seed(np.uint64(0x1234_5678_FFFF_FFFF), 8) == 0x1234_5678_0000_0007
    assert next_seed(np.uint64(0xFFFF_FFFF_0000_0001), 64) == 0xFFFF_FFFF_0000_0041


def test_lanes_continue_where_the_next_seed_starts() -> None:
    seed = 0xABCD_0001_FFFF_FFF0
    whole = random_words(seed, np.arange(64))
    halves = [random_words(seed, np.arange(24))]
    halves.append(random_words(int(next_seed(np.uint64(seed), 24)), np.arange(40)))
    assert np.array_equal(whole, np.concatenate(halves))


def test_one_key_gives_no_word_twice() -> None:
    assert np.unique(random_words(SEED, np.arange(1 << 20))).size == 1 << 20


@pytest.mark.parametrize("shift", [24, 16, 8])
def test_bytes_that_rounding_uses_are_uniform(shift: int) -> None:
    words = random_words(SEED, np.arange(1 << 20)) >> shift & 0xFF
    expected = (1 << 20) / 256
    chi_square = ((np.bincount(words, minlength=256) - expected) ** 2 / expected).sum()
    # 255 degrees of freedom: mean 255, deviation 22.6.
    assert 255 - 5 * 22.6 < chi_square < 255 + 5 * 22.6


@pytest.mark.parametrize("distance", [1, 2, 4, 8, 16, 32, 64])
def test_lanes_and_instructions_are_uncorrelated(distance: int) -> None:
    words = random_words(SEED, np.arange(1 << 20)).astype(np.float64)
    words = words / WORD - 0.5
    correlation = np.mean(words[distance:] * words[:-distance]) * 12
    assert abs(correlation) < 5 / 2**10


def test_a_flipped_counter_bit_flips_half_of_the_random_bits() -> None:
    base = random_words(SEED, np.arange(1 << 14))
    for bit in range(32):
        flipped = np.array(
            [restated(SEED ^ 1 << bit, lane) for lane in range(512)], dtype=np.uint32
        )
        share = np.mean(np.bitwise_count((base[:512] ^ flipped) >> 8)) / 24
        assert 0.35 < share < 0.65, bit


def test_seeds_wider_than_the_register_are_rejected() -> None:
    with pytest.raises(ValueError, match="seed must be of 64 bits, not 18446744073709551616"):
        random_words(1 << 64, [0])
