# amaranth: UnusedElaboratable=no
"""CRC-32C over rows against the golden one over bytes."""

import random

import pytest
from d1_golden.serdes.crc32c import crc32c
from d1_golden.serdes.params import LINKS
from d1_rtl.serdes.crc32c import Crc32c
from d1_rtl.sim.native import NativeModel

LINK = LINKS["tiny"]


@pytest.fixture(scope="module")
def model():
    with NativeModel(Crc32c(LINK), name="crc32c_tiny") as model:
        yield model


def value_of(model, rows):
    """Return `value` after rows of words, each a cycle after the one before."""
    model.set("session", 0)
    model.reset()
    model.set("load", 1)
    model.set("keep", 1)
    for number, row in enumerate(rows):
        model.set("words", sum(word << 64 * n for n, word in enumerate(row)))
        model.step()
        model.set("first", number == 0)
        if number == len(rows) - 1:
            return model.get("value")
    raise ValueError("there must be a row")


def test_zeros_in_the_last_32_bits_give_the_inverse_of_the_check(model):
    rng = random.Random(1)
    for length in (1, 2, 3, 7):
        rows = [[rng.getrandbits(64) for _ in range(LINK.lanes)] for _ in range(length)]
        rows[-1][-1] &= 0xFFFF_FFFF
        data = b"".join(word.to_bytes(8, "little") for row in rows for word in row)[:-4]
        check = crc32c(data)
        assert value_of(model, rows) == check ^ 0xFFFF_FFFF
        # With the check in its place the value is all ones, and it is not with any bit wrong.
        rows[-1][-1] |= check << 32
        assert value_of(model, rows) == 0xFFFF_FFFF
        rows[rng.randrange(length)][rng.randrange(LINK.lanes)] ^= 1 << rng.randrange(64)
        assert value_of(model, rows) != 0xFFFF_FFFF
