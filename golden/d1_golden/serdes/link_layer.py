"""The link layer, clock by clock: packets in and out, rows out and in; compiled.

Golden twin of `d1_rtl.serdes.link_layer`: every output has the value of the RTL's in every clock.
`docs/link.md` says what is done and why; `frame` has the formats. An end is one `LINK_END`, made by
:func:`make_end`; its outputs are read from it, and :func:`step` is one clock.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..packet import PACKET_DTYPE, Field
from .crc32c import CRC_BITS, PRESET, update_half, update_word
from .frame import (
    CONTROL_FIELDS,
    MAX_SLOTS,
    SESSION_BITS,
    STATUS_FIELDS,
    LinkState,
    frame_rows,
    packet_row,
)
from .params import LIMIT_BITS, MAX_LANES, SEQUENCE_BITS, WORD_BITS, LinkParams

__all__ = [
    "BUFFER_DEPTH",
    "COUNTERS",
    "INPUTS",
    "LINK_END",
    "PLANES",
    "RowKind",
    "Shape",
    "make_end",
    "make_shape",
    "row_controls",
    "row_kind",
    "step",
]

#: Packets go in two planes, requests and replies.
PLANES = 2
#: Entries of the buffer where packets of one plane enter.
BUFFER_DEPTH = 2
#: Entries in front of a memory, so that one leaves in each clock.
QUEUE_DEPTH = 3
#: Packets of frames that are checked or have just been.
STAGE_DEPTH = 8
#: What an end counts, modulo 2^32, and what each is.
COUNTERS: dict[str, str] = {
    "bad_rows": "rows with a block that is neither data nor control, or with a mixture of both",
    "bad_frames": "frames and status rows with a wrong CRC or number of rows",
    "lost_frames": "times that a frame was missing, or one came again",
    "replays": "times that frames were sent again",
    "retrains": "times that the link went down",
    "peer_resets": "times that the other end began anew",
}


class RowKind:
    """What a row is: the marks of its words tell."""

    DATA, LAST, STATUS, BAD = range(4)


_DATA, _LAST, _STATUS, _BAD = RowKind.DATA, RowKind.LAST, RowKind.STATUS, RowKind.BAD
_DOWN, _INIT, _UP, _READY, _OPEN = (int(state) for state in LinkState)
_NOTHING, _GOOD_STATUS, _GOOD_FRAME, _BAD_CHECK = range(4)

_SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
_LIMIT_MASK = (1 << LIMIT_BITS) - 1
_COUNTER_MASK = (1 << 32) - 1
_LAST_SESSION = (1 << SESSION_BITS) - 1
_PRESET = np.uint64(PRESET)
_HALF = np.uint64(0xFFFF_FFFF)
_HALF_BITS = np.uint64(WORD_BITS - CRC_BITS)
_ZERO = np.uint64(0)


def _lsbs(fields: tuple[Field, ...]) -> dict[str, int]:
    lsbs, lsb = {}, 0
    for field in fields:
        lsbs[field.name] = lsb
        lsb += field.bits
    return lsbs


_C, _S = _lsbs(CONTROL_FIELDS), _lsbs(STATUS_FIELDS)
_ROUND, _WANT, _ONE, _SEQUENCE = _C["round"], _C["want"], _C["one"], _C["sequence"]
_ACKNOWLEDGE, _LIMIT_PLANE, _LIMIT = _C["acknowledge"], _C["limit_plane"], _C["limit"]
_SESSION, _SEEN, _LIMITS = _S["session"], _S["seen"], (_S["limit_request"], _S["limit_reply"])
_STATE_MASK = (1 << _SESSION) - 1

#: Single registers of an end. What they hold is said where they are used.
_REGISTERS = (
    # transmitter: the frame being sent
    *("row", "taken", "planes", "current_last", "last_plane", "offered", "send_index", "crc"),
    # transmitter: what is sent again
    *("round", "wanted", "head", "tail", "next", "head_index", "tail_index"),
    *("read", "read_index", "read_slot", "reading", "reading_slot", "reading_last"),
    "replay_level",
    # receiver
    *("p1_valid", "p1_kind", "count", "broken", "check"),
    *("event", "event_control", "event_status", "event_packets"),
    *("expected", "want", "synced", "stage_write", "stage_commit", "stage_read"),
    # limits and training
    *("last_limit", "fresh", "known", "clearing"),
    *("state", "session", "peer", "started", "hold", "silence"),
    *("report_valid", *COUNTERS),
)
_WORDS = 8 * PACKET_DTYPE.itemsize // WORD_BITS
_SLOTS = MAX_SLOTS << SEQUENCE_BITS
_MAX_ROWS = 28  # of a frame, on 2 lanes
#: The state of one end. One type for all parameters, so that it is compiled once: arrays are as
#: large as any needs. Packets are rows of words, planes 0 requests and 1 replies.
LINK_END = np.dtype(
    [
        *((name, np.int64) for name in _REGISTERS),
        # rows in the transmitter, the last is the output
        ("rows", np.uint64, (3, MAX_LANES)),
        ("row_kinds", np.int64, (3,)),
        ("row_valid", np.int64, (3,)),
        ("row_first", np.int64, (3,)),
        # packets that have entered, by plane
        ("entries", np.uint64, (PLANES, BUFFER_DEPTH, _WORDS)),
        ("entry_level", np.int64, (PLANES,)),
        # the replay buffer, by slot, and packets of each frame; what was read from it
        ("replay", np.uint64, (_SLOTS, _WORDS)),
        ("replay_plane", np.int64, (_SLOTS,)),
        ("frame_packets", np.int64, (1 << SEQUENCE_BITS,)),
        ("waiting", np.int64, (QUEUE_DEPTH,)),
        ("waiting_last", np.int64, (QUEUE_DEPTH,)),
        # packets sent in this session, and that may have been
        ("sent", np.int64, (PLANES,)),
        ("limit", np.int64, (PLANES,)),
        # limits for the other end, as last told; packets that are in the buffer
        ("allowed", np.int64, (PLANES,)),
        ("shown", np.int64, (PLANES,)),
        ("occupied", np.int64, (PLANES,)),
        # the row that arrived, the frame so far, packets that are checked or move on
        ("p1", np.uint64, (MAX_LANES,)),
        ("frame", np.uint64, (_MAX_ROWS * MAX_LANES,)),
        ("stage", np.uint64, (STAGE_DEPTH, _WORDS)),
        ("stage_plane", np.int64, (STAGE_DEPTH,)),
        # receive buffers, by plane: packets in memory, read from it, before the output
        ("queue", np.uint64, (PLANES, 3 << (LIMIT_BITS - 2), _WORDS)),
        ("queue_head", np.int64, (PLANES,)),
        ("queue_tail", np.int64, (PLANES,)),
        ("stored", np.int64, (PLANES,)),
        ("fetching", np.int64, (PLANES,)),
        ("queue_level", np.int64, (PLANES,)),
        # packets of each plane that may be lost
        ("report", np.int64, (PLANES,)),
    ]
)
#: The inputs of an end in one clock.
INPUTS = np.dtype(
    [
        *(
            (name, np.int64)
            for name in (
                *("reset", "retrain", "up", "request_valid", "reply_valid", "request_ready"),
                *("reply_ready", "row_ready", "row_valid", "row_control", "row_error"),
            )
        ),
        ("packets", np.uint64, (PLANES, _WORDS)),
        ("words", np.uint64, (MAX_LANES,)),
    ]
)


class Shape(NamedTuple):
    """The numbers of :class:`~d1_golden.serdes.params.LinkParams` that an end needs.

    `starts[row]` is the packet that begins in a row of a frame, or -1, and `ends[row]` the packet
    that is complete with it, or -1.
    """

    lanes: int
    slots: int
    packet_words: int
    frame_rows: int
    window: int
    credits: tuple[int, int]
    retrain: int
    silence: int
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def make_shape(params: LinkParams) -> Shape:
    """Return the numbers of the parameters for compiled code."""
    starts = np.full(params.frame_rows, -1, np.int64)
    ends = np.full(params.frame_rows, -1, np.int64)
    for packet in range(params.packet_slots + 1):
        starts[packet_row(params, packet)] = packet
    for packet in range(params.packet_slots):
        ends[((packet + 1) * params.packet_words - 1) // params.lanes] = packet
    assert frame_rows(params, params.packet_slots) == params.frame_rows
    return Shape(
        lanes=params.lanes,
        slots=params.packet_slots,
        packet_words=params.packet_words,
        frame_rows=params.frame_rows,
        window=params.window,
        credits=(params.request_credits, params.reply_credits),
        retrain=params.retrain_cycles,
        silence=params.silence_cycles,
        starts=starts,
        ends=ends,
    )


def make_end() -> NDArray[np.void]:
    """Return an end as it is before its first clock, an array of one `LINK_END`."""
    end = np.zeros(1, LINK_END)
    _reset(end[0])
    return end


@njit(cache=True)
def row_kind(lanes, control, error):
    """Return what a row is by the marks of its words, a bit for each."""
    if error != 0:
        return _BAD
    if control == 0:
        return _DATA
    if control == 1 << (lanes - 1):
        return _LAST
    if control == (1 << lanes) - 1:
        return _STATUS
    return _BAD


@njit(cache=True)
def row_controls(lanes, kind):
    """Return the marks of the words of a row of a kind, a bit for each; the inverse of `row_kind`.

    A bad row has none.
    """
    if kind == _STATUS:
        return (1 << lanes) - 1
    return 1 << (lanes - 1) if kind == _LAST else 0


@njit(cache=True)
def _field(word, lsb, mask):
    return np.int64(word >> np.uint64(lsb) & np.uint64(mask))


@njit(cache=True)
def _start(kind, sender, receiver):
    """Return the CRC register at the start of a status row or of a frame."""
    if kind == _STATUS:
        return _PRESET
    return _PRESET ^ update_half(_ZERO, np.uint64(sender | receiver << SESSION_BITS))


@njit(cache=True)
def _offer_plane(end):
    """Offer a new packet if none is: planes take turns, and an offer stands until it is taken."""
    if end.offered >= 0:
        return
    for plane in (1 - end.last_plane, end.last_plane):
        if end.entry_level[plane] > 0 and end.limit[plane] != end.sent[plane]:
            end.last_plane = end.offered = plane
            return


@njit(cache=True)
def _control_word(end, planes, packets_follow):
    """Return a control word without CRC and note which limit it tells."""
    other = 1 - end.last_limit
    moved = end.allowed[other] != end.shown[other]
    stays = end.allowed[end.last_limit] == end.shown[end.last_limit]
    plane = other if moved or stays else end.last_limit
    word = (
        planes
        | end.round << _ROUND
        | end.want << _WANT
        | 1 << _ONE
        | end.next << _SEQUENCE
        | end.expected << _ACKNOWLEDGE
        | plane << _LIMIT_PLANE
        | end.allowed[plane] << _LIMIT
    )
    end.last_limit = plane
    end.shown[plane] = end.allowed[plane]
    if not packets_follow:
        end.shown[1 - plane] = end.allowed[1 - plane]
    return np.uint64(word)


@njit(cache=True)
def _status_row(shape, end, row):
    row[:] = _ZERO
    row[0] = np.uint64(
        end.state
        | end.session << _SESSION
        | end.peer << _SEEN
        | end.allowed[0] << _LIMITS[0]
        | end.allowed[1] << _LIMITS[1]
    )
    row[shape.lanes - 1] = _control_word(end, 0, False)


@njit(cache=True)
def _take_new(shape, end, plane):
    """Move a packet from the entry of its plane to the replay buffer."""
    slot = end.head_index * shape.slots + end.taken
    end.replay[slot] = end.entries[plane, 0]
    end.replay_plane[slot] = plane
    end.entries[plane, 0] = end.entries[plane, 1]
    end.entry_level[plane] -= 1
    end.sent[plane] = end.sent[plane] + 1 & _LIMIT_MASK
    end.offered = -1
    end.planes |= plane << end.taken
    end.taken += 1


@njit(cache=True)
def _take_again(shape, end):
    """Go on to the next packet that was read for replay."""
    assert end.replay_level > 0, "a frame that is sent again must not wait for its packets"
    slot = end.waiting[0]
    assert slot == end.send_index * shape.slots + end.taken, (
        "a packet must be sent again in its place"
    )
    end.planes |= end.replay_plane[slot] << end.taken
    end.taken += 1
    end.current_last = end.waiting_last[0]
    for n in range(QUEUE_DEPTH - 1):
        end.waiting[n] = end.waiting[n + 1]
        end.waiting_last[n] = end.waiting_last[n + 1]
    end.replay_level -= 1


@njit(cache=True)
def _close(shape, end):
    """Count the frame as sent."""
    if end.next == end.head:
        end.frame_packets[end.head_index] = end.taken
        end.head = end.head + 1 & _SEQUENCE_MASK
        end.head_index = (end.head_index + 1) % shape.window
        end.read, end.read_index = end.head, end.head_index
    end.next = end.next + 1 & _SEQUENCE_MASK
    end.send_index = (end.send_index + 1) % shape.window
    end.row = 0


@njit(cache=True)
def _make_row(shape, end, tail, tail_index):
    """Decide what the next row is and make it, as the first of the rows in the transmitter.

    `tail` is the frame that is acknowledged next, as this clock's event leaves it.
    """
    row = end.rows[0]
    plane = end.offered
    replays = end.next != end.head
    starts = False
    if end.clearing == 0 and end.row == 0:
        if end.wanted != end.round:
            _status_row(shape, end, row)
            end.row_kinds[0], end.row_first[0] = _STATUS, 1
            end.replays = end.replays + 1 & _COUNTER_MASK
            end.round = end.wanted
            end.next, end.send_index = tail, tail_index
            end.read, end.read_index, end.read_slot = tail, tail_index, 0
            end.reading = end.replay_level = 0
            return
        if end.state == _OPEN:
            room = (end.head - end.tail & _SEQUENCE_MASK) < shape.window
            starts = end.replay_level > 0 if replays else room and plane >= 0
    if end.clearing != 0 or (end.row == 0 and not starts):
        _status_row(shape, end, row)
        end.row_kinds[0], end.row_first[0] = _STATUS, 1
        end.row = 0
        return
    if end.row == 0:
        end.taken = end.planes = 0
    packet = shape.starts[end.row]
    closes = False
    if packet >= 0:
        more = packet < shape.slots
        if more and packet > 0:
            more = end.current_last == 0 if replays else end.state == _OPEN and plane >= 0
        if more and replays:
            _take_again(shape, end)
        elif more:
            _take_new(shape, end, plane)
        closes = not more
    first_slot = end.send_index * shape.slots
    for lane in range(shape.lanes):
        word = end.row * shape.lanes + lane
        packet, part = word // shape.packet_words, word % shape.packet_words
        row[lane] = end.replay[first_slot + packet, part] if packet < end.taken else _ZERO
    end.row_first[0] = 1 if end.row == 0 else 0
    if closes:
        row[shape.lanes - 1] = _control_word(end, end.planes, True)
        end.row_kinds[0] = _LAST
        _close(shape, end)
    else:
        end.row_kinds[0] = _DATA
        end.row += 1


@njit(cache=True)
def _seal(shape, end):
    """Move the row before the output to it, with its CRC if it is a frame's last one."""
    last = shape.lanes - 1
    source, out, kind = end.rows[1], end.rows[2], end.row_kinds[1]
    register = np.uint64(end.crc)
    if end.row_first[1] != 0:
        register = _start(kind, end.session, end.peer)
    for lane in range(last):
        out[lane] = source[lane]
        register = update_word(register, source[lane])
    word = source[last]
    if kind == _DATA:
        register = update_word(register, word)
    else:
        register = update_half(register, word & _HALF)
        word |= (register ^ _PRESET) << _HALF_BITS
    out[last] = word
    end.crc = np.int64(register)


