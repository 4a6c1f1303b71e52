"""Receive window: packets of the line in order, each once."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.frame import SHAPED, SLOT_BYTES, WINDOW

from d1_rtl.node.interfaces import packet_layout

from .interfaces import FrameSignature, SlotWriteSignature
from .packet_unpacker import PacketUnpacker

__all__ = ["ReceiveWindow"]

_SLOT_BITS = (WINDOW - 1).bit_length()
_HALF = 7


class ReceiveWindow(wiring.Component):
    """Keeps the next packet in order when its frame is right, and hands packets out.

    The bytes of any frame go to the free slot; they count when `frame` tells so. A packet that is
    the only one is valid at `o` 180 cycles after its frame.

    Golden twin: the receiving half of `d1_golden.fpga.endpoint.End`.

    Members
    -------
    write : In(SlotWriteSignature())
    frame : In(FrameSignature())
    o : Out(stream.Signature(packet_layout()))
    taken : Out(8)
        Number of the packet to be taken next: what is to be acknowledged.
    acknowledge, reject : Out(1)
        The other end is to be told: `taken`, and that a packet is missing.
    """

    write: In(SlotWriteSignature())
    frame: In(FrameSignature())
    o: Out(stream.Signature(packet_layout()))
    #: Number of the packet to be taken next: what is to be acknowledged.
    taken: Out(8)
    #: The other end is to be told `taken`; ...
    acknowledge: Out(1)
    #: ... and that a packet is missing.
    reject: Out(1)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        expected, farthest = Signal(8), Signal(_HALF)
        slots: Any = Memory(shape=8, depth=WINDOW * SLOT_BYTES, init=[])
        m.submodules.slots = slots
        writes, reads = slots.write_port(), slots.read_port()
        m.submodules.unpacker = unpacker = PacketUnpacker()
        wiring.connect(m, unpacker.o, wiring.flipped(self.o))
        took, has_room, had_room = Signal(), Signal(), Signal()
        m.d.comb += [
            has_room.eq((expected - self.taken)[:8] != WINDOW),
            writes.addr.eq(Cat(self.write.offset, expected[:_SLOT_BITS])),
            writes.data.eq(self.write.data),
            writes.en.eq(self.write.en & has_room),
            reads.addr.eq(Cat(unpacker.read.offset, self.taken[:_SLOT_BITS])),
            reads.en.eq(unpacker.read.en),
            unpacker.read.data.eq(reads.data),
            unpacker.available.eq(expected != self.taken),
            took.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += self.taken.eq(self.taken + took)
        with m.If(self.write.en & (self.write.offset == 0)):
            m.d.sync += had_room.eq(has_room)
        header: Any = self.frame.header
        ahead = Signal(8)
        m.d.comb += [ahead.eq(header.sequence - expected), self.acknowledge.eq(took)]
        with m.If(self.frame.valid & ((header.kind & SHAPED) != 0)):
            with m.If((ahead == 0) & had_room):
                m.d.sync += [expected.eq(expected + 1), farthest.eq(0)]
            with m.Else():
                m.d.comb += self.acknowledge.eq(1)
                with m.If((ahead != 0) & ~ahead[_HALF]):
                    # As in golden: see there.
                    m.d.comb += self.reject.eq((farthest == 0) | (ahead <= farthest))
                    m.d.sync += farthest.eq(ahead)
        return m
