# amaranth: UnusedElaboratable=no
"""Cycles of several clocks, and a unit that serves several words in their turns."""

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga
from d1_rtl.turns import (
    CYCLE_CLOCKS,
    TURN_CLOCKS,
    TURNS,
    ClockKind,
    TurnCounter,
    Turns,
    clocks_between,
    collected,
    delayed,
    word_of_turn,
)

from testbench.on_fpga import CycleModel

SEED = 8


class Increment(wiring.Component):
    """Adds one to each byte of a word with one adder, and counts its cycles."""

    i: In(8 * TURNS)
    o: Out(8 * TURNS)
    cycle: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.submodules.turns = turns = TurnCounter()
        held = Signal.like(self.i)
        m.d.sync += [held.eq(self.i), self.cycle.eq(self.cycle + 1)]
        byte = (word_of_turn(held, turns.number, 8) + 1)[:8]
        m.d.comb += self.o.eq(collected(m, delayed(m, byte, TURNS, "byte"), "o"))
        return m


def test_one_adder_serves_all_bytes_of_a_word_in_every_cycle():
    print(f"seed {SEED}")
    words = np.random.default_rng(SEED).integers(0, 256, (200, TURNS)).astype(np.uint8)
    with NativeModel(OnFpga(Increment()), name="increment") as native:
        model = CycleModel(native)
        model.reset()
        played = model.play({"i": words.view(np.uint32)}, ["o", "cycle"])
        assert native.cycles == 2 + CYCLE_CLOCKS * len(words)
    assert np.array_equal(played["cycle"][:, 0], np.arange(len(words)))
    # A cycle into the register, one into the adder and out of it.
    assert np.array_equal(played["o"].astype(np.uint32).view(np.uint8)[2:], words[:-2] + 1)


class Ticks(wiring.Component):
    """Counts the clocks, turns and cycles since the reset, modulo 256."""

    clocks: Out(8)
    turns: Out(8)
    cycles: Out(8)

    def elaborate(self, platform):
        m = Module()
        turns = Turns()
        m.domains += turns.clock_domains
        m.submodules.turns = turns
        m.d.sync += self.clocks.eq(self.clocks + 1)
        m.d.turn += self.turns.eq(self.turns + 1)
        m.d.cycle += self.cycles.eq(self.cycles + 1)
        return m


def test_a_path_has_the_clocks_from_a_change_of_its_source_to_the_next_one_of_its_end():
    names = [f"{kind.value}s" for kind in ClockKind]
    with NativeModel(Ticks(), name="ticks") as native:
        native.reset()
        seen = []
        for _ in range(4 * CYCLE_CLOCKS):
            seen.append([native.get(name) for name in names])
            native.step()
    changes = [list(np.flatnonzero(np.diff(ticks))) for ticks in np.array(seen).T]
    assert np.diff(changes[1])[: 2 * TURNS].tolist() == [*TURN_CLOCKS[1:], TURN_CLOCKS[0]] * 2
    assert set(np.diff(changes[2])) == {CYCLE_CLOCKS}
    for launch, begins in zip(ClockKind, changes, strict=True):
        for capture, ends in zip(ClockKind, changes, strict=True):
            nearest = [min((e - b for e in ends if e > b), default=CYCLE_CLOCKS) for b in begins]
            assert clocks_between(launch, capture) == min(nearest)