@njit(cache=True)
def _transmit(shape, end, row_ready, tail, tail_index):
    """One clock of the transmitter; all rows stand still while the output is not taken."""
    _offer_plane(end)
    if end.row_valid[2] != 0 and row_ready == 0:
        return
    if end.row_valid[1] != 0:
        _seal(shape, end)
    end.row_valid[2], end.row_kinds[2] = end.row_valid[1], end.row_kinds[1]
    end.rows[1] = end.rows[0]
    end.row_valid[1], end.row_kinds[1] = end.row_valid[0], end.row_kinds[0]
    end.row_first[1] = end.row_first[0]
    if end.started != 0:
        _make_row(shape, end, tail, tail_index)
        end.row_valid[0] = 1


@njit(cache=True)
def _read_replay(shape, end, goes, level, reading, read, head, index, slot):
    """One clock of the reader of the replay buffer, from the registers before this clock."""
    if reading != 0:
        end.waiting[end.replay_level] = end.reading_slot
        end.waiting_last[end.replay_level] = end.reading_last
        end.replay_level += 1
    end.reading = 0
    if goes and read != head and level + reading < QUEUE_DEPTH:
        is_last = slot + 1 == end.frame_packets[index]
        end.reading, end.reading_slot = 1, index * shape.slots + slot
        end.reading_last = 1 if is_last else 0
        if is_last:
            end.read = read + 1 & _SEQUENCE_MASK
            end.read_index, end.read_slot = (index + 1) % shape.window, 0
        else:
            end.read_slot = slot + 1


