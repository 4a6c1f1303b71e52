"""One bank of SRAM with its arbiter."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import LINE_BYTES, NodeParams

from .arbiter import RoundRobinArbiter
from .interfaces import line_address_bits, sram_write_layout

__all__ = ["SramBank"]


class SramBank(wiring.Component):
    """A single-ported memory of lines that serves several clients in turn.

    A bank does one access per cycle, a read or a write. A client is granted (`ready`) in the cycle
    in which it asks unless others ask too; then they are served in round-robin order, one per
    cycle. A line read is on `data` in the cycle after the transfer, and only then.

    Golden twin: `d1_golden.node.GoldenNode.memory`, which knows no banks.

    Parameters
    ----------
    params
        Size of the bank: `bank_lines` lines of 64 bytes.
    read_clients, write_clients
        Names of the clients.

    Members
    -------
    r_* : In(stream of line number)
        One for each of `read_clients`. The bits of the line number that select the bank are
        ignored here.
    w_* : In(stream of sram_write_layout(params))
        One for each of `write_clients`.
    data : Out(512)

    """

    data: Signal

    def __init__(
        self,
        params: NodeParams,
        *,
        read_clients: tuple[str, ...],
        write_clients: tuple[str, ...],
    ):
        self._params = params
        self._readers = [f"r_{name}" for name in read_clients]
        self._writers = [f"w_{name}" for name in write_clients]
        read = In(stream.Signature(line_address_bits(params)))
        write = In(stream.Signature(sram_write_layout(params)))
        super().__init__(
            dict.fromkeys(self._readers, read)
            | dict.fromkeys(self._writers, write)
            | {"data": Out(8 * LINE_BYTES)}
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        readers = [getattr(self, name) for name in self._readers]
        writers = [getattr(self, name) for name in self._writers]
        clients = [*readers, *writers]

        m.submodules.arbiter = arbiter = RoundRobinArbiter(len(clients))
        m.d.comb += arbiter.requests.eq(Cat(client.valid for client in clients))
        m.d.comb += Cat(client.ready for client in clients).eq(arbiter.grants)

        bank_bits = (self._params.sram_banks - 1).bit_length()
        lines = [*(r.payload for r in readers), *(w.payload.line for w in writers)]
        row = Signal(range(self._params.bank_lines))
        with m.Switch(arbiter.grants):
            for index, line in enumerate(lines):
                with m.Case(1 << index):
                    m.d.comb += row.eq(line >> bank_bits)

        write_grants = arbiter.grants[len(readers) :]
        data, mask = Signal(8 * LINE_BYTES), Signal(LINE_BYTES)
        with m.Switch(write_grants):
            for index, writer in enumerate(writers):
                # By default the last writer is looked at: a multiplexer with one input less.
                with m.Case(1 << index) if writer is not writers[-1] else m.Default():
                    m.d.comb += [data.eq(writer.payload.data), mask.eq(writer.payload.mask)]
        m.submodules.memory = Instance(
            "d1_sram",
            p_LINES=self._params.bank_lines,
            p_ADDRESS_BITS=len(row),
            i_clk=ClockSignal(),
            i_enable=arbiter.grants.any(),
            i_write=write_grants.any(),
            i_line=row,
            i_mask=mask,
            i_data=data,
            o_q=self.data,
        )
        return m
