"""Who has which bytes of a node's SRAM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from d1_golden.params import LINE_BYTES

from d1.errors import SramOverflowError

__all__ = ["SramRegion"]


class SramRegion:
    """A range of SRAM that is given out from the bottom up, in whole lines.

    Parameters
    ----------
    name
        What the region is for; part of the error message.
    base
        First address, a multiple of the line.
    size
        Bytes.
    sram_bytes
        Bytes of the whole SRAM; part of the error message.

    """

    def __init__(self, name: str, base: int, size: int, sram_bytes: int) -> None:
        if base % LINE_BYTES:
            raise ValueError(f"base must be a multiple of {LINE_BYTES}, not {base!r}")
        self.name = name
        self.base = base
        self.size = size
        self.sram_bytes = sram_bytes
        self._used = 0

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return self.size - self._used

    def allocate(self, size: int) -> int:
        """Return the address of `size` bytes that nobody else has.

        Raises
        ------
        SramOverflowError
            They are not there.

        """
        if size < 0:
            raise ValueError(f"size must not be negative, not {size!r}")
        whole = -(-size // LINE_BYTES) * LINE_BYTES
        if whole > self.free:
            raise SramOverflowError(
                f"{self.name} must fit in the {self.free} bytes free of {self.size} "
                f"(SRAM: {self.sram_bytes} bytes), not {size!r} bytes"
            )
        address = self.base + self._used
        self._used += whole
        return address

    def clear(self) -> None:
        """Take everything back."""
        self._used = 0

    @contextmanager
    def scratch(self, size: int) -> Iterator[int]:
        """Have `size` bytes for the duration of a block; as `allocate`.

        What is allocated inside the block is taken back with it.
        """
        used = self._used
        address = self.allocate(size)
        try:
            yield address
        finally:
            self._used = used
