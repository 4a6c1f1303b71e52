"""The routers' own end: their registers, and the answer to what no node will answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.place import PLACE_BITS
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import Plane
from d1_golden.memory_map import (
    LOCAL_BITS,
    ROUTE_TABLE_REGISTERS,
    ROUTER_BASE,
    ROUTER_BITS,
    SERDES_BASE,
    SERDES_STRIDE,
    LinkRegister,
    RouterRegister,
    register_address,
    router_lines,
    serdes_lines,
)
from d1_golden.params import LINE_BYTES

from ..node.interfaces import Opcode, packet_layout
from ..node.packet_door import is_between
from ..node.request_check import is_malformed, register_masks
from .interfaces import RoutingSignature, edge_access_layout
from .route_computation import is_router_register
from .routing_table import RoutingTable

__all__ = ["RouterControl"]

_LINE_REGISTERS = LINE_BYTES // 8
_OFFSET_BITS = (LINE_BYTES - 1).bit_length()
_COUNT_BITS = 64
#: Cycles that a register of a link's end takes: on the way there, there, on the way back.
_EDGE_CYCLES = 3
#: Lines of the links' ends, counted from `ROUTER_BASE`: the first, and from one end to the next.
_EDGE_LINE = (SERDES_BASE - ROUTER_BASE) // LINE_BYTES
_EDGE_STRIDE = SERDES_STRIDE // LINE_BYTES


def _number(register: RouterRegister | LinkRegister) -> int:
    """Return the number of a register, counted from `ROUTER_BASE`."""
    return (register_address(register) - ROUTER_BASE) // 8


class RouterControl(wiring.Component):
    """Carries out requests to the routers' registers, and refuses or drops what has no node.

    What a router does not hand to the node comes here: requests to the registers from
    `memory_map.ROUTER_BASE` on; whatever is for a node that is disabled; whatever has no way from
    here. Requests are answered with FAULT_REPLY, replies and BROADCASTs dropped. Works one request
    at a time: a refusal takes 1 cycle, a line of registers 8, one register after the other in the
    order of their addresses; a line of a link's end beside this place 24. A reply enters the router
    in the cycle after that or later.

    Golden twin: `d1_golden.fabric.router_control.RouterControl`.

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
        What the two routers do not hand to the node.
    o_reply : Out(stream.Signature(packet_layout()))
        Into the reply plane.
    place : In(32)
        Bits 55..24 of the addresses of this place.
    routing : In(RoutingSignature()).array(2)
        The routers, by `Plane`.
    passed : In(5).array(2)
        Outputs of each router by which a packet leaves in this cycle.
    edge_access : Out(edge_access_layout())
        To the ends of links beside this place.
    edge_read : In(64).array(4)
        By `SIDES`: the register of that end that was named two cycles before or longer ago.
    edge_present : In(4)
        Sides with the end of a link. It never changes.
    """

    i_request: Any
    i_reply: Any
    o_reply: Any
    place: Signal
    routing: Sequence[Any]
    passed: Sequence[Signal]
    edge_access: Any
    edge_read: Sequence[Signal]
    edge_present: Signal

    def __init__(self) -> None:
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i_request": In(packet),
                "i_reply": In(packet),
                "o_reply": Out(packet),
                "place": In(PLACE_BITS),
                "routing": In(RoutingSignature()).array(len(Plane)),
                "passed": In(len(Port)).array(len(Plane)),
                "edge_access": Out(edge_access_layout()),
                "edge_read": In(64).array(len(SIDES)),
                "edge_present": In(len(SIDES)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        request, reply = self.i_request.payload, self.o_reply.payload
        line = request.address[_OFFSET_BITS:ROUTER_BITS]
        step = Signal(range(_LINE_REGISTERS))  # the register of the line
        is_broadcast, is_write = Signal(), Signal()
        accepted = self._is_accepted(m, request, line)
        m.d.comb += [
            is_broadcast.eq(request.opcode == Opcode.BROADCAST),
            is_write.eq(request.opcode != Opcode.READ),
        ]
        # The request stays where it is until all its registers are done and its reply is gone.
        done, answered, finished = Signal(), Signal(), Signal()
        m.d.comb += [
            done.eq(
                self.i_request.valid & (~accepted | (finished & (step == _LINE_REGISTERS - 1)))
            ),
            # A request that is accepted and wants an acknowledgement is no BROADCAST.
            answered.eq(Mux(accepted, ~is_write | request.flags.acknowledge, ~is_broadcast)),
            self.o_reply.valid.eq(done & answered),
            self.i_request.ready.eq(done & (self.o_reply.ready | ~answered)),
            self.i_reply.ready.eq(1),
        ]
        masked = Cat(byte.all() for byte in register_masks(request.mask)).bit_select(step, 1)
        write = self.i_request.valid & accepted & is_write & (masked | is_broadcast)
        counters = self._count(m, self.i_request.ready, accepted)
        word = Signal(64)
        with m.Switch(step):  # as a shift this is slow to simulate
            for n in range(_LINE_REGISTERS):
                with m.Case(n):
                    m.d.comb += word.eq(request.data[64 * n :][:64])
        read = self._registers(m, line, step, write, word, counters)
        busy = self.i_request.valid & accepted
        m.d.comb += finished.eq(self._access_edge(m, line, step, busy, write, word, read))

        # What was read moves in from above, so that the first register ends up lowest.
        words = Signal(64 * (_LINE_REGISTERS - 1))
        with m.If(busy & finished & ~done):
            m.d.sync += [step.eq(step + 1), words.eq(Cat(words[64:], read))]
        with m.If(self.i_request.ready):
            m.d.sync += step.eq(0)
        m.d.comb += [reply[name].eq(request[name]) for name in ("tag", "source", "address")]
        with m.If(~accepted):
            m.d.comb += reply.opcode.eq(Opcode.FAULT_REPLY)
        with m.Elif(is_write):
            m.d.comb += reply.opcode.eq(Opcode.WRITE_REPLY)
        with m.Else():
            m.d.comb += [reply.opcode.eq(Opcode.READ_REPLY), reply.data.eq(Cat(words, read))]
        return m

    def _is_accepted(self, m: Module, request: Any, line: Value) -> Signal:
        """Return whether a request is for registers of this place and may be carried out."""
        to = request.address[LOCAL_BITS : LOCAL_BITS + PLACE_BITS]
        here, accepted = Signal(), Signal()
        with m.If(request.opcode == Opcode.BROADCAST):
            m.d.comb += here.eq(is_between(self.place, to, request.mask[:PLACE_BITS]))
        with m.Else():
            m.d.comb += here.eq(to == self.place)
        m.d.comb += accepted.eq(
            here
            & is_router_register(request.address)
            & ((line < len(router_lines())) | self._is_present(line))
            & ~is_malformed(m, request)
            & ~request.flags.post  # there are no semaphores here
        )
        return accepted

    def _is_present(self, line: Value) -> Value:
        """Return whether a line is one of a link's end that is there."""
        lines = [
            ((address - ROUTER_BASE) // LINE_BYTES, self.edge_present[index])
            for index in range(len(SIDES))
            for address in serdes_lines(index)
        ]
        return Cat((line == number) & present for number, present in lines).any()

    def _access_edge(
        self,
        m: Module,
        line: Value,
        step: Signal,
        busy: Value,
        write: Value,
        data: Value,
        read: Signal,
    ) -> Signal:
        """Access register `step` of a link's end; return whether `read` has what it held.

        Of other lines that is so at once.
        """
        is_edge, phase = line >= _EDGE_LINE, Signal(range(_EDGE_CYCLES))
        finished = Signal()
        m.d.comb += finished.eq(~is_edge | (phase == _EDGE_CYCLES - 1))
        m.d.sync += self.edge_access.select.eq(0)
        with m.If(is_edge):
            side = (line - _EDGE_LINE)[: (len(SIDES) * _EDGE_STRIDE - 1).bit_length()]
            side = side[(_EDGE_STRIDE - 1).bit_length() :]
            with m.Switch(side):
                for index, register in enumerate(self.edge_read):
                    with m.Case(index):
                        m.d.comb += read.eq(register)
            with m.If(busy & (phase == 0)):
                m.d.sync += [
                    self.edge_access.select.eq(1 << side),
                    self.edge_access.number.eq(Cat(step, line)),
                    self.edge_access.write.eq(write),
                    self.edge_access.data.eq(data),
                ]
            with m.If(busy & ~finished):
                m.d.sync += phase.eq(phase + 1)
            with m.Elif((step != _LINE_REGISTERS - 1) | self.i_request.ready):
                m.d.sync += phase.eq(0)
        return finished

    def _registers(
        self,
        m: Module,
        line: Value,
        step: Signal,
        write: Value,
        data: Value,
        counters: dict[int, Signal],
    ) -> Signal:
        """Keep the registers, write register `step` of a line, and return what is in it."""
        read = Signal(64)
        m.submodules.table = table = RoutingTable(len(Plane) * len(Port))
        lookups = [(plane, port) for plane in self.routing for port in Port]
        for n, (plane, port) in enumerate(lookups):
            m.d.comb += [table.index[n].eq(plane.index[port]), plane.entry[port].eq(table.entry[n])]
        is_table = Cat(step, line) < ROUTE_TABLE_REGISTERS
        m.d.comb += [
            table.register.eq(Cat(step, line)),
            table.write.eq(write & is_table),
            table.write_data.eq(data),
        ]
        exits, disabled = Signal.like(self.routing[0].exits), Signal()
        for plane in self.routing:
            m.d.comb += [plane.exits.eq(exits), plane.core_disabled.eq(disabled)]
        stored = {
            _number(RouterRegister.EXITS): exits,
            _number(RouterRegister.CORE_DISABLED): disabled,
        }
        with m.If(is_table):
            m.d.comb += read.eq(table.read_data)
        with m.Switch(Cat(step, line)):
            for number, value in (stored | counters).items():
                with m.Case(number):
                    m.d.comb += read.eq(value)
                    if number in stored:
                        with m.If(write):
                            m.d.sync += value.eq(data)
        return read

    def _count(self, m: Module, finished: Value, accepted: Value) -> dict[int, Signal]:
        """Count what happens here; return the counters by the numbers of their registers."""
        is_broadcast = self.i_request.payload.opcode == Opcode.BROADCAST
        refused = finished & ~accepted
        events = {
            RouterRegister.DROPPED: (refused & is_broadcast) + self.i_reply.valid,
            RouterRegister.REFUSED: refused & ~is_broadcast,
        }
        counters = {}
        for register, event in events.items():
            counters[_number(register)] = count = Signal(_COUNT_BITS, name=register.name.lower())
            m.d.sync += count.eq(count + event)
        for link in LinkRegister:
            plane, port = divmod(link, _LINE_REGISTERS)
            counters[_number(link)] = count = Signal(_COUNT_BITS, name=link.name.lower())
            with m.If(self.passed[plane][port]):
                m.d.sync += count.eq(count + 1)
        return counters
