# amaranth: UnusedElaboratable=no
"""The elastic buffer against a queue."""

import random
from collections import deque

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.node.elastic_buffer import ElasticBuffer
from d1_rtl.sim import on_fpga
from d1_rtl.sim.native import NativeModel

from testbench.on_fpga import CycleModel

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


def test_a_line_must_be_the_last_field():
    with pytest.raises(ValueError, match="line must be the last field, b, not 'a'"):
        ElasticBuffer(data.StructLayout({"a": 8, "b": 8}), line="a")


class Chain(wiring.Component):
    """A buffer into which whole lines come, and one into which they are shifted."""

    def __init__(self):
        self.layout = data.StructLayout({"head": 8, "line": 64})
        packet = stream.Signature(self.layout)
        super().__init__({"i": In(packet), "o": Out(packet)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = ElasticBuffer(self.layout, line="line", steady=True)
        m.submodules.second = second = ElasticBuffer(
            self.layout, depth=3, line="line", shortcut=True
        )
        wiring.connect(m, wiring.flipped(self.i), first.i)
        wiring.connect(m, first.o, second.i)
        wiring.connect(m, second.o, wiring.flipped(self.o))
        return m


@pytest.mark.parametrize("rates", [(0.3, 1.0), (1.0, 0.3), (0.7, 0.7)])
def test_lines_that_are_shifted_through_are_whole_in_the_last_turn(rates):
    print(f"seed {rates}")
    rng = random.Random(str(rates))
    send, take = rates
    chain = Chain()
    bits = chain.layout.size
    with NativeModel(on_fpga.OnFpga(chain), name="elastic_chain") as native:
        native.reset()
        model = CycleModel(native, late={"o__payload"})
        queue: deque[int] = deque()
        offered = None
        passed = 0
        for _ in range(400):
            if offered is None and rng.random() < send:
                offered = rng.getrandbits(bits)
            ready = rng.random() < take
            model.set("i__valid", offered is not None)
            model.set("i__payload", offered or rng.getrandbits(bits))
            model.set("o__ready", ready)
            if model.get("o__valid") and ready:
                assert model.get("o__payload") == queue.popleft()
                passed += 1
            if offered is not None and model.get("i__ready"):
                queue.append(offered)
                offered = None
            model.step()
        assert passed > 80
