"""The RTL as a device: the Verilated node, alone or many of it as a die, in a native driver."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from d1_golden.machine import MachineParams
from d1_golden.params import DieParams, NodeParams
from d1_rtl.node.node import Node
from d1_rtl.sim.die_link import DieLink as SimulatedDie
from d1_rtl.sim.machine_link import MachineLink as SimulatedMachine
from d1_rtl.sim.node_link import NodeLink
from numpy.typing import NDArray

from d1.link import DieLink, Link, MachineLink

__all__ = ["RtlLink", "open_die_link", "open_link", "open_machine_link"]

#: Retired instructions that the driver keeps, and cycles after which they are fetched: packets in
#: between take some more.
_RETIRE_CAPACITY, _TRACE_CHUNK = 1 << 16, 1 << 15


class RtlLink(NodeLink):
    """A link to a simulated node that knows the node's parameters."""

    def __init__(self, params: NodeParams) -> None:
        super().__init__(
            Node(params),
            name=f"node_{params.name}",
            retire_capacity=_RETIRE_CAPACITY,
            design_key=repr(params),
        )
        self._params = params

    @property
    def params(self) -> NodeParams:
        """Parameters of the node."""
        return self._params

    def run_traced(self, max_cycles: int) -> NDArray[np.void]:
        """Run until idle, at most `max_cycles`; return what retired since the last call.

        After a run without trace call it with 0 first: what retired then was not all kept.

        Returns
        -------
        LINK_RETIRE_DTYPE[n]
            In program order, in the form of `d1_rtl.sim.node_link`: with the cycle.

        """
        chunks = [self.take_retired()[0]]
        end = self.cycles + max_cycles
        while self.cycles < end and not self.get("idle"):
            with suppress(TimeoutError):
                self.run(min(_TRACE_CHUNK, end - self.cycles))
            chunks.append(self.take_retired()[0])
        return np.concatenate(chunks)


def open_link(params: NodeParams) -> Link:
    """Return a link to a new simulated node; the first use of a preset compiles it."""
    return RtlLink(params)


def open_die_link(params: DieParams) -> DieLink:
    """Return a link to a new simulated die; the first use of its nodes' preset compiles it."""
    return SimulatedDie(params)


def open_machine_link(params: MachineParams, *, processes: bool = False) -> MachineLink:
    """Return a link to a new simulated machine, each die in its own process if wanted."""
    return SimulatedMachine(params, processes=processes)
