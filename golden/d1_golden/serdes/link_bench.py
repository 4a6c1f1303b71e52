"""Two link layers, a channel each way, and traffic that is checked packet by packet.

Everything that goes wrong is wanted: see :class:`~d1_golden.serdes.row_channel.ChannelFaults` and
:class:`Traffic`. What must not happen stops the run with an error that says what and where.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..packet import PACKET_DTYPE
from .frame import LinkState
from .link_layer import (
    BUFFER_DEPTH,
    COUNTERS,
    INPUTS,
    PLANES,
    RowKind,
    make_end,
    make_shape,
    step,
)
from .params import BLOCK_BITS, LIMIT_BITS, MAX_LANES, WORD_BITS, LinkParams
from .row_channel import (
    ChannelFaults,
    head_is_due,
    is_up,
    make_channel,
    pop,
    push,
    uniform,
)

__all__ = ["ENDS", "OUTPUTS", "LinkBench", "LinkRecord", "Traffic"]

#: Both ends; what end n sends arrives at end 1 - n.
ENDS = 2
#: Clocks that packets may take, for the statistics.
_TIMES = 1 << (LIMIT_BITS + 2)
#: Resets of an end that are remembered until the other end's next packet.
_JUMPS = 32
_LAST, _STATUS = RowKind.LAST, RowKind.STATUS
_WORDS = 8 * PACKET_DTYPE.itemsize // WORD_BITS

#: The outputs of an end in one clock.
OUTPUTS = np.dtype(
    [
        *(
            (name, np.int64)
            for name in (
                *("request_ready", "reply_ready", "request_valid", "reply_valid"),
                *("row_valid", "row_control", "state", "session", "peer"),
                *("report_valid", "report_request", "report_reply", *COUNTERS),
            )
        ),
        ("packets", np.uint64, (PLANES, _WORDS)),
        ("words", np.uint64, (MAX_LANES,)),
    ]
)

_ERRORS = {
    1: "packet {2} of end {0}, plane {1}, came where {3} was expected: lost, doubled or reordered",
    2: "packet {2} of end {0}, plane {1}, came with a wrong word",
    3: "end {0} reported too few of plane {1}: {2} are gone without being reported",
    4: "the receive buffer of end {0}, plane {1}, took {2} packets: more than it holds",
}


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What the users of both ends do; rates are probabilities in each clock.

    Parameters
    ----------
    offer
        Of a packet being offered where none is, by end and plane.
    take
        Of a packet that is there being taken, by end and plane.
    resets, retrains
        Of an end being reset, of its user asking for a new training.

    Raises
    ------
    ValueError
        If a rate is not a probability.
    """

    offer: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 1.0), (1.0, 1.0))
    take: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 1.0), (1.0, 1.0))
    resets: float = 0.0
    retrains: float = 0.0

    def __post_init__(self) -> None:
        rates = [*sum(self.offer, ()), *sum(self.take, ()), self.resets, self.retrains]
        for rate in rates:
            if not 0 <= rate <= 1:
                raise ValueError(f"a rate must be in [0, 1], not {rate!r}")


class LinkRecord(NamedTuple):
    """Inputs (`INPUTS`) and outputs (`OUTPUTS`) in each clock, of each end."""

    inputs: NDArray[np.void]
    outputs: NDArray[np.void]


#: What the users know; indices are the sending end and the plane.
_USERS = np.dtype(
    [
        ("offer", np.float64, (ENDS, PLANES)),
        ("take", np.float64, (ENDS, PLANES)),
        ("resets", np.float64),
        ("retrains", np.float64),
        ("random", np.uint64),
        # what is to be done besides: packets to offer, a reset, a new training
        ("extra", np.int64, (ENDS, PLANES)),
        ("reset_next", np.int64, (ENDS,)),
        ("retrain_next", np.int64, (ENDS,)),
        # packets: one is offered; that entered; that comes next; that came; that were lost
        ("offering", np.int64, (ENDS, PLANES)),
        ("made", np.int64, (ENDS, PLANES)),
        ("expected", np.int64, (ENDS, PLANES)),
        ("received", np.int64, (ENDS, PLANES)),
        ("lost", np.int64, (ENDS, PLANES)),
        # packets that were the first after a reset, and when each entered
        ("jumps", np.int64, (ENDS, PLANES, _JUMPS)),
        ("entered", np.int64, (ENDS, PLANES, _TIMES)),
        # clocks that packets took: least, most, sum
        ("latency", np.int64, (3,)),
        ("error", np.int64, (5,)),
        # the clock; of each end the phase of its lanes and the rows since the marker
        ("now", np.int64),
        ("phase", np.int64, (ENDS,)),
        ("rows", np.int64, (ENDS,)),
    ]
)


