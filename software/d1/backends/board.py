"""A node on an FPGA board as a device, behind the board's USB-UART."""

from __future__ import annotations

import os
import time

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.fpga.uart import BAUD
from d1_golden.machine import MachineParams
from d1_golden.memory_map import (
    COUNTER_BASE,
    IDENTITY,
    THREAD_BASE,
    TRANSFER_BASE,
    CounterRegister,
    IdentityRegister,
    ThreadRegister,
    ThreadStatus,
    TransferRegister,
    identity_values,
)
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, Opcode, is_answered, read_requests
from d1_golden.params import LINE_BYTES, DieParams, NodeParams
from numpy.typing import NDArray

from d1.errors import BoardError
from d1.link import DieLink, Link, MachineLink
from d1.serial_line import ANSWER_SECONDS, SerialLine, find_port

__all__ = ["PORT_VARIABLE", "BoardLink", "open_die_link", "open_link", "open_machine_link"]

#: Names the port where nobody else does.
PORT_VARIABLE = "D1_PORT"
#: No board's node has a slower clock; for waiting a number of cycles.
_SLOWEST_HZ = 25_000_000
#: Where the reply to a fence seems to go: no node and no user of the line is there.
_FENCE_SOURCE, _FENCE_TAG = Place(0xFF, 0xFF, 0xFF, 0xFF).bits, 0xFFFF


