"""Who has waited for too long."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Patience"]


class Patience(wiring.Component):
    """Tells which clients have waited in each of the last so many cycles.

    `late` comes from registers.

    Golden twin: none of its own; arbitration changes timing, never results.

    Parameters
    ----------
    clients
        Number of clients.
    cycles
        How long a client waits before it is late, at least 1.

    Members
    -------
    waits : In(clients)
        Who waits in this cycle.
    late : Out(clients)

    Raises
    ------
    ValueError
        If `cycles` is less than 1.
    """

    waits: Signal
    late: Signal

    def __init__(self, clients: int, *, cycles: int):
        if cycles < 1:
            raise ValueError(f"cycles must be at least 1, not {cycles!r}")
        self._cycles = cycles
        super().__init__({"waits": In(clients), "late": Out(clients)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        waits: Value = self.waits  # for one cycle, for two, ...
        for cycles in range(1, self._cycles):
            before = Signal.like(self.waits, name=f"waited_{cycles}")
            m.d.sync += before.eq(waits)
            waits = self.waits & before
        m.d.sync += self.late.eq(waits)
        return m
