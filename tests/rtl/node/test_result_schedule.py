# amaranth: UnusedElaboratable=no
"""The schedule of results against a dictionary of cycles."""

import random

import numpy as np
import pytest
from d1_rtl.node.result_schedule import ResultSchedule, scheduled_layout
from d1_rtl.sim.native import NativeModel

_SEED = 13
_CYCLES = 5000
_NOTE = 7


def _bits(used: bool, note: int) -> int:
    return scheduled_layout(_NOTE).const({"used": used, "note": note}).as_bits()


@pytest.mark.parametrize("longest", [1, 3, 4, 21, 31, 32])
def test_every_result_is_due_after_its_latency_and_none_meets_another(longest):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    due: dict[int, int] = {}
    free, waiting = [], []
    enter, after = np.zeros(_CYCLES, np.uint32), np.zeros(_CYCLES, np.uint32)
    for n in range(_CYCLES):
        free.append(sum((n + distance not in due) << distance for distance in range(longest + 1)))
        waiting.append(any(cycle >= n for cycle in range(n, n + longest + 1) if cycle in due))
        after[n], note = rng.randint(1, longest), rng.randrange(1 << _NOTE)
        if rng.random() < 0.6 and free[-1] >> int(after[n]) & 1:
            due[n + int(after[n])] = note
            enter[n] = _bits(True, note)
    with NativeModel(ResultSchedule(longest=longest, note=_NOTE), name="result_schedule") as model:
        model.reset()
        outputs = model.play({"enter": enter, "after": after}, ["free", "due", "any"])
    mask = (1 << longest + 1) - 1
    words = outputs["free"].astype(np.uint64)
    got = words[:, 0] | (words[:, 1] << np.uint64(32) if words.shape[1] > 1 else np.uint64(0))
    assert [int(value) & mask for value in got] == free
    assert outputs["any"][:, 0].tolist() == waiting
    used = _bits(True, 0)
    expected = [_bits(True, due[n]) if n in due else 0 for n in range(_CYCLES)]
    actual = [bits if bits & used else 0 for bits in outputs["due"][:, 0].tolist()]
    assert actual == expected
    assert sum(map(bool, expected)) > _CYCLES // 3


def test_a_latency_below_one_is_refused():
    with pytest.raises(ValueError, match="longest must be at least 1, not 0"):
        ResultSchedule(longest=0, note=1)
