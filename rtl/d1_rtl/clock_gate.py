"""A clock domain that stops while a unit is idle."""

from typing import Any

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    EnableInserter,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["ClockGate"]


class ClockGate(wiring.Component):
    """Drives a clock domain that has the edges of `sync` at which it is enabled, and no others.

    An edge of the domain is at the same time as one of `sync`, so registers of either can be read
    in the other as if there were one clock. The gate lets edges through while `sync` is reset, so
    that the domain is reset with it. `en` is taken up to the rising edge: combinational logic of
    registers and inputs may drive it, and the edge at the end of a cycle with `en` high is there.

    A unit whose registers keep their values while `en` is low behaves alike with and without the
    gate, so this has no golden twin. The gate is the cell `d1_clock_gate`
    (`d1_rtl/cells/clock_gate.v`). Use::

        gate = ClockGate(domain="matrix", gated=params_say_so)
        m.domains += gate.clock_domain
        m.submodules.matrix_clock = gate
        m.submodules.matrix = gate.drive(MatrixUnit())  # registers of its `sync`
        m.d.comb += gate.en.eq(work_to_do)

    Parameters
    ----------
    domain
        Name of the domain. It belongs to the module that adds `clock_domain`, and to those below.
    gated
        Whether to gate the clock. Otherwise (FPGA, Amaranth's own simulator) the unit stays in
        `sync`, and its registers are enabled by `en`.

    Members
    -------
    en : In(1)
        The domain has the rising edge that ends this cycle.

    Raises
    ------
    ValueError
        If `domain` is `sync` or `comb`.
    """

    #: The domain has the rising edge that ends this cycle.
    en: In(1)

    def __init__(self, *, domain: str, gated: bool = True) -> None:
        if domain in ("sync", "comb"):
            raise ValueError(f"domain must be a new one, not {domain!r}")
        self._gated = gated
        self._domain = domain
        #: The gated domain; to be added to the domains of the module around the gate.
        self.clock_domain = ClockDomain(domain, local=True)
        super().__init__()

    def drive(self, unit: Any) -> Any:
        """Return `unit` with the registers of its `sync` clocked by this gate."""
        if self._gated:
            return DomainRenamer(self._domain)(unit)
        return EnableInserter({"sync": self.en})(unit)

    def elaborate(self, platform: object) -> Module:
        """Instantiate the cell, or nothing."""
        m = Module()
        if self._gated:
            clock = Signal()
            m.submodules.cell = Instance(
                "d1_clock_gate",
                i_clk=ClockSignal("sync"),
                i_en=self.en | ResetSignal("sync"),
                o_gclk=clock,
            )
            m.d.comb += [
                ClockSignal(self._domain).eq(clock),
                ResetSignal(self._domain).eq(ResetSignal("sync")),
            ]
        return m
