"""The nodes of a die as the host sees them: each one a device, and all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane
from d1_golden.memory_map import (
    COUNTER_BASE,
    LINK_BASE,
    CounterRegister,
    RouterRegister,
    register_address,
)
from d1_golden.packet import write_requests
from d1_golden.params import LINE_BYTES, DieParams
from numpy.typing import NDArray

from d1.backends import open_die_link
from d1.device import Call, Device, call_all, data_region
from d1.exchange import exchange
from d1.fabric.broadcast_trees import BroadcastTrees
from d1.fabric.routing_tables import RoutingTables, routing_tables
from d1.fabric.table_loading import loading_steps
from d1.link import DieLink

__all__ = ["Mesh", "MeshNode", "open_mesh"]

#: Cycles within which a router's table is loaded.
_LOADING_CYCLES = 10_000


class MeshNode(Device):
    """A node of a mesh: a device like any other, but for what all nodes have in common.

    They share the lock and the clock: what lets one run lets all run; `reset` resets all. They
    share `data` too: what it gives out is free in every node, at the same address.

    Parameters
    ----------
    mesh
        Where it is.
    place
        Its place.

    Members
    -------
    place : Place

    """

    def __init__(self, mesh: Mesh, place: Place) -> None:
        super().__init__(mesh.link, mesh.params.node, mesh.name, base=place.address())
        self._mesh = mesh
        self.place = place
        self.lock = mesh.lock
        self.data = mesh.data

    def __repr__(self) -> str:
        return f"<d1 device {self.name}, preset {self.params.name}, node {self.place}>"

    def reset(self) -> None:
        """Reset all nodes of the mesh."""
        self._mesh.reset()

    def close(self) -> None:
        """Leave the node as it is: the mesh is closed as a whole."""


class Mesh:
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

    def __init__(self, link: DieLink, name: str) -> None:
        self.link = link
        self.name = name
        self.params: DieParams = link.params
        self.lock = threading.RLock()
        self.data = data_region(self.params.node)
        self.call_cycles = 0
        self._trees: dict[tuple[int, int], BroadcastTrees] = {}
        self.nodes = {place: MeshNode(self, Place(*place)) for place in self.params.live_nodes}
        self._load_tables()

    def __repr__(self) -> str:
        size = f"{self.params.columns} x {self.params.rows}"
        return f"<d1 mesh {self.name}, {size} of preset {self.params.node.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cycles(self) -> int:
        """Cycles simulated so far, transfers included."""
        return self.link.cycles

    def node(self, column: int, row: int) -> MeshNode:
        """Return the node at a place.

        Raises
        ------
        ValueError
            There is no live node.

        """
        try:
            return self.nodes[column, row]
        except KeyError:
            raise ValueError(
                f"column and row must be of one of the {len(self.nodes)} live nodes of {self!r}, "
                f"not {(column, row)!r}"
            ) from None

    def close(self) -> None:
        """Give back the link."""
        self.link.close()

    def reset(self) -> None:
        """Reset all nodes; programs and data in their SRAM are lost."""
        self.link.reset()
        for node in self.nodes.values():
            node.forget_programs()
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

    def write(self, items: Iterable[tuple[MeshNode, int, NDArray[np.generic]]]) -> None:
        """Put data at addresses of nodes, all in one exchange, by all doors at once.

        Parameters
        ----------
        items
            Node, local address and contents.

        Raises
        ------
        AccessError
            Something of it is neither SRAM nor a register.

        """
        requests = [
            write_requests(node.base + address, np.ascontiguousarray(data).reshape(-1).view("u1"))
            for node, address, data in items
        ]
        exchange(self.link, self.params.node, requests)

    def read(self, items: Sequence[tuple[MeshNode, int, int]]) -> list[NDArray[np.uint8]]:
        """Return contents from addresses of nodes, all in one exchange, by all doors at once.

        Parameters
        ----------
        items
            Node, local address and size in bytes.

        Raises
        ------
        AccessError
            Something of it is neither SRAM nor a register.

        """
        ranges = [(node.base + address, size) for node, address, size in items]
        return exchange(self.link, self.params.node, [], ranges)

    def call(
        self,
        calls: Mapping[tuple[int, int], Call],
        *,
        max_cycles: int,
        observe: Callable[[], None] | None = None,
    ) -> dict[tuple[int, int], list[NDArray[np.uint8]]]:
        """Run programs on nodes at the same time; return what each left in SRAM.

        Parameters
        ----------
        calls
            What to run, by column and row of the node.
        max_cycles
            Cycles after which to give up.
        observe
            Called before the first start and after the last end.

        Raises
        ------
        CycleLimitError, KernelFault, SramOverflowError, AccessError, ValueError
            As for `Device.call`.

        """
        of_nodes = {self.node(*place): call for place, call in calls.items()}
        with self.lock:
            results, self.call_cycles = call_all(of_nodes, max_cycles=max_cycles, observe=observe)
        return {place: results[self.nodes[place]] for place in calls}

    def counters(self) -> dict[tuple[int, int], dict[CounterRegister, int]]:
        """Return the performance counters of all nodes, which count from reset."""
        ranges = [(node, COUNTER_BASE, 8 * len(CounterRegister)) for node in self.nodes.values()]
        read = [contents.view("<u8") for contents in self.read(ranges)]
        return {
            place: {register: int(words[register]) for register in CounterRegister}
            for place, words in zip(self.nodes, read, strict=True)
        }

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
