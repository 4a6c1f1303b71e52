"""A training node."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from ..turns import Turns
from .control_block import ControlBlock
from .core import READERS, WRITERS, Core
from .interfaces import RetireSignature, packet_layout
from .network_interface import NetworkInterface
from .semaphores import Semaphores
from .sram import Sram

__all__ = ["Node"]


class Node(wiring.Component):
    """A training node: core, SRAM, control block and semaphores behind one network interface.

    Everything goes in and out as packets: programs are written to SRAM, threads are started by
    writes to their control registers, results are read back; and programs send packets themselves.
    Latencies of packets are those of `NetworkInterface`, of instructions those of
    `docs/pipeline.md`. On an FPGA, where it must not be `gated`, each of its cycles has
    `CYCLE_CLOCKS` clocks (`Turns`).

    Golden twin: `d1_golden.node.GoldenNode`.

    Parameters
    ----------
    params
        The preset.
    gated
        Whether idle units stand in gated clock domains (`ClockGate`).

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
        Requests of others, and replies to the node's own.
    o_reply, o_request : Out(stream.Signature(packet_layout()))
    node_id : In(32)
        Bits 55..24 of the node's own address.
    idle : Out(1)
        In the cycle before, no thread ran, nothing was in flight, no packet was offered and no
        line is to be scrubbed: the clock may stand still until a packet comes.
    retire : Out(RetireSignature(params))
    """

    i_request: Any
    i_reply: Any
    o_reply: Any
    o_request: Any
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
                "i_reply": In(packet),
                "o_reply": Out(packet),
                "o_request": Out(packet),
                "node_id": In(32),
                "idle": Out(1),
                "retire": Out(RetireSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        return self._parts() if platform is None else self._in_turns()

    def _in_turns(self) -> Module:
        """Build all there is in cycles of several clocks; each of these may have a transfer."""
        m = Module()
        parts = _Parts(self._params, gated=False)
        turns = Turns()
        m.domains += turns.clock_domains
        m.submodules.turns = turns
        m.submodules.parts = turns.drive(parts)
        # What is between the clocks of node and ports comes from registers, on either way.
        for name, outer, inner in (
            ("request", self.i_request, parts.i_request),
            ("reply", self.i_reply, parts.i_reply),
        ):
            offered = Signal(name=f"{name}_offered")
            taken = Signal.like(inner.payload, name=f"{name}_taken", reset_less=True)
            m.d.comb += [
                inner.valid.eq(offered),
                inner.payload.eq(taken),
                outer.ready.eq(~offered & turns.last),
            ]
            with m.If(offered):
                m.d.cycle += offered.eq(~inner.ready)
            with m.Else():
                m.d.cycle += [offered.eq(outer.valid), taken.eq(outer.payload)]
        for name, outer, inner in (
            ("reply", self.o_reply, parts.o_reply),
            ("request", self.o_request, parts.o_request),
        ):
            made = Signal.like(inner.payload, name=f"{name}_made", reset_less=True)
            is_made, left = Signal(name=f"{name}_is_made"), Signal(name=f"{name}_left")
            m.d.comb += [
                inner.ready.eq(~is_made),
                outer.valid.eq(is_made & ~left),
                outer.payload.eq(made),
            ]
            with m.If(is_made):
                m.d.cycle += is_made.eq(~left)
            with m.Else():  # the line is there in the last turn only
                m.d.cycle += [is_made.eq(inner.valid), made.eq(inner.payload)]
            with m.If(outer.valid & outer.ready):
                m.d.sync += left.eq(1)
            with m.Elif(turns.last):
                m.d.sync += left.eq(0)
        m.d.comb += [
            parts.node_id.eq(self.node_id),
            self.idle.eq(parts.idle),
        ]
        traces = zip(
            (*self.retire.slots, *self.retire.late),
            (*parts.retire.slots, *parts.retire.late),
            strict=True,
        )
        for outer, inner in traces:
            m.d.comb += [outer.eq(inner), outer.valid.eq(inner.valid & turns.last)]
        return m

    def _parts(self) -> Module:
        """Build all there is."""
        m = Module()
        sram: Any = Sram(self._params, gated=self._gated)
        m.submodules.sram = sram
        m.submodules.network = network = NetworkInterface(self._params)
        m.submodules.control = control = ControlBlock(self._params, gated=self._gated)
        m.submodules.semaphores = semaphores = Semaphores(self._params)
        m.submodules.core = core = Core(self._params, gated=self._gated)
        wiring.connect(m, wiring.flipped(self.i_request), network.i_request)
        wiring.connect(m, wiring.flipped(self.i_reply), network.i_reply)
        wiring.connect(m, network.o_reply, wiring.flipped(self.o_reply))
        wiring.connect(m, network.o_request, wiring.flipped(self.o_request))
        wiring.connect(m, core.retire, wiring.flipped(self.retire))
        wiring.connect(m, network.control, control.door)
        wiring.connect(m, network.events, control.events)
        wiring.connect(m, core.control, control.core)
        wiring.connect(m, core.events, control.core_events)
        for thread, port in zip(control.threads, core.threads, strict=True):
            wiring.connect(m, thread, port)
        wiring.connect(m, control.semaphores, semaphores.lines)
        wiring.connect(m, control.transfer, network.transfer_line)
        wiring.connect(m, core.transfer, network.transfer)
        wiring.connect(m, core.link, network.link)
        wiring.connect(m, network.link_result, core.link_result)
        wiring.connect(m, network.sram_read, sram.r_network)
        wiring.connect(m, network.sram_write, sram.w_network)
        for port in (*(f"r_{name}" for name in READERS), *(f"w_{name}" for name in WRITERS)):
            wiring.connect(m, getattr(core, port), getattr(sram, port))
        posts = (core.post, network.post_door, network.post_transfer)
        m.d.comb += [
            network.node_id.eq(self.node_id),
            control.node_id.eq(self.node_id),
            control.packet_sent.eq(network.packet_sent),
            control.ecc.registers.eq(sram.registers),
            sram.write.eq(control.ecc.write),
            sram.data.eq(control.ecc.data),
            core.transfers_pending.eq(network.transfers_pending),
            core.semaphores.eq(semaphores.nonzero),
            semaphores.take.eq(core.take),
            *(port.eq(post) for port, post in zip(semaphores.posts, posts, strict=True)),
        ]
        m.d.sync += self.idle.eq(~control.active & ~network.busy & ~sram.busy)
        return m


class _Parts(Node):
    """A node with one clock a cycle, whoever drives it."""

    def elaborate(self, platform: object) -> Module:
        return self._parts()
