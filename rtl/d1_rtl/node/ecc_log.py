"""Counts and addresses of the wrong words that the banks of the SRAM find."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.ecc import CHECK_BITS
from d1_golden.params import NodeParams

from .ecc_report import ecc_report_layout

__all__ = ["EccLog", "LogEntry"]


class LogEntry(data.Struct):
    """A wrong word, as `d1_golden.memory_map.EccRegister` describes it; all zero if there is none.

    `word` is the number of the 64-bit word, so that with `zero` before it there is an address.
    """

    zero: 3
    word: 32 - 3
    syndrome: CHECK_BITS
    reserved: 63 - 32 - CHECK_BITS
    valid: 1


class EccLog(wiring.Component):
    """Counts wrong words, and keeps the newest corrected and the first uncorrectable one.

    What a bank reports in a cycle shows two cycles later. Of words found in one cycle the one in
    the highest bank is the newest, the one in the lowest the first. Clearing an entry empties it
    in the next cycle, unless one is to be logged just then.

    Golden twin: `d1_golden.node.ecc_state.check_line`.

    Parameters
    ----------
    params
        Number of banks and lines.

    Members
    -------
    found : In(params.sram_banks)
    reports : In(ecc_report_layout(params)).array(params.sram_banks)
        Of the banks whose bit in `found` is set.
    corrected, uncorrectable : Out(64)
        Words found since reset.
    last_corrected, first_uncorrectable : Out(LogEntry)
    clear_corrected, clear_uncorrectable : In(1)
        Empty the entry.
    busy : Out(1)
        Something was found that does not show yet.
    """

    found: Signal
    reports: Any
    corrected: Signal
    uncorrectable: Signal
    last_corrected: Any
    first_uncorrectable: Any
    clear_corrected: Signal
    clear_uncorrectable: Signal
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "found": In(params.sram_banks),
                "reports": In(ecc_report_layout(params)).array(params.sram_banks),
                "corrected": Out(64),
                "uncorrectable": Out(64),
                "last_corrected": Out(LogEntry),
                "first_uncorrectable": Out(LogEntry),
                "clear_corrected": In(1),
                "clear_uncorrectable": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        found = Signal.like(self.found)  # in the cycle before
        kept: list[Any] = [
            Signal.like(report, name=f"report_{n}") for n, report in enumerate(self.reports)
        ]
        m.d.sync += found.eq(self.found)
        for now, report, register in zip(self.found, self.reports, kept, strict=True):
            with m.If(now):
                m.d.sync += register.eq(report)
        m.d.comb += self.busy.eq((self.found | found).any())

        with m.If(self.clear_corrected):
            m.d.sync += self.last_corrected.eq(0)
        with m.If(self.clear_uncorrectable):
            m.d.sync += self.first_uncorrectable.eq(0)
        first_is_free = self.clear_uncorrectable | ~self.first_uncorrectable.valid
        with m.If(found.any()):
            for total in ("corrected", "uncorrectable"):
                counts = (Mux(found[n], register[total], 0) for n, register in enumerate(kept))
                m.d.sync += getattr(self, total).eq(
                    sum(counts, start=Const(0)) + getattr(self, total)
                )
            # Of several assignments the last one counts.
            for n, register in enumerate(kept):
                entry = self._entry(m, n, register.row, register.last_corrected)
                with m.If(found[n] & register.corrected.any()):
                    m.d.sync += self.last_corrected.eq(entry)
            for n, register in reversed([*enumerate(kept)]):
                entry = self._entry(m, n, register.row, register.first_uncorrectable)
                with m.If(found[n] & register.uncorrectable.any() & first_is_free):
                    m.d.sync += self.first_uncorrectable.eq(entry)
        return m

    def _entry(self, m: Module, bank: int, row: Value, wrong: Any) -> Any:
        """Return the log entry of a word of a bank."""
        entry: Any = Signal(LogEntry)
        bank_number = Const(bank, (self._params.sram_banks - 1).bit_length())
        m.d.comb += [
            entry.word.eq(Cat(wrong.word, bank_number, row)),
            entry.syndrome.eq(wrong.syndrome),
            entry.valid.eq(1),
        ]
        return entry
