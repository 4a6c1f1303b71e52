"""Exchange packets with a simulated machine of several dies, each in its own process if wanted."""

from __future__ import annotations

import multiprocessing
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import numpy as np
from d1_golden.fabric.place import PLACE_BITS, Place
from d1_golden.machine import DieLinkEnd, MachineParams
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.packet import Opcode, refuse
from numpy.typing import NDArray

from d1_rtl.sim.closing import Closing
from d1_rtl.sim.die_link import DISABLE_CYCLES, die_parts, disable_requests
from d1_rtl.sim.machine_die import EdgeCounts, MachineDie, WindowResult, edge_design
from d1_rtl.sim.model import verilate
from d1_rtl.sim.native import require_packets

__all__ = ["MachineLink"]

#: Seconds within which a process answers: it runs one window, or starts and loads its models.
_PATIENCE = 600
#: The door of what is no place: no machine has this die.
_NOWHERE = (1 << PLACE_BITS) - 1
#: Places that a message names.
_NAMED = 8


class _Worker(Protocol):
    """A die that carries out calls of `MachineDie`, here or elsewhere."""

    def submit(self, method: str, *args: object) -> None: ...

    def result(self) -> Any: ...

    def close(self) -> None: ...


class _Local:
    """A die in this process."""

    def __init__(self, die: MachineDie):
        self._die = die
        self._result: Any = None

    def submit(self, method: str, *args: object) -> None:
        self._result = _call(self._die, method, args)

    def result(self) -> Any:
        return self._result

    def close(self) -> None:
        self._die.close()


class _Remote:
    """A die in a process of its own."""

    def __init__(self, machine: MachineParams, die: tuple[int, int], options: dict[str, Any]):
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._name = f"die {die} of machine {machine.name}"
        self._process = context.Process(
            target=_serve, args=(other, machine, die, options), daemon=True, name=self._name
        )
        self._process.start()
        other.close()

    def submit(self, method: str, *args: object) -> None:
        self._connection.send((method, args))

    def result(self) -> Any:
        ready = wait([self._connection, self._process.sentinel], _PATIENCE)
        if not ready:
            raise TimeoutError(f"waited {_PATIENCE} s for the process of {self._name} to answer")
        try:
            result = self._connection.recv()
        except EOFError:
            raise RuntimeError(f"the process of {self._name} must not end, but has") from None
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        self._connection.close()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()


def _call(die: MachineDie, method: str, args: tuple[object, ...]) -> Any:
    """Call a method of a die, or return a property."""
    member = getattr(die, method)
    return member(*args) if callable(member) else member


def _serve(
    connection: Connection, machine: MachineParams, die: tuple[int, int], options: dict[str, Any]
) -> None:
    """Carry out calls until the other end is closed."""
    try:
        link = MachineDie(machine, die, **options)
        while True:
            method, args = connection.recv()
            connection.send(_call(link, method, args))
    except EOFError:
        return
    except BaseException as error:
        connection.send(error)


