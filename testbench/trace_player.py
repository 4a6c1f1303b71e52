"""A component that retires what it is told to, for trying what records traces."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams
from d1_rtl.node.interfaces import RetiredSlot, RetireSignature, ScalarResult, packet_layout

__all__ = ["TracePlayer", "struct_bits"]


def struct_bits(struct: Any, **fields: int) -> int:
    """Return a valid struct of the trace as a number."""
    return int(struct.const({"valid": 1, **fields}).as_value().value)


class TracePlayer(wiring.Component):
    """A node that does nothing but show its inputs `slots` and `late` as its trace.

    It takes no packets and is never idle. Combinational.

    Parameters
    ----------
    params
        Slots of the trace.

    Members
    -------
    i_request : In(stream.Signature(packet_layout()))
    o_reply : Out(stream.Signature(packet_layout()))
    idle : Out(1)
    retire : Out(RetireSignature(params))
    slots, late
        As in `RetireSignature`, the other way round.

    """

    i_request: Any
    o_reply: Any
    idle: Signal
    retire: Any
    slots: Any
    late: Any

    def __init__(self, params: NodeParams):
        trace = RetireSignature(params)
        super().__init__(
            {
                "i_request": In(stream.Signature(packet_layout())),
                "o_reply": Out(stream.Signature(packet_layout())),
                "idle": Out(1),
                "retire": Out(trace),
                "slots": In(RetiredSlot).array(*trace.members["slots"].dimensions),
                "late": In(ScalarResult).array(*trace.members["late"].dimensions),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.d.sync += self.idle.eq(0)  # a simulated component has a clock
        for name in ("slots", "late"):
            shown, told = getattr(self.retire, name), getattr(self, name)
            m.d.comb += [out.eq(now) for out, now in zip(shown, told, strict=True)]
        return m
