# amaranth: UnusedElaboratable=no
"""The scalar scoreboard against a set of registers of each thread."""

import random

import numpy as np
from d1_golden.params import preset
from d1_rtl.node.interfaces import ScalarResult
from d1_rtl.node.scalar_scoreboard import RegisterMark, ScalarScoreboard
from d1_rtl.sim.native import NativeModel

_SEED = 23
_CYCLES = 4000
_MARKS, _RESULTS = 3, 2


def test_a_register_waits_from_its_mark_to_its_result():
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    params = preset("tiny")
    marked: set[tuple[int, int]] = set()
    cycles, expected = [], []
    for _ in range(_CYCLES):
        free = [(t, r) for t in range(params.threads) for r in range(1, 8) if (t, r) not in marked]
        marks = rng.sample(free, min(len(free), rng.randrange(_MARKS + 1)))
        results = rng.sample(sorted(marked), min(len(marked), rng.randrange(_RESULTS + 1)))
        expected.append((marked - set(results), set(marked)))
        marked = (marked - set(results)) | set(marks)
        cycles.append((marks, results))
    inputs = {}
    for name, layout, count in (
        ("marks", RegisterMark, _MARKS),
        ("results", ScalarResult, _RESULTS),
    ):
        for n in range(count):
            bits = []
            for cycle in cycles:
                items = cycle[name == "results"]
                item = {"valid": n < len(items)}
                if item["valid"]:
                    item |= {"thread": items[n][0], "rd": items[n][1]}
                bits.append(layout.const(item).as_bits())
            width = 32 if name == "marks" else 96
            words = np.array(
                [[b >> 32 * w & 0xFFFF_FFFF for w in range(width // 32)] for b in bits]
            )
            inputs[f"{name}__{n}"] = words.astype(np.uint32)
    scoreboard = ScalarScoreboard(params, marks=_MARKS, results=_RESULTS)
    names = [*(f"waiting__{t}" for t in range(params.threads)), "any"]
    with NativeModel(scoreboard, name="scalar_scoreboard") as model:
        model.reset()
        outputs = model.play(inputs, names)
    for n, (waiting, registered) in enumerate(expected):
        for thread in range(params.threads):
            bits = sum(1 << r for t, r in waiting if t == thread)
            assert outputs[f"waiting__{thread}"][n, 0] == bits, n
            busy = any(t == thread for t, _ in registered)
            assert outputs["any"][n, 0] >> thread & 1 == busy, n
