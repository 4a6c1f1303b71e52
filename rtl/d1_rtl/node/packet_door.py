"""The packet door: the one way into a node and out of it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from ..turns import in_all_turns, last_word
from .elastic_buffer import ElasticBuffer
from .interfaces import (
    ControlLineSignature,
    DoorEventsSignature,
    Opcode,
    SemaphoreEvent,
    SramReadSignature,
    SramWriteSignature,
    line_address_bits,
    packet_layout,
)
from .request_check import is_malformed, register_masks

__all__ = ["PacketDoor", "is_between"]

_OFFSET_BITS = (LINE_BYTES - 1).bit_length()
_NODE_BITS = 32
#: What a reply repeats of its request.
_REPEATED = ("tag", "source", "address")
#: Entries of the reply buffer: one leaves, one enters and one is under way.
_REPLIES = 3


class _Answer(enum.Enum, shape=3):
    """What follows a request in the next cycle."""

    NOTHING = 0
    SRAM = 1  #: the line from SRAM
    CONTROL = 2  #: the line from the control block, or its fault
    FAULT = 3
    DONE = 4  #: a write to SRAM or a post: its acknowledgement, if it wants one


class PacketDoor(wiring.Component):
    """Carries out the requests of packets, in order, and sends the replies, in order.

    `docs/packets.md` says what is done and what is a fault. One request and one reply per cycle,
    sustained; a READ transferred in cycle n is answered at `o_reply` in cycle n + 3. All outputs
    to other nodes, `i_request.ready` included, come straight from registers. A request waits for
    its bank, for the control block and for room for its reply. A WRITE or POST that wants to be
    acknowledged is answered like a READ; a semaphore is posted in the cycle after the line is
    written. A line that cannot be corrected is a fault. On an FPGA the lines of replies are
    shifted, as those of `Sram` are.

    Golden twin: `d1_golden.node.packet_door`.

    Parameters
    ----------
    params
        Size of the SRAM.

    Members
    -------
    i_request : In(stream.Signature(packet_layout()))
    o_reply : Out(stream.Signature(packet_layout()))
    node_id : In(32)
        Bits 55..24 of the node's own address.
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    control : Out(ControlLineSignature())
    post : Out(SemaphoreEvent)
        A semaphore is posted.
    events : Out(DoorEventsSignature())
    busy : Out(1)
        A request or a reply is in the door.

    """

    i_request: Any
    o_reply: Any
    node_id: Signal
    sram_read: Any
    sram_write: Any
    control: Any
    post: Any
    events: Any
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i_request": In(packet),
                "o_reply": Out(packet),
                "node_id": In(_NODE_BITS),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
                "control": Out(ControlLineSignature()),
                "post": Out(SemaphoreEvent),
                "events": Out(DoorEventsSignature()),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.requests = requests = ElasticBuffer(packet_layout(), line="data", steady=True)
        m.submodules.replies = replies = ElasticBuffer(packet_layout(), depth=_REPLIES, line="data")
        wiring.connect(m, wiring.flipped(self.i_request), requests.i)
        wiring.connect(m, replies.o, wiring.flipped(self.o_reply))

        # First step: the oldest request is checked and handed on.
        request = requests.o.payload
        answer = Signal(_Answer)  # to the request handed on in the cycle before
        room = Signal()
        may_go = Signal()
        taken = Signal()
        m.d.comb += [
            # An answer cannot be held off, so each request has room for one before it goes.
            room.eq(replies.level + (answer != _Answer.NOTHING) < _REPLIES),
            may_go.eq(requests.o.valid & room),
            requests.o.ready.eq(taken),
            self.events.request.eq(taken),
        ]
        write = Signal()
        m.d.comb += write.eq(request.opcode != Opcode.READ)
        self._connect_targets(m, request, platform)
        next_answer = Signal(_Answer)
        with m.If(self._is_fault(m, request)):
            m.d.comb += [next_answer.eq(_Answer.FAULT), taken.eq(may_go)]
        with m.Elif(request.opcode == Opcode.POST):
            m.d.comb += [next_answer.eq(_Answer.DONE), taken.eq(may_go)]
        with m.Elif(request.address[LOCAL_BITS - 1]):
            m.d.comb += [
                next_answer.eq(_Answer.CONTROL),
                self.control.request.valid.eq(may_go),
                taken.eq(may_go & self.control.request.ready),
            ]
        with m.Elif(write):
            m.d.comb += [
                next_answer.eq(_Answer.DONE),
                self.sram_write.request.valid.eq(may_go),
                taken.eq(may_go & self.sram_write.request.ready),
            ]
        with m.Else():
            m.d.comb += [
                next_answer.eq(_Answer.SRAM),
                self.sram_read.request.valid.eq(may_go),
                taken.eq(may_go & self.sram_read.request.ready),
            ]

        # Second step: the answer is there and becomes a reply.
        answered: Any = Signal(_header_layout())
        m.d.sync += answer.eq(_Answer.NOTHING)
        with m.If(taken):
            m.d.sync += answer.eq(next_answer)
            m.d.sync += [answered[name].eq(request[name]) for name in _header_layout().members]
        if platform is not None:
            # That the reply has no line is known when the line has gone.
            bare = replies.o.payload.opcode != Opcode.READ_REPLY
            with m.If(bare):
                m.d.comb += self.o_reply.payload.data.eq(0)
        self._reply(m, replies.i, answer, answered)
        m.d.comb += self.busy.eq(requests.o.valid | replies.o.valid | (answer != _Answer.NOTHING))
        return m

    def _connect_targets(self, m: Module, request: data.View, platform: object) -> None:
        """Show the request to SRAM and control block; only the target's `valid` is raised."""
        written = request.data if platform is None else in_all_turns(last_word(request.data))
        line = request.address[_OFFSET_BITS : _OFFSET_BITS + line_address_bits(self._params)]
        # A BROADCAST writes whole lines; its mask is a place.
        mask = request.mask | (request.opcode == Opcode.BROADCAST).replicate(LINE_BYTES)
        m.d.comb += [
            self.sram_read.request.payload.eq(line),
            self.sram_write.request.payload.line.eq(line),
            self.sram_write.request.payload.mask.eq(mask),
            self.sram_write.request.payload.data.eq(written),
            self.control.request.payload.line.eq(request.address[_OFFSET_BITS : LOCAL_BITS - 1]),
            self.control.request.payload.write.eq(request.opcode != Opcode.READ),
            self.control.request.payload.mask.eq(Cat(byte.all() for byte in register_masks(mask))),
            self.control.request.payload.data.eq(request.data),
        ]

    def _is_fault(self, m: Module, request: data.View) -> Signal:
        """Return whether a request is at fault, as far as can be told without its target."""
        address = request.address
        node = address[LOCAL_BITS : LOCAL_BITS + _NODE_BITS]
        elsewhere = Signal()
        with m.If(request.opcode == Opcode.BROADCAST):
            m.d.comb += elsewhere.eq(~is_between(self.node_id, node, request.mask[:_NODE_BITS]))
        with m.Else():
            m.d.comb += elsewhere.eq((node != 0) & (node != self.node_id))
        outside = ~address[LOCAL_BITS - 1] & (address[:LOCAL_BITS] >= self._params.sram_bytes)
        fault = Signal()
        m.d.comb += fault.eq(is_malformed(m, request) | elsewhere | outside)
        return fault

    def _reply(self, m: Module, reply: stream.Interface, answer: Signal, answered: Any) -> None:
        """Make the reply, if any, of the request that was handed on in the cycle before."""
        fault, done = Signal(), Signal()
        write = answered.opcode != Opcode.READ
        m.d.comb += [
            fault.eq(
                (answer == _Answer.FAULT)
                | ((answer == _Answer.CONTROL) & self.control.fault)
                | ((answer == _Answer.SRAM) & self.sram_read.uncorrectable.any())
            ),
            done.eq((answer == _Answer.DONE) | ((answer == _Answer.CONTROL) & write & ~fault)),
            self.post.valid.eq(done & answered.flags.post),
            self.post.number.eq(answered.flags.semaphore),
            reply.valid.eq(Mux(done, answered.flags.acknowledge, answer != _Answer.NOTHING)),
            self.events.reply.eq(reply.valid),
            self.events.fault_reply.eq(fault),
        ]
        m.d.comb += [reply.payload[name].eq(answered[name]) for name in _REPEATED]
        with m.If(fault):
            m.d.comb += reply.payload.opcode.eq(Opcode.FAULT_REPLY)
        with m.Elif(done):
            m.d.comb += reply.payload.opcode.eq(Opcode.WRITE_REPLY)
        with m.Else():
            m.d.comb += [
                reply.payload.opcode.eq(Opcode.READ_REPLY),
                reply.payload.data.eq(
                    Mux(answer == _Answer.SRAM, self.sram_read.data, self.control.data)
                ),
            ]


def is_between(place: Value, near: Value, far: Value) -> Value:
    """Return whether the node at `place` is in the rectangle from `near` to `far`.

    All three are address bits 55..24. Golden twin: `d1_golden.node.packet_door.is_between`.
    """
    return Cat(
        (place.word_select(n, 8) >= near.word_select(n, 8))
        & (place.word_select(n, 8) <= far.word_select(n, 8))
        for n in range(_NODE_BITS // 8)
    ).all()


def _header_layout() -> data.StructLayout:
    """Return the layout of what the answer needs of a request."""
    members = packet_layout().members
    return data.StructLayout({name: members[name] for name in ("opcode", "flags", *_REPEATED)})
