"""Parameters of a SerDes link and its named presets."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ..packet import PACKET_DTYPE

__all__ = ["BLOCK_BITS", "LINKS", "ROW_NUMBERS", "WORD_BITS", "LinkParams", "link_preset"]

#: Bits of a word, the payload of one block of one lane.
WORD_BITS = 64
#: Bits of a block on a lane: two of sync header, then a word.
BLOCK_BITS = WORD_BITS + 2
#: Rows are numbered modulo this on the lanes; numbers tell lanes apart that are skewed.
ROW_NUMBERS = 256

#: Bits of the number of a frame.
SEQUENCE_BITS = 7
#: Bits of the count of packets that may have been sent.
LIMIT_BITS = 9
#: Rows that the link layer's transmitter holds: what is decided now is sent so many rows later.
TRANSMIT_ROWS = 3
#: Clocks from the arrival of a row to where the link layer knows what its control word says.
RECEIVE_CYCLES = 3

#: Clocks by which room for a packet is known later than the acknowledgement of its frame.
ROOM_CYCLES = 1

#: Lanes of the widest link.
MAX_LANES = 8
_LANES = (2, 4, MAX_LANES)


@dataclass(frozen=True, kw_only=True)
class LinkParams:
    """Everything that fixes the shape of one link, the same in both directions and at both ends.

    A row is one word on every lane at the same time.

    Parameters
    ----------
    name
        What the preset is called.
    lanes
        Lanes of one direction: 2, 4 or 8.
    lane_width
        Parallel bits of a lane in each clock, 1 to 64; 1 is a true serial stream.
    packet_slots
        Packets of one frame.
    flight_cycles
        Clocks from the transmitting end's lanes to the receiving end's, the shortest lane's.
    coding_cycles
        The most clocks that the physical coding adds to that, both ends and deskew together.
    window
        Frames that may be sent before the first of them is acknowledged, the entries of the
        replay buffer; 0 is what the round trip needs (`needed_window`).
    request_credits, reply_credits
        Packets of each plane that the receiving end has room for; 0 is what the round trip needs
        (`needed_credits`).
    retrain_cycles
        Clocks that a link stays down before it trains again.
    silence_cycles
        Clocks without any good row after which a link trains again.
    skew_limit
        Blocks by which the slowest lane may lag behind the fastest.
    marker_interval
        Rows from one alignment marker to the next while data flow.
    lane_patience
        Rows that the receiver waits for a lane before it calls it dead.

    Raises
    ------
    ValueError
        If a parameter is out of its range; the message names it and its value.
    """

    name: str
    lanes: int = 8
    lane_width: int = 56
    packet_slots: int = 5
    flight_cycles: int = 140
    coding_cycles: int = 60
    window: int = 0
    request_credits: int = 0
    reply_credits: int = 0
    retrain_cycles: int = 64
    silence_cycles: int = 4096
    skew_limit: int = 32
    marker_interval: int = 1024
    lane_patience: int = 512

    def __post_init__(self) -> None:
        if self.lanes not in _LANES:
            raise ValueError(f"lanes must be 2, 4 or 8, not {self.lanes!r}")
        if not 1 <= self.lane_width <= WORD_BITS:
            raise ValueError(f"lane_width must be in 1..{WORD_BITS}, not {self.lane_width!r}")
        if not 1 <= self.packet_slots <= 5:
            raise ValueError(f"packet_slots must be in 1..5, not {self.packet_slots!r}")
        for name in ("flight_cycles", "coding_cycles"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)!r}")
        for name in ("retrain_cycles", "silence_cycles"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        # A quarter of the numbers is left so that old ones can be told from new ones.
        for name, needed, bits in (
            ("window", self.needed_window, SEQUENCE_BITS),
            ("request_credits", self.needed_credits, LIMIT_BITS),
            ("reply_credits", self.needed_credits, LIMIT_BITS),
        ):
            value = getattr(self, name) or needed
            most = 3 << (bits - 2)
            if not 1 <= value <= most:
                raise ValueError(f"{name} must be in 1..{most}, not {value!r}")
            object.__setattr__(self, name, value)
        # Twice the limit are the rows between which a lane may be, seen from another one.
        if not 1 <= self.skew_limit <= ROW_NUMBERS // 8:
            raise ValueError(
                f"skew_limit must be in 1..{ROW_NUMBERS // 8}, not {self.skew_limit!r}"
            )
        if self.marker_interval < 4 or self.marker_interval % 2:
            raise ValueError(
                f"marker_interval must be even and at least 4, not {self.marker_interval!r}"
            )
        if self.lane_patience < 1:
            raise ValueError(f"lane_patience must be at least 1, not {self.lane_patience!r}")

    @property
    def packet_words(self) -> int:
        """Words of one packet."""
        return 8 * PACKET_DTYPE.itemsize // WORD_BITS

    @property
    def frame_words(self) -> int:
        """Words of one frame: its packets and the control word, filled up to whole rows."""
        return self.frame_rows * self.lanes

    @property
    def frame_rows(self) -> int:
        """Rows of one frame."""
        return ceil((self.packet_slots * self.packet_words + 1) / self.lanes)

    @property
    def cycles_per_row(self) -> float:
        """Clocks that one row takes on the lanes."""
        return BLOCK_BITS / self.lane_width

    @property
    def cycles_per_frame(self) -> float:
        """Clocks that one full frame takes on the lanes."""
        return self.frame_rows * self.cycles_per_row

    @property
    def acknowledge_cycles(self) -> float:
        """The most clocks from the decision to send a frame to its acknowledgement being known.

        Each way: the rows in the transmitter, the way over lanes, the receiver. There the
        rows of the frame behind its first; back, those of a frame that has just begun.
        """
        rows = 2 * TRANSMIT_ROWS + (self.frame_rows - 1) + self.frame_rows
        ways = 2 * (self.flight_cycles + self.coding_cycles + RECEIVE_CYCLES)
        return rows * self.cycles_per_row + ways

    @property
    def needed_window(self) -> int:
        """Frames that begin before the first of them is acknowledged, on a full link."""
        return ceil(self.acknowledge_cycles / self.cycles_per_frame)

    @property
    def needed_credits(self) -> int:
        """Packets that are taken before room for the first of them is reported, on a full link.

        That is reported like the acknowledgement of its frame, if the packet is taken at once.
        """
        cycles = self.acknowledge_cycles + ROOM_CYCLES
        return ceil(self.packet_slots * cycles / self.cycles_per_frame)

    @property
    def marker_share(self) -> float:
        """The most that markers take of all rows of a full link."""
        return 1 / self.marker_interval

    @property
    def skew_bits(self) -> int:
        """Bits by which the slowest lane may lag behind the fastest."""
        return self.skew_limit * BLOCK_BITS

    @property
    def deskew_rows(self) -> int:
        """Rows that the receiver can hold of each lane: a power of two, twice the skew limit."""
        return 1 << (2 * self.skew_limit - 1).bit_length()


#: The named links. `d1` is that of the machine, 112 Gb/s a lane at 2 GHz; the others are for FPGA
#: transceivers and for tests, `serial` in true serial form.
LINKS: dict[str, LinkParams] = {
    params.name: params
    for params in (
        LinkParams(name="d1"),
        LinkParams(name="fpga", lanes=4, lane_width=32, flight_cycles=40),
        LinkParams(name="serial", lanes=4, lane_width=1, flight_cycles=0),
        LinkParams(name="tiny", lanes=2, lane_width=64, flight_cycles=4, skew_limit=4),
    )
}


def link_preset(name: str) -> LinkParams:
    """Return the link called `name`.

    Raises
    ------
    ValueError
        If there is no such link; the message lists those that exist.
    """
    try:
        return LINKS[name]
    except KeyError:
        known = ", ".join(sorted(LINKS))
        raise ValueError(f"link must be one of {known}, not {name!r}") from None
