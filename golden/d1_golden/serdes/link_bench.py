"""Two link layers, a channel each way, and traffic that is checked packet by packet.

Everything that goes wrong is wanted: see :class:`~d1_golden.serdes.row_channel.ChannelFaults` and
:class:`~d1_golden.serdes.link_users.Traffic`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .link_layer import INPUTS, row_controls, step
from .link_users import COMMON_OUTPUTS, ENDS, LinkUsers, check_clock, note_outputs, offer
from .params import BLOCK_BITS, MAX_LANES
from .row_channel import ChannelFaults, head_is_due, is_up, make_channel, pop, push

__all__ = ["OUTPUTS", "LinkBench", "LinkRecord"]

#: The outputs of an end in one clock.
OUTPUTS = np.dtype(
    [
        *COMMON_OUTPUTS,
        ("row_valid", np.int64),
        ("row_control", np.int64),
        ("words", np.uint64, (MAX_LANES,)),
    ]
)


class LinkRecord(NamedTuple):
    """Inputs (`INPUTS`) and outputs (`OUTPUTS`) in each clock, of each end."""

    inputs: NDArray[np.void]
    outputs: NDArray[np.void]


@njit(cache=True)
def _record(shape, record, place, number, end, inputs):
    """Note inputs and outputs of one clock."""
    record.inputs[place, number] = inputs
    out = record.outputs[place, number]
    note_outputs(out, end)
    out.row_valid = end.row_valid[2]
    if end.row_valid[2] != 0:
        out.row_control = row_controls(shape.lanes, end.row_kinds[2])
        out.words[:] = end.rows[2]


@njit(cache=True)
def _pull(lanes, lane_width, marker_interval):
    """Return whether lanes take a row in this clock, from their phase and rows since the marker."""
    lanes[0] += lane_width
    if lanes[0] < BLOCK_BITS:
        return 0
    lanes[0] -= BLOCK_BITS
    lanes[1] += 1
    if lanes[1] == marker_interval:
        lanes[1] = 0
        return 0
    return 1


@njit(cache=True)
def _run(shape, ends, inputs, channels, lanes, all_users, widths, record, clocks, goal):
    """Run for `clocks` clocks, until `goal` packets have arrived or something is wrong."""
    users = all_users[0]
    for place in range(clocks):
        now = users.now
        for end in range(ENDS):
            given, incoming, state = inputs[end], channels[1 - end], ends[end]
            given.row_ready = _pull(lanes[end], widths[0], widths[1])
            given.up = 1 if is_up(incoming) else 0
            given.row_valid = 0
            if head_is_due(incoming, now):
                row = pop(incoming)
                given.row_valid = given.up
                given.row_control, given.row_error = incoming.control[row], incoming.error[row]
                given.words[:] = incoming.words[row]
            offer(users, end, ends, inputs)
            if len(record.inputs) > 0:
                _record(shape, record, place, end, state, given)
            if given.row_ready != 0 and state.row_valid[2] != 0:
                control = row_controls(shape.lanes, state.row_kinds[2])
                push(channels[end], now, state.rows[2], control)
        for end in range(ENDS):
            step(shape, ends[end], inputs[end])
        check_clock(users, shape, ends)
        users.now += 1
        if users.error[0] != 0 or users.received.sum() >= goal:
            return


@dataclass(kw_only=True)
class LinkBench(LinkUsers):
    """Two link layers, their users and a channel each way.

    Parameters
    ----------
    params, traffic, seed
        As in `LinkUsers`.
    delay
        Clocks from a row leaving one end to its arrival at the other one.
    faults
        What goes wrong in either direction.
    """

    delay: int
    faults: ChannelFaults = field(default_factory=ChannelFaults)

    def __post_init__(self) -> None:
        super().__post_init__()
        #: The channels; that of an end carries what it sends.
        self.channels = np.concatenate(
            [
                make_channel(self.params, self.faults, delay=self.delay, seed=2 * self.seed + end)
                for end in range(ENDS)
            ]
        )
        self._lanes = np.zeros((ENDS, 2), np.int64)
        self._log = _new_log(0)

    def _run(self, clocks: int, goal: int) -> None:
        widths = (self.params.lane_width, self.params.marker_interval)
        state = (self._shape, self.ends, self._inputs, self.channels, self._lanes, self._users)
        _run(*state, widths, self._log, clocks, goal)

    def record(self, clocks: int) -> LinkRecord:
        """Run for some clocks and return what the ports of both ends were."""
        log = self._log = _new_log(clocks)
        try:
            self.run(clocks)
        finally:
            self._log = _new_log(0)
        return log

    def spoil_bit(self, end: int, bit: int) -> None:
        """Let one bit of what an end sends be wrong, so many bits from now.

        Bits are counted row by row and in a row lane by lane, 66 in each block.
        """
        self.channels["next_error"][end] = bit

    def set_faults(self, faults: ChannelFaults) -> None:
        """Let something else go wrong from now on."""
        for name, rate in vars(faults).items():
            self.channels[name] = rate
        self.channels["next_error"] = -1


def _new_log(clocks: int) -> LinkRecord:
    return LinkRecord(np.zeros((clocks, ENDS), INPUTS), np.zeros((clocks, ENDS), OUTPUTS))
