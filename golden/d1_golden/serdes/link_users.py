"""Users of both ends of a link: traffic, every packet of which is checked.

What must not happen stops a run with an error that says what and where. The ends are records of
`d1_golden.serdes.link_layer.LINK_END`; what is between them is somebody else's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..packet import PACKET_DTYPE
from .frame import LinkState
from .link_layer import BUFFER_DEPTH, COUNTERS, INPUTS, PLANES, make_end, make_shape
from .params import LIMIT_BITS, WORD_BITS, LinkParams
from .row_channel import uniform

__all__ = [
    "COMMON_OUTPUTS",
    "ENDS",
    "USERS",
    "LinkUsers",
    "Traffic",
    "check_clock",
    "note_outputs",
    "offer",
]

#: Both ends; what end n sends arrives at end 1 - n.
ENDS = 2
#: Clocks that packets may take, for the statistics.
_TIMES = 1 << (LIMIT_BITS + 2)
#: Resets of an end that are remembered until the other end's next packet.
_JUMPS = 32
_WORDS = 8 * PACKET_DTYPE.itemsize // WORD_BITS

#: Outputs of an end in one clock, but for rows or lanes.
COMMON_OUTPUTS = [
    *(
        (name, np.int64)
        for name in (
            *("request_ready", "reply_ready", "request_valid", "reply_valid"),
            *("state", "session", "peer"),
            *("report_valid", "report_request", "report_reply", *COUNTERS),
        )
    ),
    ("packets", np.uint64, (PLANES, _WORDS)),
]

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


#: What the users know; indices are the sending end and the plane.
USERS = np.dtype(
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
        # packets that had come before
        ("timed", np.int64),
        ("error", np.int64, (5,)),
        ("now", np.int64),
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
def offer(users, end, ends, inputs):
    """Set the inputs of an end that its users drive, and take what they take."""
    given, state, now = inputs[end], ends[end], users.now
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
def check_clock(users, shape, ends):
    """Look at both ends after a clock: reports must be right, and buffers must hold what came."""
    for end in range(ENDS):
        if ends[end].report_valid != 0:
            _hear_report(users, end, ends)
        for plane in range(PLANES):
            if ends[end].occupied[plane] > shape.credits[plane]:
                _fail(users, 4, end, plane, ends[end].occupied[plane], 0)


@njit(cache=True)
def note_outputs(out, end):
    """Note the outputs of an end, `COMMON_OUTPUTS`, as they are before the clock."""
    out.request_ready = 1 if end.entry_level[0] < BUFFER_DEPTH else 0
    out.reply_ready = 1 if end.entry_level[1] < BUFFER_DEPTH else 0
    out.request_valid = 1 if end.queue_level[0] > 0 else 0
    out.reply_valid = 1 if end.queue_level[1] > 0 else 0
    for plane in range(PLANES):
        if end.queue_level[plane] > 0:
            out.packets[plane] = end.queue[plane, end.queue_head[plane]]
    out.state, out.session, out.peer = end.state, end.session, end.peer
    out.report_valid = end.report_valid
    out.report_request, out.report_reply = end.report[0], end.report[1]
    out.bad_rows, out.bad_frames, out.lost_frames = end.bad_rows, end.bad_frames, end.lost_frames
    out.replays, out.retrains, out.peer_resets = end.replays, end.retrains, end.peer_resets


@dataclass(kw_only=True)
class LinkUsers(ABC):
    """Two ends of a link and their users, without what is between them.

    Parameters
    ----------
    params
        The link.
    traffic
        What users do.
    seed
        Of everything random.
    """

    params: LinkParams
    traffic: Traffic = field(default_factory=Traffic)
    seed: int = 1

    def __post_init__(self) -> None:
        self._shape = make_shape(self.params)
        #: State of both link layers, for those who want to look.
        self.ends = np.concatenate([make_end() for _ in range(ENDS)])
        self._inputs = np.zeros(ENDS, INPUTS)
        self._users = np.zeros(1, USERS)
        self.set_traffic(self.traffic)
        self._users["random"] = 1000 * self.seed + 7
        self._users["latency"][0, 0] = 1 << 60

    @abstractmethod
    def _run(self, clocks: int, goal: int) -> None:
        """Run for some clocks, or until so many packets have arrived or something is wrong."""

    def run(self, clocks: int, *, packets: int | None = None) -> None:
        """Run for some clocks, or until so many packets in all have arrived if that is earlier.

        Raises
        ------
        AssertionError
            When a packet was lost, doubled, reordered or corrupted, or an end's report is wrong.
        """
        self._run(clocks, (1 << 62) if packets is None else packets)
        kind, *where = (int(value) for value in self._users["error"][0])
        if kind:
            raise AssertionError(f"clock {self.clocks}: {_ERRORS[kind].format(*where)}")

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

    @property
    def clocks(self) -> int:
        """Clocks so far."""
        return int(self._users["now"][0])

    @property
    def received(self) -> NDArray[np.int64]:
        """Packets that have arrived, by the end that sent them and plane."""
        return self._users["received"][0]

    @property
    def under_way(self) -> NDArray[np.int64]:
        """Packets that have entered and neither arrived nor been reported, by sender and plane."""
        return np.maximum(self._users["made"][0] - self._users["expected"][0], 0)

    @property
    def lost(self) -> NDArray[np.int64]:
        """Packets that were lost by resets and reported, by the end that sent them and plane."""
        return self._users["lost"][0]

    @property
    def latencies(self) -> tuple[int, int, float]:
        """Clocks from a packet's entry to its exit: least, most and mean."""
        least, most, total = (int(value) for value in self._users["latency"][0])
        timed = int(self.received.sum() - self._users["timed"][0])
        return least, most, total / max(timed, 1)

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

    def restart_latencies(self) -> None:
        """Forget the latencies until now."""
        self._users["latency"][0] = 1 << 60, 0, 0
        self._users["timed"] = self.received.sum()

    def progress(self, end: int) -> tuple[int, int]:
        """Return clocks, and packets of an end that have arrived, until now."""
        return self.clocks, int(self.received[end].sum())
