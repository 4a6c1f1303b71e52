"""How a node reaches every node of a rectangle: with how few transfers, and which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.params import LINE_BYTES
from d1_golden.transfer import TransferOp, descriptor
from numpy.typing import NDArray

from d1.fabric.mesh import Mesh

__all__ = ["Rectangle", "chain", "fan_out"]


class Rectangle(NamedTuple):
    """The places from column and row `near` to `far`, both included."""

    near: tuple[int, int]
    far: tuple[int, int]

    @staticmethod
    def around(places: Sequence[tuple[int, int]]) -> Rectangle:
        """Return the smallest rectangle with all of some places."""
        columns, rows = zip(*places, strict=True)
        return Rectangle((min(columns), min(rows)), (max(columns), max(rows)))

    def __contains__(self, place: object) -> bool:
        if not isinstance(place, tuple) or len(place) != 2:
            return False
        column, row = place
        return self.near[0] <= column <= self.far[0] and self.near[1] <= row <= self.far[1]


def fan_out(
    mesh: Mesh,
    source: tuple[int, int],
    places: Sequence[tuple[int, int]],
    *,
    local: int,
    remote: int,
    lines: int = 1,
    local_stride: int = LINE_BYTES,
    remote_stride: int = LINE_BYTES,
    arrival: int | None = None,
) -> list[NDArray[np.void]]:
    """Return the descriptors that bring lines of a node to every live node of a rectangle.

    Each node gets the lines once, and one post. That is one broadcast where all routers work. Where
    some do not, there are as many rectangles as broadcasts may be sent to around them
    (`BroadcastTrees`), and a push to each node that is left.

    Parameters
    ----------
    mesh
        The nodes.
    source
        The node that has the lines.
    places
        The live nodes of a rectangle.
    local, remote, lines, local_stride, remote_stride, arrival
        As of `d1_golden.transfer.descriptor`; `remote` is a local address of the receivers.

    Returns
    -------
    DESCRIPTOR_DTYPE[1] each
        Not chained yet; see `chain`.

    """
    if mesh.params.dead_routers:
        rectangles, singles = mesh.broadcast_trees(source).split(places)
    else:
        rectangles, singles = [Rectangle.around(places)], []
    pushes = [(TransferOp.PUSH, place, 0) for place in singles]
    broadcasts = [(TransferOp.BCAST, near, Place(*far).bits) for near, far in rectangles]
    return [
        descriptor(
            op,
            local=local,
            remote=Place(*place).address(remote),
            lines=lines,
            local_stride=local_stride,
            remote_stride=remote_stride,
            arrival=arrival,
            corner=corner,
        )
        for op, place, corner in (*broadcasts, *pushes)
    ]


def chain(descriptors: list[NDArray[np.void]], address: int) -> NDArray[np.void]:
    """Return a list of descriptors as it must lie in SRAM from an address on."""
    chained = np.concatenate(descriptors)
    following = address + LINE_BYTES * np.arange(1, len(chained) + 1)
    chained["next"] = following
    chained["next"][-1] = 0
    return chained
