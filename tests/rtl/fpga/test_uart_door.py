"""The serial door in RTL, with the golden end of the host on its line."""

import random
from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.fpga.endpoint import DeviceEnd, HostEnd
from d1_golden.fpga.frame import Frame, Kind, encode, pack
from d1_golden.fpga.noisy_line import NoisyLine
from d1_golden.fpga.uart import UartParams
from d1_golden.packet import PACKET_DTYPE
from d1_rtl.fpga.uart_door import UartDoor
from d1_rtl.node.elastic_buffer import ElasticBuffer
from d1_rtl.node.interfaces import packet_layout
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.uart_line import UartLine

UART = UartParams(clock_hz=8_000_000, baud=2_000_000, resend_cycles=100_000)
CHUNK = 500


class Echo(wiring.Component):
    """A door behind which every packet comes back, now and then not at once."""

    rx: In(1)
    tx: Out(1)
    go: In(2)
    resets: Out(8)
    discarded: Out(16)

    def __init__(self, params=UART):
        self._params = params
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.door = door = UartDoor(self._params)
        m.submodules.buffer = buffer = ElasticBuffer(packet_layout())
        m.d.comb += [
            door.rx.eq(self.rx),
            self.tx.eq(door.tx),
            buffer.i.payload.eq(door.o_request.payload),
            buffer.i.valid.eq(door.o_request.valid & self.go[0]),
            door.o_request.ready.eq(buffer.i.ready & self.go[0]),
            door.i_reply.payload.eq(buffer.o.payload),
            door.i_reply.valid.eq(buffer.o.valid),
            buffer.o.ready.eq(door.i_reply.ready),
        ]
        m.d.sync += [
            self.resets.eq(self.resets + door.node_reset),
            self.discarded.eq(self.discarded + door.discarded),
        ]
        return m


@pytest.fixture(scope="module")
def echo():
    with NativeModel(Echo(), name="uart_echo") as model:
        yield model


def random_packets(count, rng):
    """Return packets of all shapes, each field zero, ones or random."""
    packets = np.zeros(count, PACKET_DTYPE)
    raw = packets.view(np.uint8).reshape(count, -1)
    for packet in raw:
        for first, last in ((0, 1), (1, 2), (2, 4), (4, 8), (8, 12), (12, 16), (16, 24), (24, 88)):
            kind = rng.randrange(4)
            if kind == 0:
                packet[first:last] = 0xFF
            elif kind == 1:
                packet[first + rng.randrange(last - first)] = rng.randrange(256)
            elif kind == 2:
                packet[first:last] = list(rng.randbytes(last - first))
    packets["source"][packets["source"] == BOARD_NODE] = 0
    return [packet.tobytes() for packet in packets]


class Bench:
    """A host at the line of a simulated door, with noise on it."""

    def __init__(self, model, seed, rate=0.0, stall=0.0):
        print(f"seed {seed}")
        model.reset()
        self.model = model
        self.line = UartLine(model, UART)
        self.host = HostEnd()
        self.rng = np.random.default_rng(seed)
        self.stall = stall
        self.noise = [NoisyLine(rate, 2 * seed), NoisyLine(rate, 2 * seed + 1)]
        self.received = []

    def step(self):
        """Let some cycles pass; return whether something came."""
        while self.line.unsent < 200 and (frame := self.host.next_frame()) is not None:
            self.line.send(self.noise[0].carry(frame))
        go = (self.rng.random((CHUNK, 2)) >= self.stall) @ np.array([1, 2])
        came = self.noise[1].carry(self.line.run(CHUNK, {"go": go.astype(np.uint8)}))
        self.host.receive(came)
        while (packet := self.host.take()) is not None:
            self.received.append(packet)
        return len(came) > 0

    def exchange(self, packets, max_steps=200_000):
        """Send packets and wait for as many back; go back where nothing comes for long."""
        sent = quiet = 0
        wanted = len(self.received) + len(packets)
        for _ in range(max_steps):
            if len(self.received) == wanted:
                return self.received[wanted - len(packets) :]
            while sent < len(packets) and self.host.room and self.host.is_open:
                self.host.send(packets[sent])
                sent += 1
            quiet = 0 if self.step() else quiet + 1
            if quiet * CHUNK > 20_000:
                self.host.expire()
                quiet = 0
        raise AssertionError(f"only {len(self.received)} of {wanted} packets came")


def test_every_shape_of_packet_goes_there_and_back(echo):
    bench = Bench(echo, 1)
    bench.host.open(0x12345678)
    packets = random_packets(300, random.Random(1))
    assert bench.exchange(packets) == packets
    assert (bench.host.discarded, bench.host.resent) == (0, 0)
    assert (echo.get("discarded"), echo.get("resets")) == (0, 16)


