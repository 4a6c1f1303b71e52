"""Two whole ends of a link, lanes between them, and traffic that is checked packet by packet.

What goes wrong goes wrong on the lanes (:class:`~d1_golden.serdes.channel.Channel`), or in a
repeater between the lanes of one end and those of the other, which receives rows and sends them on
but for the faults that it makes on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .channel import Channel, carry_cycle
from .frame import LinkState
from .link_end import LANE_COUNTERS, EndState, end_cycle, new_end_state
from .link_layer import INPUTS, RowKind, row_kind
from .link_users import COMMON_OUTPUTS, ENDS, LinkUsers, check_clock, note_outputs, offer
from .params import BLOCK_BITS, MAX_LANES
from .receiver import BondState, ReceiveState, new_receive_state, receive_cycle
from .row_channel import ChannelFaults, head_is_due, make_channel, pop, push
from .transmitter import TransmitState, new_transmit_state, transmit_cycle

__all__ = ["END_OUTPUTS", "EndBench", "EndRecord"]

_OPEN, _UP = int(LinkState.OPEN), int(BondState.UP)
_STATUS = RowKind.STATUS
#: Rows in a repeater above which it leaves out status rows, as elastic buffers do with idle words.
_LONG_QUEUE = 64
#: Clocks that a row spends in a repeater, enough for frames to change places.
_REPEATER_CLOCKS = 40
#: Clocks of a row in both physical layers beside two rows' time, the mean.
_CODING_CLOCKS = 5
_PHYSICAL = (
    *("up", "peer_up", "reversed", "receive_mode", "transmit_mode"),
    *("arriving", "peer_arriving", "locked", "inverted"),
)
#: The outputs of an end in one clock, `wiring` names of `LinkEnd`, its status and its counters.
END_OUTPUTS = np.dtype(
    [
        *COMMON_OUTPUTS,
        *((name, np.int64) for name in (*_PHYSICAL, *LANE_COUNTERS)),
        ("lanes_o", np.uint64, (MAX_LANES,)),
    ]
)


class EndRecord(NamedTuple):
    """What the ports of both ends were, clock by clock.

    Members
    -------
    inputs : INPUTS[clocks, ends]
        Those of users; what a link layer gets from its lanes is in there too.
    lanes_i : uint64[clocks, ends, lanes]
    controls : int64[clocks, ends, 2]
        `disabled` and `restart`.
    outputs : END_OUTPUTS[clocks, ends]
    """

    inputs: NDArray[np.void]
    lanes_i: NDArray[np.uint64]
    controls: NDArray[np.int64]
    outputs: NDArray[np.void]


class _Repeater(NamedTuple):
    """The physical layers that face both ends, and rows on their way; those that end n sent."""

    works: bool
    receivers: tuple[ReceiveState, ReceiveState]
    transmitters: tuple[TransmitState, TransmitState]
    rows: NDArray[np.void]


@njit(cache=True)
def _repeat(repeater, now, arrived):
    """Run one clock of a repeater; what arrives there is changed to what it sends."""
    taken_in = np.zeros(ENDS, np.bool_)
    words = np.zeros(MAX_LANES, np.uint64)
    for end in range(ENDS):
        # The layer that faces this end sends it what the other one has sent.
        transmitter, receiver = repeater.transmitters[end], repeater.receivers[end]
        rows, bond = repeater.rows[1 - end], receiver.bond[0]
        due = head_is_due(rows, now)
        row = rows.head % len(rows.due)
        up = bond["state"] == _UP
        if transmit_cycle(
            transmitter,
            rows.words[row][: transmitter.lanes],
            rows.control[row],
            due,
            *(bond["arriving"], up),
            *(bond["peer_arriving"], bond["peer_up"]),
        ):
            pop(rows)
        if not bond["peer_up"]:
            rows.head = rows.tail = rows.begin = 0
            rows.held = 0
    for end in range(ENDS):
        taken_in[end] = receive_cycle(repeater.receivers[end], arrived[1 - end], 0, False)
    for end in range(ENDS):
        receiver, rows = repeater.receivers[end], repeater.rows[end]
        arrived[1 - end] = repeater.transmitters[1 - end].out
        if not taken_in[end] or receiver.row_flags[1] != 0:
            continue
        idle = row_kind(receiver.lanes, receiver.row_flags[0], 0) == _STATUS
        if idle and rows.tail - rows.head > _LONG_QUEUE:
            continue
        if repeater.receivers[1 - end].bond[0]["peer_up"]:
            words[: receiver.lanes] = receiver.row_words
            push(rows, now, words, receiver.row_flags[0])


@njit(cache=True)
def _note(log, place, number, state, arrived, disabled, restart):
    """Note the ports of an end before the clock."""
    tx, rx, layer = state.transmitter, state.receiver, state.layer[0]
    log.inputs[place, number] = state.inputs[0]
    log.lanes_i[place, number] = arrived
    log.controls[place, number, 0], log.controls[place, number, 1] = disabled, restart
    out, bond, lanes = log.outputs[place, number], rx.bond[0], state.lanes[0]
    note_outputs(out, layer)
    out.lanes_o[: tx.lanes] = tx.out
    out.up, out.peer_up = bond["state"] == _UP, bond["peer_up"]
    out.reversed, out.receive_mode = bond["reversed"], bond["mode"]
    out.transmit_mode = tx.registers[0]["mode"]
    out.arriving, out.peer_arriving = bond["arriving"], bond["peer_arriving"]
    for k in range(rx.lanes):
        out.locked |= np.int64(rx.locks[k]["locked"]) << k
        out.inverted |= np.int64(rx.lane[k]["inverted"]) << k
    out.bad_headers, out.bond_losses = lanes.bad_headers, lanes.bond_losses
    out.lost_requests, out.lost_replies = lanes.lost_requests, lanes.lost_replies


@njit(cache=True)
def _run(shape, states, ends, inputs, channels, repeater, all_users, software, log, clocks, goal):
    """Run for `clocks` clocks, until `goal` packets have arrived or something is wrong."""
    users = all_users[0]
    arrived = np.zeros((ENDS, shape.lanes), np.uint64)
    for place in range(clocks):
        carry_cycle(channels[0], states[0].transmitter.out, arrived[1])
        carry_cycle(channels[1], states[1].transmitter.out, arrived[0])
        if repeater.works:
            _repeat(repeater, users.now, arrived)
        for end in range(ENDS):
            offer(users, end, ends, inputs)
            if len(log.inputs) > 0:
                disabled, restart = software[end, 0], software[end, 1]
                _note(log, place, end, states[end], arrived[end], disabled, restart)
        for end in range(ENDS):
            restart = software[end, 1] != 0
            end_cycle(shape, states[end], arrived[end], software[end, 0], restart)
            software[end, 1] = 0
        check_clock(users, shape, ends)
        users.now += 1
        if users.error[0] != 0 or users.received.sum() >= goal:
            return


@dataclass(kw_only=True)
class EndBench(LinkUsers):
    """Two whole ends, their users and the lanes between them.

    Parameters
    ----------
    params, traffic, seed
        As in `LinkUsers`. Lanes take `flight_cycles`.
    skewed
        Whether each lane is later by a random time up to the skew limit.
    faults
        What a repeater does to rows; None for none. Bit errors are the channels' to make.
    """

    skewed: bool = False
    faults: ChannelFaults | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        params = self.params
        #: The lanes; those of an end carry what it sends.
        self.channels = tuple(Channel(params, seed=2 * self.seed + end) for end in range(ENDS))
        rng = np.random.default_rng(self.seed)
        for channel in self.channels:
            skew = rng.integers(0, params.skew_bits, params.lanes, endpoint=True) * self.skewed
            flight = params.flight_cycles * params.lane_width
            channel.set_delays([flight + int(bits) for bits in skew])
        #: Both ends, of which `ends` are the link layers.
        self.states: tuple[EndState, ...] = tuple(
            new_end_state(params, layer=self.ends[n : n + 1], inputs=self._inputs[n : n + 1])
            for n in range(ENDS)
        )
        self._repeater = self._new_repeater(self.faults or ChannelFaults())
        self._software = np.zeros((ENDS, 2), np.int64)
        self._log = self._new_log(0)

    def _new_repeater(self, faults: ChannelFaults) -> _Repeater:
        params = self.params
        rows = [
            make_channel(params, faults, delay=_REPEATER_CLOCKS, seed=3 * self.seed + end)
            for end in range(ENDS)
        ]
        return _Repeater(
            works=self.faults is not None,
            receivers=(new_receive_state(params), new_receive_state(params)),
            transmitters=(new_transmit_state(params), new_transmit_state(params)),
            rows=np.concatenate(rows),
        )

    def _new_log(self, clocks: int) -> EndRecord:
        return EndRecord(
            np.zeros((clocks, ENDS), INPUTS),
            np.zeros((clocks, ENDS, self.params.lanes), np.uint64),
            np.zeros((clocks, ENDS, 2), np.int64),
            np.zeros((clocks, ENDS), END_OUTPUTS),
        )

    def _run(self, clocks: int, goal: int) -> None:
        channels = tuple(channel.state for channel in self.channels)
        ends = (self.states, self.ends, self._inputs, channels, self._repeater)
        _run(self._shape, *ends, self._users, self._software, self._log, clocks, goal)

    @property
    def row_clocks(self) -> int:
        """Clocks from a row being taken at one end to its delivery at the other, the mean way.

        That of the slowest lane, and seven or eight clocks (docs/lanes.md).
        """
        slowest = [int(channel.state.delay.max()) for channel in self.channels]
        bits = sum(slowest) / ENDS + 2 * BLOCK_BITS
        return round(bits / self.params.lane_width + _CODING_CLOCKS)

    def record(self, clocks: int) -> EndRecord:
        """Run for some clocks and return what the ports of both ends were."""
        log = self._log = self._new_log(clocks)
        try:
            self.run(clocks)
        finally:
            self._log = self._new_log(0)
        return log

    def run_until_open(self, clocks: int) -> int:
        """Run until packets may move both ways; return the clocks that it took.

        Raises
        ------
        TimeoutError
            When they may not after `clocks` clocks.
        """
        for clock in range(clocks):
            if (self.ends["state"] == _OPEN).all():
                return clock
            self.run(1)
        states = [LinkState(int(state)).name for state in self.ends["state"]]
        raise TimeoutError(f"waited {clocks} clocks for both ends to be OPEN, not {states}")

    def set_errors(self, rate: float, *, bursts: float = 0.0) -> None:
        """Set the chance of a bit of either direction to be wrong, of a burst to begin at it."""
        for channel in self.channels:
            channel.set_errors(rate, burst_rate=bursts)

    def spoil_bit(self, end: int, lane: int, bit: int) -> None:
        """Let one bit that an end sends on a lane be wrong, so many bits of the lane from now."""
        self.channels[end].state.next_error[lane] = bit

    def disable(self, end: int, wires: int) -> None:
        """Let an end not use some wires to receive, bit n for wire n, from now on."""
        self._software[end, 0] = wires

    def restart(self, end: int) -> None:
        """Let an end look for its lanes anew in the next clock."""
        self._software[end, 1] = 1

    def lane_counters(self, end: int) -> dict[str, int]:
        """Return the counters of an end's lanes by name."""
        return {name: int(self.states[end].lanes[name][0]) for name in LANE_COUNTERS}
