"""The code of the SRAM, proved for every word: what it corrects and what it detects."""

from functools import partial
from itertools import pairwise

from amaranth.hdl import Array, Assert, Assume, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_golden.ecc import CHECK_BITS, COLUMNS, DATA_BITS
from d1_rtl.node.ecc import EccDecoder, EccEncoder

from testbench.formal import Proof

BITS = DATA_BITS + CHECK_BITS


class ColumnOfEachBit(wiring.Component):
    """Flipping a data bit flips the check bits of its column; zero has the check byte zero.

    By induction over the ones of a word, the encoder's matrix is that of the definition. (That
    each check bit is the parity of its row says the same, but takes a solver more than five
    minutes.)
    """

    data: In(DATA_BITS)
    bit: In(range(DATA_BITS))

    def elaborate(self, platform):
        m = Module()
        m.submodules.before = before = EccEncoder(words=1)
        m.submodules.after = after = EccEncoder(words=1)
        m.d.comb += [before.data.eq(self.data), after.data.eq(self.data ^ (1 << self.bit))]
        column = Array(COLUMNS[:DATA_BITS])[self.bit]
        m.d.comb += Assert(before.check ^ after.check == column)
        m.d.comb += Assert((before.check == 0) | (self.data != 0))
        return m


class RoundTrip(wiring.Component):
    """A word is encoded, `flips` different bits of it and its check byte flip, it is decoded."""

    def __init__(self, flips):
        self._flips = flips
        super().__init__({"data": In(DATA_BITS)} | {f"bit_{n}": In(7) for n in range(flips)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.encoder = encoder = EccEncoder(words=1)
        m.submodules.decoder = decoder = EccDecoder(words=1)
        flipped = Signal(BITS)
        bits = [getattr(self, f"bit_{n}") for n in range(self._flips)]
        for bit, above in pairwise([*bits, BITS]):
            m.d.comb += Assume(bit < above)
        for n in range(BITS):
            m.d.comb += flipped[n].eq(Cat(bit == n for bit in bits).any())
        m.d.comb += [
            encoder.data.eq(self.data),
            decoder.data.eq(self.data ^ flipped[:DATA_BITS]),
            decoder.check.eq(encoder.check ^ flipped[DATA_BITS:]),
            Assert((decoder.syndrome == 0) == (self._flips == 0)),
            Assert(decoder.corrected == (self._flips == 1)),
            Assert(decoder.uncorrectable == (self._flips >= 2)),
        ]
        if self._flips < 2:
            m.d.comb += Assert(decoder.fixed == self.data)
        else:
            m.d.comb += Assert(decoder.fixed == decoder.data)
        return m


PROOFS = (
    Proof("each data bit adds its column to the check byte", ColumnOfEachBit),
    Proof("decoding undoes encoding", partial(RoundTrip, 0)),
    Proof("one flipped bit of 72 is corrected", partial(RoundTrip, 1)),
    Proof("two flipped bits of 72 are detected and nothing changed", partial(RoundTrip, 2)),
)
