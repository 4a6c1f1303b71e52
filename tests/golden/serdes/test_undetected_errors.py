"""The probability that a frame with errors is taken for a good one."""

import random

import pytest
from d1_golden.serdes.crc32c import crc32c
from d1_golden.serdes.frame import encode_frame
from d1_golden.serdes.params import LINKS
from d1_golden.serdes.undetected_errors import (
    error_syndromes,
    undetected_probability,
    undetected_sets,
)

D1 = LINKS["d1"]


def test_every_set_of_up_to_three_errors_is_detected():
    # Of a frame with one packet and of one with three; `docs/link.md` has the rest.
    for rows in (2, 5):
        ones, twos, threes, fours = undetected_sets(D1, rows)
        assert (ones, twos, threes) == (0, 0, 0)
        assert fours > 0


def test_the_syndrome_of_an_error_is_that_of_the_bits_it_flips():
    rng = random.Random(1)
    syndromes = error_syndromes(D1, 7).reshape(8, 58 + 448)
    rows = encode_frame(D1, [[rng.getrandbits(64) for _ in range(11)] for _ in range(5)], (0, 0))
    for _ in range(50):
        lane, time = rng.randrange(8), rng.randrange(-58, 448)
        words = [row.copy() for row in rows]
        for flipped in (time, time + 39, time + 58):
            if 0 <= flipped < 448:
                words[flipped // 64][lane] ^= 1 << flipped % 64
        before, after = (
            b"".join(word.to_bytes(8, "little") for row in frame for word in row)
            for frame in (rows, words)
        )
        # The sessions take part in both alike.
        assert int(syndromes[lane, time + 58]) == crc32c(before) ^ crc32c(after)


def test_two_errors_whose_syndromes_were_alike_would_be_counted():
    counts = undetected_sets(LINKS["tiny"], 6)
    assert counts[:3] == (0, 0, 0)
    assert counts[3] > 0


def test_the_probability_grows_with_the_rate_as_headers_then_four_errors_do():
    rates = (1e-9, 1e-8)
    low = [undetected_probability(D1, rate) for rate in rates]
    # Two errors in one of 56 headers, and a CRC that fits by chance.
    assert low[0] == pytest.approx(56 * 1e-18 / 2**32, rel=1e-3)
    assert low[1] / low[0] == pytest.approx(100, rel=0.01)
    fours = undetected_sets(D1, 7)[3]
    assert undetected_probability(D1, 1e-5) == pytest.approx(fours * 1e-20, rel=0.1)
    assert undetected_probability(D1, 0) == 0


def test_a_rate_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="rate must be in \\[0, 1\\), not 1"):
        undetected_probability(D1, 1)
