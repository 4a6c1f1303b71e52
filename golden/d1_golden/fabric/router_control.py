"""The routers' own end at a place: registers, refusals, drops.

Golden twin of `d1_rtl.fabric.router_control`; docs/router.md has the rules.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d1_golden.memory_map import (
    LOCAL_BITS,
    ROUTE_TABLE_REGISTERS,
    ROUTE_TABLE_SIDE,
    ROUTER_BASE,
    SERDES_BASE,
    SERDES_STRIDE,
    LinkRegister,
    RouterRegister,
    RouteTableRegister,
    register_address,
    router_lines,
    serdes_lines,
)
from d1_golden.node.packet_door import is_between, is_well_formed
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, POST_FLAG, Opcode, refuse
from d1_golden.params import LINE_BYTES

from .golden_edge import GoldenEdge
from .place import PLACE_BITS, Place
from .ports import SIDES, Port
from .routing import ENTRY_BITS, Plane, RoutingState, is_router_register

__all__ = ["RouterControl"]

_REGISTER_ENTRIES = 64 // ENTRY_BITS
_LINE_REGISTERS = LINE_BYTES // 8
_PLACE_MASK = (1 << PLACE_BITS) - 1
_ENTRY_MASK = (1 << ENTRY_BITS) - 1


class RouterControl:
    """Carries out requests to the routers' registers, and answers what no node will answer.

    Parameters
    ----------
    place
        Where the routers are.

    Attributes
    ----------
    state
        Tables, exits and whether the core is disabled.
    dropped, refused
        Packets that nobody got, and requests that were refused.
    passed : uint64[2, 5]
        Packets that left by each port of each plane: for a simulation with links to count.
    edges : dict[Port, GoldenEdge]
        The ends of links to other dies beside this place, by side; their registers are read and
        written here.

    """

    def __init__(self, place: Place):
        self._place = place.bits
        self.edges: dict[Port, GoldenEdge] = {}
        self.reset()

    def reset(self) -> None:
        """Return to the state after a reset."""
        self.state = RoutingState()
        self.dropped = self.refused = 0
        self.passed = np.zeros((len(Plane), len(Port)), np.uint64)

    def drop(self) -> None:
        """Take a reply that no node can get."""
        self.dropped += 1

    def carry_out(self, request: np.void) -> NDArray[np.void]:
        """Carry out or refuse a request; return its reply, or nothing.

        Parameters
        ----------
        request
            A packet of `PACKET_DTYPE` that a router did not hand to the node.

        """
        is_broadcast = bool(request["opcode"] == Opcode.BROADCAST)
        if not self._accepts(request):
            self.dropped += is_broadcast
            self.refused += not is_broadcast
            return refuse(np.array([request][: not is_broadcast], PACKET_DTYPE))
        reply = refuse(np.array([request], PACKET_DTYPE))
        first = int(request["address"]) & (1 << LOCAL_BITS) - 1
        if request["opcode"] == Opcode.READ:
            words = [self._read(first + 8 * n) for n in range(_LINE_REGISTERS)]
            reply["opcode"] = Opcode.READ_REPLY
            reply["data"] = np.array(words, "<u8").view(np.uint8)
            return reply
        for n, word in enumerate(request["data"].view("<u8")):
            if is_broadcast or int(request["mask"]) >> 8 * n & 1:
                self._write(first + 8 * n, int(word))
        reply["opcode"] = Opcode.WRITE_REPLY
        return reply if request["flags"] & ACK_FLAG else reply[:0]

    def _accepts(self, request: np.void) -> bool:
        """Return whether a request is for registers of this place and may be carried out."""
        address, mask = int(request["address"]), int(request["mask"])
        place, local = address >> LOCAL_BITS, address & (1 << LOCAL_BITS) - 1
        if request["opcode"] == Opcode.BROADCAST:
            far = np.uint64(mask & _PLACE_MASK)
            here = is_between(np.uint64(self._place), np.uint64(place), far)
            here = here and place <= _PLACE_MASK
        else:
            here = place == self._place
        partial = request["opcode"] == Opcode.WRITE and any(
            byte not in (0, 0xFF) for byte in mask.to_bytes(8, "little")
        )
        return bool(
            here
            and is_router_register(address)
            and (local in router_lines() or self._is_edge_line(local))
            and not partial
            and is_well_formed(*map(np.uint64, (request["opcode"], request["flags"], local, mask)))
            and not request["flags"] & POST_FLAG  # there are no semaphores here
        )

    def _is_edge_line(self, address: int) -> bool:
        """Return whether a line is of the end of a link that is here."""
        return any(address in serdes_lines(SIDES.index(side)) for side in self.edges)

    def _read(self, address: int) -> int:
        """Return what a register holds; 0 where there is none."""
        if address >= SERDES_BASE:
            side, offset = divmod(address - SERDES_BASE, SERDES_STRIDE)
            return self.edges[SIDES[side]].read(offset // 8)
        table = (address - register_address(RouteTableRegister.ENTRIES)) // 8
        if table < ROUTE_TABLE_REGISTERS:
            return _packed(self.state.entries.reshape(-1, _REGISTER_ENTRIES)[table])
        values = {
            RouterRegister.EXITS: _packed(self.state.exits),
            RouterRegister.CORE_DISABLED: int(self.state.core_disabled),
            RouterRegister.DROPPED: self.dropped,
            RouterRegister.REFUSED: self.refused,
        }
        for register, value in values.items():
            if register_address(register) == address:
                return value
        for link in LinkRegister:
            if register_address(link) == address:
                return int(self.passed[divmod(link, _LINE_REGISTERS)])
        return 0

    def _write(self, address: int, value: int) -> None:
        """Write a register; those that are read only ignore it."""
        if address >= SERDES_BASE:
            side, offset = divmod(address - SERDES_BASE, SERDES_STRIDE)
            self.edges[SIDES[side]].write(offset // 8, value)
            return
        table = (address - ROUTER_BASE) // 8
        if table < ROUTE_TABLE_REGISTERS:
            first = table * _REGISTER_ENTRIES
            row, column = divmod(first, ROUTE_TABLE_SIDE)
            self.state.entries[row, column : column + _REGISTER_ENTRIES] = _unpacked(
                value, _REGISTER_ENTRIES
            )
        elif address == register_address(RouterRegister.EXITS):
            self.state.exits[:] = _unpacked(value, len(SIDES))
        elif address == register_address(RouterRegister.CORE_DISABLED):
            self.state.core_disabled = bool(value & 1)


def _packed(entries: NDArray[np.uint8]) -> int:
    """Return entries as a register, the first lowest."""
    return sum(int(entry) << ENTRY_BITS * n for n, entry in enumerate(entries))


def _unpacked(value: int, count: int) -> list[int]:
    """Return the entries in a register, the lowest first."""
    return [value >> ENTRY_BITS * n & _ENTRY_MASK for n in range(count)]
