"""Frames of the serial line: how packets and acknowledgements are laid out in bytes.

A frame is a header of three bytes, a payload, and the CRC-32C of both, all **stuffed**: `FLAG` and
`ESCAPE` inside are sent as `ESCAPE` and the byte with bit 5 inverted. `FLAG` ends the frame. A
byte that is flipped, lost or inserted therefore spoils the frame it is in, or that and the next
one, and no other.

The CRC register of a frame starts with the session number, that of `Kind.OPEN` with ones as usual:
what is left on the line of an earlier session has a wrong CRC in this one.

A packet is sent without its **groups** of bytes that are zero; the first byte of the frame, its
**shape**, says which ones are there.

Ref: RFC 1662, "PPP in HDLC-like Framing", sections 4.2 and 6: flag, escape, and the CRC over the
bytes before stuffing. Its frames are not ours otherwise.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from ..packet import FIELDS, Field
from ..serdes.crc32c import CRC_BITS, PRESET, advance, update_bytes

__all__ = [
    "ALL_ONES",
    "CRC_BYTES",
    "ESCAPE",
    "ESCAPE_BIT",
    "FIXED_BYTES",
    "FLAG",
    "GROUPS",
    "HEADER",
    "HEADER_BYTES",
    "MASK_GROUP",
    "MAX_FRAME_BYTES",
    "PACKET_BYTES",
    "RESIDUE",
    "SESSION_BYTES",
    "SHAPED",
    "SLOT_BYTES",
    "WINDOW",
    "Frame",
    "Group",
    "Kind",
    "decode",
    "encode",
    "line_bytes",
    "pack",
    "packed_bytes",
    "split",
    "unpack",
    "unstuff",
]

#: Ends a frame.
FLAG = 0x7E
#: Announces a byte that is sent with bit 5 inverted.
ESCAPE = 0x7D
#: What is inverted of it.
ESCAPE_BIT = 0x20
#: Packets that may be on their way in one direction without acknowledgement.
WINDOW = 32
#: Room for a packed packet and the CRC behind it; a power of two.
SLOT_BYTES = 128
#: Bytes of a session number.
SESSION_BYTES = 4
#: Bytes of a packet.
PACKET_BYTES = sum(field.bits for field in FIELDS) // 8


class Kind(enum.IntEnum):
    """The first byte of a frame that has no packet; of one that has, bit 7 is set."""

    #: Begins a session, whose number is the payload; from the device: it has begun.
    OPEN = 1
    #: Only acknowledges.
    ACKNOWLEDGE = 2
    #: Acknowledges; a packet is missing: begin again with it.
    REJECT = 3


#: The header of a frame.
HEADER: tuple[Field, ...] = (
    Field("kind", 8, "`Kind`, or with bit 7 the shape of the packet"),
    Field("sequence", 8, "number of the packet; otherwise of the next packet that is new"),
    Field("acknowledge", 8, "number of the packet that is to be taken next: all before it were"),
)
HEADER_BYTES = len(HEADER)
CRC_BYTES = CRC_BITS // 8
#: Register after a whole frame with the right CRC, whatever it started with.
RESIDUE = advance(PRESET, CRC_BITS)


@dataclass(frozen=True)
class Group:
    """Bytes of a packet that are left out when all of them are zero.

    Parameters
    ----------
    name
        What they are.
    first
        The first of them.
    count
        How many.

    """

    name: str
    first: int
    count: int


#: Bit n of the shape: group n is there. The other bytes of a packet always are.
GROUPS: tuple[Group, ...] = (
    Group("flags", 1, 1),
    Group("tag", 2, 2),
    Group("source", 4, 4),
    Group("address 63..32", 12, 4),
    Group("mask", 16, 8),
    Group("data", 24, 64),
)
MASK_GROUP = 4
#: Bit of the shape: the mask is not there because it is all ones.
ALL_ONES = 1 << 6
#: Bit of the shape that tells it from a `Kind`.
SHAPED = 1 << 7
#: Bytes of a packed packet without its groups, the shape among them.
FIXED_BYTES = 1 + PACKET_BYTES - sum(group.count for group in GROUPS)
#: Most bytes of a frame, each of them stuffed, and its flag.
MAX_FRAME_BYTES = 2 * (HEADER_BYTES + PACKET_BYTES + CRC_BYTES) + 1

assert FIXED_BYTES + sum(group.count for group in GROUPS) + CRC_BYTES <= SLOT_BYTES


def packed_bytes(shape: int) -> int:
    """Return the bytes of a packed packet, its shape included."""
    return FIXED_BYTES + sum(g.count for n, g in enumerate(GROUPS) if shape >> n & 1)


def line_bytes(packet: bytes | None = None) -> int:
    """Return the bytes of a frame on the line, without those that stuffing adds."""
    return HEADER_BYTES + CRC_BYTES + 1 + (len(pack(packet)) - 1 if packet is not None else 0)


def pack(packet: bytes) -> bytes:
    """Return the shape of a packet and its bytes without groups of zeros.

    A mask of ones is left out too.

    Raises
    ------
    ValueError
        If it has not the size of a packet.

    """
    if len(packet) != PACKET_BYTES:
        raise ValueError(f"packet must have {PACKET_BYTES} bytes, not {len(packet)}")
    shape, kept, place = SHAPED, [], 0
    for number, group in enumerate(GROUPS):
        end = group.first + group.count
        content = packet[group.first : end]
        kept.append(packet[place : group.first])
        if number == MASK_GROUP and content == b"\xff" * group.count:
            shape |= ALL_ONES
        elif any(content):
            shape |= 1 << number
            kept.append(content)
        place = end
    return b"".join([bytes([shape]), *kept, packet[place:]])


def unpack(packed: bytes) -> bytes:
    """Return the packet that was packed; what follows it is ignored.

    Raises
    ------
    ValueError
        If it ends before the packet does.

    """
    shape, taken = packed[0], 1
    if len(packed) < packed_bytes(shape):
        raise ValueError(
            f"packet of shape {shape:#x} must have {packed_bytes(shape)} bytes, not {len(packed)}"
        )
    packet, place = [], 0
    for number, group in enumerate(GROUPS):
        before = group.first - place
        packet.append(packed[taken : taken + before])
        taken += before
        if shape >> number & 1:
            packet.append(packed[taken : taken + group.count])
            taken += group.count
        else:
            filling = 0xFF if number == MASK_GROUP and shape & ALL_ONES else 0
            packet.append(bytes([filling]) * group.count)
        place = group.first + group.count
    return b"".join(packet)


@dataclass(frozen=True)
class Frame:
    """A frame.

    Parameters
    ----------
    kind
        `Kind`, or the shape of a packet.
    sequence, acknowledge
        See `HEADER`.
    payload
        The packed packet behind its shape, a session number, or nothing.

    """

    kind: int
    sequence: int
    acknowledge: int
    payload: bytes = b""


def _start(kind: int, session: int) -> int:
    return PRESET if kind == Kind.OPEN else session


def _stuffed(match: re.Match[bytes]) -> bytes:
    return bytes([ESCAPE, match[0][0] ^ ESCAPE_BIT])


def _unstuffed(match: re.Match[bytes]) -> bytes:
    return bytes([match[0][1] ^ ESCAPE_BIT])


_SPECIAL = re.compile(bytes([ord("["), FLAG, ESCAPE, ord("]")]))
_ESCAPED = re.compile(bytes([ESCAPE]) + b"[^%c]" % FLAG, re.DOTALL)


def encode(frame: Frame, session: int) -> bytes:
    """Return the bytes of a frame on the line, its flag included."""
    content = bytes([frame.kind, frame.sequence, frame.acknowledge]) + frame.payload
    crc = update_bytes(_start(frame.kind, session), content) ^ PRESET
    content += crc.to_bytes(CRC_BYTES, "little")
    return _SPECIAL.sub(_stuffed, content) + bytes([FLAG])


def unstuff(line: bytes) -> bytes:
    """Return the content of a frame from its bytes on the line, without the flag."""
    return _ESCAPED.sub(_unstuffed, line)


def _is_cut(line: bytes) -> bool:
    """Tell whether the last byte before the flag is an escape of nothing."""
    return line[-1] == ESCAPE and ESCAPE in _ESCAPED.sub(b"", line)


def decode(line: bytes, session: int) -> Frame | None:
    """Return the frame that was before a flag, or nothing if it is none of this session."""
    content = unstuff(line)
    if len(content) < HEADER_BYTES + CRC_BYTES or _is_cut(line):
        return None
    if update_bytes(_start(content[0], session), content) != RESIDUE:
        return None
    return Frame(content[0], content[1], content[2], content[HEADER_BYTES:-CRC_BYTES])


def split(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Return what precedes each flag in bytes of the line, and what follows the last."""
    *lines, rest = buffer.split(bytes([FLAG]))
    return lines, rest
