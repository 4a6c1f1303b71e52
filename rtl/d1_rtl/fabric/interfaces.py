"""The shapes and signatures by which the parts of a router are connected."""

from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric import routing
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.memory_map import ROUTE_TABLE_SIDE, SerdesRegister

__all__ = ["RouteEntry", "RoutingSignature", "edge_access_layout", "port_names"]


class RouteEntry(enum.Enum, shape=routing.ENTRY_BITS):
    """Entries of the routing table: those of :class:`d1_golden.fabric.routing.RouteEntry`."""

    DIMENSION_ORDER = routing.RouteEntry.DIMENSION_ORDER
    LOCAL = routing.RouteEntry.LOCAL
    NORTH = routing.RouteEntry.NORTH
    EAST = routing.RouteEntry.EAST
    SOUTH = routing.RouteEntry.SOUTH
    WEST = routing.RouteEntry.WEST
    UNREACHABLE = routing.RouteEntry.UNREACHABLE


def edge_access_layout() -> data.StructLayout:
    """Return an access of a routers' control to a register of a link's end beside it.

    Members
    -------
    select : 4
        A bit for each of `SIDES`, for one cycle: the ends that are meant.
    number : 4
        Of the register, a `SerdesRegister`.
    write : 1
        `data` is written; what the register held is read all the same.
    data : 64
    """
    return data.StructLayout(
        {"select": len(SIDES), "number": range(len(SerdesRegister)), "write": 1, "data": 64}
    )


def port_names() -> tuple[str, ...]:
    """Return the names of the ports as they stand in the names of streams, in their order."""
    return tuple(port.name.lower() for port in Port)


class RoutingSignature(wiring.Signature):
    """What software may set of a router's ways, seen from the router.

    Members
    -------
    index : Out(10).array(5)
        For each input port the destination that is looked up: row above column, 5 bits each.
    entry : In(4).array(5)
        What the table says of it, in the same cycle.
    exits : In(16)
        The entries of other dies, that of north lowest.
    core_disabled : In(1)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "index": Out(2 * (ROUTE_TABLE_SIDE - 1).bit_length()).array(len(Port)),
                "entry": In(routing.ENTRY_BITS).array(len(Port)),
                "exits": In(routing.ENTRY_BITS * len(SIDES)),
                "core_disabled": In(1),
            }
        )
