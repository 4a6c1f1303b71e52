"""A unit as it is on an FPGA, with cycles of several clocks, in a simulator."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Fragment, Module
from amaranth.lib import wiring

from d1_rtl.turns import Turns

__all__ = ["OnFpga"]


class OnFpga(wiring.Component):
    """A unit that is told that it is on an FPGA.

    Golden twin: that of the unit.

    Parameters
    ----------
    unit
        The unit; this component has its ports.
    in_turns
        Whether its cycles are to be made, because it does not make them itself.

    """

    def __init__(self, unit: Any, *, in_turns: bool = True):
        self._unit = unit
        self._in_turns = in_turns
        super().__init__(unit.signature)

    def elaborate(self, platform: object) -> Module:
        """Elaborate the unit for an FPGA."""
        m = Module()
        unit = Fragment.get(self._unit, "an FPGA")
        if self._in_turns:
            turns = Turns()
            m.domains += turns.clock_domains
            m.submodules.turns = turns
            unit = turns.drive(unit)
        m.submodules.unit = unit
        # `connect` knows no arrays of interfaces.
        for (_, member, outer), (_, _, inner) in zip(
            self.signature.flatten(self), self._unit.signature.flatten(self._unit), strict=True
        ):
            source, target = (outer, inner) if member.flow == wiring.In else (inner, outer)
            if not isinstance(target, Const):  # of a stream that is always ready
                m.d.comb += target.eq(source)
        return m
