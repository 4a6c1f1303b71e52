"""Two ends of golden physical layers joined by two channels, and numbered rows across them.

Each end sends rows whenever its receiver is up and the other end says that it receives, as a link
layer does. A row says its number and where it comes from, so whatever arrives is known for what it
is: right, damaged, missing, or again.
"""

from typing import NamedTuple

import numpy as np
from d1_golden.serdes.channel import Channel, carry_cycle
from d1_golden.serdes.params import LinkParams
from d1_golden.serdes.receiver import BondState, ReceiveState, new_receive_state, receive_cycle
from d1_golden.serdes.transmitter import TransmitState, new_transmit_state, transmit_cycle
from numba import njit
from numpy.typing import NDArray

__all__ = ["LanePair", "RowCounts", "numbered_row"]

_UP = int(BondState.UP)
_NUMBER_BITS = np.uint64(32)
_NUMBER_MASK = np.uint64(0xFFFF_FFFF)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
#: Rows on their way whose time of sending is kept.
_TIMES = 1 << 12
_COUNTS = np.dtype(
    [
        *(("sent", "i8"), ("right", "i8"), ("damaged", "i8"), ("flagged", "i8")),
        *(("missing", "i8"), ("again", "i8"), ("next", "i8"), ("first", "i8")),
        *(("shortest", "i8"), ("longest", "i8"), ("up", "i8"), ("drops", "i8")),
    ]
)


class RowCounts(NamedTuple):
    """What happened to the rows of one direction.

    Parameters
    ----------
    sent, right
        Rows that were sent, and that arrived as they were sent.
    damaged
        Rows that arrived otherwise.
    flagged
        Rows that the receiver marked as bad, or wrongly so.
    missing
        Rows that never arrived, up to the last right one; damaged ones count among them.
    again
        Right rows that came twice or behind later ones.
    up
        Clock in which the receiver was up first, or -1.
    drops
        How often it went down again.
    shortest, longest
        Clocks from the one in which a right row was taken to the one in which it was delivered.
    """

    sent: int
    right: int
    damaged: int
    flagged: int
    missing: int
    again: int
    up: int
    drops: int
    shortest: int
    longest: int


@njit(cache=True)
def numbered_row(number: int | np.int64, origin: int, words: NDArray[np.uint64]) -> int:
    """Fill in the words of a row by its number and its end; return its control bits."""
    for k in range(len(words)):
        z = np.uint64(number) + np.uint64(k * 2 + origin + 1) * _MIX_2
        z = (z ^ z >> np.uint64(30)) * _MIX_1
        words[k] = z ^ z >> np.uint64(31)
    words[0] = words[0] << _NUMBER_BITS | np.uint64(number)
    return int(np.int64(words[1] >> np.uint64(56))) & (1 << len(words)) - 1


@njit(cache=True)
def _check(count, rx, origin, clock, times, expected):
    number = np.int64(rx.row_words[0] & _NUMBER_MASK)
    controls = numbered_row(number, origin, expected)
    right = rx.row_flags[0] == controls and number < count["sent"]
    for k in range(rx.lanes):
        right &= rx.row_words[k] == expected[k]
    count["flagged"] += rx.row_flags[1] != 0
    if not right:
        count["damaged"] += 1
        return
    count["right"] += 1
    if number < count["next"]:
        count["again"] += 1
        return
    count["missing"] += number - count["next"]
    count["next"] = number + 1
    delay = clock - times[number % _TIMES]
    count["shortest"] = min(count["shortest"], delay)
    count["longest"] = max(count["longest"], delay)


