# amaranth: UnusedElaboratable=no
"""Branch coverage: counters of a Verilated model as lines of Python."""

import re
from pathlib import Path

import pytest
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.clock_gate import ClockGate
from d1_rtl.emit import emit
from d1_rtl.sim.coverage import Coverage, Place
from d1_rtl.sim.native import NativeModel

from testbench.coverage import Exclusion, Report, read_exclusions

_SOURCE = Path(__file__).read_text().splitlines()


class Chooser(wiring.Component):
    """Branches of every kind; `kind` stays below 4 in the tests, and bit 1 of `a` is 0."""

    kind: In(3)
    a: In(8)
    o: Out(8)
    total: Out(8)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.kind[2]):
            m.d.comb += self.o.eq(1)  # if: never
        with m.Elif(self.kind[1]):
            m.d.comb += self.o.eq(self.a)  # elif
            with m.If(self.kind[0]):
                m.d.comb += self.o[:4].eq(2)  # nested
        with m.Else():
            m.d.comb += self.o.eq(3)  # else
        with m.Switch(self.kind):
            with m.Case(0, 1):
                m.d.sync += self.total.eq(self.total + 1)  # case
            with m.Case(6):
                m.d.sync += self.total.eq(0)  # case: never
        bits = Signal(3)
        for n in range(3):
            with m.If(self.a[n]):
                m.d.sync += bits[n].eq(1)  # loop
        chosen = Mux(self.kind[2], self.a, Cat(bits))  # mux: one side
        m.d.sync += self.total[7].eq(chosen[0])  # always
        return m


def place(comment: str) -> Place:
    """Return the line of this file that ends with a comment."""
    (line,) = [n for n, text in enumerate(_SOURCE, 1) if text.endswith(f"  # {comment}")]
    return Place(__file__, line)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, Path]:
    """Return what two runs of the same design have written, one after the other."""
    folder = tmp_path_factory.mktemp("coverage")
    first, second = folder / "first.dat", folder / "second.dat"
    with NativeModel(Chooser(), name="chooser", coverage=True) as model:
        model.reset()
        model.set("a", 1)
        for kind, cycles in ((0, 5), (2, 7)):
            model.set("kind", kind)
            model.step(cycles)
        model.write_coverage(first)
    with NativeModel(Chooser(), name="chooser", coverage=True) as model:
        model.reset()
        model.set("kind", 3)
        model.step(4)
        model.write_coverage(second)
    return first, second


def test_lines_that_were_reached_are_told_from_those_that_were_not(written):
    lines = Coverage.read(written).lines
    reached = {"elif", "nested", "else", "case", "loop"}
    never = {"if: never", "case: never"}
    assert {comment for comment in reached if lines[place(comment)]} == reached
    assert {comment for comment in never if lines[place(comment)] == 0} == never


def test_what_is_always_assigned_and_resets_are_no_lines(written):
    lines = Coverage.read(written).lines
    assert place("always") not in lines
    mine = {place.line for place in lines if place.file == __file__}
    text = [_SOURCE[line - 1] for line in sorted(mine)]
    assert all(".eq(" in line for line in text), text


def test_counts_of_several_runs_add_up(written):
    first, second, both = (
        Coverage.read(paths).lines for paths in ([written[0]], [written[1]], list(written))
    )
    assert first[place("nested")] == 0
    assert second[place("case")] < first[place("case")]
    for line, count in both.items():
        assert count == first[line] + second[line]


def test_a_line_used_again_is_reached_once_any_use_is_but_has_branches_that_are_not(written):
    report = Report(Coverage.read(written), (), Path("/"))
    line = place("loop")
    arms = [n for n, places in report.coverage.branches.values() if places == (line,)]
    assert len(arms) == 3
    assert [bool(count) for count in arms].count(True) == 1


def test_each_side_of_a_multiplexer_is_a_branch(written):
    coverage = Coverage.read(written)
    line = place("mux: one side")
    arms = {b.arm: n for b, (n, places) in coverage.branches.items() if places == (line,)}
    assert set(arms) == {"then", "else"}
    assert arms["then"] == 0 < arms["else"]
    assert line not in coverage.lines


class Colour(enum.Enum, shape=1):
    """An enumeration, which is assigned through a view."""

    RED = 0
    BLUE = 1


class Machine(wiring.Component):
    """A struct, an enumeration and a state, all of which Amaranth assigns by way of its own."""

    go: In(1)
    o: Out(data.StructLayout({"low": 4, "high": 4}))
    colour: Out(Colour)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.go):
            m.d.sync += self.o.eq(self.o.as_value() + 1)  # struct
            m.d.sync += self.colour.eq(Colour.BLUE)  # enumeration
        with m.FSM():
            with m.State("IDLE"), m.If(self.go):
                m.next = "BUSY"  # next
            with m.State("BUSY"), m.If(~self.go):
                m.next = "IDLE"  # next: never
        return m


def test_structs_enumerations_and_states_are_assigned_where_it_is_written(tmp_path):
    path = tmp_path / "machine.dat"
    with NativeModel(Machine(), name="machine", coverage=True) as model:
        model.reset()
        model.set("go", 1)
        model.step(3)
        model.write_coverage(path)
    lines = Coverage.read([path]).lines
    reached = {"struct": True, "enumeration": True, "next": True, "next: never": False}
    assert {comment: lines[place(comment)] > 0 for comment in reached} == reached
    assert {line.file for line in lines} == {__file__}