@pytest.mark.parametrize("stall", [0.5, 0.99, 0.9995])
def test_a_node_that_is_slow_loses_nothing(echo, stall):
    bench = Bench(echo, 2, stall=stall)
    bench.host.open(0x87654321)
    packets = random_packets(100, random.Random(2))
    assert bench.exchange(packets) == packets
    assert bench.host.discarded == 0


@pytest.mark.parametrize("rate", [1e-3, 5e-3])
def test_packets_arrive_exactly_once_in_order_through_a_line_that_spoils_bytes(echo, rate):
    bench = Bench(echo, 3, rate=rate, stall=0.5)
    bench.host.open(0x1)
    packets = random_packets(300 if rate == 1e-3 else 30, random.Random(3))
    assert bench.exchange(packets) == packets
    assert bench.host.resent > 20 and echo.get("discarded") > 20 and bench.host.discarded > 20


def test_nothing_of_a_session_reaches_the_next_one(echo):
    bench = Bench(echo, 4)
    rng = random.Random(4)
    for session in range(1, 8):
        bench.host.open(session)
        left = random_packets(40, rng)
        for _ in range(rng.randrange(10, 60)):  # and then the host forgets what is on its way
            while bench.host.is_open and bench.host.room and left:
                bench.host.send(left.pop())
            bench.step()
        bench.received = []
        bench.host.open(100 + session)
        packets = random_packets(20, rng)
        assert bench.exchange(packets) == packets
        assert bench.received == packets
    assert echo.get("resets") == 2 * 7 * 16


def lines(rng, device, packets):
    """Yield bytes of a host that does anything it can, and knows what the device sent."""
    session, sequence = 1, 0
    yield encode(Frame(Kind.OPEN, 0, 0, (1).to_bytes(4, "little")), 0)
    for packet in packets:
        packed = pack(packet)
        kind = rng.randrange(12)
        # Mostly all that was sent is acknowledged, so that the device does not send it again.
        sent = (device.acknowledged + device.unacknowledged) % 256
        acknowledge = sent if rng.random() < 0.8 else rng.randrange(256)
        if kind == 0:
            session = rng.randrange(1, 4)
            yield encode(Frame(Kind.OPEN, 0, 0, session.to_bytes(4, "little")), 0)
            sequence = device.taken
        elif kind == 1:
            yield encode(Frame(rng.choice((2, 3, 77)), 0, acknowledge), session)
        elif kind == 2:
            yield encode(Frame(packed[0], sequence, acknowledge, packed[1:]), session + 1)
        elif kind == 3:
            yield rng.randbytes(rng.randrange(40)) + b"\x7e"
        elif kind == 4:
            yield encode(Frame(packed[0], sequence, 0, packed[1:]), session)[:-1] + b"\x7d\x7e"
        else:
            ahead = rng.choice((0, 0, 0, 1, 2, 5, -1, -3, 127, 128))
            number = (sequence + ahead) % 256
            yield encode(Frame(packed[0], number, acknowledge, packed[1:]), session)
            sequence += ahead == 0
        sequence %= 256


def test_the_door_says_what_golden_says_byte_by_byte(echo):
    rng = random.Random(5)
    bench, device = Bench(echo, 5), DeviceEnd()
    answered = 0
    for line in lines(rng, device, random_packets(300, rng)):
        bench.line.send(line)
        said = b"".join(bench.line.run(1000, {"go": np.ones(1000, np.uint8)}) for _ in range(9))
        device.receive(line)
        expected = b""
        packet = device.take()
        # It acknowledges at once, and the packet comes back later.
        for echoed in (None, packet):
            if echoed is not None:
                device.send(echoed)
            while (frame := device.next_frame()) is not None:
                expected += frame
        assert said == expected
        answered += len(said) > 0
    assert answered > 150


def test_a_reply_that_is_not_acknowledged_is_sent_again_after_the_patience_of_the_door(echo):
    bench = Bench(echo, 6)
    packed = pack(random_packets(1, random.Random(6))[0])
    bench.line.send(encode(Frame(Kind.OPEN, 0, 0, (9).to_bytes(4, "little")), 0))
    bench.line.send(encode(Frame(packed[0], 0, 0, packed[1:]), 9))
    go = {"go": np.ones(1000, np.uint8)}
    came = [bench.line.run(1000, go) for _ in range(320)]
    reply = encode(Frame(packed[0], 0, 1, packed[1:]), 9)
    whole = b"".join(came)
    assert whole.count(reply) == 4
    starts = [n for n, piece in enumerate(came) if piece and not came[n - 1]]
    assert [b - a for a, b in pairwise(starts[-4:])] == [100, 100, 100]
