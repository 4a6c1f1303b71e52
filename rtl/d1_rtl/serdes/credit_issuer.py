"""Credit issuer: what the receiver lets the other end send of one plane."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.frame import MAX_SLOTS
from d1_golden.serdes.params import LIMIT_BITS

__all__ = ["CreditIssuer"]


class CreditIssuer(wiring.Component):
    """Keeps the limit for the other end: the packets that it may have sent in this session.

    At the start of a session these are the free entries of the receive buffer, in which packets
    of the session before may still be; then one more for each packet that leaves it.

    Golden twin: `d1_golden.serdes.link_layer`, `allowed` and `occupied`.

    Parameters
    ----------
    credits
        Entries of the receive buffer, at most three quarters of the numbers.

    Members
    -------
    accepted : In(range(6))
        Packets of a frame that come into the buffer.
    taken : In(1)
        One leaves it.
    fresh : In(1)
        The session has not begun.
    allowed : Out(9)
        The limit.

    Raises
    ------
    ValueError
        If `credits` is out of its range.
    """

    accepted: In(range(MAX_SLOTS + 1))
    taken: In(1)
    fresh: In(1)
    allowed: Out(LIMIT_BITS)

    def __init__(self, credits: int):
        most = 3 << (LIMIT_BITS - 2)
        if not 1 <= credits <= most:
            raise ValueError(f"credits must be in 1..{most}, not {credits!r}")
        self._credits = credits
        #: Packets in the buffer. For proofs; nobody else looks at it.
        self.occupied = Signal(range(credits + 1))
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        occupied = Signal.like(self.occupied)  # in the next cycle
        m.d.comb += occupied.eq(self.occupied + self.accepted - self.taken)
        m.d.sync += [self.occupied.eq(occupied), self.allowed.eq(self.allowed + self.taken)]
        with m.If(self.fresh):
            m.d.sync += self.allowed.eq(self._credits - occupied)
        return m
