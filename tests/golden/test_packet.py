import numpy as np
import pytest
from d1_golden.packet import (
    ACK_FLAG,
    FIELDS,
    PACKET_DTYPE,
    POST_FLAG,
    SEMAPHORE_FLAGS,
    Opcode,
    is_answered,
    read_requests,
    refuse,
    write_requests,
)
from d1_golden.params import LINE_BYTES

SEED = 13


def test_fields_follow_each_other_without_gaps() -> None:
    place = 0
    for field in FIELDS:
        dtype, offset = PACKET_DTYPE.fields[field.name][:2]
        assert 8 * offset == place
        assert 8 * dtype.itemsize == field.bits
        place += field.bits
    assert PACKET_DTYPE.itemsize == 88 == place // 8
    assert PACKET_DTYPE.names == tuple(field.name for field in FIELDS)


def test_bytes_of_a_packet_are_its_bits_from_the_least_significant_up() -> None:
    packet = np.zeros(1, PACKET_DTYPE)
    for name, value in (("opcode", 0x11), ("tag", 0x3322), ("source", 0x77665544)):
        packet[name] = value
    packet["address"], packet["mask"] = 0x0102030405060708, 1
    packet["data"][0, 63] = 0xEE
    bits = int.from_bytes(packet.tobytes(), "little")
    place = 0
    for field in FIELDS:
        value = bits >> place & (1 << field.bits) - 1
        expected = packet[field.name][0]
        if field.name == "data":
            assert value.to_bytes(64, "little") == expected.tobytes()
        else:
            assert value == expected
        place += field.bits


def test_writes_carry_exactly_the_bytes_given() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(200):
        address, size = int(rng.integers(0, 1000)), int(rng.integers(1, 500))
        data = rng.integers(0, 256, size, np.uint8)
        packets = write_requests(address, data)
        memory, written = np.zeros(2048, np.uint8), np.zeros(2048, bool)
        for packet in packets:
            line = int(packet["address"])
            mask = np.array([int(packet["mask"]) >> n & 1 for n in range(64)], bool)
            assert not written[line : line + 64].any()
            memory[line : line + 64][mask] = packet["data"][mask]
            written[line : line + 64] = mask
        assert (packets["opcode"] == Opcode.WRITE).all()
        assert (packets["address"] % LINE_BYTES == 0).all()
        assert np.array_equal(np.flatnonzero(written), np.arange(address, address + size))
        assert np.array_equal(memory[address : address + size], data)
        assert len(packets) == (address + size - 1) // 64 - address // 64 + 1


def test_bytes_and_arrays_make_the_same_writes() -> None:
    data = bytes(range(100))
    assert np.array_equal(write_requests(7, data), write_requests(7, np.frombuffer(data, np.uint8)))


def test_an_array_of_other_than_bytes_is_refused() -> None:
    with pytest.raises(TypeError, match="data must be bytes or an array of uint8, not float32"):
        write_requests(0, np.zeros(4, np.float32))  # type: ignore[arg-type]


def test_nothing_to_write_or_read_makes_no_packet() -> None:
    assert len(write_requests(64, b"")) == 0
    assert len(write_requests(65, b"")) == 0
    assert len(read_requests(65, 0)) == 0


def test_reads_cover_the_bytes_asked_for_with_tags_that_count() -> None:
    packets = read_requests(100, 300)
    assert packets["address"].tolist() == [64, 128, 192, 256, 320, 384]
    assert packets["tag"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (packets["opcode"] == Opcode.READ).all()
    assert not packets["mask"].any() and not packets["data"].any()


def test_tags_start_over_after_all_are_used() -> None:
    packets = read_requests(0, 64 * 65_540)
    assert packets["tag"][[65_535, 65_536, 65_539]].tolist() == [65_535, 0, 3]


def test_the_flags_fill_their_byte_but_for_one_bit() -> None:
    assert POST_FLAG | ACK_FLAG | SEMAPHORE_FLAGS == 0xFF & ~(1 << 5)
    assert not POST_FLAG & ACK_FLAG and not (POST_FLAG | ACK_FLAG) & SEMAPHORE_FLAGS


def test_reads_and_what_asks_for_it_are_answered() -> None:
    packets = np.zeros(6, PACKET_DTYPE)
    packets["opcode"] = [1, 2, 2, 5, 5, 6]
    packets["flags"] = [0, 0, ACK_FLAG, POST_FLAG, POST_FLAG | ACK_FLAG, POST_FLAG]
    assert is_answered(packets).tolist() == [True, False, True, False, True, False]


def test_a_refusal_names_the_request() -> None:
    requests = read_requests(128, 128)
    requests["source"] = 7
    replies = refuse(requests)
    assert (replies["opcode"] == Opcode.FAULT_REPLY).all()
    for name in ("tag", "source", "address"):
        assert np.array_equal(replies[name], requests[name])
    assert not replies["data"].any() and not replies["mask"].any()
