"""Exchange packets with a simulated die, whose nodes are evaluated one by one.

One Verilated `Node` and one Verilated `MeshStop`, many instances of each. All their outputs come
from registers, so in each cycle every instance can be evaluated alone and its outputs copied to
its neighbours' inputs. An instance that is idle and gets nothing is not evaluated at all.
docs/die_simulation.md tells how exact and how fast that is.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane, dimension_order
from d1_golden.memory_map import (
    LOCAL_BITS,
    ROUTER_BASE,
    ROUTER_BITS,
    RouterRegister,
    register_address,
)
from d1_golden.packet import PACKET_DTYPE, is_answered, write_requests
from d1_golden.params import DieParams
from numpy.typing import NDArray

from d1_rtl.fabric.die import STOP_MODULE, Hop, doors, hops, node_module, stream_name
from d1_rtl.fabric.mesh_stop import MeshStop
from d1_rtl.node.node import Node
from d1_rtl.sim.closing import Closing
from d1_rtl.sim.design import Design
from d1_rtl.sim.model import VerilatedModel, verilate
from d1_rtl.sim.native import (
    SIGNATURES,
    Signatures,
    open_library,
    require_packets,
    to_words,
)
from d1_rtl.sim.verilator import check_compiler

__all__ = [
    "DISABLE_CYCLES",
    "DONE",
    "NOBODY",
    "DieLink",
    "Instances",
    "die_parts",
    "disable_requests",
]

_STREAM_PORTS = ("payload", "valid", "ready")
_DIE = ctypes.c_void_p
_COUNT = ctypes.c_uint64
_INDEX = ctypes.c_uint32
_ARRAY = ctypes.c_void_p
_SIGNATURES: Signatures = {
    **SIGNATURES,
    "d1_die_new": (_DIE, (_INDEX, _INDEX, _INDEX, _INDEX, _INDEX, _COUNT, _INDEX)),
    "d1_die_delete": (None, (_DIE,)),
    "d1_die_add_unit": (None, (_DIE, ctypes.c_void_p, _INDEX, _INDEX, ctypes.c_int)),
    "d1_die_add_channel": (None, (_DIE, _INDEX, _ARRAY, _INDEX, _ARRAY)),
    "d1_die_add_door": (None, (_DIE, _ARRAY)),
    "d1_die_add_wire": (None, (_DIE, _INDEX, _INDEX, _INDEX, _INDEX)),
    "d1_die_set_lanes": (None, (_DIE, _INDEX, _INDEX)),
    "d1_die_put_lanes": (None, (_DIE, _INDEX, _ARRAY, _COUNT)),
    "d1_die_take_lanes": (None, (_DIE, _INDEX, _ARRAY)),
    "d1_die_open": (None, (_DIE, _ARRAY, _ARRAY)),
    "d1_die_reset": (None, (_DIE, _COUNT)),
    "d1_die_exchange": (ctypes.c_int, (_DIE, _ARRAY, _COUNT, _COUNT, _INDEX, _COUNT)),
    "d1_die_begin_exchange": (None, (_DIE, _ARRAY, _COUNT, _COUNT, _INDEX)),
    "d1_die_exchanged": (ctypes.c_int, (_DIE,)),
    "d1_die_end_exchange": (ctypes.c_int, (_DIE,)),
    "d1_die_is_quiet": (ctypes.c_int, (_DIE,)),
    "d1_die_advance": (None, (_DIE, _COUNT)),
    "d1_die_run": (ctypes.c_int, (_DIE, _COUNT)),
    "d1_die_cycle": (_COUNT, (_DIE,)),
    "d1_die_accepted": (_COUNT, (_DIE,)),
    "d1_die_reply_count": (_COUNT, (_DIE,)),
    "d1_die_take_replies": (None, (_DIE, _ARRAY, _ARRAY)),
    "d1_die_working": (None, (_DIE, _ARRAY)),
    "d1_die_busy_cycles": (None, (_DIE, _ARRAY)),
    "d1_die_packets": (None, (_DIE, _ARRAY)),
    "d1_die_record": (None, (_DIE, _ARRAY, _COUNT, _ARRAY, _ARRAY, _COUNT)),
    "d1_die_recorded_words": (_COUNT, (_DIE,)),
    "d1_die_take_recorded": (None, (_DIE, _ARRAY)),
    "d1_die_transfer": (ctypes.c_int, (_DIE, ctypes.c_char_p, ctypes.c_int, _ARRAY, _COUNT)),
}
DONE, _NOT_ACCEPTED, _NOT_ANSWERED, _NOT_IDLE = range(4)
NOBODY = 0xFFFF_FFFF
_NO_PORTS = (0, 0, 0)
#: What is recorded of a stream, in order, and in how many words.
_CHANNEL_WORDS = {"valid": 1, "ready": 1, "payload": PACKET_DTYPE.itemsize // 4}
#: Streams of a door in the order in which `d1_die_add_door` takes them.
_DOOR_STREAMS = tuple(f"{end}_{plane.name.lower()}" for plane in Plane for end in "io")
#: Cycles within which the cores that are dead are disabled after a reset.
DISABLE_CYCLES = 10_000
#: Places that a message names.
_NAMED = 8


def die_parts(params: DieParams) -> tuple[Design, Design]:
    """Return the designs of a die's nodes and mesh stops, by the names that `Die` knows."""
    node = Node(params.node)
    return (
        Design.of(node, name=node_module(params.node), design_key=repr(params.node)),
        Design.of(MeshStop(), name=STOP_MODULE, design_key=""),
    )


