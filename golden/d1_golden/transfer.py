"""Transfers between nodes: their kinds, the descriptors of transfer lists, and what can go wrong.

docs/transfers.md has the rules and diagrams.
"""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

from .memory_map import LOCAL_BITS
from .packet import POST_FLAG, SEMAPHORE_FLAGS, Field
from .params import LINE_BYTES

__all__ = [
    "DESCRIPTOR_DTYPE",
    "DESCRIPTOR_FIELDS",
    "MAX_DESCRIPTORS",
    "MAX_HOPS",
    "MAX_LINES",
    "TransferFault",
    "TransferOp",
    "descriptor",
]

#: Lines of one `push`, `pull` or `bcast`; encoded as 0.
MAX_LINES = 32
#: Descriptors of one list: so every list ends.
MAX_DESCRIPTORS = 1 << 16
#: Links that `lwalk` or `lfind` follows before it faults: so both end.
MAX_HOPS = 1 << 16


class TransferOp(enum.IntEnum):
    """What a transfer does; the first four are also the `opcode` of a descriptor."""

    PUSH = 0  #: local lines to a remote node
    PULL = 1  #: remote lines to the own SRAM
    BCAST = 2  #: local lines to every node of a rectangle
    POST = 3  #: a semaphore of a remote node
    XLIST = 4  #: a list of descriptors


class TransferFault(enum.IntEnum):
    """What went wrong in a transfer that had begun."""

    NONE = 0
    DESCRIPTOR = 1  #: a descriptor that is malformed or not a line of SRAM; its address
    LOCAL = 2  #: a line of a list that is not in SRAM; its local address
    REMOTE = 3  #: a FAULT_REPLY; its address
    UNCORRECTABLE = 4  #: a local line with an error that cannot be corrected; its local address


#: The fields of a descriptor from its first byte on.
DESCRIPTOR_FIELDS: tuple[Field, ...] = (
    Field("opcode", 8, "what to do: 0 PUSH, 1 PULL, 2 BCAST, 3 POST"),
    Field("wait", 8, "1: begin when every earlier descriptor of the list is complete; else 0"),
    Field("completion", 8, "bit 7: at the end post the own semaphore in bits 4..0; 6..5 zero"),
    Field("arrival", 8, "bit 7: after the last line post the remote semaphore in bits 4..0"),
    Field("lines", 16, "lines to transfer, at least 1; of a POST ignored"),
    Field("zero", 16, "zero"),
    Field("local", 64, "local address of the first line"),
    Field("remote", 64, "address of the first remote line; of a POST any address of the node"),
    Field("local_stride", 32, "bytes from line to line, a multiple of 64, signed"),
    Field("remote_stride", 32, "the same at the remote end"),
    Field("corner", 32, "of a BCAST: address bits 55..24 of the rectangle's far corner"),
    Field("zero_corner", 32, "zero"),
    Field("next", 64, "local address of the next descriptor; 0 ends the list"),
    Field("zero_end", 128, "zero"),
)

#: A descriptor in numpy: one line.
DESCRIPTOR_DTYPE = np.dtype(
    [
        (f.name, f"<u{f.bits // 8}") if f.bits <= 64 else (f.name, "u1", (f.bits // 8,))
        for f in DESCRIPTOR_FIELDS
    ]
)


def _post(name: str, semaphore: int | None) -> int:
    if semaphore is None:
        return 0
    if not 0 <= semaphore <= SEMAPHORE_FLAGS:
        raise ValueError(f"{name} must be a semaphore, 0..{SEMAPHORE_FLAGS}, not {semaphore!r}")
    return POST_FLAG | semaphore


def descriptor(
    opcode: TransferOp,
    *,
    local: int = 0,
    remote: int = 0,
    lines: int = 1,
    local_stride: int = LINE_BYTES,
    remote_stride: int = LINE_BYTES,
    completion: int | None = None,
    arrival: int | None = None,
    corner: int = 0,
    wait: bool = False,
    next_address: int = 0,
) -> NDArray[np.void]:
    """Return a descriptor as an array of one `DESCRIPTOR_DTYPE`.

    Parameters
    ----------
    opcode
        PUSH, PULL, BCAST or POST.
    local, remote, lines, local_stride, remote_stride, corner, wait, next_address
        See `DESCRIPTOR_FIELDS`.
    completion, arrival
        Number of the own semaphore to post at the end, of the remote one after the last line.

    Raises
    ------
    ValueError
        If a number does not fit or the node would refuse the descriptor.

    """
    if opcode not in (TransferOp.PUSH, TransferOp.PULL, TransferOp.BCAST, TransferOp.POST):
        raise ValueError(f"opcode must be PUSH, PULL, BCAST or POST, not {opcode!r}")
    if not 1 <= lines < 1 << 16:
        raise ValueError(f"lines must be in 1..{(1 << 16) - 1}, not {lines!r}")
    if opcode is TransferOp.POST and arrival is None:
        raise ValueError("arrival must be a semaphore in a POST, not None")
    for name, value in (("local_stride", local_stride), ("remote_stride", remote_stride)):
        if value % LINE_BYTES or not -(1 << 31) <= value < 1 << 31:
            raise ValueError(f"{name} must be a multiple of {LINE_BYTES} in 32 bits, not {value!r}")
    addresses = {"local": (local, LOCAL_BITS), "remote": (remote, 56), "next_address":
                 (next_address, LOCAL_BITS)}  # fmt: skip
    for name, (value, bits) in addresses.items():
        if value % LINE_BYTES or not 0 <= value < 1 << bits:
            raise ValueError(f"{name} must be an aligned address of {bits} bits, not {value!r}")
    one = np.zeros(1, DESCRIPTOR_DTYPE)
    one["opcode"], one["wait"], one["lines"] = opcode, wait, lines
    one["completion"], one["arrival"] = _post("completion", completion), _post("arrival", arrival)
    one["local"], one["remote"], one["next"] = local, remote, next_address
    one["local_stride"] = local_stride & 0xFFFF_FFFF
    one["remote_stride"] = remote_stride & 0xFFFF_FFFF
    one["corner"] = corner
    return one
