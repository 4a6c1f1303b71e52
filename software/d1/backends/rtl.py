"""The RTL as a device: the Verilated node, clocked by the native driver."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from d1_golden.params import NodeParams
from d1_rtl.node.node import Node
from d1_rtl.sim.node_link import RETIRE_DTYPE, NodeLink
from numpy.typing import NDArray

from d1.link import Link

__all__ = ["RtlLink", "open_link"]

#: Cycles after which traced instructions are fetched from the driver.
_TRACE_CHUNK = 1 << 16


class RtlLink(NodeLink):
    """A link to a simulated node that knows the node's parameters."""

    def __init__(self, params: NodeParams) -> None:
        super().__init__(Node(params), name=f"node_{params.name}", retire_capacity=_TRACE_CHUNK)
        self._params = params

    @property
    def params(self) -> NodeParams:
        """Parameters of the node."""
        return self._params

    def run_traced(self, max_cycles: int) -> NDArray[np.void]:
        """Run until idle, at most `max_cycles`; return what retired, in program order.

        Returns
        -------
        RETIRE_DTYPE[n]
            That of `d1_rtl.sim.node_link`; a superset of the golden node's.

        """
        self.take_retired()  # of earlier runs, which nobody wanted
        chunks = [np.zeros(0, RETIRE_DTYPE)]
        end = self.cycles + max_cycles
        while self.cycles < end and not self.get("idle"):
            with suppress(TimeoutError):
                self.run(min(_TRACE_CHUNK, end - self.cycles))
            chunks.append(self.take_retired()[0])
        return np.concatenate(chunks)


def open_link(params: NodeParams) -> Link:
    """Return a link to a new simulated node; the first use of a preset compiles it."""
    return RtlLink(params)
