"""What nodes of a die, or of two, do together, in cycles."""

from __future__ import annotations

import numpy as np
from d1_golden.assembler import assemble
from d1_golden.fabric.ports import Port
from d1_golden.params import LINE_BYTES

from d1.device import Call
from d1.errors import DeviceError
from d1.fabric.collectives import Group, barrier_subroutine
from d1.fabric.die_job import DIE_K, even_size, run_product
from d1.fabric.machine import Machine
from d1.fabric.mesh import Mesh

__all__ = [
    "all_reduce_cycles",
    "barrier_cycles",
    "broadcast_cycles",
    "die2_pull_cycles",
    "gemm_tflops",
]

_MAX_CYCLES = 100_000
_ALL_REDUCE_BYTES = 1024
#: Two barriers; from the first to the second a node that leaves the one comes to the other.
_TWO_BARRIERS = assemble(
    f"""
        call barrier_of_group
        csrr s0, mcycle
        call barrier_of_group
        csrr s1, mcycle
        sub s1, s1, s0
        sd s1, 16(a0)
        fence
        ecall
{barrier_subroutine()}
    """
).code

#: Pulls a line twice from the address at a0 to what follows it, and tells how long the second took.
_TIMED_PULL = assemble(
    """
        ld t0, 0(a0)
        addi t1, a0, 64
        pull t1, t0, 1
        fence
        csrr s0, mcycle
        pull t1, t0, 1
        fence
        csrr s1, mcycle
        sub s1, s1, s0
        sd s1, 8(a0)
        fence
        ecall
    """
).code


def die2_pull_cycles(machine: Machine) -> int:
    """Return the cycles in which a node gets a line from one of the next die in the east.

    The two face each other at the ends of the first link; the line is there when they end.

    Raises
    ------
    DeviceError
        If what was pulled is not what the other node has.

    """
    end = machine.params.edge((0, 0), Port.EAST)[0]
    here, there = end.place, machine.params.ends[end].place
    line = np.arange(1, 1 + LINE_BYTES, dtype=np.uint8)
    with machine.data.scratch(3 * LINE_BYTES) as base:
        source = base + 2 * LINE_BYTES
        machine.nodes[there].write(source, line)
        address = np.array([there.address(source)], "<u8")
        call = Call(
            _TIMED_PULL,
            base,
            inputs=((base, address),),
            outputs=((base + 8, 8), (base + LINE_BYTES, LINE_BYTES)),
        )
        cycles, pulled = machine.call({here: call}, max_cycles=_MAX_CYCLES)[here]
    if not np.array_equal(pulled, line):
        raise DeviceError(f"the pulled line must be {line.tolist()}, not {pulled.tolist()}")
    return int(cycles.view("<u8")[0])


def barrier_cycles(mesh: Mesh) -> int:
    """Return the cycles from when the last node comes to a barrier until the last leaves it.

    Nodes that come to a barrier as soon as they leave the one before do so in this distance: the
    way that decides is that of the last, up to the root and back.
    """
    group = Group(mesh)
    with mesh.data.scratch(group.barrier_bytes) as base:
        calls = {
            place: Call(_TWO_BARRIERS, base, inputs=((base, block),), outputs=((base + 16, 8),))
            for place, block in group.barrier_blocks(base).items()
        }
        outputs = mesh.call(calls, max_cycles=_MAX_CYCLES)
    return max(int(cycles.view("<u8")[0]) for (cycles,) in outputs.values())


def broadcast_cycles(mesh: Mesh) -> int:
    """Return the cycles that a line takes from one node to all.

    Counted are those from the first start of a node by the host to the last end of one.
    """
    with mesh.data.scratch(LINE_BYTES) as address:
        Group(mesh).broadcast(address, LINE_BYTES)
    return mesh.call_cycles


def all_reduce_cycles(mesh: Mesh) -> int:
    """Return the cycles in which nodes add up 256 FP32 numbers each; counted likewise.

    Raises
    ------
    DeviceError
        A sum is wrong.

    """
    nodes = list(mesh.nodes.values())
    with mesh.data.scratch(_ALL_REDUCE_BYTES) as address:
        # Small whole numbers: every order gives the same sums.
        numbers = np.arange(_ALL_REDUCE_BYTES // 4, dtype=np.float32)
        mesh.write((node, address, numbers + n % 7) for n, node in enumerate(nodes))
        Group(mesh).all_reduce(address, _ALL_REDUCE_BYTES)
        sums = mesh.read([(node, address, _ALL_REDUCE_BYTES) for node in nodes])
    expected = numbers * len(nodes) + sum(n % 7 for n in range(len(nodes)))
    if any(not np.array_equal(found.view(np.float32), expected) for found in sums):
        raise DeviceError("an all-reduce that is measured must leave the sums in every node")
    return mesh.call_cycles


def gemm_tflops(mesh: Mesh) -> float:
    """Return what the headline job reaches, in 10^12 operations a second.

    Raises
    ------
    DeviceError
        A bit of the result is wrong.

    """
    run = run_product(mesh, *even_size(mesh.params), DIE_K)
    if run.different or run.idle_nodes:
        raise DeviceError(
            f"a product that is measured must be right and on all nodes, not differ in "
            f"{run.different} elements and leave {len(run.idle_nodes)} nodes idle"
        )
    return run.tflops
