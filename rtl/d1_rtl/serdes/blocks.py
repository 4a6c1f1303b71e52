"""Layouts of what moves between the parts of the physical layer: blocks, markers, rows.

All of it follows from `d1_golden.serdes.block` and `d1_golden.serdes.params`.
"""

from amaranth.hdl import Cat, Value
from amaranth.lib import data, enum
from d1_golden.serdes import block
from d1_golden.serdes.block import MARKER_FIELDS, MARKER_TYPE, MarkerField
from d1_golden.serdes.params import ROW_NUMBERS, WORD_BITS, LinkParams

__all__ = [
    "ROW_BITS",
    "Block",
    "Marker",
    "RowMode",
    "StoredWord",
    "SyncHeader",
    "aligned_lane_layout",
    "is_marker",
    "lanes_layout",
    "peer_report_layout",
    "received_row_layout",
    "required_lanes",
    "row_layout",
]

#: Bits of the number of a row.
ROW_BITS = (ROW_NUMBERS - 1).bit_length()


class SyncHeader(enum.Enum, shape=2):
    """Sync headers: those of :class:`d1_golden.serdes.block.SyncHeader`."""

    CONTROL = block.SyncHeader.CONTROL
    DATA = block.SyncHeader.DATA


class RowMode(enum.Enum, shape=2):
    """How rows are spread over lanes: :class:`d1_golden.serdes.block.RowMode`."""

    FULL = block.RowMode.FULL
    LOW = block.RowMode.LOW
    HIGH = block.RowMode.HIGH


class Block(data.Struct):
    """A block, least significant bit first on the lane. `header` may hold an invalid header."""

    header: 2
    word: WORD_BITS


class StoredWord(data.Struct):
    """A word that waits for other lanes; `marker`: it is the marker of its lane."""

    block: Block
    marker: 1


#: The lower half of a marker, by the names of `MarkerField` in small letters.
Marker = data.FlexibleLayout(
    WORD_BITS // 2,
    {
        field.name.lower(): data.Field(RowMode if field is MarkerField.MODE else bits, lsb)
        for field, (lsb, bits) in MARKER_FIELDS.items()
    },
)


def lanes_layout(params: LinkParams) -> data.ArrayLayout:
    """Return what the lanes carry in one clock."""
    return data.ArrayLayout(params.lane_width, params.lanes)


def row_layout(params: LinkParams) -> data.StructLayout:
    """Return a row: `words`, and of each whether it is a control word."""
    return data.StructLayout(
        {"words": data.ArrayLayout(WORD_BITS, params.lanes), "controls": params.lanes}
    )


def received_row_layout(params: LinkParams) -> data.StructLayout:
    """Return a row that arrived: `row`, and of each word whether its sync header was invalid."""
    return data.StructLayout({"row": row_layout(params), "errors": params.lanes})


def peer_report_layout(params: LinkParams) -> data.StructLayout:
    """Return what an end tells the other one: the lanes that arrive, and whether rows do."""
    return data.StructLayout({"arriving": params.lanes, "up": 1})


def aligned_lane_layout(params: LinkParams) -> data.StructLayout:
    """Return the state of a lane.

    Members
    -------
    marked : 1
        Markers have said that this is the lane it should be: it arrives.
    mirrored : 1
        They have said that it is its mirror image.
    moved : 1
        In this cycle one says that rows are missing, or are there twice.
    write : 8
        Number of the row whose word comes next.
    mode : RowMode
    peer : peer_report_layout(params)
        What the last marker said.
    """
    return data.StructLayout(
        {
            "marked": 1,
            "mirrored": 1,
            "moved": 1,
            "write": ROW_BITS,
            "mode": RowMode,
            "peer": peer_report_layout(params),
        }
    )


def is_marker(word: Value) -> Value:
    """Return whether a control word is a marker."""
    half = WORD_BITS // 2
    return (word[:8] == MARKER_TYPE) & (word[:half] == ~word[half:])


def required_lanes(mode: Value, lanes: int) -> Value:
    """Return the lanes that carry data in a mode."""
    low, high = mode != RowMode.HIGH, mode != RowMode.LOW
    return Cat(low.replicate(lanes // 2), high.replicate(lanes // 2))
