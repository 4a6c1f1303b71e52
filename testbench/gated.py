"""A unit in a gated clock domain, as a node holds it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from d1_rtl.clock_gate import ClockGate

__all__ = ["GatedUnit"]


class GatedUnit(wiring.Component):
    """A unit with a stream `i` and an output `busy`, clocked while either has something to do.

    Parameters
    ----------
    unit
        The unit; this component has its ports.
    gated
        As in `ClockGate`.

    """

    def __init__(self, unit: Any, *, gated: bool = True):
        self._unit = unit
        self._gated = gated
        super().__init__(unit.signature)

    def elaborate(self, platform: object) -> Module:
        """Put the unit into its domain."""
        m = Module()
        gate = ClockGate(domain="unit", gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules.gate = gate
        m.submodules.unit = gate.drive(self._unit)
        wiring.connect(m, wiring.flipped(self), self._unit)
        m.d.comb += gate.en.eq(self._unit.i.valid | self._unit.busy)
        return m
