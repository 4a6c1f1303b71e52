"""Serial door: the packet door of a node over a board's UART."""

from typing import Any

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.fpga.frame import SESSION_BYTES, Kind
from d1_golden.fpga.uart import UartParams

from d1_rtl.node.interfaces import packet_layout

from .byte_stuffer import ByteStuffer
from .frame_receiver import FrameReceiver
from .frame_sender import FrameSender
from .local_network import LocalNetwork
from .receive_window import ReceiveWindow
from .send_window import SendWindow
from .uart_receiver import UartReceiver
from .uart_transmitter import UartTransmitter

__all__ = ["UartDoor"]

#: Cycles for which the node is reset: enough for a reset that is spread by registers.
_RESET_CYCLES = 16


class UartDoor(wiring.Component):
    """Brings a host's packets from a serial line to a node, and its replies back.

    Every packet arrives exactly once and in order, whatever the line does (docs/uart.md). When a
    host opens a session, `node_reset` is high for 16 cycles. A frame takes its time on the line and
    about 200 cycles.

    Golden twin: `d1_golden.fpga.endpoint.DeviceEnd`.

    Parameters
    ----------
    params
        Clock and baud rate.

    Members
    -------
    rx : In(1)
        From the host; of no clock.
    tx : Out(1)
        To the host. From a register.
    o_request : Out(stream.Signature(packet_layout()))
        To `i_request` of the node.
    i_reply : In(stream.Signature(packet_layout()))
        From `o_reply` of the node.
    i_request : In(stream.Signature(packet_layout()))
        From `o_request` of the node.
    o_reply : Out(stream.Signature(packet_layout()))
        To `i_reply` of the node.
    node_id : Out(32)
        To `node_id` of the node: constant.
    node_reset : Out(1)
        The node is to be reset: a session begins. From a register.
    is_open : Out(1)
        A host has opened a session since the reset. From a register.
    discarded : Out(1)
        Something came that was no frame of the session. From a register.
    """

    #: From the host; of no clock.
    rx: In(1, init=1)
    #: To the host. From a register.
    tx: Out(1, init=1)
    #: To `i_request` of the node.
    o_request: Out(stream.Signature(packet_layout()))
    #: From `o_reply` of the node.
    i_reply: In(stream.Signature(packet_layout()))
    #: From `o_request` of the node.
    i_request: In(stream.Signature(packet_layout()))
    #: To `i_reply` of the node.
    o_reply: Out(stream.Signature(packet_layout()))
    #: To `node_id` of the node: constant.
    node_id: Out(32)
    #: The node is to be reset: a session begins. From a register.
    node_reset: Out(1)
    #: A host has opened a session since the reset. From a register.
    is_open: Out(1)
    #: Something came that was no frame of the session. From a register.
    discarded: Out(1)

    def __init__(self, params: UartParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        params: Any = self._params
        m.submodules.uart_receiver = uart_receiver = UartReceiver(params)
        m.submodules.uart_transmitter = uart_transmitter = UartTransmitter(params)
        m.submodules.receiver = receiver = FrameReceiver()
        m.submodules.sender = sender = FrameSender()
        m.submodules.stuffer = stuffer = ByteStuffer()
        reset = ResetInserter(self.node_reset)
        arrived, kept = ReceiveWindow(), SendWindow(patience=params.patience)
        network = LocalNetwork(BOARD_NODE)
        m.submodules.arrived = reset(arrived)
        m.submodules.kept = reset(kept)
        m.submodules.network = reset(network)
        session, opens, left = Signal(8 * SESSION_BYTES), Signal(), Signal(range(_RESET_CYCLES))
        for source, target in (
            (uart_receiver.o, receiver.i),
            (receiver.write, arrived.write),
            (receiver.frame, arrived.frame),
            (receiver.frame, kept.frame),
            (arrived.o, network.i_host),
            (wiring.flipped(self.i_request), network.i_own),
            (network.o_request, wiring.flipped(self.o_request)),
            (wiring.flipped(self.i_reply), network.i_reply),
            (network.o_own, wiring.flipped(self.o_reply)),
            (network.o_host, kept.i),
            (sender.read, kept.read),
            (sender.o, stuffer.i),
            (stuffer.o, uart_transmitter.i),
        ):
            wiring.connect(m, source, target)
        m.d.comb += [
            uart_receiver.rx.eq(self.rx),
            self.tx.eq(uart_transmitter.tx),
            receiver.session.eq(session),
            self.discarded.eq(receiver.discarded),
            self.node_id.eq(BOARD_NODE),
            opens.eq(receiver.frame.valid & (receiver.frame.header.kind == Kind.OPEN)),
            sender.session.eq(session),
            sender.taken.eq(arrived.taken),
            sender.opened.eq(opens),
            sender.reject.eq(arrived.reject),
            sender.acknowledge.eq(arrived.acknowledge),
            sender.clear.eq(self.node_reset),
            sender.available.eq(kept.available),
            sender.sequence.eq(kept.sequence),
            kept.start.eq(sender.start),
            kept.slot.eq(sender.slot),
        ]
        with m.If(opens & (receiver.frame.session != session)):
            m.d.sync += [
                session.eq(receiver.frame.session),
                left.eq(_RESET_CYCLES - 1),
                self.node_reset.eq(1),
                self.is_open.eq(1),
            ]
        with m.Else():
            m.d.sync += [left.eq(left - (left != 0)), self.node_reset.eq(left != 0)]
        return m
