"""Traffic for a mesh: what each node sends where, and when."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["HOTSPOT_SHARE", "Pattern", "Traffic", "random_traffic"]

#: Share of the packets of `Pattern.HOTSPOT` that go to the one node.
HOTSPOT_SHARE = 0.1


class Pattern(enum.Enum):
    """Where a node at column x, row y of C columns and R rows, counted from 0, sends to."""

    UNIFORM = "uniform"  #: any other node, equally often
    TRANSPOSE = "transpose"  #: (y, x)
    BIT_COMPLEMENT = "bit-complement"  #: (C - 1 - x, R - 1 - y)
    TORNADO = "tornado"  #: nearly half the way round its row: (x + ceil(C / 2) - 1 mod C, y)
    NEIGHBOUR = "neighbour"  #: (x + 1 mod C, y)
    HOTSPOT = "hotspot"  #: `HOTSPOT_SHARE` to (C / 2, R / 2), the rest to any other node


@dataclass(frozen=True)
class Traffic:
    """The packets that each place of a mesh sends, in order.

    Parameters
    ----------
    place : int32[places, packets]
        Where each goes.
    cycle : int64[places, packets]
        From when on each is offered, ascending; a place with fewer packets has `NEVER` at its end.

    """

    NEVER = np.iinfo(np.int64).max

    place: NDArray[np.int32]
    cycle: NDArray[np.int64]

    @property
    def packets(self) -> int:
        """How many there are in all."""
        return int((self.cycle != Traffic.NEVER).sum())


def random_traffic(
    pattern: Pattern,
    columns: int,
    rows: int,
    *,
    load: float,
    cycles: int,
    rng: np.random.Generator,
    live: NDArray[np.bool_] | None = None,
) -> Traffic:
    """Return traffic in which a node makes a packet in each cycle with probability `load`.

    Parameters
    ----------
    pattern
        Where packets go.
    columns, rows
        Size of the mesh.
    load
        Packets per node and cycle.
    cycles
        How long.
    rng
        Source of chance.
    live
        Which places send and receive, if not all; only for `Pattern.UNIFORM`.

    Raises
    ------
    ValueError
        If `load` is not in 0..1, a mesh is not square for TRANSPOSE, or `live` is given for
        another pattern than UNIFORM.

    """
    if not 0 <= load <= 1:
        raise ValueError(f"load must be in 0..1, not {load!r}")
    if live is not None and pattern is not Pattern.UNIFORM:
        raise ValueError(f"live must be None for {pattern.value} traffic")
    places = columns * rows
    senders = np.arange(places) if live is None else np.flatnonzero(live)
    made = rng.random((len(senders), cycles)) < load
    counts = np.zeros(places, np.int64)
    counts[senders] = made.sum(axis=1)
    most = int(counts.max(initial=1))
    cycle = np.full((places, most), Traffic.NEVER)
    cycle[np.arange(most) < counts[:, None]] = np.nonzero(made)[1]
    if pattern is Pattern.UNIFORM:
        place = _any_other(senders, places, most, rng)
    else:
        place = _places(pattern, columns, rows, most, rng)
    return Traffic(place.astype(np.int32), cycle)


def _any_other(
    live: NDArray[np.int64], places: int, packets: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return for each live place packets to any other live place."""
    result = np.zeros((places, packets), np.int64)
    if len(live) > 1:
        drawn = rng.integers(len(live) - 1, size=(len(live), packets))
        result[live] = live[drawn + (drawn >= np.arange(len(live))[:, None])]
    return result


def _places(
    pattern: Pattern, columns: int, rows: int, packets: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return where the packets of a pattern other than UNIFORM go."""
    y, x = np.divmod(np.arange(columns * rows), columns)
    match pattern:
        case Pattern.TRANSPOSE:
            if columns != rows:
                raise ValueError(f"rows must equal columns for transpose, not {columns} x {rows}")
            to = x * columns + y
        case Pattern.BIT_COMPLEMENT:
            to = (rows - 1 - y) * columns + columns - 1 - x
        case Pattern.TORNADO:
            to = y * columns + (x + -(-columns // 2) - 1) % columns
        case Pattern.NEIGHBOUR:
            to = y * columns + (x + 1) % columns
        case _:
            hot = rng.random((columns * rows, packets)) < HOTSPOT_SHARE
            other = _any_other(np.arange(columns * rows), columns * rows, packets, rng)
            return np.where(hot, rows // 2 * columns + columns // 2, other)
    return np.broadcast_to(to[:, None], (columns * rows, packets))
