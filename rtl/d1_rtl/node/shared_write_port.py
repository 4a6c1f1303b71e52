"""One write port of the SRAM for several clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .interfaces import SramWriteSignature
from .sticky_arbiter import StickyArbiter

__all__ = ["SharedWritePort"]


class SharedWritePort(wiring.Component):
    """Let clients take turns at a write port; no cycle is added.

    Golden twin: none; arbitration changes timing, never results.

    Parameters
    ----------
    params
        Size of the SRAM.
    clients
        Number of clients.

    Members
    -------
    clients : In(SramWriteSignature(params)).array(clients)
    port : Out(SramWriteSignature(params))
    """

    clients: Sequence[Any]
    port: Any

    def __init__(self, params: NodeParams, *, clients: int):
        port = SramWriteSignature(params)
        super().__init__({"clients": In(port).array(clients), "port": Out(port)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.arbiter = arbiter = StickyArbiter(len(self.clients))
        request = self.port.request
        m.d.comb += [
            arbiter.requests.eq(Cat(client.request.valid for client in self.clients)),
            arbiter.taken.eq(request.ready),
            request.valid.eq(arbiter.requests.any()),
        ]
        for index, client in enumerate(self.clients):
            m.d.comb += client.request.ready.eq(arbiter.grants[index] & request.ready)
            with m.If(arbiter.grants[index]):
                m.d.comb += request.payload.eq(client.request.payload)
        return m
