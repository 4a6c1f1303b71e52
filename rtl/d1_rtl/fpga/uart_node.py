"""A training node behind its serial door: all of a board that is not clock and pins."""

from typing import Any

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.uart import UartParams

from d1_rtl.node.interfaces import Opcode

from .uart_door import UartDoor

__all__ = ["UartNode"]


class UartNode(wiring.Component):
    """A node that a host reaches over a serial line.

    Golden twin: `d1_golden.fpga.endpoint.DeviceEnd` in front of `d1_golden.node.GoldenNode`.

    Parameters
    ----------
    node
        The node: a `Node` that is not `gated`, or whatever has its ports `i_request`, `o_reply`,
        `o_request`, `i_reply`, `node_id` and `idle`.
    uart
        Clock and baud rate.

    Members
    -------
    rx : In(1)
        From the host; of no clock.
    tx : Out(1)
        To the host. From a register.
    busy : Out(1)
        The node is not idle. From a register.
    error : Out(1)
        Since the reset or the begin of the session a request was refused, by the node or because
        it was for another. From a register.
    """

    #: From the host; of no clock.
    rx: In(1, init=1)
    #: To the host. From a register.
    tx: Out(1, init=1)
    #: The node is not idle. From a register.
    busy: Out(1)
    #: A request was refused since the session began. From a register.
    error: Out(1)

    def __init__(self, node: Any, uart: UartParams):
        self._node, self._uart = node, uart
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        door: Any = UartDoor(self._uart)
        m.submodules.door = door
        node = self._node
        # A domain, since a node has others that are reset with its own.
        m.domains.session = ClockDomain(local=True)
        reset, buffered = Signal(init=1), Signal()
        m.d.sync += reset.eq(door.node_reset)
        m.submodules.reset = Instance("d1_reset_buffer", i_reset=reset, o_buffered=buffered)
        m.d.comb += [
            ClockSignal("session").eq(ClockSignal()),
            ResetSignal("session").eq(buffered),
        ]
        m.submodules.node = DomainRenamer("session")(node)
        wiring.connect(m, door.o_request, node.i_request)
        wiring.connect(m, node.o_reply, door.i_reply)
        wiring.connect(m, node.o_request, door.i_request)
        wiring.connect(m, door.o_reply, node.i_reply)
        refusals = (
            stream.valid & (stream.payload.opcode == Opcode.FAULT_REPLY)
            for stream in (node.o_reply, door.o_reply)
        )
        m.d.comb += [
            node.node_id.eq(door.node_id),
            door.rx.eq(self.rx),
            self.tx.eq(door.tx),
        ]
        m.d.sync += [
            self.busy.eq(~node.idle),
            self.error.eq((self.error | Cat(*refusals).any()) & ~door.node_reset),
        ]
        return m
