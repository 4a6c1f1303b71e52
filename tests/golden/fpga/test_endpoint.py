"""Both golden ends of the serial line, with a line between them that does its worst."""

import random

import numpy as np
import pytest
from d1_golden.fpga.endpoint import DeviceEnd, HostEnd
from d1_golden.fpga.frame import PACKET_BYTES, WINDOW, Frame, Kind, decode, encode, pack
from d1_golden.fpga.noisy_line import NoisyLine
from d1_golden.packet import read_requests, write_requests


def requests(count, rng):
    """Return READs and WRITEs of whole lines, numbered in their tags, as bytes."""
    packets = np.concatenate([write_requests(0, bytes(64 * count)), read_requests(0, 64 * count)])
    packets = packets[rng.permutation(2 * count)[:count]]
    packets["tag"] = np.arange(count) & 0xFFFF
    packets["data"] = rng.integers(0, 256, packets["data"].shape)
    packets["data"][packets["opcode"] == 1] = 0
    return [packet.tobytes() for packet in packets]


class Pair:
    """A host and a device that echoes; when nothing goes on, both go back."""

    def __init__(self, rate, seed):
        print(f"seed {seed}")
        self.host, self.device = HostEnd(), DeviceEnd()
        self.lines = (NoisyLine(rate, 2 * seed), NoisyLine(rate, 2 * seed + 1))
        self.taken, self.received = [], []

    def step(self):
        """Let each end send and take one; return whether anything happened."""
        happened = False
        for sender, receiver, line in (
            (self.host, self.device, self.lines[0]),
            (self.device, self.host, self.lines[1]),
        ):
            frame = sender.next_frame()
            if frame is not None:
                receiver.receive(line.carry(frame))
                happened = True
        if self.device.room and (packet := self.device.take()) is not None:
            self.taken.append(packet)
            self.device.send(packet)
        while (packet := self.host.take()) is not None:
            self.received.append(packet)
        return happened

    def exchange(self, packets):
        """Send packets until as many have come back."""
        sent, wanted = 0, len(self.received) + len(packets)
        for _ in range(200 * len(packets) + 1000):
            while sent < len(packets) and self.host.is_open and self.host.room:
                self.host.send(packets[sent])
                sent += 1
            if not self.step():
                self.host.expire()
                self.device.expire()
            if len(self.received) == wanted:
                return
        raise AssertionError(f"only {len(self.received)} of {wanted} came back")


def test_without_noise_nothing_is_sent_twice():
    pair = Pair(0, 1)
    packets = requests(1000, np.random.default_rng(1))
    pair.host.open(5)
    pair.exchange(packets)
    assert pair.taken == packets and pair.received == packets
    assert (pair.host.resent, pair.device.resent, pair.host.discarded) == (0, 0, 0)


def test_100000_packets_arrive_exactly_once_in_order_through_a_line_that_spoils_bytes_at_1e_3():
    pair = Pair(1e-3, 2)
    packets = requests(100_000, np.random.default_rng(2))
    pair.host.open(6)
    pair.exchange(packets)
    assert pair.taken == packets
    assert pair.received == packets
    assert min(line.flipped for line in pair.lines) > 1000
    assert min(line.dropped for line in pair.lines) > 1000
    assert min(line.inserted for line in pair.lines) > 1000


@pytest.mark.parametrize("rate", [3e-3, 1e-2])
def test_worse_lines_only_take_longer(rate):
    pair = Pair(rate, 3)
    packets = requests(1000, np.random.default_rng(3))
    pair.host.open(7)
    pair.exchange(packets)
    assert pair.taken == packets and pair.received == packets


