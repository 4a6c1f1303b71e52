"""The training node."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .control_block import ControlBlock
from .core import Core
from .interfaces import RetireSignature, packet_layout
from .packet_door import PacketDoor
from .sram import Sram

__all__ = ["Node"]


class Node(wiring.Component):
    """A training node: core, SRAM and control block behind one packet door.

    Everything goes in and out as packets: programs are written to SRAM, a thread is started by a
    write to its control registers, results are read back. Latencies of packets are those of
    `PacketDoor`, of instructions those of `docs/pipeline.md`.

    Golden twin: `d1_golden.node.GoldenNode`.

    Parameters
    ----------
    params
        The preset.
    gated
        Whether idle units stand in gated clock domains (`ClockGate`).

    Members
    -------
    i_request : In(stream.Signature(packet_layout()))
    o_reply : Out(stream.Signature(packet_layout()))
    node_id : In(32)
        Bits 55..24 of the node's own address.
    idle : Out(1)
        In the cycle before, no thread ran, nothing was in flight and no packet was offered: the
        clock may stand still until a packet comes.
    retire : Out(RetireSignature())
    """

    i_request: Any
    o_reply: Any
    node_id: Signal
    idle: Signal
    retire: Any

    def __init__(self, params: NodeParams, *, gated: bool = True):
        self._params = params
        self._gated = gated
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i_request": In(packet),
                "o_reply": Out(packet),
                "node_id": In(32),
                "idle": Out(1),
                "retire": Out(RetireSignature()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        sram: Any = Sram(self._params)
        m.submodules.sram = sram
        m.submodules.door = door = PacketDoor(self._params)
        m.submodules.control = control = ControlBlock(self._params)
        m.submodules.core = core = Core(self._params, gated=self._gated)
        wiring.connect(m, wiring.flipped(self.i_request), door.i_request)
        wiring.connect(m, door.o_reply, wiring.flipped(self.o_reply))
        wiring.connect(m, core.retire, wiring.flipped(self.retire))
        wiring.connect(m, door.control, control.door)
        wiring.connect(m, door.events, control.events)
        wiring.connect(m, core.control, control.core)
        wiring.connect(m, control.threads[0], core.thread)
        wiring.connect(m, door.sram_read, sram.r_network)
        wiring.connect(m, door.sram_write, sram.w_network)
        for port in ("r_fetch", "r_scalar", "r_vector", "w_scalar", "w_vector"):
            wiring.connect(m, getattr(core, port), getattr(sram, port))
        m.d.comb += [
            door.node_id.eq(self.node_id),
            control.node_id.eq(self.node_id),
        ]
        m.d.sync += self.idle.eq(~control.active & ~door.busy)
        return m
