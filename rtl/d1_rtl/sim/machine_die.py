"""One die of a simulated machine, which goes ahead for as long as nothing can arrive."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES
from d1_golden.fabric.routing import Plane
from d1_golden.machine import DieLinkEnd, MachineParams
from d1_golden.memory_map import ROUTER_BASE, ROUTER_BITS
from numpy.typing import NDArray

from d1_rtl.fabric.die import Hop, doors
from d1_rtl.fabric.die_edge import DieEdge
from d1_rtl.sim.design import Design
from d1_rtl.sim.die_link import DONE, NOBODY, DieLink, Instances
from d1_rtl.sim.model import verilate
from d1_rtl.sim.native import require_packets

__all__ = ["EdgeCounts", "MachineDie", "WindowResult", "edge_design"]


def edge_design(machine: MachineParams) -> Design:
    """Return the design of a link's end."""
    link = machine.link
    return Design.of(DieEdge(link), name=f"die_edge_{link.name}", design_key=repr(link))


class EdgeCounts(NamedTuple):
    """Packets that entered a link at one end and that came out there, by plane.

    Members
    -------
    sent, received : tuple[int, ...]
        Modulo 2^32.
    idle : bool
        Nothing is at the end outside the link.
    """

    sent: tuple[int, ...]
    received: tuple[int, ...]
    idle: bool


class WindowResult(NamedTuple):
    """What came of some cycles of a die.

    Members
    -------
    lanes : uint32[ends, cycles, words]
        What its links' ends sent, in the order of `MachineDie.ends`.
    edges : list[EdgeCounts]
        Of its links' ends.
    quiet : bool
        All nodes and routers are idle, and nothing is on its way to any of them.
    done : bool
        The exchange that was begun is done.
    """

    lanes: NDArray[np.uint32]
    edges: list[EdgeCounts]
    quiet: bool
    done: bool


