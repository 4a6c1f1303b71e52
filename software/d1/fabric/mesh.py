"""The nodes of a die as the host sees them: each one a device, and all of them at once."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane
from d1_golden.memory_map import LINK_BASE, RouterRegister, register_address
from d1_golden.packet import write_requests
from d1_golden.params import LINE_BYTES, DieParams
from numpy.typing import NDArray

from d1.backends import open_die_link
from d1.exchange import exchange
from d1.fabric.broadcast_trees import BroadcastTrees
from d1.fabric.node_group import MeshNode, NodeGroup
from d1.fabric.routing_tables import RoutingTables, routing_tables
from d1.fabric.table_loading import loading_steps
from d1.link import DieLink

__all__ = ["Mesh", "MeshNode", "open_mesh"]

#: Cycles within which a router's table is loaded.
_LOADING_CYCLES = 10_000


class Mesh(NodeGroup[tuple[int, int]]):
    """The live nodes of a die behind one link.

    Parameters
    ----------
    link
        The way to the die; the mesh closes it.
    name
        Kind of device, for messages.

    Members
    -------
    params : DieParams
        The die.
    nodes : dict[tuple[int, int], MeshNode]
        The live nodes by column and row, row by row.
    lock : RLock
        Held by whatever runs programs on the nodes.
    data : SramRegion
        Where data is put, in all nodes alike.
    call_cycles : int
        Cycles of the last `call`, from the first start to the end of the last.

    """

    link: DieLink

    def __init__(self, link: DieLink, name: str) -> None:
        self.params: DieParams = link.params
        self._trees: dict[tuple[int, int], BroadcastTrees] = {}
        places = {place: Place(*place) for place in self.params.live_nodes}
        super().__init__(link, name, self.params.node, places)
        self._load_tables()

    def __repr__(self) -> str:
        size = f"{self.params.columns} x {self.params.rows}"
        return f"<d1 mesh {self.name}, {size} of preset {self.params.node.name}>"

    def node(self, column: int, row: int) -> MeshNode:
        """Return the node at a place.

        Raises
        ------
        ValueError
            There is no live node.

        """
        return self._node((column, row))

    def reset(self) -> None:
        """Reset all nodes; programs and data in their SRAM are lost."""
        super().reset()
        self._load_tables()

    @cached_property
    def tables(self) -> RoutingTables:
        """The routing tables of the die."""
        return routing_tables(self.params)

    def broadcast_trees(self, source: tuple[int, int]) -> BroadcastTrees:
        """Return the rectangles that broadcasts of a node may be sent to."""
        if source not in self._trees:
            self._trees[source] = BroadcastTrees(self.tables, source)
        return self._trees[source]

    def _load_tables(self) -> None:
        """Load the routing tables where there are dead routers to go around."""
        if not self.params.dead_routers:
            return
        for step in loading_steps(self.tables):
            self.link.exchange(step.packets, _LOADING_CYCLES, door=step.door)
        # Some dead cores may not have been in reach before.
        disable = np.ones(1, "<u8").view(np.uint8)
        address = register_address(RouterRegister.CORE_DISABLED)
        requests = [
            write_requests(Place(*place).address(address), disable)
            for place in self.params.live_routers
            if place not in self.nodes
        ]
        exchange(self.link, self.params.node, requests)

    def link_packets(self) -> NDArray[np.uint64]:
        """Return how many packets left each place's routers since reset.

        Returns
        -------
        uint64[2, rows, columns, 5]
            By plane (requests, replies), row, column and `Port`; LOCAL is into the node.

        """
        lines = len(Plane) * LINE_BYTES
        places = self.params.live_routers
        ranges = [(Place(*place).address(LINK_BASE), lines) for place in places]
        shape = len(Plane), self.params.rows, self.params.columns, len(Port)
        packets = np.zeros(shape, np.uint64)
        contents = exchange(self.link, self.params.node, [], ranges)
        for (column, row), counts in zip(places, contents, strict=True):
            of_planes = counts.view("<u8").reshape(len(Plane), -1)
            packets[:, row - 1, column - 1] = of_planes[:, : len(Port)]
        return packets


def open_mesh(device: str, params: DieParams) -> Mesh:
    """Return a new mesh; it is the caller's to close.

    Parameters
    ----------
    device
        "rtl" for the simulated RTL, "golden" for the golden model.
    params
        The die.

    Raises
    ------
    ValueError
        There is no such device.

    """
    return Mesh(open_die_link(device, params), device)
