# amaranth: UnusedElaboratable=no
"""The schedule of results against a dictionary of cycles."""

import random

import numpy as np
import pytest
from d1_rtl.node.result_schedule import ResultSchedule
from d1_rtl.node.scoreboard import RegisterQuery
from d1_rtl.sim.native import NativeModel

_SEED = 13
_CYCLES = 5000


def _bits(used: bool, number: int) -> int:
    return RegisterQuery.const({"used": used, "number": number}).as_bits()


@pytest.mark.parametrize(("short", "long"), [(2, 4), (1, 3), (2, 3)])
def test_every_result_is_due_after_its_latency_and_none_meets_another(short, long):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    due: dict[int, int] = {}
    free = []
    inputs = {name: np.zeros(_CYCLES, np.uint32) for name in ("enter_short", "enter_long")}
    for n in range(_CYCLES):
        free.append(n + short not in due)
        kind, number = rng.choice(["enter_short", "enter_long", "none"]), rng.randrange(32)
        if kind == "enter_long":
            due[n + long] = number
        elif kind == "enter_short" and free[-1]:
            due[n + short] = number
        else:
            continue
        inputs[kind][n] = _bits(True, number)
    with NativeModel(ResultSchedule(short=short, long=long), name="result_schedule") as model:
        model.reset()
        outputs = model.play(inputs, ["short_free", "due"])
    assert outputs["short_free"][:, 0].tolist() == free
    assert 0 < sum(free) < _CYCLES
    expected = [_bits(True, due[n]) if n in due else 0 for n in range(_CYCLES)]
    used = _bits(True, 0)
    actual = [bits if bits & used else 0 for bits in outputs["due"][:, 0].tolist()]
    assert actual == expected


@pytest.mark.parametrize(("short", "long"), [(0, 2), (2, 2), (3, 2)])
def test_latencies_out_of_order_are_refused(short, long):
    with pytest.raises(ValueError, match=f"1 <= short < long, not {short} and {long}"):
        ResultSchedule(short=short, long=long)
