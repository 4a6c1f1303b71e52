"""Values of many fields packed into rows of words, for `NativeModel.play`."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import NDArray

__all__ = ["pack_lanes", "pack_rows"]


def pack_lanes(width: int, values: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return what lanes of so many bits carry, one row a clock, as rows of a port."""
    bits = np.unpackbits(
        np.ascontiguousarray(values, "<u8").view(np.uint8).reshape(*values.shape, 8),
        axis=2,
        bitorder="little",
    )[:, :, :width].reshape(len(values), -1)
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 32)))
    return np.packbits(bits, axis=1, bitorder="little").view("<u4")


def pack_rows(
    layout: data.StructLayout, **fields: NDArray[np.unsignedinteger]
) -> NDArray[np.uint32]:
    """Return values of a layout, one a row, as 32-bit words, least significant first.

    Parameters
    ----------
    layout
        The layout; a field that is not given is zero.
    fields
        For each field an array of unsigned integers with one value a row, or a two-dimensional one
        whose rows are, least significant first, the elements of the field.

    Raises
    ------
    ValueError
        If there is no such field, a value does not fit, or the rows are not equally many.

    """
    rows = {name: len(values) for name, values in fields.items()}
    if len(set(rows.values())) != 1:
        raise ValueError(f"fields must have one number of rows, not {rows}")
    count = next(iter(rows.values()))
    width = Shape.cast(layout).width
    bits = np.zeros((count, -(-width // 32) * 32), np.uint8)
    for name, values in fields.items():
        if name not in layout.members:
            raise ValueError(f"field must be one of {sorted(layout.members)}, not {name!r}")
        field = layout[name]
        columns = values.reshape(count, -1)
        content = np.unpackbits(
            np.ascontiguousarray(columns, columns.dtype.newbyteorder("<")).view(np.uint8),
            axis=1,
            bitorder="little",
        )
        if content[:, field.width :].any():
            raise ValueError(f"values of {name} must fit {field.width} bits, not {values.max()}")
        content = content[:, : field.width]
        bits[:, field.offset : field.offset + content.shape[1]] = content
    return np.packbits(bits, axis=1, bitorder="little").view("<u4")
