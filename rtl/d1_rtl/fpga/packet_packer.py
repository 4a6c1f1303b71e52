"""Packet packer: a packet to the bytes of a slot."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.frame import ALL_ONES, GROUPS, MASK_GROUP, PACKET_BYTES, SHAPED, SLOT_BYTES

from d1_rtl.node.interfaces import packet_layout

from .interfaces import SlotWriteSignature

__all__ = ["PacketPacker"]

#: Bits of the words in which a packet is read, and of the place of a byte in one.
_WORD, _OFFSET_BITS = 64, 3


class PacketPacker(wiring.Component):
    """Writes a packet to a slot without its groups of zeros.

    It goes through the packet byte by byte and takes a group back at its end when it was zero. The
    packet is taken in the last of 100 cycles, in which `write` writes its shape.

    Golden twin: `d1_golden.fpga.frame.pack`.

    Members
    -------
    i : In(stream.Signature(packet_layout()))
    room : In(1)
        There is a slot to write to; it stays until `i` is taken.
    write : Out(SlotWriteSignature())
    """

    i: In(stream.Signature(packet_layout()))
    #: There is a slot to write to; it stays until `i` is taken.
    room: In(1)
    write: Out(SlotWriteSignature())

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        payload: Any = self.i.payload
        packet, byte = payload.as_value(), Signal(8)
        # A word is copied and then shifted: a third of what a choice among all bytes would take.
        word, has_word = Signal(_WORD), Signal()
        place = Signal(range(PACKET_BYTES + 1))  # of the byte; after the last comes the shape
        shape = Signal(8)
        offset, group_offset = Signal(range(SLOT_BYTES), init=1), Signal(range(SLOT_BYTES))
        zeros, ones, was_zeros, was_ones = Signal(), Signal(), Signal(), Signal()
        is_first, packs, is_shape = Signal(), Signal(), place == PACKET_BYTES
        waits = self.i.valid & self.room & ~has_word
        m.d.comb += [
            packs.eq(has_word),
            byte.eq(word[:8]),
            zeros.eq((byte == 0) & (was_zeros | is_first)),
            ones.eq((byte == 0xFF) & (was_ones | is_first)),
            self.write.en.eq(packs | (waits & is_shape)),
            self.write.offset.eq(offset),
            self.write.data.eq(byte),
        ]
        with m.If(waits & ~is_shape):
            m.d.sync += has_word.eq(1)
            with m.Switch(place[_OFFSET_BITS:]):
                for n in range(PACKET_BYTES * 8 // _WORD):
                    with m.Case(n):
                        m.d.sync += word.eq(packet.word_select(n, _WORD))
        with m.If(packs):
            m.d.sync += [
                word.eq(word >> 8),
                has_word.eq(~place[:_OFFSET_BITS].all()),
                place.eq(place + 1),
                offset.eq(offset + 1),
                was_zeros.eq(zeros),
                was_ones.eq(ones),
            ]
        with m.Switch(place):
            for group in GROUPS:
                with m.Case(group.first):
                    m.d.comb += is_first.eq(1)
                    m.d.sync += group_offset.eq(offset)
        with m.If(packs), m.Switch(place):
            for number, group in enumerate(GROUPS):
                start = offset if group.count == 1 else group_offset
                with m.Case(group.first + group.count - 1):
                    with m.If(zeros):
                        m.d.sync += offset.eq(start)
                    with m.Elif(ones if number == MASK_GROUP else 0):
                        m.d.sync += [offset.eq(start), shape.eq(shape | ALL_ONES)]
                    with m.Else():
                        m.d.sync += shape[number].eq(1)
        with m.If(waits & is_shape):
            m.d.comb += [
                self.i.ready.eq(1),
                self.write.offset.eq(0),
                self.write.data.eq(shape | SHAPED),
            ]
            m.d.sync += [place.eq(0), offset.eq(1), shape.eq(0)]
        return m
