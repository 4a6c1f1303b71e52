"""A mesh of routers of one plane, cycle by cycle; golden twin of meshes of `d1_rtl.fabric.router`.

It is for questions about traffic: latency, accepted load, order, load of links. What requests do
where they arrive is the business of `d1_golden.fabric.golden_die`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .place import Place
from .ports import Port
from .router import (
    NOTHING,
    NUMBER_BITS,
    SOURCE_BITS,
    neighbours,
    new_router_state,
    opposite_ports,
    step_router,
)
from .routing import RouteEntry, broadcast_outputs
from .traffic import Pattern, Traffic, random_traffic

__all__ = [
    "BUFFER_DEPTH",
    "DELIVERY_DTYPE",
    "MeshModel",
    "MeshRun",
    "latency_curve",
    "saturation",
    "stalls",
]

#: Packets that each input of a router buffers.
BUFFER_DEPTH = 8
#: A packet that a node took: cycle, place, source and number among the packets of the source.
DELIVERY_DTYPE = np.dtype([(name, "<i8") for name in ("cycle", "place", "source", "number")])

_DELIVERY_WORDS = DELIVERY_DTYPE.itemsize // 8
_PORTS = len(Port)
_SOURCE_MASK = (1 << SOURCE_BITS) - 1
_NUMBER_MASK = (1 << NUMBER_BITS) - 1
_PLACE_SHIFT = NUMBER_BITS + SOURCE_BITS
#: What counts as saturation: the share of the offered load that arrives, in steps of load.
_ACCEPTED = 0.99
_STEP = 1 / 200
#: Places of `_run`'s counts.
_DELIVERED, _OUT_OF_ORDER, _ASTRAY, _IN_WINDOW, _LATENCY, _WORST, _COUNTS = range(7)


@njit(cache=True)
def stalls(seed, place, cycle, share):
    """Return whether a node does not take a packet in a cycle: at random, but repeatable.

    Parameters
    ----------
    seed, place, cycle : int
        What chance hangs on.
    share : int
        Of 65536 cycles, how many.

    """
    x = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(cycle)
    x ^= np.uint64(place) << np.uint64(40)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64(x >> np.uint64(48)) < share


@njit(cache=True)
def _run(
    first, last, warmup, place, cycle, next_packet, ways, neighbour, opposite, dead, state,
    newest, share, seed, expected, counts, deliveries,
):  # fmt: skip
    """Do the cycles from `first` to before `last`, or until all is delivered; return the next."""
    places = neighbour.shape[0]
    for now in range(first, last):
        if counts[_DELIVERED] == expected:
            return now
        for router in range(places):
            if dead[router]:
                continue
            at = next_packet[router]
            entering = NOTHING
            if at < cycle.shape[1] and cycle[router, at] <= now:
                entering = np.int64(place[router, at]) << _PLACE_SHIFT | router << NUMBER_BITS | at
            entered, packet = step_router(
                router,
                entering,
                not stalls(seed, router, now, share),
                ways,
                neighbour,
                opposite,
                state,
                now & 1,
            )
            if entered:
                next_packet[router] += 1
            if packet == NOTHING:
                continue
            source, number = packet >> NUMBER_BITS & _SOURCE_MASK, packet & _NUMBER_MASK
            to = packet >> _PLACE_SHIFT
            if counts[_DELIVERED] < deliveries.shape[0]:
                deliveries[counts[_DELIVERED], 0] = now
                deliveries[counts[_DELIVERED], 1] = router
                deliveries[counts[_DELIVERED], 2] = source
                deliveries[counts[_DELIVERED], 3] = number
            counts[_DELIVERED] += 1
            counts[_OUT_OF_ORDER] += number <= newest[router, source]
            newest[router, source] = number
            counts[_ASTRAY] += to < places and to != router
            if now >= warmup:
                latency = now - cycle[source, number]
                counts[_IN_WINDOW] += 1
                counts[_LATENCY] += latency
                counts[_WORST] = max(counts[_WORST], latency)
    return last


@dataclass(frozen=True, kw_only=True)
class MeshRun:
    """What came of a run.

    Parameters
    ----------
    cycles
        How long it took.
    delivered
        Packets that nodes took; a broadcast counts at each.
    out_of_order
        Those that came after a later one of the same source to the same place, or again.
    astray
        Those that came elsewhere than where they were sent.
    accepted
        Packets delivered per live node and cycle after the warm-up.
    offered
        Packets made per live node and cycle after the warm-up.
    latency
        Their mean delay in cycles, from when they were offered to when they were taken.
    worst_latency
        The longest.
    passed : int64[places, 5]
        Packets that left each router by each port.
    deliveries
        Each packet that a node took (`DELIVERY_DTYPE`), in order of cycles and places, if they
        were to be recorded.

    """

    cycles: int
    delivered: int
    out_of_order: int
    astray: int
    accepted: float
    offered: float
    latency: float
    worst_latency: int
    passed: NDArray[np.int64]
    deliveries: NDArray[np.void]


class MeshModel:
    """A mesh of routers, one plane, each with a node that sends and takes packets.

    Places are numbered row by row from 0. A packet to place number C * R + k goes to all places
    of rectangle k.

    Parameters
    ----------
    columns, rows
        Size: C and R.
    entries : uint8[places, 32, 32]
        The routing table of each router by row and column, both from 1 (`RouteEntry`); without, by
        dimension order.
    dead
        Places, as column and row from 1, whose routers do not work.
    rectangles
        For broadcasts: the near and far corners, as column and row from 1.
    depth
        Packets that each input buffers.

    Raises
    ------
    ValueError
        If there are more places than a packet can name.

    """

    def __init__(
        self,
        columns: int,
        rows: int,
        *,
        entries: NDArray[np.uint8] | None = None,
        dead: Collection[tuple[int, int]] = (),
        rectangles: Sequence[tuple[tuple[int, int], tuple[int, int]]] = (),
        depth: int = BUFFER_DEPTH,
    ):
        self.columns, self.rows = columns, rows
        places = columns * rows
        if places + len(rectangles) >= 1 << SOURCE_BITS:
            raise ValueError(
                f"places and rectangles must be fewer than {1 << SOURCE_BITS}, "
                f"not {places + len(rectangles)!r}"
            )
        self._depth = depth
        self._dead = np.zeros(places, np.bool_)
        for column, row in dead:
            self._dead[(row - 1) * columns + column - 1] = True
        self._neighbour = neighbours(columns, rows, self._dead)
        unicast = _unicast_ways(columns, rows, entries)[:, None].repeat(_PORTS, axis=1)
        self._ways = np.concatenate([unicast, _broadcast_ways(columns, rows, rectangles)], axis=2)
        self._copies = np.ones(places + len(rectangles), np.int64)
        for k, ((near_column, near_row), (far_column, far_row)) in enumerate(rectangles):
            area = max(far_column - near_column + 1, 0) * max(far_row - near_row + 1, 0)
            self._copies[places + k] = area

    @property
    def live(self) -> NDArray[np.bool_]:
        """Which places have a router that works."""
        return ~self._dead

    def run(
        self,
        traffic: Traffic,
        cycles: int,
        *,
        warmup: int = 0,
        stall: float = 0.0,
        seed: int = 0,
        record: bool = False,
        drain: bool = False,
    ) -> MeshRun:
        """Run from a reset.

        Parameters
        ----------
        traffic
            What is sent. A source's queue has no end, so packets wait in it when the mesh is full.
        cycles
            How long.
        warmup
            Cycles before loads and latencies are measured.
        stall
            Share of cycles, at random, in which a node does not take a packet.
        seed
            Of those.
        record
            Whether to return every delivery.
        drain
            End when everything is delivered.

        Raises
        ------
        TimeoutError
            If with `drain` something is not delivered after `cycles`.
        ValueError
            If `stall` is not in 0..1, or a live node sends to a dead one.

        """
        if not 0 <= stall < 1:
            raise ValueError(f"stall must be in [0, 1), not {stall!r}")
        sent = traffic.cycle != Traffic.NEVER
        targets = traffic.place[sent & self.live[:, None]]
        unicast = targets[targets < len(self._dead)]
        if self._dead[unicast].any():
            raise ValueError("traffic must go to live places, not to dead ones")
        expected = int(self._copies[targets].sum())
        places = len(self._dead)
        counts = np.zeros(_COUNTS, np.int64)
        deliveries = np.zeros((expected if record else 0, _DELIVERY_WORDS), np.int64)
        state = new_router_state(places, self._depth)
        last = _run(
            *(0, cycles, warmup, traffic.place, traffic.cycle, np.zeros(places, np.int64)),
            *(self._ways, self._neighbour, opposite_ports(), self._dead, state),
            *(np.full((places, places), NOTHING), round(stall * 65536), seed),
            *(expected if drain else NOTHING, counts, deliveries),
        )
        if drain and counts[_DELIVERED] != expected:
            raise TimeoutError(
                f"waited {cycles} cycles for {expected} packets, of which "
                f"{counts[_DELIVERED]} were delivered"
            )
        node_cycles = max(last - warmup, 1) * int(self.live.sum())
        offered = (traffic.cycle[self.live] >= warmup) & (traffic.cycle[self.live] < last)
        return MeshRun(
            cycles=last,
            delivered=int(counts[_DELIVERED]),
            out_of_order=int(counts[_OUT_OF_ORDER]),
            astray=int(counts[_ASTRAY]),
            accepted=int(counts[_IN_WINDOW]) / node_cycles,
            offered=int(offered.sum()) / node_cycles,
            latency=int(counts[_LATENCY]) / max(int(counts[_IN_WINDOW]), 1),
            worst_latency=int(counts[_WORST]),
            passed=state.passed,
            deliveries=deliveries[: counts[_DELIVERED]].view(DELIVERY_DTYPE).reshape(-1),
        )


def _unicast_ways(columns: int, rows: int, entries: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return the outputs of packets to each place with the shape (routers, places)."""
    y, x = np.divmod(np.arange(columns * rows), columns)
    across, down = np.sign(x - x[:, None]), np.sign(y - y[:, None])
    port = np.select(
        [across > 0, across < 0, down > 0, down < 0],
        [Port.EAST, Port.WEST, Port.SOUTH, Port.NORTH],
        Port.LOCAL,
    )
    if entries is not None:
        entry = entries[:, y + 1, x + 1].astype(np.int64)
        refused = entry > RouteEntry.WEST
        port = np.where(refused, Port.LOCAL, np.where(entry > 0, entry - 1, port))
    ways: NDArray[np.uint8] = (1 << port).astype(np.uint8)
    return ways


