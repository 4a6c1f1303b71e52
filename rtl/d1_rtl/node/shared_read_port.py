"""One read port of the SRAM for several clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .interfaces import SramReadSignature
from .sticky_arbiter import StickyArbiter

__all__ = ["SharedReadPort"]


class SharedReadPort(wiring.Component):
    """Let clients take turns at a read port; no cycle is added.

    Golden twin: none; arbitration changes timing, never results.

    Parameters
    ----------
    params
        Size of the SRAM.
    clients
        Number of clients.

    Members
    -------
    clients : In(SramReadSignature(params)).array(clients)
    port : Out(SramReadSignature(params))
    """

    clients: Sequence[Any]
    port: Any

    def __init__(self, params: NodeParams, *, clients: int):
        port = SramReadSignature(params)
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
            m.d.comb += [
                client.request.ready.eq(arbiter.grants[index] & request.ready),
                client.data.eq(self.port.data),
                client.uncorrectable.eq(self.port.uncorrectable),
            ]
            with m.If(arbiter.grants[index]):
                m.d.comb += request.payload.eq(client.request.payload)
        return m
