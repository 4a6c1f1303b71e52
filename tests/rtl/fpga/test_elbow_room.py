"""LUTs that are taken before placement: where they are, and that they are nobody's."""

import json
import re
from collections import Counter

from d1_rtl.fpga.elbow_room import leave_room

_PLACE = re.compile(r"X(\d+)/Y(\d+)/SLICE([CD])\.K[01]")


def test_slices_are_taken_around_the_middle_and_the_design_stays_as_it_is():
    lut = {"type": "LUT4", "connections": {"A": ["0"], "B": [2], "Z": [7]}}
    design = {"modules": {"top": {"cells": {"lut": lut}}, "other": {"cells": {}}}}
    spread, count = leave_room(json.dumps(design).encode(), top="top")
    made = json.loads(spread)
    assert made["modules"]["other"] == {"cells": {}}
    cells = made["modules"]["top"]["cells"]
    assert cells.pop("lut") == lut
    assert len(cells) == count
    outputs = [bit for cell in cells.values() for bit in cell["connections"].pop("Z")]
    assert len(set(outputs)) == count and min(outputs) == 8
    assert all(set(cell["connections"]) == set("ABCD") for cell in cells.values())
    assert all(bits == ["0"] for cell in cells.values() for bits in cell["connections"].values())

    places = [cell["attributes"]["BEL"] for cell in cells.values()]
    assert len(set(places)) == count
    found = [_PLACE.fullmatch(place) for place in places]
    slices = Counter((int(place[1]), int(place[2]), place[3]) for place in found if place)
    assert sum(slices.values()) == count and set(slices.values()) == {2}
    # Rows of block RAMs have no LUTs, every fourth row is left for carry chains.
    assert not [y for _, y, _ in slices if y % 4 == 0 or y % 12 == 10]
    assert {(74, 47, "D"), (84, 43, "C"), (84, 43, "D")} <= set(slices)
    # Where two are taken, one is the first: the inner ellipse is in the outer one.
    assert {(x, y) for x, y, name in slices if name == "C"} < {
        (x, y) for x, y, name in slices if name == "D"
    }
    # Of 83 640 LUTs five in six stay.
    assert 83_640 - count > 5 / 6 * 83_640
