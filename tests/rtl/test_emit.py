# amaranth: UnusedElaboratable=no
"""Verilog with every distinct module once."""

import random
import re

import pytest
from amaranth.hdl import Instance, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.emit import component_ports, emit
from d1_rtl.sim.native import NativeModel


class Scaler(wiring.Component):
    """Multiplies by a constant, one cycle later; `sum` is another result."""

    a: In(8)
    b: In(8)
    o: Out(16)
    sum: Out(9)

    def __init__(self, factor: int):
        self._factor = factor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        inner = Squarer()
        m.submodules.squarer = inner
        m.d.comb += [inner.a.eq(self.a), self.sum.eq(self.a + self.b)]
        m.d.sync += self.o.eq(inner.o * self._factor + self.b)
        return m


class Squarer(wiring.Component):
    a: In(8)
    o: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.a * self.a)
        return m


class Array(wiring.Component):
    """A row of scalers; the operands reach them as parts of registers, in pieces."""

    def __init__(self, factors, read_sum_of=()):
        self._factors = factors
        self._read_sum_of = read_sum_of
        n = len(factors)
        super().__init__(
            {
                "a": In(data.ArrayLayout(8, n)),
                "b": In(data.ArrayLayout(8, n)),
                "o": Out(data.ArrayLayout(16, n)),
                "sum": Out(data.ArrayLayout(9, n)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        a = Signal.like(self.a)
        low, high = (Signal(data.ArrayLayout(4, len(self._factors))) for _ in range(2))
        m.d.sync += a.eq(self.a)
        for n, factor in enumerate(self._factors):
            m.submodules[f"scaler_{n}"] = scaler = Scaler(factor)
            m.d.sync += [low[n].eq(self.b[n][:4]), high[n].eq(self.b[n][4:])]
            m.d.comb += [
                scaler.a.eq(a[n]),
                scaler.b[:4].eq(low[n]),
                scaler.b[4:].eq(high[n]),
                self.o[n].eq(scaler.o),
            ]
            if n in self._read_sum_of:
                m.d.comb += self.sum[n].eq(scaler.sum)
        return m


def modules(verilog):
    return re.findall(r"^module \\?(\w+)", verilog, re.MULTILINE)


def test_equal_instances_share_one_module_at_every_level():
    assert modules(emit(Array([3] * 64), name="row")) == [
        "row",
        "row_scaler_0",
        "row_scaler_0_squarer",
    ]


def test_instances_with_other_parameters_keep_their_own_module():
    names = modules(emit(Array([3, 5, 3, 5]), name="row"))
    assert names == ["row", "row_scaler_0", "row_scaler_0_squarer", "row_scaler_1"]


def test_an_output_that_only_some_parents_read_makes_no_other_module():
    names = modules(emit(Array([3] * 4, read_sum_of=[2]), name="row"))
    assert names == ["row", "row_scaler_0", "row_scaler_0_squarer"]


def test_a_deduplicated_array_computes_what_its_elements_should():
    seed, n = 7, 6
    print(f"seed {seed}")
    rng = random.Random(seed)
    factors = [3, 5, 3, 3, 5, 3]
    with NativeModel(Array(factors, read_sum_of=[1, 4]), name="row_of_six") as model:
        model.reset()
        for _ in range(200):
            a, b = ([rng.randrange(256) for _ in range(n)] for _ in range(2))
            model.set("a", int.from_bytes(bytes(a), "little"))
            model.set("b", int.from_bytes(bytes(b), "little"))
            model.step(2)
            o, sums = model.get("o"), model.get("sum")
            for k in range(n):
                assert o >> 16 * k & 0xFFFF == (a[k] * a[k] * factors[k] + b[k]) & 0xFFFF
                assert sums >> 9 * k & 0x1FF == (a[k] + b[k] if k in (1, 4) else 0)


def test_equal_components_give_equal_text_without_traces_of_this_machine():
    text = emit(Array([3, 5]), name="row")
    assert text == emit(Array([3, 5]), name="row")
    assert "src" not in text
    assert __file__ not in text


def test_a_combinational_component_has_clock_and_reset_too():
    header = re.search(r"module square\(([^)]*)\)", emit(Squarer(), name="square"))
    assert sorted(header[1].split(", ")) == ["a", "clk", "o", "rst"]


def test_ports_are_named_by_their_path_and_those_of_no_width_are_left_out():
    class Ports(wiring.Component):
        i: In(stream.Signature(data.StructLayout({"x": 3, "y": 5})))
        o: Out(wiring.Signature({"valid": Out(1), "ready": In(1)})).array(2)
        nothing: In(unsigned(0))

        def elaborate(self, platform):
            return Module()

    found = [tuple(port) for port in component_ports(Ports())]
    assert found == [
        ("clk", 1, True),
        ("rst", 1, True),
        ("i__payload", 8, True),
        ("i__valid", 1, True),
        ("i__ready", 1, False),
        ("o__0__valid", 1, False),
        ("o__0__ready", 1, True),
        ("o__1__valid", 1, False),
        ("o__1__ready", 1, True),
    ]


class Inverter(wiring.Component):
    a: In(1)
    o: Out(1)

    def __init__(self, cell: str):
        self._cell = cell
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        for _ in range(2):
            m.submodules += Instance(self._cell, i_clk=self.a, i_en=1, o_gclk=self.o)
            self.o = Signal()
        return m


def test_a_cell_of_the_project_is_appended_once():
    assert modules(emit(Inverter("d1_clock_gate"), name="top")).count("d1_clock_gate") == 1


def test_an_instance_of_given_verilog_survives(tmp_path):
    source = tmp_path / "cell.v"
    source.write_text("module my_cell(input clk, input en, output gclk); endmodule\n")
    assert modules(emit(Inverter("my_cell"), name="top", extra_sources=[source])) == [
        "top",
        "my_cell",
    ]


def test_an_instance_that_nothing_defines_is_refused():
    with pytest.raises(ValueError, match=r"must name a module of extra_sources .*, not 'my_cell'"):
        emit(Inverter("my_cell"), name="top")


def test_a_name_that_verilog_does_not_take_is_refused():
    with pytest.raises(ValueError, match="name must be a Verilog identifier, not 'my-top'"):
        emit(Squarer(), name="my-top")


def test_a_port_that_takes_the_name_of_the_clock_is_refused():
    class Clocked(wiring.Component):
        clk: In(1)

        def elaborate(self, platform):
            return Module()

    with pytest.raises(ValueError, match="a port must not be named 'clk'"):
        emit(Clocked(), name="clocked")


class PartlyConstant(wiring.Component):
    """A signal of which one part is constant and the other is chosen."""

    choice: In(1)
    o: Out(data.StructLayout({"constant": 8, "chosen": 8}))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.constant.eq(0x5A)
        with m.If(self.choice):
            m.d.comb += self.o.chosen.eq(0xC3)
        return m


def test_a_constant_part_of_a_signal_has_its_value_in_simulation():
    with NativeModel(PartlyConstant(), name="partly_constant") as model:
        for choice, expected in ((0, 0x005A), (1, 0xC35A)):
            model.set("choice", choice)
            assert model.get("o") == expected
