"""How a node reaches every node of a rectangle: with how few transfers, and which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.params import LINE_BYTES, DieParams
from d1_golden.transfer import TransferOp, descriptor
from numpy.typing import NDArray

__all__ = ["Rectangle", "chain", "fan_out"]


class Rectangle(NamedTuple):
    """The places from column and row `near` to `far`, both included."""

    near: tuple[int, int]
    far: tuple[int, int]

    @staticmethod
    def around(places: list[tuple[int, int]]) -> Rectangle:
        """Return the smallest rectangle with all of some places."""
        columns, rows = zip(*places, strict=True)
        return Rectangle((min(columns), min(rows)), (max(columns), max(rows)))

    def __contains__(self, place: object) -> bool:
        if not isinstance(place, tuple) or len(place) != 2:
            return False
        column, row = place
        return self.near[0] <= column <= self.far[0] and self.near[1] <= row <= self.far[1]

    def halves(self) -> tuple[Rectangle, Rectangle]:
        """Return both halves, cut across the longer side; there is more than one place."""
        (left, top), (right, bottom) = self
        if right - left >= bottom - top:
            middle = (left + right) // 2
            return Rectangle(self.near, (middle, bottom)), Rectangle((middle + 1, top), self.far)
        middle = (top + bottom) // 2
        return Rectangle(self.near, (right, middle)), Rectangle((left, middle + 1), self.far)


def fan_out(
    die: DieParams,
    source: tuple[int, int],
    rectangle: Rectangle,
    *,
    local: int,
    remote: int,
    lines: int = 1,
    local_stride: int = LINE_BYTES,
    remote_stride: int = LINE_BYTES,
    arrival: int | None = None,
) -> list[NDArray[np.void]]:
    """Return the descriptors that bring lines of a node to every live node of a rectangle.

    Each node gets the lines once, and one post. That is one broadcast where every router of its
    tree works (docs/router.md); where one does not, the rectangle is cut in halves until they can
    be reached, single nodes by a push, which goes by the routing tables.

    Parameters
    ----------
    die
        The die.
    source
        The node.
    rectangle
        Where the lines go.
    local, remote, lines, local_stride, remote_stride, arrival
        As of `d1_golden.transfer.descriptor`; `remote` is a local address of the receivers.

    Returns
    -------
    DESCRIPTOR_DTYPE[1] each
        Not chained yet; see `chain`.

    """
    dead = set(die.dead_routers)
    live = set(die.live_nodes)

    def parts(whole: Rectangle) -> Iterator[Rectangle]:
        if not any(place in whole for place in live):
            return
        if whole.near == whole.far or not any(r in dead for r in _tree(source, whole)):
            yield whole
        else:
            for half in whole.halves():
                yield from parts(half)

    return [
        descriptor(
            TransferOp.PUSH if part.near == part.far else TransferOp.BCAST,
            local=local,
            remote=Place(*part.near).address(remote),
            lines=lines,
            local_stride=local_stride,
            remote_stride=remote_stride,
            arrival=arrival,
            corner=0 if part.near == part.far else Place(*part.far).bits,
        )
        for part in parts(rectangle)
    ]


def chain(descriptors: list[NDArray[np.void]], address: int) -> NDArray[np.void]:
    """Return a list of descriptors as it must lie in SRAM from an address on."""
    chained = np.concatenate(descriptors)
    following = address + LINE_BYTES * np.arange(1, len(chained) + 1)
    chained["next"] = following
    chained["next"][-1] = 0
    return chained


def _tree(source: tuple[int, int], rectangle: Rectangle) -> Iterator[tuple[int, int]]:
    """Yield the routers that the copies of a broadcast pass."""
    (left, top), (right, bottom) = rectangle
    column, row = source
    for x in range(min(left, column), max(right, column) + 1):
        yield x, row
    for x in range(left, right + 1):
        for y in range(min(top, row), max(bottom, row) + 1):
            yield x, y
