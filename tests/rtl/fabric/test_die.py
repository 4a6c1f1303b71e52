# amaranth: UnusedElaboratable=no
"""The die as one design, and that the die of separate instances is the same one."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.params import DIES, DieParams
from d1_rtl.clock_gate import ClockGate
from d1_rtl.emit import component_ports, emit
from d1_rtl.fabric.die import STOP_MODULE, Die, doors, hops, node_module
from d1_rtl.node.interfaces import packet_layout

from testbench.die_comparison import DieComparison

TINY = DIES["tiny"]
#: What is compared; with one core dead, so that this is too.
COMPARED = replace(TINY, name="3x3", dead_cores=((3, 1),))
SEED = 4
CYCLES = 4000


class Gated(wiring.Component):
    """A register behind a clock gate."""

    i: In(1)
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate = gate = ClockGate(domain="gated")
        m.domains += gate.clock_domain
        m.d.comb += gate.en.eq(self.i)
        m.d.gated += self.o.eq(~self.o)
        return m


@pytest.fixture(scope="module")
def comparison():
    comparison = DieComparison(COMPARED, SEED)
    yield comparison
    comparison.close()


def test_every_side_of_every_place_is_a_link_or_a_door():
    links, edges = list(hops(TINY)), list(doors(TINY))
    assert len(links) == 2 * (3 * 2 + 2 * 3) and len(edges) == 2 * (3 + 3)
    assert {*links, *edges} == {(Place(*p), side) for p in TINY.places for side in SIDES}
    assert {edge.to for edge in edges if edge.side is Port.WEST} == {
        Place(0, row) for row in (1, 2, 3)
    }


def test_a_dead_router_has_neither_links_nor_doors():
    params = replace(TINY, dead_routers=((1, 2),))
    around = [*hops(params), *doors(params)]
    assert all((1, 2) not in (hop.place[:2], hop.to[:2]) for hop in around)
    assert len(list(doors(params))) == 2 * (3 + 3) - 1


def test_the_packet_of_every_door_is_the_packet_of_the_specification():
    die = Die(TINY)
    streams = [
        member
        for path, member, _ in die.signature.flatten(die)
        if path[0] == "doors" and path[-1] == "payload"
    ]
    assert len(streams) == 12 * 4
    assert all(member.shape == packet_layout() for member in streams)


def test_a_design_without_the_modules_of_its_parts_is_refused():
    with pytest.raises(ValueError, match=f"not '{STOP_MODULE}'"):
        emit(Die(TINY), name="die", modules=[f"module {node_module(TINY.node)}();\nendmodule\n"])


def test_nodes_and_stops_are_instances_of_one_module_each():
    parts = [f"module {name}();\nendmodule\n" for name in (node_module(TINY.node), STOP_MODULE)]
    text = emit(Die(TINY), name="die", modules=parts)
    for name in (node_module(TINY.node), STOP_MODULE):
        assert text.count(f"  {name} ") == len(TINY.places)
        assert text.count(f"module {name}(") == 1


def test_cells_that_several_parts_use_appear_once():
    parts = [emit(Gated(), name=name) for name in (node_module(TINY.node), STOP_MODULE)]
    assert all(part.count("module d1_clock_gate") == 1 for part in parts)
    assert emit(Die(TINY), name="die", modules=parts).count("module d1_clock_gate") == 1


def test_separate_instances_are_one_verilog_top_cycle_for_cycle(comparison):
    print(f"seed {SEED}")
    comparison.run(CYCLES)
    assert comparison.retired > CYCLES
    assert comparison.packets > 25  # through the doors
    assert comparison.link.sent_packets.sum() > CYCLES  # over links and to nodes
    busy = comparison.link.busy_cycles
    assert (busy[busy > 0] > CYCLES // 4).all() and np.count_nonzero(busy) == 8


def test_a_difference_is_found(comparison, monkeypatch):
    take = comparison.link.take_recorded

    def spoilt():
        recorded = take()
        recorded["retire__5__slots__1"][7, 2] ^= 1
        return recorded

    monkeypatch.setattr(comparison.link, "take_recorded", spoilt)
    with pytest.raises(AssertionError, match=r"retire__5__slots__1 in cycle \d+ must be 0x"):
        comparison.run(1)


def test_ports_are_those_that_the_link_records(comparison):
    comparison.link.advance(1)
    recorded = comparison.link.take_recorded()
    ports = {port.name for port in component_ports(Die(COMPARED))} - {"clk", "rst"}
    assert set(recorded) == ports


def test_any_grid_has_a_design():
    params = DieParams(name="row", node=TINY.node, columns=2, rows=1)
    names = {port.name for port in component_ports(Die(params))}
    assert {
        "idle__1",
        "doors__5__o_reply__ready",
    } <= names and "doors__6__o_reply__ready" not in names
    assert isinstance(Die(params), wiring.Component)
