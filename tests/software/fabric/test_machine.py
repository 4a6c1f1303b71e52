"""Machines of several dies: nodes of any die, calls over links, links that are taken down."""

import d1
import numpy as np
import pytest
from d1.errors import DeviceError
from d1.fabric import machine_pulls
from d1.fabric.die_figures import die2_pull_cycles
from d1.fabric.machine import open_machine
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.machine import MACHINES
from d1_golden.memory_map import SerdesRegister, register_address
from d1_golden.serdes.frame import LinkState

TINY2 = MACHINES["tiny2"]
MAX_CYCLES = 20_000
SEED = 3


@pytest.fixture(scope="module", params=["golden", "rtl"])
def machine(request):
    with open_machine(request.param, TINY2) as machine:
        yield machine


@pytest.fixture
def rested(machine):
    machine.reset()
    return machine


def pull_all(machine, pairs):
    """Have nodes pull a line of others at the same time; return whether all got it."""
    return machine_pulls.pull_all(machine, pairs, seed=SEED, max_cycles=MAX_CYCLES) == len(pairs)


def opposite(place):
    """Return the place of the other die that is at the same column and row."""
    return place._replace(die_column=1 - place.die_column)


def test_every_node_pulls_from_the_other_die_as_from_its_own(rested):
    assert len(rested.nodes) == 18
    assert pull_all(rested, {place: opposite(place) for place in rested.nodes})
    assert pull_all(rested, {place: Place(2, 2, *place[2:]) for place in rested.nodes})


def test_a_link_that_is_taken_down_is_led_around_and_says_so_and_comes_back(rested):
    (end,) = [end for end in TINY2.edge((0, 0), Port.EAST) if end.place.row == 2]
    pairs = {place: opposite(place) for place in rested.nodes if place.row == 2}
    rested.take_down([end])
    assert rested.down == {end, TINY2.ends[end]}
    states = {end: status.state for end, status in rested.link_status().items()}
    assert {end for end, state in states.items() if state is LinkState.DOWN} == rested.down
    assert rested.dead_links() == []
    assert pull_all(rested, pairs)
    assert all(
        status.registers[SerdesRegister.REFUSED] == 0 for status in rested.link_status().values()
    )
    rested.bring_up([end])
    assert not rested.down and pull_all(rested, pairs)
    assert {status.state for status in rested.link_status().values()} == {LinkState.OPEN}


def test_a_link_that_fails_is_found_and_taken_down(rested):
    end = TINY2.edge((0, 0), Port.EAST)[0]
    other = TINY2.ends[end]
    disabled = register_address(SerdesRegister.DISABLED, SIDES.index(other.side))
    rested.nodes[other.place].write(disabled, np.array([0b11], "<u8"))
    rested.link.advance(200)
    assert rested.take_down_dead_links() == [end, other]
    assert rested.take_down_dead_links() == []
    assert pull_all(rested, {place: opposite(place) for place in rested.nodes})


def test_the_last_link_of_an_edge_cannot_be_taken_down(rested):
    with pytest.raises(ValueError, match="must leave a way to every die"):
        rested.take_down(TINY2.edge((0, 0), Port.EAST))
    assert not rested.down
    with pytest.raises(ValueError, match=r"end must be one of a link of .*, not west of \(1, 1\)"):
        rested.take_down([TINY2.edge((0, 0), Port.WEST)[0]])
    assert pull_all(rested, {place: opposite(place) for place in rested.nodes})


def test_links_that_do_not_open_are_named():
    with open_machine("golden", TINY2) as machine:
        end = TINY2.edge((0, 0), Port.EAST)[1]
        disabled = register_address(SerdesRegister.DISABLED, SIDES.index(end.side))
        machine.nodes[end.place].write(disabled, np.array([0b11], "<u8"))
        with pytest.raises(DeviceError, match=r"within 1000 cycles.* east of \(3, 2\), west of"):
            machine.wait_for_links(1000)


def test_places_without_a_link_reach_the_other_die_by_their_neighbours():
    with d1.open("golden", "tiny", mesh=(3, 3), dies=(2, 1), edge_links=2) as machine:
        assert pull_all(machine, {place: opposite(place) for place in machine.nodes})


def test_four_dies_are_one_address_space():
    with d1.open("golden", "tiny", mesh=(2, 2), dies=(2, 2)) as machine:
        across = {p: Place(3 - p.column, p.row, 1 - p[2], 1 - p[3]) for p in machine.nodes}
        assert len(across) == 16 and pull_all(machine, across)
        assert repr(machine) == "<d1 machine golden, 2 x 2 dies of 2 x 2, preset tiny>"
        assert machine.node(1, 2, (1, 0)).place == Place(1, 2, 1, 0)
        with pytest.raises(ValueError, match=r"column and row must be of one of the 16 live nodes"):
            machine.node(3, 1)


def test_a_pull_over_a_tiny_link_takes_so_many_cycles():
    with open_machine("rtl", TINY2) as machine:
        assert die2_pull_cycles(machine) == 67


def test_dies_need_a_mesh():
    with pytest.raises(ValueError, match=r"dies must be of a mesh each, not \(2, 1\) of None"):
        d1.open("golden", "tiny", dies=(2, 1))
