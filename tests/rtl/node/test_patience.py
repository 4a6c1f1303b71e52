# amaranth: UnusedElaboratable=no
"""Patience against a count of the cycles that each client has waited."""

import numpy as np
import pytest
from d1_rtl.node.patience import Patience
from d1_rtl.sim.native import NativeModel

_CLIENTS = 5


@pytest.mark.parametrize("cycles", [1, 4])
def test_late_is_who_has_waited_in_each_of_the_last_cycles(cycles):
    print(f"seed {cycles}")
    rng = np.random.default_rng(cycles)
    waits = (rng.random((3000, _CLIENTS)) < 0.8).astype(np.uint32)
    rows = (waits << np.arange(_CLIENTS, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    with NativeModel(Patience(_CLIENTS, cycles=cycles), name=f"patience_{cycles}") as model:
        model.reset()
        late = model.play({"waits": rows}, ["late"])["late"][:, 0]
    for now in range(len(rows)):
        before = waits[max(now - cycles, 0) : now]
        expected = before.all(axis=0) & (now >= cycles)
        assert [bool(late[now] >> client & 1) for client in range(_CLIENTS)] == expected.tolist()
    assert 0 < np.count_nonzero(late) < len(late)


def test_no_patience_is_refused():
    with pytest.raises(ValueError, match="cycles must be at least 1, not 0"):
        Patience(2, cycles=0)
