"""Slot queue: the packets of an input buffer that wait for one output."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SlotQueue"]


class SlotQueue(wiring.Component):
    """The numbers of slots in the order in which they came.

    One comes and one leaves per cycle; what comes shows in the next cycle.

    Golden twin: none of its own; `d1_golden.fabric.router` has it in its buffers.

    Parameters
    ----------
    slots
        How many there are. None is in the queue twice.

    Members
    -------
    push : In(1)
    slot : In(range(slots))
        A slot comes.
    pop : In(1)
        The oldest leaves; only with `valid`.
    head : Out(range(slots))
    valid : Out(1)
        The oldest, and whether there is one. From registers.
    members : Out(slots)
        The slots that are in the queue. From registers.
    next_members : Out(slots)
        The slots that will be in the queue in the next cycle. Combinational.
    """

    push: Signal
    slot: Signal
    pop: Signal
    head: Signal
    valid: Signal
    members: Signal
    next_members: Signal

    def __init__(self, slots: int):
        width = (slots - 1).bit_length()
        #: The slots, the oldest first and zero where there is none, and how many there are. For
        #: proofs; nobody else looks at them.
        self.order = Signal(slots * width)
        self.level = Signal(range(slots + 1))
        super().__init__(
            {
                "push": In(1),
                "slot": In(range(slots)),
                "pop": In(1),
                "head": Out(range(slots)),
                "valid": Out(1),
                "members": Out(slots),
                "next_members": Out(slots),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        slots, width = len(self.members), len(self.slot)
        order, level = self.order, self.level
        kept, valid = Signal.like(level), Signal()
        m.d.comb += [
            self.head.eq(order[:width]),
            self.valid.eq(valid),
            kept.eq(level - self.pop),
            self.next_members.eq(
                (self.members & ~Mux(self.pop, _one_hot(self.head, slots), 0))
                | Mux(self.push, _one_hot(self.slot, slots), 0)
            ),
        ]
        place = kept * width  # of what comes, in bits
        with m.If(self.pop | self.push):
            m.d.sync += [
                level.eq(kept + self.push),
                valid.eq((kept != 0) | self.push),
                order.eq(
                    Mux(self.pop, order >> width, order)
                    | Mux(self.push, self.slot << place[: len(order).bit_length()], 0)
                ),
                self.members.eq(self.next_members),
            ]
        return m


def _one_hot(number: Signal, width: int) -> Value:
    return (Const(1, width) << number)[:width]
