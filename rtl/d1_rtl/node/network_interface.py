"""A node's end of the network: the packet door, and the way out for the node's own programs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .interfaces import (
    ControlLineSignature,
    DoorEventsSignature,
    RegisterLineSignature,
    SemaphoreEvent,
    SramReadSignature,
    SramWriteSignature,
    packet_layout,
)
from .link_unit import LinkUnit, link_operation_layout, link_result_layout
from .packet_door import PacketDoor
from .shared_read_port import SharedReadPort
from .shared_write_port import SharedWritePort
from .transfer_engine import TransferEngine, transfer_operation_layout
from .transfer_operation import NODE_BITS

__all__ = ["NetworkInterface"]


class NetworkInterface(wiring.Component):
    """Packet door, transfer engine and link unit on one read and one write port of the SRAM.

    The four readers and the two writers take turns. Timing of packets is that of `PacketDoor`, of
    transfers that of `TransferEngine`, of links that of `LinkUnit`, less the turns of the others.
    Every output to other nodes, `ready` included, comes straight from a register.

    Golden twin: `d1_golden.node.packet_door` and `communication`.

    Parameters
    ----------
    params
        Threads, and size of the SRAM.

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
    o_request, o_reply : Out(stream.Signature(packet_layout()))
        Requests of others and replies to them, the node's own requests and replies to those.
    node_id : In(32)
        Bits 55..24 of the node's own address.
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    control : Out(ControlLineSignature())
    events : Out(DoorEventsSignature())
    transfer : In(stream.Signature(transfer_operation_layout()))
    transfers_pending : Out(threads)
        As of `TransferEngine`.
    transfer_line : In(RegisterLineSignature())
        The engine's status line.
    link : In(stream.Signature(link_operation_layout()))
    link_result : Out(stream.Signature(link_result_layout()))
    post_door, post_transfer : Out(SemaphoreEvent)
        Semaphores that packets and lists post.
    packet_sent : Out(1)
        A request of the node's own is made.
    busy : Out(1)
        Something is in the door or the engine, or offered to them.
    """

    i_request: Any
    i_reply: Any
    o_request: Any
    o_reply: Any
    node_id: Signal
    sram_read: Any
    sram_write: Any
    control: Any
    events: Any
    transfer: Any
    transfers_pending: Signal
    transfer_line: Any
    link: Any
    link_result: Any
    post_door: Any
    post_transfer: Any
    packet_sent: Signal
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i_request": In(packet),
                "i_reply": In(packet),
                "o_request": Out(packet),
                "o_reply": Out(packet),
                "node_id": In(NODE_BITS),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
                "control": Out(ControlLineSignature()),
                "events": Out(DoorEventsSignature()),
                "transfer": In(stream.Signature(transfer_operation_layout())),
                "transfers_pending": Out(params.threads),
                "transfer_line": In(RegisterLineSignature()),
                "link": In(stream.Signature(link_operation_layout())),
                "link_result": Out(stream.Signature(link_result_layout())),
                "post_door": Out(SemaphoreEvent),
                "post_transfer": Out(SemaphoreEvent),
                "packet_sent": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.door = door = PacketDoor(self._params)
        m.submodules.engine = engine = TransferEngine(self._params)
        m.submodules.links = links = LinkUnit(self._params)
        m.submodules.read_port = read_port = SharedReadPort(self._params, clients=4)
        m.submodules.write_port = write_port = SharedWritePort(self._params, clients=2)
        readers = (door.sram_read, engine.sram_read, engine.list_read, links.sram_read)
        for reader, client in zip(readers, read_port.clients, strict=True):
            wiring.connect(m, reader, client)
        for writer, client in zip(
            (door.sram_write, engine.sram_write), write_port.clients, strict=True
        ):
            wiring.connect(m, writer, client)
        for inner, outer in (
            (door.o_reply, self.o_reply),
            (engine.o_request, self.o_request),
            (links.o, self.link_result),
            (door.control, self.control),
            (door.events, self.events),
            (read_port.port, self.sram_read),
            (write_port.port, self.sram_write),
        ):
            wiring.connect(m, inner, wiring.flipped(outer))
        for outer, inner in (
            (self.i_request, door.i_request),
            (self.i_reply, engine.i_reply),
            (self.transfer, engine.i),
            (self.transfer_line, engine.line),
            (self.link, links.i),
        ):
            wiring.connect(m, wiring.flipped(outer), inner)
        m.d.comb += [
            door.node_id.eq(self.node_id),
            engine.node_id.eq(self.node_id),
            self.transfers_pending.eq(engine.pending),
            self.post_door.eq(door.post),
            self.post_transfer.eq(engine.post),
            self.busy.eq(door.busy | engine.busy | self.i_request.valid | self.i_reply.valid),
            self.packet_sent.eq(engine.packet),
        ]
        return m
