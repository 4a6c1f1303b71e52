"""Byte stuffer: frames to the bytes of the line."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.frame import ESCAPE, ESCAPE_BIT, FLAG

from .interfaces import LineByte

__all__ = ["ByteStuffer"]


class ByteStuffer(wiring.Component):
    """Marks the bytes of a frame that look like a flag or an escape, and ends it with a flag.

    Combinational but for what it remembers of a byte that becomes two; one byte per cycle out.

    Golden twin: `d1_golden.fpga.frame.encode`.

    Members
    -------
    i : In(stream.Signature(LineByte))
    o : Out(stream.Signature(8))
    """

    i: In(stream.Signature(LineByte))
    o: Out(stream.Signature(8))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        byte = self.i.payload.data
        escaped, closing, special = Signal(), Signal(), Signal()
        whole = escaped | ~special  # the byte is done with what is offered
        m.d.comb += [
            special.eq((byte == FLAG) | (byte == ESCAPE)),
            self.o.valid.eq(self.i.valid | closing),
            self.o.payload.eq(
                Mux(closing, FLAG, Mux(escaped, byte ^ ESCAPE_BIT, Mux(special, ESCAPE, byte)))
            ),
            self.i.ready.eq(self.o.ready & ~closing & whole),
        ]
        with m.If(self.o.ready & self.o.valid):
            m.d.sync += [
                closing.eq(~closing & whole & self.i.payload.last),
                escaped.eq(~closing & ~whole),
            ]
        return m
