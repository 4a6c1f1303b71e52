"""Puts what a node shows of its retired instructions into the order of the program."""

import numpy as np
from d1_golden.retire import RETIRE_DTYPE
from numpy.typing import NDArray

__all__ = ["LATE_DTYPE", "LINK_RETIRE_DTYPE", "SLOT_DTYPE", "RetireOrder", "TraceError"]

#: One retired instruction: the cycle in which it did, then golden's record.
LINK_RETIRE_DTYPE = np.dtype([("cycle", "<u8"), *RETIRE_DTYPE.descr])

#: What a `RetiredSlot` shows: a record, its place among those of its thread in the same cycle, and
#: whether the value comes later. 40 bytes.
SLOT_DTYPE = np.dtype(
    [*LINK_RETIRE_DTYPE.descr, ("order", "u1"), ("pending", "u1"), ("slot_pad", "V6")]
)

#: What a `ScalarResult` shows: a value that comes later. 24 bytes.
LATE_DTYPE = np.dtype(
    [("cycle", "<u8"), ("value", "<u8"), ("thread", "u1"), ("rd", "u1"), ("pad", "V6")]
)

_REGISTERS = 32


class TraceError(RuntimeError):
    """A trace contradicts itself."""


class RetireOrder:
    """Orders the trace of `d1_rtl.node.interfaces.RetireSignature`, for every way to record it.

    Instructions of a thread come out in program order, each once its value is known: one that
    waits for its value holds back those behind it. Between threads the order is that of the cycles
    in which they retired.
    """

    def __init__(self) -> None:
        self._waiting = np.zeros(0, SLOT_DTYPE)

    def forget(self) -> None:
        """Drop what waits for its value, as a reset of the node does."""
        self._waiting = self._waiting[:0]

    def take(self, slots: NDArray[np.void], late: NDArray[np.void]) -> NDArray[np.void]:
        """Take over what was shown since the last call and return what is complete.

        Parameters
        ----------
        slots
            Array of `SLOT_DTYPE` with one dimension, in any order.
        late
            Array of `LATE_DTYPE` with one dimension, cycle after cycle.

        Returns
        -------
        ndarray
            Array of `LINK_RETIRE_DTYPE` with one dimension.

        Raises
        ------
        TraceError
            When a value comes for a register that does not wait for one, or not after the
            instruction, or another instruction waits for the same register.
        """
        records = np.concatenate([self._waiting, slots])
        records = records[np.lexsort([records["order"], records["thread"], records["cycle"]])]
        self._fill(records, late)
        held = np.zeros(len(records), bool)
        for thread in np.unique(records["thread"]):
            own = np.flatnonzero(records["thread"] == thread)
            held[own] = np.logical_or.accumulate(records["pending"][own] != 0)
        self._waiting = records[held]
        complete = records[~held]
        ordered = np.zeros(len(complete), LINK_RETIRE_DTYPE)
        for name in LINK_RETIRE_DTYPE.names or ():
            ordered[name] = complete[name]
        return ordered

    @staticmethod
    def _fill(records: NDArray[np.void], late: NDArray[np.void]) -> None:
        """Give each value to the record that waits for it.

        A register waits for one value at a time, so its n-th value is that of its n-th record.
        """
        pending = np.flatnonzero(records["pending"])
        wanted, given = _numbered(records[pending]), _numbered(late)
        _, record, value = np.intersect1d(wanted, given, assume_unique=True, return_indices=True)
        if len(value) < len(late):
            stray = late[np.setdiff1d(np.arange(len(late)), value)[0]]
            raise TraceError(
                f"an instruction must wait for a late value of {_register(stray)}, not none"
            )
        pairs = (records[pending[record]], late[value])
        early = np.flatnonzero(pairs[1]["cycle"] < pairs[0]["cycle"])
        if len(early):
            first = pairs[1][early[0]]
            raise TraceError(
                f"a late value of {_register(first)} must come after its instruction, "
                f"not before cycle {pairs[0][early[0]]['cycle']}"
            )
        records["value"][pending[record]] = late["value"][value]
        records["pending"][pending[record]] = 0
        _check_one_waits(records[np.flatnonzero(records["pending"])])


def _keys(events: NDArray[np.void]) -> NDArray[np.int64]:
    """Return a number for the register of each event, different for each thread."""
    return events["thread"].astype(np.int64) * _REGISTERS + events["rd"]


def _numbered(events: NDArray[np.void]) -> NDArray[np.int64]:
    """Return a number for each event: its register, and how many of it came before."""
    keys = _keys(events)
    order = np.argsort(keys, kind="stable")
    ranks = np.zeros(len(keys), np.int64)
    ranks[order] = np.arange(len(keys)) - np.searchsorted(keys[order], keys[order])
    return ranks << 16 | keys


def _check_one_waits(waiting: NDArray[np.void]) -> None:
    """Raise TraceError if two records wait for one register."""
    keys, counts = np.unique(_keys(waiting), return_counts=True)
    if (counts > 1).any():
        second = waiting[np.flatnonzero(_keys(waiting) == keys[counts > 1][0])[1]]
        raise TraceError(f"one instruction must wait for {_register(second)}, not two")


def _register(event: np.void) -> str:
    return f"x{event['rd']} of thread {event['thread']} in cycle {event['cycle']}"
