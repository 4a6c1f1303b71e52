"""Two ends of golden physical layers joined by two channels, and numbered rows across them.

Each end offers rows all the time. A row says its number and where it comes from, so whatever
arrives is known for what it is: right, damaged, missing, or again.
"""

from typing import NamedTuple

import numpy as np
from d1_golden.serdes.block_lock import is_valid_header
from d1_golden.serdes.channel import Channel, carry_cycle
from d1_golden.serdes.params import LinkParams
from d1_golden.serdes.receiver import BondState, ReceiveState, new_receive_state, receive_cycle
from d1_golden.serdes.transmitter import TransmitState, new_transmit_state, transmit_cycle
from numba import njit
from numpy.typing import NDArray

__all__ = ["EndTrace", "LanePair", "RowCounts", "numbered_row"]

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


class EndTrace(NamedTuple):
    """What the ports of one end were, clock by clock: `wiring` names of `PhysicalLayer`.

    Parameters
    ----------
    lanes_i, lanes_o : uint64[clocks, lanes]
    disabled : int64[clocks]
    restart, i_valid, i_ready, o_valid : bool[clocks]
    i_words, o_words : uint64[clocks, lanes]
    i_controls, o_controls, o_errors : int64[clocks]
        What is offered, and what is delivered where `o_valid`.
    up, reversed : bool[clocks]
    transmit_mode, receive_mode, locked, inverted, bad_headers : int64[clocks]
    report_arriving, peer_arriving, peer_up : int64[clocks]
    """

    lanes_i: NDArray[np.uint64]
    lanes_o: NDArray[np.uint64]
    disabled: NDArray[np.int64]
    restart: NDArray[np.bool_]
    i_valid: NDArray[np.bool_]
    i_ready: NDArray[np.bool_]
    i_words: NDArray[np.uint64]
    i_controls: NDArray[np.int64]
    o_valid: NDArray[np.bool_]
    o_words: NDArray[np.uint64]
    o_controls: NDArray[np.int64]
    o_errors: NDArray[np.int64]
    up: NDArray[np.bool_]
    reversed: NDArray[np.bool_]
    transmit_mode: NDArray[np.int64]
    receive_mode: NDArray[np.int64]
    locked: NDArray[np.int64]
    inverted: NDArray[np.int64]
    bad_headers: NDArray[np.int64]
    report_arriving: NDArray[np.int64]
    peer_arriving: NDArray[np.int64]
    peer_up: NDArray[np.int64]


_LANE_FIELDS = ("lanes_i", "lanes_o", "i_words", "o_words")
_BIT_FIELDS = ("restart", "i_valid", "i_ready", "o_valid", "up", "reversed")


def _new_trace(clocks: int, lanes: int) -> EndTrace:
    def array(name: str) -> NDArray:
        if name in _LANE_FIELDS:
            return np.zeros((clocks, lanes), np.uint64)
        return np.zeros(clocks, bool if name in _BIT_FIELDS else np.int64)

    return EndTrace(*map(array, EndTrace._fields))


