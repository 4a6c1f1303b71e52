# amaranth: UnusedElaboratable=no
"""The slot allocator against a plain description of who may go."""

import random
from dataclasses import replace

import numpy as np
import pytest
from d1_golden.params import preset
from d1_rtl.node.slot_allocator import LaneNeeds, SlotAllocator
from d1_rtl.sim.native import NativeModel

_SEED = 22
_CASES = 20_000


def _lane(rng: random.Random) -> dict[str, int]:
    needs = dict.fromkeys(
        ("ready", "alu", "first_alu", "simple", "address", "loads", "stores", "vector", "ends"), 0
    )
    needs["ready"] = int(rng.random() < 0.9)
    needs["ends"] = int(rng.random() < 0.1)
    kinds = ("alu", "simple alu", "first_alu", "load", "store", "vector", "vector memory")
    kind = rng.choice(kinds)
    needs["alu"] = int("alu" in kind)
    needs["simple"] = int(kind == "simple alu")
    needs["first_alu"] = int(kind == "first_alu")
    needs["address"] = int(kind in ("load", "store", "vector memory"))
    needs["loads"] = int(kind == "load")
    needs["stores"] = int(kind == "store")
    needs["vector"] = int("vector" in kind)
    return needs


def _allocate(groups, alu_slots, first, free):
    """Return who goes, and the ALU and address slot of each, or None."""
    alus = set(range(0 if first else 1, alu_slots))
    addresses = {slot for slot in range(alu_slots) if free >> slot & 1}
    result = []
    for group in groups:
        going, vector = True, True
        for lane in group:
            alu = address = None
            if lane["alu"]:
                possible = alus & {0} if lane["first_alu"] else alus
                alu = max(possible, default=None)
            goes_to_address = lane["address"] or (lane["simple"] and alu is None)
            if goes_to_address:
                possible = addresses
                if lane["loads"]:
                    possible = addresses & {0}
                elif lane["stores"]:
                    possible = addresses & {alu_slots - 1}
                address = max(possible, default=None)
            lacks = (
                (lane["alu"] and alu is None and not goes_to_address)
                or (goes_to_address and address is None)
                or (lane["vector"] and not vector)
            )
            going = going and bool(lane["ready"]) and not lacks
            result.append((going, alu if going else None, address if going else None))
            if going:
                alus -= {alu}
                addresses -= {address}
                vector = vector and not lane["vector"]
                going = not lane["ends"]
    return result


@pytest.mark.parametrize("groups,width,scalar_slots", [(2, 4, 2), (2, 4, 4), (1, 2, 2)])
def test_slots_are_given_in_program_order(groups, width, scalar_slots):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    slots, count = scalar_slots // 2, groups * width
    cases = [
        ([_lane(rng) for _ in range(count)], rng.random() < 0.9, rng.randrange(1 << slots))
        for _ in range(_CASES)
    ]
    inputs = {
        f"lanes__{n}": np.array(
            [LaneNeeds.const(lanes[n]).as_bits() for lanes, _, _ in cases], np.uint32
        )
        for n in range(count)
    }
    inputs["first_free"] = np.array([first for _, first, _ in cases], np.uint32)
    inputs["address_free"] = np.array([free for *_, free in cases], np.uint32)
    names = ["goes", *(f"{kind}__{n}" for kind in ("alu", "address") for n in range(count))]
    shape = {"issue_groups": groups, "issue_width": width, "scalar_slots": scalar_slots}
    allocator = SlotAllocator(replace(preset("tiny"), **shape))
    with NativeModel(allocator, name=f"slot_allocator_{count}_{scalar_slots}") as model:
        outputs = model.play(inputs, names)
    gone = 0
    for case, (lanes, first, free) in enumerate(cases):
        lanes_of_groups = [lanes[n : n + width] for n in range(0, count, width)]
        expected = _allocate(lanes_of_groups, slots, first, free)
        for n, (goes, alu, address) in enumerate(expected):
            assert outputs["goes"][case, 0] >> n & 1 == goes, (case, n)
            assert outputs[f"alu__{n}"][case, 0] == (0 if alu is None else 1 << alu), (case, n)
            bits = 0 if address is None else 1 << address
            assert outputs[f"address__{n}"][case, 0] == bits, (case, n)
            gone += goes
    assert gone > 0.8 * _CASES  # the slots are used
