"""Input buffer of a router: packets wait here until each output they are for has taken them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.ports import Port

from .slot_queue import SlotQueue

__all__ = ["InputBuffer"]

_PORTS = len(Port)


class InputBuffer(wiring.Component):
    """Holds packets until all outputs that they are for have taken them.

    Each output has a queue of its own and reads for itself, so a packet waits only for others to
    the same output; the slots are shared. A packet that arrives is on offer in the same cycle, and
    is not stored when it leaves at once. One packet arrives per cycle, one leaves to each output.

    Golden twin: `d1_golden.fabric.router`.

    Parameters
    ----------
    layout
        Of the packets.
    depth
        Slots, each for a packet; at least 2.

    Members
    -------
    valid : In(1)
    packet : In(layout)
    outputs : In(5)
    control : In(1)
        A packet arrives, the outputs it is for, and whether LOCAL means the control.
    room : Out(1)
        A packet may arrive in the next cycle. Combinational.
    requests : Out(5)
        Outputs that there is a packet for.
    grants : In(5)
        Of these, the outputs that take theirs in this cycle.
    o_packets : Out(layout).array(5)
        The packet for each output.
    o_control : Out(1)
        Whether that for LOCAL is for the control.
    empty : Out(1)
        No packet is stored. From registers.

    Raises
    ------
    ValueError
        If `depth` is less than 2.
    """

    valid: Signal
    packet: Any
    outputs: Signal
    control: Signal
    room: Signal
    requests: Signal
    grants: Signal
    o_packets: Sequence[Any]
    o_control: Signal
    empty: Signal

    def __init__(self, layout: data.StructLayout, *, depth: int = 8):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        self._layout, self._depth = layout, depth
        #: The queue of each output, the slot of what arrives, and of each slot whether its packet
        #: is for the control. For proofs; nobody else looks at them.
        self.queues = [SlotQueue(depth) for _ in Port]
        self.slot = Signal(range(depth))
        self.controls = Signal(depth)
        super().__init__(
            {
                "valid": In(1),
                "packet": In(layout),
                "outputs": In(_PORTS),
                "control": In(1),
                "room": Out(1),
                "requests": Out(_PORTS),
                "grants": In(_PORTS),
                "o_packets": Out(layout).array(_PORTS),
                "o_control": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        depth = self._depth
        queues, slot, controls = self.queues, self.slot, self.controls
        used, free = Signal(depth), Signal(depth)
        m.d.comb += [
            used.eq(reduce(or_, (queue.members for queue in queues))),
            self.empty.eq(~used.any()),
            self.room.eq(~reduce(or_, (queue.next_members for queue in queues)).all()),
            free.eq(~used & (used + 1)),  # the lowest that is
            slot.eq(reduce(or_, (Mux(free[n], n, 0) for n in range(depth)))),
        ]
        memory: Any = Memory(shape=self._layout, depth=depth, init=[])
        m.submodules.memory = memory
        write = memory.write_port()
        # A packet is written even when it leaves at once: the slot is free.
        m.d.comb += [write.en.eq(self.valid), write.addr.eq(slot), write.data.eq(self.packet)]
        with m.If(self.valid):
            m.d.sync += controls.bit_select(slot, 1).eq(self.control)

        for port, queue in zip(Port, queues, strict=True):
            m.submodules[f"queue_{port.name.lower()}"] = queue
            read = memory.read_port(domain="comb")
            arrives = self.valid & self.outputs[port]
            granted = self.grants[port]
            m.d.comb += [
                self.requests[port].eq(queue.valid | arrives),
                queue.pop.eq(granted & queue.valid),
                queue.push.eq(arrives & (queue.valid | ~granted)),
                queue.slot.eq(slot),
                read.addr.eq(queue.head),
                self.o_packets[port].eq(Mux(queue.valid, read.data, self.packet)),
            ]
        local = queues[Port.LOCAL]
        m.d.comb += self.o_control.eq(
            Mux(local.valid, controls.bit_select(local.head, 1), self.control)
        )
        return m
