"""Frames of the serial line."""

import random

import pytest
from d1_golden.fpga.frame import (
    ALL_ONES,
    ESCAPE,
    FLAG,
    GROUPS,
    MAX_FRAME_BYTES,
    PACKET_BYTES,
    Frame,
    Kind,
    decode,
    encode,
    line_bytes,
    pack,
    packed_bytes,
    split,
    unpack,
    unstuff,
)
from d1_golden.packet import PACKET_DTYPE, write_requests
from d1_golden.serdes.crc32c import crc32c

SESSION = 0x1234_5678


def random_packet(rng):
    """Return a packet whose groups are zero, ones, nearly zero or random."""
    packet = bytearray(PACKET_BYTES)
    places = [(0, 1), (8, 4), *((g.first, g.count) for g in GROUPS)]
    for first, count in places:
        kind = rng.randrange(4)
        if kind == 0:
            packet[first : first + count] = b"\xff" * count
        elif kind == 1:
            packet[first + rng.randrange(count)] = rng.randrange(256)
        elif kind == 2:
            packet[first : first + count] = rng.randbytes(count)
    return bytes(packet)


def test_the_groups_and_the_other_bytes_are_a_packet():
    covered = [place for g in GROUPS for place in range(g.first, g.first + g.count)]
    assert sorted({0, 8, 9, 10, 11, *covered}) == list(range(PACKET_DTYPE.itemsize))
    assert len(covered) + 5 == PACKET_BYTES == PACKET_DTYPE.itemsize


def test_a_packet_is_the_same_after_packing():
    rng = random.Random(1)
    shapes = set()
    for _ in range(2000):
        packet = random_packet(rng)
        packed = pack(packet)
        shapes.add(packed[0])
        assert unpack(packed + b"more") == packet
        assert len(packed) == packed_bytes(packed[0])
    assert len(shapes) > 60


def test_a_write_of_a_line_takes_77_bytes_on_the_line_and_a_mask_of_ones_none_of_them():
    (request,) = write_requests(0x1000, bytes([1] * 64))
    packed = pack(request.tobytes())
    assert packed[0] & ALL_ONES
    assert line_bytes(request.tobytes()) == 77
    assert len(encode(Frame(packed[0], 0, 0, packed[1:]), SESSION)) == 77


def test_a_packet_that_is_cut_is_refused():
    packed = pack(random_packet(random.Random(2)))
    with pytest.raises(ValueError, match=f"must have {len(packed)} bytes, not {len(packed) - 1}"):
        unpack(packed[:-1])
    with pytest.raises(ValueError, match="packet must have 88 bytes, not 87"):
        pack(bytes(87))


def test_a_frame_is_what_rfc_1662_makes_of_its_bytes():
    frame = Frame(0x81, FLAG, ESCAPE, bytes([FLAG ^ 0x20, 0, ESCAPE]))
    content = bytes([0x81, 0x7E, 0x7D, 0x5E, 0, 0x7D])
    # Started with ones the CRC is the usual one.
    content += crc32c(content).to_bytes(4, "little")
    stuffed = b"".join(
        bytes([0x7D, b ^ 0x20]) if b in (0x7D, 0x7E) else bytes([b]) for b in content
    )
    assert encode(frame, 0xFFFF_FFFF) == stuffed + b"\x7e"


def test_every_frame_is_decoded_in_its_session_and_in_no_other():
    rng = random.Random(3)
    for _ in range(500):
        packed = pack(random_packet(rng))
        frame = Frame(packed[0], rng.randrange(256), rng.randrange(256), packed[1:])
        line = encode(frame, SESSION)
        assert line.count(FLAG) == 1 and line[-1] == FLAG and len(line) <= MAX_FRAME_BYTES
        assert decode(line[:-1], SESSION) == frame
        assert decode(line[:-1], SESSION ^ 1 << rng.randrange(32)) is None
    opening = Frame(Kind.OPEN, 0, 0, bytes(4))
    assert decode(encode(opening, SESSION)[:-1], 7) == opening


@pytest.mark.parametrize("change", ["flip", "drop", "insert"])
def test_a_frame_with_a_spoiled_byte_is_dropped(change):
    rng = random.Random(change)
    for _ in range(1000):
        packed = pack(random_packet(rng))
        line = bytearray(encode(Frame(packed[0], 1, 2, packed[1:]), SESSION)[:-1])
        place = rng.randrange(len(line))
        before = bytes(line)
        if change == "flip":
            line[place] ^= rng.randrange(1, 256)
        elif change == "drop":
            del line[place]
        else:
            line.insert(place, rng.randrange(256))
        if bytes(line) != before:
            pieces, rest = split(bytes(line))
            assert [decode(piece, SESSION) for piece in [*pieces, rest] if piece] in (
                [None],
                [None, None],
                [],
            )


def test_a_frame_that_ends_with_an_escape_of_nothing_is_dropped():
    line = encode(Frame(Kind.ACKNOWLEDGE, 1, 2), SESSION)[:-1]
    assert decode(line, SESSION) is not None
    assert decode(line + bytes([ESCAPE]), SESSION) is None
    assert unstuff(bytes([1, ESCAPE, ESCAPE, 2])) == bytes([1, ESCAPE ^ 0x20, 2])
