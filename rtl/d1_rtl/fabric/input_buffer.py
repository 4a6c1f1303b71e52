"""Input buffer of a router: which packets wait for which outputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.ports import Port

from .slot_queue import SlotQueue

__all__ = ["InputBuffer"]

_PORTS = len(Port)


class InputBuffer(wiring.Component):
    """Keeps each packet in a slot until all outputs that it is for have taken it.

    The packets themselves are in the `PacketStore`. Each output has a queue of its own, so a packet
    waits only for others to the same output; the slots are shared. A packet that arrives is on
    offer in the same cycle, and its slot stays free when it leaves at once. One packet arrives per
    cycle, one leaves to each output.

    Golden twin: `d1_golden.fabric.router`.

    Parameters
    ----------
    depth
        Slots, each for a packet; at least 2.

    Members
    -------
    valid : In(1)
    outputs : In(5)
    control : In(1)
        A packet arrives, the outputs it is for, and whether LOCAL means the control.
    slot : Out(range(depth))
        Where it is to be written.
    room : Out(1)
        A packet may arrive in the next cycle. Combinational.
    requests : Out(5)
        Outputs that there is a packet for.
    o_slots : Out(range(depth)).array(5)
        The slot of the packet for each output.
    o_control : Out(1)
        Whether that for LOCAL is for the control.
    grants : In(5)
        Of the requests, the outputs that take their packet in this cycle.
    empty : Out(1)
        No packet is kept. From registers.

    Raises
    ------
    ValueError
        If `depth` is less than 2.
    """

    valid: Signal
    outputs: Signal
    control: Signal
    slot: Signal
    room: Signal
    requests: Signal
    o_slots: Sequence[Signal]
    o_control: Signal
    grants: Signal
    empty: Signal

    def __init__(self, depth: int):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        self._depth = depth
        #: The queue of each output, and of each slot whether its packet is for the control. For
        #: proofs; nobody else looks at them.
        self.queues = [SlotQueue(depth) for _ in Port]
        self.controls = Signal(depth)
        super().__init__(
            {
                "valid": In(1),
                "outputs": In(_PORTS),
                "control": In(1),
                "slot": Out(range(depth)),
                "room": Out(1),
                "requests": Out(_PORTS),
                "o_slots": Out(range(depth)).array(_PORTS),
                "o_control": Out(1),
                "grants": In(_PORTS),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        depth, queues, controls = self._depth, self.queues, self.controls
        used, free = Signal(depth), Signal(depth)
        m.d.comb += [
            used.eq(reduce(or_, (queue.members for queue in queues))),
            self.empty.eq(~used.any()),
            self.room.eq(~reduce(or_, (queue.next_members for queue in queues)).all()),
            free.eq(~used & (used + 1)),  # the lowest that is
            self.slot.eq(reduce(or_, (Mux(free[n], n, 0) for n in range(depth)))),
        ]
        for port, queue in zip(Port, queues, strict=True):
            m.submodules[f"queue_{port.name.lower()}"] = queue
            arrives = self.valid & self.outputs[port]
            granted = self.grants[port]
            m.d.comb += [
                self.requests[port].eq(queue.valid | arrives),
                self.o_slots[port].eq(Mux(queue.valid, queue.head, self.slot)),
                queue.pop.eq(granted & queue.valid),
                queue.push.eq(arrives & (queue.valid | ~granted)),
                queue.slot.eq(self.slot),
            ]
        with m.If(self.valid):
            m.d.sync += controls.bit_select(self.slot, 1).eq(self.control)
        local = queues[Port.LOCAL]
        m.d.comb += self.o_control.eq(
            Mux(local.valid, controls.bit_select(local.head, 1), self.control)
        )
        return m