@njit(cache=True)
def _word(end, plane, number, part):
    """Return a word of a packet; all differ."""
    z = np.uint64(number * 4 + end * 2 + plane + 1) * np.uint64(0x9E37_79B9_7F4A_7C15)
    z = (z ^ z >> np.uint64(29)) * np.uint64(0xBF58_476D_1CE4_E5B9) + np.uint64(part)
    return z ^ z >> np.uint64(32)


@njit(cache=True)
def _fail(users, kind, end, plane, number, expected):
    if users.error[0] == 0:
        for n, value in enumerate((kind, end, plane, number, expected)):
            users.error[n] = value


@njit(cache=True)
def _number_of(sender, plane, packet, near):
    """Return which packet it is, or -1."""
    for number in range(max(0, near - 4096), near + 4096):
        if packet[0] == _word(sender, plane, number, 0):
            return number
    return -1


@njit(cache=True)
def _receive(users, sender, plane, packet, now):
    """Compare a packet that was taken with the one expected."""
    number = users.expected[sender, plane]
    if packet[0] != _word(sender, plane, number, 0):
        # After a reset of the sender its first packet since may be the next one.
        found = False
        for jump in users.jumps[sender, plane]:
            if jump > number and packet[0] == _word(sender, plane, jump, 0):
                users.lost[sender, plane] += jump - number
                number, found = jump, True
                break
        if not found:
            _fail(users, 1, sender, plane, _number_of(sender, plane, packet, number), number)
    for part in range(1, _WORDS):
        if packet[part] != _word(sender, plane, number, part):
            _fail(users, 2, sender, plane, number, number)
    users.expected[sender, plane] = number + 1
    users.received[sender, plane] += 1
    clocks = now - users.entered[sender, plane, number % _TIMES]
    users.latency[0] = min(users.latency[0], clocks)
    users.latency[1] = max(users.latency[1], clocks)
    users.latency[2] += clocks


@njit(cache=True)
def _hear_report(users, end, ends):
    """After the report of an end: what it sent until now and has not arrived is lost."""
    for plane in range(PLANES):
        sent = users.made[end, plane] - ends[end].entry_level[plane]
        arrived = max(users.expected[end, plane], users.jumps[end, plane].max())
        if sent - ends[end].report[plane] > arrived or arrived > sent:
            _fail(users, 3, end, plane, sent - arrived, ends[end].report[plane])
        users.lost[end, plane] += max(sent - users.expected[end, plane], 0)
        users.expected[end, plane] = max(sent, users.expected[end, plane])


@njit(cache=True)
def _offer(users, end, ends, inputs, now):
    """Set the inputs of an end that its users drive, and take what they take."""
    given, state = inputs[end], ends[end]
    given.reset = 1 if users.reset_next[end] != 0 or uniform(users) < users.resets else 0
    given.retrain = 1 if users.retrain_next[end] != 0 or uniform(users) < users.retrains else 0
    users.reset_next[end] = users.retrain_next[end] = 0
    for plane in range(PLANES):
        if users.offering[end, plane] == 0:
            rate = users.offer[end, plane]
            extra = users.extra[end, plane] > 0
            if extra or rate == 1.0 or (rate > 0.0 and uniform(users) < rate):
                users.extra[end, plane] -= 1 if extra else 0
                users.offering[end, plane] = 1
                for part in range(_WORDS):
                    word = _word(end, plane, users.made[end, plane], part)
                    inputs[end].packets[plane, part] = word
        rate = users.take[end, plane]
        ready = 1 if rate == 1.0 or uniform(users) < rate else 0
        valid = users.offering[end, plane]
        if plane == 0:
            given.request_ready, given.request_valid = ready, valid
        else:
            given.reply_ready, given.reply_valid = ready, valid
        if given.reset != 0:
            continue
        if valid != 0 and state.entry_level[plane] < BUFFER_DEPTH:
            users.entered[end, plane, users.made[end, plane] % _TIMES] = now
            users.made[end, plane] += 1
            users.offering[end, plane] = 0
        if ready != 0 and state.queue_level[plane] > 0:
            _receive(users, 1 - end, plane, state.queue[plane, state.queue_head[plane]], now)
    if given.reset != 0:
        users.jumps[end, 0, 1:] = users.jumps[end, 0, :-1].copy()
        users.jumps[end, 1, 1:] = users.jumps[end, 1, :-1].copy()
        users.jumps[end, :, 0] = users.made[end]


