"""Input buffer of a router: packets wait here until each output they are for has taken them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.ports import Port

from ..node.arbiter import RoundRobinArbiter

__all__ = ["InputBuffer"]

_PORTS = len(Port)


class InputBuffer(wiring.Component):
    """Holds packets until all outputs that they are for have taken them.

    For each output the oldest packet that it is wanted for is on offer, so a packet waits only for
    others to the same output. A packet that arrives is on offer in the same cycle, and is not
    stored when it leaves at once. One packet leaves per cycle, to any number of outputs.

    Golden twin: `d1_golden.fabric.router`.

    Parameters
    ----------
    layout
        Of the packets.
    depth
        Packets, at least 2.

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
        Of these, the outputs that would take one in this cycle.
    taken : Out(5)
        Of these, those that do take `o_packet`.
    o_packet : Out(layout)
    o_control : Out(1)
        The packet that leaves, and its `control`.
    empty : Out(1)
        No packet is stored. From a register.

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
    taken: Signal
    o_packet: Any
    o_control: Signal
    empty: Signal

    def __init__(self, layout: data.StructLayout, *, depth: int = 8):
        if depth < 2:
            raise ValueError(f"depth must be at least 2, not {depth!r}")
        self._layout, self._depth = layout, depth
        super().__init__(
            {
                "valid": In(1),
                "packet": In(layout),
                "outputs": In(_PORTS),
                "control": In(1),
                "room": Out(1),
                "requests": Out(_PORTS),
                "grants": In(_PORTS),
                "taken": Out(_PORTS),
                "o_packet": Out(layout),
                "o_control": Out(1),
                "empty": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        depth = self._depth
        # A place in the queue is a bit of these; the oldest packet is in place 0, and there are
        # no gaps: when a packet leaves, those behind it move up, in the queue but not in memory.
        queued = [Signal(depth, name=f"queued_{port.name}") for port in Port]
        control = Signal(depth)
        occupied, end = Signal(depth), Signal(depth + 1)
        wanted = [Signal(depth + 1, name=f"wanted_{port.name}") for port in Port]
        oldest = [Signal(depth + 1, name=f"oldest_{port.name}") for port in Port]
        m.d.comb += [
            occupied.eq(_any(queued)),
            end.eq(occupied + 1),  # the place of what arrives
            self.empty.eq(~occupied[0]),
        ]
        for n in range(_PORTS):
            m.d.comb += [
                wanted[n].eq(queued[n] | Mux(self.valid & self.outputs[n], end, 0)),
                oldest[n].eq(wanted[n] & -wanted[n]),
                self.requests[n].eq(wanted[n].any()),
            ]

        # The outputs that grant take turns; others may take the same packet in the same cycle.
        m.submodules.turn = turn = RoundRobinArbiter(_PORTS)
        chosen = Signal(depth + 1)
        m.d.comb += turn.requests.eq(self.grants)
        m.d.comb += chosen.eq(_any(Mux(turn.grants[n], oldest[n], 0) for n in range(_PORTS)))
        for n in range(_PORTS):
            m.d.comb += self.taken[n].eq(self.grants[n] & (oldest[n] & chosen).any())

        left = [Signal(depth + 1, name=f"left_{port.name}") for port in Port]
        gone, stay = Signal(depth + 1), Signal(depth + 1)
        for n in range(_PORTS):
            m.d.comb += left[n].eq(wanted[n] & ~Mux(self.taken[n], chosen, 0))
        m.d.comb += [
            gone.eq(chosen & ~_any(left)),
            stay.eq(gone - 1),  # the places before it; all when nothing leaves
            self.room.eq(~_moved_up(_any(left), stay)[depth - 1]),
        ]
        m.d.sync += [q.eq(_moved_up(one, stay)) for q, one in zip(queued, left, strict=True)]
        controls = control | Mux(self.control, end, 0)
        m.d.sync += control.eq(_moved_up(controls & _any(left), stay))
        m.d.comb += self.o_control.eq((controls & chosen).any())
        self._packets(m, occupied, end, chosen, gone, stay)
        return m

    def _packets(
        self, m: Module, occupied: Signal, end: Signal, chosen: Signal, gone: Signal, stay: Signal
    ) -> None:
        """Keep each packet in one slot of the memory, and read the one that is chosen."""
        depth = self._depth
        memory = Memory(shape=self._layout, depth=depth, init=[])
        m.submodules.memory = memory
        read, write = memory.read_port(domain="comb"), memory.write_port()
        slots = [Signal(range(depth), name=f"slot_{n}") for n in range(depth)]  # by place
        used = Signal(depth)
        free, slot = Signal(depth), Signal(range(depth))
        m.d.comb += [
            free.eq(~used & (used + 1)),
            slot.eq(_any(Mux(free[n], n, 0) for n in range(depth))),
            read.addr.eq(_any(Mux(chosen[n], slots[n], 0) for n in range(depth))),
            # What arrives is written even when it leaves at once: the slot is free.
            write.addr.eq(slot),
            write.data.eq(self.packet),
            write.en.eq(self.valid),
            self.o_packet.eq(Mux((chosen & end).any(), self.packet, read.data)),
        ]
        places = [Mux(end[n] & self.valid, slot, slots[n]) for n in range(depth)]
        for n in range(depth):
            behind = places[n + 1] if n + 1 < depth else places[n]
            m.d.sync += slots[n].eq(Mux(stay[n], places[n], behind))
        stored = self.valid & ~(gone & end).any()
        freed = (gone & occupied).any()
        m.d.sync += used.eq(
            (used | Mux(stored, free, 0)) & ~Mux(freed, Const(1, depth) << read.addr, 0)[:depth]
        )


def _any(values: Iterable[Value]) -> Value:
    """Return the values, bit by bit, of which any has it set."""
    return reduce(or_, values)


def _moved_up(queue: Value, stay: Value) -> Value:
    """Return a queue after those outside `stay` have moved up by one."""
    return (queue & stay) | (queue >> 1 & ~stay)
