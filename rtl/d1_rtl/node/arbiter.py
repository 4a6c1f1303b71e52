"""Round-robin arbiter."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RoundRobinArbiter"]


class RoundRobinArbiter(wiring.Component):
    """Grants one of several requests in the cycle in which they are made, in turn.

    The turn passes to the requester after the one that was granted, so one that keeps requesting
    is granted after at most `requesters` - 1 others. Combinational from `requests` to `grants`;
    one grant per cycle.

    Golden twin: none of its own; arbitration changes timing, never results.

    Parameters
    ----------
    requesters
        Number of requesters, at least 1.

    Members
    -------
    requests : In(requesters)
    grants : Out(requesters)
        One bit at most, and one whenever there is a request.

    Raises
    ------
    ValueError
        If `requesters` is less than 1.

    """

    requests: Signal
    grants: Signal

    def __init__(self, requesters: int):
        if requesters < 1:
            raise ValueError(f"requesters must be at least 1, not {requesters!r}")
        super().__init__({"requests": In(requesters), "grants": Out(requesters)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        width = len(self.requests)
        # Bit n set: requester n comes before those whose bit is clear.
        first = Signal(width)
        preferred = Signal(width)
        m.d.comb += preferred.eq(self.requests & first)
        with m.If(preferred.any()):
            m.d.comb += self.grants.eq(preferred & (~preferred + 1))
        with m.Else():
            m.d.comb += self.grants.eq(self.requests & (~self.requests + 1))
        with m.If(self.grants.any()):
            # Everything above the granted bit.
            m.d.sync += first.eq(Cat(self.grants[:index].any() for index in range(width)))
        return m
