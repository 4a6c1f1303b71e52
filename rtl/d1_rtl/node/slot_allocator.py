"""Which instructions go to which slots in a cycle."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

__all__ = ["LaneNeeds", "SlotAllocator"]


class LaneNeeds(data.Struct):
    """What an instruction needs to be issued."""

    #: There is one and it waits for nothing but a slot.
    ready: 1
    #: An ALU slot; the first one, which has the units that there are once.
    alu: 1
    first_alu: 1
    #: An address slot does as well as an ALU slot.
    simple: 1
    #: An address slot: the first for scalar loads, the last for scalar stores, else any.
    address: 1
    loads: 1
    stores: 1
    #: The place of its group in the vector queues.
    vector: 1
    #: Nothing of its thread is issued after it in this cycle.
    ends: 1


class SlotAllocator(wiring.Component):
    """Give slots to instructions in program order within each group, the first group first.

    An instruction goes if it is ready, all before it in its group go and none of them ends the
    group, and its slots are free. A simple integer operation that finds no ALU slot takes an
    address slot. ALU slots but the first, and the vector place of each group, are always free at
    the begin of a cycle. Combinational.

    Golden twin: none; it keeps order, and the golden node has no other.

    Parameters
    ----------
    params
        Number of slots, groups and instructions of each.

    Members
    -------
    lanes : In(LaneNeeds).array(lanes)
        The instructions of the first group, then those of the second: `issue_width` of each.
    first_free : In(1), address_free : In(address slots)
        The first ALU slot, and each address slot.
    goes : Out(lanes)
    alu : Out(ALU slots).array(lanes)
    address : Out(address slots).array(lanes)
        One-hot, of instructions that go.
    """

    lanes: Any
    first_free: Signal
    address_free: Signal
    goes: Signal
    alu: Any
    address: Any

    def __init__(self, params: NodeParams):
        slots = params.scalar_slots // 2
        lanes = params.issue_groups * params.issue_width
        self._params = params
        self._slots = slots
        super().__init__(
            {
                "lanes": In(LaneNeeds).array(lanes),
                "first_free": In(1),
                "address_free": In(slots),
                "goes": Out(lanes),
                "alu": Out(slots).array(lanes),
                "address": Out(slots).array(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        others = self._slots - 1
        alus: Value = Cat(self.first_free, Const((1 << others) - 1, others))
        addresses: Value = self.address_free
        for group in range(self._params.issue_groups):
            going: Value = Const(1)
            vector_free: Value = Const(1)
            for place in range(self._params.issue_width):
                index = group * self._params.issue_width + place
                lane = self.lanes[index]
                alu, address = (Signal(self._slots, name=f"{n}_{index}") for n in ("alu", "addr"))
                goes, to_address = Signal(name=f"goes_{index}"), Signal(name=f"to_address_{index}")
                m.d.comb += [
                    to_address.eq(lane.address | (lane.simple & ~alus.any())),
                    alu.eq(Mux(lane.first_alu, alus & 1, _highest(alus))),
                    address.eq(_highest(addresses)),
                    goes.eq(
                        going
                        & lane.ready
                        & Mux(to_address, address.any(), ~lane.alu | alu.any())
                        & (~lane.vector | vector_free)
                    ),
                    self.goes[index].eq(goes),
                    self.alu[index].eq(Mux(goes & lane.alu & ~to_address, alu, 0)),
                    self.address[index].eq(Mux(goes & to_address, address, 0)),
                ]
                with m.If(lane.loads):
                    m.d.comb += address.eq(addresses & 1)
                with m.Elif(lane.stores):
                    m.d.comb += address.eq(addresses & (1 << self._slots - 1))
                going = goes & ~lane.ends
                alus = alus & ~self.alu[index]
                addresses = addresses & ~self.address[index]
                vector_free = vector_free & ~lane.vector
        return m


def _highest(bits: Value) -> Value:
    """Return the highest set bit alone."""
    return Cat(
        bit & ~bits[index + 1 :].any() if index + 1 < len(bits) else bit
        for index, bit in enumerate(bits)
    )
