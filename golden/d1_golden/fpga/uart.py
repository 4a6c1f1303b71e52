"""The UART of the serial line: baud rate and clock."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

__all__ = ["BAUD", "BITS", "UartParams"]

#: The rate of the boards: the fastest of the FT231X, as on the ULX3S.
#: Ref: FTDI, "FT231X Full Speed USB to Full Handshake UART", section 3.2, 3 MBaud.
BAUD = 3_000_000
#: Bits of a byte on the line: start, eight from the least significant up, stop.
BITS = 10
#: Fewest clocks in a bit, where they are always as many, and where they are one more or less.
_LEAST, _LEAST_UNEVEN = 4, 6
_MAX_MODULUS = 1 << 16
#: A device sends again when nothing has been acknowledged for one in so many seconds. A USB adapter
#: holds bytes back for up to 16 ms, and the host has other things to do too.
_RESENDS_PER_SECOND = 25


@dataclass(frozen=True, kw_only=True)
class UartParams:
    """Clock and rate of a UART.

    The baud clock adds `step` to a phase in each clock cycle; a bit ends when `modulus` is reached.
    So the mean length of a bit is exact, and each is at most one cycle off.

    Parameters
    ----------
    clock_hz
        Clock of the design, in Hz.
    baud
        Bits per second on the line.
    resend_cycles
        Clock cycles without acknowledgement after which the device sends again; 0: 40 ms.

    Raises
    ------
    ValueError
        If a bit has too few clock cycles, or the two numbers have too little in common.

    """

    clock_hz: int
    baud: int = BAUD
    resend_cycles: int = 0

    def __post_init__(self) -> None:
        if self.clock_hz <= 0 or self.baud <= 0:
            raise ValueError(
                f"clock_hz and baud must be positive, not {self.clock_hz!r}, {self.baud!r}"
            )
        least = _LEAST if self.step == 1 else _LEAST_UNEVEN
        if self.clock_hz < least * self.baud:
            raise ValueError(
                f"clock_hz must be at least {least} times baud {self.baud}, not {self.clock_hz!r}"
            )
        if self.modulus > _MAX_MODULUS:
            raise ValueError(
                f"clock_hz / baud must be a fraction with terms up to {_MAX_MODULUS}, "
                f"not {self.modulus}/{self.step}"
            )
        if self.resend_cycles < 0:
            raise ValueError(f"resend_cycles must not be negative, not {self.resend_cycles!r}")

    @property
    def step(self) -> int:
        """What the phase grows by in a clock cycle."""
        return self.baud // gcd(self.clock_hz, self.baud)

    @property
    def modulus(self) -> int:
        """The phase at which a bit ends."""
        return self.clock_hz // gcd(self.clock_hz, self.baud)

    @property
    def patience(self) -> int:
        """Clock cycles without acknowledgement after which the device sends again."""
        return self.resend_cycles or self.clock_hz // _RESENDS_PER_SECOND
