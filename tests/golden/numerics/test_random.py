import numpy as np
import pytest
from d1_golden.numerics.random import next_seed, random_bits, random_words

SEED = 0x0123_4567_89AB_CDEF
WORD = 1 << 32


def restated(seed: int, lane: int) -> int:
    """Restate the hash in plain integers, sums modulo 2^32."""
    x, y = (seed + lane) % WORD, seed // WORD
    for number in range(8):
        x = (x // 2**8 + x % 2**8 * 2**24 + y) % WORD ^ number
        y = (y * 2**3 % WORD + y // 2**29) ^ x
    return x


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


@pytest.mark.parametrize("shift", [24, 16, 8])
def test_bytes_that_rounding_uses_are_uniform(shift: int) -> None:
    words = random_words(SEED, np.arange(1 << 20)) >> shift & 0xFF
    expected = (1 << 20) / 256
    chi_square = ((np.bincount(words, minlength=256) - expected) ** 2 / expected).sum()
    # 255 degrees of freedom: mean 255, deviation 22.6.
    assert 255 - 5 * 22.6 < chi_square < 255 + 5 * 22.6


@pytest.mark.parametrize("seed", [0, SEED, 0xFFFF_FFFF_FFFF_FF00])
@pytest.mark.parametrize("distance", [1, 2, 4, 8, 16, 32, 64, 4096])
def test_lanes_and_instructions_are_uncorrelated(distance: int, seed: int) -> None:
    words = random_words(seed, np.arange(1 << 20))
    centred = words / WORD - 0.5
    correlation = np.mean(centred[distance:] * centred[:-distance]) * 12
    assert abs(correlation) < 5 / 2**10
    pairs = (words[distance:] >> 27 << 5) | words[:-distance] >> 27
    expected = pairs.size / 1024
    chi_square = ((np.bincount(pairs, minlength=1024) - expected) ** 2 / expected).sum()
    # 1023 degrees of freedom: deviation 45.2.
    assert 1023 - 5 * 45.2 < chi_square < 1023 + 5 * 45.2


def test_sums_over_the_lanes_of_an_instruction_spread_as_independent_ones_do() -> None:
    # Correlated lanes would make a dot product of stochastically rounded numbers biased or noisy.
    words = random_words(SEED, np.arange(1 << 20)).reshape(-1, 16) / WORD - 0.5
    variance = np.var(words.sum(axis=1)) * 12 / 16
    assert abs(variance - 1) < 5 * np.sqrt(2 / len(words))


@pytest.mark.parametrize("bit", range(64))
def test_a_flipped_seed_bit_flips_half_of_the_random_bits(bit: int) -> None:
    lanes = np.arange(4096)
    flipped = random_words(SEED, lanes) ^ random_words(SEED ^ 1 << bit, lanes)
    for position in range(8, 32):
        share = np.mean(flipped >> position & 1)
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(lanes.size), position


def test_seeds_wider_than_the_register_are_rejected() -> None:
    with pytest.raises(ValueError, match="seed must be of 64 bits, not 18446744073709551616"):
        random_words(1 << 64, [0])
