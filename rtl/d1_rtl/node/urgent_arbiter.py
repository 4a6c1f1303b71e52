"""Round-robin arbiter with a requester that goes first, and a bound on what the others wait."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arbiter import RoundRobinArbiter

__all__ = ["UrgentArbiter"]


class UrgentArbiter(wiring.Component):
    """Grants one of several requests in the cycle in which they are made.

    Requesters that are late come first, the urgent one next, then the others; those of equal rank
    take turns. A requester that stays late while it asks is granted after each other requester
    that is late has been granted once at most. Combinational from `requests` and `late` to
    `grants`; one grant per cycle.

    Golden twin: none of its own; arbitration changes timing, never results.

    Parameters
    ----------
    requesters
        Number of requesters, at least 1.
    urgent
        Number of the urgent one.

    Members
    -------
    requests : In(requesters)
    late : In(requesters)
        Who has waited too long; of no effect on one that does not ask.
    grants : Out(requesters)
        One bit at most, and one whenever there is a request.

    Raises
    ------
    ValueError
        If there is no requester `urgent`.

    """

    requests: Signal
    late: Signal
    grants: Signal

    def __init__(self, requesters: int, *, urgent: int):
        if not 0 <= urgent < requesters:
            raise ValueError(f"urgent must be in 0..{requesters - 1}, not {urgent!r}")
        self._urgent = urgent
        super().__init__(
            {"requests": In(requesters), "late": In(requesters), "grants": Out(requesters)}
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.turns = turns = RoundRobinArbiter(len(self.requests))
        late = Signal.like(self.late)
        m.d.comb += late.eq(self.requests & self.late)
        with m.If(late.any()):
            m.d.comb += [turns.requests.eq(late), self.grants.eq(turns.grants)]
        with m.Elif(self.requests[self._urgent]):
            # Nobody's turn passes: the others' order does not depend on where this one stands.
            m.d.comb += self.grants.eq(1 << self._urgent)
        with m.Else():
            m.d.comb += [turns.requests.eq(self.requests), self.grants.eq(turns.grants)]
        return m