@njit(cache=True)
def _deliver(shape, end, request_ready, reply_ready):
    """One clock of the receive buffers; return which planes' packets are taken, as bits."""
    arrives = -1
    if end.stage_read != end.stage_commit:
        arrives = end.stage_plane[end.stage_read]
    taken = 0
    for plane in range(PLANES):
        ready = request_ready if plane == 0 else reply_ready
        level, stored, fetching = end.queue_level[plane], end.stored[plane], end.fetching[plane]
        if level > 0 and ready != 0:
            taken |= 1 << plane
            end.queue_head[plane] = (end.queue_head[plane] + 1) % shape.credits[plane]
            end.queue_level[plane] -= 1
        fetches = stored > 0 and level + fetching < QUEUE_DEPTH
        passes = stored == 0 and fetching == 0 and level < QUEUE_DEPTH
        end.queue_level[plane] += fetching
        end.fetching[plane] = 1 if fetches else 0
        end.stored[plane] -= end.fetching[plane]
        if arrives == plane:
            end.queue[plane, end.queue_tail[plane]] = end.stage[end.stage_read]
            end.queue_tail[plane] = (end.queue_tail[plane] + 1) % shape.credits[plane]
            if passes:
                end.queue_level[plane] += 1
            else:
                end.stored[plane] += 1
    if arrives >= 0:
        end.stage_read = (end.stage_read + 1) % STAGE_DEPTH
    return taken


