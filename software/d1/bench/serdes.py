"""What a SerDes link does, from packet to packet, in cycles of the RTL of both whole ends.

The RTL of each end is played what the golden ends do to each other over lanes with delays and
errors. All its outputs are compared in every cycle, so what is counted of one holds for the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from d1_golden.params import LINE_BYTES
from d1_golden.serdes.end_bench import EndBench
from d1_golden.serdes.frame import LinkState
from d1_golden.serdes.link_users import ENDS, Traffic
from d1_golden.serdes.params import LINKS, WORD_BITS

from d1.bench.metric import PRESET, Metric

__all__ = ["SERDES_METRICS"]

_LINK = LINKS[PRESET]
_QUIET = Traffic(offer=((0.0, 0.0), (0.0, 0.0)))
#: Cycles until a link is trained and full, and in which it is measured.
_START, _FULL, _WITH_ERRORS = 4000, 20_000, 200_000
#: Cycles that are played at a time, and in which a packet has certainly arrived.
_CHUNK, _TRIP = 10_000, 501
#: Packets that are timed, in as many phases of the lanes; links that are brought up; blocks that
#: are spoilt.
_PACKETS, _LINKS, _BLOCKS = 66, 20, 12
_BRING_UP = 20_000
_RECOVERY = 50


@contextmanager
def _joined(bench: EndBench) -> Iterator:
    """Give the RTL of both ends, to be run with a bench."""
    from testbench.end_player import EndPair

    with EndPair(bench.params) as pair:
        pair.join(bench)
        yield pair


def _goodput(rate: float, cycles: int) -> float:
    """Return bits of packets over bits of the lanes of a full link."""
    bench = EndBench(params=_LINK, skewed=True)
    with _joined(bench) as pair:
        pair.run(_START)
        bench.set_errors(rate)
        before = pair.packets
        for _ in range(cycles // _CHUNK):
            pair.run(_CHUNK)
        bits = _LINK.packet_words * WORD_BITS * (pair.packets - before)
    return bits / (ENDS * cycles * _LINK.lanes * _LINK.lane_width)


@cache
def _packet_efficiency() -> float:
    return _goodput(0.0, _FULL)


def _payload_efficiency() -> float:
    return _packet_efficiency() * 8 * LINE_BYTES / (_LINK.packet_words * WORD_BITS)


def _goodput_ber_1e6() -> float:
    return _goodput(1e-6, _WITH_ERRORS)


def _latency(flight: int, skewed: bool) -> float:
    """Return the most cycles of packets that find the link idle."""
    bench = EndBench(params=_LINK, traffic=_QUIET)
    for channel in bench.channels:
        skew = [_LINK.skew_bits * (n % 2) * skewed for n in range(_LINK.lanes)]
        channel.set_delays([flight * _LINK.lane_width + bits for bits in skew])
    with _joined(bench) as pair:
        pair.run(_START)
        for n in range(_PACKETS):
            bench.send(n % ENDS, n // ENDS % ENDS, 1)
            pair.run(_TRIP)
        if pair.packets != _PACKETS:
            raise AssertionError(f"{_PACKETS} packets must arrive, not {pair.packets}")
    return bench.latencies[1]


def _bring_up() -> float:
    """Return the most cycles from reset to packets both ways, of links with random lanes."""
    from testbench.end_scenarios import any_bench

    most = 0
    for seed in range(_LINKS):
        bench = any_bench(seed, traffic=_QUIET)
        with _joined(bench) as pair:
            states = pair.run(_BRING_UP // 4).outputs["state"]
        is_open = (states == LinkState.OPEN).all(axis=1)
        if not is_open[-1]:
            raise AssertionError(f"link {seed} must be open, not {states[-1]}")
        most = max(most, int(np.flatnonzero(~is_open)[-1]) + 1)
    return most


def _recovery() -> float:
    """Return the longest pause of a full link after a spoilt block, less a round trip."""
    most = 0
    bench = EndBench(params=_LINK)
    with _joined(bench) as pair:
        pair.run(_START)
        for n in range(_BLOCKS):
            bench.channels[0].set_errors(0, burst_rate=1e-12)
            bench.channels[0].state.next_burst[n % _LINK.lanes] = 97 * n
            outputs = pair.run(4 * _TRIP)
            got = np.zeros(4 * _TRIP, bool)
            for plane in ("request", "reply"):
                got |= (outputs.inputs[f"{plane}_ready"] & outputs.outputs[f"{plane}_valid"])[
                    :, 1
                ] != 0
            most = max(most, int(np.diff(np.flatnonzero(got)).max()))
        if bench.counters(0)["replays"] != _BLOCKS:
            raise AssertionError(f"{_BLOCKS} blocks must be sent again, not {bench.counters(0)}")
    return most - 2 * bench.row_clocks


SERDES_METRICS: tuple[Metric, ...] = (
    Metric(
        "serdes_packet_efficiency",
        "1",
        "RTL of both ends of a link, both ways full: bits of packets over bits of the lanes",
        _packet_efficiency,
        lambda _: 0.92,
    ),
    Metric(
        "serdes_payload_efficiency",
        "1",
        "the same, bits of payload",
        _payload_efficiency,
    ),
    Metric(
        "serdes_goodput_ber_1e6",
        "1",
        "the same with one wrong bit in 10^6, bits of packets",
        _goodput_ber_1e6,
    ),
    Metric(
        "serdes_latency_cycles",
        "cycles",
        "the same, idle, a packet's entry to its exit, at most, without flight",
        lambda: _latency(0, skewed=False),
        lambda _: 60,
        is_cost=True,
    ),
    Metric(
        "serdes_latency_flight_cycles",
        "cycles",
        f"the same with {_LINK.flight_cycles} cycles of flight and lanes 32 blocks apart: 100 ns",
        lambda: _latency(_LINK.flight_cycles, skewed=True),
        lambda _: 200,
        is_cost=True,
    ),
    Metric(
        "serdes_bring_up_cycles",
        "cycles",
        f"the same, reset to packets both ways, the longest of {_LINKS} random skews and wirings",
        _bring_up,
        lambda _: _BRING_UP,
        is_cost=True,
    ),
    Metric(
        "serdes_recovery_cycles",
        "cycles",
        "the same, full, pause after a burst of 64 wrong bits, less one round trip of rows",
        _recovery,
        lambda _: _RECOVERY,
        is_cost=True,
    ),
)
