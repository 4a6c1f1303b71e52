"""Route computation against the golden ways, for every plane and input at once."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.place import PLACE_BITS, Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.routing import Plane, RoutingState, route
from d1_golden.memory_map import ROUTER_BASE
from d1_golden.packet import PACKET_DTYPE, Opcode
from d1_rtl.fabric.route_computation import RouteComputation
from d1_rtl.node.interfaces import packet_layout
from d1_rtl.sim.native import NativeModel, to_words

SEED = 11
VECTORS = 2500
PACKET_BITS = 8 * PACKET_DTYPE.itemsize


class Routes(wiring.Component):
    """A route computation for each plane and input, all of the same packet."""

    packet: In(packet_layout())
    place: In(PLACE_BITS)
    entry: In(4)
    exits: In(16)
    core_disabled: In(1)
    outputs: Out(5).array(10)
    control: Out(1).array(10)
    index: Out(10).array(2)

    def elaborate(self, platform):
        m = Module()
        for plane in Plane:
            for port in Port:
                n = len(Port) * plane + port
                m.submodules[f"route_{n}"] = one = RouteComputation(plane, port, packet_layout())
                for name in ("packet", "place", "entry", "exits", "core_disabled"):
                    m.d.comb += getattr(one, name).eq(getattr(self, name))
                m.d.comb += [
                    self.outputs[n].eq(one.outputs),
                    self.control[n].eq(one.control),
                    self.index[plane].eq(one.index),
                ]
        return m


@pytest.fixture(scope="module")
def model():
    with NativeModel(Routes(), name="routes") as model:
        yield model


def random_place(rng: random.Random, near: Place) -> Place:
    """Return a place that often shares coordinates with another, or is beside it."""
    span = rng.choice([0, 1, 1, 3, 40])
    dies = rng.choice([0, 0, 0, 1])
    return Place(
        *(
            min(max(value + rng.randint(-limit, limit), 0), 255)
            for value, limit in zip(near, (span, span, dies, dies), strict=True)
        )
    )


def random_packet(rng: random.Random, here: Place) -> np.void:
    packet = np.frombuffer(rng.randbytes(PACKET_DTYPE.itemsize), PACKET_DTYPE).copy()[0]
    packet["opcode"] = rng.choice([*Opcode, Opcode.BROADCAST, Opcode.BROADCAST])
    near = random_place(rng, here)
    offset = rng.choice([0, ROUTER_BASE, ROUTER_BASE + 0xFFFF, ROUTER_BASE + 0x1_0000, 0x80_0000])
    packet["address"] = near.address(offset) | rng.choice([0, 0, 1 << 56])
    packet["source"] = random_place(rng, here).bits
    far = Place(*map(max, near, random_place(rng, here)))
    packet["mask"] = rng.choice([far, far, random_place(rng, here)]).bits | rng.choice([0, 1 << 40])
    return packet


def test_packets_go_where_the_golden_ways_say(model):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    vectors = []
    for _ in range(VECTORS):
        here = Place(
            *(rng.randint(1, 30) for _ in range(2)), *(rng.randint(0, 2) for _ in range(2))
        )
        state = RoutingState(core_disabled=rng.random() < 0.2)
        value = rng.choice([0, 0, rng.randrange(16)])
        state.entries[:] = value
        state.exits[:] = [rng.choice([0, rng.randrange(16)]) for _ in SIDES]
        vectors.append((here, random_packet(rng, here), state))
    shown = model.play(
        {
            "packet": to_words(
                [int.from_bytes(packet.tobytes(), "little") for _, packet, _ in vectors],
                PACKET_BITS,
            ),
            "place": np.array([here.bits for here, _, _ in vectors], np.uint32),
            "entry": np.array([state.entries[0, 0] for *_, state in vectors], np.uint8),
            "exits": np.array(
                [sum(int(e) << 4 * n for n, e in enumerate(s.exits)) for *_, s in vectors],
                np.uint16,
            ),
            "core_disabled": np.array([state.core_disabled for *_, state in vectors], np.uint8),
        },
        [f"{name}__{n}" for name in ("outputs", "control") for n in range(10)]
        + ["index__0", "index__1"],
    )
    seen = set()
    for k, (here, packet, state) in enumerate(vectors):
        for plane in Plane:
            for port in Port:
                expected = route(plane, here, port, packet, state)
                n = len(Port) * plane + port
                outputs = sum(1 << taken for taken in expected.outputs)
                case = plane, here, port, packet, state
                assert shown[f"outputs__{n}"][k, 0] == outputs, case
                if Port.LOCAL in expected.outputs:
                    assert shown[f"control__{n}"][k, 0] == expected.control, case
                seen.add((outputs, expected.control))
            to = int(packet["address"]) >> 24 if plane is Plane.REQUEST else int(packet["source"])
            index = (to >> 8 & 31) << 5 | to & 31
            assert shown[f"index__{plane}"][k, 0] == index
    # Every single way, refusals, and forks of a broadcast were among them.
    assert {1 << port for port in Port} <= {outputs for outputs, _ in seen}
    assert (1, True) in seen
    assert max(outputs.bit_count() for outputs, _ in seen) == len(Port)
