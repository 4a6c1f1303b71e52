# amaranth: UnusedElaboratable=no
"""Scalar results meet their destinations, however long they wait."""

import random
from collections import deque

from d1_golden.params import preset
from d1_rtl.node.scalar_return import ScalarDestination, ScalarReturn, vector_scalar_layout
from d1_rtl.sim.native import NativeModel

_SEED = 18
_LATENCY = 3  # from the destination to its value


def test_every_value_leaves_with_its_destination_in_order():
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    params = preset("tiny")
    with NativeModel(ScalarReturn(params), name="scalar_return") as model:
        model.reset()
        way: deque = deque([None] * _LATENCY)
        expected: deque = deque()
        left = 0
        for cycle in range(4000):
            slow = cycle // 500 % 2
            room, item = model.get("room"), None
            if room and rng.random() < 0.8:
                item = (rng.randrange(params.threads), rng.randrange(32), rng.getrandbits(64))
                expected.append(item)
            thread, rd, _ = item or (0, 0, 0)
            destination = {"valid": item is not None, "thread": thread, "rd": rd}
            model.set("enter", ScalarDestination.const(destination).as_bits())
            way.append(item)
            value = way.popleft()
            model.set("i__valid", int(value is not None))
            model.set("i__payload", value[2] if value else rng.getrandbits(64))
            ready = rng.random() < (0.2 if slow else 1.0)
            model.set("o__ready", int(ready))
            waiting = {t for t, _, _ in list(expected)[: len(expected) - (item is not None)]}
            assert model.get("busy") == sum(1 << t for t in waiting)
            if ready and model.get("o__valid"):
                result = vector_scalar_layout().from_bits(model.get("o__payload"))
                assert (result.thread, result.rd, result.value) == expected.popleft()
                left += 1
            model.step()
    assert left > 1500