class MachineDie(DieLink):
    """A simulated die with the ends of its links to others: `MachineLink` runs them in step.

    At the doors that are joined stands a Verilated `DieEdge` each; at the others the host, as in
    `DieLink`. The host's requests to a place enter where `MachineParams.host_door` says, if that is
    a door of this die.

    Golden twin: `d1_golden.fabric.golden_machine.GoldenMachine`.

    Parameters
    ----------
    machine
        The machine.
    die
        Column and row of the die.
    threads, stall_probability, seed
        As in `DieLink`.

    Members
    -------
    ends : list[DieLinkEnd]
        The ends of its links.
    """

    def __init__(
        self,
        machine: MachineParams,
        die: tuple[int, int],
        *,
        threads: int | None = None,
        stall_probability: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._machine = machine
        self._coordinates = die
        self.ends = [end for end in machine.ends if end.place[2:] == die]
        self._edges = Instances(verilate(edge_design(machine)))
        self._edge_units: dict[DieLinkEnd, int] = {}
        self._lane_words = -(-self._edges.width["lanes_i"] // 32)
        super().__init__(
            machine.die, threads=threads, stall_probability=stall_probability, seed=seed
        )

    @property
    def _machine_size(self) -> tuple[int, int]:
        return self._machine.columns, self._machine.rows

    def _at(self, place: Place) -> Place:
        return Place(*place[:2], *self._coordinates)

    def _add_edges(self) -> None:
        """Add the links' ends, each connected with the control of the routers beside it."""
        library, access, read = (
            self._library,
            self._edges.index["access"],
            self._edges.index["read"],
        )
        for end in self.ends:
            side = SIDES.index(end.side)
            unit = self._add_unit(self._edges, {"side": side})
            self._edge_units[end] = unit
            library.d1_die_set_lanes(
                self._die, self._edges.index["lanes_i"], self._edges.index["lanes_o"]
            )
            stop = self._stop_units[Place(*end.place[:2])]
            of_stop = self._stops.index
            library.d1_die_add_wire(self._die, stop, of_stop["edge_access"], unit, access)
            library.d1_die_add_wire(self._die, unit, read, stop, of_stop[f"edge_read__{side}"])
        for place, stop in self._stop_units.items():
            sides = [end.side for end in self.ends if end.place[:2] == place[:2]]
            present = sum(1 << SIDES.index(side) for side in sides)
            self._stops.set(self._units[stop][1], "edge_present", present)

    def _beyond(self, door: Hop, plane: Plane) -> tuple[Any, Any] | None:
        unit = self._edge_units.get(self._end(door))
        if unit is None:
            return None
        name = plane.name.lower()
        taker, bringer = (self._edges.stream(f"{end}_{name}") for end in "io")
        return (unit, taker), (unit, bringer)

    def _end(self, door: Hop) -> DieLinkEnd:
        return DieLinkEnd(self._at(door.place), door.side)

    def _open_doors(self) -> None:
        machine = self._machine
        hosts = [door for door in doors(self._params) if self._end(door) not in self._edge_units]
        for door in hosts:
            self._add_door(door)
        numbers = {self._end(door): number for number, door in enumerate(hosts)}
        grid = machine.rows, machine.columns, self._params.rows + 2, self._params.columns + 2
        requests, broadcasts = np.full((2, *grid), NOBODY, np.uint32)
        for die in machine.dies:
            for place in (Place(*place, *die) for place in self._params.places):
                number = numbers.get(entry := machine.host_door(place))
                if number is not None:
                    index = place.die_row, place.die_column, place.row, place.column
                    requests[index] = number
                    along_row = entry.side.step[1] == 0
                    broadcasts[index] = number if along_row else NOBODY
        self._request_doors, self._broadcast_doors = requests, broadcasts
        self._library.d1_die_open(self._die, requests.ctypes.data, broadcasts.ctypes.data)

    def reset(self, cycles: int = 2) -> None:
        """Reset nodes, routers and links' ends; the lanes are dark meanwhile."""
        self._library.d1_die_reset(self._die, cycles)

    def begin(self, packets: NDArray[np.void]) -> None:
        """Begin an exchange of packets whose `source` is set and that enter at this die."""
        self._entering = require_packets(packets)  # they are looked at until `end`
        self._library.d1_die_begin_exchange(
            self._die, self._entering.ctypes.data, len(self._entering), ROUTER_BASE, ROUTER_BITS
        )

    def end(self) -> tuple[bool, NDArray[np.void], NDArray[np.uint32]]:
        """End the exchange; return whether it was done, the replies and their requests' numbers."""
        done = self._library.d1_die_end_exchange(self._die) == DONE
        return done, *self._take_replies()

    def window(self, cycles: int, arriving: NDArray[np.uint32]) -> WindowResult:
        """Run some cycles, in which this arrives on the lanes.

        Parameters
        ----------
        cycles
            At most those of the links' flight.
        arriving
            uint32[ends, cycles, words], in the order of `ends`.
        """
        library, die = self._library, self._die
        arriving = np.ascontiguousarray(arriving)
        for rows, unit in zip(arriving, self._edge_units.values(), strict=True):
            library.d1_die_put_lanes(die, unit, rows.ctypes.data, cycles)
        library.d1_die_advance(die, cycles)
        lanes = np.zeros((len(self.ends), cycles, self._lane_words), np.uint32)
        for rows, unit in zip(lanes, self._edge_units.values(), strict=True):
            library.d1_die_take_lanes(die, unit, rows.ctypes.data)
        return WindowResult(
            lanes=lanes,
            edges=[self._counts(unit) for unit in self._edge_units.values()],
            quiet=bool(library.d1_die_is_quiet(die)),
            done=library.d1_die_exchanged(die) == DONE,
        )

    def _counts(self, unit: int) -> EdgeCounts:
        handle = self._units[unit][1]
        sent, received = (
            tuple(self._edges.get(handle, f"{name}__{plane}") for plane in Plane)
            for name in ("sent", "received")
        )
        return EdgeCounts(sent, received, bool(self._edges.get(handle, "idle")))
