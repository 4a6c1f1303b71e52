"""The ports of a router."""

from __future__ import annotations

import enum

__all__ = ["SIDES", "Port"]


class Port(enum.IntEnum):
    """Where a packet enters or leaves a router; row numbers grow to the south."""

    LOCAL = 0  #: the node of the router's own place
    NORTH = 1
    EAST = 2
    SOUTH = 3
    WEST = 4

    @property
    def opposite(self) -> Port:
        """The port of the neighbour at the other end of the link."""
        if self is Port.LOCAL:
            raise ValueError("opposite must be asked of a side, not LOCAL")
        return Port((self - 1 + 2) % 4 + 1)

    @property
    def step(self) -> tuple[int, int]:
        """Columns and rows from a place to its neighbour on this side."""
        return ((0, 0), (0, -1), (1, 0), (0, 1), (-1, 0))[self]


#: The ports that lead to neighbours.
SIDES = (Port.NORTH, Port.EAST, Port.SOUTH, Port.WEST)
