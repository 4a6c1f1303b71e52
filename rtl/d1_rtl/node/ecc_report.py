"""What the decoder of a bank found wrong in a row, in few bits."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.ecc import CHECK_BITS
from d1_golden.params import NodeParams

from .ecc import LINE_WORDS

__all__ = ["EccReporter", "WrongWord", "ecc_report_layout"]


class WrongWord(data.Struct):
    """A word of a row, and its syndrome."""

    word: range(LINE_WORDS)
    syndrome: CHECK_BITS


def ecc_report_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a report about a row of a bank.

    Members
    -------
    row : row number
    corrected, uncorrectable : range(9)
        Numbers of words.
    last_corrected, first_uncorrectable : WrongWord
        The highest and the lowest of them, if any.
    """
    count = range(LINE_WORDS + 1)
    return data.StructLayout(
        {
            "row": range(params.bank_lines),
            "corrected": count,
            "uncorrectable": count,
            "last_corrected": WrongWord,
            "first_uncorrectable": WrongWord,
        }
    )


class EccReporter(wiring.Component):
    """Counts the wrong words of a row and picks the one of each kind that is logged.

    Combinational.

    Golden twin: `d1_golden.node.ecc_state.check_line`.

    Parameters
    ----------
    params
        Number of rows.

    Members
    -------
    corrected, uncorrectable : In(8)
    syndrome : In(64)
        As from `EccDecoder`.
    row : In(row number)
    found : Out(1)
        Something is wrong. Otherwise `report` means nothing.
    report : Out(ecc_report_layout(params))
    """

    corrected: Signal
    uncorrectable: Signal
    syndrome: Signal
    row: Signal
    found: Signal
    report: Any

    def __init__(self, params: NodeParams):
        super().__init__(
            {
                "corrected": In(LINE_WORDS),
                "uncorrectable": In(LINE_WORDS),
                "syndrome": In(CHECK_BITS * LINE_WORDS),
                "row": In(range(params.bank_lines)),
                "found": Out(1),
                "report": Out(ecc_report_layout(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        report = self.report
        m.d.comb += [
            self.found.eq((self.corrected | self.uncorrectable).any()),
            report.row.eq(self.row),
        ]
        with m.If(self.found):
            m.d.comb += [
                report.corrected.eq(sum(self.corrected)),
                report.uncorrectable.eq(sum(self.uncorrectable)),
            ]
            for n in range(LINE_WORDS):  # of several assignments the last one counts
                self._log(m, self.corrected, n, report.last_corrected)
            for n in reversed(range(LINE_WORDS)):
                self._log(m, self.uncorrectable, n, report.first_uncorrectable)
        return m

    def _log(self, m: Module, found: Value, n: int, place: Any) -> None:
        with m.If(found[n]):
            m.d.comb += [
                place.word.eq(n),
                place.syndrome.eq(self.syndrome.word_select(n, CHECK_BITS)),
            ]
