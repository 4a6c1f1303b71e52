"""What every board with one node has in common."""

from __future__ import annotations

from ..fabric.place import Place

__all__ = ["BOARD_NODE"]

#: Address bits 55..24 of the node on a board. Not zero, the source of a host's packets:
#: by it the door tells replies for the host from those for the node's own programs.
BOARD_NODE = Place(1, 1).bits
