"""Layouts of what moves between the parts of the link layer.

The control and the status word follow from `d1_golden.serdes.frame`.
"""

from amaranth.hdl import Cat, Value
from amaranth.lib import data, enum
from d1_golden.serdes import frame, link_layer
from d1_golden.serdes.frame import CONTROL_FIELDS, MAX_SLOTS, SESSION_BITS, STATUS_FIELDS
from d1_golden.serdes.link_end import LANE_COUNTERS
from d1_golden.serdes.link_layer import COUNTERS, PLANES
from d1_golden.serdes.params import LIMIT_BITS, LinkParams

from ..node.interfaces import packet_layout
from .blocks import RowMode, row_layout

__all__ = [
    "COUNT_BITS",
    "HeardKind",
    "LinkState",
    "RowKind",
    "control_word_layout",
    "counters_layout",
    "end_counters_layout",
    "first_row_layout",
    "heard_layout",
    "lane_counters_layout",
    "link_status_layout",
    "plane_packet_layout",
    "replayed_packet_layout",
    "report_layout",
    "row_kind",
    "status_word_layout",
]

#: Bits of an error counter.
COUNT_BITS = 32


class LinkState(enum.Enum, shape=4):
    """States of the training: those of :class:`d1_golden.serdes.frame.LinkState`."""

    DOWN = frame.LinkState.DOWN
    INIT = frame.LinkState.INIT
    UP = frame.LinkState.UP
    READY = frame.LinkState.READY
    OPEN = frame.LinkState.OPEN


class RowKind(enum.Enum, shape=2):
    """What a row is: :class:`d1_golden.serdes.link_layer.RowKind`."""

    DATA = link_layer.RowKind.DATA
    LAST = link_layer.RowKind.LAST
    STATUS = link_layer.RowKind.STATUS
    BAD = link_layer.RowKind.BAD


class HeardKind(enum.Enum, shape=2):
    """What has been received and checked."""

    NOTHING = 0
    STATUS = 1
    FRAME = 2
    BAD = 3  #: a status row or frame with a wrong CRC or number of rows


def control_word_layout() -> data.StructLayout:
    """Return the layout of a control word."""
    return data.StructLayout({field.name: field.bits for field in CONTROL_FIELDS})


def status_word_layout() -> data.StructLayout:
    """Return the layout of the first word of a status row."""
    kinds = {"state": LinkState}
    return data.StructLayout({f.name: kinds.get(f.name, f.bits) for f in STATUS_FIELDS})


def plane_packet_layout() -> data.StructLayout:
    """Return a packet and its plane, 1 of replies."""
    return data.StructLayout({"packet": packet_layout(), "plane": 1})


def replayed_packet_layout() -> data.StructLayout:
    """Return a packet that is sent again; `last`: it is the last of its frame."""
    return data.StructLayout({"packet": packet_layout(), "plane": 1, "last": 1})


def first_row_layout(params: LinkParams) -> data.StructLayout:
    """Return a row and whether it is the first of a frame."""
    return data.StructLayout({"row": row_layout(params), "first": 1})


def heard_layout() -> data.StructLayout:
    """Return what was received: a status row's words, or a frame's control word and packets."""
    return data.StructLayout(
        {
            "kind": HeardKind,
            "status": status_word_layout(),
            "control": control_word_layout(),
            "packets": range(MAX_SLOTS + 1),
        }
    )


def report_layout() -> data.StructLayout:
    """Return what is said of a reset of the other end: packets that may be lost, by plane."""
    return data.StructLayout(
        {"valid": 1, "away": data.ArrayLayout(LIMIT_BITS, PLANES)},
    )


def counters_layout() -> data.StructLayout:
    """Return the error counters, those of `d1_golden.serdes.link_layer.COUNTERS`."""
    return data.StructLayout({name: COUNT_BITS for name in COUNTERS})


def lane_counters_layout() -> data.StructLayout:
    """Return the counters of an end's lanes, those of `d1_golden.serdes.link_end.LANE_COUNTERS`."""
    return data.StructLayout({name: COUNT_BITS for name in LANE_COUNTERS})


def end_counters_layout() -> data.StructLayout:
    """Return all counters of an end: of its `layer` and of its `lanes`."""
    return data.StructLayout({"layer": counters_layout(), "lanes": lane_counters_layout()})


def link_status_layout(params: LinkParams) -> data.StructLayout:
    """Return what an end tells of itself.

    Members
    -------
    state : LinkState
        Of the training; packets move in OPEN.
    receive_mode, transmit_mode : RowMode
        How rows are spread over the lanes of each direction.
    up, peer_up : 1
        Rows are delivered here, at the other end.
    reversed : 1
        Lane n is wire number last but n.
    arriving, peer_arriving : lanes
        Lanes that arrive here, at the other end.
    locked : lanes
        Wires with block lock.
    inverted : lanes
        Lanes whose wires are crossed.
    session, peer : 16
        Session numbers of this end and of the other one, 0 before it is known.
    """
    lanes = ("arriving", "peer_arriving", "locked", "inverted")
    return data.StructLayout(
        {
            "state": LinkState,
            "receive_mode": RowMode,
            "transmit_mode": RowMode,
            "up": 1,
            "peer_up": 1,
            "reversed": 1,
            **dict.fromkeys(lanes, params.lanes),
            "session": SESSION_BITS,
            "peer": SESSION_BITS,
        }
    )


def row_kind(controls: Value) -> Value:
    """Return what a row without invalid headers is, by which of its words are control words."""
    data_words = ~controls
    is_data, is_status = ~controls.any(), controls.all()
    is_last = controls[-1] & data_words[:-1].all()
    # The values of RowKind: bit 0 of LAST and BAD, bit 1 of STATUS and BAD.
    return Cat(~(is_data | is_status), ~(is_data | is_last))
