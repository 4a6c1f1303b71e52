"""Tables that random programs read and never write: linked records and lists of transfers."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams
from d1_golden.transfer import DESCRIPTOR_DTYPE, TransferOp, descriptor

from .random_meetings import PRIVATE_SEMAPHORES

__all__ = ["RECORD_BYTES", "Tables", "TransferList"]

#: A record: the address of the next one, and a key.
RECORD_BYTES = 16
_RECORDS = 32
_CHAINS = 3
#: Records after the others: their links are misaligned and outside memory.
_BAD_RECORDS = 2
_LISTS = 4
_MOST_DESCRIPTORS = 3


@dataclass(frozen=True)
class TransferList:
    """A list of transfers: how far its first descriptor is from the tables, and what it posts."""

    offset: int
    semaphores: tuple[int, ...]


class Tables:
    """Linked records and lists of transfers behind the data window of one program.

    Parameters
    ----------
    params
        The node.
    node
        Its address bits 55..24.
    thread
        Who posts the semaphores: those that the thread has for itself.
    data_bytes
        Size of the data window. Lists read its lower half and write its upper half.
    rng
        What decides what is in the tables.

    Members
    -------
    records : int
        Good records, `RECORD_BYTES` apart from the start of the tables.
    bad_records : tuple of int
        How far records are whose link faults when it is followed.
    keys : tuple of int
        The keys of the good records.
    lists : tuple of TransferList
    size : int
        Bytes of the tables, a multiple of 64.
    """

    def __init__(
        self, params: NodeParams, *, node: int, thread: int, data_bytes: int, rng: random.Random
    ):
        self._params, self._node, self._data_bytes, self._rng = params, node, data_bytes, rng
        self.records = _RECORDS
        self.bad_records = tuple(RECORD_BYTES * (_RECORDS + n) for n in range(_BAD_RECORDS))
        self.keys = tuple(rng.choice((n, rng.getrandbits(64))) for n in range(_RECORDS))
        self._order = rng.sample(range(_RECORDS), _RECORDS)
        self._ends = set(rng.sample(range(_RECORDS - 1), _CHAINS - 1)) | {_RECORDS - 1}
        first = -(-RECORD_BYTES * (_RECORDS + _BAD_RECORDS) // LINE_BYTES) * LINE_BYTES
        private = range(PRIVATE_SEMAPHORES * thread, PRIVATE_SEMAPHORES * (thread + 1))
        self._descriptors: list[list[dict[str, int]]] = []
        lists = []
        for n in range(_LISTS):
            length = rng.randint(1, _MOST_DESCRIPTORS)
            chain = [self._random_descriptor(place, private) for place in range(length)]
            posted = [d[end] for d in chain for end in ("completion", "arrival") if end in d]
            place = first + LINE_BYTES * _MOST_DESCRIPTORS * n
            lists.append(TransferList(place, tuple(posted)))
            self._descriptors.append(chain)
        self.lists = tuple(lists)
        self.size = first + LINE_BYTES * _MOST_DESCRIPTORS * _LISTS

    def _random_descriptor(self, place: int, semaphores: range) -> dict[str, int]:
        """Return a descriptor with its lines counted from the start of the data window.

        The descriptors of a list write different lines, as they may be carried out at the same
        time. A broadcast and a post are complete when they have posted their semaphore.
        """
        rng, half = self._rng, self._data_bytes // LINE_BYTES // 2
        opcode = rng.choice(list(TransferOp)[:4])
        one: dict[str, int] = {"opcode": opcode, "wait": rng.randrange(2)}
        if rng.random() < 0.5:
            one["completion"] = rng.choice(semaphores)
        if opcode in (TransferOp.BCAST, TransferOp.POST) or rng.random() < 0.3:
            one["arrival"] = rng.choice(semaphores)
        if opcode is TransferOp.POST:
            return one
        one["lines"] = lines = rng.randint(1, 6)
        third = half // _MOST_DESCRIPTORS
        ends = {
            "read": (range(half), rng.choice((-2, -1, 0, 1, 2))),
            "written": (
                range(half + place * third, half + (place + 1) * third),
                rng.choice((-1, 2)),
            ),
        }
        for end, (window, stride) in ends.items():
            side = "local" if (end == "read") == (opcode is not TransferOp.PULL) else "remote"
            reach = (lines - 1) * stride
            first = rng.choice([n for n in window if n + reach in window])
            one |= {side: first, f"{side}_stride": stride}
        return one

    def image(self, data: int) -> NDArray[np.uint8]:
        """Return the tables' bytes for a data window at address `data`."""
        base = data + self._data_bytes
        image = np.zeros(self.size, np.uint8)
        records = image[: RECORD_BYTES * (_RECORDS + _BAD_RECORDS)].view(np.uint64).reshape(-1, 2)
        for place, n in enumerate(self._order):
            last = place in self._ends
            following = 0 if last else base + RECORD_BYTES * self._order[place + 1]
            records[n] = following, self.keys[n]
        records[_RECORDS:] = [[base + 4, 0], [self._params.sram_bytes, 0]]
        for one, chain in zip(self.lists, self._descriptors, strict=True):
            for n, parts in enumerate(chain):
                place = one.offset + LINE_BYTES * n
                following = base + place + LINE_BYTES if n + 1 < len(chain) else 0
                line = self._descriptor(parts, data, following)
                image[place : place + DESCRIPTOR_DTYPE.itemsize] = line.view(np.uint8)
        return image

    def _descriptor(self, parts: dict[str, int], data: int, following: int) -> NDArray[np.void]:
        node = self._node << LOCAL_BITS
        return descriptor(
            TransferOp(parts["opcode"]),
            local=data + LINE_BYTES * parts["local"] if "local" in parts else 0,
            remote=node + (data + LINE_BYTES * parts["remote"] if "remote" in parts else 0),
            lines=parts.get("lines", 1),
            local_stride=LINE_BYTES * parts.get("local_stride", 1),
            remote_stride=LINE_BYTES * parts.get("remote_stride", 1),
            completion=parts.get("completion"),
            arrival=parts.get("arrival"),
            corner=self._node if parts["opcode"] == TransferOp.BCAST else 0,
            wait=bool(parts["wait"]),
            next_address=following,
        )