def disable_requests(places: Iterable[Place]) -> NDArray[np.void]:
    """Return the packets that tell routers that their core is dead."""
    address, value = register_address(RouterRegister.CORE_DISABLED), np.ones(1, "<u8").view("u1")
    return np.concatenate([write_requests(place.address(address), value) for place in places])


class Instances:
    """A component that was compiled once, of which there are instances.

    Parameters
    ----------
    model
        The compiled component.
    """

    def __init__(self, model: VerilatedModel) -> None:
        self.library = open_library(model, _SIGNATURES)
        self.index = {port.name: index for index, port in enumerate(model.ports)}
        self.width = {port.name: port.width for port in model.ports}

    def new(self, constants: Mapping[str, int]) -> int:
        """Return the handle of a new instance, some inputs of which never change."""
        handle: int = self.library.d1_new()
        for port, value in constants.items():
            self.set(handle, port, value)
        return handle

    def set(self, handle: int, port: str, value: int) -> None:
        """Set an input of an instance."""
        words = to_words([value], self.width[port])
        self.library.d1_set(handle, self.index[port], words.ctypes.data)

    def get(self, handle: int, port: str) -> int:
        """Return an output of an instance."""
        words = np.zeros(-(-self.width[port] // 32), np.uint32)
        self.library.d1_get(handle, self.index[port], words.ctypes.data)
        return int.from_bytes(words.tobytes(), "little")

    def stream(self, name: str) -> Any:
        """Return the indices of a stream's ports."""
        return (_INDEX * 3)(*(self.index[f"{name}__{part}"] for part in _STREAM_PORTS))


#: A stream into or out of the stop at a place, by its name there.
_Stream = tuple[Place, str]


class DieLink(Closing):
    """A simulated die behind the doors at its edges.

    In each cycle a door can take a request and a reply, and give one of each. The host stands at
    all doors at once: a request enters at the west or east door of its destination's row,
    whichever is nearer; where a dead router is in the way by dimension order, at the nearest door
    that has a way there and back. All requests to one place enter by one door, so they keep their
    order. What a node sends out of the die is refused by the door where it leaves: requests get a
    FAULT_REPLY, broadcasts are dropped.

    The die is reset when the link is made. After a reset the routers of dead cores are told so, as
    far as dimension order leads to them; who loads tables tells the others.

    Golden twin: `d1_golden.fabric.golden_die.GoldenDie`.

    Parameters
    ----------
    params
        The die.
    threads
        Threads that evaluate instances; None for one for each processor, at most 2. What happens
        does not depend on it.
    stall_probability
        Chance from 0 to below 1, for each cycle and stream of a door anew, that the host withholds
        a packet or does not take one.
    seed
        Start of the random sequence of stalls.
    trace
        The node, by (column, row), of which `trace` can write a waveform. It takes a build of its
        own, and is slower.

    Raises
    ------
    ValueError
        When a parameter is out of range.
    MissingToolError, BuildError
        As for `d1_rtl.sim.native.NativeModel`.
    """

    def __init__(
        self,
        params: DieParams,
        *,
        threads: int | None = None,
        stall_probability: float = 0.0,
        seed: int = 0,
        trace: tuple[int, int] | None = None,
    ) -> None:
        if threads is None:
            threads = min(2, len(os.sched_getaffinity(0)))
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads!r}")
        if not 0 <= stall_probability < 1:
            raise ValueError(
                f"stall_probability must be from 0 to below 1, not {stall_probability!r}"
            )
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed must be from 0 to below 2**63, not {seed!r}")
        if trace is not None and trace not in params.live_nodes:
            raise ValueError(f"trace must be the place of a live node, not {trace!r}")
        check_compiler()  # says what is missing before the design takes its time
        self._params = params
        node, stop = die_parts(params)
        self._key = hashlib.sha256(
            "\0".join([node.verilog, stop.verilog, repr(params)]).encode()
        ).digest()
        self._nodes = Instances(verilate(node, savable=True))
        self._stops = Instances(verilate(stop, savable=True))
        self._traced = Instances(verilate(node, trace=True, savable=True)) if trace else None
        self._traced_place = trace
        self._library = self._nodes.library
        self._handle: int = self._library.d1_die_new(
            *(params.columns, params.rows),
            *self._machine_size,
            *(threads, 2 * seed + 1, int(stall_probability * 2**32)),
        )
        #: The instances: what each is one of, and its handle.
        self._units: list[tuple[Instances, int]] = []
        self._close = weakref.finalize(self, _close, self._library, self._handle, self._units)
        self._node_units: dict[Place, int] = {}
        self._stop_units: dict[Place, int] = {}
        #: Numbers of the channels, by what they are at the stops at their ends.
        self._channels: dict[_Stream, int] = {}
        self._channel_count = 0
        self._add_units()
        self._add_edges()
        self._add_channels()
        self._open_doors()
        self.reset()

    # What is different for one of several dies.

    @property
    def _machine_size(self) -> tuple[int, int]:
        """Columns and rows of dies."""
        return 1, 1

    def _at(self, place: Place) -> Place:
        """Return a place of this die by its coordinates in the machine."""
        return place

    def _add_edges(self) -> None:
        """Add the ends of links to other dies."""

    def _beyond(self, door: Hop, plane: Plane) -> tuple[Any, Any] | None:
        """Return the streams of a link's end that take what leaves by a door, and bring what comes.

        None where the host stands.
        """
        return None

    def _add_units(self) -> None:
        live = set(self._params.live_nodes)
        for column_row in self._params.live_routers:
            place = Place(*column_row)
            if column_row in live:
                nodes = self._traced if column_row == self._traced_place else self._nodes
                assert nodes is not None
                self._node_units[place] = self._add_unit(nodes, {"node_id": self._at(place).bits})
            self._stop_units[place] = self._add_unit(self._stops, {"place": self._at(place).bits})

    def _add_unit(self, instances: Instances, constants: Mapping[str, int]) -> int:
        handle = instances.new(constants)
        self._units.append((instances, handle))
        index = instances.index
        is_node = "node_id" in index
        self._library.d1_die_add_unit(self._die, handle, index["idle"], index["rst"], is_node)
        return len(self._units) - 1

    def _add_channels(self) -> None:
        """Connect the stops with their nodes, their neighbours, and the host at the doors."""
        host = len(self._units), (_INDEX * 3)()
        for plane in Plane:
            name = plane.name.lower()
            to_node, from_node = (stream_name(end, plane, Port.LOCAL) for end in "oi")
            for place, unit in self._node_units.items():
                self._add_channel((place, to_node), (unit, self._nodes.stream(f"i_{name}")))
                self._add_channel((unit, self._nodes.stream(f"o_{name}")), (place, from_node))
            for hop in hops(self._params):
                o = stream_name("o", plane, hop.side)
                i = stream_name("i", plane, hop.side.opposite)
                self._add_channel((hop.place, o), (hop.to, i))
            for door in doors(self._params):
                o, i = (stream_name(end, plane, door.side) for end in "oi")
                taker, bringer = self._beyond(door, plane) or (host, host)
                self._add_channel((door.place, o), taker)
                self._add_channel(bringer, (door.place, i))

    def _add_channel(self, sender: Any, receiver: Any) -> None:
        """Connect two streams; an end is that of a stop, or a number of a unit and its ports."""
        ends = []
        for end in (sender, receiver):
            if isinstance(end[0], Place):
                self._channels[end] = self._channel_count
                end = self._stop_units[end[0]], self._stops.stream(end[1])
            ends += end
        self._library.d1_die_add_channel(self._die, *ends)
        self._channel_count += 1

    def _open_doors(self) -> None:
        """Say by which door each place is reached."""
        for door in doors(self._params):
            self._add_door(door)
        numbers = {door: number for number, door in enumerate(doors(self._params))}
        self._door_numbers = {door.to: number for door, number in numbers.items()}
        grid = self._params.rows + 2, self._params.columns + 2
        requests, broadcasts = np.full((2, *grid), NOBODY, np.uint32)
        #: Places that no door has a way to by dimension order.
        self._blocked: set[tuple[int, int]] = set()
        #: Bits 55..24 of the address of the door by which requests enter, by row and column.
        self._sources = np.zeros(grid, np.uint32)
        for column, row in self._params.live_routers:
            ways = sorted(numbers, key=partial(_detour, self._params, Place(column, row)))
            if _detour(self._params, Place(column, row), ways[0])[0]:
                self._blocked.add((column, row))
            requests[row, column] = numbers[ways[0]]
            self._sources[row, column] = ways[0].to.bits
            along = [door for door in ways if door.side in (Port.EAST, Port.WEST)]
            broadcasts[row, column] = next(
                (numbers[door] for door in along if door.place.row == row), NOBODY
            )
        #: Doors of requests and of broadcasts, by row and column of where they go.
        self._request_doors, self._broadcast_doors = requests, broadcasts
        self._library.d1_die_open(self._die, requests.ctypes.data, broadcasts.ctypes.data)

    def _add_door(self, door: Hop) -> None:
        """Have the host stand at a door."""
        self._library.d1_die_add_door(self._die, (_INDEX * 4)(*self._door_channels(door)))

    def _door_channels(self, door: Hop) -> Iterator[int]:
        """Yield the channels of a door: requests in and out, replies in and out."""
        for plane in Plane:
            for direction in "io":
                yield self._channels[door.place, stream_name(direction, plane, door.side)]

    @property
    def _die(self) -> int:
        if not self._close.alive:
            raise ValueError(f"die {self._params.name} must be open, not closed")
        return self._handle

    @property
    def params(self) -> DieParams:
        """Parameters of the die."""
        return self._params

    @property
    def cycles(self) -> int:
        """Clock cycles since the link was made, those of `reset` included."""
        return int(self._library.d1_die_cycle(self._die))

    def door_of(self, place: Place) -> Place:
        """Return the door by which the host's requests to a live place of this die enter."""
        return Place.from_bits(int(self._sources[place.row, place.column]))

    def reset(self, cycles: int = 2) -> None:
        """Reset all nodes and routers; SRAM keeps its contents, counts of the link start anew."""
        self._library.d1_die_reset(self._die, cycles)
        dead = {*self._params.live_routers} - {*self._params.live_nodes, *self._blocked}
        if dead:
            places = (Place(*place) for place in sorted(dead))
            self.exchange(disable_requests(places), DISABLE_CYCLES)

    def exchange(
        self, requests: NDArray[np.void], max_cycles: int, *, door: Place | None = None
    ) -> NDArray[np.void]:
        """Send packets by all doors at once; return the replies once all are carried out.

        Requests that write or post are answered only when they are at fault, unless they ask for
        an acknowledgement. The last of them to each node is made to ask on its way, so that all
        are carried out when this returns. A broadcast is done when it has entered the mesh.

        Parameters
        ----------
        requests
            Array of `d1_golden.packet.PACKET_DTYPE` with one dimension, addressed to places;
            `source` is set here. Those to one place are carried out in order.
        max_cycles
            Cycles within which it must be done.
        door
            Where all of them enter; by default each as the class says.

        Returns
        -------
        ndarray
            Array of `PACKET_DTYPE` with one dimension, in the order of the requests.

        Raises
        ------
        ValueError
            When `requests` is no such array, or `door` is not one of the die.
        TimeoutError
            When it takes longer. What was sent stays on its way, its replies are dropped.
        """
        packets = require_packets(requests).copy()
        if door is None:
            packets["source"] = self._sources_of(packets["address"])
            return self._exchange(packets, max_cycles)
        if door not in self._door_numbers:
            raise ValueError(f"door must be beside a live router of the die, not {door}")
        packets["source"] = door.bits
        only = np.full_like(self._request_doors, self._door_numbers[door])
        self._library.d1_die_open(self._die, only.ctypes.data, only.ctypes.data)
        try:
            return self._exchange(packets, max_cycles)
        finally:
            usual = self._request_doors.ctypes.data, self._broadcast_doors.ctypes.data
            self._library.d1_die_open(self._die, *usual)

    def _exchange(self, packets: NDArray[np.void], max_cycles: int) -> NDArray[np.void]:
        """Send packets whose `source` is set."""
        outcome = self._library.d1_die_exchange(
            self._die, packets.ctypes.data, len(packets), ROUTER_BASE, ROUTER_BITS, max_cycles
        )
        replies, _ = self._take_replies()
        if outcome == _NOT_ACCEPTED:
            accepted = self._library.d1_die_accepted(self._die)
            raise self._timeout(max_cycles, f"take {len(packets)} requests; it took {accepted}")
        if outcome == _NOT_ANSWERED:
            asked = np.count_nonzero(is_answered(packets))
            raise self._timeout(
                max_cycles,
                f"carry out {len(packets)} requests and answer {asked} of them; it answered "
                f"{len(replies)}",
            )
        return replies

    def _take_replies(self) -> tuple[NDArray[np.void], NDArray[np.uint32]]:
        """Return the replies in the order of their requests, and the numbers of those."""
        count = self._library.d1_die_reply_count(self._die)
        replies, numbers = np.zeros(count, PACKET_DTYPE), np.zeros(count, np.uint32)
        self._library.d1_die_take_replies(self._die, replies.ctypes.data, numbers.ctypes.data)
        return replies, numbers

    def _sources_of(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """Return bits 55..24 of the doors by which requests enter."""
        places = (addresses >> np.uint64(LOCAL_BITS)).astype(np.uint32)
        column, row = places & 0xFF, places >> 8 & 0xFF
        rows, columns = self._sources.shape
        here = (places >> 16 == 0) & (column < columns) & (row < rows)
        return np.where(here, self._sources[row * here, column * here], np.uint32(0))

    def advance(self, cycles: int) -> None:
        """Run so many clock cycles."""
        if cycles < 0:
            raise ValueError(f"cycles must be at least 0, not {cycles!r}")
        self._library.d1_die_advance(self._die, cycles)

    def run(self, max_cycles: int) -> int:
        """Run until all nodes and routers are idle; return the number of cycles.

        Raises
        ------
        TimeoutError
            When they are not after `max_cycles`; says which are busy.
        """
        before = self.cycles
        if self._library.d1_die_run(self._die, max_cycles) == _NOT_IDLE:
            raise self._timeout(max_cycles, "become idle")
        return self.cycles - before

    def _timeout(self, max_cycles: int, waited_for: str) -> TimeoutError:
        busy = {
            "nodes": self.busy_nodes,
            "routers": self._busy(self._stop_units),
        }
        states = "; ".join(f"busy {kind}: {_names(places)}" for kind, places in busy.items())
        return TimeoutError(
            f"waited {max_cycles} cycles for die {self._params.name} to {waited_for}; {states}"
        )

    @property
    def busy_nodes(self) -> list[Place]:
        """Nodes that are not idle, or that a packet has come to."""
        return self._busy(self._node_units)

    def _busy(self, units: dict[Place, int]) -> list[Place]:
        working = np.zeros(len(self._units), np.uint8)
        self._library.d1_die_working(self._die, working.ctypes.data)
        return [self._at(place) for place, unit in units.items() if working[unit]]

    @property
    def busy_cycles(self) -> NDArray[np.uint64]:
        """Cycles since the reset in which each node was evaluated, by row and column."""
        return self._evaluated(self._node_units)

    @property
    def stop_cycles(self) -> NDArray[np.uint64]:
        """Cycles since the reset in which each place's routers were evaluated, likewise."""
        return self._evaluated(self._stop_units)

    def _evaluated(self, units: dict[Place, int]) -> NDArray[np.uint64]:
        cycles = np.zeros(len(self._units), np.uint64)
        self._library.d1_die_busy_cycles(self._die, cycles.ctypes.data)
        result = np.zeros((self._params.rows, self._params.columns), np.uint64)
        for place, unit in units.items():
            result[place.row - 1, place.column - 1] = cycles[unit]
        return result

    @property
    def sent_packets(self) -> NDArray[np.uint64]:
        """Packets since the reset that left each place's routers.

        By plane, row, column and `Port`; LOCAL is into the node.
        """
        return self._packets("o")

    @property
    def entered_packets(self) -> NDArray[np.uint64]:
        """Packets since the reset that came to each place's routers.

        By plane, row, column and `Port`; LOCAL is from the node.
        """
        return self._packets("i")

    def _packets(self, end: str) -> NDArray[np.uint64]:
        counts = np.zeros(self._channel_count, np.uint64)
        self._library.d1_die_packets(self._die, counts.ctypes.data)
        shape = len(Plane), self._params.rows, self._params.columns, len(Port)
        result = np.zeros(shape, np.uint64)
        for place, plane, port in product(self._stop_units, Plane, Port):
            channel = self._channels.get((place, stream_name(end, plane, port)))
            if channel is not None:
                result[plane, place.row - 1, place.column - 1, port] = counts[channel]
        return result

    def start_recording(self) -> None:
        """Record what is at the ports of `d1_rtl.fabric.die.Die` in each cycle from now on.

        A cycle takes about 400 bytes for each door and 200 for each node.
        """
        channels, ports = [], []
        self._recorded = []
        for number, door in enumerate(doors(self._params)):
            for name, channel in zip(_DOOR_STREAMS, self._door_channels(door), strict=True):
                channels.append(channel)
                self._recorded += [
                    (f"doors__{number}__{name}__{part}", words)
                    for part, words in _CHANNEL_WORDS.items()
                ]
        for number, unit in enumerate(self._node_units.values()):
            for port, index in self._nodes.index.items():
                kind, separator, rest = port.partition("__")
                if kind in ("idle", "retire"):
                    ports.append((unit, index))
                    self._recorded.append(
                        (f"{kind}__{number}{separator}{rest}", -(-self._nodes.width[port] // 32))
                    )
        units, indices = zip(*ports, strict=True)
        self._library.d1_die_record(
            self._die,
            *((_INDEX * len(channels))(*channels), len(channels)),
            (_INDEX * len(ports))(*units),
            *((_INDEX * len(ports))(*indices), len(ports)),
        )

    def take_recorded(self) -> dict[str, NDArray[np.uint32]]:
        """Return what was recorded since the last call.

        Returns
        -------
        dict
            For each port of `Die` an array of the shape (cycles, words), row k the k-th cycle just
            before its rising edge. A payload means nothing where its `valid` is 0.
        """
        names, words = zip(*self._recorded, strict=True)
        rows = np.zeros(self._library.d1_die_recorded_words(self._die), np.uint32)
        self._library.d1_die_take_recorded(self._die, rows.ctypes.data)
        columns = np.split(rows.reshape(-1, sum(words)), np.cumsum(words)[:-1], axis=1)
        return dict(zip(names, columns, strict=True))

    def trace(self, path: Path | str, start: int = 0, stop: int = 2**63) -> None:
        """Write a waveform of the node of `trace`, as `NativeModel.trace`.

        Cycles in which the node is not evaluated are no points of time in it.

        Raises
        ------
        ValueError
            When the link was not made with `trace`, or the window is empty.
        OSError
            When the file cannot be written.
        """
        if self._traced is None or self._traced_place is None:
            raise ValueError(f"die {self._params.name} must be made with trace to write {path}")
        if not start < stop:
            raise ValueError(f"stop must be after start {start}, not {stop!r}")
        _, handle = self._units[self._node_units[Place(*self._traced_place)]]
        _ = self._die  # raises when it is closed
        if not self._traced.library.d1_start_trace(handle, str(path).encode(), start, stop):
            raise OSError(f"the waveform file must be writable, not {path}")

    def save(self, path: Path | str) -> None:
        """Write the whole state to a file: about 1.6 MB for a node of preset d1.

        Raises
        ------
        OSError
            When the file cannot be written.
        """
        if not self._transfer(path, writes=True):
            raise OSError(f"the file of a state must be writable, not {path}")

    def restore(self, path: Path | str) -> None:
        """Take over the state that a link to an equal die has saved; `cycles` goes on from there.

        Raises
        ------
        OSError
            When the file cannot be read.
        ValueError
            When it is of another die or another version of the design; then only `restore` of a
            good file, and `close`, can follow.
        """
        with Path(path).open("rb"):
            pass
        if not self._transfer(path, writes=False):
            raise ValueError(f"{path} must be the saved state of die {self._params!r}, but is not")

    def _transfer(self, path: Path | str, *, writes: bool) -> bool:
        key = np.frombuffer(self._key, np.uint8)
        return bool(
            self._library.d1_die_transfer(
                self._die, str(path).encode(), writes, key.ctypes.data, len(key)
            )
        )

    def close(self) -> None:
        """Free all instances and finish the waveform. Nothing else can be called afterwards."""
        self._close()


def _close(library: ctypes.CDLL, die: int, units: Iterable[tuple[Instances, int]]) -> None:
    library.d1_die_delete(die)
    for instances, handle in units:
        instances.library.d1_delete(handle)


def _names(places: list[Place]) -> str:
    if not places:
        return "none"
    more = [f"and {len(places) - _NAMED} more"] if len(places) > _NAMED else []
    return ", ".join([*map(str, places[:_NAMED]), *more])


def _detour(params: DieParams, to: Place, door: Hop) -> tuple[bool, bool, int]:
    """Return how bad a door is as a way to a place; the smallest is the best.

    First come those between which and the place all routers by dimension order are live, there
    and back; of these the ones in its row; of these the nearest.
    """
    blocked = not (_is_open(params, door.place, to) and _is_open(params, to, door.to))
    straight = door.side in (Port.EAST, Port.WEST) and door.place.row == to.row
    distance = abs(to.column - door.place.column) + abs(to.row - door.place.row)
    return blocked, not straight, distance


def _is_open(params: DieParams, start: Place, to: Place) -> bool:
    """Return whether all routers between two places by dimension order are live.

    A way to a door may end at another one, where it leaves the die: the host stands there too.
    """
    here = start
    while 1 <= here.column <= params.columns and 1 <= here.row <= params.rows:
        if here[:2] in params.dead_routers:
            return False
        side = dimension_order(here, to)
        if side is Port.LOCAL:
            break
        here = here.neighbour(side)
    return True
