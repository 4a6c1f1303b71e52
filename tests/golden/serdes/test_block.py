"""Markers say what was put into them, and nothing else is taken for one."""

import itertools

import numpy as np
import pytest
from d1_golden.serdes.block import (
    MARKER_FIELDS,
    MARKER_TYPE,
    MarkerField,
    RowMode,
    SyncHeader,
    is_marker,
    marker_field,
    marker_word,
    required_lanes,
)

SEED = 7


def samples():
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    return [
        tuple(int(value) for value in row) for row in rng.integers(0, [8, 3, 2, 256, 256], (500, 5))
    ]


def marker(sample):
    return np.uint64(marker_word(*sample))


def test_a_sync_header_is_sent_as_01_for_data_and_10_for_control():
    first_bit_first = {header: (header & 1, header >> 1) for header in SyncHeader}
    assert first_bit_first == {SyncHeader.DATA: (0, 1), SyncHeader.CONTROL: (1, 0)}


def test_the_fields_of_a_marker_do_not_overlap():
    used = [n for lsb, bits in MARKER_FIELDS.values() for n in range(lsb, lsb + bits)]
    assert len(used) == len(set(used)) and max(used) < 32
    assert list(MARKER_FIELDS) == list(MarkerField)


def test_a_marker_says_what_was_put_into_it():
    for sample in samples():
        word = marker(sample)
        assert is_marker(word)
        fields = [marker_field(word, field) for field in MarkerField]
        assert fields == [MARKER_TYPE, *sample]


def test_a_marker_has_as_many_ones_as_zeros():
    assert {int(marker_word(*sample)).bit_count() for sample in samples()} == {32}


def test_only_both_copies_of_one_bit_together_make_another_marker():
    for sample in samples()[:20]:
        word = int(marker_word(*sample))
        for count in (1, 2):
            for bits in itertools.combinations(range(64), count):
                wrong = word ^ sum(1 << bit for bit in bits)
                pair = count == 2 and bits[1] - bits[0] == 32 and bits[0] >= 8
                assert bool(is_marker(np.uint64(wrong))) == pair


def test_an_inverted_marker_is_none():
    for sample in samples():
        assert not is_marker(~marker(sample))


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_halves_are_the_lower_and_the_upper_lanes(lanes):
    low, high = (required_lanes(mode, lanes) for mode in (RowMode.LOW, RowMode.HIGH))
    assert low & high == 0
    assert low | high == required_lanes(RowMode.FULL, lanes) == (1 << lanes) - 1
    assert low == (1 << lanes // 2) - 1
