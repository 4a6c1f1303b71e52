# amaranth: UnusedElaboratable=no
"""The encoder and the decoder of a line against golden, over every flip of one and two bits."""

import itertools

import numpy as np
import pytest
from d1_golden.ecc import CHECK_BITS, DATA_BITS, EccStatus, decode, encode
from d1_rtl.node.ecc import LINE_WORDS, EccDecoder, EccEncoder
from d1_rtl.sim.native import NativeModel

SEED = 64
#: Lines of random words that every flip is tried on, a different word in each place.
LINES = 8
OUTPUTS = ["fixed", "syndrome", "corrected", "uncorrectable"]


@pytest.fixture(scope="module")
def encoder():
    with NativeModel(EccEncoder(), name="ecc_encoder") as model:
        yield model


@pytest.fixture(scope="module")
def decoder():
    with NativeModel(EccDecoder(), name="ecc_decoder") as model:
        yield model


def random_lines(count):
    print(f"seed {SEED}")
    lines = np.random.default_rng(SEED).integers(0, 2**64, (count, LINE_WORDS), np.uint64)
    lines[0] = [0, 2**64 - 1, 1, 1 << 63, *lines[0, 4:]]
    return lines


def flips(size):
    """Return every choice of `size` bits of 72 as masks of the word and of the check byte."""
    chosen = list(itertools.combinations(range(DATA_BITS + CHECK_BITS), size))
    masks = [sum(1 << bit for bit in bits) for bits in chosen]
    words = np.array([mask % (1 << DATA_BITS) for mask in masks], np.uint64)
    return words, np.array([mask >> DATA_BITS for mask in masks], np.uint8)


def decoded_by_rtl(decoder, words, checks):
    """Return what the decoder makes of lines of words: fixed, syndrome, statuses per word."""
    out = decoder.play(
        {"data": words.view(np.uint32), "check": np.ascontiguousarray(checks).view(np.uint32)},
        OUTPUTS,
    )
    bits = np.arange(LINE_WORDS)
    corrected = out["corrected"] >> bits & 1
    uncorrectable = out["uncorrectable"] >> bits & 1
    assert not (corrected & uncorrectable).any()
    statuses = EccStatus.CORRECTED * corrected + EccStatus.UNCORRECTABLE * uncorrectable
    return out["fixed"].view(np.uint64), out["syndrome"].view(np.uint8), statuses


def flipped(lines, size):
    """Return every line with every flip: all words of a line have the same bits flipped."""
    word_flips, check_flips = flips(size)
    words = lines[:, None, :] ^ word_flips[:, None]
    checks = encode(lines)[:, None, :] ^ check_flips[:, None]
    return words.reshape(-1, LINE_WORDS), checks.reshape(-1, LINE_WORDS), word_flips.size


def test_the_encoder_agrees_with_golden_on_random_words(encoder):
    lines = random_lines(20_000)
    checks = encoder.play({"data": lines.view(np.uint32)}, ["check"])["check"].view(np.uint8)
    assert np.array_equal(checks, encode(lines))


def test_words_that_were_not_disturbed_pass_as_they_are(decoder):
    lines = random_lines(20_000)
    fixed, syndromes, statuses = decoded_by_rtl(decoder, lines, encode(lines))
    assert np.array_equal(fixed, lines)
    assert not syndromes.any()
    assert (statuses == EccStatus.OK).all()


def test_each_of_the_72_single_flips_of_every_word_is_corrected(decoder):
    lines = random_lines(LINES)
    words, checks, count = flipped(lines, 1)
    assert count == 72
    fixed, _, statuses = decoded_by_rtl(decoder, words, checks)
    assert np.array_equal(fixed, np.repeat(lines, count, axis=0))
    assert (statuses == EccStatus.CORRECTED).all()


def test_each_of_the_2556_double_flips_of_every_word_is_detected(decoder):
    lines = random_lines(LINES)
    words, checks, count = flipped(lines, 2)
    assert count == 2556
    fixed, _, statuses = decoded_by_rtl(decoder, words, checks)
    assert np.array_equal(fixed, words)
    assert (statuses == EccStatus.UNCORRECTABLE).all()


def test_the_decoder_agrees_with_golden_on_random_words_and_check_bytes(decoder):
    words = random_lines(20_000)
    checks = np.random.default_rng(SEED + 1).integers(0, 256, words.shape, np.uint8)
    expected = decode(words, checks)
    fixed, syndromes, statuses = decoded_by_rtl(decoder, words, checks)
    assert np.array_equal(fixed, expected.words)
    assert np.array_equal(syndromes, expected.syndromes)
    assert np.array_equal(statuses, expected.statuses)
    assert set(np.unique(syndromes)) == set(range(256))


def test_the_words_of_a_line_do_not_disturb_each_other(decoder):
    lines = random_lines(2)[1:]
    checks = encode(lines)
    for place in range(LINE_WORDS):
        words = lines.copy()
        words[0, place] ^= np.uint64(1 << 5 * place)
        fixed, _, statuses = decoded_by_rtl(decoder, words, checks)
        assert np.array_equal(fixed, lines)
        assert np.flatnonzero(statuses).tolist() == [place]


@pytest.mark.parametrize("component", [EccEncoder, EccDecoder])
def test_a_number_of_words_below_1_is_refused(component):
    with pytest.raises(ValueError, match="words must be at least 1, not 0"):
        component(words=0)
