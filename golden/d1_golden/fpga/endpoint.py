"""The two ends of the serial line: packets arrive exactly once and in order, whatever it does.

Each end numbers its packets, keeps them until they are acknowledged, and goes back to the oldest
one when the other end rejects (a later one came) or when nothing has been acknowledged for a
while. Only the next packet in order is accepted. A packet is acknowledged when it is **taken**, so
the window of `WINDOW` packets is also the room that the receiver has: it never overruns.

An end knows nothing of time: whoever drives it calls `expire`.

Ref: ISO/IEC 13239, "High-level data link control (HDLC) procedures", section 5: sequence numbers,
receive ready and reject, windows with going back.
"""

from __future__ import annotations

from collections import deque

from .frame import SESSION_BYTES, SHAPED, WINDOW, Frame, Kind, decode, encode, pack, split, unpack

__all__ = ["DeviceEnd", "End", "HostEnd"]

_NUMBERS = 256
_HALF = _NUMBERS // 2


class End:
    """What both ends do. Golden twin of `d1_rtl.fpga.send_window` and `receive_window`.

    Members
    -------
    session : int
        Number of the session; 0 before the first.
    discarded : int
        Pieces of the line that were no frame of the session.
    resent : int
        Packets that were sent again.

    """

    def __init__(self) -> None:
        self.session = 0
        self.discarded = 0
        self.resent = 0
        self._rest = b""
        self._begin()

    def _begin(self) -> None:
        """Forget everything of the session before."""
        self._kept: deque[bytes] = deque()  # packed packets without acknowledgement, and new ones
        self._base = 0  # number of the first of them
        self._sent = 0  # how many of them have been sent since the last going back
        self._ever_sent = 0  # or before it
        self._arrived: deque[bytes] = deque()  # packets that nobody has taken
        self._taken = 0  # number of the first of them
        self._farthest = 0  # how far ahead was what came last instead of the next in order
        self._owes_open = self._owes_reject = self._owes_acknowledge = False

    @property
    def room(self) -> int:
        """How many packets may be given to `send` now."""
        return WINDOW - len(self._kept)

    @property
    def unacknowledged(self) -> int:
        """Packets given to `send` that the other end is not known to have taken."""
        return len(self._kept)

    @property
    def waits(self) -> bool:
        """Whether something was sent that is to be sent again when time goes by."""
        return self._sent > 0

    @property
    def acknowledged(self) -> int:
        """Packets that the other end is known to have taken so far, modulo 256."""
        return self._base

    @property
    def taken(self) -> int:
        """Packets taken so far, modulo 256."""
        return self._taken

    def send(self, packet: bytes) -> None:
        """Give a packet of 88 bytes; there must be `room`."""
        if not self.room:
            raise ValueError(f"packets on their way must be at most {WINDOW}, not one more")
        self._kept.append(pack(packet))

    def take(self) -> bytes | None:
        """Return the next packet that has arrived, or None."""
        if not self._arrived:
            return None
        self._taken = (self._taken + 1) % _NUMBERS
        self._owes_acknowledge = True
        return unpack(self._arrived.popleft())

    def expire(self) -> None:
        """Go back to the first packet that is not acknowledged: too long nothing has been."""
        self._sent = 0

    def next_frame(self) -> bytes | None:
        """Return what is to be sent next on the line, or None."""
        payload = b""
        if self._owes_open:
            kind, self._owes_open = int(Kind.OPEN), False
            payload = self.session.to_bytes(SESSION_BYTES, "little")
        elif self._owes_reject:
            kind = Kind.REJECT
        elif self._sent < len(self._kept):
            kind, payload = self._kept[self._sent][0], self._kept[self._sent][1:]
        elif self._owes_acknowledge:
            kind = Kind.ACKNOWLEDGE
        else:
            return None
        sequence = (self._base + self._sent) % _NUMBERS
        if kind & SHAPED:
            self._sent += 1
            self.resent += self._sent <= self._ever_sent
            self._ever_sent = max(self._ever_sent, self._sent)
        self._owes_reject = self._owes_acknowledge = False
        return encode(Frame(kind, sequence, self._taken, payload), self.session)

    def receive(self, line: bytes) -> None:
        """Take bytes from the line."""
        lines, self._rest = split(self._rest + line)
        for piece in lines:
            frame = decode(piece, self.session)
            if frame is None:
                self.discarded += len(piece) > 0
            elif frame.kind == Kind.OPEN:
                self._opened(int.from_bytes(frame.payload, "little"))
            else:
                self._receive(frame)

    def _opened(self, session: int) -> None:
        raise NotImplementedError

    def _receive(self, frame: Frame) -> None:
        acknowledged = (frame.acknowledge - self._base) % _NUMBERS
        if acknowledged <= len(self._kept):
            for _ in range(acknowledged):
                self._kept.popleft()
            self._base = frame.acknowledge
            self._sent = max(self._sent - acknowledged, 0)
            self._ever_sent = max(self._ever_sent - acknowledged, 0)
            if frame.kind == Kind.REJECT:
                self._sent = 0
        if frame.kind & SHAPED:
            self._receive_packet(frame)

    def _receive_packet(self, frame: Frame) -> None:
        ahead = (frame.sequence - self._taken - len(self._arrived)) % _NUMBERS
        if ahead == 0 and len(self._arrived) < WINDOW:
            self._arrived.append(bytes([frame.kind]) + frame.payload)
            self._farthest = 0
            return
        self._owes_acknowledge = True
        if 0 < ahead < _HALF:
            # Those behind the first one that is missing ask for nothing new, until the other end
            # has gone back and the missing one was lost again.
            self._owes_reject |= self._farthest == 0 or ahead <= self._farthest
            self._farthest = ahead


class DeviceEnd(End):
    """The device's end: waits for a host to open a session. Golden twin of `d1_rtl.fpga.uart_door`.

    Members
    -------
    resets : int
        How often a session has begun: what is behind the door is reset then.

    """

    def __init__(self) -> None:
        super().__init__()
        self.resets = 0

    def _opened(self, session: int) -> None:
        if session != self.session:
            self._begin()
            self.session = session
            self.resets += 1
        self._owes_open = True


class HostEnd(End):
    """The host's end.

    Members
    -------
    is_open : bool
        The device is in this session.

    """

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False

    @property
    def waits(self) -> bool:
        """Whether something was sent that is to be sent again when time goes by."""
        return super().waits or (self.session != 0 and not self.is_open)

    def open(self, session: int) -> None:
        """Begin a session; its number must be another one than that of the session before.

        Raises
        ------
        ValueError
            If it is not in 1..2^32 - 2.

        """
        if not 1 <= session < (1 << 8 * SESSION_BYTES) - 1:
            raise ValueError(f"session must be in 1..2^32 - 2, not {session!r}")
        self._begin()
        self.session = session
        self.is_open = False
        self._owes_open = True

    def expire(self) -> None:
        """Go back; or ask again for the session."""
        super().expire()
        self._owes_open = not self.is_open

    def next_frame(self) -> bytes | None:
        """Return what is to be sent next on the line, or None."""
        return super().next_frame() if self.is_open or self._owes_open else None

    def _opened(self, session: int) -> None:
        self.is_open |= session == self.session
