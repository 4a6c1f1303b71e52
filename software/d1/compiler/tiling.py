"""Cut a product of any size into pieces that fit SRAM.

Rows and columns are cut freely. Where k is cut too, the pieces of one part of the result run one
after the other and each continues from the FP32 sums that the one before left in SRAM; an
accumulator is FP32, so the result has the same bits as if k had never been cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product

from d1_golden.numerics import BF16
from d1_golden.params import LINE_BYTES, NodeParams

from d1.compiler.choice import choose_schedule
from d1.compiler.schedule import PASS_BYTES, Schedule
from d1.compiler.tile import OperandFormats, Tile, ceil_div
from d1.errors import SramOverflowError

__all__ = ["Piece", "Product", "Tiling", "choose_tiling"]

#: Cycles worth as much as one more call of a program: its start, its answer, the host's time.
_CALL_CYCLES = 500


@dataclass(frozen=True, kw_only=True)
class Product:
    """A matrix product: `batch` times (m, k) by (k, n) on a node.

    Parameters
    ----------
    params
        The node.
    batch, m, n, k
        Sizes in elements.
    formats
        BF16, FP32, or CFP8 of the left and the right operand.

    """

    params: NodeParams
    batch: int
    m: int
    n: int
    k: int
    formats: OperandFormats = BF16

    @cached_property
    def tile(self) -> Tile:
        """A tile of the result."""
        return Tile(self.params, self.formats)

    @property
    def row_tiles(self) -> int:
        """Tiles of the result from top to bottom."""
        return ceil_div(self.m, self.tile.register_lines)

    @property
    def column_tiles(self) -> int:
        """Tiles of the result from left to right."""
        return ceil_div(self.n, self.tile.memory_lines)

    @property
    def steps(self) -> int:
        """Steps that sum up one tile."""
        return ceil_div(self.k, self.tile.terms)

    def data_bytes(self, row_tiles: int, column_tiles: int, steps: int) -> int:
        """Return at most how many bytes a product of so many tiles takes beside `fixed_bytes`.

        Its passes, at most two for each tile along the longer side, are in the table.
        """
        tile = self.tile
        vectors = ceil_div(steps, tile.halves)
        operands = (row_tiles * tile.register_bytes + column_tiles * tile.memory_bytes) * vectors
        passes = 2 * max(row_tiles, column_tiles) * PASS_BYTES
        return row_tiles * column_tiles * tile.result_bytes + operands + passes

    @property
    def fixed_bytes(self) -> int:
        """Bytes of a piece that do not depend on its size: the rest of the table, loading ahead."""
        params = self.params
        ahead = max(max(block) for block in self.tile.block_sizes()) + 1
        return ahead * params.vector_bytes + 5 * params.threads * PASS_BYTES


@dataclass(frozen=True)
class Piece:
    """One call of a program: its part of the batch, rows, columns and k, in elements.

    `swapped` says that the result is transposed, `last` that it is complete.
    """

    batch: slice
    rows: slice
    columns: slice
    k: slice
    schedule: Schedule
    swapped: bool
    last: bool


@dataclass(frozen=True)
class Tiling:
    """How a product is cut.

    Parameters
    ----------
    whole
        The product.
    batch, row_tiles, column_tiles, steps
        The largest piece.

    """

    whole: Product
    batch: int
    row_tiles: int
    column_tiles: int
    steps: int

    def pieces(self) -> Iterator[Piece]:
        """Return the pieces in the order in which they must run."""
        whole, tile = self.whole, self.whole.tile
        for batch, rows, columns in product(
            _parts(whole.batch, self.batch),
            _parts(whole.m, self.row_tiles * tile.register_lines),
            _parts(whole.n, self.column_tiles * tile.memory_lines),
        ):
            first, swapped = choose_schedule(
                whole.params,
                batch.stop - batch.start,
                ceil_div(rows.stop - rows.start, tile.register_lines),
                ceil_div(columns.stop - columns.start, tile.memory_lines),
                min(self.steps, whole.steps),
                whole.formats,
            )
            for k in _parts(whole.k, self.steps * tile.terms):
                steps = ceil_div(k.stop - k.start, tile.terms)
                schedule = replace(first, steps=steps, accumulate=k.start > 0)
                yield Piece(batch, rows, columns, k, schedule, swapped, k.stop == whole.k)

    @property
    def cost(self) -> float:
        """Cycles that the cuts cost: operands moved in more than once, sums carried, calls."""
        whole, tile = self.whole, self.whole.tile
        row_cuts = ceil_div(whole.row_tiles, self.row_tiles)
        column_cuts = ceil_div(whole.column_tiles, self.column_tiles)
        step_cuts = ceil_div(whole.steps, self.steps)
        rows = whole.row_tiles * tile.register_bytes * column_cuts
        columns = whole.column_tiles * tile.memory_bytes * row_cuts
        moved = (rows + columns) * ceil_div(whole.steps, tile.halves)
        tiles = whole.row_tiles * whole.column_tiles
        carried = 2 * tiles * tile.result_vectors * (step_cuts - 1)
        calls = row_cuts * column_cuts * step_cuts * ceil_div(whole.batch, self.batch)
        return moved / LINE_BYTES + carried + calls * _CALL_CYCLES


def _parts(size: int, part: int) -> Iterator[slice]:
    for start in range(0, size, part):
        yield slice(start, min(start + part, size))


def _part_sizes(size: int, multiple: int = 1) -> list[int]:
    """Return sizes of parts worth trying: nearly even cuts, ever smaller, multiples of one size."""
    sizes: list[int] = []
    cuts = 1
    while not sizes or sizes[-1] > multiple:
        part = ceil_div(ceil_div(size, cuts), multiple) * multiple
        if not sizes or part < sizes[-1]:
            sizes.append(part)
        cuts += max(cuts // 4, 1)
    return sizes


@lru_cache(maxsize=4096)
def choose_tiling(whole: Product, capacity: int) -> Tiling:
    """Return the tiling of least cost whose pieces fit in `capacity` bytes.

    Raises
    ------
    SramOverflowError
        Not even one step of one tile fits.

    """
    available = capacity - whole.fixed_bytes
    one = whole.data_bytes(whole.row_tiles, whole.column_tiles, whole.steps)
    if one <= available:
        batch = min(whole.batch, available // one)
        return Tiling(whole, batch, whole.row_tiles, whole.column_tiles, whole.steps)
    tilings = [
        Tiling(whole, 1, rows, columns, steps)
        for rows in _part_sizes(whole.row_tiles)
        for columns in _part_sizes(whole.column_tiles)
        for steps in _part_sizes(whole.steps, whole.tile.halves)
        if whole.data_bytes(rows, columns, steps) <= available
    ]
    if not tilings:
        least = whole.fixed_bytes + whole.data_bytes(1, 1, whole.tile.halves)
        raise SramOverflowError(
            f"one step of one tile must fit in the {capacity} bytes free for data "
            f"(SRAM: {whole.params.sram_bytes} bytes), not need {least} bytes"
        )
    return min(tilings, key=lambda tiling: tiling.cost)
