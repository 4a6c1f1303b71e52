"""The code against the literature's properties and against its definition, exhaustively."""

import itertools
from collections import Counter

import numpy as np
import pytest
from d1_golden import ecc
from d1_golden.ecc import CHECK_BITS, COLUMNS, DATA_BITS, ROWS, EccStatus, decode, encode

BITS = DATA_BITS + CHECK_BITS
#: Ones in all rows and in each row of the (72, 64) code of Hsiao's paper.
HSIAO_ONES, HSIAO_ONES_PER_ROW = 216, 27
SEED = 72


def random_words(count: int, seed: int = SEED) -> np.ndarray:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    corners = [0, 2**64 - 1, 0x5555_5555_5555_5555, 1, 1 << 63]
    words = rng.integers(0, 2**64, count, np.uint64)
    words[: len(corners)] = corners
    return words


def flips(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every choice of `size` bits of 72 as masks of the word and of the check byte."""
    chosen = [sum(1 << bit for bit in bits) for bits in itertools.combinations(range(BITS), size)]
    words = np.array([mask & (1 << DATA_BITS) - 1 for mask in chosen], np.uint64)
    return words, np.array([mask >> DATA_BITS for mask in chosen], np.uint8)


def codewords_of_weight_4(columns: tuple[int, ...]) -> int:
    """Count the choices of four columns whose sum is zero: three pairs of equal sums in each."""
    sums = Counter(a ^ b for a, b in itertools.combinations(columns, 2))
    return sum(count * (count - 1) // 2 for count in sums.values()) // 3


def test_the_columns_are_distinct_and_of_odd_weight():
    assert len(set(COLUMNS)) == len(COLUMNS) == BITS
    assert all(column.bit_count() % 2 for column in COLUMNS)


def test_the_matrix_has_the_minimal_balanced_weight_of_a_hsiao_code():
    assert Counter(column.bit_count() for column in COLUMNS) == {1: 8, 3: 56, 5: 8}
    assert sum(column.bit_count() for column in COLUMNS) == HSIAO_ONES
    for row in range(CHECK_BITS):
        assert sum(column >> row & 1 for column in COLUMNS) == HSIAO_ONES_PER_ROW
        assert ROWS[row].bit_count() == HSIAO_ONES_PER_ROW - 1  # the other is the check bit


def test_no_circulant_choice_of_the_weight_5_columns_has_fewer_codewords_of_weight_4():
    chosen = codewords_of_weight_4(COLUMNS)
    assert chosen == 8392
    for seed in range(256):
        if seed.bit_count() == 5:
            rotations = tuple((seed << n | seed >> 8 - n) & 0xFF for n in range(8))
            others = (*COLUMNS[:56], *rotations, *COLUMNS[64:])
            assert codewords_of_weight_4(others) >= chosen


def test_the_encoder_computes_the_parity_of_each_row():
    words = random_words(2000)
    expected = [
        sum(((word & row).bit_count() & 1) << n for n, row in enumerate(ROWS))
        for word in words.tolist()
    ]
    assert encode(words).tolist() == expected


def test_the_code_is_linear_and_zero_is_a_codeword():
    a, b = random_words(1000), random_words(1000, SEED + 1)
    assert np.array_equal(encode(a ^ b), encode(a) ^ encode(b))
    assert encode(np.uint64(0)) == 0


def test_a_word_that_was_not_disturbed_is_returned_as_it_is():
    words = random_words(10_000)
    decoded = decode(words, encode(words))
    assert np.array_equal(decoded.words, words)
    assert np.array_equal(decoded.checks, encode(words))
    assert not decoded.syndromes.any()
    assert (decoded.statuses == EccStatus.OK).all()


def test_each_of_the_72_single_flips_is_corrected():
    words = random_words(500)[:, None]
    checks = encode(words)
    word_flips, check_flips = flips(1)
    assert word_flips.size == 72
    decoded = decode(words ^ word_flips, checks ^ check_flips)
    assert (decoded.words == words).all()
    assert (decoded.checks == checks).all()
    assert (decoded.statuses == EccStatus.CORRECTED).all()
    assert (decoded.syndromes == np.array(COLUMNS)).all()


def test_each_of_the_2556_double_flips_is_detected_and_the_word_left_alone():
    words = random_words(500)[:, None]
    checks = encode(words)
    word_flips, check_flips = flips(2)
    assert word_flips.size == 2556
    decoded = decode(words ^ word_flips, checks ^ check_flips)
    assert (decoded.statuses == EccStatus.UNCORRECTABLE).all()
    assert (decoded.words == words ^ word_flips).all()
    assert (decoded.checks == checks ^ check_flips).all()


def test_triple_flips_are_never_taken_for_a_codeword_and_mistaken_as_often_as_documented():
    word_flips, check_flips = flips(3)
    decoded = decode(word_flips, check_flips)  # the code is linear: zero stands for every word
    assert (decoded.statuses != EccStatus.OK).all()
    mistaken = np.count_nonzero(decoded.statuses == EccStatus.CORRECTED)
    assert mistaken == 4 * 8392  # each codeword of weight 4 is near four of the 59 640
    assert word_flips.size == 59_640


def test_every_syndrome_is_a_column_or_uncorrectable():
    decoded = decode(np.zeros(256, np.uint64), np.arange(256, dtype=np.uint8))
    for syndrome, status in zip(decoded.syndromes.tolist(), decoded.statuses, strict=True):
        expected = EccStatus.CORRECTED if syndrome in COLUMNS else EccStatus.UNCORRECTABLE
        assert status == (expected if syndrome else EccStatus.OK)


def test_the_forms_for_compiled_code_agree_with_those_for_arrays():
    rng = np.random.default_rng(SEED)
    words = random_words(500)
    checks = rng.integers(0, 256, 500, np.uint8)
    decoded = decode(words, checks)
    for n, (word, check) in enumerate(zip(words, checks, strict=True)):
        assert ecc.encode_word(word) == encode(words)[n]
        assert ecc.decode_word(word, check) == tuple(array[n] for array in decoded)


def test_arguments_are_left_as_they_are_and_their_shape_is_kept():
    words = random_words(12).reshape(3, 4)
    kept = words.copy()
    checks = encode(words) ^ np.uint8(1)
    decoded = decode(words, checks)
    assert {array.shape for array in decoded} == {(3, 4)}
    assert np.array_equal(words, kept)
    assert np.array_equal(checks, encode(words) ^ np.uint8(1))


def test_words_of_another_type_and_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="words must be an array of uint64, not of int64"):
        encode([1, 2])
    with pytest.raises(ValueError, match="checks must be an array of uint8, not of uint64"):
        decode(np.zeros(2, np.uint64), np.zeros(2, np.uint64))
    with pytest.raises(
        ValueError, match=r"checks must have the shape of words, \(2,\), not \(3,\)"
    ):
        decode(np.zeros(2, np.uint64), np.zeros(3, np.uint8))
