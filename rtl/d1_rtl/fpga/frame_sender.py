"""Frame sender: what is owed to the host as frames."""

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.frame import (
    CRC_BYTES,
    FIXED_BYTES,
    GROUPS,
    SESSION_BYTES,
    SLOT_BYTES,
    WINDOW,
    Kind,
)
from d1_golden.serdes.crc32c import CRC_BITS, PRESET

from d1_rtl.serdes.crc32c import byte_step

from .interfaces import LineByte, SlotReadSignature, header_layout

__all__ = ["FrameSender"]


class _Place(enum.Enum, shape=2):
    """Where in a frame a byte is."""

    KIND = 0
    SEQUENCE = 1
    ACKNOWLEDGE = 2
    PAYLOAD = 3


class FrameSender(wiring.Component):
    """Chooses the next frame and gives its bytes, the CRC at the end: at most one in two cycles.

    First what opens a session, then a rejection, packets, and acknowledgements. Every frame
    acknowledges with what `taken` is when it begins.

    Golden twin: `d1_golden.fpga.endpoint.End.next_frame`.

    Members
    -------
    session : In(32)
    taken : In(8)
    opened, reject, acknowledge : In(1)
        From now on a frame of this kind is owed.
    clear : In(1)
        A session begins: nothing else is owed, and no frame begins.
    available : In(1)
    sequence : In(8)
    start : Out(1)
        The packet `sequence` begins on its way.
    slot : Out(range(WINDOW))
    read : Out(SlotReadSignature())
    o : Out(stream.Signature(LineByte))
    """

    #: Number of the session.
    session: In(8 * SESSION_BYTES)
    #: What is acknowledged.
    taken: In(8)
    #: From now on a frame that opens is owed.
    opened: In(1)
    #: ... that rejects.
    reject: In(1)
    #: ... that acknowledges.
    acknowledge: In(1)
    #: A session begins: nothing else is owed, and no frame begins.
    clear: In(1)
    #: There is a packet to send.
    available: In(1)
    #: Its number.
    sequence: In(8)
    #: It begins on its way.
    start: Out(1)
    #: Its slot.
    slot: Out(range(WINDOW))
    read: Out(SlotReadSignature())
    o: Out(stream.Signature(LineByte))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        owes_open, owes_reject, owes_acknowledge = Signal(), Signal(), Signal()
        header: Any = Signal(header_layout())
        crc, is_packet = Signal(CRC_BITS), Signal()
        place = Signal(_Place)
        offset, last = Signal(range(SLOT_BYTES)), Signal(range(SLOT_BYTES))  # in the slot
        output: Any = self.o.payload
        chooses, owes_any = ~self.clear, owes_open | owes_reject | self.available | owes_acknowledge
        m.d.comb += [self.slot.eq(header.sequence), self.read.offset.eq(offset)]
        with m.FSM():
            with m.State("CHOOSE"):
                m.d.comb += self.start.eq(chooses & ~owes_open & ~owes_reject & self.available)
                m.d.sync += [
                    header.kind.eq(
                        Mux(
                            owes_open,
                            Kind.OPEN,
                            Mux(owes_reject, Kind.REJECT, Kind.ACKNOWLEDGE),
                        )
                    ),
                    header.sequence.eq(self.sequence),
                    header.acknowledge.eq(self.taken),
                    is_packet.eq(self.start),
                    place.eq(_Place.KIND),
                    offset.eq(0),
                    last.eq(Mux(owes_open, SESSION_BYTES, 0)),
                    crc.eq(Mux(owes_open, PRESET, self.session)),
                ]
                with m.If(chooses & owes_any):
                    m.d.sync += [owes_open.eq(0), owes_reject.eq(0), owes_acknowledge.eq(0)]
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read.en.eq(1)
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += crc.eq(byte_step(crc, output.data))
                    m.next = "READ"
                self._content(m, header, is_packet, place, offset, last)
                with m.If(self.o.ready & _is_end(place, offset, last)):
                    m.d.sync += offset.eq(0)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    output.data.eq(~crc[:8]),
                    output.last.eq(offset == CRC_BYTES - 1),
                ]
                with m.If(self.o.ready):
                    m.d.sync += [crc.eq(crc >> 8), offset.eq(offset + 1)]
                    with m.If(output.last):
                        m.next = "CHOOSE"
        with m.If(self.opened):
            m.d.sync += owes_open.eq(1)
        with m.If(self.reject):
            m.d.sync += owes_reject.eq(1)
        with m.If(self.acknowledge):
            m.d.sync += owes_acknowledge.eq(1)
        with m.If(self.clear):
            m.d.sync += [owes_reject.eq(0), owes_acknowledge.eq(0)]
        return m

    def _content(
        self,
        m: Module,
        header: Any,
        is_packet: Signal,
        place: Any,
        offset: Signal,
        last: Signal,
    ) -> None:
        """Give the byte at a place of the frame before its CRC, and go on when it is taken."""
        output: Any = self.o.payload
        # Offset 0 is the kind, so the first byte of the number is at 1.
        numbers = Array(self.session.word_select(n, 8) for n in (3, 0, 1, 2))
        with m.Switch(place):
            with m.Case(_Place.KIND):
                m.d.comb += output.data.eq(Mux(is_packet, self.read.data, header.kind))
                with m.If(self.o.ready):
                    m.d.sync += place.eq(_Place.SEQUENCE)
                    with m.If(is_packet):
                        m.d.sync += last.eq(_packed_bytes(self.read.data) - 1)
            with m.Case(_Place.SEQUENCE):
                m.d.comb += output.data.eq(header.sequence)
                with m.If(self.o.ready):
                    m.d.sync += place.eq(_Place.ACKNOWLEDGE)
            with m.Case(_Place.ACKNOWLEDGE):
                m.d.comb += output.data.eq(header.acknowledge)
                with m.If(self.o.ready):
                    m.d.sync += [place.eq(_Place.PAYLOAD), offset.eq(1)]
            with m.Case(_Place.PAYLOAD):
                number = numbers[offset[:2]]
                m.d.comb += output.data.eq(Mux(is_packet, self.read.data, number))
                with m.If(self.o.ready):
                    m.d.sync += offset.eq(offset + 1)


def _is_end(place: Any, offset: Signal, last: Signal) -> Value:
    """Tell whether the byte is the last before the CRC."""
    is_short = (place == _Place.ACKNOWLEDGE) & (last == 0)
    return is_short | ((place == _Place.PAYLOAD) & (offset == last))


def _packed_bytes(shape: Value) -> Value:
    """Return the bytes of a packed packet. Golden twin: `d1_golden.fpga.frame.packed_bytes`."""
    return sum((Mux(shape[n], g.count, 0) for n, g in enumerate(GROUPS)), Const(FIXED_BYTES))
