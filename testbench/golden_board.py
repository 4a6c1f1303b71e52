"""The golden model of a board: the golden end of the serial line before the golden node."""

from __future__ import annotations

import numpy as np
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.fpga.endpoint import DeviceEnd
from d1_golden.fpga.noisy_line import NoisyLine
from d1_golden.node import GoldenNode
from d1_golden.packet import PACKET_DTYPE, read_requests
from d1_golden.params import NodeParams
from d1_rtl.sim.terminal_board import TerminalBoard

__all__ = ["GoldenBoard"]

#: Instructions that pass while the board looks once at the line.
_INSTRUCTIONS = 2_000
#: Looks at the line without anything new after which the board sends again.
_PATIENCE = 4


class GoldenBoard(TerminalBoard):
    """A golden node behind a pseudo terminal, as it is on a board.

    Parameters
    ----------
    params
        The node.
    rate
        Chance of each kind of error for each byte; see `NoisyLine`.
    seed
        Of the errors.

    """

    def __init__(self, params: NodeParams, *, rate: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self._params = params
        self._noise = (NoisyLine(rate, 2 * seed), NoisyLine(rate, 2 * seed + 1))
        #: Whether the board still hears.
        self.hears = True

    def power_on(self) -> None:
        """Begin with a new node."""
        self.end, self.node = DeviceEnd(), GoldenNode(self._params, BOARD_NODE)
        # What is compiled at its first use is compiled now: a board answers at once.
        self.node.exchange(read_requests(0, 1))
        self.node.run(1)
        self._resets = self._quiet = 0

    def step(self, line: bytes) -> tuple[bytes, bool]:
        """Take and answer packets, and let programs run."""
        self.end.receive(self._noise[0].carry(line) if self.hears else b"")
        if self.end.resets != self._resets:
            self._resets = self.end.resets
            self.node.reset()
        while self.end.room and (packet := self.end.take()) is not None:
            for reply in self.node.exchange(np.frombuffer(packet, PACKET_DTYPE)):
                self.end.send(reply.tobytes())
        self.node.run(_INSTRUCTIONS)
        self._quiet = 0 if line else self._quiet + 1
        if self._quiet > _PATIENCE:
            self.end.expire()
            self._quiet = 0
        frames = b"".join(iter(lambda: self.end.next_frame() or b"", b""))
        return self._noise[1].carry(frames), not self.node.idle
