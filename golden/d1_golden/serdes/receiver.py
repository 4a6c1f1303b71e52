"""The receiving half of the physical layer: lanes to rows, clock by clock.

Golden twin of `d1_rtl.serdes.physical_receiver`: the same registers with the same values in every
clock. docs/lanes.md has the rules.
"""

from __future__ import annotations

import enum
from math import ceil
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .block import MarkerField, RowMode, SyncHeader, is_marker, marker_field, required_lanes
from .block_lock import is_valid_header, judge_header, new_locks, unlock
from .gearbox import clear_queue, gear_up, new_queues
from .params import BLOCK_BITS, ROW_NUMBERS, LinkParams
from .scrambler import SCRAMBLER_START, descramble

__all__ = [
    "MARKER_LOSS",
    "BondState",
    "PhysicalReceiver",
    "ReceiveState",
    "ReceivedRow",
    "new_receive_state",
    "patience_cycles",
    "receive_cycle",
    "reset_receiver",
]

#: Marker intervals without a marker after which a lane does not count as arriving.
MARKER_LOSS = 4


class BondState(enum.IntEnum):
    """What the lanes are together."""

    DOWN = 0  #: too few of them arrive, or what arrives does not fit
    CATCH_UP = 1  #: old rows are passed over until the slowest lane is met
    UP = 2  #: rows are delivered


_DOWN, _CATCH_UP, _UP = int(BondState.DOWN), int(BondState.CATCH_UP), int(BondState.UP)
_CONTROL, _DATA = int(SyncHeader.CONTROL), int(SyncHeader.DATA)
_START = np.uint64(SCRAMBLER_START)
_HEADER_MASK = _CONTROL | _DATA
_FULL, _HIGH = int(RowMode.FULL), int(RowMode.HIGH)
_LANE, _MODE = int(MarkerField.LANE), int(MarkerField.MODE)
_PEER_UP, _ROW, _LANES = int(MarkerField.UP), int(MarkerField.ROW), int(MarkerField.LANES)

_WORD = [("header", "i8"), ("word", "u8"), ("marker", "?")]
_BLOCK = np.dtype([("valid", "?"), ("header", "i8"), ("word", "u8")])
_LANE_REGISTERS = np.dtype(
    [
        *(("before", "u8"), ("valid", "?"), ("header", "i8"), ("word", "u8")),
        *(("inverted", "?"), ("marked", "?"), ("mirrored", "?"), ("write", "i8")),
        *(("mode", "i8"), ("up", "?"), ("lanes", "i8"), ("silent", "i8")),
    ]
)
_BOND_REGISTERS = np.dtype(
    [
        *(("state", "i8"), ("read", "i8"), ("mode", "i8"), ("valid", "?"), ("odd", "?")),
        *(("first", "?"), ("arriving", "i8"), ("wait", "i8")),
        *(("peer_arriving", "i8"), ("peer_up", "?"), ("reversed", "?")),
    ]
)


class ReceiveState(NamedTuple):
    """All registers of a receiver, and what does not change.

    Members
    -------
    lanes, width, depth, skew, patience, silence
        Parameters; the two last in clocks and in rows.
    bond : [1]
        Fields `state`, a `BondState`; `read`, the number of the row to be read next; `mode`;
        `valid` and `odd`: `read` has a row, with an odd number; `first`: `first_*` has half a row;
        `arriving`: lanes that arrive; `wait`: clocks that the others have been waited for;
        `peer_arriving`, `peer_up`: the same at the other end, and whether it delivers rows;
        `reversed`: lane n is the other end's last but n.
    queues : QUEUE_DTYPE[lanes]
    locks : LOCK_DTYPE[lanes]
    blocks : [lanes]
        The blocks that the gearboxes have completed, by wire.
    lane : [lanes]
        By lane: `before`, the last scrambled word; `valid`, `header`, `word`, the block after
        descrambling; `inverted`: its wires are crossed; `marked`: markers have said that this is
        the lane, so it arrives; `mirrored`: they have said that it is its mirror image; `write`:
        number of the row whose word comes next; `mode`, `up`, `lanes`: what the last marker said;
        `silent`: words since then.
    store : [lanes, depth]
        Fields `header`, `word`, `marker`: the words that wait for other lanes.
    read : [lanes]
        The same of the row that was read.
    first_words : uint64[lanes // 2]
    first_flags : int64[2]
        The first half of a row that comes in two: control words, invalid headers.
    row_words : uint64[lanes]
    row_flags : int64[2]
        The row that is delivered: control words, invalid headers.
    """

    lanes: int
    width: int
    depth: int
    skew: int
    patience: int
    silence: int
    bond: NDArray[np.void]
    queues: NDArray[np.void]
    locks: NDArray[np.void]
    blocks: NDArray[np.void]
    lane: NDArray[np.void]
    store: NDArray[np.void]
    read: NDArray[np.void]
    first_words: NDArray[np.uint64]
    first_flags: NDArray[np.int64]
    row_words: NDArray[np.uint64]
    row_flags: NDArray[np.int64]


