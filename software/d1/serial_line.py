"""The serial line to a board: packets there and back over a port of this computer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import serial
from d1_golden.fpga.endpoint import HostEnd
from d1_golden.fpga.frame import SESSION_BYTES
from d1_golden.fpga.uart import BAUD
from d1_golden.packet import PACKET_DTYPE, Opcode
from serial.tools.list_ports import comports

from d1.errors import BoardError

__all__ = ["ANSWER_SECONDS", "SerialLine", "find_port"]

#: Seconds without any progress after which a board is given up.
ANSWER_SECONDS = 5.0
#: Seconds without progress after which the host sends again. Each time they double, and with
#: what goes on without they shrink: where the other end is slow, sending again would only clog the
#: line. A share of the seconds after which it is given up is the most.
_RESEND_SECONDS, _GROWTH, _SHRINKING, _MOST = 0.1, 2.0, 0.95, 0.2
#: Seconds to wait for bytes at a time.
_POLL_SECONDS = 0.02


def find_port() -> str:
    """Return the one USB serial port that there is.

    Raises
    ------
    BoardError
        If there is none, or there are several; the message lists them.

    """
    found = sorted(port.device for port in comports() if port.vid is not None)
    if len(found) != 1:
        raise BoardError(
            f"port must be named where there is not one USB serial port, but {_listed(found)}"
        )
    return found[0]


def _listed(ports: list[str]) -> str:
    return ", ".join(ports) if ports else "none"


def _describe(packet: bytes) -> str:
    """Return what a request asks."""
    request = np.frombuffer(packet, PACKET_DTYPE)[0]
    opcode = int(request["opcode"])
    name = Opcode(opcode).name if opcode in set(Opcode) else f"opcode {opcode}"
    return f"{name} at {int(request['address']):#x}"


class SerialLine:
    """The host's end of a serial line, with the time that the golden end knows nothing of.

    Parameters
    ----------
    port
        Name of the serial port, such as `/dev/ttyUSB0`.
    baud
        Bits per second.
    answer_seconds
        Seconds without any progress after which the board is given up.

    Members
    -------
    port : str
        As given.
    end : HostEnd
        Sessions, windows and counts of what was sent again.

    Raises
    ------
    BoardError
        If the port cannot be opened, or no board answers.

    """

    def __init__(
        self, port: str, *, baud: int = BAUD, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        if not answer_seconds > 0:
            raise ValueError(f"answer_seconds must be positive, not {answer_seconds!r}")
        self.port = port
        self.end = HostEnd()
        self._baud = baud
        self._answer_seconds = answer_seconds
        self._received: list[bytes] = []
        self._patience = _RESEND_SECONDS
        self._lost: str | None = None  # why the port cannot be used any more
        self._serial = self._open()
        try:
            self.open_session()
        except BaseException:
            self.close()
            raise

    def _open(self) -> serial.Serial:
        try:
            opened = serial.Serial(
                self.port,
                self._baud,
                timeout=_POLL_SECONDS,
                write_timeout=self._answer_seconds,
                exclusive=True,
            )
        except (OSError, ValueError) as error:
            raise BoardError(self._advice(error)) from None
        with suppress(Exception):  # not every system and adapter can
            opened.set_low_latency_mode(True)
        return opened

    def _advice(self, error: Exception) -> str:
        there = _listed(sorted(port.device for port in comports()))
        message = f"port must be a serial port that can be opened, not {self.port!r}"
        if not Path(self.port).exists():
            return f"{message}: it is not there; there are: {there}"
        if getattr(error, "errno", None) == 13 or "Permission" in str(error):
            return f"{message}: access is denied; on Linux its group (often dialout) has it"
        return f"{message}: {error}"

    @property
    def is_lost(self) -> bool:
        """Whether the port is gone or closed: only another line can be used."""
        return self._lost is not None

    def open_session(self) -> None:
        """Begin a session: the node is reset, and all that was on its way is forgotten.

        Raises
        ------
        BoardError
            If the board does not answer or the port is gone.

        """
        before, session = self.end.session, 0
        while session in (0, before):
            session = secrets.randbelow((1 << 8 * SESSION_BYTES) - 2) + 1
        self._received.clear()
        with self._guard():
            self._serial.reset_input_buffer()
            self._serial.reset_output_buffer()
        self.end.open(session)
        self._run(lambda: self.end.is_open, lambda: "the opening of a session")

    def exchange(self, packets: list[bytes], is_done: Callable[[list[bytes]], bool]) -> list[bytes]:
        """Send packets and return those that came back when `is_done` says that they are all.

        Raises
        ------
        BoardError
            If nothing goes on for `answer_seconds`, or the port is gone.

        """
        waiting = iter(packets)
        left = len(packets)

        def feed() -> bool:
            nonlocal left
            while left and self.end.room:
                self.end.send(next(waiting))
                left -= 1
            return left == 0 and is_done(self._received)

        def wanted() -> str:
            number = len(packets) - left - self.end.unacknowledged
            if number < len(packets):
                return f"packet {number + 1} of {len(packets)}, {_describe(packets[number])},"
            return f"the last reply to {len(packets)} packets; {len(self._received)} came"

        self._run(feed, wanted)
        received, self._received = self._received, []
        return received

    def _run(self, is_done: Callable[[], bool], wanted: Callable[[], str]) -> None:
        """Send and receive until it is done; send again, and give up in the end."""
        progress = resent = time.monotonic()
        resends = 0
        most = max(_RESEND_SECONDS, _MOST * self._answer_seconds)
        while not is_done():
            before = self._state()
            with self._guard():
                self._transmit()
                self.end.receive(self._serial.read(max(1, self._serial.in_waiting)))
            while (packet := self.end.take()) is not None:
                self._received.append(packet)
            now = time.monotonic()
            if self._state() != before:
                progress = resent = now
                self._patience = max(_RESEND_SECONDS, self._patience * _SHRINKING)
            elif now - progress > self._answer_seconds:
                raise BoardError(
                    f"board on {self.port} must answer within {self._answer_seconds:g} s, but "
                    f"{wanted()} was not answered, sent again {resends} times"
                )
            elif self.end.waits and now - resent > self._patience:
                self.end.expire()
                resent, resends = now, resends + 1
                self._patience = min(most, self._patience * _GROWTH)
        with self._guard():
            self._transmit()  # what the end owes: the last acknowledgement

    def _transmit(self) -> None:
        frames = b"".join(iter(lambda: self.end.next_frame() or b"", b""))
        if frames:
            self._serial.write(frames)

    def _state(self) -> tuple[bool, int, int]:
        """Return what changes when something goes on."""
        return self.end.is_open, self.end.taken, self.end.acknowledged

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Make what the port reports errors of the board; it cannot be used after one."""
        if self._lost is not None:
            raise BoardError(self._lost)
        try:
            yield
        except (OSError, TypeError) as error:  # pyserial: closed meanwhile gives a TypeError
            self._lost = f"board on {self.port} must stay connected, but: {error}"
            self.close()
            raise BoardError(self._lost) from None

    def close(self) -> None:
        """Give back the port."""
        if self._lost is None:
            self._lost = f"line to the board on {self.port} must be open, not closed"
        with suppress(OSError):
            self._serial.close()
