# amaranth: UnusedElaboratable=no
"""The gated clock domain."""

import re

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.clock_gate import ClockGate
from d1_rtl.emit import emit
from d1_rtl.sim.native import NativeModel


class Accumulator(wiring.Component):
    """Adds and keeps a history; every register keeps its value without a clock."""

    a: In(8)
    o: Out(8)
    oldest: Out(8)
    edges: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.submodules.history = history = memory.Memory(shape=8, depth=8, init=[])
        write, read = history.write_port(), history.read_port()
        m.d.comb += [
            write.addr.eq(self.edges),
            write.data.eq(self.o),
            write.en.eq(1),
            read.addr.eq(self.edges + 1),
            self.oldest.eq(read.data),
        ]
        m.d.sync += [self.o.eq(self.o + self.a), self.edges.eq(self.edges + 1)]
        return m


class Gated(wiring.Component):
    """Registers of `sync` before and after a unit behind a gate."""

    a: In(8)
    en: In(1)
    o: Out(8)
    oldest: Out(8)
    edges: Out(16)

    def __init__(self, *, gated: bool):
        self._gated = gated
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        gate = ClockGate(domain="unit", gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules.gate = gate
        unit = Accumulator()
        m.submodules.unit = gate.drive(unit)
        before, en = Signal(8), Signal()
        m.d.sync += [
            before.eq(self.a + unit.o),
            en.eq(self.en),
            self.o.eq(unit.o),
            self.oldest.eq(unit.oldest),
        ]
        m.d.comb += [unit.a.eq(before), gate.en.eq(en), self.edges.eq(unit.edges)]
        return m


def play(*, gated, a, en):
    with NativeModel(Gated(gated=gated), name=f"gated_{gated}".lower()) as model:
        model.reset()
        return model.play({"a": a, "en": en}, ["o", "oldest", "edges"])


def test_registers_on_both_sides_of_a_gate_exchange_data_without_a_race():
    seed = 11
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 256, 20_000, dtype=np.uint8)
    en = rng.integers(0, 2, 20_000, dtype=np.uint8)
    behind_gate, enabled = (play(gated=gated, a=a, en=en) for gated in (True, False))
    for port in behind_gate:
        np.testing.assert_array_equal(behind_gate[port], enabled[port])
    # An edge for each enabled cycle but the last two, which are still on their way to it.
    assert behind_gate["edges"][-1] == np.count_nonzero(en[:-2])


def test_the_gate_is_a_cell_and_the_enable_is_none():
    assert len(re.findall("^ *d1_clock_gate ", emit(Gated(gated=True), name="g"), re.M)) == 1
    assert "d1_clock_gate" not in emit(Gated(gated=False), name="g")


def test_the_domain_is_reset_while_it_is_not_enabled():
    with NativeModel(Gated(gated=True), name="gated_true") as model:
        model.reset()
        model.set("en", 1)
        model.step(10)
        assert model.get("edges") == 9
        model.set("en", 0)
        model.step(2)
        assert model.get("edges") == 10
        model.reset()
        assert model.get("edges") == 0


def test_the_common_domain_cannot_be_gated():
    with pytest.raises(ValueError, match="domain must be a new one, not 'sync'"):
        ClockGate(domain="sync")
