"""The self-synchronous scrambler of a lane, a word at a time."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import WORD_BITS
from d1_golden.serdes.scrambler import SCRAMBLER_START, TAPS

from .blocks import Block, SyncHeader

__all__ = ["Scrambler"]


class Scrambler(wiring.Component):
    """Scrambles the word of one block after the other by x^58 + x^39 + 1; headers pass by.

    Latency 1 cycle, one block a cycle; two levels of exclusive-or. What was sent last is all the
    state there is: it stands at the output.

    Golden twin: `d1_golden.serdes.scrambler.scramble`.

    Members
    -------
    i : In(Block)
    en : In(1)
        `i` is taken; otherwise `o` stays.
    o : Out(Block)

    References
    ----------
    IEEE Std 802.3-2018, 49.2.6 and Figure 49-8.
    """

    #: What is to be sent.
    i: In(Block)
    #: It is taken.
    en: In(1)
    #: The last block taken, scrambled.
    o: Out(Block, init={"header": SyncHeader.CONTROL.value, "word": SCRAMBLER_START})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        i: Any = self.i
        o: Any = self.o
        near, far = TAPS
        # Of the bits of this word that are added, none has another one of this word added to it.
        old = Signal(WORD_BITS)
        m.d.comb += old.eq(i.word ^ o.word[WORD_BITS - near :] ^ o.word[WORD_BITS - far :])
        with m.If(self.en):
            m.d.sync += [o.header.eq(i.header), o.word.eq(old ^ old << near ^ old << far)]
        return m
