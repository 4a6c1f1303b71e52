"""A channel for rows: delay, bit errors as the lanes would show them, and faults on purpose.

Between two link layers it stands for physical coding and lanes. A bit error on a lane hits a
sync header, which makes the block invalid (two errors: of the other kind), or a scrambled bit,
which the descrambler makes three flipped bits of: the bit itself and those 39 and 58 later, maybe
in the lane's next word.

Ref: IEEE Std 802.3-2022, 49.2.4.3 (sync header) and 49.2.6 (the scrambler x^58 + x^39 + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .link_layer import RowKind, row_kind
from .params import BLOCK_BITS, MAX_LANES, LinkParams

__all__ = ["ROW_CHANNEL", "ChannelFaults", "head_is_due", "make_channel", "pop", "push", "uniform"]

#: Rows on their way at most.
_ROWS = 2048
#: Rows of the longest frame.
_HELD_ROWS = 28
_HEADER_BITS = 2
#: Later bits that a wrong scrambled bit flips too.
_TAPS = (np.uint64(39), np.uint64(58))
_WORD = np.uint64(64)
_ONE, _ZERO = np.uint64(1), np.uint64(0)
_LAST, _STATUS = RowKind.LAST, RowKind.STATUS
_NEVER = 1 << 62


@dataclass(frozen=True, kw_only=True)
class ChannelFaults:
    """What goes wrong in one direction; rates are probabilities.

    Parameters
    ----------
    bit_errors
        Of each bit on a lane, sync headers included.
    bursts
        Of each row: up to 64 successive bits of one lane are replaced by random ones.
    dropped_rows
        Of each row: it vanishes.
    dropped_frames, doubled_frames, swapped_frames
        Of each frame with packets: it vanishes, comes twice, comes after the next one or
        after a status row.
    outages
        Of each clock: for the next 1 to 256 clocks nothing arrives and the lanes are down.

    Raises
    ------
    ValueError
        If a rate is not a probability.
    """

    bit_errors: float = 0.0
    bursts: float = 0.0
    dropped_rows: float = 0.0
    dropped_frames: float = 0.0
    doubled_frames: float = 0.0
    swapped_frames: float = 0.0
    outages: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be in [0, 1), not {value!r}")


#: One direction. Places of rows count for ever; in the ring they are taken modulo its size.
ROW_CHANNEL = np.dtype(
    [
        *((name, np.float64) for name in ChannelFaults.__dataclass_fields__),
        *(
            (name, np.int64)
            for name in (
                *("delay", "lanes", "head", "tail", "begin", "held", "outage"),
                *("next_error", "rows_sent", "errors"),
            )
        ),
        ("random", np.uint64),
        # flips of each lane's next word
        ("later", np.uint64, (MAX_LANES,)),
        # rows on their way
        ("words", np.uint64, (_ROWS, MAX_LANES)),
        ("control", np.int64, (_ROWS,)),
        ("error", np.int64, (_ROWS,)),
        ("due", np.int64, (_ROWS,)),
        # a frame that comes after the next one
        ("held_words", np.uint64, (_HELD_ROWS, MAX_LANES)),
        ("held_control", np.int64, (_HELD_ROWS,)),
        ("held_error", np.int64, (_HELD_ROWS,)),
    ]
)


def make_channel(
    params: LinkParams, faults: ChannelFaults, *, delay: int, seed: int
) -> NDArray[np.void]:
    """Return a channel in which a row that leaves in one clock arrives `delay` clocks later.

    Raises
    ------
    ValueError
        If `delay` is less than 1, or faults of whole frames ask for more.
    """
    whole = faults.dropped_frames or faults.doubled_frames or faults.swapped_frames
    least = ceil(2 * params.cycles_per_frame) if whole else 1
    if not least <= delay <= _ROWS // 2:
        raise ValueError(f"delay must be in {least}..{_ROWS // 2}, not {delay!r}")
    channel = np.zeros(1, ROW_CHANNEL)
    for name, rate in vars(faults).items():
        channel[name] = rate
    channel["delay"], channel["lanes"], channel["next_error"] = delay, params.lanes, -1
    channel["random"] = seed
    return channel


@njit(cache=True)
def random_word(owner):
    """Return the next number of splitmix64, whose state is the owner's `random`."""
    owner.random += np.uint64(0x9E37_79B9_7F4A_7C15)
    z = owner.random
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58_476D_1CE4_E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D0_49BB_1331_11EB)
    return z ^ z >> np.uint64(31)


@njit(cache=True)
def uniform(owner):
    """Return a random number in (0, 1)."""
    return (np.float64(random_word(owner) >> np.uint64(11)) + 0.5) / 9007199254740992.0


@njit(cache=True)
def _gap(channel):
    rate = channel.bit_errors
    if rate == 0.0:
        return np.int64(_NEVER)
    return np.int64(np.log(uniform(channel)) / np.log1p(-rate))


