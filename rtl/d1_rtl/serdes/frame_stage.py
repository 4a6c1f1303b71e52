"""Frame stage: where packets wait for the check of their frame."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.frame import MAX_SLOTS
from d1_golden.serdes.link_layer import STAGE_DEPTH

from ..node.interfaces import packet_layout
from .link_words import plane_packet_layout

__all__ = ["FrameStage"]


class FrameStage(wiring.Component):
    """Holds the packets of a frame until it is accepted, then passes them on, or forgets them.

    The first is passed on in the cycle after `accept`, then one per cycle.

    Golden twin: `d1_golden.serdes.link_layer`, `stage`.

    Members
    -------
    i : In(stream.Signature(packet_layout(), always_ready=True))
    checked : In(1)
        What came until now has been checked; in this cycle nothing comes.
    accept : In(1)
        With `checked`: it is good.
    packets : In(range(6))
        With `accept`: how many there are.
    replies : In(5)
        With `accept`: the plane of each.
    o : Out(stream.Signature(plane_packet_layout(), always_ready=True))
    """

    i: In(stream.Signature(packet_layout(), always_ready=True))
    checked: In(1)
    accept: In(1)
    packets: In(range(MAX_SLOTS + 1))
    replies: In(MAX_SLOTS)
    o: Out(stream.Signature(plane_packet_layout(), always_ready=True))

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        entries: Any = memory.Memory(shape=packet_layout(), depth=STAGE_DEPTH, init=[])
        m.submodules.entries = entries
        write, read = entries.write_port(), entries.read_port(domain="comb")
        planes = Signal(STAGE_DEPTH)
        good = Signal(range(STAGE_DEPTH))  # place behind the last accepted packet
        good_next = Signal.like(good)
        m.d.comb += [
            write.en.eq(self.i.valid),
            write.data.eq(self.i.payload),
            good_next.eq(good + Mux(self.accept, self.packets, 0)),
            self.o.valid.eq(read.addr != good),
            self.o.payload.packet.eq(read.data),
            self.o.payload.plane.eq(Array(planes)[read.addr]),
        ]
        with m.If(self.i.valid):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(self.o.valid):
            m.d.sync += read.addr.eq(read.addr + 1)
        with m.If(self.checked):
            m.d.sync += [good.eq(good_next), write.addr.eq(good_next)]
        with m.If(self.accept):
            for place in range(STAGE_DEPTH):
                number = Signal(range(STAGE_DEPTH), name=f"number_{place}")
                m.d.comb += number.eq(place - good)
                with m.If(number < self.packets):
                    m.d.sync += planes[place].eq(self.replies.bit_select(number, 1))
        return m
