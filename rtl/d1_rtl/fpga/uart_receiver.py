"""UART receiver."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer  # type: ignore[import-untyped]
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.uart import BITS, UartParams

from .baud_clock import BaudClock

__all__ = ["UartReceiver"]


class UartReceiver(wiring.Component):
    """Receives bytes: start bit, eight bits from the least significant up, stop bit; no parity.

    Each bit is looked at in its middle. A start bit that is not low there, and a byte whose stop
    bit is not high, are dropped. A byte is given three cycles after the middle of its stop bit.

    Golden twin: `d1_golden.fpga.uart.UartParams`; the bytes are those of `d1_golden.fpga.endpoint`.

    Parameters
    ----------
    params
        Clock and rate.

    Members
    -------
    rx : In(1)
        The line, of no clock.
    o : Out(stream.Signature(8, always_ready=True))
    """

    #: The line, of no clock.
    rx: In(1, init=1)
    o: Out(stream.Signature(8, always_ready=True))

    def __init__(self, params: UartParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        baud: Any = BaudClock(self._params)
        m.submodules.baud = baud
        line, before = Signal(init=1), Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        left = Signal(range(BITS + 1))  # bits to look at
        is_start, is_stop = left == BITS, left == 1
        m.d.comb += [baud.restart.eq(left == 0), baud.half.eq(1)]
        m.d.sync += [before.eq(line), self.o.valid.eq(0)]
        with m.If(left == 0):
            with m.If(before & ~line):
                m.d.sync += left.eq(BITS)
        with m.Elif(baud.tick):
            m.d.sync += left.eq(left - 1)
            with m.If(is_start & line):
                m.d.sync += left.eq(0)
            with m.Elif(is_stop):
                m.d.sync += self.o.valid.eq(line)
            with m.Elif(~is_start):
                m.d.sync += self.o.payload.eq(Cat(self.o.payload[1:], line))
        return m
