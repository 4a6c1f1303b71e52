"""The descrambler of a lane, a word at a time."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import WORD_BITS
from d1_golden.serdes.scrambler import SCRAMBLER_START, TAPS

from .blocks import Block

__all__ = ["Descrambler"]

_Blocks = stream.Signature(Block, always_ready=True)


class Descrambler(wiring.Component):
    """Undoes the scrambler; right from the second word on, whatever came before.

    Latency 1 cycle, one block a cycle; one exclusive-or of five.

    Golden twin: `d1_golden.serdes.scrambler.descramble`.

    Members
    -------
    i : In(stream of Block, always ready)
    drop : In(1)
        What comes in this cycle is remembered, but not given on.
    o : Out(stream of Block, always ready)

    References
    ----------
    IEEE Std 802.3-2018, 49.2.10 and Figure 49-10.
    """

    #: What arrived.
    i: In(_Blocks)
    #: It is not to be given on.
    drop: In(1)
    #: The same in the cycle after, descrambled.
    o: Out(_Blocks)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        i: Any = self.i.payload
        o: Any = self.o.payload
        near, far = TAPS
        before = Signal(WORD_BITS, init=SCRAMBLER_START)
        m.d.sync += self.o.valid.eq(self.i.valid & ~self.drop)
        with m.If(self.i.valid):
            m.d.sync += [before.eq(i.word), o.header.eq(i.header)]
            near_bits = i.word << near ^ before[WORD_BITS - near :]
            far_bits = i.word << far ^ before[WORD_BITS - far :]
            m.d.sync += o.word.eq(i.word ^ near_bits ^ far_bits)
        return m
