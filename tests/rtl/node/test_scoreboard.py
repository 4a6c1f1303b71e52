# amaranth: UnusedElaboratable=no
"""The scoreboard against a set of register numbers."""

import random

import numpy as np
from d1_rtl.node.scoreboard import RegisterQuery, Scoreboard
from d1_rtl.sim.native import NativeModel

_SEED = 12
_CYCLES = 5000


def _bits(query: tuple[bool, int]) -> int:
    used, number = query
    return RegisterQuery.const({"used": used, "number": number}).as_bits()


def test_answers_are_those_of_a_set_of_waiting_registers():
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")

    def query() -> tuple[bool, int]:
        return rng.random() < 0.7, rng.randrange(32 if rng.random() < 0.3 else 4)

    names = ("reserve", "write", "queries__0", "queries__1", "queries__2")
    cycles = [{name: query() for name in names} for _ in range(_CYCLES)]
    inputs = {n: np.array([_bits(cycle[n]) for cycle in cycles], np.uint32) for n in names}
    with NativeModel(Scoreboard(), name="scoreboard") as model:
        model.reset()
        outputs = model.play(inputs, ["ready", "clear_now", "any"])
    waiting: set[int] = set()
    for n, cycle in enumerate(cycles):
        asked = [number for used, number in (cycle[f"queries__{i}"] for i in range(3)) if used]
        written = {cycle["write"][1]} if cycle["write"][0] else set()
        assert outputs["ready"][n, 0] == (not waiting - written & set(asked)), n
        used, number = cycle["queries__0"]
        assert outputs["clear_now"][n, 0] == (not (used and number in waiting)), n
        assert outputs["any"][n, 0] == bool(waiting), n
        waiting -= written
        if cycle["reserve"][0]:
            waiting.add(cycle["reserve"][1])
