# amaranth: UnusedElaboratable=no
"""The scoreboard against a set of register numbers."""

import random

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.node.scoreboard import MASK_BASE, REGISTERS, Scoreboard, register_bit
from d1_rtl.sim.native import NativeModel

_SEED = 12
_CYCLES = 5000


def test_answers_are_those_of_a_set_of_waiting_registers():
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")

    def registers(chance: float) -> set[int]:
        span = REGISTERS if rng.random() < 0.3 else 4
        return {rng.randrange(span) for _ in range(3) if rng.random() < chance}

    chances = {"reserve": 0.3, "write": 0.3, "uses": 0.7}
    cycles = [{name: registers(chance) for name, chance in chances.items()} for _ in range(_CYCLES)]
    inputs = {
        name: np.array([sum(1 << n for n in cycle[name]) for cycle in cycles], np.uint64)
        for name in chances
    }
    with NativeModel(Scoreboard(), name="scoreboard") as model:
        model.reset()
        outputs = model.play(inputs, ["ready", "any"])
    waiting: set[int] = set()
    for n, cycle in enumerate(cycles):
        left = waiting - cycle["write"]
        assert outputs["ready"][n, 0] == (not left & cycle["uses"]), n
        assert outputs["any"][n, 0] == bool(waiting), n
        waiting = left | cycle["reserve"]
    assert 0 < outputs["ready"].sum() < _CYCLES


class _RegisterBit(wiring.Component):
    used: In(1)
    vector: In(5)
    mask: In(3)
    vectors: Out(REGISTERS)
    masks: Out(REGISTERS)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.vectors.eq(register_bit(self.used, self.vector)),
            self.masks.eq(register_bit(self.used, self.mask, base=MASK_BASE)),
        ]
        return m


def test_vector_registers_come_before_mask_registers():
    with NativeModel(_RegisterBit(), name="register_bit") as model:
        for used in (0, 1):
            for number in range(32):
                model.set("used", used)
                model.set("vector", number)
                model.set("mask", number % 8)
                assert model.get("vectors") == used << number
                assert model.get("masks") == used << 32 + number % 8
