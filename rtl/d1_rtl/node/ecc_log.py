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
    reports : In(ecc_report_layout(params)).array(params.sram_banks)
    corrected, uncorrectable : Out(64)
        Words found since reset.
    last_corrected, first_uncorrectable : Out(LogEntry)
    clear_corrected, clear_uncorrectable : In(1)
        Empty the entry.
    busy : Out(1)
        Something was found that does not show yet.
    """

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
        valid = Cat(report.valid for report in self.reports)
        found = Signal(len(self.reports))
        kept: list[Any] = [
            Signal.like(report, name=f"report_{n}") for n, report in enumerate(self.reports)
        ]
        m.d.sync += found.eq(valid)
        for report, register in zip(self.reports, kept, strict=True):
            with m.If(report.valid):
                m.d.sync += register.eq(report)
        m.d.comb += self.busy.eq((valid | found).any())

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
                with m.If(found[n] & register.corrected.any()):
                    m.d.sync += self.last_corrected.eq(
                        self._entry(n, register.row, register.last_corrected)
                    )
            for n, register in reversed([*enumerate(kept)]):
                with m.If(found[n] & register.uncorrectable.any() & first_is_free):
                    m.d.sync += self.first_uncorrectable.eq(
                        self._entry(n, register.row, register.first_uncorrectable)
                    )
        return m

    def _entry(self, bank: int, row: Value, wrong: Any) -> Value:
        """Return the bits of a log entry."""
        banks = self._params.sram_banks
        word = Cat(wrong.word, Const(bank, (banks - 1).bit_length()), row)
        fields = {"word": word, "syndrome": wrong.syndrome, "valid": Const(1, 1)}
        layout = data.Layout.cast(LogEntry)
        return Cat(
            (fields.get(name, Const(0)) | Const(0, field.width))[: field.width]
            for name, field in layout
        )
