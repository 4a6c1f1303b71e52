# amaranth: UnusedElaboratable=no
"""The arbiter with an urgent requester against its definition."""

import numpy as np
import pytest
from d1_rtl.node.urgent_arbiter import UrgentArbiter
from d1_rtl.sim.native import NativeModel

_CYCLES = 4000


@pytest.mark.parametrize(("requesters", "urgent"), [(2, 0), (9, 3)])
def test_late_ones_take_turns_then_the_urgent_one_goes_then_the_others_take_turns(
    requesters, urgent
):
    rng = np.random.default_rng(requesters)
    print(f"seed {requesters}")
    requests = rng.integers(0, 1 << requesters, _CYCLES, np.uint32)
    # Often nobody is late, and seldom many are.
    late = rng.integers(0, 1 << requesters, (3, _CYCLES), np.uint32)
    late = late[0] & late[1] & late[2] * (rng.random(_CYCLES) < 0.5).astype(np.uint32)
    arbiter = UrgentArbiter(requesters, urgent=urgent)
    with NativeModel(arbiter, name=f"urgent_arbiter_{requesters}") as model:
        model.reset()
        grants = model.play({"requests": requests, "late": late}, ["grants"])["grants"][:, 0]
    last = requesters - 1
    seen = {"late": 0, "urgent": 0, "others": 0, "nobody": 0}
    for request, is_late, grant in zip(
        requests.tolist(), late.tolist(), grants.tolist(), strict=True
    ):
        turn = [(last + 1 + n) % requesters for n in range(requesters)]
        asking = [n for n in turn if request >> n & 1]
        first = [n for n in asking if is_late >> n & 1]
        if first:
            seen["late"] += 1
            winner = last = first[0]
        elif urgent in asking:
            seen["urgent"] += 1
            winner = urgent  # the turn stays where it is
        elif asking:
            seen["others"] += 1
            winner = last = asking[0]
        else:
            seen["nobody"] += 1
            winner = None
        assert grant == (0 if winner is None else 1 << winner)
    assert min(seen.values()) > 0


@pytest.mark.parametrize("urgent", [-1, 3])
def test_an_urgent_requester_that_is_none_is_refused(urgent):
    with pytest.raises(ValueError, match=rf"urgent must be in 0\.\.2, not {urgent}"):
        UrgentArbiter(3, urgent=urgent)
