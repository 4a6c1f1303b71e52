"""Parameters of a machine of several dies, and how their edges are joined."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .fabric.place import Place
from .fabric.ports import SIDES, Port
from .params import DIES, DieParams
from .serdes.params import LINKS, LinkParams

__all__ = ["MACHINES", "DieLinkEnd", "MachineParams"]

#: Columns and rows of dies: each is a byte of an address.
_MAX_DIES = 256


class DieLinkEnd(NamedTuple):
    """One end of a link between dies: a place at the edge of a die, and the side it leaves by."""

    place: Place
    side: Port

    @property
    def door(self) -> Place:
        """The door that the link stands at."""
        return self.place.neighbour(self.side)

    def __str__(self) -> str:
        return f"{self.side.name.lower()} of {self.place}"


@dataclass(frozen=True, kw_only=True)
class MachineParams:
    """A machine: a grid of equal dies whose edges are joined by SerDes links.

    Dies are (die column, die row), both counted from 0, row 0 in the north. The links of an edge
    are spread over its places (`link_positions`); doors without a link, and those at the edge of
    the machine, stay doors.

    Parameters
    ----------
    name
        What the preset is called.
    die
        The dies, all alike. Their routers must all work: the way around a dead one would have to
        agree with the ways between dies.
    columns, rows
        Size of the grid of dies.
    link
        The links, all alike. Their flight takes at least a clock, by which a die may be simulated
        ahead of its neighbours.
    edge_links
        Links of each edge.

    Raises
    ------
    ValueError
        If a parameter is out of its range; the message names it and its value.
    """

    name: str
    die: DieParams
    columns: int
    rows: int
    link: LinkParams
    edge_links: int

    def __post_init__(self) -> None:
        for name in ("columns", "rows"):
            value = getattr(self, name)
            if not 1 <= value <= _MAX_DIES:
                raise ValueError(f"{name} must be in 1..{_MAX_DIES}, not {value!r}")
        shorter = min(self.die.columns, self.die.rows)
        if not 1 <= self.edge_links <= shorter:
            raise ValueError(f"edge_links must be in 1..{shorter}, not {self.edge_links!r}")
        if self.die.dead_routers:
            raise ValueError(
                f"die must have no dead routers in a machine, not {self.die.dead_routers!r}"
            )
        if self.link.flight_cycles < 1:
            raise ValueError(
                f"link must have flight_cycles of at least 1, not {self.link.flight_cycles!r}"
            )

    @property
    def dies(self) -> tuple[tuple[int, int], ...]:
        """All dies, row by row."""
        return tuple((c, r) for r in range(self.rows) for c in range(self.columns))

    @property
    def live_nodes(self) -> tuple[Place, ...]:
        """The places with a working node, die by die."""
        return tuple(Place(*place, *die) for die in self.dies for place in self.die.live_nodes)

    def link_positions(self, side: Port) -> tuple[int, ...]:
        """Return the rows (east, west) or columns (north, south) of an edge that have a link.

        Those without are spread evenly, and the last is never among them: packets of a place
        without a link go on to the next one (docs/dies.md).
        """
        places = self.die.rows if side in (Port.EAST, Port.WEST) else self.die.columns
        missing = places - self.edge_links
        without = {places * n // (missing + 1) for n in range(1, missing + 1)}
        return tuple(n for n in range(1, places + 1) if n not in without)

    def beside(self, die: tuple[int, int], side: Port) -> tuple[int, int] | None:
        """Return the die on one side of a die, if there is one."""
        column, row = die[0] + side.step[0], die[1] + side.step[1]
        return (column, row) if 0 <= column < self.columns and 0 <= row < self.rows else None

    @cached_property
    def ends(self) -> dict[DieLinkEnd, DieLinkEnd]:
        """The ends of all links, each with that at the other end; die by die, in order of sides."""
        return {
            end: self._other_end(end)
            for die in self.dies
            for side in SIDES
            if self.beside(die, side) is not None
            for end in self.edge(die, side)
        }

    def edge(self, die: tuple[int, int], side: Port) -> tuple[DieLinkEnd, ...]:
        """Return the ends of links that an edge of a die has if another die is there."""
        columns, rows = self.die.columns, self.die.rows
        at = {
            Port.NORTH: lambda n: (n, 1),
            Port.EAST: lambda n: (columns, n),
            Port.SOUTH: lambda n: (n, rows),
            Port.WEST: lambda n: (1, n),
        }[side]
        return tuple(DieLinkEnd(Place(*at(n), *die), side) for n in self.link_positions(side))

    def _other_end(self, end: DieLinkEnd) -> DieLinkEnd:
        place, side = end
        die = self.beside(place[2:], side)
        assert die is not None
        column = place.column if side.step[0] == 0 else self.die.columns + 1 - place.column
        row = place.row if side.step[1] == 0 else self.die.rows + 1 - place.row
        return DieLinkEnd(Place(column, row, *die), side.opposite)

    def is_place(self, place: Place) -> bool:
        """Return whether there is such a place, with or without a working node."""
        return (
            1 <= place.column <= self.die.columns
            and 1 <= place.row <= self.die.rows
            and place.die_column < self.columns
            and place.die_row < self.rows
        )

    def next_place(self, place: Place, side: Port) -> Place | None:
        """Return where a packet is that leaves a place by a side; None where it leaves by a door.

        What is at the other end of a link counts as beside a place.
        """
        beside = place.neighbour(side)
        if self.is_place(beside):
            return beside
        other = self.ends.get(DieLinkEnd(place, side))
        return other.place if other else None

    def host_doors(self) -> tuple[DieLinkEnd, ...]:
        """Return where the host stands: the doors at the edge of the machine."""
        columns, rows = self.die.columns, self.die.rows
        found = []
        for die in self.dies:
            for column, row in self.die.places:
                place = Place(column, row, *die)
                at_edge = {
                    Port.NORTH: row == 1,
                    Port.EAST: column == columns,
                    Port.SOUTH: row == rows,
                    Port.WEST: column == 1,
                }
                found += [
                    DieLinkEnd(place, side)
                    for side in SIDES
                    if at_edge[side] and self.beside(die, side) is None
                ]
        return tuple(found)

    def host_door(self, place: Place) -> DieLinkEnd:
        """Return the door by which the host's requests to a place enter.

        In the row or the column of the place, so that by dimension order a request goes straight
        there and its reply straight back: first those from which all is live without another
        die, west and east before north and south, then the nearest.

        Raises
        ------
        ValueError
            If there is no such place, or only dies without a link in the row and column are
            between it and the edge of the machine.
        """
        if not self.is_place(place):
            raise ValueError(f"place must be one of machine {self.name}, not {place}")
        ways = [way for side in SIDES if (way := self._straight_out(place, side))]
        if not ways:
            raise ValueError(f"place must have a straight way to a door of the host, not {place}")
        return min(ways)[-1]

    def _straight_out(self, place: Place, side: Port) -> tuple[int, bool, int, DieLinkEnd] | None:
        """Return how bad the way to a door on one side is, and the door; the smallest is best."""
        here, hops, links = place, 0, 0
        while (then := self.next_place(here, side)) is not None:
            hops, links = hops + 1, links + (then[2:] != here[2:])
            here = then
        if self.beside(here[2:], side) is not None:
            return None  # a door without a link, with a die behind it
        return links, side in (Port.NORTH, Port.SOUTH), hops, DieLinkEnd(here, side)


#: The named machines. `tiny2` is for tests; `d1x2` has the 18 links of 8 lanes on each edge of the
#: machine's die: its rows 6 and 13 have none.
MACHINES: dict[str, MachineParams] = {
    params.name: params
    for params in (
        MachineParams(
            name="d1x2", die=DIES["d1"], columns=2, rows=1, link=LINKS["d1"], edge_links=18
        ),
        MachineParams(
            name="tiny2", die=DIES["tiny"], columns=2, rows=1, link=LINKS["tiny"], edge_links=3
        ),
    )
}