@njit(cache=True)
def _run(tx_a, tx_b, rx_a, rx_b, to_a, to_b, counts, times, clocks, begin, sends):
    words = np.zeros((2, tx_a.lanes), np.uint64)
    arrived = np.zeros((2, tx_a.lanes), np.uint64)
    expected = np.zeros(tx_a.lanes, np.uint64)
    all_wires = (1 << tx_a.lanes) - 1
    for clock in range(begin, begin + clocks):
        carry_cycle(to_b, tx_a.out, arrived[1])
        carry_cycle(to_a, tx_b.out, arrived[0])
        bond_a, bond_b = rx_a.bond[0], rx_b.bond[0]
        heard = bond_a["arriving"], bond_b["arriving"]
        said = bond_a["peer_arriving"], bond_b["peer_arriving"]
        meets = bond_a["peer_up"], bond_b["peer_up"]
        for end, tx, rx in ((0, tx_a, rx_a), (1, tx_b, rx_b)):
            count = counts[end]
            up = rx.bond[0]["state"] == _UP
            offers = sends and up and meets[end]
            controls = numbered_row(count["sent"], end, words[end])
            if transmit_cycle(tx, words[end], controls, offers, heard[end], up, said[end]):
                times[end, count["sent"] % _TIMES] = clock
                count["sent"] += 1
        for end, rx in ((0, rx_a), (1, rx_b)):
            count = counts[1 - end]
            was_up = rx.bond[0]["state"] == _UP
            if was_up and count["up"] < 0:
                count["up"] = clock
            if receive_cycle(rx, arrived[end], all_wires, False):
                _check(count, rx, 1 - end, clock, times[1 - end], expected)
            count["drops"] += was_up and rx.bond[0]["state"] != _UP


class LanePair:
    """Two ends and the channels between them.

    Parameters
    ----------
    params
        The link.
    seed
        Of errors and, with `skewed`, of delays.
    skewed
        Whether each lane gets a random delay up to the skew limit.

    Members
    -------
    transmitters : tuple[TransmitState, TransmitState]
    receivers : tuple[ReceiveState, ReceiveState]
        Those of end 0 and of end 1.
    channels : tuple[Channel, Channel]
        From end 0 to end 1, and back.
    clock : int
        Clocks that were run.
    """

    transmitters: tuple[TransmitState, TransmitState]
    receivers: tuple[ReceiveState, ReceiveState]
    channels: tuple[Channel, Channel]
    clock: int

    def __init__(self, params: LinkParams, *, seed: int, skewed: bool = False):
        self._params = params
        flight = params.flight_cycles * params.lane_width
        self.channels = (Channel(params, seed=2 * seed), Channel(params, seed=2 * seed + 1))
        rng = np.random.default_rng(seed)
        for channel in self.channels:
            skew = rng.integers(0, params.skew_bits, params.lanes, endpoint=True) * skewed
            channel.set_delays([flight + int(bits) for bits in skew])
        self.transmitters = (new_transmit_state(params), new_transmit_state(params))
        self.receivers = (new_receive_state(params), new_receive_state(params))
        self.clock = 0
        self._times = np.zeros((2, _TIMES), np.int64)
        self._counts = np.zeros(2, _COUNTS)
        self._counts["up"] = -1
        self._counts["shortest"] = 1 << 62

    def run(self, clocks: int, *, sends: bool = True) -> None:
        """Run both ends; with `sends` they send rows while they can."""
        _run(
            *self.transmitters,
            *self.receivers,
            self.channels[1].state,
            self.channels[0].state,
            self._counts,
            self._times,
            clocks,
            self.clock,
            sends,
        )
        self.clock += clocks

    def reset(self, end: int) -> None:
        """Start one end anew; its rows go on with the next number."""
        transmitters, receivers = list(self.transmitters), list(self.receivers)
        transmitters[end] = new_transmit_state(self._params)
        receivers[end] = new_receive_state(self._params)
        self.transmitters = (transmitters[0], transmitters[1])
        self.receivers = (receivers[0], receivers[1])

    def counts(self, end: int) -> RowCounts:
        """Return what happened to the rows that an end has sent."""
        return RowCounts(*(int(self._counts[name][end]) for name in RowCounts._fields))
