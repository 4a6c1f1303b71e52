"""The scrambler against published blocks and against its polynomial, bit by bit."""

import random

import numpy as np
from d1_golden.serdes.params import WORD_BITS
from d1_golden.serdes.scrambler import SCRAMBLER_START, TAPS, descramble, scramble

MASK = (1 << WORD_BITS) - 1
#: A block of idle characters and a start block, and what follows them from a scrambler of ones.
#: Ref: R. Walker et al., "64b/66b coding update", IEEE P802.3ae, July 2000 (walker_1_0700.pdf), the
#: worked example.
PUBLISHED = ((0x000000000000001E, 0x7BFFF0800000001E), (0xD555555555555578, 0x623016AAAAAD1578))


def word(value):
    return np.uint64(value)


def bitwise(words, bits):
    """Scramble words by the polynomial, one bit after the other; `bits` are those before."""
    bits = list(bits)
    for value in words:
        for n in range(WORD_BITS):
            bits.append((value >> n & 1) ^ bits[-TAPS[0]] ^ bits[-TAPS[1]])
    sent = bits[-WORD_BITS * len(words) :]
    return [
        sum(bit << n for n, bit in enumerate(sent[i : i + WORD_BITS]))
        for i in range(0, len(sent), WORD_BITS)
    ]


def random_words(seed, count):
    print(f"seed {seed}")
    rng = random.Random(seed)
    return [rng.getrandbits(WORD_BITS) for _ in range(count)]


def scrambled(words, before=SCRAMBLER_START):
    sent = []
    for value in words:
        before = int(scramble(word(value), word(before)))
        sent.append(before)
    return sent


def test_the_taps_are_those_of_clause_49():
    assert TAPS == (39, 58)


def test_the_published_blocks_come_out():
    assert scrambled([data for data, _ in PUBLISHED]) == [sent for _, sent in PUBLISHED]


def test_the_published_blocks_are_undone():
    before = SCRAMBLER_START
    for data, sent in PUBLISHED:
        assert int(descramble(word(sent), word(before))) == data
        before = sent


def test_a_word_at_a_time_is_the_polynomial_bit_by_bit():
    words = random_words(1, 200)
    assert scrambled(words) == bitwise(words, [1] * WORD_BITS)


def test_a_receiver_is_in_step_after_one_word_whatever_it_had_before():
    words = random_words(2, 50)
    sent = scrambled(words)
    for before in random_words(3, 20):
        received = []
        for value in sent:
            received.append(int(descramble(word(value), word(before))))
            before = value
        # The first 58 bits of the first word may be anything, the others are right already.
        assert received[0] >> TAPS[1] == words[0] >> TAPS[1]
        assert received[1:] == words[1:]


def test_a_wrong_bit_becomes_three():
    words = random_words(4, 4)
    sent = scrambled(words)
    for bit in range(WORD_BITS):
        arrived = [sent[0], sent[1] ^ 1 << bit, *sent[2:]]
        wrong = 0
        for n in range(1, 4):
            received = int(descramble(word(arrived[n]), word(arrived[n - 1])))
            wrong |= (received ^ words[n]) << WORD_BITS * (n - 1)
        assert wrong == 1 << bit | 1 << bit + TAPS[0] | 1 << bit + TAPS[1]


def test_an_inverted_lane_gives_inverted_words():
    words = random_words(5, 20)
    sent = [value ^ MASK for value in scrambled(words)]
    for n in range(1, len(sent)):
        assert int(descramble(word(sent[n]), word(sent[n - 1]))) == words[n] ^ MASK
