"""The golden node: what a node does, to the bit, without a clock."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from d1_golden.memory_map import Command, ThreadRegister, ThreadStatus, register_address
from d1_golden.packet import PACKET_DTYPE, refuse, write_requests
from d1_golden.params import NodeParams
from d1_golden.retire import RETIRE_DTYPE

from .golden_thread import GoldenThread
from .interpreter import load_interpreter
from .state import COUNTER_LINE, csr_reset_values, new_state

__all__ = ["GoldenNode"]

_NOT_TRACED = np.zeros((0, RETIRE_DTYPE.itemsize // 8), np.uint64)
#: Instructions traced in one call of the interpreter.
_TRACE_CHUNK = 1 << 16


def _words(packets: NDArray[np.void]) -> NDArray[np.uint64]:
    """Return packets as rows of 64-bit words, for the interpreter."""
    return packets.view(np.uint64).reshape(len(packets), PACKET_DTYPE.itemsize // 8)


class GoldenNode:
    """The instruction-set model of one node, driven by packets like the RTL.

    Golden twin of `d1_rtl.node.node`. A "cycle" is an instruction; packets take no time. Threads
    take turns (`schedule`). SRAM and registers are zero at power-up. The properties below packets
    are for tests: they read and write the state as it is; those of a thread are those of thread 0,
    the others are in `threads`.

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
    threads : tuple[GoldenThread, ...]
    remote : Callable[[NDArray], NDArray]
        What answers the requests of the node's programs to other nodes: a function from requests
        to replies, such as `exchange` of another node. At first `refuse`: there is no other node.

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
        self.remote: Callable[[NDArray[np.void]], NDArray[np.void]] = refuse
        self.threads = tuple(GoldenThread(params, self.state, n) for n in range(params.threads))

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
        return all(thread.status is not ThreadStatus.RUNNING for thread in self.threads)

    @property
    def waiting(self) -> str:
        """Which threads wait, and for what; empty if none does."""
        return ", ".join(
            f"thread {thread.number} waits for {reason} at pc {thread.pc:#x}"
            for thread in self.threads
            if (reason := thread.waits_for) is not None
        )

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
        count = self._interpreter.serve_packets(
            _words(np.ascontiguousarray(requests)), _words(replies), self.state
        )
        return replies[:count]

    def run(self, max_cycles: int) -> int:
        """Run until no thread can go on, at most `max_cycles` instructions; return those executed.

        Why it ended tell `idle` and, where all threads that run wait, `waiting`; see also `finish`.
        """
        executed, _ = self._interpreter.run(self.state, max_cycles, _NOT_TRACED)
        while self._exchange_outgoing():
            more, _ = self._interpreter.run(self.state, max_cycles - executed, _NOT_TRACED)
            executed += more
        self._cycles += executed
        return executed

    def take_outgoing(self) -> NDArray[np.void]:
        """Take the requests of the node's programs to other nodes, PACKET_DTYPE[n], in order."""
        requests = np.zeros(len(self.state.transfer.outgoing), PACKET_DTYPE)
        count = self._interpreter.take_requests(_words(requests), self.state)
        return requests[:count]

    def deliver(self, replies: NDArray[np.void]) -> None:
        """Bring the replies to such requests, PACKET_DTYPE[n]."""
        self._interpreter.deliver_replies(_words(np.ascontiguousarray(replies)), self.state)

    def _exchange_outgoing(self) -> bool:
        """Let `remote` answer what the programs ask of other nodes; return whether they did."""
        requests = self.take_outgoing()
        if len(requests):
            self.deliver(self.remote(requests))
        return len(requests) > 0

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
            If a thread still runs after `max_cycles` instructions, or waits for what does not come;
            says where.

        """
        executed = self.run(max_cycles)
        running = ", ".join(
            f"thread {thread.number} still runs at pc {thread.pc:#x}"
            for thread in self.threads
            if thread.status is ThreadStatus.RUNNING and thread.waits_for is None
        )
        if not self.idle:
            states = ", ".join(filter(None, (running, self.waiting)))
            raise TimeoutError(
                f"threads must stop within {max_cycles} instructions, but after {executed} {states}"
            )
        return executed

    def run_traced(self, max_cycles: int) -> NDArray[np.void]:
        """Run until no thread can go on, at most `max_cycles` instructions; return what retired.

        Returns
        -------
        RETIRE_DTYPE[n]
            In the order of execution; instructions that trapped are not among them.

        """
        chunks = []
        left, executed = max_cycles, 1
        while left > 0 and (executed > 0 or self._exchange_outgoing()):
            records = np.zeros(min(left, _TRACE_CHUNK), RETIRE_DTYPE)
            words = records.view(np.uint64).reshape(len(records), -1)
            executed, traced = self._interpreter.run(self.state, len(records), words)
            self._cycles += executed
            left -= executed
            chunks.append(records[:traced])
        return np.concatenate([np.zeros(0, RETIRE_DTYPE), *chunks])

    def reset(self) -> None:
        """Reset the node: threads idle, CSRs, semaphores and counters as at power-up.

        SRAM, scalar, vector and mask registers and accumulators are memories: they keep what they
        hold.
        """
        node = self.state
        node.csr[:] = csr_reset_values(self._params.threads)
        node.control[COUNTER_LINE:] = 0
        for array in (node.pc, node.waiting, node.barrier_arrived, node.turn, *node.transfer):
            array[:] = 0

    def close(self) -> None:
        """End the use of the node; there is nothing to give back."""

    def start(self, pc: int, arg: int = 0, thread: int = 0) -> None:
        """Start a thread at `pc` with a0 = `arg`, by the packet that a host would send."""
        # PC, ARG and COMMAND are neighbours, in this order.
        registers = np.array([pc, arg, Command.START], np.uint64)
        address = register_address(ThreadRegister.PC, thread)
        self.exchange(write_requests(address, registers.view(np.uint8)))

    def thread_register(self, register: ThreadRegister, thread: int = 0) -> int:
        """Return a register of a thread's line in the control block."""
        return self.threads[thread].register(register)

    @property
    def status(self) -> ThreadStatus:
        """Status of thread 0."""
        return self.threads[0].status

    @property
    def pc(self) -> int:
        """Address of the next instruction of thread 0."""
        return self.threads[0].pc

    @pc.setter
    def pc(self, value: int) -> None:
        self.threads[0].pc = value

    @property
    def memory(self) -> NDArray[np.uint8]:
        """SRAM as bytes."""
        return self.state.memory8

    @property
    def x(self) -> NDArray[np.uint64]:
        """Scalar registers of thread 0; x[0] must stay 0."""
        return self.threads[0].x

    @property
    def v(self) -> NDArray[np.uint8]:
        """Vector registers of thread 0 as bytes, [32, vector_bytes]."""
        return self.threads[0].v

    @property
    def m(self) -> NDArray[np.uint64]:
        """Mask registers of thread 0, bit n for lane n, [8]."""
        return self.threads[0].m

    @property
    def acc(self) -> NDArray[np.uint32]:
        """Accumulators of thread 0 as FP32 bit patterns, [accumulators, R, C]."""
        return self.threads[0].acc

    def read_csr(self, name: str, thread: int = 0) -> int:
        """Return the value of a CSR of a thread."""
        return self.threads[thread].read_csr(name)

    def write_csr(self, name: str, value: int, thread: int = 0) -> None:
        """Set all bits of a CSR of a thread, write mask or not."""
        self.threads[thread].write_csr(name, value)
