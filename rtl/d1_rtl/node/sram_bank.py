"""One bank of SRAM with its arbiter and its error correction."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.ecc import CHECK_BITS, DATA_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from ..clock_gate import ClockGate
from ..turns import TURNS, TurnCounter, collected, delayed
from .bank_schedule import BankSchedule
from .ecc import LINE_WORDS, EccDecoder, EccEncoder
from .ecc_report import EccReporter, ecc_report_layout
from .interfaces import line_address_bits
from .sram_write_port import TURN_WORDS, bank_write_layout, masked_bytes

__all__ = ["SramBank"]

_WORD_BYTES = DATA_BITS // 8


class SramBank(wiring.Component):
    """A single-ported memory of lines with check bytes that serves several clients in turn.

    A bank grants one access per cycle, as `BankSchedule` says: a read, or a write of whole words.
    A line read is on `data` in the cycle after the transfer, and only then, with one flipped bit
    of each word and its check byte corrected.

    A write to part of a word takes two cycles. In the first it is granted, but not `ready`, and
    the row is read; in the second nobody is granted, the row is written with the corrected old
    bytes in between and the write is transferred. A word that cannot be corrected stays so: its
    syndrome is added to the new check byte. A write with `raw` goes the same way, and its `data`
    and `check` flip bits of the row as it is stored.

    The clock runs in cycles with a request, and in the second cycle of such a write. On an FPGA
    words are read, corrected and written in turns (`Turns`).

    Golden twins: `d1_golden.node.GoldenNode.memory`, which knows no banks, and
    `d1_golden.node.ecc_state`.

    Parameters
    ----------
    params
        Size of the bank: `bank_lines` lines of 64 bytes.
    readers, writers
        Names of the clients.
    urgent
        The client that goes first.
    gated
        As in `ClockGate`.

    Members
    -------
    r_* : In(stream of line number)
        One for each of `readers`. The bits of the line number that select the bank are ignored
        here.
    w_* : In(stream of bank_write_layout(params))
        One for each of `writers`.
    late : In(readers + writers)
        As in `UrgentArbiter`, in the order of `readers` and `writers`.
    data : Out(512)
    uncorrectable : Out(8)
        With `data`, for each word: it is as stored and wrong. On an FPGA the words of each turn are
        at the lower end in the turn after it, from the cycle of the transfer on.
    found : Out(1)
        Something is wrong in the row that was read in the cycle before, by a reader or for a
        write. It is apart from `report` so that a simulator makes that only when a row is read.
    report : Out(ecc_report_layout(params))
        With `found`: what.

    """

    late: Signal
    data: Signal
    uncorrectable: Signal
    found: Signal
    report: Any

    def __init__(
        self,
        params: NodeParams,
        *,
        readers: tuple[str, ...],
        writers: tuple[str, ...],
        urgent: str,
        gated: bool = True,
    ):
        self._gated = gated
        self._clients = [f"r_{name}" for name in readers] + [f"w_{name}" for name in writers]
        self._bank = _Bank(
            params, self._clients, readers=len(readers), urgent=self._clients.index(urgent)
        )
        members = dict(self._bank.signature.members)
        super().__init__({name: members[name] for name in members if name not in ("busy", "reads")})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        bank: Any = self._bank
        gate = ClockGate(domain="bank", gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules.gate = gate
        m.submodules.bank = gate.drive(bank)
        for name in self._clients:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(bank, name))
        row_read = Signal()
        m.d.sync += row_read.eq(bank.reads)
        m.d.comb += [
            gate.en.eq(bank.busy),
            bank.late.eq(self.late),
            self.data.eq(bank.data),
            self.uncorrectable.eq(bank.uncorrectable),
            self.report.eq(bank.report),
            self.found.eq(bank.found & row_read),
        ]
        return m


class _Bank(wiring.Component):
    """The part of a bank that stands still while nobody asks.

    `busy` says that it must not, `reads` that a row is being read that is to be checked. What
    depends on a read comes from registers of the gated domain only, so that a simulator looks at
    the decoders of no other banks than those in use.
    """

    late: Signal
    data: Signal
    uncorrectable: Signal
    found: Signal
    report: Any
    busy: Signal
    reads: Signal

    def __init__(self, params: NodeParams, clients: list[str], *, readers: int, urgent: int):
        self._params = params
        self._readers, self._writers = clients[:readers], clients[readers:]
        self._urgent = urgent
        read = In(stream.Signature(line_address_bits(params)))
        write = In(stream.Signature(bank_write_layout(params)))
        super().__init__(
            dict.fromkeys(self._readers, read)
            | dict.fromkeys(self._writers, write)
            | {
                "late": In(len(clients)),
                "data": Out(8 * LINE_BYTES),
                "uncorrectable": Out(LINE_WORDS),
                "found": Out(1),
                "report": Out(ecc_report_layout(params)),
                "busy": Out(1),
                "reads": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        readers = [getattr(self, name) for name in self._readers]
        writers = [getattr(self, name) for name in self._writers]
        clients = [*readers, *writers]
        m.submodules.schedule = schedule = BankSchedule(
            readers=len(readers), writers=len(writers), urgent=self._urgent
        )
        m.d.comb += [
            schedule.requests.eq(Cat(client.valid for client in clients)),
            schedule.partial.eq(Cat(writer.payload.partial for writer in writers)),
            schedule.late.eq(self.late),
            Cat(client.ready for client in clients).eq(schedule.ready),
            self.busy.eq(schedule.busy),
        ]

        bank_bits = (self._params.sram_banks - 1).bit_length()
        lines = [*(r.payload for r in readers), *(w.payload.line for w in writers)]
        row = Signal(range(self._params.bank_lines))
        with m.Switch(Cat(schedule.reads, schedule.writes)):
            for index, line in enumerate(lines):
                with m.Case(1 << index):
                    m.d.comb += row.eq(line >> bank_bits)
        write: Any = Signal(bank_write_layout(self._params))
        with m.If(schedule.writes.any()), m.Switch(schedule.writes):
            for index, writer in enumerate(writers):
                # By default the last writer is looked at: a multiplexer with one input less.
                with m.Case(1 << index) if writer is not writers[-1] else m.Default():
                    m.d.comb += write.eq(writer.payload)
        m.d.comb += self.reads.eq(schedule.reads.any() | (schedule.reads_row & ~write.raw))
        if platform is None:
            self._store(m, row, write, schedule)
        else:
            self._store_in_turns(m, row, write, schedule)
        return m

    def _store(self, m: Module, row: Signal, write: Any, schedule: BankSchedule) -> None:
        """Connect the memory with the decoder behind it and the merged row before it."""
        m.submodules.decoder = decoder = EccDecoder()
        m.submodules.encoder = encoder = EccEncoder()
        m.submodules.reporter = reporter = EccReporter(self._params)
        raw, keep, read_row = Signal(), Signal(LINE_BYTES), Signal.like(row)
        m.d.sync += [raw.eq(write.raw & schedule.reads_row), keep.eq(~write.mask), read_row.eq(row)]
        kept = Signal(8 * LINE_BYTES)
        data, check = Signal(8 * LINE_BYTES), Signal(CHECK_BITS * LINE_WORDS)
        m.d.comb += [encoder.data.eq(kept), data.eq(write.data), check.eq(write.check)]
        for n, old_bytes in enumerate(masked_bytes(m, decoder.fixed, keep, "keep_bits")):
            part, part_check = slice(DATA_BITS * n, DATA_BITS * (n + 1)), slice(8 * n, 8 * (n + 1))
            with m.If(schedule.merges):
                m.d.comb += [
                    kept[part].eq(old_bytes),
                    data[part].eq(write.data[part] ^ kept[part]),
                    check[part_check].eq(
                        write.check[part_check]
                        ^ encoder.check[part_check]
                        ^ Mux(decoder.uncorrectable[n] | raw, decoder.syndrome[part_check], 0)
                    ),
                ]
        m.d.comb += [
            decoder.raw.eq(raw),
            self.data.eq(decoder.fixed),
            self.uncorrectable.eq(decoder.uncorrectable),
            reporter.corrected.eq(decoder.corrected),
            reporter.uncorrectable.eq(decoder.uncorrectable),
            reporter.syndrome.eq(decoder.syndrome),
            reporter.row.eq(read_row),
            self.found.eq(reporter.found),
            self.report.eq(reporter.report),
        ]
        self._add_memory(
            m,
            row,
            enable=self.busy,
            writes=schedule.writes.any() & ~schedule.reads_row,
            words=write.words,
            value=(data, check),
            stored=(decoder.data, decoder.check),
        )

    def _add_memory(
        self,
        m: Module,
        row: Value,
        *,
        enable: Value,
        writes: Value,
        words: Value,
        value: tuple[Value, Value],
        stored: tuple[Value, Value],
        rows: int = 1,
        domain: str = "sync",
    ) -> None:
        """Add the memory: data and check bytes that are written, and those that are read."""
        m.submodules.memory = Instance(
            "d1_sram",
            p_LINES=self._params.bank_lines * rows,
            p_ADDRESS_BITS=len(row),
            i_clk=ClockSignal(domain),
            i_enable=enable,
            i_write=writes,
            i_line=row,
            i_words=words,
            i_data=value[0],
            i_check=value[1],
            o_q=stored[0],
            o_q_check=stored[1],
        )

    def _store_in_turns(self, m: Module, row: Signal, write: Any, schedule: BankSchedule) -> None:
        """Do with the words of each turn what `_store` does with all at once.

        A line of the memory has the words of a turn at its lower end. They are read in their turn,
        corrected in the one after and, for a write that merges, there once more three later: in
        their turn of the next cycle.
        """
        m.submodules.turns = turns = TurnCounter()
        m.submodules.decoder = decoder = EccDecoder(words=TURN_WORDS)
        m.submodules.encoder = encoder = EccEncoder(words=TURN_WORDS)
        m.submodules.reporter = reporter = EccReporter(self._params)
        reads = schedule.reads.any() | schedule.reads_row
        writes = schedule.writes.any() & ~schedule.reads_row
        stored, stored_check = Signal(8 * LINE_BYTES), Signal(CHECK_BITS * LINE_WORDS)
        read_row = Signal.like(row)
        m.d.sync += read_row.eq(row)
        m.d.comb += [
            decoder.data.eq(stored),
            decoder.check.eq(stored_check),
            decoder.raw.eq(delayed(m, write.raw & schedule.reads_row, 1, "raw")),
        ]
        old, wrong, corrected, syndrome = (
            delayed(m, value, TURNS - 1, name)
            for name, value in (
                ("old", decoder.fixed),
                ("wrong", decoder.uncorrectable),
                ("corrected", decoder.corrected),
                ("syndrome", decoder.syndrome),
            )
        )

        kept = masked_bytes(m, old, ~write.mask[: _WORD_BYTES * TURN_WORDS], "keep_bits")
        m.d.comb += encoder.data.eq(Cat(kept) & schedule.merges.replicate(len(encoder.data)))
        added = Cat(
            Mux(
                schedule.merges & (wrong[n] | write.raw),
                syndrome.word_select(n, CHECK_BITS),
                Const(0, CHECK_BITS),
            )
            for n in range(TURN_WORDS)
        )
        m.d.comb += [
            self.data.eq(decoder.fixed),
            self.uncorrectable.eq(decoder.uncorrectable),
            reporter.corrected.eq(collected(m, corrected, "corrected")),
            reporter.uncorrectable.eq(collected(m, wrong, "wrong")),
            reporter.syndrome.eq(collected(m, syndrome, "syndrome")),
            reporter.row.eq(read_row),
            self.found.eq(reporter.found),
            self.report.eq(reporter.report),
        ]
        self._add_memory(
            m,
            Cat(turns.number, row),
            enable=writes | reads,
            writes=writes,
            words=write.words[:TURN_WORDS] | Const(0, LINE_WORDS),
            value=(
                Cat(write.data[: len(encoder.data)] ^ encoder.data) | Const(0, len(stored)),
                (write.check[: len(encoder.check)] ^ encoder.check ^ added)
                | Const(0, len(stored_check)),
            ),
            stored=(stored, stored_check),
            rows=TURNS,
            domain="turn",
        )