@njit(cache=True)
def _raise_limit(shape, end, plane, limit):
    """Take over a limit unless it is older than the one that is known."""
    if (limit - end.limit[plane] & _LIMIT_MASK) <= shape.credits[plane]:
        end.limit[plane] = limit


@njit(cache=True)
def _acknowledged(end):
    """Return how many frames the event of this clock acknowledges."""
    status = np.uint64(end.event_status)
    good = end.event == _GOOD_FRAME and end.state >= _READY
    if end.event == _GOOD_STATUS and end.state >= _UP:
        good = (
            _field(status, _SESSION, _LAST_SESSION) == end.peer
            and _field(status, _SEEN, _LAST_SESSION) == end.session
            and _field(status, 0, _STATE_MASK) >= _UP
        )
    if not good:
        return 0
    number = _field(np.uint64(end.event_control), _ACKNOWLEDGE, _SEQUENCE_MASK)
    frames = number - end.tail & _SEQUENCE_MASK
    return frames if frames <= (end.head - end.tail & _SEQUENCE_MASK) else 0


@njit(cache=True)
def _miss(end):
    """Ask for a replay: the transmitter changes its round to the one wanted."""
    end.want, end.synced = 1 - end.want, 0


@njit(cache=True)
def _check_sequence(end, control, packets):
    """Compare the number of a good frame or status row (no packets) with the one expected."""
    if _field(control, _ROUND, 1) != end.want:
        end.synced = 0
    elif _field(control, _SEQUENCE, _SEQUENCE_MASK) != end.expected:
        _miss(end)
        end.lost_frames = end.lost_frames + 1 & _COUNTER_MASK
    else:
        end.synced = 1
        if packets > 0:
            end.expected = end.expected + 1 & _SEQUENCE_MASK
            for n in range(packets):
                plane = _field(control, n, 1)
                end.stage_plane[(end.stage_commit + n) % STAGE_DEPTH] = plane
                end.occupied[plane] += 1
            end.stage_commit = (end.stage_commit + packets) % STAGE_DEPTH


