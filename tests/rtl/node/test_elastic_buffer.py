# amaranth: UnusedElaboratable=no
"""The elastic buffer against a queue."""

import random
from collections import deque

import pytest
from d1_rtl.node.elastic_buffer import ElasticBuffer
from d1_rtl.sim.native import NativeModel


@pytest.fixture(scope="module", params=[2, 3])
def buffer(request):
    with NativeModel(
        ElasticBuffer(16, depth=request.param), name=f"elastic_buffer_{request.param}"
    ) as model:
        model.depth = request.param
        yield model


@pytest.mark.parametrize("send", [0.2, 0.8, 1.0])
@pytest.mark.parametrize("take", [0.2, 0.8, 1.0])
def test_it_is_a_queue_of_its_depth_that_never_idles(buffer, send, take):
    seed = f"{send} {take}"
    print(f"seed {seed}")
    rng = random.Random(seed)
    buffer.set("i__valid", 0)
    buffer.set("o__ready", 0)
    buffer.reset()
    queue = deque()
    offered = None
    passed = 0
    for _ in range(1000):
        if offered is None and rng.random() < send:
            offered = rng.getrandbits(16)
        ready = rng.random() < take
        # Outputs come from registers: they are what they are before the inputs of the cycle.
        before = [buffer.get(port) for port in ("i__ready", "o__valid", "o__payload", "level")]
        buffer.set("i__valid", offered is not None)
        buffer.set("i__payload", offered or 0)
        buffer.set("o__ready", ready)
        now = [buffer.get(port) for port in ("i__ready", "o__valid", "o__payload", "level")]
        assert now == before
        assert now[0] == (len(queue) < buffer.depth)
        assert now[1] == (len(queue) > 0)
        assert now[3] == len(queue)
        if queue:
            assert now[2] == queue[0]
        full = len(queue) == buffer.depth
        if queue and ready:
            queue.popleft()
            passed += 1
        if offered is not None and not full:
            queue.append(offered)
            offered = None
        buffer.step()
    if send == take == 1.0:
        assert passed == 999
    assert passed > 100


def test_a_depth_that_would_halve_the_throughput_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 2, not 1"):
        ElasticBuffer(8, depth=1)
