"""Packets to nodes and back, with the faults made errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.packet import PACKET_DTYPE, Opcode, read_requests
from d1_golden.params import LINE_BYTES, NodeParams
from numpy.typing import NDArray

from d1.errors import AccessError, DeviceError
from d1.link import PacketLink

__all__ = ["exchange"]

#: Cycles that a packet may take on its way, with room to spare.
_CYCLES_PER_PACKET = 64


def exchange(
    link: PacketLink,
    params: NodeParams,
    requests: Sequence[NDArray[np.void]],
    reads: Sequence[tuple[int, int]] = (),
) -> list[NDArray[np.uint8]]:
    """Send packets, then read ranges; return the contents of each range.

    Parameters
    ----------
    link
        The way to the node or the nodes.
    params
        Parameters of a node.
    requests
        Packets that are only answered when they are at fault.
    reads
        Address and size in bytes of each range.

    Raises
    ------
    AccessError
        A request was refused.
    DeviceError
        The replies are not those to the reads.

    """
    wanted = [read_requests(address, size) for address, size in reads]
    packets = np.concatenate([np.zeros(0, PACKET_DTYPE), *requests, *wanted])
    replies = link.exchange(packets, 1000 + _CYCLES_PER_PACKET * len(packets))
    faults = replies[replies["opcode"] != Opcode.READ_REPLY]
    if len(faults):
        bits, offset = divmod(int(faults["address"][0]), 1 << LOCAL_BITS)
        where = f" of node {Place.from_bits(bits)}" if bits else ""
        raise AccessError(
            f"address {offset:#x}{where} must be in SRAM (0..{params.sram_bytes - 1:#x}) or a "
            f"register of the control block"
        )
    expected = np.concatenate([np.zeros(0, "<u8"), *(packets["address"] for packets in wanted)])
    if not np.array_equal(replies["address"], expected):
        raise DeviceError(
            f"replies must answer the {len(expected)} reads in order, not {len(replies)} "
            f"packets from addresses {[hex(a) for a in replies['address'][:4]]}"
        )
    contents, first = [], 0
    for (address, size), of_range in zip(reads, wanted, strict=True):
        lines = np.ascontiguousarray(replies["data"][first : first + len(of_range)])
        first += len(of_range)
        offset = address % LINE_BYTES
        contents.append(lines.reshape(-1)[offset : offset + size])
    return contents
