"""What can happen to a link of two whole ends, for the golden model alone and beside the RTL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from d1_golden.serdes.block import RowMode
from d1_golden.serdes.channel import LaneFate
from d1_golden.serdes.end_bench import EndBench
from d1_golden.serdes.link_users import ENDS, Traffic
from d1_golden.serdes.params import LINKS, LinkParams
from d1_golden.serdes.row_channel import ChannelFaults

__all__ = [
    "BUSY",
    "FAULTS",
    "NOTHING",
    "QUIET",
    "RATES",
    "REPEATED",
    "SCENARIOS",
    "UNEVEN",
    "Run",
    "any_bench",
    "deliver_all",
]

D1 = LINKS["d1"]
RATES = (0.0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4)
#: No user offers anything by itself.
NOTHING = ((0.0, 0.0), (0.0, 0.0))
QUIET = Traffic(offer=NOTHING)
#: Users who offer and take now and then, each plane at another rate.
UNEVEN = Traffic(offer=((0.3, 0.2), (0.02, 0.5)), take=((0.9, 0.2), (0.5, 1.0)))
BUSY = Traffic()
#: Frames that a repeater drops, doubles or swaps.
FAULTS = ChannelFaults(dropped_frames=0.02, doubled_frames=0.01, swapped_frames=0.02)
#: Clocks in which a link notices what has become of a lane, and full ones that tell its rate.
_NOTICES, _RATED = 3000, 8000
#: Until everything has arrived at the worst rate of errors, and how often it is looked.
_LAST, _STEP = 400_000, 2000


class Run(Protocol):
    """Runs a bench, maybe with RTL beside it."""

    def __call__(self, clocks: int, /) -> object:
        """Run so many clocks."""
        ...


def any_bench(
    seed: int,
    *,
    params: LinkParams = D1,
    traffic: Traffic = UNEVEN,
    faults: ChannelFaults | None = None,
) -> EndBench:
    """Return a bench with a random way, skew up to 32 blocks, crossed and reversed lanes."""
    bench = EndBench(params=params, traffic=traffic, faults=faults, seed=seed)
    rng = np.random.default_rng(seed)
    for channel in bench.channels:
        flight = int(rng.integers(0, params.flight_cycles * params.lane_width, endpoint=True))
        skew = rng.integers(0, params.skew_bits, params.lanes, endpoint=True)
        channel.set_delays([flight + int(bits) for bits in skew])
        channel.state.inverted[:] = rng.integers(0, 2, params.lanes)
        if rng.integers(0, 2):
            channel.state.source[:] = channel.state.source[::-1].copy()
    return bench


def deliver_all(bench: EndBench, run: Run) -> None:
    """Offer nothing more and run until everything has arrived, errors or not.

    Raises
    ------
    TimeoutError
        When it has not.
    """
    bench.set_traffic(QUIET)
    for _ in range(_LAST // _STEP):
        run(_STEP)
        if not bench.under_way.any():
            return
    raise TimeoutError(f"waited {_LAST} clocks for {bench.under_way.tolist()} packets to arrive")


def _errors(rate: float) -> Callable[[EndBench, Run, int], None]:
    def run_with_errors(bench: EndBench, run: Run, clocks: int) -> None:
        run(3000)
        bench.set_errors(rate)
        run(clocks)

    return run_with_errors


def _bursts(bench: EndBench, run: Run, clocks: int) -> None:
    run(3000)
    bench.set_errors(1e-7, bursts=2e-6)
    run(clocks)
    assert sum(bench.counters(end)["bad_frames"] for end in range(ENDS)) > 5


def _lanes_die_and_return(bench: EndBench, run: Run, clocks: int) -> None:
    run(_NOTICES)
    bench.set_errors(1e-7)
    rng = np.random.default_rng(bench.seed)
    for fate in (LaneFate.NOISE, LaneFate.SILENT):
        sender, lane = int(rng.integers(ENDS)), int(rng.integers(bench.params.lanes))
        channel = bench.channels[sender].state
        channel.fate[lane] = fate
        run(_NOTICES)
        # Software of the end that does without it is told, and so is that of the other one.
        status = bench.states[1 - sender].receiver.bond[0]
        other = bench.states[sender].receiver.bond[0]
        assert RowMode(int(status["mode"])) is not RowMode.FULL
        assert int(status["arriving"]).bit_count() == bench.params.lanes - 1
        assert other["peer_arriving"] == status["arriving"]
        run(clocks // 2)
        channel.fate[lane] = LaneFate.ALIVE
        run(_NOTICES)
        assert RowMode(int(status["mode"])) is RowMode.FULL
        assert bench.lane_counters(1 - sender)["bond_losses"] >= 2


def _trains_again(bench: EndBench, run: Run, clocks: int) -> None:
    bench.set_traffic(replace(bench.traffic, retrains=2e-3))
    run(clocks)
    assert min(bench.counters(end)["retrains"] for end in range(ENDS)) > 5


def _looks_for_lanes_again(bench: EndBench, run: Run, clocks: int) -> None:
    rng = np.random.default_rng(bench.seed)
    run(_NOTICES)
    for _ in range(max(clocks // 4000, 2)):
        bench.restart(int(rng.integers(ENDS)))
        run(int(rng.integers(1, 2000)))
        end = int(rng.integers(ENDS))
        bench.disable(end, 1 << int(rng.integers(bench.params.lanes)))
        run(int(rng.integers(1, 2000)))
        bench.disable(end, 0)
        run(1000)
    assert any(bench.lane_counters(end)["bond_losses"] for end in range(ENDS))


def _is_reset(bench: EndBench, run: Run, clocks: int) -> None:
    rng = np.random.default_rng(bench.seed)
    bench.set_errors(1e-7)
    for _ in range(max(clocks // 2500, 4)):
        run(int(rng.integers(1500, 3500)))
        bench.reset(int(rng.integers(ENDS)))
    run(4000)
    assert sum(bench.counters(end)["peer_resets"] for end in range(ENDS)) > 0
    assert bench.lost.sum() > 0


def _repeats(bench: EndBench, run: Run, clocks: int) -> None:
    run(3000)
    run(clocks)
    assert min(bench.counters(end)["replays"] for end in range(ENDS)) > 3


def _suffers(bench: EndBench, run: Run, clocks: int) -> None:
    bench.set_traffic(replace(bench.traffic, retrains=1e-4))
    bench.set_errors(1e-6, bursts=1e-8)
    bench.channels[0].set_drift(3, every=7001, bits=1)
    _lanes_die_and_return(bench, run, clocks)
    bench.channels[0].set_drift(3, every=0, bits=1)


#: The scenario for a bench with a repeater.
REPEATED = "frames dropped, doubled, swapped"
#: What happens, by name: a bench, what runs it, and about how many clocks. Nothing is lost by any
#: of them but by resets, and what these lose is reported.
SCENARIOS: dict[str, Callable[[EndBench, Run, int], None]] = {
    **{f"bit errors {rate:g}": _errors(rate) for rate in RATES},
    "bursts": _bursts,
    "lanes die and return": _lanes_die_and_return,
    "either end trains again": _trains_again,
    "either end looks for its lanes again": _looks_for_lanes_again,
    REPEATED: _repeats,
    "either end is reset": _is_reset,
    "everything": _suffers,
}
