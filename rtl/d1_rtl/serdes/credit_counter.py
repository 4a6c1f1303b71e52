"""Credit counter: what the transmitter may send of one plane."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import LIMIT_BITS

__all__ = ["CreditCounter"]


class CreditCounter(wiring.Component):
    """Counts the packets sent, against a limit that the other end tells and raises.

    The limit is the number of packets that may have been sent in all, so it does not matter how
    often it is told, nor whether one is lost. One that is lower than the last is an old one and
    is left out.

    Golden twin: `d1_golden.serdes.link_layer`, `sent` and `limit`.

    Parameters
    ----------
    credits
        Entries of the other end's receive buffer, at most three quarters of the numbers.

    Members
    -------
    told : In(1)
    limit : In(9)
        With `told`: the limit.
    take : In(1)
        A packet is sent; only if `free`.
    free : Out(1)
        A packet may be sent.
    away : Out(9)
        Packets, sent or from before a reset of this end, not known to have left that buffer.

    Raises
    ------
    ValueError
        If `credits` is out of its range.
    """

    told: In(1)
    limit: In(LIMIT_BITS)
    take: In(1)
    free: Out(1)
    away: Out(LIMIT_BITS)

    def __init__(self, credits: int):
        most = 3 << (LIMIT_BITS - 2)
        if not 1 <= credits <= most:
            raise ValueError(f"credits must be in 1..{most}, not {credits!r}")
        self._credits = credits
        #: Packets sent and the highest limit. For proofs; nobody else looks at them.
        self.sent = Signal(LIMIT_BITS)
        self.highest = Signal(LIMIT_BITS)
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        raised = Signal(LIMIT_BITS)
        m.d.comb += [
            raised.eq(self.limit - self.highest),
            self.free.eq(self.sent != self.highest),
            self.away.eq(self.sent + self._credits - self.highest),
        ]
        with m.If(self.told & (raised <= self._credits)):
            m.d.sync += self.highest.eq(self.limit)
        with m.If(self.take):
            m.d.sync += self.sent.eq(self.sent + 1)
        return m
