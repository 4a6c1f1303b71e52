"""Die traffic: random programs on all nodes of a die, and random packets of the host to them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.isa import Unit
from d1_golden.memory_map import (
    COUNTER_BASE,
    LINK_BASE,
    ROUTE_TABLE_BASE,
    TRANSFER_BASE,
    Command,
    SemaphoreRegister,
    ThreadRegister,
    register_address,
)
from d1_golden.node.random_options import DEFAULT_MIX, ProgramOptions
from d1_golden.node.random_programs import random_program
from d1_golden.packet import (
    ACK_FLAG,
    PACKET_DTYPE,
    POST_FLAG,
    Opcode,
    read_requests,
    write_requests,
)
from d1_golden.params import LINE_BYTES, DieParams
from numpy.typing import NDArray

__all__ = ["DieTraffic"]

#: Programs that send much more than those that are compared with the golden model.
_MIX = {**DEFAULT_MIX, Unit.TRANSFER: 12, Unit.SEMAPHORE: 2}
_LENGTH = 400
#: Lines at the end of a thread's share of SRAM that its program does not reach.
_FREE_LINES = 16
#: Count of semaphores that lets all waits of a program pass.
_POSTS = 1000
#: Control registers that the host reads.
_REGISTERS = (
    COUNTER_BASE,
    TRANSFER_BASE,
    ROUTE_TABLE_BASE,
    LINK_BASE,
    register_address(ThreadRegister.PC),
)


class DieTraffic:
    """Random work for a die: whatever keeps all nodes, routers and doors busy.

    Half of the programs send to their own node, which then does what golden does; the others send
    to any node, which may wait for ever or lose its program. It is for comparing simulations of
    the same design, of which nothing of that is expected to differ.

    Parameters
    ----------
    params
        The die.
    seed
        Start of the random sequence.

    """

    def __init__(self, params: DieParams, seed: int) -> None:
        self._params = params
        self._rng = np.random.default_rng(seed)
        self._places = [Place(*place) for place in params.live_nodes]
        self._share = params.node.sram_bytes // params.node.threads

    def programs(self, places: Iterable[Place]) -> NDArray[np.void]:
        """Return the packets that load a new program for each thread of nodes and start it."""
        packets = [np.zeros(0, PACKET_DTYPE)]
        for place in places:
            to = place if self._rng.random() < 0.5 else self._any_node()
            starts = []
            for thread in range(self._params.node.threads):
                # At the same place in all nodes, so that what others send hits data, not code.
                base = thread * self._share
                options = ProgramOptions(
                    length=_LENGTH,
                    mix=_MIX,
                    traps=float(self._rng.choice([0, 0.05])),
                    vector_fault=bool(self._rng.random() < 0.1),
                    base=base,
                    thread=thread,
                    node=to.bits,
                )
                program = random_program(
                    self._params.node, int(self._rng.integers(1 << 32)), options
                )
                words = np.array([base, 0, Command.START], np.uint64).view(np.uint8)
                register = register_address(ThreadRegister.PC, thread)
                packets.append(_moved(program.requests(), place))
                starts.append(write_requests(place.address(register), words))
            packets += starts
        return np.concatenate(packets)

    def posts(self, places: Iterable[Place]) -> NDArray[np.void]:
        """Return the packets that let the threads of nodes go on that wait for a semaphore."""
        counts = np.full(self._params.node.semaphores, _POSTS, "<u8").view(np.uint8)
        address = register_address(SemaphoreRegister.COUNT)
        packets = [write_requests(place.address(address), counts) for place in places]
        return np.concatenate([np.zeros(0, PACKET_DTYPE), *packets])

    def host_packets(self, count: int) -> NDArray[np.void]:
        """Return so many packets of all kinds to all nodes, and some to nobody."""
        makers = (
            *(self._read, self._read, self._write, self._write, self._post),
            *(self._broadcast, self._read_register, self._to_nobody),
        )
        return np.concatenate(
            [makers[kind]() for kind in self._rng.integers(len(makers), size=count)]
        )

    def _any_node(self) -> Place:
        return self._places[self._rng.integers(len(self._places))]

    def _line(self) -> int:
        """Return the offset of a line of SRAM."""
        return LINE_BYTES * int(self._rng.integers(self._params.node.sram_bytes // LINE_BYTES))

    def _free_line(self) -> int:
        """Return the offset of a line at the end of a thread's share, behind its program."""
        end = self._share * int(self._rng.integers(1, self._params.node.threads + 1))
        return end - LINE_BYTES * int(self._rng.integers(1, _FREE_LINES + 1))

    def _data(self) -> NDArray[np.uint8]:
        return self._rng.integers(0, 256, LINE_BYTES, dtype=np.uint8)

    def _read(self) -> NDArray[np.void]:
        return read_requests(self._any_node().address(self._line()), LINE_BYTES)

    def _write(self) -> NDArray[np.void]:
        packet = write_requests(self._any_node().address(self._free_line()), self._data())
        packet["mask"] = self._rng.integers(1 << 64, dtype=np.uint64)
        packet["flags"] = self._rng.choice([0, ACK_FLAG, POST_FLAG, ACK_FLAG | POST_FLAG | 5])
        return packet

    def _post(self) -> NDArray[np.void]:
        number = int(self._rng.integers(self._params.node.semaphores))
        register = register_address(SemaphoreRegister.COUNT, number)
        packet = read_requests(self._any_node().address(register // LINE_BYTES * LINE_BYTES), 1)
        packet["opcode"] = Opcode.POST
        packet["flags"] = number
        return packet

    def _broadcast(self) -> NDArray[np.void]:
        columns = np.sort(self._rng.integers(1, self._params.columns + 1, 2))
        rows = np.sort(self._rng.integers(1, self._params.rows + 1, 2))
        near, far = (Place(int(columns[i]), int(rows[i])) for i in range(2))
        packet = write_requests(near.address(self._free_line()), self._data())
        packet["opcode"] = Opcode.BROADCAST
        packet["mask"] = far.bits
        return packet

    def _read_register(self) -> NDArray[np.void]:
        place = Place(*self._rng.choice(self._params.live_routers).tolist())
        return read_requests(place.address(int(self._rng.choice(_REGISTERS))), LINE_BYTES)

    def _to_nobody(self) -> NDArray[np.void]:
        """Return a request to SRAM that is not there, or to a place that has no node."""
        node = self._any_node()
        outside = self._params.node.sram_bytes
        door = node._replace(column=0)
        return read_requests(
            node.address(outside) if self._rng.random() < 0.5 else door.address(), LINE_BYTES
        )


def _moved(requests: NDArray[np.void], place: Place) -> NDArray[np.void]:
    """Return requests to local addresses as requests to a place."""
    moved = requests.copy()
    moved["address"] += np.uint64(place.address())
    return moved
