"""A small design with the ports of a node, of which a bitstream is made in a minute."""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.node.interfaces import Opcode, packet_layout

__all__ = ["LINES", "MemoryNode"]

LINES = 512


class MemoryNode(wiring.Component):
    """Writes whole lines of an SRAM and reads them, and refuses everything else.

    Word 7 of a line that is read is the product of the low 18 bits of its words 0 and 1: the
    block RAMs and the multipliers of an FPGA are used. A reply is offered two cycles after its
    request, which is taken when no other is under way.
    """

    i_request: Any
    o_reply: Any
    o_request: Any
    i_reply: Any
    node_id: Signal
    idle: Signal

    def __init__(self) -> None:
        packets = stream.Signature(packet_layout())
        inputs = {"i_request": In(packets), "i_reply": In(packets), "node_id": In(32)}
        super().__init__(
            inputs | {"o_reply": Out(packets), "o_request": Out(packets), "idle": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        request: Any = self.i_request.payload
        reply: Any = self.o_reply.payload
        line = Signal(512)
        writes = request.opcode == Opcode.WRITE
        header: Any = Signal(packet_layout())
        multiplies = Signal()
        m.d.comb += [
            self.i_request.ready.eq(~multiplies & ~self.o_reply.valid),
            self.i_reply.ready.eq(1),
            self.idle.eq(~self.o_reply.valid),
            reply.eq(header),
        ]
        m.submodules.memory = Instance(
            "d1_sram",
            p_LINES=LINES,
            p_ADDRESS_BITS=(LINES - 1).bit_length(),
            i_clk=ClockSignal(),
            i_enable=self.i_request.valid & self.i_request.ready,
            i_write=writes,
            i_line=request.address[6:],
            i_words=(1 << 8) - 1,
            i_data=request.data,
            i_check=0,
            o_q=line,
        )
        m.d.sync += multiplies.eq(0)
        with m.If(self.i_request.valid & self.i_request.ready & ~writes):
            m.d.sync += [
                multiplies.eq(1),
                header.opcode.eq(
                    Mux(request.opcode == Opcode.READ, Opcode.READ_REPLY, Opcode.FAULT_REPLY)
                ),
                *(header[name].eq(request[name]) for name in ("tag", "source", "address")),
            ]
        with m.If(multiplies):
            product = line[:18] * line[64:82]
            m.d.sync += [
                header.data.eq(line),
                header.data[-64:].eq(product),
                self.o_reply.valid.eq(1),
            ]
        with m.If(self.o_reply.ready & self.o_reply.valid):
            m.d.sync += self.o_reply.valid.eq(0)
        return m
