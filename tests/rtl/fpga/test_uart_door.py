"""The serial door in RTL, with the golden end of the host on its line."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.fpga.endpoint import HostEnd
from d1_golden.fpga.noisy_line import NoisyLine
from d1_golden.fpga.uart import UartParams
from d1_golden.packet import PACKET_DTYPE
from d1_rtl.fpga.uart_door import UartDoor
from d1_rtl.node.elastic_buffer import ElasticBuffer
from d1_rtl.node.interfaces import packet_layout
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.uart_line import UartLine

UART = UartParams(clock_hz=8_000_000, baud=2_000_000, resend_cycles=20_000)
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

    def exchange(self, packets, max_steps=20_000):
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
            if quiet * CHUNK > 10_000:
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
