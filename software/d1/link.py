"""The contracts between devices and whatever stands behind them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.machine import MachineParams
from d1_golden.params import DieParams, NodeParams
from numpy.typing import NDArray

__all__ = ["DieLink", "Link", "MachineLink", "PacketLink"]


class PacketLink(Protocol):
    """Something that packets go to, and that has a clock.

    Members
    -------
    cycles
        Clock cycles since the link was opened.

    """

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
        """Let cycles pass until all is idle, at most `max_cycles`."""

    def reset(self) -> None:
        """Reset all: threads idle, counters zero, SRAM undefined."""

    def close(self) -> None:
        """Give back what the link holds; it cannot be used afterwards."""


class Link(PacketLink, Protocol):
    """A node behind packets: all that a new target has to provide.

    Members
    -------
    params
        Parameters of the node.

    """

    @property
    def params(self) -> NodeParams:
        """Parameters of the node."""


class MachineLink(PacketLink, Protocol):
    """A machine of several dies behind packets.

    Requests are addressed to places of all dies, and enter where `MachineParams.host_door` says.

    Members
    -------
    params
        The machine.

    """

    @property
    def params(self) -> MachineParams:
        """Parameters of the machine."""


class DieLink(PacketLink, Protocol):
    """A die behind packets.

    Requests are addressed to places. They enter at the west or east door of their destination's
    row; those to one destination keep their order, and replies come in the order of their requests.

    Members
    -------
    params
        The die.

    """

    @property
    def params(self) -> DieParams:
        """Parameters of the die."""

    def exchange(
        self, requests: NDArray[np.void], max_cycles: int, *, door: Place | None = None
    ) -> NDArray[np.void]:
        """Send packets; return the replies once all is carried out.

        Parameters
        ----------
        requests
            Array of `d1_golden.packet.PACKET_DTYPE`.
        max_cycles
            Cycles within which it must be done.
        door
            The door by which all of them enter.

        """
