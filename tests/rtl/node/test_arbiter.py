# amaranth: UnusedElaboratable=no
"""The round-robin arbiter against its definition."""

import numpy as np
import pytest
from d1_rtl.node.arbiter import RoundRobinArbiter
from d1_rtl.sim.native import NativeModel


@pytest.mark.parametrize("requesters", [2, 7])
def test_the_next_requester_after_the_last_one_granted_is_granted(requesters):
    rng = np.random.default_rng(requesters)
    print(f"seed {requesters}")
    requests = rng.integers(0, 1 << requesters, 2000, np.uint32)
    with NativeModel(RoundRobinArbiter(requesters), name=f"arbiter_{requesters}") as model:
        model.reset()
        grants = model.play({"requests": requests}, ["grants"])["grants"][:, 0]
    last = requesters - 1
    for request, grant in zip(requests.tolist(), grants.tolist(), strict=True):
        turn = [(last + 1 + n) % requesters for n in range(requesters)]
        wanted = [n for n in turn if request >> n & 1]
        assert grant == (1 << wanted[0] if wanted else 0)
        last = wanted[0] if wanted else last


def test_no_requesters_are_refused():
    with pytest.raises(ValueError, match="requesters must be at least 1, not 0"):
        RoundRobinArbiter(0)
