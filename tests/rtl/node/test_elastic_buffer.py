# amaranth: UnusedElaboratable=no
"""The elastic buffer against a queue."""

import random
from collections import deque

import pytest
from d1_rtl.node.elastic_buffer import ElasticBuffer
from d1_rtl.sim.native import NativeModel

PORTS = ("i__ready", "level", "o__valid", "o__payload")


class OnFpga(ElasticBuffer):
    """As it is where there are small memories."""

    def elaborate(self, platform):
        return super().elaborate("an FPGA")


@pytest.fixture(
    scope="module",
    params=[
        *((ElasticBuffer, *shape) for shape in ((2, False), (3, False), (2, True), (4, True))),
        *((OnFpga, *shape) for shape in ((2, False), (3, True))),
    ],
)
def buffer(request):
    kind, depth, shortcut = request.param
    component = kind(16, depth=depth, shortcut=shortcut)
    with NativeModel(component, name=f"elastic_buffer_{depth}_{shortcut}") as model:
        model.depth, model.shortcut = depth, shortcut
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
        before = [buffer.get(port) for port in PORTS]
        buffer.set("i__valid", offered is not None)
        buffer.set("i__payload", offered or 0)
        buffer.set("o__ready", ready)
        now = [buffer.get(port) for port in PORTS]
        assert now[:2] == before[:2] == [len(queue) < buffer.depth, len(queue)]
        full = len(queue) == buffer.depth
        passes = buffer.shortcut and not queue and offered is not None
        if passes:
            assert now[2:] == [1, offered]
        else:
            assert now[2] == (len(queue) > 0)
            assert buffer.shortcut or now[2:] == before[2:]
            assert not queue or now[3] == queue[0]
        if queue and ready:
            queue.popleft()
            passed += 1
        if passes and ready:
            passed += 1
            offered = None
        elif offered is not None and not full:
            queue.append(offered)
            offered = None
        buffer.step()
    if send == take == 1.0:
        assert passed == 999 + buffer.shortcut
    assert passed > 100


def test_a_depth_that_would_halve_the_throughput_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 2, not 1"):
        ElasticBuffer(8, depth=1)
