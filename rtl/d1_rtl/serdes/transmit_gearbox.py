"""The gearbox of a transmitting lane: blocks of 66 bits to a lane of any width."""

from math import gcd
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import BLOCK_BITS

from .blocks import Block

__all__ = ["TransmitGearbox", "block_stream"]


def block_stream() -> stream.Signature:
    """Return the stream of blocks into a lane: there always is one."""
    return stream.Signature(Block, always_valid=True)


class TransmitGearbox(wiring.Component):
    """Sends blocks one after the other, `width` bits in every cycle, the lowest bit first.

    Latency 1 cycle from a block taken to its first bit. A block is taken when less than `width`
    bits are left, so never more than 65 wait: `width` blocks in 66 cycles.

    Golden twin: `d1_golden.serdes.gearbox.gear_down`.

    Parameters
    ----------
    width
        Bits of the lane in one cycle, 2 to 66. For 1 there is `Serializer`.

    Members
    -------
    i : In(stream of Block, always valid)
    o : Out(width)
        What the lane carries; bit 0 first.

    Raises
    ------
    ValueError
        If `width` is out of range.

    References
    ----------
    IEEE Std 802.3-2018, 49.2.7.
    """

    i: stream.Interface
    o: Signal

    def __init__(self, width: int):
        if not 2 <= width <= BLOCK_BITS:
            raise ValueError(f"width must be in 2..{BLOCK_BITS}, not {width!r}")
        self._width = width
        # All numbers of waiting bits that occur are multiples of this.
        self.step = gcd(width, BLOCK_BITS)
        #: Bits that wait, their number in units of `step`. For proofs; nobody else looks at them.
        self.waiting = Signal(BLOCK_BITS - 1)
        self.level = Signal(range(BLOCK_BITS // self.step))
        super().__init__({"i": In(block_stream()), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        i: Any = self.i.payload
        width, step, level, waiting = self._width, self.step, self.level, self.waiting
        bits = Signal(BLOCK_BITS + width - step)  # those that wait and the block that is taken
        m.d.comb += self.i.ready.eq(level < width // step)
        with m.Switch(level):
            for n in range(width // step):
                with m.Case(n):
                    m.d.comb += bits.eq(Cat(waiting[: n * step], i))
            with m.Default():
                m.d.comb += bits.eq(waiting)
        m.d.sync += [
            self.o.eq(bits[:width]),
            waiting.eq(bits[width:]),
            level.eq(level - width // step),
        ]
        with m.If(self.i.ready):
            m.d.sync += level.eq(level + (BLOCK_BITS - width) // step)
        return m
