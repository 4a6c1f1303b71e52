"""Baud clock: tells when a bit on the serial line ends."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.uart import UartParams

__all__ = ["BaudClock"]


class BaudClock(wiring.Component):
    """Divides the clock by a fraction: `tick` is high in one cycle of each bit.

    The mean length of a bit is exact, each is at most one cycle off. Combinational from a register.

    Golden twin: `d1_golden.fpga.uart.UartParams`, whose `step` and `modulus` it counts with.

    Parameters
    ----------
    params
        Clock and rate.

    Members
    -------
    restart : In(1)
        A bit begins with the next cycle.
    half : In(1)
        With `restart`: half a bit.
    tick : Out(1)
        This is the last cycle of the bit.
    """

    #: A bit begins with the next cycle.
    restart: In(1)
    #: With `restart`: half a bit.
    half: In(1)
    #: This is the last cycle of the bit.
    tick: Out(1)

    def __init__(self, params: UartParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        step, modulus = self._params.step, self._params.modulus
        phase, reached = Signal(range(modulus)), Signal(range(modulus + step))
        m.d.comb += [reached.eq(phase + step), self.tick.eq(reached >= modulus)]
        with m.If(self.restart):
            with m.If(self.half):
                m.d.sync += phase.eq(modulus // 2)
            with m.Else():
                m.d.sync += phase.eq(0)
        with m.Elif(self.tick):
            m.d.sync += phase.eq(reached - modulus)
        with m.Else():
            m.d.sync += phase.eq(reached)
        return m
