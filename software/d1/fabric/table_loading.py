"""How a host that stands at the doors of a die loads its routing tables.

After a reset all routers go by dimension order, and a packet that meets a dead router waits there
for ever. So routers are loaded one after the other, each by a door from where the routers on the
way, as far as they are loaded by their tables and otherwise by dimension order, bring a packet to
it and its acknowledgement back out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import ENTRY_BITS, dimension_order
from d1_golden.memory_map import ROUTE_TABLE_BASE, RouterRegister, register_address
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, write_requests
from d1_golden.params import LINE_BYTES, DieParams
from numpy.typing import NDArray

from .routing_tables import RoutingTables

__all__ = ["LoadingStep", "loading_steps"]

#: The way of a packet at a router: the port where it leaves, None if it is refused there.
Ways = Callable[[Place, Place], Port | None]


@dataclass(frozen=True)
class LoadingStep:
    """What loads the table of one router.

    Parameters
    ----------
    door
        Where the packets enter the die.
    router
        The router's place.
    packets
        WRITEs of `PACKET_DTYPE` from the door to the router's registers. The last is acknowledged;
        the next step must wait for that.

    """

    door: Place
    router: Place
    packets: NDArray[np.void]


def loading_steps(tables: RoutingTables) -> list[LoadingStep]:
    """Return what to send after a reset, in this order; nothing for a die without dead routers.

    Raises
    ------
    RuntimeError
        If there is no such order; the message names the routers that are left.

    """
    waiting = {
        Place(column, row): packets
        for column, row in tables.die.live_routers
        if len(packets := _writes(tables, column, row))
    }
    loaded: set[Place] = set()
    steps: list[LoadingStep] = []

    def way(at: Place, to: Place) -> Port | None:
        return tables.port(at[:2], to[:2]) if at in loaded else dimension_order(at, to)

    while waiting:
        before = len(waiting)
        for router in list(waiting):
            loaded.add(router)
            door = _door(tables.die, router, way)
            if door is None:
                loaded.remove(router)
                continue
            packets = waiting.pop(router)
            packets["source"] = door.bits
            packets["flags"][-1] = ACK_FLAG
            steps.append(LoadingStep(door, router, packets))
        if len(waiting) == before:
            raise RuntimeError(
                f"routers must be reached one after the other, but these are not: "
                f"{', '.join(map(str, waiting))}"
            )
    return steps


def _writes(tables: RoutingTables, column: int, row: int) -> NDArray[np.void]:
    """Return the packets that write what is not zero of a router's tables."""
    place = Place(column, row)
    table = _packed(tables.entries[row - 1, column - 1])
    lines = table.reshape(-1, LINE_BYTES)
    packets = [
        write_requests(place.address(ROUTE_TABLE_BASE + LINE_BYTES * int(line)), lines[line])
        for line in np.flatnonzero(lines.any(axis=1))
    ]
    exits = _packed(tables.exit_entries[row - 1, column - 1])
    if exits.any():
        register = np.zeros(8, np.uint8)
        register[: len(exits)] = exits
        address = place.address(register_address(RouterRegister.EXITS))
        packets.append(write_requests(address, register))
    return np.concatenate([np.zeros(0, PACKET_DTYPE), *packets])


def _packed(entries: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return entries as the registers have them: the first in the lowest bits."""
    pairs = entries.reshape(-1, 8 // ENTRY_BITS)
    return (pairs[:, 0] | pairs[:, 1] << ENTRY_BITS).astype(np.uint8)


def _door(die: DieParams, router: Place, way: Ways) -> Place | None:
    """Return the nearest door from which packets come to a router, and replies back out."""
    columns, rows = range(1, die.columns + 1), range(1, die.rows + 1)
    doors = [Place(column, row) for row in (0, die.rows + 1) for column in columns]
    doors += [Place(column, row) for column in (0, die.columns + 1) for row in rows]
    live = set(die.live_routers)

    def inside(door: Place) -> Place:
        column, row = min(max(door.column, 1), die.columns), min(max(door.row, 1), die.rows)
        return Place(column, row)

    def end(start: Place, to: Place) -> Place | None:
        """Return where a packet leaves the mesh: at a node or a door; None if it does not."""
        at = start
        for _ in die.places:
            if at[:2] not in live or (port := way(at, to)) is None:
                return None
            beside = at if port is Port.LOCAL else at.neighbour(port)
            if beside == at or inside(beside) != beside:
                return beside
            at = beside
        return None

    def distance(door: Place) -> int:
        return abs(door.column - router.column) + abs(door.row - router.row)

    for door in sorted(doors, key=distance):
        leaves = end(router, door)
        if end(inside(door), router) == router and leaves and leaves != inside(leaves):
            return door
    return None
