"""Row sealer: puts the CRC into control words."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.crc32c import CRC_BITS
from d1_golden.serdes.params import LinkParams

from .blocks import row_layout
from .crc32c import Crc32c
from .link_words import RowKind, first_row_layout, row_kind

__all__ = ["RowSealer"]


class RowSealer(wiring.Component):
    """Passes rows on and puts the CRC of a frame or status row into its last word.

    Latency 3 cycles, one row per cycle, as long as rows are taken; all stand still while the
    output is not. `o` comes straight from a register, `pull` from it and `o.ready`.

    Golden twin: `d1_golden.serdes.link_layer`, `_transmit` and `_seal`.

    Parameters
    ----------
    params
        The lanes.

    Members
    -------
    row : In(first_row_layout(params))
    valid : In(1)
        There is a row.
    pull : Out(1)
        It is taken, if there is one.
    o : Out(stream.Signature(row_layout(params)))
    session : In(32)
        Both session numbers, the own one lowest.
    """

    row: Any
    valid: Signal
    pull: Signal
    o: Any
    session: Signal

    def __init__(self, params: LinkParams):
        self._params = params
        super().__init__(
            {
                "row": In(first_row_layout(params)),
                "valid": In(1),
                "pull": Out(1),
                "o": Out(stream.Signature(row_layout(params))),
                "session": In(CRC_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.crc = crc = Crc32c(self._params)
        # A row is taken over, its words' contributions are there, its CRC is.
        rows: list[Any] = [Signal(first_row_layout(self._params), name=f"row_{n}") for n in (1, 2)]
        valid = [Signal(name=f"valid_{n}") for n in (1, 2)]
        kind = Signal(RowKind)
        row, out = rows[1].row, self.o.payload
        m.d.comb += [
            self.pull.eq(~self.o.valid | self.o.ready),
            kind.eq(row_kind(row.controls)),
            crc.words.eq(rows[0].row.words),
            crc.load.eq(self.pull),
            crc.first.eq(rows[1].first),
            crc.session.eq(Mux(kind == RowKind.STATUS, 0, self.session)),
            crc.keep.eq(self.pull & valid[1]),
        ]
        with m.If(self.pull):
            m.d.sync += [
                Cat(valid, self.o.valid).eq(Cat(self.valid, valid)),
                rows[0].eq(self.row),
                rows[1].eq(rows[0]),
                out.eq(row),
            ]
            with m.If(kind != RowKind.DATA):
                m.d.sync += out.words[-1][-CRC_BITS:].eq(~crc.value)
        return m
