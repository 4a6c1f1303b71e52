"""UART transmitter."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.uart import BITS, UartParams

from .baud_clock import BaudClock

__all__ = ["UartTransmitter"]


class UartTransmitter(wiring.Component):
    """Sends bytes: start bit, eight bits from the least significant up, stop bit; no parity.

    A byte that is taken begins on the line in the next cycle; bytes follow each other without a
    pause of more than one cycle.

    Golden twin: `d1_golden.fpga.uart.UartParams`; the bytes are those of `d1_golden.fpga.endpoint`.

    Parameters
    ----------
    params
        Clock and rate.

    Members
    -------
    i : In(stream.Signature(8))
    tx : Out(1)
        The line; high when idle. From a register.
    """

    i: In(stream.Signature(8))
    #: The line; high when idle. From a register.
    tx: Out(1, init=1)

    def __init__(self, params: UartParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        baud: Any = BaudClock(self._params)
        m.submodules.baud = baud
        bits, left = Signal(BITS - 1), Signal(range(BITS + 1))
        m.d.comb += [self.i.ready.eq(left == 0), baud.restart.eq(left == 0)]
        with m.If(left == 0):
            with m.If(self.i.valid):
                m.d.sync += [
                    self.tx.eq(0),
                    bits.eq(Cat(self.i.payload, Const(1, 1))),
                    left.eq(BITS),
                ]
        with m.Elif(baud.tick):
            m.d.sync += [
                self.tx.eq(bits[0]),
                bits.eq(Cat(bits[1:], Const(1, 1))),
                left.eq(left - 1),
            ]
        return m
