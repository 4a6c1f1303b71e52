"""Packet unpacker: the bytes of a slot to a packet."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.frame import ALL_ONES, GROUPS, MASK_GROUP, PACKET_BYTES, SLOT_BYTES

from d1_rtl.node.interfaces import packet_layout

from .interfaces import SlotReadSignature

__all__ = ["PacketUnpacker"]


class PacketUnpacker(wiring.Component):
    """Reads a packed packet and offers it whole.

    Two cycles a byte of the packet: it is valid 178 cycles after `available` rises, while the
    shortest frame takes 600 cycles on the line.

    Golden twin: `d1_golden.fpga.frame.unpack`.

    Members
    -------
    available : In(1)
        There is a packet in the slot; it stays until `o` is taken.
    read : Out(SlotReadSignature())
    o : Out(stream.Signature(packet_layout()))
    """

    #: There is a packet in the slot; it stays until `o` is taken.
    available: In(1)
    read: Out(SlotReadSignature())
    o: Out(stream.Signature(packet_layout()))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        payload: Any = self.o.payload
        packet = payload.as_value()
        place = Signal(range(PACKET_BYTES))  # of the byte of the packet that is next
        shape, offset, byte = Signal(8), Signal(range(SLOT_BYTES)), Signal(8)
        present, filling = Signal(init=1), Signal(8)
        for number, group in enumerate(GROUPS):
            with m.If((place >= group.first) & (place < group.first + group.count)):
                m.d.comb += present.eq(shape[number])
                if number == MASK_GROUP:
                    m.d.comb += filling.eq(Mux((shape & ALL_ONES) != 0, 0xFF, 0))
        m.d.comb += [
            self.read.offset.eq(offset),
            byte.eq(Mux(present, self.read.data, filling)),
        ]
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += self.read.en.eq(self.available)
                m.d.sync += [offset.eq(0), place.eq(0)]
                with m.If(self.available & (offset == 0)):
                    m.d.sync += offset.eq(1)
                    m.next = "SHAPE"
            with m.State("SHAPE"):
                m.d.sync += shape.eq(self.read.data)
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read.en.eq(1)
                m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.sync += [
                    packet.eq(Cat(packet[8:], byte)),
                    offset.eq(offset + present),
                    place.eq(place + 1),
                ]
                m.next = "READ"
                with m.If(place == PACKET_BYTES - 1):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += offset.eq(0)
                    m.next = "WAIT"
        return m
