"""The channel between the lanes of two ends: delay, skew, errors, drift, lanes that die.

A model of the wires, clock by clock, outside of the RTL. The same seed gives the same errors.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .params import WORD_BITS, LinkParams

__all__ = ["Channel", "ChannelState", "LaneFate", "carry_cycle", "new_channel_state"]


class LaneFate(enum.IntEnum):
    """What becomes of the bits of a lane."""

    ALIVE = 0  #: they arrive
    SILENT = 1  #: zeros arrive
    NOISE = 2  #: random bits arrive


_SILENT, _NOISE = int(LaneFate.SILENT), int(LaneFate.NOISE)
_GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_NEVER = np.int64(1 << 62)


class ChannelState(NamedTuple):
    """A channel, for compiled loops. Arrays have one entry for each lane; change them at any time.

    Members
    -------
    lanes, width
        Parameters of the link.
    source : int64
        Which lane's bits arrive on each: the wiring.
    inverted : bool
        Whether the wires of a lane are crossed.
    delay : int64
        Bits on their way, at most those that `history` has room for.
    fate : int64
        `LaneFate`.
    rates : float64[2]
        Chance of a bit to be wrong, and of a burst to begin at it.
    burst : int64[1]
        Bits of a burst; each of them is wrong with the chance 1/2, the first for sure.
    drift : int64[lanes, 2]
        Clocks from one change of the delay to the next, 0 for never, and bits of each change.
    history : uint64[lanes, clocks]
        What was sent.
    clock : int64[1]
    next_error, next_burst, burst_left : int64
        Bits until the next one, and bits of a burst still to come.
    random : uint64[1]
        State of the generator, SplitMix64.
    errors : int64
        Bits that arrived wrong.
    """

    lanes: int
    width: int
    source: NDArray[np.int64]
    inverted: NDArray[np.bool_]
    delay: NDArray[np.int64]
    fate: NDArray[np.int64]
    rates: NDArray[np.float64]
    burst: NDArray[np.int64]
    drift: NDArray[np.int64]
    history: NDArray[np.uint64]
    clock: NDArray[np.int64]
    next_error: NDArray[np.int64]
    next_burst: NDArray[np.int64]
    burst_left: NDArray[np.int64]
    random: NDArray[np.uint64]
    errors: NDArray[np.int64]


@njit(cache=True)
def _next_random(state):
    state.random[0] += _GOLDEN_RATIO
    z = state.random[0]
    z = (z ^ z >> np.uint64(30)) * _MIX_1
    z = (z ^ z >> np.uint64(27)) * _MIX_2
    return z ^ z >> np.uint64(31)


@njit(cache=True)
def _distance(state, rate):
    """Return how many bits come before the next one that something happens to."""
    if rate <= 0.0:
        return _NEVER
    if rate >= 1.0:
        return np.int64(0)
    chance = (np.float64(_next_random(state) >> np.uint64(11)) + 1.0) / 2.0**53
    return min(np.int64(np.log(chance) / np.log1p(-rate)), _NEVER)


@njit(cache=True)
def _draw_distances(state):
    for lane in range(state.lanes):
        state.next_error[lane] = _distance(state, state.rates[0])
        state.next_burst[lane] = _distance(state, state.rates[1])


@njit(cache=True)
def _wrong_bits(state, lane):
    """Return the bits of a lane that are wrong in this clock."""
    width = np.int64(state.width)
    wrong = np.uint64(0)
    one = np.uint64(1)
    while state.next_error[lane] < width:
        wrong ^= one << np.uint64(state.next_error[lane])
        state.next_error[lane] += 1 + _distance(state, state.rates[0])
    state.next_error[lane] -= width
    for bit in range(width):
        if state.next_burst[lane] == bit:
            wrong |= one << np.uint64(bit)
            state.burst_left[lane] = state.burst[0] - 1
            state.next_burst[lane] += 1 + _distance(state, state.rates[1])
        elif state.burst_left[lane] > 0:
            state.burst_left[lane] -= 1
            wrong ^= (_next_random(state) & one) << np.uint64(bit)
    state.next_burst[lane] -= width
    return wrong


@njit(cache=True)
def carry_cycle(state: ChannelState, sent: NDArray[np.uint64], arrived: NDArray[np.uint64]) -> None:
    """Run one clock: take what every lane sends, put into `arrived` what comes out."""
    width, clocks = state.width, state.history.shape[1]
    now = state.clock[0]
    mask = ~np.uint64(0) >> np.uint64(WORD_BITS - width)
    quiet = state.rates[1] <= 0.0
    for lane in range(state.lanes):
        state.history[lane, now % clocks] = sent[state.source[lane]]
        every = state.drift[lane, 0]
        if every and now and now % every == 0:
            delay = state.delay[lane] + state.drift[lane, 1]
            state.delay[lane] = min(max(delay, 0), (clocks - 1) * width)
        whole, part = divmod(state.delay[lane], width)
        value = state.history[lane, (now - whole) % clocks]
        if part:
            old = state.history[lane, (now - whole - 1) % clocks]
            value = value << np.uint64(part) | old >> np.uint64(width - part)
        if state.inverted[lane]:
            value = ~value
        if quiet and state.next_error[lane] >= width and state.burst_left[lane] == 0:
            state.next_error[lane] -= width
        else:
            wrong = _wrong_bits(state, lane)
            value ^= wrong
            while wrong:
                state.errors[lane] += 1
                wrong &= wrong - np.uint64(1)
        if state.fate[lane] == _SILENT:
            value = np.uint64(0)
        elif state.fate[lane] == _NOISE:
            value = _next_random(state)
        arrived[lane] = value & mask
    state.clock[0] = now + 1


def new_channel_state(params: LinkParams, *, seed: int, longest_delay: int) -> ChannelState:
    """Return a channel without delay or errors.

    Parameters
    ----------
    params
        The link.
    seed
        Of its random errors.
    longest_delay
        The most bits that a lane may have on their way.
    """
    lanes = params.lanes
    clocks = longest_delay // params.lane_width + 2
    return ChannelState(
        lanes=lanes,
        width=params.lane_width,
        source=np.arange(lanes, dtype=np.int64),
        inverted=np.zeros(lanes, bool),
        delay=np.zeros(lanes, np.int64),
        fate=np.zeros(lanes, np.int64),
        rates=np.zeros(2),
        burst=np.ones(1, np.int64),
        drift=np.zeros((lanes, 2), np.int64),
        history=np.zeros((lanes, clocks), np.uint64),
        clock=np.zeros(1, np.int64),
        next_error=np.full(lanes, _NEVER),
        next_burst=np.full(lanes, _NEVER),
        burst_left=np.zeros(lanes, np.int64),
        random=np.array([seed], np.uint64),
        errors=np.zeros(lanes, np.int64),
    )


class Channel:
    """A channel as an object.

    Parameters
    ----------
    params
        The link.
    seed
        Of its random errors.
    longest_delay
        The most bits that a lane may have on their way, by default `flight_cycles` and the
        skew limit.

    Members
    -------
    state : ChannelState
        For compiled loops.
    """

    state: ChannelState

    def __init__(self, params: LinkParams, *, seed: int = 0, longest_delay: int | None = None):
        if longest_delay is None:
            longest_delay = params.flight_cycles * params.lane_width + params.skew_bits
        self._longest_delay = longest_delay
        self.state = new_channel_state(params, seed=seed, longest_delay=longest_delay)

    def set_delays(self, bits: list[int]) -> None:
        """Set the delay of each lane.

        Raises
        ------
        ValueError
            If there is not one for each lane, or one is out of range.
        """
        if len(bits) != self.state.lanes:
            raise ValueError(f"bits must be one delay for each lane, not {bits!r}")
        for delay in bits:
            if not 0 <= delay <= self._longest_delay:
                raise ValueError(f"delay must be in 0..{self._longest_delay}, not {delay!r}")
        self.state.delay[:] = bits

    def set_drift(self, lane: int, *, every: int, bits: int) -> None:
        """Let the delay of a lane change by `bits`, 1 or -1, every so many clocks; 0 for never."""
        if every < 0 or bits not in (1, -1):
            raise ValueError(f"drift must be 1 or -1 bits every 0 or more, not {bits!r} {every!r}")
        self.state.drift[lane] = every, bits

    def set_errors(
        self, rate: float, *, burst_rate: float = 0.0, burst_bits: int = WORD_BITS
    ) -> None:
        """Set the chance of a bit to be wrong and of a burst of so many bits to begin at it.

        Raises
        ------
        ValueError
            If a rate is no chance, or a burst has no bit.
        """
        for name, value in (("rate", rate), ("burst_rate", burst_rate)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in 0..1, not {value!r}")
        if burst_bits < 1:
            raise ValueError(f"burst_bits must be at least 1, not {burst_bits!r}")
        self.state.rates[:] = rate, burst_rate
        self.state.burst[0] = burst_bits
        _draw_distances(self.state)

    def step(self, sent: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Run one clock: take what every lane sends, return what arrives."""
        arrived = np.zeros(self.state.lanes, np.uint64)
        carry_cycle(self.state, sent, arrived)
        return arrived