class MachineLink(Closing):
    """A simulated machine: all nodes, routers and links' ends of its dies, clock by clock.

    What leaves a die arrives at the next one after the links' flight, so each die is run for that
    long before it has to know what the others did. These windows are the steps in which anything
    here takes time: an exchange, a run or an advance ends with a window. The result does not
    depend on whether dies have processes of their own, nor on the length of windows but for that.

    After a reset the lanes are dark, and the links begin to train.

    Golden twin: `d1_golden.fabric.golden_machine.GoldenMachine`.

    Parameters
    ----------
    params
        The machine.
    processes
        Whether each die gets a process of its own.
    window
        Cycles from one exchange of lanes to the next, at most the links' flight; None for that.
    threads, stall_probability, seed
        Of each die, as in `d1_rtl.sim.die_link.DieLink`; threads is 1 unless said otherwise.

    Raises
    ------
    ValueError
        When a parameter is out of range.
    MissingToolError, BuildError
        As for `d1_rtl.sim.native.NativeModel`.
    """

    def __init__(
        self,
        params: MachineParams,
        *,
        processes: bool = False,
        window: int | None = None,
        threads: int = 1,
        stall_probability: float = 0.0,
        seed: int = 0,
    ) -> None:
        flight = params.link.flight_cycles
        self._window = flight if window is None else window
        if not 1 <= self._window <= flight:
            raise ValueError(f"window must be in 1..{flight} (the flight), not {window!r}")
        self._params = params
        self._ends = {
            die: [end for end in params.ends if end.place[2:] == die] for die in params.dies
        }
        options: dict[str, Any] = {
            "threads": threads,
            "stall_probability": stall_probability,
            "seed": seed,
        }
        self._workers: dict[tuple[int, int], _Worker] = {}
        self._close = weakref.finalize(self, _close, self._workers)
        if processes:
            # Compiled once, here, and not by all of them.
            for design in die_parts(params.die):
                verilate(design, savable=True)
        edge = verilate(edge_design(params))
        for die in params.dies:
            self._workers[die] = (
                _Remote(params, die, options)
                if processes
                else _Local(MachineDie(params, die, **options))
            )
        width = next(port.width for port in edge.ports if port.name == "lanes_o")
        self._lane_words = -(-width // 32)
        self._cycles = 0
        self.reset()

    @property
    def params(self) -> MachineParams:
        """Parameters of the machine."""
        return self._params

    @property
    def cycles(self) -> int:
        """Clock cycles since the link was made, those of `reset` included."""
        return self._cycles

    def reset(self, cycles: int = 2) -> None:
        """Reset all nodes, routers and links; SRAM keeps its contents."""
        self._require_open()
        self._each("reset", cycles)
        self._cycles += cycles
        #: What is on the way to each end, a row for each cycle.
        self._flying = {
            end: np.zeros((self._params.link.flight_cycles, self._lane_words), np.uint32)
            for end in self._params.ends
        }
        live = set(self._params.die.live_nodes)
        dead = [place for place in self._params.die.places if place not in live]
        places = [Place(*place, *die) for die in self._params.dies for place in dead]
        if places:
            self.exchange(disable_requests(places), DISABLE_CYCLES)

    def exchange(self, requests: NDArray[np.void], max_cycles: int) -> NDArray[np.void]:
        """Send packets by all doors at once; return the replies once all are carried out.

        As `DieLink.exchange`; each request enters where `MachineParams.host_door` says. Those to
        what is no place of the machine are refused at once.

        Parameters
        ----------
        requests
            Array of `d1_golden.packet.PACKET_DTYPE` with one dimension; `source` is set here.
        max_cycles
            Cycles within which it must be done.

        Raises
        ------
        ValueError
            When `requests` is no such array.
        TimeoutError
            When it takes longer. What was sent stays on its way, its replies are dropped.
        """
        packets = require_packets(requests).copy()
        doors = self._doors_of(packets["address"])
        packets["source"] = doors
        dies = doors >> 16
        entering = {die: np.flatnonzero(dies == _die_bits(die)) for die in self._workers}
        for die, numbers in entering.items():
            self._workers[die].submit("begin", packets[numbers])
        for worker in self._workers.values():
            worker.result()
        end = self._cycles + max_cycles
        done = all(result.done for result in self._run_window(0).values())
        while not done and self._cycles < end:
            done = all(result.done for result in self._run_window(self._window).values())
        outside = np.flatnonzero(doors == _NOWHERE)
        outside = outside[packets["opcode"][outside] != Opcode.BROADCAST]
        found, order = [refuse(packets[outside])], [outside]
        for die, (_, replies, numbers) in self._each("end").items():
            found.append(replies)
            order.append(entering[die][numbers])
        if not done:
            raise self._timeout(max_cycles, f"carry out {len(packets)} requests")
        return np.concatenate(found)[np.argsort(np.concatenate(order), kind="stable")]

    def advance(self, cycles: int) -> None:
        """Run so many clock cycles.

        Raises
        ------
        ValueError
            When `cycles` is negative.
        """
        if cycles < 0:
            raise ValueError(f"cycles must be at least 0, not {cycles!r}")
        while cycles:
            step = min(cycles, self._window)
            self._run_window(step)
            cycles -= step

    def run(self, max_cycles: int) -> int:
        """Run until all nodes and routers are idle and no packet is in a link; return the cycles.

        Raises
        ------
        TimeoutError
            When that takes longer; says which nodes are busy.
        """
        before = self._cycles
        while not self._is_quiet(self._run_window(0)):
            if self._cycles - before >= max_cycles:
                raise self._timeout(max_cycles, "become idle")
            self._run_window(self._window)
        return self._cycles - before

    @property
    def sent_packets(self) -> dict[tuple[int, int], NDArray[np.uint64]]:
        """Of each die, as `DieLink.sent_packets`."""
        return self._each("sent_packets")

    def start_recording(self) -> None:
        """Record what is at the doors and nodes of all dies, as `DieLink.start_recording`."""
        self._each("start_recording")

    def take_recorded(self) -> dict[tuple[int, int], dict[str, NDArray[np.uint32]]]:
        """Return what was recorded of each die, as `DieLink.take_recorded`."""
        return self._each("take_recorded")

    def close(self) -> None:
        """Free all dies and end their processes. Nothing else can be called afterwards."""
        self._close()

    def _require_open(self) -> None:
        if not self._close.alive:
            raise ValueError(f"machine {self._params.name} must be open, not closed")

    def _each(self, method: str, *args: object) -> dict[tuple[int, int], Any]:
        """Have all dies do the same; return what came of it."""
        self._require_open()
        for worker in self._workers.values():
            worker.submit(method, *args)
        return {die: worker.result() for die, worker in self._workers.items()}

    def _run_window(self, cycles: int) -> dict[tuple[int, int], WindowResult]:
        """Run some cycles, at most those of a flight, and let what the lanes carried fly on."""
        self._require_open()
        for die, worker in self._workers.items():
            arriving = [self._flying[end][:cycles] for end in self._ends[die]]
            shape = len(arriving), cycles, self._lane_words
            worker.submit("window", cycles, np.array(arriving, np.uint32).reshape(shape))
        results = {die: worker.result() for die, worker in self._workers.items()}
        for die, result in results.items():
            for end, sent in zip(self._ends[die], result.lanes, strict=True):
                to = self._params.ends[end]
                self._flying[to] = np.concatenate([self._flying[to][cycles:], sent])
        self._cycles += cycles
        return results

    def _is_quiet(self, results: Mapping[tuple[int, int], WindowResult]) -> bool:
        edges: dict[DieLinkEnd, EdgeCounts] = {}
        for die, result in results.items():
            edges.update(zip(self._ends[die], result.edges, strict=True))
        return all(result.quiet for result in results.values()) and all(
            edge.idle and edge.sent == edges[self._params.ends[end]].received
            for end, edge in edges.items()
        )

    def _doors_of(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """Return bits 55..24 of the doors by which requests enter; `_NOWHERE` of no place."""
        places = (addresses >> np.uint64(LOCAL_BITS)).astype(np.uint32)
        different, index = np.unique(places, return_inverse=True)
        doors = [
            self._params.host_door(place).door.bits
            if self._params.is_place(place := Place.from_bits(int(bits)))
            else _NOWHERE
            for bits in different
        ]
        return np.array(doors, np.uint32)[index] if len(doors) else places

    def _timeout(self, max_cycles: int, waited_for: str) -> TimeoutError:
        busy = [place for places in self._each("busy_nodes").values() for place in places]
        shown = ", ".join(map(str, busy[:_NAMED])) + (" and more" if len(busy) > _NAMED else "")
        return TimeoutError(
            f"waited {max_cycles} cycles for machine {self._params.name} to {waited_for}; busy "
            f"nodes: {shown or 'none'}"
        )


def _die_bits(die: tuple[int, int]) -> int:
    return die[1] << 8 | die[0]


def _close(workers: Mapping[tuple[int, int], _Worker]) -> None:
    for worker in workers.values():
        worker.close()
