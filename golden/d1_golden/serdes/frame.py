"""Frames: how packets and the link's own messages are laid out in rows.

A row is one word on every lane, each word marked as data or control. A frame is one packet or
more, the words of all in a row, filled up with zeros to the last word of a row, which is the
**control word**. Only it is marked as control, so the number of its rows tells how many packets
a frame has, and every control word where a frame ends. A row of control words only is a **status
row**: a status word, zeros, and a control word; it is a frame without packets, and is what the
lanes carry when there is nothing to say. With 8 lanes one to five packets take 2, 3, 5, 6 or 7
rows: 7 rows of 8 words hold five packets of 11 words and the control word exactly.

The CRC of the control word is that of all that precedes it: of a frame, the two session numbers
(the transmitter's, then the receiver's, 16 bits each) and all words; of a status row its words.
"""

from __future__ import annotations

import enum

from ..packet import Field
from .crc32c import CRC_BITS, PRESET, advance, crc32c
from .params import LIMIT_BITS, SEQUENCE_BITS, WORD_BITS, LinkParams

__all__ = [
    "CONTROL_FIELDS",
    "MAX_SLOTS",
    "SESSION_BITS",
    "STATUS_FIELDS",
    "WITHOUT_SESSION",
    "LinkState",
    "encode_frame",
    "encode_status",
    "frame_rows",
    "pack_word",
    "packet_row",
    "session_start",
    "unpack_word",
]

#: Most packets in a frame.
MAX_SLOTS = 5
#: Bits of a session number.
SESSION_BITS = 16


class LinkState(enum.IntEnum):
    """How far the training of an end has come; each state knows more than the one before.

    Ref: RFC 5880, "Bidirectional Forwarding Detection", sections 6.2 and 6.8.6: the handshake of
    Down, Init and Up, with numbers by which an end tells a partner that has begun anew.
    """

    DOWN = 0  #: the lanes do not work, or the other end has not been heard since
    INIT = 1  #: the other end is heard
    UP = 2  #: the other end hears this one
    READY = 3  #: the other end knows that; it may send frames
    OPEN = 4  #: the other end is ready: frames may be sent


#: The control word, from the least significant bit up.
CONTROL_FIELDS: tuple[Field, ...] = (
    Field("replies", MAX_SLOTS, "bit n set: packet n of the frame is of the reply plane"),
    Field("round", 1, "changes whenever the transmitter begins to replay"),
    Field("want", 1, "the round that the transmitter of this word wants to receive"),
    Field("one", 1, "1, which no marker of the lanes has here"),
    Field("sequence", SEQUENCE_BITS, "number of the frame; of a status row, of the next frame"),
    Field(
        "acknowledge", SEQUENCE_BITS, "number of the frame that is expected: all before are here"
    ),
    Field("limit_plane", 1, "plane that `limit` speaks of: 0 requests, 1 replies"),
    Field("limit", LIMIT_BITS, "packets of the plane that may have been sent in this session"),
    Field("crc", CRC_BITS, "CRC-32C of all that precedes"),
)
#: The first word of a status row.
STATUS_FIELDS: tuple[Field, ...] = (
    Field("state", 4, "state of the transmitter's training (`LinkState`)"),
    Field("session", SESSION_BITS, "the transmitter's session number; changes with each reset"),
    Field("seen", SESSION_BITS, "the receiver's, as the transmitter knows it; 0 if it does not"),
    Field("limit_request", LIMIT_BITS, "`limit` of the request plane"),
    Field("limit_reply", LIMIT_BITS, "`limit` of the reply plane"),
    Field("zero", 10, "0"),
)


def pack_word(fields: tuple[Field, ...], **values: int) -> int:
    """Return a word of fields; those not named are zero, or one if that is their name.

    Raises
    ------
    ValueError
        If there is no such field, or a value does not fit its own.
    """
    word = lsb = 0
    for field in fields:
        value = values.pop(field.name, 1 if field.name == "one" else 0)
        if not 0 <= value < 1 << field.bits:
            raise ValueError(f"{field.name} must fit {field.bits} bits, not {value!r}")
        word |= value << lsb
        lsb += field.bits
    if values:
        raise ValueError(f"fields must be those of the word, not {sorted(values)!r}")
    return word


def unpack_word(fields: tuple[Field, ...], word: int) -> dict[str, int]:
    """Return the fields of a word by name."""
    values = {}
    for field in fields:
        values[field.name] = word & (1 << field.bits) - 1
        word >>= field.bits
    return values


def packet_row(params: LinkParams, packet: int) -> int:
    """Return the row of a frame with the first word of a packet.

    It is also the last row of a frame with that many packets.
    """
    return packet * params.packet_words // params.lanes


def frame_rows(params: LinkParams, packets: int) -> int:
    """Return the rows of a frame with so many packets; with none it is a status row."""
    return packet_row(params, packets) + 1


def session_start(sender: int, receiver: int) -> int:
    """Return the CRC register at the start of a frame.

    That is after 32 bits with both session numbers, so that a frame of another session is to the
    CRC one with a burst of at most 32 flipped bits before it, which it always detects.
    """
    return PRESET ^ advance(sender | receiver << SESSION_BITS, CRC_BITS)


def _sealed(words: list[int], start: int) -> list[int]:
    """Return words with the CRC in the last one, from a state of the register."""
    data = b"".join(word.to_bytes(8, "little") for word in words)[: -CRC_BITS // 8]
    # Zero bytes first would be as long as the data; the register is preset by its difference.
    difference = advance(start ^ PRESET, 8 * len(data))
    return [*words[:-1], words[-1] | (crc32c(data) ^ difference) << WORD_BITS - CRC_BITS]


#: Where the register stands at the start of a status row.
WITHOUT_SESSION = PRESET


def encode_frame(
    params: LinkParams, packets: list[list[int]], session: tuple[int, int], **control: int
) -> list[list[int]]:
    """Return the rows of a frame.

    The reference for the compiled model and the RTL, which make them row by row.

    Parameters
    ----------
    packets
        The words of each packet.
    session
        The transmitter's session number and the receiver's.
    control
        Fields of the control word.

    Raises
    ------
    ValueError
        If there are more packets than a frame holds, or none.
    """
    if not 1 <= len(packets) <= params.packet_slots:
        raise ValueError(f"packets must be 1..{params.packet_slots}, not {len(packets)!r}")
    words = [word for packet in packets for word in packet]
    words += [0] * (frame_rows(params, len(packets)) * params.lanes - 1 - len(words))
    words.append(pack_word(CONTROL_FIELDS, **control))
    words = _sealed(words, session_start(*session))
    return [words[n : n + params.lanes] for n in range(0, len(words), params.lanes)]


def encode_status(params: LinkParams, status: dict[str, int], **control: int) -> list[int]:
    """Return a status row of the fields of its two words."""
    words = [pack_word(STATUS_FIELDS, **status), *[0] * (params.lanes - 2)]
    return _sealed([*words, pack_word(CONTROL_FIELDS, **control)], WITHOUT_SESSION)
