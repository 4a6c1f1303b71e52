"""Nodes of a machine of several dies that pull lines of others, all at the same time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from d1_golden.assembler import assemble
from d1_golden.fabric.place import Place
from d1_golden.params import LINE_BYTES

from d1.device import Call
from d1.fabric.machine import Machine

__all__ = ["pull_all"]

#: Pulls a line from the address at a0 to the line after it.
_PULL = assemble("ld t0, 0(a0)\naddi t1, a0, 64\npull t1, t0, 1\nfence\necall").code


def pull_all(machine: Machine, pairs: Mapping[Place, Place], *, seed: int, max_cycles: int) -> int:
    """Have each node of `pairs` pull a random line of its partner; return how many were right."""
    rng = np.random.default_rng(seed)
    with machine.data.scratch(3 * LINE_BYTES) as base:
        source = base + 2 * LINE_BYTES
        lines = {there: rng.integers(0, 256, LINE_BYTES, np.uint8) for there in pairs.values()}
        machine.write([(machine.nodes[there], source, line) for there, line in lines.items()])
        calls = {
            here: Call(
                _PULL,
                base,
                inputs=((base, np.array([there.address(source)], "<u8")),),
                outputs=((base + LINE_BYTES, LINE_BYTES),),
            )
            for here, there in pairs.items()
        }
        outputs = machine.call(calls, max_cycles=max_cycles)
    return sum(np.array_equal(outputs[here][0], lines[there]) for here, there in pairs.items())
