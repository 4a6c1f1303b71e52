"""Run the link layer for long: goodput and latency against the rate of bit errors.

For each rate the golden model carries packets both ways, all of which have to arrive once and in
order, and the RTL of both ends is played the same traffic and compared in every clock. Prints a
table in Markdown. About an hour with the default numbers of packets.
"""

import argparse
import sys
import time
from collections.abc import Iterator

from d1_golden.serdes.link_bench import LinkBench
from d1_golden.serdes.link_users import ENDS
from d1_golden.serdes.params import LINKS, LinkParams
from d1_golden.serdes.row_channel import ChannelFaults

from testbench.link_player import open_link_layer, play_record

RATES = (0.0, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4)
#: Clocks that are recorded at a time.
_CHUNK = 20_000
#: Of which a packet of a full link at the worst rate needs less than these.
_CLOCKS_PER_PACKET = 200


def bench_of(params: LinkParams, rate: float, seed: int) -> LinkBench:
    """Return two ends with the longest way between them that the link is made for."""
    delay = params.flight_cycles + params.coding_cycles
    return LinkBench(params=params, delay=delay, faults=ChannelFaults(bit_errors=rate), seed=seed)


def run_rtl(params: LinkParams, bench: LinkBench, packets: int) -> None:
    """Run a bench and the RTL of both ends beside it until so many packets have arrived."""
    models = [open_link_layer(params) for _ in range(ENDS)]
    while bench.received.sum() < packets:
        record = bench.record(_CHUNK)
        for end, model in enumerate(models):
            play_record(model, params, record, end)
        if bench.clocks > _CLOCKS_PER_PACKET * packets + _CHUNK:
            raise TimeoutError(f"{bench.received.sum()} of {packets} packets in {bench.clocks}")
    for model in models:
        model.close()


def figures(bench: LinkBench) -> Iterator[str]:
    """Yield packets, share of the lanes' bits, mean and longest latency, and replays."""
    _, most, mean = bench.latencies
    yield f"{bench.received.sum():.3g}"
    yield f"{sum(bench.efficiency(end) for end in range(ENDS)) / ENDS:.4f}"
    yield f"{mean:.0f}"
    yield f"{most}"
    yield f"{sum(bench.counters(end)['replays'] for end in range(ENDS))}"


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--link", default="d1", choices=sorted(LINKS))
    parser.add_argument("--golden", type=float, default=1e8, help="packets in the golden model")
    parser.add_argument("--rtl", type=float, default=1e6, help="packets in the RTL; 0 for none")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    params = LINKS[arguments.link]
    print("| bit errors | by | packets | goodput | mean latency | longest | replays |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for rate in arguments.rates:
        for by, packets in (("golden", int(arguments.golden)), ("RTL", int(arguments.rtl))):
            if not packets:
                continue
            started = time.monotonic()
            bench = bench_of(params, rate, arguments.seed)
            if by == "RTL":
                run_rtl(params, bench, packets)
            else:
                bench.run_packets(packets, clocks=_CLOCKS_PER_PACKET * packets)
            if bench.lost.any():
                raise AssertionError(f"no packet must be lost, but {bench.lost.sum()} are")
            print(f"| {rate:g} | {by} | {' | '.join(figures(bench))} |", flush=True)
            print(f"{rate:g} {by}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
