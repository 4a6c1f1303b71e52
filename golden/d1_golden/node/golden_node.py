"""The golden node: what a node does, to the bit, without a clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d1_golden.csr import CSR_BY_NAME
from d1_golden.memory_map import Command, ThreadRegister, ThreadStatus, register_address
from d1_golden.packet import PACKET_DTYPE, write_requests
from d1_golden.params import NodeParams
from d1_golden.retire import RETIRE_DTYPE

from .interpreter import load_interpreter
from .state import COUNTER_LINE, CSR_INDEX, THREAD_LINE, csr_reset_values, new_state

__all__ = ["GoldenNode"]

_NOT_TRACED = np.zeros((0, RETIRE_DTYPE.itemsize // 8), np.uint64)
#: Instructions traced in one call of the interpreter.
_TRACE_CHUNK = 1 << 16


class GoldenNode:
    """The instruction-set model of one node, driven by packets like the RTL.

    Golden twin of `d1_rtl.node.node`. A "cycle" is an instruction; packets take no time. SRAM and
    registers are zero at power-up. The properties below packets are for tests: they read and write
    the state as it is.

    Parameters
    ----------
    params
        Shape of the node.
    node_id
        Address bits 55..24 of the node.

    Members
    -------
    state : NodeState
        All of it; see `state`.

    Raises
    ------
    ValueError
        If `node_id` does not fit.

    """

    def __init__(self, params: NodeParams, node_id: int = 0):
        if not 0 <= node_id < 1 << 32:
            raise ValueError(f"node_id must be in 0..{(1 << 32) - 1}, not {node_id!r}")
        self._params = params
        self._interpreter = load_interpreter()
        self._cycles = 0
        self.state = new_state(params, node_id)

    @property
    def params(self) -> NodeParams:
        """Parameters of the node."""
        return self._params

    @property
    def cycles(self) -> int:
        """Instructions executed, and cycles let pass while idle, since the node was made."""
        return self._cycles

    @property
    def idle(self) -> bool:
        """Whether no thread is running."""
        return self.status is not ThreadStatus.RUNNING

    def exchange(
        self, requests: NDArray[np.void], max_cycles: int | None = None
    ) -> NDArray[np.void]:
        """Carry out packets in order and return the replies in order (docs/packets.md).

        Parameters
        ----------
        requests
            Packets, `PACKET_DTYPE`[n].
        max_cycles
            Accepted for the contract of a link; packets take no time here.

        Raises
        ------
        TypeError
            If `requests` is not an array of packets.

        """
        if requests.dtype != PACKET_DTYPE or requests.ndim != 1:
            raise TypeError(
                f"requests must be a one-dimensional array of PACKET_DTYPE, not "
                f"{requests.ndim}-dimensional of {requests.dtype}"
            )
        replies = np.zeros(len(requests), PACKET_DTYPE)
        words = (len(requests), PACKET_DTYPE.itemsize // 8)
        count = self._interpreter.serve_packets(
            np.ascontiguousarray(requests).view(np.uint64).reshape(words),
            replies.view(np.uint64).reshape(words),
            self.state,
        )
        return replies[:count]

    def run(self, max_cycles: int) -> int:
        """Run until idle, at most `max_cycles` instructions; return how many were executed.

        Whether the end came from the bound tells `idle`; see also `finish`.
        """
        executed, _ = self._interpreter.run(self.state, max_cycles, _NOT_TRACED)
        self._cycles += executed
        return executed

    def advance(self, cycles: int) -> int:
        """Let `cycles` pass: as many instructions, or none when idle; return those executed."""
        executed = self.run(cycles)
        self._cycles += cycles - executed
        return executed

    def finish(self, max_cycles: int) -> int:
        """Run until idle; return the instructions executed.

        Raises
        ------
        TimeoutError
            If the thread still runs after `max_cycles` instructions; says where.

        """
        executed = self.run(max_cycles)
        if not self.idle:
            raise TimeoutError(
                f"thread must stop within {max_cycles} instructions, but still runs at pc "
                f"{self.pc:#x}"
            )
        return executed

    def run_traced(self, max_cycles: int) -> NDArray[np.void]:
        """Run until idle, at most `max_cycles` instructions; return what retired.

        Returns
        -------
        RETIRE_DTYPE[n]
            In program order; instructions that trapped are not among them.

        """
        chunks = []
        left = max_cycles
        while left > 0 and not self.idle:
            records = np.zeros(min(left, _TRACE_CHUNK), RETIRE_DTYPE)
            words = records.view(np.uint64).reshape(len(records), -1)
            executed, traced = self._interpreter.run(self.state, len(records), words)
            self._cycles += executed
            left -= executed
            chunks.append(records[:traced])
        return np.concatenate([np.zeros(0, RETIRE_DTYPE), *chunks])

    def reset(self) -> None:
        """Reset the node: the thread idle, CSRs and counters as at power-up.

        SRAM, scalar and vector registers and accumulators are memories: they keep what they hold.
        """
        node = self.state
        node.pc[:] = 0
        node.csr[:] = csr_reset_values()
        node.control[THREAD_LINE : COUNTER_LINE + 1] = 0

    def close(self) -> None:
        """End the use of the node; there is nothing to give back."""

    def start(self, pc: int, arg: int = 0) -> None:
        """Start the thread at `pc` with a0 = `arg`, by the packet that a host would send."""
        # PC, ARG and COMMAND are neighbours, in this order.
        registers = np.array([pc, arg, Command.START], np.uint64)
        self.exchange(write_requests(register_address(ThreadRegister.PC), registers.view(np.uint8)))

    @property
    def status(self) -> ThreadStatus:
        """Status of the thread."""
        return ThreadStatus(int(self.thread_register(ThreadRegister.STATUS)))

    def thread_register(self, register: ThreadRegister) -> int:
        """Return a register of the thread's line in the control block."""
        return int(self.state.control[THREAD_LINE, register])

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return int(self.state.pc[0])

    @pc.setter
    def pc(self, value: int) -> None:
        self.state.pc[0] = value

    @property
    def memory(self) -> NDArray[np.uint8]:
        """SRAM as bytes."""
        return self.state.memory8

    @property
    def x(self) -> NDArray[np.uint64]:
        """Scalar registers; x[0] must stay 0."""
        return self.state.x[:32]

    @property
    def v(self) -> NDArray[np.uint8]:
        """Vector registers as bytes, [32, vector_bytes]."""
        return self.state.vector.view(np.uint8)

    @property
    def acc(self) -> NDArray[np.uint32]:
        """Accumulators as FP32 bit patterns, [accumulators, R, C]."""
        return self.state.accumulator.reshape(
            -1, self._params.matrix_rows, self._params.matrix_cols
        )

    def read_csr(self, name: str) -> int:
        """Return the value of a CSR."""
        return int(self.state.csr[CSR_INDEX[CSR_BY_NAME[name].number]])

    def write_csr(self, name: str, value: int) -> None:
        """Set all bits of a CSR, write mask or not."""
        self.state.csr[CSR_INDEX[CSR_BY_NAME[name].number]] = value
