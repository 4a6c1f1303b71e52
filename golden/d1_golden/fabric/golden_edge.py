"""One end of a link between dies as packets see it: its registers, without time."""

from __future__ import annotations

from d1_golden.memory_map import SerdesRegister
from d1_golden.serdes.frame import LinkState

__all__ = ["GoldenEdge"]


class GoldenEdge:
    """The registers of an end that always works when it may: nothing is lost and nothing counted.

    Golden twin of `d1_rtl.fabric.die_edge.DieEdge` in what does not depend on time or lanes: the
    state that the training comes to, which wires are disabled, what was refused.

    Parameters
    ----------
    lanes
        Lanes of the link.

    Attributes
    ----------
    disabled
        Wires that are not used to receive, a bit each.
    refused
        Packets that were refused or dropped because all were disabled.
    peer
        The other end.
    """

    def __init__(self, lanes: int):
        self._lanes = lanes
        self.peer: GoldenEdge = self
        self.reset()

    def reset(self) -> None:
        """Return to the state after a reset."""
        self.disabled = self.refused = 0

    @property
    def is_off(self) -> bool:
        """Whether all wires are disabled, so that nothing is sent into the link."""
        return self.disabled == (1 << self._lanes) - 1

    @property
    def is_open(self) -> bool:
        """Whether packets move: both ends can receive."""
        return self._receives and self.peer._receives

    @property
    def _receives(self) -> bool:
        """Whether all wires, or those of the lower or the upper half, may be used."""
        half = self._lanes // 2
        low = (1 << half) - 1
        return not self.disabled & low or not self.disabled >> half

    def read(self, register: int) -> int:
        """Return what a register of `SerdesRegister` holds."""
        values: dict[int, int] = {
            SerdesRegister.STATUS: LinkState.OPEN if self.is_open else LinkState.DOWN,
            SerdesRegister.DISABLED: self.disabled,
            SerdesRegister.REFUSED: self.refused,
        }
        return int(values.get(register, 0))

    def write(self, register: int, value: int) -> None:
        """Write a register; those that are read only ignore it, and a command changes nothing."""
        if register == SerdesRegister.DISABLED:
            self.disabled = value & (1 << self._lanes) - 1
