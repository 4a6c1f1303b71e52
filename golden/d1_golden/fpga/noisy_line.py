"""A serial line that flips, drops and inserts bytes."""

from __future__ import annotations

import random

__all__ = ["NoisyLine"]


class NoisyLine:
    """Carries bytes in one direction; the same seed gives the same errors.

    Parameters
    ----------
    rate
        Chance for each byte that it is flipped (one to eight of its bits), that it is lost, and
        that another one comes before it: each of the three as likely.
    seed
        Of the errors.

    Members
    -------
    flipped, dropped, inserted : int
        How many there were.

    Raises
    ------
    ValueError
        If the rate is not in 0..1/3.

    """

    def __init__(self, rate: float, seed: int) -> None:
        if not 0 <= rate <= 1 / 3:
            raise ValueError(f"rate must be in 0..1/3, not {rate!r}")
        self._rate = 3 * rate
        self._random = random.Random(seed)
        self.flipped = self.dropped = self.inserted = 0
        self._next = self._gap()

    def _gap(self) -> int:
        """Return how many bytes go by before the next error."""
        return int(self._random.expovariate(self._rate)) if self._rate else 1 << 62

    def carry(self, line: bytes) -> bytes:
        """Return what arrives of some bytes."""
        pieces, start = [], 0
        while start + self._next < len(line):
            place = start + self._next
            pieces.append(line[start:place])
            pieces.append(self._spoil(line[place]))
            start, self._next = place + 1, self._gap()
        self._next -= len(line) - start
        return b"".join([*pieces, line[start:]])

    def _spoil(self, byte: int) -> bytes:
        kind = self._random.randrange(3)
        if kind == 0:
            self.flipped += 1
            return bytes([byte ^ self._random.randrange(1, 256)])
        if kind == 1:
            self.dropped += 1
            return b""
        self.inserted += 1
        return bytes([self._random.randrange(256), byte])