def _broadcast_ways(
    columns: int, rows: int, rectangles: Sequence[tuple[tuple[int, int], tuple[int, int]]]
) -> NDArray[np.uint8]:
    """Return the outputs of broadcasts with the shape (routers, 5, rectangles)."""
    ways = np.zeros((columns * rows, _PORTS, len(rectangles)), np.uint8)
    for router, i, k in np.ndindex(ways.shape):
        here = Place(router % columns + 1, router // columns + 1)
        near, far = rectangles[k]
        outputs = broadcast_outputs(here, Port(i), Place(*near), Place(*far))
        ways[router, i, k] = sum(1 << port for port in outputs)
    return ways


def latency_curve(
    model: MeshModel,
    pattern: Pattern,
    loads: Sequence[float],
    *,
    cycles: int = 6000,
    warmup: int = 2000,
    seed: int = 0,
) -> list[MeshRun]:
    """Return a run for each offered load, all of the same length.

    Parameters
    ----------
    model
        The mesh.
    pattern
        Where packets go; with dead routers only `Pattern.UNIFORM`, among the live.
    loads
        Packets per node and cycle that are offered.
    cycles, warmup
        Of each run.
    seed
        Of the traffic.

    """
    live = None if model.live.all() else model.live
    return [
        model.run(
            random_traffic(
                pattern,
                model.columns,
                model.rows,
                load=load,
                cycles=cycles,
                rng=np.random.default_rng(seed),
                live=live,
            ),
            cycles,
            warmup=warmup,
        )
        for load in loads
    ]


def saturation(
    model: MeshModel,
    pattern: Pattern,
    *,
    cycles: int = 8000,
    warmup: int = 3000,
    seed: int = 0,
) -> MeshRun:
    """Return the run at the greatest load that the mesh accepts.

    That is the greatest offered load, in steps of 1/200 packet per node and cycle, of which at
    least 99% is delivered after the warm-up: queues at the sources do not grow.

    Parameters
    ----------
    model
        The mesh.
    pattern
        Where packets go; with dead routers only `Pattern.UNIFORM`, among the live.
    cycles, warmup
        Of each run.
    seed
        Of the traffic.

    """

    def run(steps: int) -> MeshRun:
        load = steps * _STEP
        return latency_curve(model, pattern, [load], cycles=cycles, warmup=warmup, seed=seed)[0]

    accepted, refused = 0, round(1 / _STEP) + 1
    best = run(accepted)
    while refused - accepted > 1:
        steps = (accepted + refused) // 2
        at = run(steps)
        if at.accepted >= _ACCEPTED * at.offered:
            accepted, best = steps, at
        else:
            refused = steps
    return best
