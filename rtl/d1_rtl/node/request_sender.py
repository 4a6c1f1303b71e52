"""From lines to request packets."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import LINE_BYTES, NodeParams

from .elastic_buffer import ElasticBuffer
from .interfaces import Opcode, SramReadSignature, line_address_bits, packet_layout
from .transfer_operation import (
    CONTEXTS,
    LIST_CONTEXTS,
    NODE_BITS,
    TransferFault,
    TransferFaultEvent,
    TransferOp,
    line_layout,
    tag_layout,
)

__all__ = ["READS", "RequestSender", "sent_layout"]

#: READs of the node that may be on their way.
READS = 32
#: Entries of the request buffer: one leaves, one enters and one is under way.
_REQUESTS = 3
_OFFSET_BITS = (LINE_BYTES - 1).bit_length()


def sent_layout() -> data.StructLayout:
    """Return the layout of what the sender tells of a step that it takes.

    `reads` or `acknowledged`: a reply will come.
    """
    return data.StructLayout({"line": line_layout(), "valid": 1, "reads": 1, "acknowledged": 1})


class RequestSender(wiring.Component):
    """Make a request packet of each line or post.

    A step is taken when its line is read from SRAM, there is room for its packet and its reply is
    one more that may come. Its packet is at `o` two cycles later; one a cycle, sustained. On an
    FPGA its line is shifted, as those of `Sram` are.

    A line that is not in SRAM or cannot be corrected is a fault: of a PUSH a WRITE of nothing is
    sent in its place, so that an acknowledgement still comes, of the others nothing.

    Golden twin: `d1_golden.node.communication._send_line`.

    Parameters
    ----------
    params
        Size of the SRAM.

    Members
    -------
    i : In(stream.Signature(line_layout()))
    o : Out(stream.Signature(packet_layout()))
    node_id : In(32)
        Bits 55..24 of the node's own address.
    sram_read : Out(SramReadSignature(params))
    read_free, acknowledge_free : In(1)
        A READ, a request that is acknowledged may be sent.
    read_number : In(5)
        Number of that READ.
    sent : Out(sent_layout())
        The step that is taken in this cycle.
    fault : Out(TransferFaultEvent)
        Of the step taken in the cycle before.
    packet : Out(1)
        A packet is made.
    busy : Out(1)
    """

    i: Any
    o: Any
    node_id: Signal
    sram_read: Any
    read_free: Signal
    acknowledge_free: Signal
    read_number: Signal
    sent: Any
    fault: Any
    packet: Signal
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "i": In(stream.Signature(line_layout())),
                "o": Out(stream.Signature(packet_layout())),
                "node_id": In(NODE_BITS),
                "sram_read": Out(SramReadSignature(params)),
                "read_free": In(1),
                "acknowledge_free": In(1),
                "read_number": In(range(READS)),
                "sent": Out(sent_layout()),
                "fault": Out(TransferFaultEvent),
                "packet": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.requests = requests = ElasticBuffer(
            packet_layout(), depth=_REQUESTS, line="data"
        )
        wiring.connect(m, requests.o, wiring.flipped(self.o))
        if platform is not None:
            # That the packet has no line is known when the line has gone.
            made = requests.o.payload
            with m.If((made.opcode != Opcode.BROADCAST) & ~made.mask.any()):
                m.d.comb += self.o.payload.data.eq(0)
        line, sent = self.i.payload, self.sent

        # First step: the line is asked for.
        step: Any = Signal(sent_layout())  # the one taken in the cycle before
        outside, reads_sram, may_go, taken = (
            Signal(name=n) for n in ("outside", "reads_sram", "may_go", "taken")
        )
        m.d.comb += [
            outside.eq((line.op != TransferOp.POST) & (line.local >= self._params.sram_bytes)),
            reads_sram.eq(
                ((line.op == TransferOp.PUSH) | (line.op == TransferOp.BCAST)) & ~outside
            ),
            sent.line.eq(line),
            sent.valid.eq(taken),
            sent.reads.eq((line.op == TransferOp.PULL) & ~outside),
            sent.acknowledged.eq(
                (line.op == TransferOp.POST) | ((line.op == TransferOp.PUSH) & line.ends)
            ),
            may_go.eq(
                self.i.valid
                & (requests.level + step.valid < _REQUESTS)
                & (self.read_free | ~sent.reads)
                & (self.acknowledge_free | ~sent.acknowledged)
            ),
            self.sram_read.request.valid.eq(may_go & reads_sram),
            self.sram_read.request.payload.eq(
                line.local[_OFFSET_BITS : _OFFSET_BITS + line_address_bits(self._params)]
            ),
            taken.eq(may_go & (self.sram_read.request.ready | ~reads_sram)),
            self.i.ready.eq(taken),
        ]

        # Second step: it is there and becomes a packet.
        was_outside, has_data, number = Signal(), Signal(), Signal.like(self.read_number)
        m.d.sync += step.valid.eq(taken)
        with m.If(taken):
            m.d.sync += [
                step.eq(sent),
                was_outside.eq(outside),
                has_data.eq(reads_sram),
                number.eq(self.read_number),
            ]
        failed = Signal()
        m.d.comb += [
            failed.eq(was_outside | (has_data & self.sram_read.uncorrectable.any())),
            requests.i.valid.eq(step.valid & (~failed | (step.line.op == TransferOp.PUSH))),
            self.packet.eq(requests.i.valid),
            self.busy.eq(step.valid | requests.o.valid),
        ]
        self._fill(m, requests.i.payload, step, failed, number)
        self._tell_fault(m, step, failed, was_outside)
        return m

    def _fill(self, m: Module, packet: Any, step: Any, failed: Signal, number: Signal) -> None:
        """Drive the fields of the packet."""
        line = step.line
        tag: Any = Signal(tag_layout())
        m.d.comb += [
            tag.number.eq(line.context),
            tag.acknowledged.eq(step.acknowledged),
            packet.tag.eq(tag),
            packet.source.eq(self.node_id),
            packet.address.eq(line.remote),
            packet.flags.acknowledge.eq(step.acknowledged),
        ]
        with m.If(line.post.valid & ~failed):
            m.d.comb += [
                packet.flags.post.eq(1),
                packet.flags.semaphore.eq(line.post.number),
            ]
        with m.Switch(line.op):
            with m.Case(TransferOp.PULL):
                m.d.comb += [
                    packet.opcode.eq(Opcode.READ), tag.read.eq(1), tag.number.eq(number),
                ]  # fmt: skip
            with m.Case(TransferOp.POST):
                m.d.comb += packet.opcode.eq(Opcode.POST)
            with m.Case(TransferOp.BCAST):
                m.d.comb += [
                    packet.opcode.eq(Opcode.BROADCAST),
                    tag.nobody.eq(1),
                    tag.number.eq(0),
                    packet.mask.eq(line.corner),
                    packet.data.eq(self.sram_read.data),
                ]
            with m.Case(TransferOp.PUSH):
                m.d.comb += packet.opcode.eq(Opcode.WRITE)
                with m.If(~failed):
                    m.d.comb += [
                        packet.mask.eq((1 << LINE_BYTES) - 1),
                        packet.data.eq(self.sram_read.data),
                    ]

    def _tell_fault(self, m: Module, step: Any, failed: Signal, was_outside: Signal) -> None:
        """Drive `fault`."""
        m.d.comb += [
            self.fault.valid.eq(step.valid & failed),
            self.fault.kind.eq(Mux(was_outside, TransferFault.LOCAL, TransferFault.UNCORRECTABLE)),
            self.fault.address.eq(step.line.local),
        ]
        for index in range(LIST_CONTEXTS):
            context = CONTEXTS - LIST_CONTEXTS + index
            m.d.comb += self.fault.lists[index].eq(step.line.context == context)