@njit(cache=True)
def _hear_status(shape, end, acknowledged):
    """Do what a good status row says; return whether it was from the known other end."""
    status, control = np.uint64(end.event_status), np.uint64(end.event_control)
    session = _field(status, _SESSION, _LAST_SESSION)
    if session != end.peer:
        if end.peer != 0:
            end.peer_resets = end.peer_resets + 1 & _COUNTER_MASK
        end.clearing = 1 if end.peer == 0 else 2
        end.peer = session
        end.state = _INIT
        return False
    state = _field(status, 0, _STATE_MASK)
    if end.state == _DOWN:
        end.state = _INIT
    elif _field(status, _SEEN, _LAST_SESSION) != end.session:
        return True
    elif end.state == _INIT:
        end.state = _UP
    elif state < _UP:
        end.state = _UP
    else:
        for plane in range(PLANES):
            _raise_limit(shape, end, plane, _field(status, _LIMITS[plane], _LIMIT_MASK))
        end.known = 1
        _hear_control(end, control, 0, acknowledged)
        if end.state == _UP:
            end.state = _READY
        elif end.state == _READY and state >= _READY:
            end.state = _OPEN
    return True


@njit(cache=True)
def _hear_control(end, control, packets, acknowledged):
    """Do what a good control word says."""
    end.wanted = _field(control, _WANT, 1)
    end.tail = end.tail + acknowledged & _SEQUENCE_MASK
    _check_sequence(end, control, packets)


