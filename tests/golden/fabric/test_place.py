"""Places and the ports between them."""

import pytest
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import SIDES, Port


def test_a_place_is_in_address_bits_55_to_24() -> None:
    place = Place(18, 20, 3, 4)
    assert place.bits == 0x04_03_14_12
    assert place.address(0x80_0040) == 0x00_04_03_14_12_80_0040
    assert Place.from_bits(place.bits) == place


def test_a_coordinate_must_fit_a_byte() -> None:
    with pytest.raises(ValueError, match=r"row must be in 0\.\.255, not 256"):
        _ = Place(0, 256).bits


def test_an_offset_must_be_local() -> None:
    with pytest.raises(ValueError, match=r"offset must be in 0\.\.0xffffff, not 16777216"):
        Place(1, 1).address(1 << 24)


@pytest.mark.parametrize("side", SIDES)
def test_a_neighbour_has_the_place_on_its_opposite_side(side: Port) -> None:
    place = Place(5, 7, 1, 2)
    neighbour = place.neighbour(side)
    assert abs(neighbour.column - 5) + abs(neighbour.row - 7) == 1
    assert neighbour.neighbour(side.opposite) == place


def test_row_1_is_in_the_north_and_column_1_in_the_west() -> None:
    assert Place(2, 2).neighbour(Port.NORTH) == Place(2, 1)
    assert Place(2, 2).neighbour(Port.WEST) == Place(1, 2)


def test_the_local_port_has_no_opposite() -> None:
    with pytest.raises(ValueError, match="opposite must be asked of a side, not LOCAL"):
        _ = Port.LOCAL.opposite


def test_places_are_named_by_column_and_row() -> None:
    assert str(Place(3, 4)) == "(3, 4)"
    assert str(Place(3, 4, 1)) == "(3, 4) of die (1, 0)"
