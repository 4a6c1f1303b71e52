"""What the mesh, a die and two dies do in a cycle, and what simulating a die costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import cache, partial

from d1_golden.fabric.mesh import MeshModel, saturation
from d1_golden.fabric.traffic import Pattern
from d1_golden.machine import MachineParams
from d1_golden.params import DIES, DieParams, preset
from d1_golden.serdes.params import LINKS

from d1.bench.metric import PRESET, Metric
from d1.bench.simulation import MATRIX_LOOP, require_running, start_loop, time_fresh_process
from d1.fabric.die_figures import (
    all_reduce_cycles,
    barrier_cycles,
    broadcast_cycles,
    die2_pull_cycles,
    gemm_tflops,
)
from d1.fabric.die_job import DIE_K, even_size
from d1.fabric.machine import open_machine
from d1.fabric.mesh import Mesh, open_mesh

__all__ = ["FABRIC_METRICS"]

_DIE_PRODUCT = " x ".join(map(str, (*even_size(DIES[PRESET]), DIE_K)))
#: Cycles of a die of which all nodes, one node, or none is busy.
_ALL_CYCLES, _ONE_CYCLES = 200, 20_000


def _mesh8_uniform_saturation() -> float:
    return saturation(MeshModel(8, 8), Pattern.UNIFORM).accepted


def _on_die(figure: Callable[[Mesh], float]) -> float:
    with open_mesh("rtl", DIES[PRESET]) as mesh:
        return figure(mesh)


def _die2_pull_cycles() -> float:
    die = DieParams(name="one node", node=preset(PRESET), columns=1, rows=1)
    link = LINKS[PRESET]
    two = MachineParams(name="two", die=die, columns=2, rows=1, link=link, edge_links=1)
    with open_machine("rtl", two) as machine:
        return die2_pull_cycles(machine)


@cache
def _seconds_per_cycle() -> tuple[float, float]:
    """Return how long a cycle takes of a die with one busy node, and with all nodes busy."""

    def seconds(busy: int, cycles: int) -> float:
        with open_mesh("rtl", DIES[PRESET]) as mesh:
            nodes = list(mesh.nodes.values())[:busy]
            for node in nodes:
                start_loop(node, MATRIX_LOOP)
            mesh.link.advance(cycles // 10)
            started = time.perf_counter()
            mesh.link.advance(cycles)
            elapsed = time.perf_counter() - started
            for node in nodes:
                require_running(node)
        return elapsed / cycles

    return seconds(1, _ONE_CYCLES), seconds(len(DIES[PRESET].live_nodes), _ALL_CYCLES)


def _die_node_cycles_per_s() -> float:
    return len(DIES[PRESET].live_nodes) / _seconds_per_cycle()[1]


def _die_idle_cost_ratio() -> float:
    """Return the share of a busy node's time that an idle one takes, from both runs."""
    nodes = len(DIES[PRESET].live_nodes)
    one, every = _seconds_per_cycle()
    # one = busy + (nodes - 1) idle, every = nodes busy; all in seconds per cycle
    busy = every / nodes
    return max(one - busy, 0.0) / (nodes - 1) / busy


def _die_build_s() -> float:
    with tempfile.TemporaryDirectory() as folder:
        program = (
            "from d1.fabric.mesh import open_mesh; from d1_golden.params import DIES; "
            f"open_mesh('rtl', DIES[{PRESET!r}]).close()"
        )
        return time_fresh_process(program, {"D1_CACHE": folder})


FABRIC_METRICS: tuple[Metric, ...] = (
    Metric(
        "mesh8_uniform_saturation",
        "packets/cycle",
        "accepted uniform traffic of 8 x 8 routers, per node and plane; golden mesh, equal to RTL",
        _mesh8_uniform_saturation,
        lambda _: 0.37,
    ),
    Metric(
        "barrier_354_cycles",
        "cycles",
        "RTL of a die, 354 nodes: from when the last comes to a barrier until the last leaves",
        partial(_on_die, barrier_cycles),
        lambda _: 400,
        is_cost=True,
    ),
    Metric(
        "broadcast_354_cycles",
        "cycles",
        "the same, 64 bytes from one node to all: from the first start to the last end",
        partial(_on_die, broadcast_cycles),
        lambda _: 200,
        is_cost=True,
    ),
    Metric(
        "allreduce_354_1KiB_cycles",
        "cycles",
        "the same, 256 FP32 sums over all nodes, in every node",
        partial(_on_die, all_reduce_cycles),
    ),
    Metric(
        "die2_pull_cycles",
        "cycles",
        f"RTL of two dies, a line pulled over a link of preset {PRESET}, "
        f"{2 * LINKS[PRESET].flight_cycles} cycles of flight there and back included",
        _die2_pull_cycles,
    ),
    Metric(
        "die_gemm_tflops",
        "TFLOP/s",
        f"the same, {_DIE_PRODUCT} BF16 at 2 GHz, SRAM to SRAM, of 362 at most",
        partial(_on_die, gemm_tflops),
        lambda _: 250.0,
        takes_minutes=True,
    ),
    Metric(
        "die_node_cycles_per_s",
        "cycles/s",
        "simulation of a die whose 354 nodes are all busy with matrix instructions, times nodes",
        _die_node_cycles_per_s,
    ),
    Metric(
        "die_idle_cost_ratio",
        "1",
        "time that an idle node of a die costs over that of a busy one",
        _die_idle_cost_ratio,
        lambda _: 0.01,
        is_cost=True,
    ),
    Metric(
        "die_build_s",
        "s",
        "RTL of a die from Amaranth to 354 nodes that run, nothing cached",
        _die_build_s,
        lambda results: results["verilator_build_s"] + 60,
        is_cost=True,
        takes_minutes=True,
    ),
)