class Gated(wiring.Component):
    """A counter behind the project's own clock gate."""

    en: In(1)
    o: Out(8)

    def elaborate(self, platform):
        m = Module()
        gate = ClockGate(domain="slow")
        m.domains += gate.clock_domain
        m.submodules.gate = gate
        m.d.comb += gate.en.eq(self.en)
        m.d.slow += self.o.eq(self.o + 1)
        return m


def test_a_cell_is_reported_by_its_own_lines(tmp_path):
    path = tmp_path / "gated.dat"
    with NativeModel(Gated(), name="gated", coverage=True) as model:
        model.reset()
        model.set("en", 1)
        model.step(3)
        model.write_coverage(path)
    lines = Coverage.read([path]).lines
    cell = Path(emit.__code__.co_filename).parent / "cells" / "clock_gate.v"
    (line,) = [n for n, t in enumerate(cell.read_text().splitlines(), 1) if "if (!clk)" in t]
    assert lines[Place("d1_rtl/cells/clock_gate.v", line)] > 0


def test_a_coverage_build_computes_what_the_ordinary_one_does():
    results = []
    for coverage in (False, True):
        with NativeModel(Chooser(), name="chooser", coverage=coverage) as model:
            model.reset()
            outputs = []
            for step in range(64):
                model.set("kind", step % 8)
                model.set("a", step * 37 % 256)
                model.step()
                outputs.append((model.get("o"), model.get("total")))
            results.append(outputs)
    assert results[0] == results[1]


def test_verilog_without_coverage_names_no_lines():
    assert "lines" not in emit(Chooser(), name="chooser")
    assert f"{__file__}:{place('elif').line}" in emit(Chooser(), name="c", source_lines=True)


def test_a_model_without_coverage_cannot_write_any(tmp_path):
    with NativeModel(Chooser(), name="chooser") as model:
        with pytest.raises(ValueError, match="chooser must be made with coverage=True to write"):
            model.write_coverage(tmp_path / "none.dat")


def test_data_of_two_designs_are_refused(written, tmp_path):
    other = tmp_path / "other.dat"
    other.write_text(written[0].read_text())
    other.with_suffix(".v").write_text("module other; endmodule\n")
    with pytest.raises(ValueError, match="must be of one design, not of 2"):
        Coverage.read([written[0], other])


def test_data_without_counters_are_refused(written, tmp_path):
    empty = tmp_path / "empty.dat"
    empty.write_text("# SystemC::Coverage-3\n")
    empty.with_suffix(".v").write_text(written[0].with_suffix(".v").read_text())
    with pytest.raises(ValueError, match=r"must have counters, but .*empty\.dat has none"):
        Coverage.read([empty])


@pytest.fixture
def own(tmp_path) -> tuple[Coverage, Path]:
    """Return coverage of a made-up file of our own: three lines, one of them never reached."""
    file = "d1_rtl/node/made_up.py"
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("    a\n    b\n    c\n")
    lines = {Place(file, 1): 4, Place(file, 2): 0, Place(file, 3): 9}
    elsewhere = {Place("/somewhere/else.py", 1): 0}
    return Coverage({**lines, **elsewhere}, {}), tmp_path


def test_the_report_counts_our_own_lines_and_lists_those_never_reached(own):
    coverage, sources = own
    report = Report(coverage, (), sources)
    total = report.total()
    assert (total.lines, total.lines_reached, round(total.percent, 1)) == (3, 2, 66.7)
    assert report.unreached == [Place("d1_rtl/node/made_up.py", 2)]
    assert "  d1_rtl/node/made_up.py:2: b" in list(report.text())
    assert report.problems(60) == []
    assert report.problems(95) == ["95 % of lines must be reached, not 66.7 %"]


def test_an_excluded_line_does_not_count_and_its_reason_is_shown(own):
    coverage, sources = own
    exclusion = Exclusion(file="d1_rtl/node/made_up.py", code="b", reason="Nobody asks for b.")
    report = Report(coverage, (exclusion,), sources)
    assert report.total().percent == 100
    assert report.problems(95) == []
    text = "\n".join(report.text())
    assert re.search(r"made_up\.py:2: b\n +Nobody asks for b\.", text)


def test_an_exclusion_that_names_no_line_is_a_problem(own):
    coverage, sources = own
    exclusion = Exclusion(file="d1_rtl/node/made_up.py", code="d", reason="It was there once.")
    (problem,) = Report(coverage, (exclusion,), sources).problems(0)
    assert "made_up.py has none that is `d`" in problem


def test_exclusions_without_a_reason_are_refused(tmp_path):
    path = tmp_path / "exclusions.toml"
    path.write_text('[[exclusion]]\nfile = "a.py"\ncode = "x"\n')
    with pytest.raises(ValueError, match=r"exclusion 1 of .* must have file, code, reason, not"):
        read_exclusions(path)
    path.write_text('[[exclude]]\nfile = "a.py"\n')
    with pytest.raises(ValueError, match="must have tables `exclusion` only, not 'exclude'"):
        read_exclusions(path)


def test_every_exclusion_of_the_project_names_a_line_of_a_file():
    root = Path(__file__).parents[3]
    for exclusion in read_exclusions(root / "testbench" / "coverage_exclusions.toml"):
        lines = (root / "rtl" / exclusion.file).read_text().splitlines()
        assert exclusion.code in {line.strip() for line in lines}, exclusion