@njit(cache=True)
def _control(lanes, kind):
    """Return the marks of the words of a row."""
    if kind == _STATUS:
        return (1 << lanes) - 1
    return 1 << (lanes - 1) if kind == _LAST else 0


@njit(cache=True)
def _record(shape, record, place, number, end, inputs):
    """Note inputs and outputs of one clock."""
    record.inputs[place, number] = inputs
    out = record.outputs[place, number]
    out.request_ready = 1 if end.entry_level[0] < BUFFER_DEPTH else 0
    out.reply_ready = 1 if end.entry_level[1] < BUFFER_DEPTH else 0
    out.request_valid = 1 if end.queue_level[0] > 0 else 0
    out.reply_valid = 1 if end.queue_level[1] > 0 else 0
    for plane in range(PLANES):
        if end.queue_level[plane] > 0:
            out.packets[plane] = end.queue[plane, end.queue_head[plane]]
    out.row_valid = end.row_valid[2]
    if end.row_valid[2] != 0:
        out.row_control = _control(shape.lanes, end.row_kinds[2])
        out.words[:] = end.rows[2]
    out.state, out.session, out.peer = end.state, end.session, end.peer
    out.report_valid = end.report_valid
    out.report_request, out.report_reply = end.report[0], end.report[1]
    out.bad_rows, out.bad_frames, out.lost_frames = end.bad_rows, end.bad_frames, end.lost_frames
    out.replays, out.retrains, out.peer_resets = end.replays, end.retrains, end.peer_resets


@njit(cache=True)
def _pull(users, end, lane_width, marker_interval):
    """Return whether the lanes of an end take a row in this clock."""
    users.phase[end] += lane_width
    if users.phase[end] < BLOCK_BITS:
        return 0
    users.phase[end] -= BLOCK_BITS
    users.rows[end] += 1
    if users.rows[end] == marker_interval:
        users.rows[end] = 0
        return 0
    return 1


@njit(cache=True)
def _run(shape, ends, inputs, channels, all_users, widths, record, clocks, goal):
    """Run for `clocks` clocks, until `goal` packets have arrived or something is wrong."""
    users = all_users[0]
    for place in range(clocks):
        now = users.now
        for end in range(ENDS):
            given, incoming, state = inputs[end], channels[1 - end], ends[end]
            given.row_ready = _pull(users, end, widths[0], widths[1])
            given.up = 1 if is_up(incoming) else 0
            given.row_valid = 0
            if head_is_due(incoming, now):
                row = pop(incoming)
                given.row_valid = given.up
                given.row_control, given.row_error = incoming.control[row], incoming.error[row]
                given.words[:] = incoming.words[row]
            _offer(users, end, ends, inputs, now)
            if len(record.inputs) > 0:
                _record(shape, record, place, end, state, given)
            if given.row_ready != 0 and state.row_valid[2] != 0:
                control = _control(shape.lanes, state.row_kinds[2])
                push(channels[end], now, state.rows[2], control)
        for end in range(ENDS):
            step(shape, ends[end], inputs[end])
            if ends[end].report_valid != 0:
                _hear_report(users, end, ends)
            for plane in range(PLANES):
                if ends[end].occupied[plane] > shape.credits[plane]:
                    _fail(users, 4, end, plane, ends[end].occupied[plane], 0)
        users.now += 1
        if users.error[0] != 0 or users.received.sum() >= goal:
            return


