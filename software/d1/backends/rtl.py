"""The RTL as a device: the Verilated node, clocked by the native driver."""

from __future__ import annotations

from d1_golden.params import NodeParams
from d1_rtl.node.node import Node
from d1_rtl.sim.node_link import NodeLink

from d1.link import Link

__all__ = ["RtlLink", "open_link"]


class RtlLink(NodeLink):
    """A link to a simulated node that knows the node's parameters."""

    def __init__(self, params: NodeParams) -> None:
        super().__init__(Node(params), name=f"node_{params.name}")
        self._params = params

    @property
    def params(self) -> NodeParams:
        """Parameters of the node."""
        return self._params


def open_link(params: NodeParams) -> Link:
    """Return a link to a new simulated node; the first use of a preset compiles it."""
    return RtlLink(params)
