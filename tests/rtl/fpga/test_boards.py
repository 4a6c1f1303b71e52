"""The table of boards."""

import re
from dataclasses import replace

import pytest
from d1_rtl.fpga.boards import BOARDS, PORTS


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_port_has_a_pin_of_its_own_with_a_standard(name):
    text = BOARDS[name].constraints()
    sites = dict(re.findall(r'LOCATE COMP "(\w+)" SITE "(\w+)";', text))
    assert set(PORTS) <= set(sites)
    assert len(set(sites.values())) == len(sites)
    assert set(re.findall(r'IOBUF PORT "(\w+)" [^;]*IO_TYPE=LVCMOS33', text)) == set(sites)


def test_the_ulx3s_has_its_published_pins_and_clock():
    """Ref: ULX3S, constraint file ulx3s_v20.lpf."""
    board = BOARDS["ulx3s"]
    lines = board.constraints().splitlines()
    for port, site in (("clk", "G2"), ("rx", "M1"), ("tx", "L4"), ("alive", "B2")):
        assert f'LOCATE COMP "{port}" SITE "{site}";' in lines
    assert 'FREQUENCY PORT "clk" 25.0 MHZ;' in lines
    assert board.held_high == ("wifi_gpio0",)
    assert (board.device, board.clock_hz) == ("LFE5U-85F", 25_000_000)
    assert board.place_options == ("--85k", "--package", "CABGA381", "--speed", "6")


def test_lights_and_buttons_are_inverted_where_the_board_says_so():
    assert BOARDS["ecpix5"].is_inverted("error") and BOARDS["ecpix5"].is_inverted("rst")
    assert not BOARDS["ulx3s"].is_inverted("error")


def test_a_board_without_a_pin_for_a_port_is_refused():
    board = BOARDS["ulx3s"]
    with pytest.raises(ValueError, match=r"pins of ulx3s must have .*, not lack \['rx'\]"):
        replace(board, pins={port: pin for port, pin in board.pins.items() if port != "rx"})
    with pytest.raises(ValueError, match="pin of tx must be a resource of ulx3s, not serial_0"):
        replace(board, pins={**board.pins, "tx": ("serial", 0, None)})
    with pytest.raises(ValueError, match="pin of tx must be one pin of ulx3s, not "):
        replace(board, pins={**board.pins, "tx": ("uart", 0, None)})
