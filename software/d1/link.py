"""The contract between a device and whatever stands behind it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from d1_golden.params import NodeParams
from numpy.typing import NDArray

__all__ = ["Link"]


class Link(Protocol):
    """A node behind packets: all that a new target has to provide.

    Members
    -------
    params
        Parameters of the node.
    cycles
        Clock cycles since the link was opened.

    """

    @property
    def params(self) -> NodeParams:
        """Parameters of the node."""

    @property
    def cycles(self) -> int:
        """Clock cycles since the link was opened."""

    def exchange(self, requests: NDArray[np.void], max_cycles: int) -> NDArray[np.void]:
        """Send packets in order; return the replies once every READ is answered.

        Parameters
        ----------
        requests
            Array of `d1_golden.packet.PACKET_DTYPE`.
        max_cycles
            Cycles within which it must be done.

        """

    def advance(self, cycles: int) -> object:
        """Let so many cycles pass."""

    def run(self, max_cycles: int) -> object:
        """Let cycles pass until the node is idle, at most `max_cycles`."""

    def reset(self) -> None:
        """Reset the node: threads idle, counters zero, SRAM undefined."""

    def close(self) -> None:
        """Give back what the link holds; it cannot be used afterwards."""