@njit(cache=True)
def _clear(shape, end):
    """Begin a new session with nothing sent or expected; say what may be lost of the old one."""
    if end.clearing == 2:
        end.report_valid = 1
        for plane in range(PLANES):
            # What may still be sent and what has not been taken fill the other end's buffer.
            away = end.sent[plane] + shape.credits[plane] - end.limit[plane] & _LIMIT_MASK
            end.report[plane] = away if end.known != 0 else 0
    for plane in range(PLANES):
        end.sent[plane] = end.limit[plane] = 0
    end.round = end.wanted = end.head = end.tail = end.next = end.read = 0
    end.head_index = end.tail_index = end.send_index = end.read_index = end.read_slot = 0
    end.reading = end.replay_level = end.row = 0
    end.expected = end.want = end.synced = end.known = 0
    end.last_plane, end.offered = 1, -1
    end.fresh = 1


@njit(cache=True)
def _check_row(shape, end, session, peer):
    """Check the row that arrived in the clock before; what it says is done in the next one."""
    end.event = _NOTHING
    if end.p1_valid == 0:
        return
    kind = end.p1_kind
    if kind == _BAD:
        end.bad_rows = end.bad_rows + 1 & _COUNTER_MASK
        end.broken = 1
        return
    count = 0 if kind == _STATUS else end.count
    register = np.uint64(end.check)
    if count == 0:
        register = _start(kind, peer, session)
    last = shape.lanes - 1
    for lane in range(last):
        register = update_word(register, end.p1[lane])
    if kind == _DATA:
        end.check = np.int64(update_word(register, end.p1[last]))
    if count < shape.frame_rows:
        for lane in range(shape.lanes):
            end.frame[count * shape.lanes + lane] = end.p1[lane]
        packet = shape.ends[count]
        if kind != _STATUS and packet >= 0 and end.broken == 0:
            for n in range(shape.packet_words):
                end.stage[end.stage_write, n] = end.frame[packet * shape.packet_words + n]
            end.stage_write = (end.stage_write + 1) % STAGE_DEPTH
    if kind == _DATA:
        end.count = min(count + 1, shape.frame_rows)
        return
    good = update_half(register, end.p1[last] & _HALF) ^ _PRESET == end.p1[last] >> _HALF_BITS
    if kind == _STATUS:
        end.event = _GOOD_STATUS if good else _BAD_CHECK
        end.event_packets = 0
    else:
        packets = np.int64(-1)
        if count < shape.frame_rows and end.broken == 0:
            packets = shape.starts[count]
        end.event = _GOOD_FRAME if good and packets > 0 else _BAD_CHECK
        end.event_packets = packets
    end.event_control = np.int64(end.p1[last])
    end.event_status = np.int64(end.p1[0])
    end.count = end.broken = 0


@njit(cache=True)
def _handle(shape, end, acknowledged):
    """Do what the checked row of the clock before says; return whether it was a good one."""
    event, packets = end.event, end.event_packets
    if event == _NOTHING:
        return False
    heard = False
    if event == _BAD_CHECK:
        end.bad_frames = end.bad_frames + 1 & _COUNTER_MASK
        if end.state >= _READY and end.synced != 0:
            _miss(end)
    elif event == _GOOD_FRAME:
        if end.state >= _READY:
            control = np.uint64(end.event_control)
            plane = _field(control, _LIMIT_PLANE, 1)
            _raise_limit(shape, end, plane, _field(control, _LIMIT, _LIMIT_MASK))
            _hear_control(end, control, packets, acknowledged)
            end.state = _OPEN
            heard = True
    elif end.state != _DOWN or end.hold == 0:
        heard = _hear_status(shape, end, acknowledged)
    end.stage_write = end.stage_commit
    return heard


