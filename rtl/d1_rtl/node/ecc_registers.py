"""The registers of the SRAM's error correction, and what they set going."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.ecc import CHECK_BITS, DATA_BITS
from d1_golden.memory_map import LOCAL_BITS, EccRegister
from d1_golden.params import LINE_BYTES, NodeParams

from ..turns import TurnCounter
from .ecc import LINE_WORDS
from .ecc_log import EccLog
from .ecc_report import ecc_report_layout
from .interfaces import register_line
from .sram_write_port import TURN_WORDS, bank_write_layout

__all__ = ["EccRegisters"]

_WORD_BITS = (DATA_BITS // 8 - 1).bit_length()
_PLACE_BITS = (LINE_WORDS - 1).bit_length()
_INTERVAL_BITS = 32


class EccRegisters(wiring.Component):
    """Shows what the banks find, scrubs lines and flips bits.

    A write has its effect in the next cycle. Scrubbing and injection are writes to a bank, made
    one at a time, injections first: a scrubbed line is a write that changes no byte, so that the
    bank writes what it has corrected; an injection is one with `raw`. An injection that is written
    while the one before is not done is lost; `Sram` says how long that may take.

    Golden twin: `d1_golden.node.ecc_state`, which scrubs when it is told to, not by a clock.

    Parameters
    ----------
    params
        Number of banks and lines.

    Members
    -------
    found : In(params.sram_banks)
    reports : In(ecc_report_layout(params)).array(params.sram_banks)
        As of `EccLog`.
    registers : Out(8 x 64)
        What the registers (`EccRegister`) read; `EccLog` tells when a report shows.
    write : In(8)
        Bit n set: register n takes its word of `data`.
    data : In(8 x 64)
    o : Out(stream.Signature(bank_write_layout(params)))
        Scrubbing and injection, for the bank of the line.
    busy : Out(1)
        Something is counted, scrubbed or injected, or scrubbing is on.
    """

    found: Signal
    reports: Any
    registers: Any
    write: Signal
    data: Any
    o: Any
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "found": In(params.sram_banks),
                "reports": In(ecc_report_layout(params)).array(params.sram_banks),
                "registers": Out(register_line()),
                "write": In(len(EccRegister)),
                "data": In(register_line()),
                "o": Out(stream.Signature(bank_write_layout(params))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.log = log = EccLog(self._params)
        m.d.comb += log.found.eq(self.found)
        for report, logged in zip(self.reports, log.reports, strict=True):
            m.d.comb += logged.eq(report)
        inject_data, inject_check = Signal(DATA_BITS), Signal(CHECK_BITS)
        interval = Signal(_INTERVAL_BITS)
        m.d.comb += [
            log.clear_corrected.eq(self.write[EccRegister.LAST_CORRECTED]),
            log.clear_uncorrectable.eq(self.write[EccRegister.FIRST_UNCORRECTABLE]),
            self.registers[EccRegister.CORRECTED].eq(log.corrected),
            self.registers[EccRegister.UNCORRECTABLE].eq(log.uncorrectable),
            self.registers[EccRegister.LAST_CORRECTED].eq(log.last_corrected),
            self.registers[EccRegister.FIRST_UNCORRECTABLE].eq(log.first_uncorrectable),
        ]
        for register, signal in (
            (EccRegister.SCRUB_INTERVAL, interval),
            (EccRegister.INJECT_DATA, inject_data),
            (EccRegister.INJECT_CHECK, inject_check),
        ):
            m.d.comb += self.registers[register].eq(signal)
            with m.If(self.write[register]):
                m.d.sync += signal.eq(self.data[register])

        active, done = Signal(), Signal()  # a write to a bank is offered; it is taken
        injects = Signal()  # it is an injection
        injection, line = Signal(), Signal.like(self.o.payload.line)
        m.d.comb += [self.o.valid.eq(active), done.eq(active & self.o.ready)]
        word = self._inject(m, inject_data, inject_check, injection, injects=injects, done=done)
        self._offer(m, platform, injects, *word)
        scrub = self._scrub(m, interval, line, done & ~injects)
        with m.If(~active):
            m.d.sync += [active.eq(injection | scrub), injects.eq(injection)]
        with m.Elif(done):
            m.d.sync += active.eq(0)
        with m.If(active & ~injects):
            m.d.comb += self.o.payload.line.eq(line)
        m.d.comb += [
            self.o.payload.raw.eq(injects),
            self.o.payload.partial.eq(1),
            self.o.payload.words.eq(~0),
            self.busy.eq(log.busy | active | injection | scrub | interval.any()),
        ]
        return m

    def _inject(
        self,
        m: Module,
        data: Signal,
        check: Signal,
        injection: Signal,
        *,
        injects: Signal,
        done: Any,
    ) -> tuple[Signal, Signal, Signal]:
        """Keep an injection, whatever the registers become, until it is done.

        Return its word, and which bits it flips.
        """
        word = Signal(LOCAL_BITS - _WORD_BITS)
        flips_data, flips_check = Signal.like(data), Signal.like(check)
        address = self.data[EccRegister.INJECT_ADDRESS]
        with m.If(done & injects):
            m.d.sync += injection.eq(0)
        with m.If(
            self.write[EccRegister.INJECT_ADDRESS]
            & (address < self._params.sram_bytes)
            & ~injection
        ):
            m.d.sync += [injection.eq(1), word.eq(address >> _WORD_BITS)]
            for register, stored, flips in (
                (EccRegister.INJECT_DATA, data, flips_data),
                (EccRegister.INJECT_CHECK, check, flips_check),
            ):
                m.d.sync += flips.eq(Mux(self.write[register], self.data[register], stored))
        return word, flips_data, flips_check

    def _offer(
        self,
        m: Module,
        platform: object,
        injects: Signal,
        word: Signal,
        flips_data: Signal,
        flips_check: Signal,
    ) -> None:
        """Put an injection into its word of the line, on an FPGA in the turn of that."""
        payload = self.o.payload
        place: Value = word[:_PLACE_BITS]
        words = LINE_WORDS
        with m.If(injects):
            m.d.comb += payload.line.eq(word >> _PLACE_BITS)
            if platform is not None:
                m.submodules.turns = turns = TurnCounter()
                words = TURN_WORDS
                place = Mux(place // words == turns.number, place % words, words)
            with m.Switch(place):
                for number in range(words):
                    with m.Case(number):
                        m.d.comb += [
                            payload.data.word_select(number, DATA_BITS).eq(flips_data),
                            payload.check.word_select(number, CHECK_BITS).eq(flips_check),
                        ]

    def _scrub(self, m: Module, interval: Signal, line: Signal, done: Any) -> Signal:
        """Return whether `line` is to be scrubbed; go to the next one when it is done."""
        last_line = self._params.sram_bytes // LINE_BYTES - 1
        elapsed, due = Signal.like(interval), Signal()
        with m.If(done):
            m.d.sync += [due.eq(0), line.eq(Mux(line == last_line, 0, line + 1))]
        with m.If(interval.any()):
            m.d.sync += elapsed.eq(elapsed + 1)
            with m.If((elapsed + 1 >= interval) & ~(due & ~done)):
                m.d.sync += [elapsed.eq(0), due.eq(1)]
        with m.Else():
            m.d.sync += elapsed.eq(0)
        return due