@dataclass(kw_only=True)
class LinkBench:
    """Two ends of a link and what is between them.

    Parameters
    ----------
    params
        The link.
    delay
        Clocks from a row leaving one end to its arrival at the other one.
    traffic
        What users do.
    faults
        What goes wrong in either direction.
    seed
        Of everything random.
    """

    params: LinkParams
    delay: int
    traffic: Traffic = field(default_factory=Traffic)
    faults: ChannelFaults = field(default_factory=ChannelFaults)
    seed: int = 1

    def __post_init__(self) -> None:
        self._shape = make_shape(self.params)
        #: State of both ends, for those who want to look.
        self.ends = np.concatenate([make_end() for _ in range(ENDS)])
        self._inputs = np.zeros(ENDS, INPUTS)
        #: The channels; that of an end carries what it sends.
        self.channels = np.concatenate(
            [
                make_channel(self.params, self.faults, delay=self.delay, seed=2 * self.seed + end)
                for end in range(ENDS)
            ]
        )
        self._users = np.zeros(1, _USERS)
        self.set_traffic(self.traffic)
        self._users["random"] = 1000 * self.seed + 7
        self._users["latency"][0, 0] = 1 << 60

    def run(
        self, clocks: int, *, packets: int | None = None, record: bool = False
    ) -> LinkRecord | None:
        """Run for some clocks, or until so many packets in all have arrived if that is earlier.

        Raises
        ------
        AssertionError
            When a packet was lost, doubled, reordered or corrupted, or an end's report is wrong.
        """
        size = clocks if record else 0
        log = LinkRecord(np.zeros((size, ENDS), INPUTS), np.zeros((size, ENDS), OUTPUTS))
        widths = (self.params.lane_width, self.params.marker_interval)
        goal = (1 << 62) if packets is None else packets
        _run(
            *(self._shape, self.ends, self._inputs, self.channels, self._users),
            *(widths, log, clocks, goal),
        )
        kind, *where = (int(value) for value in self._users["error"][0])
        if kind:
            raise AssertionError(f"clock {self.clocks}: {_ERRORS[kind].format(*where)}")
        return log if record else None

    def run_packets(self, packets: int, *, clocks: int) -> None:
        """Run until so many packets in all have arrived.

        Raises
        ------
        TimeoutError
            When they have not after `clocks` clocks.
        """
        self.run(clocks, packets=packets)
        if self.received.sum() < packets:
            raise TimeoutError(
                f"{self.received.sum()} of {packets} packets arrived after {clocks} clocks, with "
                f"the ends in states {[LinkState(int(state)).name for state in self.ends['state']]}"
            )

    def set_traffic(self, traffic: Traffic) -> None:
        """Let users do something else from now on."""
        for name, value in vars(traffic).items():
            self._users[name] = value

    def send(self, end: int, plane: int, packets: int) -> None:
        """Let a user offer so many packets more, as fast as they are taken."""
        self._users["extra"][0, end, plane] += packets

    def reset(self, end: int) -> None:
        """Reset an end in the next clock."""
        self._users["reset_next"][0, end] = 1

    def retrain(self, end: int) -> None:
        """Let the user of an end ask for a new training in the next clock."""
        self._users["retrain_next"][0, end] = 1

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

    @property
    def clocks(self) -> int:
        """Clocks so far."""
        return int(self._users["now"][0])

    @property
    def received(self) -> NDArray[np.int64]:
        """Packets that have arrived, by the end that sent them and plane."""
        return self._users["received"][0]

    @property
    def lost(self) -> NDArray[np.int64]:
        """Packets that were lost by resets and reported, by the end that sent them and plane."""
        return self._users["lost"][0]

    @property
    def latencies(self) -> tuple[int, int, float]:
        """Clocks from a packet's entry to its exit: least, most and mean."""
        least, most, total = (int(value) for value in self._users["latency"][0])
        return least, most, total / max(int(self.received.sum()), 1)

    @property
    def bits_sent(self) -> tuple[int, int]:
        """Bits that the lanes of each end could have carried until now."""
        bits = self.clocks * self.params.lane_width * self.params.lanes
        return bits, bits

    def counters(self, end: int) -> dict[str, int]:
        """Return the counters of an end by name."""
        return {name: int(self.ends[name][end]) for name in COUNTERS}

    def efficiency(self, end: int, since: tuple[int, int] = (0, 0)) -> float:
        """Return packet bits received over bits of the lanes, of what one end sent.

        Parameters
        ----------
        end
            The sending end.
        since
            `progress(end)` at the start of what is measured.
        """
        clocks, packets = self.progress(end)
        bits = self.params.packet_words * WORD_BITS * (packets - since[1])
        return bits / ((clocks - since[0]) * self.params.lane_width * self.params.lanes)

    def progress(self, end: int) -> tuple[int, int]:
        """Return clocks, and packets of an end that have arrived, until now."""
        return self.clocks, int(self.received[end].sum())
