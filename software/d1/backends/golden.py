"""The golden model as a device: bit-exact, one instruction a cycle, no build."""

from __future__ import annotations

from d1_golden.node import GoldenNode
from d1_golden.params import NodeParams

from d1.link import Link

__all__ = ["open_link"]


def open_link(params: NodeParams) -> Link:
    """Return a link to a new golden node."""
    return GoldenNode(params)
