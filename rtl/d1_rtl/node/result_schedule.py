"""Which vector register the result of each cycle is for."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .scoreboard import RegisterQuery

__all__ = ["ResultSchedule"]


class ResultSchedule(wiring.Component):
    """Keep the registers of results on their way, and see that no two come in one cycle.

    Units give their result a fixed number of cycles after they took an operation, a few at the
    shorter latency, others at the longer one. What enters in cycle t is on `due` in cycle t + its
    latency, and only then. A result of the longer latency may always enter, one of the shorter
    only while `short_free`; at most one of them enters in a cycle.

    Golden twin: none; it keeps order, and the golden node has no other.

    Parameters
    ----------
    short, long
        The latencies in cycles, 1 <= short < long.

    Members
    -------
    enter_short, enter_long : In(RegisterQuery)
        The register of a result whose operation is taken in this cycle.
    short_free : Out(1)
        No result is due in the cycle that one of the shorter latency would come in.
    due : Out(RegisterQuery)
        The register of the result that comes in this cycle.

    Raises
    ------
    ValueError
        If the latencies are out of range.

    """

    enter_short: Any
    enter_long: Any
    short_free: Signal
    due: Any

    def __init__(self, *, short: int, long: int):
        if not 1 <= short < long:
            raise ValueError(f"latencies must be 1 <= short < long, not {short!r} and {long!r}")
        self._short, self._long = short, long
        super().__init__(
            {
                "enter_short": In(RegisterQuery),
                "enter_long": In(RegisterQuery),
                "short_free": Out(1),
                "due": Out(RegisterQuery),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        # Element n is the result that comes n cycles from now.
        coming: list[Any] = [Signal(RegisterQuery, name=f"coming_{n}") for n in range(self._long)]
        entering = [*coming[1:], self.enter_long]
        for n, (element, later) in enumerate(zip(coming, entering, strict=True)):
            m.d.sync += element.eq(later)
            if n == self._short - 1:
                with m.If(self.enter_short.used):
                    m.d.sync += element.eq(self.enter_short)
        m.d.comb += [
            self.short_free.eq(~coming[self._short].used),
            self.due.eq(coming[0]),
        ]
        return m
