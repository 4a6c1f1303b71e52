"""Replies to a node's own requests."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from ..turns import in_all_turns, last_word
from .elastic_buffer import ElasticBuffer
from .interfaces import Opcode, SramWriteSignature, line_address_bits, packet_layout
from .request_sender import READS, sent_layout
from .transfer_operation import (
    CONTEXTS,
    LIST_CONTEXTS,
    TransferFault,
    TransferFaultEvent,
    context_event_layout,
    tag_layout,
)

__all__ = ["ACKNOWLEDGEMENTS", "ReplyReceiver"]

#: Requests under way that are to be acknowledged.
ACKNOWLEDGEMENTS = 32
_OFFSET_BITS = (LINE_BYTES - 1).bit_length()


class ReplyReceiver(wiring.Component):
    """Keep account of replies that are to come, and write the lines that they bring.

    A reply is taken in the cycle of its transfer, one per cycle, unless a line waits for its bank.
    Replies may come in any order; those that nobody waits for are dropped. Numbers are given
    to READs in turn, so a READ that is not answered holds up the one `READS` after it.

    Golden twin: `d1_golden.node.communication._accept`.

    Parameters
    ----------
    params
        Size of the SRAM.

    Members
    -------
    i : In(stream.Signature(packet_layout()))
        Its `ready` comes straight from a register.
    sram_write : Out(SramWriteSignature(params))
    sent : In(sent_layout())
        A request that is being sent.
    read_free, acknowledge_free : Out(1)
        There is room to keep account of one more of each kind.
    read_number : Out(5)
        Number of the next READ.
    done : Out(context_event_layout())
        A reply came that a context waited for.
    fault : Out(TransferFaultEvent)
        It was a FAULT_REPLY.
    outstanding : Out(7)
        Replies that are to come.
    busy : Out(1)
    """

    i: Any
    sram_write: Any
    sent: Any
    read_free: Signal
    acknowledge_free: Signal
    read_number: Signal
    done: Any
    fault: Any
    outstanding: Signal
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "i": In(stream.Signature(packet_layout())),
                "sram_write": Out(SramWriteSignature(params)),
                "sent": In(sent_layout()),
                "read_free": Out(1),
                "acknowledge_free": Out(1),
                "read_number": Out(range(READS)),
                "done": Out(context_event_layout()),
                "fault": Out(TransferFaultEvent),
                "outstanding": Out(range(READS + ACKNOWLEDGEMENTS + 1)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.replies = replies = ElasticBuffer(
            packet_layout(), shortcut=True, line="data", steady=True
        )
        wiring.connect(m, wiring.flipped(self.i), replies.i)
        reply = replies.o.payload
        line = reply.data if platform is None else in_all_turns(last_word(reply.data))
        tag: Any = Signal(tag_layout())
        m.d.comb += tag.eq(reply.tag)

        # Every READ under way.
        line_bits = line_address_bits(self._params)
        read_layout = data.StructLayout({"context": self.done.context.shape(), "line": line_bits})
        reads: Any = Array(Signal(read_layout, name=f"read_{n}") for n in range(READS))
        under_way = Signal(READS)
        number = Signal(range(READS))
        read: Any = Signal(read_layout)
        m.d.comb += [number.eq(tag.number), read.eq(reads[number])]

        # What the reply is.
        is_line = reply.opcode == Opcode.READ_REPLY
        is_fault = reply.opcode == Opcode.FAULT_REPLY
        awaited_read, acknowledges, taken = (
            Signal(name=n) for n in ("awaited_read", "acknowledges", "taken")
        )
        acknowledgements = Signal(range(ACKNOWLEDGEMENTS + 1))
        m.d.comb += [
            awaited_read.eq(
                tag.read & under_way.bit_select(number, 1) & (is_line | is_fault)
                & (tag.number < READS)
            ),
            acknowledges.eq(~tag.read & tag.acknowledged & (acknowledgements != 0)),
            self.sram_write.request.valid.eq(replies.o.valid & awaited_read & is_line),
            self.sram_write.request.payload.line.eq(read.line),
            self.sram_write.request.payload.mask.eq((1 << LINE_BYTES) - 1),
            self.sram_write.request.payload.data.eq(line),
            replies.o.ready.eq(self.sram_write.request.ready | ~self.sram_write.request.valid),
            taken.eq(replies.o.valid & replies.o.ready),
            self.done.valid.eq(taken & (awaited_read | acknowledges)),
            self.done.context.eq(tag.number),
            self.fault.valid.eq(taken & is_fault & (awaited_read | ~tag.read)),
            self.fault.kind.eq(TransferFault.REMOTE),
            self.fault.address.eq(reply.address),
        ]  # fmt: skip
        with m.If(tag.read):
            m.d.comb += self.done.context.eq(read.context)
        for index in range(LIST_CONTEXTS):
            context = CONTEXTS - LIST_CONTEXTS + index
            m.d.comb += self.fault.lists[index].eq(~tag.nobody & (self.done.context == context))

        # Requests come, replies settle them.
        sent = self.sent
        m.d.comb += [
            self.read_free.eq(~under_way.bit_select(self.read_number, 1)),
            self.acknowledge_free.eq(acknowledgements != ACKNOWLEDGEMENTS),
            self.busy.eq(replies.level.any()),
        ]
        with m.If(sent.valid & sent.reads):
            m.d.sync += [
                reads[self.read_number].context.eq(sent.line.context),
                reads[self.read_number].line.eq(sent.line.local[_OFFSET_BITS:]),
                under_way.bit_select(self.read_number, 1).eq(1),
                self.read_number.eq(self.read_number + 1),
            ]
        with m.If(taken & awaited_read):
            m.d.sync += under_way.bit_select(number, 1).eq(0)
        begun = sent.valid & sent.acknowledged
        settled = taken & acknowledges
        expected = Cat(sent.valid & (sent.reads | sent.acknowledged))
        m.d.sync += [
            acknowledgements.eq(acknowledgements + begun - settled),
            self.outstanding.eq(self.outstanding + expected - self.done.valid),
        ]
        assert 1 << LOCAL_BITS >= self._params.sram_bytes
        return m
