"""Nodes behind one link: each one a device, and all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, Self, TypeVar

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.memory_map import COUNTER_BASE, CounterRegister
from d1_golden.packet import write_requests
from d1_golden.params import NodeParams
from numpy.typing import NDArray

from d1.device import Call, Device, call_all, data_region
from d1.exchange import exchange
from d1.link import PacketLink

__all__ = ["MeshNode", "NodeGroup"]

#: What a node of a group is asked for by.
Key = TypeVar("Key", bound=tuple[int, ...])


class MeshNode(Device):
    """A node of a mesh: a device like any other, but for what all nodes have in common.

    They share the lock and the clock: what lets one run lets all run; `reset` resets all. They
    share `data` too: what it gives out is free in every node, at the same address.

    Parameters
    ----------
    group
        Where it is.
    params
        Its parameters.
    place
        Its place.

    Members
    -------
    place : Place

    """

    def __init__(self, group: NodeGroup[Key], params: NodeParams, place: Place) -> None:
        super().__init__(group.link, params, group.name, base=place.address())
        self._reset_group = group.reset
        self.place = place
        self.lock = group.lock
        self.data = group.data

    def __repr__(self) -> str:
        return f"<d1 device {self.name}, preset {self.params.name}, node {self.place}>"

    def reset(self) -> None:
        """Reset all nodes of the mesh."""
        self._reset_group()

    def close(self) -> None:
        """Leave the node as it is: the mesh is closed as a whole."""


class NodeGroup(Generic[Key]):
    """Equal nodes behind one link.

    Parameters
    ----------
    link
        The way to the nodes; the group closes it.
    name
        Kind of device, for messages.
    params
        Parameters of a node.
    places
        Where they are, by what they are asked for.

    Members
    -------
    nodes : dict[Key, MeshNode]
        The nodes, in the order of `places`.
    lock : RLock
        Held by whatever runs programs on the nodes.
    data : SramRegion
        Where data is put, in all nodes alike.
    call_cycles : int
        Cycles of the last `call`, from the first start to the end of the last.

    """

    def __init__(
        self, link: PacketLink, name: str, params: NodeParams, places: Mapping[Key, Place]
    ) -> None:
        self.link = link
        self.name = name
        self.lock = threading.RLock()
        self.data = data_region(params)
        self.call_cycles = 0
        self._node_params = params
        self.nodes = {key: MeshNode(self, params, place) for key, place in places.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cycles(self) -> int:
        """Cycles simulated so far, transfers included."""
        return self.link.cycles

    def _node(self, key: Key) -> MeshNode:
        """Return a node, or refuse what is none."""
        try:
            return self.nodes[key]
        except KeyError:
            raise ValueError(
                f"column and row must be of one of the {len(self.nodes)} live nodes of {self!r}, "
                f"not {tuple(key)!r}"
            ) from None

    def close(self) -> None:
        """Give back the link."""
        self.link.close()

    def reset(self) -> None:
        """Reset all nodes; programs and data in their SRAM are lost."""
        self.link.reset()
        for node in self.nodes.values():
            node.forget_programs()

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
        exchange(self.link, self._node_params, requests)

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
        return exchange(self.link, self._node_params, [], ranges)

    def call(
        self,
        calls: Mapping[Key, Call],
        *,
        max_cycles: int,
        observe: Callable[[], None] | None = None,
    ) -> dict[Key, list[NDArray[np.uint8]]]:
        """Run programs on nodes at the same time; return what each left in SRAM.

        Parameters
        ----------
        calls
            What to run, by the key of the node.
        max_cycles
            Cycles after which to give up.
        observe
            Called before the first start and after the last end.

        Raises
        ------
        CycleLimitError, KernelFault, SramOverflowError, AccessError, ValueError
            As for `Device.call`.

        """
        of_nodes = {self._node(key): call for key, call in calls.items()}
        with self.lock:
            results, self.call_cycles = call_all(of_nodes, max_cycles=max_cycles, observe=observe)
        return {key: results[self.nodes[key]] for key in calls}

    def counters(self) -> dict[Key, dict[CounterRegister, int]]:
        """Return the performance counters of all nodes, which count from reset."""
        ranges = [(node, COUNTER_BASE, 8 * len(CounterRegister)) for node in self.nodes.values()]
        read = [contents.view("<u8") for contents in self.read(ranges)]
        return {
            key: {register: int(words[register]) for register in CounterRegister}
            for key, words in zip(self.nodes, read, strict=True)
        }
