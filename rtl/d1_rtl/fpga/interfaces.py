"""What the parts of the serial door hand to each other."""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fpga.frame import HEADER, SESSION_BYTES, SLOT_BYTES

__all__ = ["FrameSignature", "LineByte", "SlotReadSignature", "SlotWriteSignature", "header_layout"]


def header_layout() -> data.StructLayout:
    """Return the layout of a frame's header, as `d1_golden.fpga.frame.HEADER` has it."""
    return data.StructLayout({field.name: field.bits for field in HEADER})


class LineByte(data.Struct):
    """A byte of a frame before stuffing."""

    data: 8
    #: It is the last of the frame.
    last: 1


class FrameSignature(wiring.Signature):
    """A frame that has arrived whole, seen from who received it.

    Members
    -------
    valid : Out(1)
        There is one, in this cycle.
    header : Out(header_layout())
    session : Out(32)
        Of `Kind.OPEN`: its payload.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "header": Out(header_layout()),
                "session": Out(8 * SESSION_BYTES),
            }
        )


class SlotWriteSignature(wiring.Signature):
    """Bytes of a packed packet on their way to its slot, seen from who writes.

    Members
    -------
    en : Out(1)
    offset : Out(range(SLOT_BYTES))
    data : Out(8)
    """

    def __init__(self) -> None:
        super().__init__({"en": Out(1), "offset": Out(range(SLOT_BYTES)), "data": Out(8)})


class SlotReadSignature(wiring.Signature):
    """Reads bytes of a slot, seen from who reads.

    Members
    -------
    en : Out(1)
    offset : Out(range(SLOT_BYTES))
    data : In(8)
        What was at `offset` in the last cycle with `en`.
    """

    def __init__(self) -> None:
        super().__init__({"en": Out(1), "offset": Out(range(SLOT_BYTES)), "data": In(8)})
