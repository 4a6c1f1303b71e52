"""One thread of a golden node, as tests look at it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d1_golden.csr import CSR_BY_NAME
from d1_golden.memory_map import ThreadRegister, ThreadStatus
from d1_golden.params import NodeParams

from .state import (
    BARRIER_OPEN,
    CSR_INDEX,
    NOT_WAITING,
    THREAD_LINE,
    WAITS_FOR_BARRIER,
    WAITS_FOR_SEMAPHORE,
    WAITS_FOR_TRANSFER,
    NodeState,
)

__all__ = ["GoldenThread"]


class GoldenThread:
    """What a thread of a golden node holds: reads and writes the state as it is.

    Parameters
    ----------
    params
        Shape of the node.
    state
        State of the node.
    number
        Of the thread in its node.

    """

    def __init__(self, params: NodeParams, state: NodeState, number: int):
        self._params = params
        self._state = state
        self.number = number

    def register(self, register: ThreadRegister) -> int:
        """Return a register of the thread's line in the control block."""
        return int(self._state.control[THREAD_LINE + self.number, register])

    @property
    def status(self) -> ThreadStatus:
        """Status of the thread."""
        return ThreadStatus(self.register(ThreadRegister.STATUS))

    @property
    def waits_for(self) -> str | None:
        """What a running thread waits for, as text, or None."""
        reason = int(self._state.waiting[self.number])
        if self.status is not ThreadStatus.RUNNING or reason in (NOT_WAITING, BARRIER_OPEN):
            return None
        if reason == WAITS_FOR_TRANSFER:
            return "replies to its transfers"
        if reason != WAITS_FOR_BARRIER:
            semaphore = reason - WAITS_FOR_SEMAPHORE
            return None if self._state.semaphore[semaphore] else f"semaphore {semaphore}"
        expected = int(self._state.barrier_arrived[self.number])
        threads = [str(n) for n in range(self._params.threads) if expected >> n & 1]
        return f"the barrier of threads {', '.join(threads)}"

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return int(self._state.pc[self.number])

    @pc.setter
    def pc(self, value: int) -> None:
        self._state.pc[self.number] = value

    @property
    def x(self) -> NDArray[np.uint64]:
        """Scalar registers; x[0] must stay 0."""
        return self._state.x[self.number, :32]

    @property
    def v(self) -> NDArray[np.uint8]:
        """Vector registers as bytes, [32, vector_bytes]."""
        return self._state.vector[self.number].view(np.uint8)

    @property
    def m(self) -> NDArray[np.uint64]:
        """Mask registers, bit n for lane n, [8]."""
        return self._state.mask[self.number]

    @property
    def acc(self) -> NDArray[np.uint32]:
        """Accumulators as FP32 bit patterns, [accumulators, R, C]."""
        return self._state.accumulator[self.number].reshape(
            -1, self._params.matrix_rows, self._params.matrix_cols
        )

    def read_csr(self, name: str) -> int:
        """Return the value of a CSR."""
        return int(self._state.csr[self.number, CSR_INDEX[CSR_BY_NAME[name].number]])

    def write_csr(self, name: str, value: int) -> None:
        """Set all bits of a CSR, write mask or not."""
        self._state.csr[self.number, CSR_INDEX[CSR_BY_NAME[name].number]] = value
