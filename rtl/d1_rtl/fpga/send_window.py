"""Send window: packets that wait for the line or for their acknowledgement."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.frame import SLOT_BYTES, WINDOW, Kind

from d1_rtl.node.interfaces import packet_layout

from .interfaces import FrameSignature, SlotReadSignature
from .packet_packer import PacketPacker

__all__ = ["SendWindow"]

_SLOT_BITS = (WINDOW - 1).bit_length()


class SendWindow(wiring.Component):
    """Keeps packets until they are acknowledged, and says which one is to be sent next.

    It goes back to the oldest when it is rejected, and when nothing was sent or acknowledged for
    `patience` cycles. A packet is taken in 100 cycles.

    Golden twin: the sending half of `d1_golden.fpga.endpoint.End`.

    Parameters
    ----------
    patience
        Cycles, at least 1.

    Members
    -------
    i : In(stream.Signature(packet_layout()))
    frame : In(FrameSignature())
    available : Out(1)
        There is a packet to send: that of `sequence`.
    sequence : Out(8)
    start : In(1)
        It begins on its way in this cycle.
    slot : In(range(WINDOW))
    read : In(SlotReadSignature())
        Bytes of the slot, one cycle later.

    Raises
    ------
    ValueError
        If `patience` is less than 1.
    """

    i: In(stream.Signature(packet_layout()))
    frame: In(FrameSignature())
    #: There is a packet to send: ...
    available: Out(1)
    #: ... that of this number.
    sequence: Out(8)
    #: It begins on its way in this cycle.
    start: In(1)
    #: Whose bytes are read.
    slot: In(range(WINDOW))
    #: Bytes of the slot, one cycle later.
    read: In(SlotReadSignature())

    def __init__(self, *, patience: int):
        if patience < 1:
            raise ValueError(f"patience must be at least 1, not {patience!r}")
        self._patience = patience
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        base, head = Signal(8), Signal(8)  # the oldest that is kept, and the next that comes
        kept, gone = Signal(8), Signal(8)
        slots: Any = Memory(shape=8, depth=WINDOW * SLOT_BYTES, init=[])
        m.submodules.slots = slots
        writes, reads = slots.write_port(), slots.read_port()
        m.submodules.packer = packer = PacketPacker()
        wiring.connect(m, wiring.flipped(self.i), packer.i)
        m.d.comb += [
            kept.eq(head - base),
            packer.room.eq(kept != WINDOW),
            writes.addr.eq(Cat(packer.write.offset, head[:_SLOT_BITS])),
            writes.data.eq(packer.write.data),
            writes.en.eq(packer.write.en),
            reads.addr.eq(Cat(self.read.offset, self.slot)),
            reads.en.eq(self.read.en),
            self.read.data.eq(reads.data),
            self.available.eq(self.sequence != head),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += head.eq(head + 1)
        header: Any = self.frame.header
        following, acknowledged, waited = Signal(8), Signal(8), Signal(range(self._patience))
        acknowledges, expired = Signal(), waited == self._patience - 1
        m.d.comb += [
            following.eq(self.sequence + self.start),
            gone.eq(following - base),
            acknowledged.eq(header.acknowledge - base),
            acknowledges.eq(self.frame.valid & (header.kind != Kind.OPEN) & (acknowledged <= kept)),
        ]
        m.d.sync += [
            self.sequence.eq(Mux(expired, base, following)),
            waited.eq(Mux((gone == 0) | self.start | expired, 0, waited + 1)),
        ]
        with m.If(acknowledges):
            m.d.sync += base.eq(header.acknowledge)
            with m.If((header.kind == Kind.REJECT) | (acknowledged > gone)):
                m.d.sync += self.sequence.eq(header.acknowledge)
            with m.Else():
                m.d.sync += self.sequence.eq(following)
            with m.If(acknowledged != 0):
                m.d.sync += waited.eq(0)
        return m
