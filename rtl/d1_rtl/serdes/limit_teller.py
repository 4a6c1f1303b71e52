"""Limit teller: which of two limits a control word has room for."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.link_layer import PLANES
from d1_golden.serdes.params import LIMIT_BITS

__all__ = ["LimitTeller"]


class LimitTeller(wiring.Component):
    """Chooses the plane whose limit the next control word tells.

    The planes take turns, but a limit that has not moved gives way to one that has. While nothing
    moves both are told again and again, for a control word may be lost.

    Golden twin: `d1_golden.serdes.link_layer`, `last_limit` and `shown`.

    Members
    -------
    allowed : In(2 x 9)
        The limits, by plane.
    told : In(1)
        The control word is sent.
    both : In(1)
        With `told`: in a status row, which tells both limits.
    plane : Out(1)
    limit : Out(9)
    """

    allowed: In(data.ArrayLayout(LIMIT_BITS, PLANES))
    told: In(1)
    both: In(1)
    plane: Out(1)
    limit: Out(LIMIT_BITS)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        allowed: Any = self.allowed
        shown: Any = Signal(data.ArrayLayout(LIMIT_BITS, PLANES))
        last = Signal()
        moved = [Signal(name=f"moved_{n}") for n in range(PLANES)]
        m.d.comb += [moved[n].eq(allowed[n] != shown[n]) for n in range(PLANES)]
        m.d.comb += [
            self.plane.eq(Mux(last, ~moved[0] & moved[1], moved[1] | ~moved[0])),
            self.limit.eq(Mux(self.plane, allowed[1], allowed[0])),
        ]
        with m.If(self.told):
            m.d.sync += last.eq(self.plane)
            for n in range(PLANES):
                with m.If(self.both | (self.plane == n)):
                    m.d.sync += shown[n].eq(allowed[n])
        return m
