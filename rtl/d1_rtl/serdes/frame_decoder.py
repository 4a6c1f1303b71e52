"""Frame decoder: rows to packets and what control words say."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.crc32c import CRC_BITS
from d1_golden.serdes.frame import packet_row
from d1_golden.serdes.params import LinkParams

from ..node.interfaces import packet_layout
from .blocks import received_row_layout
from .crc32c import Crc32c
from .link_words import HeardKind, RowKind, heard_layout, row_kind

__all__ = ["FrameDecoder"]


class FrameDecoder(wiring.Component):
    """Takes rows apart and checks them.

    Packets are shown as soon as their last word is there, in the cycle after its row; whether
    they are good is known with `heard`, two cycles after the frame's last row.

    Golden twin: `d1_golden.serdes.link_layer`, `_check_row`.

    Parameters
    ----------
    params
        Lanes, and packets of a frame.

    Members
    -------
    i : In(stream.Signature(received_row_layout(params), always_ready=True))
    session : In(32)
        Both session numbers, the other end's lowest.
    o : Out(stream.Signature(packet_layout(), always_ready=True))
        Packets that are not checked yet.
    heard : Out(heard_layout())
    bad_row : Out(1)
        A row was no row.
    """

    i: Any
    session: Signal
    o: Any
    heard: Any
    bad_row: Signal

    def __init__(self, params: LinkParams):
        self._params = params
        super().__init__(
            {
                "i": In(stream.Signature(received_row_layout(params), always_ready=True)),
                "session": In(CRC_BITS),
                "o": Out(stream.Signature(packet_layout(), always_ready=True)),
                "heard": Out(heard_layout()),
                "bad_row": Out(1),
            }
        )
        self._count = Signal(range(params.frame_rows + 1))  # rows of the frame so far
        self._broken = Signal()  # one of them was bad

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.crc = crc = Crc32c(self._params)
        row: Any = Signal(received_row_layout(self._params))
        valid, is_frame, first = Signal(), Signal(), Signal()
        kind = Signal(RowKind)
        m.d.sync += valid.eq(self.i.valid)
        with m.If(self.i.valid):
            m.d.sync += row.eq(self.i.payload)
        m.d.comb += [
            kind.eq(Mux(row.errors.any(), RowKind.BAD, row_kind(row.row.controls))),
            is_frame.eq((kind == RowKind.DATA) | (kind == RowKind.LAST)),
            self.bad_row.eq(valid & (kind == RowKind.BAD)),
            first.eq((self._count == 0) | (kind == RowKind.STATUS)),
            crc.words.eq(self.i.payload.row.words),
            crc.load.eq(self.i.valid),
            crc.first.eq(first),
            crc.session.eq(Mux(kind == RowKind.STATUS, 0, self.session)),
            crc.keep.eq(valid),
        ]
        with m.If(valid), m.Switch(kind):
            with m.Case(RowKind.BAD):
                m.d.sync += self._broken.eq(1)
            with m.Case(RowKind.DATA):
                with m.If(self._count != self._params.frame_rows):
                    m.d.sync += self._count.eq(self._count + 1)
            with m.Default():
                m.d.sync += [self._count.eq(0), self._broken.eq(0)]
        self._unpack(m, row.row.words, shown=valid & is_frame & ~self._broken, kept=valid)
        self._hear(m, row.row.words, kind, valid, crc.value.all())
        return m

    def _unpack(self, m: Module, words: Any, *, shown: Value, kept: Value) -> None:
        """Show a packet in the row with its last word."""
        lanes, length = self._params.lanes, self._params.packet_words
        ends = {
            ((slot + 1) * length - 1) // lanes: slot for slot in range(self._params.packet_slots)
        }
        spanned = max(end - packet_row(self._params, slot) for end, slot in ends.items())
        earlier: list[Any] = [Signal(words.shape(), name=f"earlier_{n}") for n in range(spanned)]
        with m.If(kept):
            for row, newer in zip(earlier, [words, *earlier], strict=False):
                m.d.sync += row.eq(newer)
        window = [word for row in [*reversed(earlier), words] for word in row]
        with m.Switch(self._count):
            for end, slot in ends.items():
                with m.Case(end):
                    begin = slot * length - (end - spanned) * lanes
                    m.d.comb += [
                        self.o.valid.eq(shown),
                        self.o.payload.eq(Cat(window[begin : begin + length])),
                    ]

    def _hear(self, m: Module, words: Any, kind: Value, valid: Value, good: Value) -> None:
        """Say what has come to its end."""
        packets = Signal(range(self._params.packet_slots + 1))
        with m.Switch(self._count):
            for slots in range(1, self._params.packet_slots + 1):
                with m.Case(packet_row(self._params, slots)):
                    m.d.comb += packets.eq(Mux(self._broken, 0, slots))
        heard = self.heard
        m.d.sync += heard.kind.eq(HeardKind.NOTHING)
        with m.If(valid & (kind == RowKind.STATUS)):
            m.d.sync += heard.kind.eq(Mux(good, HeardKind.STATUS, HeardKind.BAD))
        with m.If(valid & (kind == RowKind.LAST)):
            m.d.sync += heard.kind.eq(Mux(good & (packets != 0), HeardKind.FRAME, HeardKind.BAD))
        with m.If(valid):
            m.d.sync += [
                heard.status.eq(words[0]),
                heard.control.eq(words[-1]),
                heard.packets.eq(packets),
            ]
