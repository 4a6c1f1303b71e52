"""Round-robin arbitration of offers that are not taken at once."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .arbiter import RoundRobinArbiter

__all__ = ["StickyArbiter"]


class StickyArbiter(wiring.Component):
    """Grant one of several requesters and stay with it until its offer is taken.

    Combinational; requesters take turns. For streams that share a way: what is offered there does
    not change before it is taken.

    Golden twin: none; arbitration changes timing, never results.

    Parameters
    ----------
    requesters
        Number of requesters, at least 1. Each keeps its request until it is taken.

    Members
    -------
    requests : In(requesters)
    taken : In(1)
        What is granted is taken in this cycle.
    grants : Out(requesters)
        One bit at most, and one whenever there is a request.

    Raises
    ------
    ValueError
        If `requesters` is less than 1.
    """

    requests: Signal
    taken: Signal
    grants: Signal

    def __init__(self, requesters: int):
        if requesters < 1:
            raise ValueError(f"requesters must be at least 1, not {requesters!r}")
        super().__init__({"requests": In(requesters), "taken": In(1), "grants": Out(requesters)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(len(self.requests))
        held = Signal(len(self.requests))
        m.d.comb += [
            arbiter.requests.eq(Mux(held.any(), 0, self.requests)),
            self.grants.eq(held | arbiter.grants),
        ]
        m.d.sync += held.eq(Mux(self.taken, 0, self.grants))
        return m
