"""Output port of a router: one of the inputs that have a packet for it, and the register."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.ports import Port

from ..node.arbiter import RoundRobinArbiter

__all__ = ["OutputPort"]

_PORTS = len(Port)


class OutputPort(wiring.Component):
    """Takes packets of the input buffers in turn and offers each until it is taken.

    One cycle; one packet per cycle, sustained. The outputs come straight from a register.

    Golden twin: `d1_golden.fabric.router`.

    Parameters
    ----------
    layout
        Of the packets.

    Members
    -------
    requests : In(5)
        Inputs that have a packet for this output.
    grants : Out(5)
        The one whose packet is taken in this cycle.
    packets : In(layout).array(5)
    control : In(5)
        Their packets, and which of these go to `o_control`.
    o, o_control : Out(stream.Signature(layout))
        At most one is valid; they share the register.
    busy : Out(1)
        One is. From registers.
    passed : Out(1)
        The packet leaves in this cycle.
    """

    requests: Signal
    grants: Signal
    packets: Sequence[Any]
    control: Signal
    o: Any
    o_control: Any
    busy: Signal
    passed: Signal

    def __init__(self, layout: data.StructLayout):
        self._layout = layout
        super().__init__(
            {
                "requests": In(_PORTS),
                "grants": Out(_PORTS),
                "packets": In(layout).array(_PORTS),
                "control": In(_PORTS),
                "o": Out(stream.Signature(layout)),
                "o_control": Out(stream.Signature(layout)),
                "busy": Out(1),
                "passed": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(_PORTS)
        packet = Signal(self._layout)
        valid, valid_control = Signal(), Signal()
        free = Signal()
        m.d.comb += [
            self.busy.eq(valid | valid_control),
            self.passed.eq((valid & self.o.ready) | (valid_control & self.o_control.ready)),
            free.eq(~self.busy | self.passed),
            arbiter.requests.eq(Mux(free, self.requests, 0)),
            self.grants.eq(arbiter.grants),
            self.o.valid.eq(valid),
            self.o.payload.eq(packet),
            self.o_control.valid.eq(valid_control),
            self.o_control.payload.eq(packet),
        ]
        for port in Port:
            with m.If(self.grants[port]):
                m.d.sync += packet.eq(self.packets[port])
        with m.If(free):
            m.d.sync += [
                valid.eq((self.grants & ~self.control).any()),
                valid_control.eq((self.grants & self.control).any()),
            ]
        return m
