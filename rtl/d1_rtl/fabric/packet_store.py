"""Packet store of a router: the slots of the inputs and the registers of the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.ports import Port

__all__ = ["PacketStore"]

_PORTS = len(Port)


class PacketStore(wiring.Component):
    """Brings packets from the slots of any input to the registers of all outputs.

    Each input writes slots of its own; each output reads the slots of any input, also one that is
    written in the same cycle, and keeps what it read until it reads again. Latency 1 cycle; a
    packet per cycle at each input and each output.

    Golden twin: `d1_golden.fabric.router`.

    Parameters
    ----------
    layout
        Of the packets.
    depth
        Slots of each input.

    Members
    -------
    valid : In(1).array(5)
    slot : In(range(depth)).array(5)
    packet : In(layout).array(5)
        By input: a packet is written to a slot.
    grants : In(5).array(5)
        By output: the input that it reads from, if any.
    read_slot : In(range(depth)).array(5).array(5)
        By output and input: the slot that would be read.
    o_packet : Out(layout).array(5)
        By output: what it read last. From registers.
    """

    valid: Sequence[Signal]
    slot: Sequence[Signal]
    packet: Sequence[Any]
    grants: Sequence[Signal]
    read_slot: Sequence[Sequence[Signal]]
    o_packet: Sequence[Any]

    def __init__(self, layout: data.StructLayout, depth: int):
        self._layout, self._depth = layout, depth
        super().__init__(
            {
                "valid": In(1).array(_PORTS),
                "slot": In(range(depth)).array(_PORTS),
                "packet": In(layout).array(_PORTS),
                "grants": In(_PORTS).array(_PORTS),
                "read_slot": In(range(depth)).array(_PORTS).array(_PORTS),
                "o_packet": Out(layout).array(_PORTS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        memory: Any = Memory(shape=self._layout, depth=_PORTS * self._depth, init=[])
        m.submodules.memory = memory
        writes = [memory.write_port() for _ in Port]
        for i, write in zip(Port, writes, strict=True):
            m.d.comb += [
                write.en.eq(self.valid[i]),
                write.addr.eq(self.slot[i] + i * self._depth),
                write.data.eq(self.packet[i]),
            ]
        for o in Port:
            # The register of this port is the output's.
            read = memory.read_port(transparent_for=writes)
            m.d.comb += [read.en.eq(self.grants[o].any()), self.o_packet[o].eq(read.data)]
            for i in Port:
                with m.If(self.grants[o][i]):
                    m.d.comb += read.addr.eq(self.read_slot[o][i] + i * self._depth)
        return m
