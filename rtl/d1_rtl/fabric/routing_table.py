"""The routing table of a place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.routing import ENTRY_BITS
from d1_golden.memory_map import ROUTE_TABLE_REGISTERS, ROUTE_TABLE_SIDE

__all__ = ["RoutingTable"]

_COORDINATE_BITS = (ROUTE_TABLE_SIDE - 1).bit_length()
#: Bits of the number of an entry in its register.
_ENTRY_NUMBER_BITS = 4


class RoutingTable(wiring.Component):
    """A `RouteEntry` for each place of the die, for several lookups at once.

    Lookups are combinational; a register that is written shows in the next cycle. Registers that
    were not written since a reset are zero: by dimension order.

    Golden twin: `d1_golden.fabric.routing.RoutingState.entries`.

    Parameters
    ----------
    lookups
        How many there are at once.

    Members
    -------
    index : In(10).array(lookups)
        Row above column of a place, 5 bits each.
    entry : Out(4).array(lookups)
        Its entry.
    register : In(6)
        Which register of `memory_map.RouteTableRegister` is read or written.
    read_data : Out(64)
    write : In(1)
    write_data : In(64)
    """

    index: Sequence[Signal]
    entry: Sequence[Signal]
    register: Signal
    read_data: Signal
    write: Signal
    write_data: Signal

    def __init__(self, lookups: int):
        super().__init__(
            {
                "index": In(2 * _COORDINATE_BITS).array(lookups),
                "entry": Out(ENTRY_BITS).array(lookups),
                "register": In(range(ROUTE_TABLE_REGISTERS)),
                "read_data": Out(64),
                "write": In(1),
                "write_data": In(64),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        # A memory has no reset, so what was written since then is told apart.
        memory: Any = Memory(shape=64, depth=ROUTE_TABLE_REGISTERS, init=[])
        m.submodules.memory = memory
        written = Signal(ROUTE_TABLE_REGISTERS)
        port = memory.write_port()
        m.d.comb += [
            port.en.eq(self.write),
            port.addr.eq(self.register),
            port.data.eq(self.write_data),
        ]
        with m.If(self.write):
            m.d.sync += written.bit_select(self.register, 1).eq(1)

        def read(register: Value) -> Value:
            port = memory.read_port(domain="comb")
            m.d.comb += port.addr.eq(register)
            return Mux(written.bit_select(register, 1), port.data, 0)

        m.d.comb += self.read_data.eq(read(self.register))
        for index, entry in zip(self.index, self.entry, strict=True):
            word = read(index[_ENTRY_NUMBER_BITS:])
            m.d.comb += entry.eq(word.word_select(index[:_ENTRY_NUMBER_BITS], ENTRY_BITS))
        return m