class ReceivedRow(NamedTuple):
    """A row that was delivered.

    Members
    -------
    words : uint64[lanes]
    controls : int
        Bit n: word n is a control word.
    errors : int
        Bit n: word n had an invalid sync header.
    """

    words: NDArray[np.uint64]
    controls: int
    errors: int


def patience_cycles(params: LinkParams) -> int:
    """Return the clocks that the receiver waits for a lane before it calls it dead."""
    return ceil(params.lane_patience * BLOCK_BITS / params.lane_width)


def new_receive_state(params: LinkParams) -> ReceiveState:
    """Return the state after reset."""
    lanes, depth = params.lanes, params.deskew_rows
    lane = np.zeros(lanes, _LANE_REGISTERS)
    lane["before"] = SCRAMBLER_START
    return ReceiveState(
        lanes=lanes,
        width=params.lane_width,
        depth=depth,
        skew=params.skew_limit,
        patience=patience_cycles(params),
        silence=MARKER_LOSS * params.marker_interval,
        bond=np.zeros(1, _BOND_REGISTERS),
        queues=new_queues(lanes),
        locks=new_locks(lanes),
        blocks=np.zeros(lanes, _BLOCK),
        lane=lane,
        store=np.zeros((lanes, depth), _WORD),
        read=np.zeros(lanes, _WORD),
        first_words=np.zeros(lanes // 2, np.uint64),
        first_flags=np.zeros(2, np.int64),
        row_words=np.zeros(lanes, np.uint64),
        row_flags=np.zeros(2, np.int64),
    )


@njit(cache=True)
def reset_receiver(state: ReceiveState) -> None:
    """Bring every register to its state after reset; memories keep what they hold."""
    bond = state.bond[0]
    bond["state"] = bond["read"] = bond["mode"] = bond["arriving"] = bond["wait"] = 0
    bond["valid"] = bond["odd"] = bond["first"] = bond["peer_up"] = bond["reversed"] = False
    bond["peer_arriving"] = 0
    for k in range(state.lanes):
        clear_queue(state.queues[k])
        unlock(state.locks[k])
        state.blocks[k]["valid"] = False
        lane = state.lane[k]
        lane["before"] = _START
        lane["valid"] = lane["inverted"] = lane["marked"] = lane["mirrored"] = lane["up"] = False
        lane["write"] = lane["mode"] = lane["lanes"] = lane["silent"] = 0


@njit(cache=True)
def _has_marker(read, required):
    """Tell whether a row is a marker row: any lane will do, the others may have errors."""
    for k in range(len(read)):
        if required >> k & 1 and read[k]["marker"]:
            return True
    return False


@njit(cache=True)
def _changes_mode(read, required, mode):
    for k in range(len(read)):
        if required >> k & 1 and read[k]["marker"] and marker_field(read[k]["word"], _MODE) != mode:
            return True
    return False


@njit(cache=True)
def _copy_words(read, first_lane, words, flags, first_word, count):
    """Copy words that were read, and set what there is to tell of them."""
    for n in range(count):
        header = read[first_lane + n]["header"]
        words[first_word + n] = read[first_lane + n]["word"]
        flags[0] |= np.int64(header == _CONTROL) << first_word + n
        flags[1] |= np.int64(not is_valid_header(header)) << first_word + n


@njit(cache=True)
def _deliver(state):
    """Return whether a row is delivered, and whether a marker row changes the mode."""
    bond, lanes = state.bond[0], state.lanes
    if bond["state"] != _UP:
        bond["first"] = False
        return False, False
    if not bond["valid"]:
        return False, False
    mode = bond["mode"]
    required = required_lanes(mode, lanes)
    if _has_marker(state.read, required):
        bond["first"] = False
        return False, _changes_mode(state.read, required, mode)
    flags, half = state.row_flags, lanes // 2
    flags[:] = 0
    if mode == _FULL:
        _copy_words(state.read, 0, state.row_words, flags, 0, lanes)
        return True, False
    lane = half if mode == _HIGH else 0
    if not bond["odd"]:
        state.first_flags[:] = 0
        _copy_words(state.read, lane, state.first_words, state.first_flags, 0, half)
        bond["first"] = True
        return False, False
    state.row_words[:half] = state.first_words
    flags[:] = state.first_flags
    _copy_words(state.read, lane, state.row_words, flags, half, half)
    whole = bond["first"]
    bond["first"] = False
    return whole, False


@njit(cache=True)
def _follow_status(state, marked, restart):
    """Keep up which lanes arrive here, and at the other end."""
    bond = state.bond[0]
    if restart:
        bond["wait"] = bond["arriving"] = 0
    elif marked == (1 << state.lanes) - 1:
        bond["wait"] = 0
        bond["arriving"] = marked
    elif bond["wait"] == state.patience:
        bond["arriving"] = marked
    else:
        bond["wait"] += 1
    for k in range(state.lanes):
        if marked >> k & 1:
            bond["peer_arriving"] = state.lane[k]["lanes"]
            bond["peer_up"] = state.lane[k]["up"]
            break


@njit(cache=True)
def _begin(state, marked):
    """Begin to read if the lanes arrive that the other end says it uses."""
    bond, half = state.bond[0], state.lanes // 2
    low = marked & (1 << half) - 1 == (1 << half) - 1
    high = marked >> half == (1 << half) - 1
    reference = state.lane[0 if low else half]
    required = required_lanes(reference["mode"], state.lanes)
    if (low or high) and required & ~marked == 0:
        bond["read"] = (reference["write"] - state.skew - 1) % ROW_NUMBERS
        bond["mode"] = reference["mode"]
        bond["state"] = _CATCH_UP


@njit(cache=True)
def _bond(state, marked, moved, changes):
    """Run the state machine of the bond; read a row if every lane that it needs has it."""
    bond, phase = state.bond[0], state.bond[0]["state"]
    bond["valid"] = False
    if phase == _DOWN:
        _begin(state, marked)
        return
    required = required_lanes(bond["mode"], state.lanes)
    row = bond["read"]
    empty = far = early = False
    for k in range(state.lanes):
        if required >> k & 1:
            lag = (state.lane[k]["write"] - row) % ROW_NUMBERS
            empty |= lag == 0
            far |= lag > state.depth
            early |= lag >= ROW_NUMBERS // 2
    fails = required & ~marked != 0 or moved & required != 0
    if phase == _CATCH_UP:
        fails |= early or (empty and far)
    else:
        fails |= far or changes
    if fails:
        bond["state"] = _DOWN
    elif empty:
        bond["state"] = _UP
    else:
        bond["read"] = (row + 1) % ROW_NUMBERS
        bond["valid"] = phase == _UP
        bond["odd"] = row % 2 == 1
        for k in range(state.lanes):
            stored, read = state.store[k, row % state.depth], state.read[k]
            read["header"], read["word"] = stored["header"], stored["word"]
            read["marker"] = stored["marker"]


@njit(cache=True)
def _effective(lane):
    """Return sync header and word of a lane as they would be with its wires the right way."""
    if lane["inverted"]:
        return lane["header"] ^ _HEADER_MASK, ~lane["word"]
    return lane["header"], lane["word"]


@njit(cache=True)
def _lane_number(lane):
    """Return which lane the marker says that this lane has, or -1 if it has none."""
    header, word = _effective(lane)
    if lane["valid"] and header == _CONTROL and is_marker(word):
        return marker_field(word, _LANE)
    return -1


@njit(cache=True)
def _store(lane, store, number, own_number, mirror_number, silence, locked):
    """Put the word of a lane into its place, and note what it says of the lane."""
    if not locked:
        lane["marked"] = lane["mirrored"] = False
        return
    if not lane["valid"]:
        return
    header, word = _effective(lane)
    own = number == own_number
    row = marker_field(word, _ROW) if own else lane["write"]
    stored = store[row % len(store)]
    stored["header"], stored["word"], stored["marker"] = header, word, own
    lane["write"] = (row + 1) % ROW_NUMBERS
    if own:
        lane["marked"], lane["mirrored"], lane["silent"] = True, False, 0
        lane["mode"], lane["lanes"] = marker_field(word, _MODE), marker_field(word, _LANES)
        lane["up"] = marker_field(word, _PEER_UP) != 0
        return
    if number == mirror_number:
        lane["mirrored"] = True
    if not lane["marked"] and header == _DATA and is_marker(~word):
        lane["inverted"] = not lane["inverted"]
    if lane["silent"] == silence:
        lane["marked"] = False
    else:
        lane["silent"] += 1


@njit(cache=True)
def _receive_block(block, lock, queue, width, arrived, restart):
    """Bring the gearbox of a wire and its block lock one clock further."""
    slip = False
    if block["valid"]:
        slip = judge_header(lock, block["header"])
    if restart:
        unlock(lock)
    complete, header, word = gear_up(queue, width, arrived, slip)
    block["valid"] = complete
    if complete:
        block["header"], block["word"] = header, word


@njit(cache=True)
def receive_cycle(
    state: ReceiveState, arrived: NDArray[np.uint64], disabled: int, restart: bool
) -> bool:
    """Run one clock; return whether it delivers a row, which is in `row_words` and `row_flags`.

    Parameters
    ----------
    state
        The receiver.
    arrived
        What the wires carry.
    disabled
        Bit n: wire n must not be used.
    restart
        Whether all lanes are to be looked for anew.
    """
    bond, lanes = state.bond[0], state.lanes
    valid, changes = _deliver(state)
    mirror = bond["reversed"]
    marked = mirrored = moved = np.int64(0)
    for k in range(lanes):
        lane = state.lane[k]
        wire = lanes - 1 - k if mirror else k
        marked |= np.int64(lane["marked"]) << k
        mirrored += lane["mirrored"]
        jumps = (
            lane["marked"]
            and state.locks[wire]["locked"]
            and _lane_number(lane) == k
            and marker_field(_effective(lane)[1], _ROW) != lane["write"]
        )
        moved |= np.int64(jumps) << k
    turns = marked == 0 and mirrored >= lanes // 2
    _follow_status(state, marked, restart)
    _bond(state, marked, moved, changes)
    for k in range(lanes):
        lane = state.lane[k]
        wire = lanes - 1 - k if mirror else k
        locked = state.locks[wire]["locked"]
        number, mirrored_number = _lane_number(lane), lanes - 1 - k
        _store(lane, state.store[k], number, k, mirrored_number, state.silence, locked)
        if turns:
            lane["marked"] = lane["mirrored"] = False
        block = state.blocks[wire]
        # What comes from the old wire is not looked at any more.
        lane["valid"] = block["valid"] and not turns
        if block["valid"]:
            lane["header"] = block["header"]
            lane["word"] = descramble(block["word"], lane["before"])
            lane["before"] = block["word"]
    for wire in range(lanes):
        stops = restart or disabled >> wire & 1 != 0
        block, lock, queue = state.blocks[wire], state.locks[wire], state.queues[wire]
        _receive_block(block, lock, queue, state.width, arrived[wire], stops)
    bond["reversed"] ^= turns
    return valid


class PhysicalReceiver:
    """The receiver as an object.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    state : ReceiveState
        For compiled loops.
    """

    state: ReceiveState

    def __init__(self, params: LinkParams):
        self._params = params
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.state = new_receive_state(self._params)

    @property
    def bond(self) -> BondState:
        """What the lanes are together; rows come only in UP."""
        return BondState(int(self.state.bond["state"][0]))

    @property
    def mode(self) -> RowMode:
        """How rows are spread over the lanes."""
        return RowMode(int(self.state.bond["mode"][0]))

    @property
    def arriving(self) -> int:
        """Bit n: lane n arrives. Lanes that are missing for a short time only still count."""
        return int(self.state.bond["arriving"][0])

    @property
    def peer_arriving(self) -> int:
        """Bit n: lane n of the other direction arrives at the other end, as it last said."""
        return int(self.state.bond["peer_arriving"][0])

    @property
    def peer_is_up(self) -> bool:
        """Whether the other end delivers rows, as it last said."""
        return bool(self.state.bond["peer_up"][0])

    @property
    def is_reversed(self) -> bool:
        """Whether lane n of the other end is the last but n here."""
        return bool(self.state.bond["reversed"][0])

    def step(
        self, arrived: NDArray[np.uint64], *, disabled: int = 0, restart: bool = False
    ) -> ReceivedRow | None:
        """Run one clock with what the wires carry; return the row that is delivered, if one is."""
        if not receive_cycle(self.state, arrived, disabled, restart):
            return None
        controls, errors = (int(flags) for flags in self.state.row_flags)
        return ReceivedRow(self.state.row_words.copy(), controls, errors)
