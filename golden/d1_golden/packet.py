"""Packets: the one format in which anything enters or leaves a node.

A packet is one flit: a 24-byte header and one 64-byte line. :data:`PACKET_DTYPE` is at once the
numpy type of a packet and, least significant bit first, the bit layout of the RTL's packet
structure, so that an array of packets can be copied to the port of a simulated node as it is.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .params import LINE_BYTES

__all__ = [
    "ACK_FLAG",
    "FIELDS",
    "PACKET_DTYPE",
    "POST_FLAG",
    "SEMAPHORE_FLAGS",
    "Field",
    "Opcode",
    "is_answered",
    "read_requests",
    "refuse",
    "write_requests",
]


class Opcode(enum.IntEnum):
    """What a packet asks or answers."""

    #: Request: return the line at `address`.
    READ = 1
    #: Request: write the bytes of `data` whose bit in `mask` is set to the line at `address`.
    WRITE = 2
    #: Reply to READ: `data` is the line; `tag` and `address` are those of the request.
    READ_REPLY = 3
    #: Reply to any request that could not be carried out; `tag` and `address` are the request's.
    FAULT_REPLY = 4
    #: Request: add one to a semaphore of the node at `address`.
    POST = 5
    #: Request: write the whole line to every node of a rectangle; `mask` names its far corner.
    BROADCAST = 6
    #: Reply to WRITE and POST with the flag `ACK_FLAG`: it is done, and so is all before it.
    WRITE_REPLY = 7


#: Bits of `flags`: a semaphore is posted when the request has been carried out; ...
POST_FLAG = 1 << 7
#: ... the request is answered with WRITE_REPLY; ...
ACK_FLAG = 1 << 6
#: ... the number of the semaphore.
SEMAPHORE_FLAGS = (1 << 5) - 1


@dataclass(frozen=True)
class Field:
    """One field of a packet: its name, width in bits and meaning."""

    name: str
    bits: int
    doc: str


#: The fields of a packet from the least significant bit up.
FIELDS: tuple[Field, ...] = (
    Field("opcode", 8, "what the packet asks or answers (`Opcode`)"),
    Field("flags", 8, "7 post a semaphore, 6 acknowledge, 5 zero, 4..0 number of the semaphore"),
    Field("tag", 16, "chosen by the requester and returned in the reply"),
    Field("source", 32, "address bits 55..24 of the requester: where the reply goes"),
    Field("address", 64, "the line asked for; bits 5..0 are zero"),
    Field(
        "mask",
        64,
        "WRITE, bit n set: byte n of the line is written; BROADCAST: address bits 55..24 of the "
        "far corner in bits 31..0",
    ),
    Field("data", 8 * LINE_BYTES, "the line; byte n is in bits 8n+7..8n"),
)

#: A packet in numpy; 88 bytes, no padding.
PACKET_DTYPE = np.dtype(
    [
        (f.name, f"<u{f.bits // 8}") if f.bits <= 64 else (f.name, "u1", (f.bits // 8,))
        for f in FIELDS
    ]
)


def is_answered(requests: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return which requests have a reply even when they are not at fault."""
    silent = np.isin(requests["opcode"], (Opcode.WRITE, Opcode.POST, Opcode.BROADCAST))
    return ~silent | (requests["flags"] & ACK_FLAG != 0)


def refuse(requests: NDArray[np.void]) -> NDArray[np.void]:
    """Return the FAULT_REPLYs that requests get where no node answers to their addresses."""
    replies = np.zeros(len(requests), PACKET_DTYPE)
    for name in ("tag", "source", "address"):
        replies[name] = requests[name]
    replies["opcode"] = Opcode.FAULT_REPLY
    return replies


def _lines(address: int, size: int) -> tuple[int, int]:
    """Return the first line touched by `size` bytes from `address`, and the one after the last."""
    first = address // LINE_BYTES
    return first, -(-(address + size) // LINE_BYTES) if size else first


def write_requests(address: int, data: bytes | NDArray[np.uint8]) -> NDArray[np.void]:
    """Return the WRITE packets that put `data` at byte `address`, one for each line touched.

    The mask of the first and last packet leaves the bytes outside `data` as they are.

    Raises
    ------
    TypeError
        If `data` is an array of anything but bytes.

    """
    payload = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1)
    if payload.dtype != np.uint8:
        raise TypeError(f"data must be bytes or an array of uint8, not {payload.dtype}")
    first, last = _lines(address, len(payload))
    lines = np.zeros((last - first, LINE_BYTES), np.uint8)
    valid = np.zeros((last - first, LINE_BYTES), np.uint8)
    start = address - first * LINE_BYTES
    lines.reshape(-1)[start : start + len(payload)] = payload
    valid.reshape(-1)[start : start + len(payload)] = 1
    packets = np.zeros(last - first, PACKET_DTYPE)
    packets["opcode"] = Opcode.WRITE
    packets["address"] = np.arange(first, last, dtype=np.uint64) * np.uint64(LINE_BYTES)
    packets["mask"] = np.packbits(valid, axis=1, bitorder="little").view("<u8").reshape(-1)
    packets["data"] = lines
    return packets


def read_requests(address: int, size: int) -> NDArray[np.void]:
    """Return the READ packets that cover `size` bytes from byte `address`; tags count from 0."""
    first, last = _lines(address, size)
    packets = np.zeros(last - first, PACKET_DTYPE)
    packets["opcode"] = Opcode.READ
    packets["tag"] = np.arange(last - first) & 0xFFFF
    packets["address"] = np.arange(first, last, dtype=np.uint64) * np.uint64(LINE_BYTES)
    return packets