class BoardLink:
    """A link to the node on a board.

    Opening it resets the node; its SRAM keeps what it holds. The line needs no bound in cycles: an
    exchange goes on as long as the board answers. A fault of a request that is not answered
    otherwise is seen by a **fence**, an acknowledged write of nothing behind the packets, which the
    node's counters count.

    Parameters
    ----------
    params
        What the node on the board must be.
    port
        Name of the serial port; without, that in `D1_PORT`, or the one USB serial port there is.
    baud
        Bits per second.
    answer_seconds
        Seconds without any progress after which the board is given up.

    Raises
    ------
    BoardError
        If the port cannot be opened, nothing answers, or the node is another one.

    """

    def __init__(
        self,
        params: NodeParams,
        port: str | None = None,
        *,
        baud: int = BAUD,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._params = params
        port = port or os.environ.get(PORT_VARIABLE) or find_port()
        self._line = SerialLine(port, baud=baud, answer_seconds=answer_seconds)
        try:
            self._require_node()
        except BaseException:
            self.close()
            raise

    @property
    def params(self) -> NodeParams:
        """Parameters of the node."""
        return self._params

    @property
    def line(self) -> SerialLine:
        """The serial line, with its counts."""
        return self._line

    @property
    def is_lost(self) -> bool:
        """Whether the board was unplugged, or the link closed."""
        return self._line.is_lost

    @property
    def cycles(self) -> int:
        """Clock cycles in which a thread ran since the session began: a board counts no others."""
        return int(self._read(COUNTER_BASE, 1)[0, CounterRegister.CYCLES])

    def exchange(
        self, requests: NDArray[np.void], max_cycles: int | None = None
    ) -> NDArray[np.void]:
        """Send packets in order; return the replies once all are carried out.

        Parameters
        ----------
        requests
            Array of `d1_golden.packet.PACKET_DTYPE`. A `source` must not be the board's node.
        max_cycles
            Accepted for the contract of a link; what bounds an exchange is `answer_seconds`.

        Raises
        ------
        BoardError
            If the board does not answer, or is gone.
        TypeError
            If `requests` is not an array of packets.

        """
        if requests.dtype != PACKET_DTYPE or requests.ndim != 1:
            raise TypeError(
                f"requests must be a one-dimensional array of PACKET_DTYPE, not "
                f"{requests.ndim}-dimensional of {requests.dtype}"
            )
        packets = [request.tobytes() for request in requests]
        if is_answered(requests).all():
            replies = self._line.exchange(packets, lambda got: len(got) >= len(packets))
        else:
            replies = self._line.exchange([*packets, _FENCE], lambda got: got[-1:] == [_FENCED])
            replies.pop()
        return np.frombuffer(b"".join(replies), PACKET_DTYPE)

    def advance(self, cycles: int) -> None:
        """Let at least so many cycles pass."""
        time.sleep(cycles / _SLOWEST_HZ)

    def run(self, max_cycles: int) -> None:
        """Wait until no thread runs and no transfer is under way.

        Raises
        ------
        TimeoutError
            If a thread has run for `max_cycles` since; says which.
        BoardError
            If the board does not answer, or transfers wait for what never comes.

        """
        before: NDArray[np.uint64] | None = None
        waits_until = None
        while True:
            threads = self._read(THREAD_BASE, self._params.threads)
            running = threads[:, ThreadRegister.STATUS] == ThreadStatus.RUNNING
            if not running.any():
                outstanding = int(self._read(TRANSFER_BASE, 1)[0, TransferRegister.OUTSTANDING])
                if not outstanding:
                    return
                now = time.monotonic()
                waits_until = waits_until or now + ANSWER_SECONDS
                if now > waits_until:
                    raise BoardError(
                        f"transfers on {self._line.port} must end within {ANSWER_SECONDS:g} s "
                        f"after the threads, but {outstanding} replies are outstanding"
                    )
                continue
            cycles = threads[:, ThreadRegister.CYCLES]
            if before is None:
                before = np.where(running, cycles, 0)
            # A thread that was started anew counts from zero.
            spent = np.where(cycles >= before, cycles - before, cycles)
            late = running & (spent >= max_cycles)
            if late.any():
                thread = int(np.flatnonzero(late)[0])
                raise TimeoutError(
                    f"waited {max_cycles} cycles for thread {thread} on {self._line.port} to stop, "
                    f"but it still runs"
                )

    def reset(self) -> None:
        """Reset the node by a new session; its SRAM keeps what it holds."""
        self._line.open_session()

    def close(self) -> None:
        """Give back the port."""
        self._line.close()

    def _read(self, address: int, lines: int) -> NDArray[np.uint64]:
        """Return lines of the control block as registers, [lines, 8]."""
        replies = self.exchange(read_requests(address, lines * LINE_BYTES))
        faults = replies["opcode"] != Opcode.READ_REPLY
        if faults.any():
            raise BoardError(
                f"node on {self._line.port} must have registers at {address:#x}, but answered "
                f"{Opcode(replies['opcode'][faults][0]).name}"
            )
        words = np.ascontiguousarray(replies["data"]).view(np.uint64)
        return words

    def _require_node(self) -> None:
        """Refuse a board with another node than was asked for."""
        found = [int(word) for word in self._read(IDENTITY, 1)[0]]
        expected = identity_values(self._params, BOARD_NODE)
        different = [
            f"{register.name.lower()} {found[register]:#x} instead of {expected[register]:#x}"
            for register in IdentityRegister
            if found[register] != expected[register]
        ]
        if different:
            raise BoardError(
                f"board on {self._line.port} must have a node of preset {self._params.name}, but "
                f"has {', '.join(different)}"
            )


def _fence() -> tuple[bytes, bytes]:
    """Return the fence, and the reply to it."""
    fence = np.zeros(2, PACKET_DTYPE)
    fence["opcode"] = Opcode.WRITE, Opcode.WRITE_REPLY
    fence["flags"] = ACK_FLAG, 0
    fence["source"], fence["tag"] = _FENCE_SOURCE, _FENCE_TAG
    return fence[0].tobytes(), fence[1].tobytes()


_FENCE, _FENCED = _fence()


def open_link(params: NodeParams, port: str | None = None) -> Link:
    """Return a link to the node on the board at a port; see `BoardLink`."""
    return BoardLink(params, port)


def open_die_link(params: DieParams) -> DieLink:
    """Refuse: a board has one node.

    Raises
    ------
    ValueError
        Always.

    """
    raise ValueError(f"device must be one with a die, not 'board', for {params.name}")


def open_machine_link(params: MachineParams, *, processes: bool = False) -> MachineLink:
    """Refuse: a board has one node.

    Raises
    ------
    ValueError
        Always.

    """
    raise ValueError(f"device must be one with dies, not 'board', for {params.name}")