@njit(cache=True)
def _trace_status(trace, n, tx, rx):
    """Record what the registers of an end show in this clock."""
    bond = rx.bond[0]
    trace.lanes_o[n] = tx.out
    trace.transmit_mode[n] = tx.registers[0]["mode"]
    trace.up[n] = bond["state"] == _UP
    trace.receive_mode[n] = bond["mode"]
    trace.reversed[n] = bond["reversed"]
    trace.report_arriving[n] = bond["arriving"]
    trace.peer_arriving[n] = bond["peer_arriving"]
    trace.peer_up[n] = bond["peer_up"]
    for k in range(rx.lanes):
        block, locked = rx.blocks[k], rx.locks[k]["locked"]
        bad = locked and block["valid"] and not is_valid_header(block["header"])
        trace.locked[n] |= np.int64(locked) << k
        trace.bad_headers[n] |= np.int64(bad) << k
        trace.inverted[n] |= np.int64(rx.lane[k]["inverted"]) << k


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
def _run(
    tx_a,
    tx_b,
    rx_a,
    rx_b,
    to_a,
    to_b,
    counts,
    times,
    trace,
    clocks,
    begin,
    sends,
    disabled,
    restart,
):
    words = np.zeros((2, tx_a.lanes), np.uint64)
    arrived = np.zeros((2, tx_a.lanes), np.uint64)
    expected = np.zeros(tx_a.lanes, np.uint64)
    for clock in range(begin, begin + clocks):
        carry_cycle(to_b, tx_a.out, arrived[1])
        carry_cycle(to_a, tx_b.out, arrived[0])
        bond_a, bond_b = rx_a.bond[0], rx_b.bond[0]
        heard = bond_a["arriving"], bond_b["arriving"]
        said = bond_a["peer_arriving"], bond_b["peer_arriving"]
        meets = bond_a["peer_up"], bond_b["peer_up"]
        n = clock - begin
        traced = n < len(trace.up)
        if traced:
            _trace_status(trace, n, tx_b, rx_b)
        for end, tx, rx in ((0, tx_a, rx_a), (1, tx_b, rx_b)):
            count = counts[end]
            up = rx.bond[0]["state"] == _UP
            controls = numbered_row(count["sent"], end, words[end])
            taken = transmit_cycle(
                tx, words[end], controls, sends, heard[end], up, said[end], meets[end]
            )
            if traced and end == 1:
                trace.i_valid[n], trace.i_words[n], trace.i_controls[n] = sends, words[1], controls
                trace.i_ready[n] = taken
            if taken:
                times[end, count["sent"] % _TIMES] = clock
                count["sent"] += 1
        for end, rx in ((0, rx_a), (1, rx_b)):
            count = counts[1 - end]
            was_up = rx.bond[0]["state"] == _UP
            if was_up and count["up"] < 0:
                count["up"] = clock
            delivers = receive_cycle(rx, arrived[end], disabled[end], restart[end])
            if traced and end == 1:
                trace.lanes_i[n], trace.disabled[n] = arrived[1], disabled[1]
                trace.restart[n], trace.o_valid[n] = restart[1], delivers
                trace.o_words[n] = rx.row_words
                trace.o_controls[n], trace.o_errors[n] = rx.row_flags[0], rx.row_flags[1]
            if delivers:
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
    disabled : list[int]
        Of each end, the wires that must not be used.
    """

    transmitters: tuple[TransmitState, TransmitState]
    receivers: tuple[ReceiveState, ReceiveState]
    channels: tuple[Channel, Channel]
    clock: int
    disabled: list[int]

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
        self.disabled = [0, 0]
        self._times = np.zeros((2, _TIMES), np.int64)
        self._counts = np.zeros(2, _COUNTS)
        self._counts["up"] = -1
        self._counts["shortest"] = 1 << 62

    def run(self, clocks: int, *, sends: bool = True) -> None:
        """Run both ends; with `sends` they send rows while they can."""
        self._run(_new_trace(0, self._params.lanes), clocks, sends, (False, False))

    def record(self, clocks: int, *, sends: bool = True, restart: bool = False) -> EndTrace:
        """Run both ends and return what the ports of end 1 were.

        Parameters
        ----------
        clocks
            How long.
        sends
            Whether the ends send rows while they can.
        restart
            Whether the receiver of end 1 starts anew all the time.
        """
        trace = _new_trace(clocks, self._params.lanes)
        self._run(trace, clocks, sends, (False, restart))
        return trace

    def _run(self, trace: EndTrace, clocks: int, sends: bool, restart: tuple[bool, bool]) -> None:
        _run(
            *self.transmitters,
            *self.receivers,
            self.channels[1].state,
            self.channels[0].state,
            self._counts,
            self._times,
            trace,
            clocks,
            self.clock,
            sends,
            tuple(self.disabled),
            restart,
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
