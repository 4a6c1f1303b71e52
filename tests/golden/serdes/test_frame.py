"""The layout of frames and status rows."""

import random

import pytest
from d1_golden.serdes.block import MARKER_TYPE
from d1_golden.serdes.crc32c import crc32c
from d1_golden.serdes.frame import (
    CONTROL_FIELDS,
    STATUS_FIELDS,
    LinkState,
    encode_frame,
    encode_status,
    frame_rows,
    pack_word,
    packet_row,
    unpack_word,
)
from d1_golden.serdes.params import LINKS, SEQUENCE_BITS, WORD_BITS

D1 = LINKS["d1"]


@pytest.mark.parametrize("fields", [CONTROL_FIELDS, STATUS_FIELDS])
def test_the_fields_of_a_word_fill_it(fields):
    assert sum(field.bits for field in fields) == WORD_BITS
    rng = random.Random(1)
    for _ in range(100):
        values = {field.name: rng.getrandbits(field.bits) for field in fields}
        assert unpack_word(fields, pack_word(fields, **values)) == values


def test_no_control_word_of_the_link_layer_has_the_type_of_a_marker():
    rng = random.Random(2)
    for _ in range(1000):
        values = {f.name: rng.getrandbits(f.bits) for f in CONTROL_FIELDS if f.name != "one"}
        assert pack_word(CONTROL_FIELDS, **values) & 0xFF != MARKER_TYPE
    for state in LinkState:
        for session in range(256):
            word = pack_word(STATUS_FIELDS, state=state, session=session)
            assert word & 0xFF != MARKER_TYPE


def test_a_value_that_does_not_fit_and_an_unknown_field_are_refused():
    with pytest.raises(ValueError, match="round must fit 1 bits, not 2"):
        pack_word(CONTROL_FIELDS, round=2)
    with pytest.raises(ValueError, match=r"fields must be those of the word, not \['speed'\]"):
        pack_word(CONTROL_FIELDS, speed=1)


def test_five_packets_and_the_control_word_fill_seven_rows_of_eight_words():
    assert [frame_rows(D1, n) for n in range(6)] == [1, 2, 3, 5, 6, 7]
    packets = [[100 * n + k for k in range(11)] for n in range(5)]
    rows = encode_frame(D1, packets, (1, 2), sequence=9)
    words = [word for row in rows for word in row]
    assert words[:-1] == [word for packet in packets for word in packet]
    assert unpack_word(CONTROL_FIELDS, words[-1])["sequence"] == 9


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_the_number_of_rows_tells_the_number_of_packets(link):
    rows = [frame_rows(link, n) for n in range(link.packet_slots + 1)]
    assert rows == sorted(set(rows))
    for packets in range(1, link.packet_slots + 1):
        # A packet more would begin in the row where the frame without it ends.
        assert packet_row(link, packets) == rows[packets] - 1
        assert rows[packets] * link.lanes > packets * link.packet_words


@pytest.mark.parametrize("count", [0, 6])
def test_a_frame_has_one_packet_to_five(count):
    with pytest.raises(ValueError, match=rf"packets must be 1..5, not {count}"):
        encode_frame(D1, [[0] * 11] * count, (1, 2))


def test_the_crc_of_a_status_row_is_that_of_its_bytes():
    row = encode_status(D1, {"state": LinkState.OPEN, "session": 3}, sequence=5)
    data = b"".join(word.to_bytes(8, "little") for word in row)
    assert int.from_bytes(data[-4:], "little") == crc32c(data[:-4])


def test_the_crc_of_a_frame_depends_on_both_sessions():
    packets = [[1] * 11]
    checks = {
        encode_frame(D1, packets, session)[-1][-1] >> 32
        for session in [(1, 2), (2, 1), (1, 3), (3, 2), (0, 0)]
    }
    assert len(checks) == 5


def test_numbers_of_frames_are_more_than_the_window():
    for link in LINKS.values():
        assert link.window < 1 << SEQUENCE_BITS