@njit(cache=True)
def _flip(channel, row, headers, lane, bit):
    """Flip a bit of a block; if it is a scrambled one, two later ones flip with it."""
    channel.errors += 1
    if bit < _HEADER_BITS:
        headers[lane] ^= 1 << bit
        return
    first = np.uint64(bit - _HEADER_BITS)
    channel.words[row, lane] ^= _ONE << first
    for tap in _TAPS:
        place = first + tap
        if place < _WORD:
            channel.words[row, lane] ^= _ONE << place
        else:
            channel.later[lane] ^= _ONE << place - _WORD


@njit(cache=True)
def _disturb(channel, row):
    """Flip the bits of a row that are hit by errors or by what its lanes carry over."""
    lanes = channel.lanes
    for lane in range(lanes):
        channel.words[row, lane] ^= channel.later[lane]
        channel.later[lane] = _ZERO
    if channel.next_error < 0:
        channel.next_error = _gap(channel)
    headers = np.zeros(MAX_LANES, np.int64)
    while channel.next_error < lanes * BLOCK_BITS:
        place = channel.next_error
        _flip(channel, row, headers, place // BLOCK_BITS, place % BLOCK_BITS)
        channel.next_error += 1 + _gap(channel)
    channel.next_error -= lanes * BLOCK_BITS
    if channel.bursts > 0.0 and uniform(channel) < channel.bursts:
        struck = np.int64(random_word(channel) % np.uint64(lanes))
        first = int(random_word(channel) % np.uint64(BLOCK_BITS))
        flips = random_word(channel)
        for bit in range(first, min(first + 64, BLOCK_BITS)):
            if flips >> np.uint64(bit - first) & _ONE != _ZERO:
                _flip(channel, row, headers, struck, bit)
    for lane in range(lanes):
        if headers[lane] == 3:
            channel.control[row] ^= 1 << lane
        elif headers[lane] != 0:
            channel.error[row] |= 1 << lane


@njit(cache=True)
def _copy_row(channel, source, row):
    channel.words[row] = channel.words[source]
    channel.control[row], channel.error[row] = channel.control[source], channel.error[source]
    channel.due[row] = channel.due[source]


@njit(cache=True)
def _release(channel):
    """Send the frame that was held back, behind what has been sent."""
    due = channel.due[(channel.tail - 1) % _ROWS]
    for k in range(channel.held):
        row = channel.tail % _ROWS
        channel.words[row] = channel.held_words[k]
        channel.control[row] = channel.held_control[k]
        channel.error[row], channel.due[row] = channel.held_error[k], due
        channel.tail += 1
    channel.held = 0


@njit(cache=True)
def _spoil_frame(channel):
    """Drop, double or hold back the frame that has just been sent whole, at random."""
    rows = channel.tail - channel.begin
    drop, double, swap = channel.dropped_frames, channel.doubled_frames, channel.swapped_frames
    chance = uniform(channel)
    if chance < drop:
        channel.tail = channel.begin
    elif chance < drop + double:
        for k in range(rows):
            _copy_row(channel, (channel.begin + k) % _ROWS, (channel.tail + k) % _ROWS)
        channel.tail += rows
    elif chance < drop + double + swap and channel.held == 0 and rows <= _HELD_ROWS:
        for k in range(rows):
            row = (channel.begin + k) % _ROWS
            channel.held_words[k] = channel.words[row]
            channel.held_control[k] = channel.control[row]
            channel.held_error[k] = channel.error[row]
        channel.held, channel.tail = rows, channel.begin
        return
    if channel.held > 0:
        _release(channel)


@njit(cache=True)
def push(channel, now, words, control):
    """Send a row in clock `now`."""
    row = channel.tail % _ROWS
    assert channel.tail - channel.head < _ROWS - 32, "rows must leave the channel"
    kind = row_kind(channel.lanes, control, 0)
    channel.words[row] = words
    channel.control[row], channel.error[row] = control, 0
    channel.due[row] = now + channel.delay
    _disturb(channel, row)
    channel.rows_sent += 1
    if channel.dropped_rows == 0.0 or uniform(channel) >= channel.dropped_rows:
        channel.tail += 1
    if (
        kind == _LAST
        and channel.dropped_frames + channel.doubled_frames + channel.swapped_frames > 0.0
    ):
        _spoil_frame(channel)
    elif kind == _STATUS and channel.held > 0:
        _release(channel)
    if kind == _LAST or kind == _STATUS:
        channel.begin = channel.tail


@njit(cache=True)
def is_up(channel):
    """Return whether the lanes work in this clock, and let outages begin; once a clock."""
    if channel.outage > 0:
        channel.outage -= 1
    elif channel.outages > 0.0 and uniform(channel) < channel.outages:
        channel.outage = 1 + np.int64(random_word(channel) % np.uint64(256))
    return channel.outage == 0


@njit(cache=True)
def head_is_due(channel, now):
    """Return whether a row arrives in clock `now`; `pop` returns its place in the ring."""
    return channel.head < channel.tail and channel.due[channel.head % _ROWS] <= now


@njit(cache=True)
def pop(channel):
    """Take the row that arrives; return its place."""
    row = channel.head % _ROWS
    channel.head += 1
    return row
