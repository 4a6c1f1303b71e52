"""What a golden node remembers of its transfers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d1_golden.packet import PACKET_DTYPE

__all__ = [
    "CONTEXTS",
    "LISTS",
    "LIST_CONTEXT",
    "OUTGOING",
    "READS",
    "TransferState",
    "new_transfer_state",
]

#: Requests that can wait to be taken, and READs that can be on their way.
OUTGOING, READS = 4096, 4096
#: Lists that can wait.
LISTS = 4096
#: Who transfers: thread n, or the list that runs.
LIST_CONTEXT = 4
CONTEXTS = 5

_WORDS = PACKET_DTYPE.itemsize // 8


class TransferState(NamedTuple):
    """What the transfers of a node have under way.

    Members
    -------
    outgoing : uint64[n, 11]
        Requests to other nodes that were not taken yet, oldest first.
    reads : uint64[n, 3]
        For each READ by its number: on its way, context, local address for the line.
    outstanding : int64[5]
        Replies that each context waits for: the threads and the list that runs.
    lists : uint64[n, 2]
        Lists that wait: address of the first descriptor, thread.
    list : uint64[16]
        The list that runs.
    counts : int64[3]
        Requests in `outgoing`, number of the next READ, lists in `lists`.
    packet : uint64[2, 11]
        Scratch: a request and its reply.
    """

    outgoing: NDArray[np.uint64]
    reads: NDArray[np.uint64]
    outstanding: NDArray[np.int64]
    lists: NDArray[np.uint64]
    list: NDArray[np.uint64]
    counts: NDArray[np.int64]
    packet: NDArray[np.uint64]


def new_transfer_state() -> TransferState:
    """Return the state of a node that has nothing under way."""
    return TransferState(
        outgoing=np.zeros((OUTGOING, _WORDS), np.uint64),
        reads=np.zeros((READS, 3), np.uint64),
        outstanding=np.zeros(CONTEXTS, np.int64),
        lists=np.zeros((LISTS, 2), np.uint64),
        list=np.zeros(16, np.uint64),
        counts=np.zeros(3, np.int64),
        packet=np.zeros((2, _WORDS), np.uint64),
    )
