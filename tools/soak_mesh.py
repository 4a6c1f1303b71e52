"""Send millions of packets through the mesh and check that each comes once, unchanged, in order.

Every pattern of traffic on 8 x 8 routers, beside and beyond saturation, with nodes that stall at
random. What goes through the RTL is compared with the golden mesh packet for packet and cycle for
cycle. The exit code is 1 if anything differs.
"""

import argparse
import random
import sys
import time
from itertools import cycle

import numpy as np
from d1_golden.fabric.mesh import MeshModel, MeshRun
from d1_golden.fabric.traffic import Pattern, Traffic, random_traffic

from testbench.router_mesh import RouterMesh

SIDE = 8
#: Packets of one run, offered load and share of cycles in which a node takes none.
PACKETS = 250_000
LOADS = (0.1, 0.3, 0.45, 0.8)
STALLS = (0.0, 0.2, 0.6)


def traffic(pattern: Pattern, load: float, seed: int) -> Traffic:
    """Return traffic of about `PACKETS` packets."""
    rng = np.random.default_rng(seed)
    cycles = round(PACKETS / (SIDE * SIDE * load))
    return random_traffic(pattern, SIDE, SIDE, load=load, cycles=cycles, rng=rng)


def golden(sent: Traffic, stall: float, seed: int, *, record: bool) -> MeshRun:
    """Run the golden mesh; every packet is counted, and its place and order are checked."""
    limit = 100 * int(sent.cycle[sent.cycle != Traffic.NEVER].max()) + 10_000
    run = MeshModel(SIDE, SIDE).run(sent, limit, stall=stall, seed=seed, record=record, drain=True)
    if run.delivered != sent.packets or run.out_of_order or run.astray:
        raise SystemExit(
            f"{sent.packets} packets sent: {run.delivered} delivered, {run.out_of_order} out of "
            f"order or twice, {run.astray} astray"
        )
    return run


def main() -> int:
    """Run both meshes; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of traffic and stalls")
    parser.add_argument("--golden", type=int, default=10_000_000, help="packets, golden mesh")
    parser.add_argument("--rtl", type=int, default=1_000_000, help="packets, RTL")
    arguments = parser.parse_args()
    kinds = [(p, load, stall) for load in LOADS for stall in STALLS for p in Pattern]
    random.Random(arguments.seed).shuffle(kinds)
    mesh = RouterMesh(SIDE, SIDE)
    for name, packets in (("rtl", arguments.rtl), ("golden", arguments.golden)):
        done, cycles, started = 0, 0, time.monotonic()
        for seed, (pattern, load, stall) in enumerate(cycle(kinds), arguments.seed):
            sent = traffic(pattern, load, seed)
            run = golden(sent, stall, seed, record=name == "rtl")
            if name == "rtl":
                deliveries, passed, _ = mesh.run(
                    sent, run.cycles + 1, stall=float(stall), seed=seed
                )
                if not (deliveries == run.deliveries).all() or (passed != run.passed).any():
                    raise SystemExit(f"RTL and golden differ: {pattern}, seed {seed}")
            done, cycles = done + run.delivered, cycles + run.cycles
            if done >= packets:
                break
        seconds = time.monotonic() - started
        print(
            f"{name}: {done} packets in {cycles} cycles, none lost, doubled, changed or out of "
            f"order; {seconds:.0f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