def test_nothing_of_a_session_reaches_the_next_one():
    rng = random.Random(4)
    pair = Pair(1e-3, 4)
    for session in range(1, 60):
        packets = [rng.randbytes(PACKET_BYTES) for _ in range(40)]
        pair.taken, pair.received = [], []
        pair.host.open(session)
        for _ in range(rng.randrange(100)):  # and then the host forgets what is on its way
            while pair.host.is_open and pair.host.room and packets:
                pair.host.send(packets.pop())
            pair.step()
        packets = [rng.randbytes(PACKET_BYTES) for _ in range(40)]
        pair.taken, pair.received = [], []
        pair.host.open(1000 + session)
        pair.exchange(packets)
        assert pair.received == packets
        assert pair.taken[-40:] == packets
    assert 100 < pair.device.resets <= 2 * 59  # an opening may be lost before the next one


def test_an_opening_that_comes_twice_resets_once():
    device = DeviceEnd()
    opening = encode(Frame(Kind.OPEN, 0, 0, (9).to_bytes(4, "little")), 0)
    device.receive(opening + opening)
    assert (device.resets, device.session) == (1, 9)
    assert decode(device.next_frame()[:-1], 9) == Frame(Kind.OPEN, 0, 0, (9).to_bytes(4, "little"))
    assert device.next_frame() is None


def test_a_device_without_session_is_silent():
    device, host = DeviceEnd(), HostEnd()
    packed = pack(bytes(range(PACKET_BYTES)))
    device.receive(encode(Frame(packed[0], 0, 0, packed[1:]), 5))
    assert device.next_frame() is None and device.take() is None
    assert host.next_frame() is None and not host.waits


def test_at_most_a_window_of_packets_is_on_its_way():
    host, device = HostEnd(), DeviceEnd()
    host.open(3)
    device.receive(host.next_frame())
    host.receive(device.next_frame())
    for _ in range(WINDOW):
        host.send(bytes(PACKET_BYTES))
    assert host.room == 0
    with pytest.raises(ValueError, match="at most 32, not one more"):
        host.send(bytes(PACKET_BYTES))
    # All of them have room at the device, but only what is taken is acknowledged.
    while (frame := host.next_frame()) is not None:
        device.receive(frame)
    assert device.next_frame() is None
    assert device.take() == bytes(PACKET_BYTES)
    host.receive(device.next_frame())
    assert host.room == 1


def test_a_later_packet_is_rejected_once_and_again_when_the_first_is_lost_again():
    host, device = HostEnd(), DeviceEnd()
    host.open(3)
    device.receive(host.next_frame())
    host.receive(device.next_frame())
    for _ in range(4):
        host.send(bytes(PACKET_BYTES))

    def send(*, lost):
        for number in range(4):
            frame = host.next_frame()
            if number not in lost:
                device.receive(frame)

    send(lost={0})
    reject = device.next_frame()
    assert decode(reject[:-1], 3).kind == Kind.REJECT
    assert device.next_frame() is None
    host.receive(reject)
    send(lost={0})
    reject = device.next_frame()
    assert decode(reject[:-1], 3).kind == Kind.REJECT
    host.receive(reject)
    send(lost=())
    assert [device.take() for _ in range(5)] == [bytes(PACKET_BYTES)] * 4 + [None]


def test_a_session_number_that_means_something_else_is_refused():
    for session in (0, (1 << 32) - 1):
        with pytest.raises(ValueError, match=rf"session must be in 1\.\.2\^32 - 2, not {session}"):
            HostEnd().open(session)


def test_a_line_has_the_errors_it_is_asked_for_and_the_same_ones_for_a_seed():
    data = random.Random(5).randbytes(100_000)
    lines = [NoisyLine(1e-3, 6), NoisyLine(1e-3, 6)]
    carried = [
        b"".join(line.carry(data[n : n + 77]) for n in range(0, len(data), 77)) for line in lines
    ]
    assert carried[0] == carried[1] != data
    assert len(carried[0]) == len(data) + lines[0].inserted - lines[0].dropped
    assert all(60 < n < 140 for n in (lines[0].flipped, lines[0].dropped, lines[0].inserted))
    assert NoisyLine(0, 1).carry(data) == data
    with pytest.raises(ValueError, match=r"rate must be in 0\.\.1/3, not 0.5"):
        NoisyLine(0.5, 1)
