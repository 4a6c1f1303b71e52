"""The nodes of several dies as the host sees them, and the links between the dies."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES
from d1_golden.machine import DieLinkEnd, MachineParams
from d1_golden.memory_map import RouterRegister, SerdesRegister, register_address
from d1_golden.packet import write_requests
from d1_golden.params import LINE_BYTES
from d1_golden.serdes.frame import LinkState

from d1.backends import open_machine_link
from d1.errors import DeviceError
from d1.exchange import exchange
from d1.fabric.die_exits import exits_around, exits_register
from d1.fabric.node_group import MeshNode, NodeGroup
from d1.link import MachineLink

__all__ = ["LinkStatus", "Machine", "open_machine"]

#: Cycles from one look at links that train to the next, and within which they must be open.
_LOOK_CYCLES, _TRAINING_CYCLES = 500, 100_000
#: Cycles in which what is on its way to a link that is taken down still gets through.
_DRAIN_CYCLES = 2000
_STATE_BITS = 0xF
_REGISTERS_BYTES = 2 * LINE_BYTES


@dataclass(frozen=True)
class LinkStatus:
    """What the end of a link says of itself.

    Parameters
    ----------
    state
        Of its training; packets move in OPEN.
    registers
        All its registers.

    """

    state: LinkState
    registers: dict[SerdesRegister, int]


class Machine(NodeGroup[Place]):
    """The live nodes of several dies behind one link, one address space.

    When it is made the links are open, and the exits of the routers lead to all dies. A program
    reaches a node of another die by its address, as one of its own die.

    Parameters
    ----------
    link
        The way to the machine, which closes it.
    name
        Kind of device, for messages.

    Members
    -------
    params : MachineParams
        The machine.
    nodes : dict[Place, MeshNode]
        The live nodes by place, die by die.
    down : frozenset[DieLinkEnd]
        The ends of links that were taken down.
    lock, data, call_cycles
        As in `d1.fabric.mesh.Mesh`.

    """

    link: MachineLink

    def __init__(self, link: MachineLink, name: str) -> None:
        self.params: MachineParams = link.params
        self.down: frozenset[DieLinkEnd] = frozenset()
        self._exits: dict[Place, int] = {}
        places = {place: place for place in self.params.live_nodes}
        super().__init__(link, name, self.params.die.node, places)
        self._begin()

    def __repr__(self) -> str:
        dies = f"{self.params.columns} x {self.params.rows}"
        size = f"{self.params.die.columns} x {self.params.die.rows}"
        return f"<d1 machine {self.name}, {dies} dies of {size}, preset {self._node_params.name}>"

    def node(self, column: int, row: int, die: tuple[int, int] = (0, 0)) -> MeshNode:
        """Return the node at a place of a die.

        Raises
        ------
        ValueError
            There is no live node.

        """
        return self._node(Place(column, row, *die))

    def reset(self) -> None:
        """Reset all nodes and links, and wait for the links; what is in SRAM is lost."""
        super().reset()
        self._begin()

    def link_status(self) -> dict[DieLinkEnd, LinkStatus]:
        """Return what the ends of all links say of themselves."""
        ranges = [
            (self._address(end, SerdesRegister.STATUS), _REGISTERS_BYTES) for end in self._ends
        ]
        contents = exchange(self.link, self._node_params, [], ranges)
        found = {}
        for end, line in zip(self._ends, contents, strict=True):
            words = [int(word) for word in line.view("<u8")]
            registers = {register: words[register] for register in SerdesRegister}
            found[end] = LinkStatus(
                LinkState(words[SerdesRegister.STATUS] & _STATE_BITS), registers
            )
        return found

    def dead_links(self) -> list[DieLinkEnd]:
        """Return the ends that are not open and that nobody took down."""
        return [
            end
            for end, status in self.link_status().items()
            if status.state is not LinkState.OPEN and end not in self.down
        ]

    def wait_for_links(self, max_cycles: int = _TRAINING_CYCLES) -> None:
        """Let cycles pass until all links that were not taken down are open.

        Raises
        ------
        DeviceError
            If one is not after `max_cycles`.

        """
        passed = 0
        while dead := self.dead_links():
            if passed >= max_cycles:
                raise DeviceError(
                    f"links must be open within {max_cycles} cycles, but there is none from "
                    f"{', '.join(map(str, dead))}"
                )
            self.link.advance(_LOOK_CYCLES)
            passed += _LOOK_CYCLES

    def take_down(self, ends: Iterable[DieLinkEnd]) -> None:
        """Lead packets around links and switch them off at both ends.

        What is on its way to them meanwhile gets through if they work. Later packets to them, of
        broadcasts for instance, are refused, not held up; what is in a link waits there.

        Raises
        ------
        ValueError
            If one is not the end of a link, or there would be no way left to a die; then nothing
            has changed.

        """
        down = self.down | self._both(ends)
        self._load_exits(down)
        self.link.advance(_DRAIN_CYCLES)
        self._set_disabled(down - self.down, (1 << self.params.link.lanes) - 1)
        self.down = down

    def bring_up(self, ends: Iterable[DieLinkEnd]) -> None:
        """Switch links on, wait until they are open, and lead packets to them again.

        Raises
        ------
        ValueError
            If one is not the end of a link.
        DeviceError
            If a link does not open; packets are still led around it.

        """
        up = self._both(ends) & self.down
        self._set_disabled(up, 0)
        down, self.down = self.down, self.down - up
        try:
            self.wait_for_links()
        except DeviceError:
            self.down = down
            raise
        self._load_exits(self.down)

    def take_down_dead_links(self) -> list[DieLinkEnd]:
        """Take down all links that do not work; return their ends that said so."""
        dead = self.dead_links()
        if dead:
            self.take_down(dead)
        return dead

    @property
    def _ends(self) -> tuple[DieLinkEnd, ...]:
        return tuple(self.params.ends)

    def _begin(self) -> None:
        """Prepare a machine that has been reset."""
        self.down = frozenset()
        self._exits = {}
        self._load_exits(self.down)
        self.wait_for_links()

    def _both(self, ends: Iterable[DieLinkEnd]) -> frozenset[DieLinkEnd]:
        """Return both ends of each link."""
        one = list(ends)
        for end in one:
            if end not in self.params.ends:
                raise ValueError(f"end must be one of a link of {self!r}, not {end}")
        return frozenset([*one, *(self.params.ends[end] for end in one)])

    def _load_exits(self, down: Collection[DieLinkEnd]) -> None:
        """Write the exits that lead around links, where they are other than before."""
        exits = {
            place: exits_register(of_place)
            for place, of_place in exits_around(self.params, down).items()
        }
        address = register_address(RouterRegister.EXITS)
        changed = {
            place: exits.get(place, 0)
            for place in {**self._exits, **exits}
            if exits.get(place, 0) != self._exits.get(place, 0)
        }
        requests = [
            write_requests(place.address(address), np.array([value], "<u8").view("u1"))
            for place, value in changed.items()
        ]
        exchange(self.link, self._node_params, requests)
        self._exits = exits

    def _set_disabled(self, ends: Iterable[DieLinkEnd], wires: int) -> None:
        """Say at ends of links which wires are not used."""
        value = np.array([wires], "<u8").view("u1")
        requests = [
            write_requests(self._address(end, SerdesRegister.DISABLED), value) for end in ends
        ]
        exchange(self.link, self._node_params, requests)

    def _address(self, end: DieLinkEnd, register: SerdesRegister) -> int:
        return end.place.address(register_address(register, SIDES.index(end.side)))


def open_machine(device: str, params: MachineParams, *, processes: bool = False) -> Machine:
    """Return a new machine; it is the caller's to close.

    Parameters
    ----------
    device
        "rtl" for the simulated RTL, "golden" for the golden model.
    params
        The machine.
    processes
        Whether each die of the simulated RTL gets a process of its own.

    Raises
    ------
    ValueError
        There is no such device.

    """
    return Machine(open_machine_link(device, params, processes=processes), device)
