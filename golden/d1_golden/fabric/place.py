"""Places: where in the machine a node is."""

from __future__ import annotations

from typing import NamedTuple

from d1_golden.memory_map import LOCAL_BITS

from .ports import Port

__all__ = ["PLACE_BITS", "Place"]

#: Bits of a place in an address, from bit `LOCAL_BITS` up.
PLACE_BITS = 32


class Place(NamedTuple):
    """A place in the mesh: column and row in its die, and column and row of the die.

    Columns and rows of a die count from 1; 0 and the number after the last are the doors at its
    edges. Each takes a byte of an address, column lowest.
    """

    column: int
    row: int
    die_column: int = 0
    die_row: int = 0

    @property
    def bits(self) -> int:
        """Address bits 55..24: `node_id` of the node, and `source` of what it sends.

        Raises
        ------
        ValueError
            If a coordinate does not fit a byte.

        """
        for name, value in self._asdict().items():
            if not 0 <= value <= 0xFF:
                raise ValueError(f"{name} must be in 0..255, not {value!r}")
        return int.from_bytes(bytes(self), "little")

    @classmethod
    def from_bits(cls, bits: int) -> Place:
        """Return the place whose address bits 55..24 are `bits`."""
        return cls(*bits.to_bytes(PLACE_BITS // 8, "little"))

    def address(self, offset: int = 0) -> int:
        """Return the address of a local offset of the place."""
        if not 0 <= offset < 1 << LOCAL_BITS:
            raise ValueError(f"offset must be in 0..{(1 << LOCAL_BITS) - 1:#x}, not {offset!r}")
        return self.bits << LOCAL_BITS | offset

    def neighbour(self, side: Port) -> Place:
        """Return the place on one side in the same die; at an edge that is a door."""
        columns, rows = side.step
        return self._replace(column=self.column + columns, row=self.row + rows)

    def __str__(self) -> str:
        text = f"({self.column}, {self.row})"
        if self.die_column or self.die_row:
            text += f" of die ({self.die_column}, {self.die_row})"
        return text
