"""The transmitting half of the physical layer: rows to lanes, clock by clock.

Golden twin of `d1_rtl.serdes.physical_transmitter`: the same registers with the same values in
every clock. docs/lanes.md has the rules.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .block import RowMode, SyncHeader, marker_word
from .gearbox import clear_queue, gear_down, new_queues, wants_block
from .params import ROW_NUMBERS, LinkParams
from .scrambler import SCRAMBLER_START, scramble

__all__ = [
    "PhysicalTransmitter",
    "TransmitState",
    "new_transmit_state",
    "reset_transmitter",
    "row_mode",
    "transmit_cycle",
]

_CONTROL, _DATA = int(SyncHeader.CONTROL), int(SyncHeader.DATA)
_START = np.uint64(SCRAMBLER_START)
_FULL, _LOW, _HIGH = int(RowMode.FULL), int(RowMode.LOW), int(RowMode.HIGH)

_REGISTERS = np.dtype(
    [
        ("row", "i8"),
        ("mode", "i8"),
        ("since", "i8"),
        ("second", "?"),
        ("arriving", "i8"),
        ("up", "?"),
    ]
)


class TransmitState(NamedTuple):
    """All registers of a transmitter, and what does not change.

    Members
    -------
    lanes, width, interval
        Parameters.
    registers : [1]
        Fields `row`, the number of the next row, `mode`, its `RowMode`, `since`, the rows since the
        last marker row, `second`, whether the second half of a row comes next, `arriving` and `up`,
        what the last marker row said about the other direction.
    headers : int64[lanes]
        Sync headers of the blocks that go to the lanes next.
    words : uint64[lanes]
        Their words, scrambled.
    queues : QUEUE_DTYPE[lanes]
        Bits on their way to the lanes.
    out : uint64[lanes]
        What the lanes carry in this clock.
    """

    lanes: int
    width: int
    interval: int
    registers: NDArray[np.void]
    headers: NDArray[np.int64]
    words: NDArray[np.uint64]
    queues: NDArray[np.void]
    out: NDArray[np.uint64]


def new_transmit_state(params: LinkParams) -> TransmitState:
    """Return the state after reset."""
    return TransmitState(
        lanes=params.lanes,
        width=params.lane_width,
        interval=params.marker_interval,
        registers=np.zeros(1, _REGISTERS),
        headers=np.full(params.lanes, _CONTROL, np.int64),
        words=np.full(params.lanes, SCRAMBLER_START, np.uint64),
        queues=new_queues(params.lanes),
        out=np.zeros(params.lanes, np.uint64),
    )


@njit(cache=True)
def reset_transmitter(state: TransmitState) -> None:
    """Bring every register to its state after reset."""
    registers = state.registers[0]
    registers["row"] = registers["mode"] = registers["since"] = registers["arriving"] = 0
    registers["second"] = registers["up"] = False
    for lane in range(state.lanes):
        state.headers[lane], state.words[lane] = _CONTROL, _START
        state.out[lane] = 0
        clear_queue(state.queues[lane])


@njit(cache=True)
def row_mode(mode: int, arriving: int, lanes: int) -> int:
    """Return the mode for the lanes that arrive at the other end: the widest, or the present one.

    Parameters
    ----------
    mode
        The present one.
    arriving
        Bit n: lane n arrives.
    lanes
        How many lanes there are.
    """
    half = (1 << lanes // 2) - 1
    low, high = arriving & half == half, arriving >> lanes // 2 == half
    if low and high:
        return _FULL
    if low:
        return _LOW
    return _HIGH if high else mode


@njit(cache=True)
def transmit_cycle(
    state: TransmitState,
    words: NDArray[np.uint64],
    controls: int,
    valid: bool,
    arriving: int,
    up: bool,
    peer_arriving: int,
    peer_up: bool,
) -> bool:
    """Run one clock; afterwards `state.out` is what the lanes carry in the next one.

    Parameters
    ----------
    state
        The transmitter.
    words
        The row that is offered.
    controls
        Bit n: word n is a control word.
    valid
        Whether a row is offered. It must stay until it is taken.
    arriving
        Bit n: lane n of the other direction arrives here.
    up
        Whether rows of the other direction are delivered here.
    peer_arriving
        Bit n: lane n arrives at the other end.
    peer_up
        Whether the other end delivers rows; if not, none is taken.

    Returns
    -------
    bool
        Whether the row was taken.
    """
    registers, lanes = state.registers[0], state.lanes
    pull = wants_block(state.queues[0], state.width)
    for lane in range(lanes):
        state.out[lane] = gear_down(
            state.queues[lane], state.width, state.headers[lane], state.words[lane]
        )
    if not pull:
        return False
    mode, row, second = registers["mode"], registers["row"], registers["second"]
    target = row_mode(mode, peer_arriving, lanes)
    news = target != mode or arriving != registers["arriving"] or up != registers["up"]
    due = registers["since"] >= state.interval - 1
    # Halves of a row stay together: the first one has an even number.
    half_way = mode != _FULL and row % 2 == 1
    marker = not second and (not peer_up or news or due or not valid or half_way)
    carriers = lanes if mode == _FULL else lanes // 2
    first_lane = lanes // 2 if mode == _HIGH else 0
    first_word = lanes // 2 if second else 0
    for lane in range(lanes):
        place = lane - first_lane
        if marker or not 0 <= place < carriers:
            word = marker_word(lane, target if marker else mode, up, row, arriving)
            header = _CONTROL
        else:
            word = words[first_word + place]
            header = _CONTROL if controls >> first_word + place & 1 else _DATA
        state.words[lane] = scramble(word, state.words[lane])
        state.headers[lane] = header
    registers["row"] = (row + 1) % ROW_NUMBERS
    registers["second"] = not marker and mode != _FULL and not second
    if marker:
        registers["mode"] = target
        registers["arriving"] = arriving
        registers["up"] = up
        registers["since"] = 0
    else:
        registers["since"] += 1
    return not marker and (mode == _FULL or second)


class PhysicalTransmitter:
    """The transmitter as an object.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    state : TransmitState
        For compiled loops.
    """

    state: TransmitState

    def __init__(self, params: LinkParams):
        self._params = params
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.state = new_transmit_state(self._params)

    @property
    def lanes(self) -> NDArray[np.uint64]:
        """What each lane carries in this clock; its first bit is bit 0."""
        return self.state.out.copy()

    @property
    def mode(self) -> RowMode:
        """How rows are spread over the lanes."""
        return RowMode(int(self.state.registers["mode"][0]))

    def step(
        self,
        row: tuple[NDArray[np.uint64], int] | None = None,
        *,
        arriving: int = 0,
        up: bool = False,
        peer_arriving: int = 0,
        peer_up: bool = False,
    ) -> bool:
        """Run one clock; return whether the row that is offered, words and controls, was taken."""
        words, controls = row or (np.zeros(self._params.lanes, np.uint64), 0)
        here, there = (arriving, up), (peer_arriving, peer_up)
        return bool(transmit_cycle(self.state, words, controls, row is not None, *here, *there))
