"""CRC-32C against published values, and in words against bytes."""

import numpy as np
import pytest
from d1_golden.serdes.crc32c import PRESET, advance, crc32c, retreat, update_half, update_word


def test_the_check_value_is_the_published_one():
    assert crc32c(b"123456789") == 0xE306_9283


@pytest.mark.parametrize(
    ("data", "check"),
    [
        (bytes(32), 0x8A91_36AA),
        (b"\xff" * 32, 0x62A8_AB43),
        (bytes(range(32)), 0x46DD_794E),
        (bytes(reversed(range(32))), 0x113F_DB5C),
    ],
)
def test_the_examples_of_rfc_3720_come_out(data, check):
    # Ref: RFC 3720, appendix B.4; the bytes are printed there as they are sent.
    assert crc32c(data) == check


def test_words_and_halves_give_what_their_bytes_do():
    rng = np.random.default_rng(1)
    for words in range(1, 9):
        data = rng.integers(0, 256, 8 * words, np.uint8).tobytes()
        register = np.uint64(PRESET)
        for word in np.frombuffer(data[:-8], np.uint64):
            register = update_word(register, word)
        low, high = (np.uint64(half) for half in np.frombuffer(data[-8:], np.uint32))
        assert int(update_half(register, low)) ^ PRESET == crc32c(data[:-4])
        assert int(update_half(update_half(register, low), high)) ^ PRESET == crc32c(data)


def test_going_back_undoes_going_on():
    rng = np.random.default_rng(2)
    for value in map(int, rng.integers(0, 1 << 32, 20)):
        assert retreat(advance(value, 77), 77) == value
        assert advance(retreat(value, 32), 32) == value
