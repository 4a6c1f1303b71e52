"""UART receiver and transmitter at the rate of the ULX3S: 25 thirds of a clock cycle a bit."""

import random
from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.uart import UartParams
from d1_rtl.fpga.uart_receiver import UartReceiver
from d1_rtl.fpga.uart_transmitter import UartTransmitter
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.uart_line import UartLine

CLOCK = 25_000_000
UART = UartParams(clock_hz=CLOCK)


class Loop(wiring.Component):
    """Sends what it receives, and bytes of its own."""

    rx: In(1)
    tx: Out(1)
    valid: In(1)
    sent: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(UART)
        m.submodules.transmitter = transmitter = UartTransmitter(UART)
        m.submodules.sender = sender = UartTransmitter(UART)
        m.submodules.fifo = fifo = SyncFIFO(width=8, depth=64)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            fifo.w_data.eq(receiver.o.payload),
            fifo.w_en.eq(receiver.o.valid),
            transmitter.i.payload.eq(fifo.r_data),
            transmitter.i.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(transmitter.i.ready),
            sender.i.payload.eq(0x55),
            sender.i.valid.eq(self.valid),
            self.sent.eq(sender.tx),
        ]
        return m


@pytest.fixture(scope="module")
def loop():
    with NativeModel(Loop(), name="uart_loop") as model:
        yield model


@pytest.mark.parametrize("baud", [3_000_000, 3_045_000, 2_955_000])
def test_bytes_come_back_from_hosts_whose_clock_is_up_to_one_and_a_half_percent_off(loop, baud):
    data = random.Random(baud).randbytes(1000)
    loop.reset()
    line = UartLine(loop, UartParams(clock_hz=CLOCK, baud=baud))
    line.send(data)
    assert b"".join(line.run(997) for _ in range(95)) == data


def test_bits_are_8_or_9_cycles_and_a_byte_takes_the_cycles_of_ten_bits_and_one(loop):
    loop.reset()
    levels = loop.play({"valid": np.ones(3000, np.uint8)}, ["sent"])["sent"][:, 0]
    changes = np.flatnonzero(np.diff(levels.astype(np.int8)))
    # 0x55 changes with each bit; the stop bit is as long as one and the cycle between bytes.
    bits = np.diff(changes)
    assert set(bits.tolist()) == {8, 9, 10}
    bytes_ = {b - a for a, b in pairwise(changes[::10].tolist())}
    assert bytes_ <= {84, 85}
