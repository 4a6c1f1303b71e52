"""Arrange matrices as the programs of `kernel` read and write them.

An operand is given as ``[batch, lines, k]`` codes, where a line is a row of the left operand or a
column of the right one. A vector holds a word of each line of a tile: eight bytes (four BF16 or
eight CFP8) or one FP32. So the arranging moves whole words:

    operand    [batch][group][vector along k][tile of the group][line]      words
    result     [batch][memory group][register group][register tile][memory tile][line][line]   FP32

Lines and k are padded with zeros. Padded lines only reach padded lines of the result, which are
dropped; padded terms of k are zeros of both operands, which a fused dot product ignores. Whole
matrix steps of padding are never computed, since a step without a term turns -0 into +0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d1.compiler.schedule import Groups, Schedule

__all__ = ["pack_operand", "unpack_result"]


def pack_operand(
    codes: NDArray[np.generic], groups: tuple[Groups, ...], lanes: int, word_bytes: int
) -> NDArray[np.unsignedinteger]:
    """Return an operand as the program reads it.

    Parameters
    ----------
    codes : uint8, uint16 or uint32[batch, lines, k]
        CFP8, BF16 or FP32 codes.
    groups
        How the operand's tiles are grouped: `Schedule.register_groups` or `memory_groups`.
    lanes
        Lines of a tile: `Tile.register_lines` or `Tile.memory_lines`.
    word_bytes
        `Tile.word_bytes`.

    Returns
    -------
    uint32[words] or uint64[words]

    """
    batch, lines, k = codes.shape
    word = np.dtype(f"<u{word_bytes}")
    per_word = word_bytes // codes.itemsize
    tiles = groups[-1].first + groups[-1].count * groups[-1].size
    vectors = -(-k // per_word)
    if (lines, k) == (tiles * lanes, vectors * per_word):
        padded = np.ascontiguousarray(codes)
    else:
        padded = np.zeros((batch, tiles * lanes, vectors * per_word), codes.dtype)
        padded[:, :lines, :k] = codes
    words = padded.view(word).reshape(batch, tiles, lanes, vectors)
    packed = np.empty((batch, tiles * lanes * vectors), word)
    for group in groups:
        first, stop = group.first, group.first + group.count * group.size
        source = words[:, first:stop].reshape(batch, group.count, group.size, lanes, vectors)
        target = packed[:, first * lanes * vectors : stop * lanes * vectors]
        target.reshape(batch, group.count, vectors, group.size, lanes)[...] = source.transpose(
            0, 1, 4, 2, 3
        )
    return packed.reshape(-1)


def unpack_result(result: NDArray[np.uint8], schedule: Schedule) -> NDArray[np.float32]:
    """Return the result that the program left.

    Parameters
    ----------
    result : uint8[output_bytes]
        The bytes at the start of the data.
    schedule
        That of the program.

    Returns
    -------
    float32[batch, register lines, memory lines]
        Padding included.

    """
    rows, columns = schedule.tile.register_lines, schedule.tile.memory_lines
    tiles = (schedule.register_tiles, schedule.memory_tiles)
    matrix = np.empty((schedule.batch, tiles[0] * rows, tiles[1] * columns), np.float32)
    # Tile by tile: [batch, register tile, row, memory tile, column]. Below, axes are only split, so
    # that every slice stays a view of the matrix.
    view = matrix.reshape(schedule.batch, tiles[0], rows, tiles[1], columns)
    stored = result.view(np.float32).reshape(schedule.batch, -1)
    tile = rows * columns
    for m in schedule.memory_groups:
        start = m.first * tiles[0] * tile
        stop = start + m.count * m.size * tiles[0] * tile
        of_memory_group = stored[:, start:stop].reshape(schedule.batch, m.count, -1)
        for r in schedule.register_groups:
            start = r.first * m.size * tile
            stop = start + r.count * r.size * m.size * tile
            blocks = of_memory_group[:, :, start:stop].reshape(
                schedule.batch, m.count, r.count, r.size, m.size, rows, columns
            )
            target = view[
                :, r.first : r.first + r.count * r.size, :, m.first : m.first + m.count * m.size
            ].reshape(schedule.batch, r.count, r.size, rows, m.count, m.size, columns)
            target[...] = blocks.transpose(0, 2, 3, 5, 1, 4, 6)
    return matrix
