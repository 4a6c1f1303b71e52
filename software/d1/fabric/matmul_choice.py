"""One node or all of them: which should multiply two matrices in fewer cycles.

Counted are the cycles in which the host brings the operands and takes the result, a packet a cycle
at each door, and those of the programs. A single node has one door for its packets, but it needs
neither programs on many nodes nor panels on their way.
"""

from __future__ import annotations

from d1_golden.params import LINE_BYTES, DieParams

from d1.compiler.choice import choose_schedule, estimate_cycles
from d1.compiler.tile import OperandFormats, Tile, ceil_div
from d1.compiler.tiling import Product
from d1.fabric.distributed_matmul import Band, choose_bands

__all__ = ["is_better_streamed", "node_cycles", "streamed_cycles"]

#: Cycles of a call on one node, and what those on many take longer: starts, first panel, last end.
_CALL_CYCLES, _SPREAD_CYCLES = 500, 500
#: Packets that a node gets beside its operands: the program, its passes, its lists, its status.
_PACKETS_PER_NODE = 90


def is_better_streamed(die: DieParams, m: int, n: int, k: int, formats: OperandFormats) -> bool:
    """Return whether all nodes of a die together should take fewer cycles than one alone.

    Parameters
    ----------
    die
        The die.
    m, n, k
        Sizes of the product.
    formats
        Of the operands.

    """
    if len(die.live_nodes) == 1:
        return False
    return streamed_cycles(die, m, n, k, formats) < node_cycles(die, m, n, k, formats)


def node_cycles(die: DieParams, m: int, n: int, k: int, formats: OperandFormats) -> float:
    """Return about how many cycles one node takes; parameters as of `is_better_streamed`."""
    tile = Tile(die.node, formats)
    tiles = ceil_div(m, tile.register_lines), ceil_div(n, tile.memory_lines)
    packets = _operand_lines(tile, *tiles, k) + _result_lines(tile, tiles[0] * tiles[1])
    return _CALL_CYCLES + packets + _product_cycles(die, *tiles, k, formats)


def streamed_cycles(die: DieParams, m: int, n: int, k: int, formats: OperandFormats) -> float:
    """Return about how many cycles all nodes take; parameters as of `is_better_streamed`."""
    tile = Tile(die.node, formats)
    bands = choose_bands(die, m, n, formats)

    def packets_of_row(band: Band) -> float:
        width = len(band.columns)
        operands = _operand_lines(
            tile, band.row_tiles, width * band.column_tiles / len(band.rows), k
        )
        return operands + width * (_PACKETS_PER_NODE + _result_lines(tile, band.tiles))

    # A row has two doors.
    packets = max(map(packets_of_row, bands)) / 2
    largest = max(bands, key=lambda band: band.tiles)
    product = _product_cycles(die, largest.row_tiles, largest.column_tiles, k, formats)
    return _CALL_CYCLES + _SPREAD_CYCLES + packets + product


def _product_cycles(
    die: DieParams, row_tiles: int, column_tiles: int, k: int, formats: OperandFormats
) -> float:
    steps = Product(params=die.node, batch=1, m=1, n=1, k=k, formats=formats).steps
    schedule, _ = choose_schedule(die.node, 1, row_tiles, column_tiles, steps, formats)
    return estimate_cycles(schedule)


def _operand_lines(tile: Tile, row_tiles: float, column_tiles: float, k: int) -> float:
    """Return the lines of operands for so many tiles each way."""
    vectors = ceil_div(ceil_div(k, tile.terms), tile.halves)
    return (
        (row_tiles * tile.register_bytes + column_tiles * tile.memory_bytes) * vectors / LINE_BYTES
    )


def _result_lines(tile: Tile, tiles: int) -> float:
    return tiles * tile.result_bytes / LINE_BYTES
