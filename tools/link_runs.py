"""Run a link for long at each rate of bit errors; write what it did to docs/link_figures.json.

Both ends are full in both planes, each lane is later by a random time up to 32 blocks, and every
packet has to arrive once, in order and unchanged. There are three models of the link: the RTL of
both whole ends, compared with the golden ones in every clock; the golden ones alone; and, for many
packets, golden link layers alone with a channel for rows between them that takes as long.

Figures of other rates and models stay in the file. tools/write_docs.py makes table and curve of it.
"""

import argparse
import json
import time
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from d1.link_figures import FIGURES, MODELS, Figures, read_figures
from d1_golden.serdes.end_bench import EndBench
from d1_golden.serdes.link_bench import LinkBench
from d1_golden.serdes.link_users import ENDS, LinkUsers
from d1_golden.serdes.params import LINKS
from d1_golden.serdes.row_channel import ChannelFaults

from testbench.end_player import EndPair

RATES = (0.0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4)
LINK = LINKS["d1"]
#: Clocks until links are trained and full; what is measured comes later.
_START = 5_000
#: Clocks that are recorded at a time.
_CHUNK = 10_000
#: A packet of a full link needs less at the worst rate.
_CLOCKS_PER_PACKET = 200


class Goal(NamedTuple):
    """When a run is over: after so many packets in all, or at a time of `time.monotonic`."""

    packets: int
    time: float


def run_layers(rate: float, goal: Goal, seed: int) -> Figures:
    """Run golden link layers, with the way between them that whole ends have."""
    lanes = EndBench(params=LINK, skewed=True, seed=seed)
    bench = LinkBench(params=LINK, delay=lanes.row_clocks, seed=seed)
    bench.run(_START)
    bench.set_faults(ChannelFaults(bit_errors=rate))
    return measure(bench, goal, bench.run)


def run_ends(rate: float, goal: Goal, seed: int) -> Figures:
    """Run golden whole ends."""
    bench = EndBench(params=LINK, skewed=True, seed=seed)
    bench.run(_START)
    bench.set_errors(rate)
    return measure(bench, goal, bench.run)


def run_rtl(rate: float, goal: Goal, seed: int) -> Figures:
    """Run golden whole ends and the RTL of both beside them."""
    bench = EndBench(params=LINK, skewed=True, seed=seed)
    with EndPair(LINK) as pair:
        pair.join(bench)
        pair.run(_START)
        bench.set_errors(rate)
        figures = measure(bench, goal, lambda clocks, *, packets: pair.run(clocks))
        if pair.packets != bench.received.sum():
            raise AssertionError(f"the RTL must deliver {bench.received.sum()}, not {pair.packets}")
    return figures


def measure(bench: LinkUsers, goal: Goal, run: Callable[..., object]) -> Figures:
    """Run and return the figures from now on."""
    bench.restart_latencies()
    start = [bench.progress(end) for end in range(ENDS)]
    replays = sum(bench.counters(end)["replays"] for end in range(ENDS))
    last = start[0][0] + _CLOCKS_PER_PACKET * goal.packets
    while bench.received.sum() < goal.packets and time.monotonic() < goal.time:
        run(_CHUNK, packets=goal.packets)
        if bench.clocks > last:
            raise TimeoutError(f"{bench.received.sum()} of {goal.packets} packets by clock {last}")
    if bench.lost.any():
        raise AssertionError(f"no packet must be lost, but {bench.lost.sum()} are")
    least, most, mean = bench.latencies
    return Figures(
        packets=int(bench.received.sum()),
        clocks=bench.clocks,
        goodput=sum(bench.efficiency(end, start[end]) for end in range(ENDS)) / ENDS,
        least_latency=least,
        mean_latency=mean,
        most_latency=most,
        replays=sum(bench.counters(end)["replays"] for end in range(ENDS)) - replays,
    )


RUNS = dict(zip(MODELS, (run_rtl, run_ends, run_layers), strict=True))
#: Packets of each model.
PACKETS = dict(zip(MODELS, (10**6, 10**7, 10**8), strict=True))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--rates", type=float, nargs="*", default=RATES)
    parser.add_argument("--packets", type=float, help="in place of 10^6, 10^7, 10^8 by model")
    parser.add_argument("--seconds", type=float, default=inf, help="of one run at most")
    parser.add_argument("--more", action="store_true", help="join with what is there: other seeds")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for model in options.models:
        for rate in options.rates:
            started = time.monotonic()
            goal = Goal(int(options.packets or PACKETS[model]), started + options.seconds)
            figures = RUNS[model](rate, goal, options.seed)
            print(f"{time.monotonic() - started:.0f} s: {model}, {rate:g}: {figures}", flush=True)
            everything = read_figures()
            if options.more and (model, rate) in everything:
                figures = everything[model, rate].joined(figures)
            everything[model, rate] = figures
            rows = [
                {"model": model, "rate": rate, **figures._asdict()}
                for (model, rate), figures in sorted(everything.items())
            ]
            FIGURES.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