@njit(cache=True)
def _train(shape, end, up, retrain, state, hold, heard):
    """One clock of the timers of the training, from state and `hold` before this clock."""
    end.silence = 0 if heard or state == _DOWN else end.silence + 1
    if up == 0 or retrain != 0 or end.silence == shape.silence:
        if state != _DOWN:
            end.retrains = end.retrains + 1 & _COUNTER_MASK
        end.state, end.hold, end.silence = _DOWN, shape.retrain, 0
    elif hold > 0:
        end.hold = hold - 1


@njit(cache=True)
def _enter(end, inputs, level, plane, valid):
    """Take a packet in where there was room before this clock."""
    if valid != 0 and level < BUFFER_DEPTH:
        end.entries[plane, end.entry_level[plane]] = inputs.packets[plane]
        end.entry_level[plane] += 1


@njit(cache=True)
def _reset(end):
    """Set every register but the session number to what it is after a reset."""
    for level in (end.entry_level, end.sent, end.limit, end.allowed, end.shown):
        level[:] = 0
    for level in (end.occupied, end.queue_head, end.queue_tail, end.stored, end.fetching):
        level[:] = 0
    end.queue_level[:] = 0
    end.row_valid[:] = 0
    end.report[:] = 0
    end.row = end.taken = end.planes = end.current_last = 0
    end.send_index = end.round = end.wanted = end.head = end.tail = end.next = 0
    end.head_index = end.tail_index = end.read = end.read_index = end.read_slot = 0
    end.reading = end.replay_level = end.p1_valid = end.count = end.broken = 0
    end.event = end.expected = end.want = end.synced = 0
    end.stage_write = end.stage_commit = end.stage_read = 0
    end.last_limit = end.known = end.clearing = end.state = end.peer = 0
    end.started = end.hold = end.silence = end.report_valid = 0
    end.bad_rows = end.bad_frames = end.lost_frames = 0
    end.replays = end.retrains = end.peer_resets = 0
    end.last_plane, end.offered = 1, -1
    end.fresh = 1


@njit(cache=True)
def step(shape, end, inputs):
    """One clock of an end. Outputs, all registers, are read from `end` before or after.

    Parameters
    ----------
    shape : Shape
    end : record of LINK_END
    inputs : record of INPUTS
    """
    if end.started == 0:  # this register alone goes on during a reset
        end.session = 1 if end.session == _LAST_SESSION else end.session + 1
    if inputs.reset != 0:
        _reset(end)
        return
    # Registers that a later part of the clock needs as they were before it.
    state, hold, session, peer, clearing = end.state, end.hold, end.session, end.peer, end.clearing
    levels = (end.entry_level[0], end.entry_level[1])
    replay = (end.replay_level, end.reading, end.read, end.head, end.read_index, end.read_slot)
    round_before = end.round
    acknowledged = _acknowledged(end)
    tail_index = (end.tail_index + acknowledged) % shape.window

    tail = end.tail + acknowledged & _SEQUENCE_MASK
    _transmit(shape, end, inputs.row_ready, tail, tail_index)
    rewinds = end.round != round_before
    if not rewinds:
        _read_replay(shape, end, clearing == 0, *replay)
    taken = _deliver(shape, end, inputs.request_ready, inputs.reply_ready)
    _enter(end, inputs, levels[0], 0, inputs.request_valid)
    _enter(end, inputs, levels[1], 1, inputs.reply_valid)

    end.report_valid = 0
    if clearing != 0:
        _clear(shape, end)
        tail_index = 0
        end.clearing = 0
    heard = _handle(shape, end, acknowledged)
    end.tail_index = tail_index
    _check_row(shape, end, session, peer)
    _train(shape, end, inputs.up, inputs.retrain, state, hold, heard)
    for plane in range(PLANES):
        took = taken >> plane & 1
        end.occupied[plane] -= took
        if end.fresh != 0:
            end.allowed[plane] = shape.credits[plane] - end.occupied[plane]
        else:
            end.allowed[plane] = end.allowed[plane] + took & _LIMIT_MASK
    if state >= _UP and clearing == 0:
        end.fresh = 0
    end.p1_valid = 1 if inputs.row_valid != 0 and inputs.up != 0 else 0
    if end.p1_valid != 0:
        end.p1_kind = row_kind(shape.lanes, inputs.row_control, inputs.row_error)
        end.p1[:] = inputs.words
    end.started = 1
