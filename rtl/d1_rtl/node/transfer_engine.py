"""The transfer engine: lines between nodes, without the threads' help."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams
from d1_golden.transfer import MAX_LINES

from .elastic_buffer import ElasticBuffer
from .interfaces import (
    RegisterLineSignature,
    SemaphoreEvent,
    SramReadSignature,
    SramWriteSignature,
    packet_layout,
)
from .line_sequencer import LineSequencer
from .list_walker import ListWalker, list_layout
from .reply_receiver import ReplyReceiver
from .request_sender import RequestSender
from .sticky_arbiter import StickyArbiter
from .transfer_ledger import TransferLedger
from .transfer_operation import (
    ADDRESS_BITS,
    CONTEXTS,
    LIST_CONTEXTS,
    NODE_BITS,
    TransferOp,
    transfer_operation_layout,
)
from .transfer_status import TransferStatus

__all__ = ["TransferEngine", "TransferOp", "transfer_operation_layout"]

#: Instructions, and lists, that wait.
_QUEUE = 4


class TransferEngine(wiring.Component):
    """Carry out push, pull, broadcast, post and lists of them.

    Instructions are begun in the order in which they come; their lines and those of the list that
    runs take turns. One line per cycle: the WRITE of a push is at `o_request` three cycles after
    its instruction is at `i`. Up to `request_sender.READS` READs and as many acknowledgements may
    be on their way. Instructions have been checked (`TransferCheck`); what goes wrong later is
    counted in the status line.

    Golden twin: `d1_golden.node.communication`.

    Parameters
    ----------
    params
        Threads, and size of the SRAM.

    Members
    -------
    i : In(stream.Signature(transfer_operation_layout()))
    pending : Out(threads)
        A transfer that the thread started is not complete: high from the cycle after `i`.
    o_request : Out(stream.Signature(packet_layout()))
    i_reply : In(stream.Signature(packet_layout()))
        Its `ready`, and all of `o_request`, come straight from registers.
    node_id : In(32)
        Bits 55..24 of the node's own address.
    sram_read, list_read : Out(SramReadSignature(params))
        Lines, descriptors.
    sram_write : Out(SramWriteSignature(params))
    post : Out(SemaphoreEvent)
        A semaphore of the own node is posted.
    packet : Out(1)
        A packet is made.
    line : In(RegisterLineSignature())
        The status line, as of `TransferStatus`.
    busy : Out(1)
        Something is under way.
    """

    i: Any
    pending: Signal
    o_request: Any
    i_reply: Any
    node_id: Signal
    sram_read: Any
    list_read: Any
    sram_write: Any
    post: Any
    packet: Signal
    line: Any
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i": In(stream.Signature(transfer_operation_layout())),
                "pending": Out(params.threads),
                "o_request": Out(packet),
                "i_reply": In(packet),
                "node_id": In(NODE_BITS),
                "sram_read": Out(SramReadSignature(params)),
                "list_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
                "post": Out(SemaphoreEvent),
                "packet": Out(1),
                "line": In(RegisterLineSignature()),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.walker = walker = ListWalker(self._params)
        m.submodules.sender = sender = RequestSender(self._params)
        m.submodules.receiver = receiver = ReplyReceiver(self._params)
        m.submodules.ledger = ledger = TransferLedger()
        m.submodules.status = status = TransferStatus(sources=3)
        of_instructions = LineSequencer()
        of_lists = LineSequencer()
        m.submodules.of_instructions = of_instructions
        m.submodules.of_lists = of_lists
        wiring.connect(m, walker.o, of_lists.i)
        self._queue(m, of_instructions, walker)
        self._merge(m, of_instructions, of_lists, sender)

        # The ways out and in.
        wiring.connect(m, wiring.flipped(self.line), status.line)
        wiring.connect(m, sender.o, wiring.flipped(self.o_request))
        wiring.connect(m, wiring.flipped(self.i_reply), receiver.i)
        wiring.connect(m, sender.sram_read, wiring.flipped(self.sram_read))
        wiring.connect(m, walker.sram_read, wiring.flipped(self.list_read))
        wiring.connect(m, receiver.sram_write, wiring.flipped(self.sram_write))
        m.d.comb += [
            sender.node_id.eq(self.node_id),
            sender.read_free.eq(receiver.read_free),
            sender.read_number.eq(receiver.read_number),
            sender.acknowledge_free.eq(receiver.acknowledge_free),
            receiver.sent.eq(sender.sent),
            self.packet.eq(sender.packet),
        ]

        # Accounts.
        lists_open = ledger.open[CONTEXTS - LIST_CONTEXTS :]
        m.d.comb += [
            ledger.begun[0].valid.eq(self.i.valid & self.i.ready),
            ledger.begun[0].context.eq(self.i.payload.thread),
            ledger.begun[1].valid.eq(walker.o.valid & walker.o.ready),
            ledger.begun[1].context.eq(walker.o.payload.context),
            ledger.sent.eq(sender.sent),
            ledger.answered.eq(receiver.done),
            ledger.list_done.eq(walker.done),
            walker.complete.eq(~lists_open),
            walker.failed.eq(_failed(receiver.fault) | _failed(sender.fault)),
            self.post.eq(walker.post),
            self.pending.eq(ledger.open),
            self.busy.eq(ledger.open.any() | sender.busy | receiver.busy),
            status.faults[0].eq(receiver.fault),
            status.faults[1].eq(sender.fault),
            status.faults[2].eq(walker.fault),
            status.outstanding.eq(receiver.outstanding),
        ]
        return m

    def _queue(self, m: Module, sequencer: LineSequencer, walker: ListWalker) -> None:
        """Queue instructions, and give each to the sequencer or to the queue of lists."""
        m.submodules.operations = operations = ElasticBuffer(
            transfer_operation_layout(), depth=_QUEUE, shortcut=True
        )
        m.submodules.lists = lists = ElasticBuffer(list_layout(), depth=_QUEUE)
        wiring.connect(m, wiring.flipped(self.i), operations.i)
        wiring.connect(m, lists.o, walker.i)
        operation, job = operations.o.payload, sequencer.i.payload
        is_list = operation.op == TransferOp.XLIST
        is_post = operation.op == TransferOp.POST
        remote = Mux(is_post, operation.x1, operation.x2)
        m.d.comb += [
            lists.i.valid.eq(operations.o.valid & is_list),
            lists.i.payload.address.eq(operation.x1[:LOCAL_BITS]),
            lists.i.payload.thread.eq(operation.thread),
            sequencer.i.valid.eq(operations.o.valid & ~is_list),
            operations.o.ready.eq(Mux(is_list, lists.i.ready, sequencer.i.ready)),
            job.op.eq(operation.op),
            job.context.eq(operation.thread),
            job.local.eq(operation.x1[:LOCAL_BITS]),
            job.remote.eq(remote[:ADDRESS_BITS]),
            job.corner.eq(operation.x1[NODE_BITS:]),
            job.lines.eq(Mux(operation.count == 0, MAX_LINES, operation.count)),
            job.local_stride.eq(LINE_BYTES),
            job.remote_stride.eq(LINE_BYTES),
            job.arrival.number.eq(operation.semaphore),
        ]
        with m.If(is_post):
            m.d.comb += [job.lines.eq(1), job.arrival.valid.eq(1)]

    def _merge(
        self, m: Module, first: LineSequencer, second: LineSequencer, sender: RequestSender
    ) -> None:
        """Let the sequencers take turns."""
        m.submodules.arbiter = arbiter = StickyArbiter(2)
        m.d.comb += [
            arbiter.requests.eq(Cat(first.o.valid, second.o.valid)),
            arbiter.taken.eq(sender.i.ready),
            sender.i.valid.eq(arbiter.requests.any()),
            sender.i.payload.eq(Mux(arbiter.grants[1], second.o.payload, first.o.payload)),
            first.o.ready.eq(arbiter.grants[0] & sender.i.ready),
            second.o.ready.eq(arbiter.grants[1] & sender.i.ready),
        ]


def _failed(fault: Any) -> Value:
    """Return the descriptors under way in which there is a fault."""
    return Mux(fault.valid, fault.lists, 0)
