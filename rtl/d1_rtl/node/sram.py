"""The node's SRAM: banks behind the ports of its clients."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.ecc import DATA_BITS
from d1_golden.params import NodeParams

from ..turns import TURNS, collected, delayed
from .ecc import LINE_WORDS
from .ecc_registers import EccRegisters
from .interfaces import SramReadSignature, SramWriteSignature, register_line
from .patience import Patience
from .sram_bank import SramBank
from .sram_write_port import TURN_WORDS, SramWritePort

__all__ = [
    "EARLY_CLIENT",
    "PATIENCE",
    "READ_CLIENTS",
    "URGENT_CLIENT",
    "WRITE_CLIENTS",
    "Sram",
    "stalled_layout",
]

#: Who reads: each has a port `r_<name>`.
READ_CLIENTS: tuple[str, ...] = ("fetch", "scalar", "vector_0", "vector_1", "network")
#: Who writes: each has a port `w_<name>`.
WRITE_CLIENTS: tuple[str, ...] = ("scalar", "vector", "network")
#: The port that goes first: the operands of the matrix unit.
URGENT_CLIENT = "r_vector_1"
#: Cycles for which the others let it.
PATIENCE = 4
#: Who writes one word at most.
_ONE_WORD_CLIENT = "scalar"
#: Who reads and has the line in the first turn of a cycle, on an FPGA; the others have it later.
EARLY_CLIENT = "scalar"


def stalled_layout() -> data.StructLayout:
    """Return the layout of `Sram.stalled`: a bit for each port, by the name of the port."""
    return data.StructLayout(
        {f"r_{name}": 1 for name in READ_CLIENTS} | {f"w_{name}": 1 for name in WRITE_CLIENTS}
    )


class Sram(wiring.Component):
    """Single-ported banks of 64-byte lines with error correction, shared by a node's clients.

    Line n is in bank n mod banks. In one cycle every client transfers one line when all meet
    different banks. A line read is on `data` of its port in the cycle after the transfer and only
    then; a write is seen by every read that is transferred in a later cycle. A write to part of a
    64-bit word takes two cycles of the bank, and `ready` is low in the first.

    Of clients that meet in one bank, one is served per cycle. `URGENT_CLIENT` goes first, unless
    somebody has waited for `PATIENCE` cycles: those who have take turns before everybody else, and
    without them and the urgent one all the others take turns. No client waits for more than 16
    cycles: `PATIENCE` and the access of each other client, two cycles long if it writes.

    On an FPGA (`Turns`) a line is shifted to its client: in each turn the words of that turn are at
    the upper end of `data`, and in the last turn all are in their places. `EARLY_CLIENT` has all in
    their places in the first turn, and then no longer.

    Golden twins: `d1_golden.node.GoldenNode.memory`, which knows no banks, and
    `d1_golden.node.ecc_state`.

    Parameters
    ----------
    params
        Number of banks, and lines in each.
    gated
        Whether banks stand in gated clock domains (`ClockGate`).

    Members
    -------
    r_fetch, r_scalar, r_vector_0, r_vector_1, r_network : In(SramReadSignature(params))
    w_scalar : In(SramWriteSignature(params))
        Its `data` is the same in every word, and its `mask` has bytes of one word only.
    w_vector, w_network : In(SramWriteSignature(params))
    stalled : Out(stalled_layout())
        For each port: it asks for a line and has to wait in this cycle.
    registers : Out(8 x 64)
    write : In(8)
    data : In(8 x 64)
        The registers of error correction, as of `EccRegisters`.
    busy : Out(1)
        Something is being counted, scrubbed or injected; high as long as scrubbing is on.

    Ref: the ports of D1's SRAM per cycle are those of the Hot Chips 34 talk on the Dojo
    microarchitecture.
    """

    stalled: data.View
    registers: Any
    write: Signal
    data: Any
    busy: Signal

    def __init__(self, params: NodeParams, *, gated: bool = True):
        self._params = params
        self._gated = gated
        super().__init__(
            {f"r_{name}": In(SramReadSignature(params)) for name in READ_CLIENTS}
            | {f"w_{name}": In(SramWriteSignature(params)) for name in WRITE_CLIENTS}
            | {
                "stalled": Out(stalled_layout()),
                "registers": Out(register_line()),
                "write": In(LINE_WORDS),
                "data": In(register_line()),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.ecc = ecc = EccRegisters(self._params)
        banks: list[Any] = [
            SramBank(
                self._params,
                readers=READ_CLIENTS,
                writers=(*WRITE_CLIENTS, "maintenance"),
                urgent=URGENT_CLIENT,
                gated=self._gated,
            )
            for _ in range(self._params.sram_banks)
        ]
        for index, bank in enumerate(banks):
            m.submodules[f"bank_{index}"] = bank
            m.d.comb += [ecc.found[index].eq(bank.found), ecc.reports[index].eq(bank.report)]

        for name in READ_CLIENTS:
            port = getattr(self, f"r_{name}")
            bank_number = self._request(m, f"r_{name}", port.request, banks)
            if platform is None:
                self._select_data(m, port, bank_number, banks)
            else:
                self._arrive(m, name, port, bank_number, banks)
        for name in WRITE_CLIENTS:
            encoder = SramWritePort(self._params, one_word=name == _ONE_WORD_CLIENT)
            m.submodules[f"w_{name}"] = encoder
            wiring.connect(m, wiring.flipped(getattr(self, f"w_{name}").request), encoder.i)
            self._request(m, f"w_{name}", encoder.o, banks)
        self._request(m, "w_maintenance", ecc.o, banks)
        for name in stalled_layout().members:
            request = getattr(self, name).request
            m.d.comb += self.stalled[name].eq(request.valid & ~request.ready)

        m.submodules.patience = patience = Patience(len(banks[0].late), cycles=PATIENCE)
        m.d.comb += [
            patience.waits.eq(Cat(self.stalled.as_value(), ecc.o.valid & ~ecc.o.ready)),
            *(bank.late.eq(patience.late) for bank in banks),
        ]
        m.d.comb += [
            self.registers.eq(ecc.registers),
            ecc.write.eq(self.write),
            ecc.data.eq(self.data),
            self.busy.eq(ecc.busy),
        ]
        return m

    def _request(self, m: Module, name: str, client: Any, banks: list[Any]) -> Value:
        """Connect a client's stream to all banks; return the number of the one it asks."""
        line = client.payload if name.startswith("r_") else client.payload.line
        bank_number = line[: (len(banks) - 1).bit_length()]
        for index, bank in enumerate(banks):
            port = getattr(bank, name)
            m.d.comb += port.payload.eq(client.payload)
            m.d.comb += port.valid.eq(client.valid & (bank_number == index))
            with m.If(port.ready):
                m.d.comb += client.ready.eq(1)
        return bank_number

    def _select_data(self, m: Module, client: Any, bank_number: Value, banks: list[Any]) -> None:
        """Connect a reader to the bank that served it in the cycle before."""
        served_by = Signal.like(bank_number, name="served_by")
        with m.If(client.request.ready):
            m.d.sync += served_by.eq(bank_number)
        with m.Switch(served_by):
            for index, bank in enumerate(banks):
                with m.Case(index):
                    m.d.comb += [
                        client.data.eq(bank.data),
                        client.uncorrectable.eq(bank.uncorrectable),
                    ]

    def _arrive(
        self, m: Module, name: str, client: Any, bank_number: Value, banks: list[Any]
    ) -> None:
        """Shift the words of each turn into a reader's line; registers of no use are left out."""
        served_by = delayed(m, bank_number, 1, f"served_by_{name}")
        for part, width in (("data", DATA_BITS), ("uncorrectable", 1)):
            parts = [getattr(bank, part)[: width * TURN_WORDS] for bank in banks]
            words: Value = Array(parts)[served_by]
            if name != EARLY_CLIENT:
                words = delayed(m, words, TURNS - 1, f"{name}_{part}")
            m.d.comb += getattr(client, part).eq(collected(m, words, f"{name}_{part}_word"))
