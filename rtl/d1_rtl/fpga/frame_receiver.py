"""Frame receiver: the bytes of the line to frames."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.frame import (
    CRC_BYTES,
    ESCAPE,
    ESCAPE_BIT,
    FLAG,
    HEADER_BYTES,
    RESIDUE,
    SESSION_BYTES,
    SLOT_BYTES,
    Kind,
)
from d1_golden.serdes.crc32c import CRC_BITS, PRESET

from d1_rtl.serdes.crc32c import byte_step

from .interfaces import FrameSignature, SlotWriteSignature

__all__ = ["FrameReceiver"]

_SHORTEST = HEADER_BYTES + CRC_BYTES


class FrameReceiver(wiring.Component):
    """Undoes the stuffing, checks the CRC, and says what each frame is.

    The bytes of a packet go out as they come, kind first; only when `frame.valid` tells of the
    frame they are known to be right. The CRC follows them. One byte per cycle; latency 1 cycle.

    Golden twin: `d1_golden.fpga.frame.decode`.

    Members
    -------
    i : In(stream.Signature(8, always_ready=True))
    session : In(32)
        Number of the session, with which the CRC starts.
    write : Out(SlotWriteSignature())
    frame : Out(FrameSignature())
    discarded : Out(1)
        Bytes before a flag were no frame of the session.
    """

    i: In(stream.Signature(8, always_ready=True))
    #: Number of the session, with which the CRC starts.
    session: In(8 * SESSION_BYTES)
    write: Out(SlotWriteSignature())
    frame: Out(FrameSignature())
    #: Bytes before a flag were no frame of the session.
    discarded: Out(1)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        escaped, is_flag, is_escape = Signal(), Signal(), Signal()
        byte, crc, before = Signal(8), Signal(CRC_BITS), Signal(CRC_BITS)
        count = Signal(range(SLOT_BYTES + HEADER_BYTES))  # bytes of the frame so far, stays at most
        header: Any = self.frame.header
        is_first, in_payload = count == 0, Signal()
        m.d.comb += [
            is_flag.eq(self.i.payload == FLAG),
            is_escape.eq((self.i.payload == ESCAPE) & ~escaped),
            byte.eq(self.i.payload ^ Mux(escaped, ESCAPE_BIT, 0)),
            in_payload.eq((count >= HEADER_BYTES) & (count < SLOT_BYTES)),
            before.eq(
                Mux(is_first, Mux(byte == Kind.OPEN, PRESET, self.session), crc),
            ),
            self.write.en.eq(self.i.valid & ~is_flag & ~is_escape & (is_first | in_payload)),
            self.write.offset.eq(Mux(is_first, 0, count - (HEADER_BYTES - 1))),
            self.write.data.eq(byte),
        ]
        m.d.sync += [self.frame.valid.eq(0), self.discarded.eq(0)]
        with m.If(self.i.valid & is_flag):
            good = (count >= _SHORTEST) & (crc == RESIDUE) & ~escaped
            m.d.sync += [
                self.frame.valid.eq(good),
                self.discarded.eq(~good & (~is_first | escaped)),
                count.eq(0),
                escaped.eq(0),
            ]
        with m.Elif(self.i.valid & is_escape):
            m.d.sync += escaped.eq(1)
        with m.Elif(self.i.valid):
            m.d.sync += [escaped.eq(0), crc.eq(byte_step(before, byte))]
            with m.If(count < SLOT_BYTES):
                m.d.sync += count.eq(count + 1)
            with m.If(count < HEADER_BYTES):
                m.d.sync += header.eq(Cat(header.as_value()[8:], byte))
            with m.Elif(count < HEADER_BYTES + SESSION_BYTES):
                m.d.sync += self.frame.session.eq(Cat(self.frame.session[8:], byte))
        return m
