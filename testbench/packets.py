"""Packet agent: the host's end of a node's packet door."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from cocotb.triggers import Event, SimTimeoutError, with_timeout
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.packet import (
    PACKET_DTYPE,
    Opcode,
    is_answered,
    read_requests,
    refuse,
    write_requests,
)
from d1_golden.params import LINE_BYTES
from numpy.typing import NDArray

from .stream import StreamSink, StreamSource

__all__ = ["CLOCK_PERIOD_PS", "PacketAgent", "destinations"]

#: Period of the clock in simulation: 2 GHz.
CLOCK_PERIOD_PS = 500


def _packet(payload: int) -> np.void:
    """Return the packet that a payload is."""
    raw = payload.to_bytes(PACKET_DTYPE.itemsize, "little")
    packet: np.void = np.frombuffer(raw, PACKET_DTYPE)[0]
    return packet


def destinations(request: np.void, node: int) -> tuple[bool, bool]:
    """Return whether a request goes to the node at address bits 55..24, and whether to others."""
    near = int(request["address"]) >> LOCAL_BITS
    if request["opcode"] != Opcode.BROADCAST:
        return near == node, near != node
    far = int(request["mask"])
    bytes_of = (place.to_bytes(5, "little") for place in (near, node, far))
    own = all(low <= place <= high for low, place, high in zip(*bytes_of, strict=True))
    return own, not near == node == far


def _answers(reply: np.void, request: np.void) -> bool:
    """Return whether a reply may be that to a request."""
    if reply["opcode"] != Opcode.FAULT_REPLY and not is_answered(np.array([request]))[0]:
        return False
    return all(reply[name] == request[name] for name in ("tag", "source", "address"))


class PacketAgent:
    """Sends request packets into a node and collects its replies.

    A node that sends requests of its own has those to itself brought back, and the others refused.

    The methods are those of a link, so that the same program of packets drives a cocotb
    simulation, the native simulation and the golden node.

    Parameters
    ----------
    dut
        The cocotb handle of a node: streams `i_request` and `o_reply`.
    stall
        Probability of a pause before a request, and of not taking a reply, in each cycle.
    seed
        Seed of the pauses.

    """

    def __init__(self, dut: Any, *, stall: float = 0.0, seed: int = 0) -> None:
        self._source = StreamSource(dut, "i_request", stall=stall, rng=random.Random(seed))
        self._sink = StreamSink(dut, "o_reply", stall=stall, rng=random.Random(seed + 1))
        self._sink.callbacks.append(self._collect)
        self._replies: list[np.void] = []
        self._arrived = Event()
        self._own: list[np.void] = []  # requests of the node to itself that may be answered
        if hasattr(dut, "o_request__valid"):
            self._node_id = dut.node_id
            self._answers = StreamSource(dut, "i_reply", stall=stall, rng=random.Random(seed + 2))
            requests = StreamSink(dut, "o_request", stall=stall, rng=random.Random(seed + 3))
            requests.callbacks.append(self._route)

    def _route(self, payload: int) -> None:
        """Bring a request of the node to where it goes."""
        request = _packet(payload)
        own, others = destinations(request, int(self._node_id.value))
        if own:
            self._own.append(request)
            self._source.send(payload)
        if others:
            (refusal,) = refuse(np.array([request]))
            self._answers.send(int.from_bytes(refusal.tobytes(), "little"))

    def _collect(self, payload: int) -> None:
        reply = _packet(payload)
        # The door answers in order: a reply settles the node's requests before its own.
        for index, request in enumerate(self._own):
            if _answers(reply, request):
                del self._own[: index + 1]
                self._answers.send(payload)
                return
        self._replies.append(reply)
        self._arrived.set()

    async def exchange(
        self, requests: NDArray[np.void], *, replies: int | None = None, max_cycles: int = 100_000
    ) -> NDArray[np.void]:
        """Send `requests` and return the replies, in order of arrival.

        `replies` is how many to wait for; by default one for each READ.

        Raises
        ------
        TimeoutError
            If they do not arrive within `max_cycles`; the message says how many came.

        """
        expected = int((requests["opcode"] == Opcode.READ).sum()) if replies is None else replies
        for packet in requests:
            self._source.send(int.from_bytes(packet.tobytes(), "little"))
        try:
            await with_timeout(self._complete(expected), max_cycles * CLOCK_PERIOD_PS, "ps")
        except SimTimeoutError:
            raise TimeoutError(
                f"waited {max_cycles} cycles for the node to take {len(requests)} requests and "
                f"send {expected} replies; {len(self._replies)} came"
            ) from None
        received, self._replies = self._replies[:expected], self._replies[expected:]
        return np.array(received, PACKET_DTYPE)

    async def _complete(self, expected: int) -> None:
        await self._source.drain()
        while len(self._replies) < expected:
            self._arrived.clear()
            await self._arrived.wait()

    async def write(self, address: int, data: bytes) -> None:
        """Write bytes to the node's address space and wait until they are there."""
        requests = write_requests(address, data)
        fence = read_requests(address, 1)
        self._raise_on_fault(await self.exchange(np.concatenate([requests, fence])))

    async def read(self, address: int, size: int) -> bytes:
        """Read bytes from the node's address space."""
        replies = await self.exchange(read_requests(address, size))
        self._raise_on_fault(replies)
        lines = replies["data"].tobytes()
        return lines[address % LINE_BYTES :][:size]

    @staticmethod
    def _raise_on_fault(replies: NDArray[np.void]) -> None:
        for reply in replies:
            if reply["opcode"] != Opcode.READ_REPLY:
                raise RuntimeError(
                    f"node answered {Opcode(reply['opcode']).name} at {int(reply['address']):#x}"
                )
