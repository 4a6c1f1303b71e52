"""Sequence checker: the receiver's half of the replay."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import SEQUENCE_BITS

__all__ = ["SequenceChecker"]


class SequenceChecker(wiring.Component):
    """Accepts the frame that is expected, in the round that is wanted, and no other.

    A frame or status row of this round with another number tells that a frame is missing: the
    other round is wanted then, in which the transmitter begins again with the frame expected.
    What is still on its way in the old round is left out. Combinational from what is heard to
    `accept` and `missed`.

    Golden twin: `d1_golden.serdes.link_layer`, `_check_sequence`.

    Members
    -------
    heard : In(1)
        A good frame or status row of this session.
    is_frame : In(1)
        With `heard`: it has packets.
    round : In(1)
        With `heard`: the round in which it was sent.
    number : In(7)
        With `heard`: the number of the frame; of a status row that of the next frame.
    bad : In(1)
        Something came whose CRC is wrong.
    expected : Out(7)
        Number of the frame that is expected.
    want : Out(1)
        Round that is wanted.
    accept : Out(1)
        The frame heard is the one.
    missed : Out(1)
        What is heard has another number.
    """

    heard: In(1)
    is_frame: In(1)
    round: In(1)
    number: In(SEQUENCE_BITS)
    bad: In(1)
    expected: Out(SEQUENCE_BITS)
    want: Out(1)
    accept: Out(1)
    missed: Out(1)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        # The last that was heard was of the round wanted: what is bad may be a frame of it.
        synced = Signal()
        fits = Signal()
        m.d.comb += [
            fits.eq(self.heard & (self.round == self.want) & (self.number == self.expected)),
            self.missed.eq(self.heard & (self.round == self.want) & (self.number != self.expected)),
            self.accept.eq(fits & self.is_frame),
        ]
        with m.If(self.heard):
            m.d.sync += synced.eq(fits)
        with m.If(self.accept):
            m.d.sync += self.expected.eq(self.expected + 1)
        with m.If(self.missed | (self.bad & synced)):
            m.d.sync += [self.want.eq(~self.want), synced.eq(0)]
        return m
