"""LUTs that stay free so that wires find their way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

__all__ = ["leave_room"]

#: Columns and rows of an LFE5U-85F whose tiles have LUTs: eight, two in each of four slices. Every
#: twelfth row has block RAMs and multipliers. Ref: `X2/Y2/SLICEA.K0` and so on in what nextpnr-ecp5
#: writes.
_COLUMNS = range(2, 125)
_ROWS = tuple(y for y in range(2, 94) if y % 12 != 10)
#: Rows of tiles without blocked LUTs, so that there is room for long carry chains: one in so many.
_FULL_ROW_INTERVAL = 4
#: The slices of a tile that are blocked, and the ellipse where they are: its middle, and half its
#: width and height.
_BLOCKED = (("SLICED", (74, 47), (54, 44)), ("SLICEC", (84, 44), (30, 30)))


def _places() -> Iterator[str]:
    for x, y in product(_COLUMNS, _ROWS):
        for tile_slice, (middle_x, middle_y), (half_width, half_height) in _BLOCKED:
            distance = ((x - middle_x) / half_width) ** 2 + ((y - middle_y) / half_height) ** 2
            if y % _FULL_ROW_INTERVAL and distance < 1:
                yield from (f"X{x}/Y{y}/{tile_slice}.{lut}" for lut in ("K0", "K1"))


def leave_room(netlist: bytes, *, top: str) -> tuple[bytes, int]:
    """Return a netlist with LUTs of no use that are fixed to places, and their number.

    nextpnr's placer fills a tile when it can: half of those that it uses have all eight LUTs in
    use, and the wires into such a tile are too few for its 32 inputs. A place in a tile that is
    taken beforehand spreads the others over more tiles (docs/design/0011-fpga-node.md).

    Parameters
    ----------
    netlist
        What yosys wrote as JSON for an LFE5U-85F or LFE5UM5G-85F.
    top
        Its module.
    """
    design: dict[str, Any] = json.loads(netlist)
    cells = design["modules"][top]["cells"]
    used = (bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits)
    first = 1 + max(bit for bit in used if isinstance(bit, int))
    inputs = {pin: ["0"] for pin in "ABCD"}
    places = list(_places())
    for number, place in enumerate(places):
        cells[f"no_use_{number}"] = {
            "hide_name": 0,
            "type": "LUT4",
            "parameters": {"INIT": "0" * 16},
            "attributes": {"BEL": place},
            "port_directions": dict.fromkeys(inputs, "input") | {"Z": "output"},
            "connections": inputs | {"Z": [first + number]},
        }
    return json.dumps(design).encode(), len(places)
