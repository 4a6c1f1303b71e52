"""The node's SRAM: banks behind the ports of its clients."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .interfaces import SramReadSignature, SramWriteSignature
from .sram_bank import SramBank

__all__ = ["READ_CLIENTS", "WRITE_CLIENTS", "Sram", "stalled_layout"]

#: Who reads: each has a port `r_<name>`.
READ_CLIENTS: tuple[str, ...] = ("fetch", "scalar", "vector", "network")
#: Who writes: each has a port `w_<name>`.
WRITE_CLIENTS: tuple[str, ...] = ("scalar", "vector", "network")


def stalled_layout() -> data.StructLayout:
    """Return the layout of `Sram.stalled`: a bit for each port, by the name of the port."""
    return data.StructLayout(
        {f"r_{name}": 1 for name in READ_CLIENTS} | {f"w_{name}": 1 for name in WRITE_CLIENTS}
    )


class Sram(wiring.Component):
    """Single-ported banks of 64-byte lines, shared by the readers and writers of a node.

    Line n is in bank n mod banks. In one cycle every client transfers one line when all meet
    different banks. Clients that meet in one bank are served in round-robin order, one per cycle:
    a pair costs one extra cycle, and no client waits longer than the number of the other clients.
    A line read is on `data` of its port in the cycle after the transfer and only then; a write is
    seen by every read that is transferred in a later cycle.

    Golden twin: `d1_golden.node.GoldenNode.memory`, which knows no banks.

    Parameters
    ----------
    params
        Number of banks, and lines in each.

    Members
    -------
    r_fetch, r_scalar, r_vector, r_network : In(SramReadSignature(params))
    w_scalar, w_vector, w_network : In(SramWriteSignature(params))
    stalled : Out(stalled_layout())
        For each port: it asks for a line and has to wait in this cycle.

    Ref: the ports of D1's SRAM per cycle are those of the Hot Chips 34 talk on the Dojo
    microarchitecture, less the second vector read.
    """

    stalled: data.View

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {f"r_{name}": In(SramReadSignature(params)) for name in READ_CLIENTS}
            | {f"w_{name}": In(SramWriteSignature(params)) for name in WRITE_CLIENTS}
            | {"stalled": Out(stalled_layout())}
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        banks = [
            SramBank(self._params, read_clients=READ_CLIENTS, write_clients=WRITE_CLIENTS)
            for _ in range(self._params.sram_banks)
        ]
        for index, bank in enumerate(banks):
            m.submodules[f"bank_{index}"] = bank

        for name in stalled_layout().members:
            client = getattr(self, name)
            line = client.request.payload
            if name.startswith("w_"):
                line = line.line
            bank_number = line[: (len(banks) - 1).bit_length()]
            for index, bank in enumerate(banks):
                port = getattr(bank, name)
                m.d.comb += port.payload.eq(client.request.payload)
                m.d.comb += port.valid.eq(client.request.valid & (bank_number == index))
                with m.If(port.ready):
                    m.d.comb += client.request.ready.eq(1)
            m.d.comb += self.stalled[name].eq(client.request.valid & ~client.request.ready)
            if name.startswith("r_"):
                self._select_data(m, client, bank_number, banks)
        return m

    def _select_data(
        self, m: Module, client: Any, bank_number: Value, banks: list[SramBank]
    ) -> None:
        """Connect a reader to the bank that served it in the cycle before."""
        served_by = Signal.like(bank_number, name="served_by")
        with m.If(client.request.ready):
            m.d.sync += served_by.eq(bank_number)
        with m.Switch(served_by):
            for index, bank in enumerate(banks):
                with m.Case(index):
                    m.d.comb += client.data.eq(bank.data)
