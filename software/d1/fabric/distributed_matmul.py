"""One matrix product on many nodes, whose operands stream over the mesh.

SUMMA (Ref: R. A. van de Geijn and J. Watts, "SUMMA: scalable universal matrix multiplication
algorithm", Concurrency: Practice and Experience, 1997): node (i, j) of a grid computes tile (i, j)
of the result; for each panel of k the nodes of a row broadcast the rows' part of the left operand
along the row, those of a column the columns' part of the right operand along the column. Each
node of a row holds an equal share of the row's operand, and so in a column; a node begins with
its shares alone.

Dead cores leave holes in the grid. So the rows of the die are divided into *bands* of neighbouring
rows with the same live columns, and each band multiplies rows of its own with the whole right
operand, by as many columns as it has; the rows are divided so that every node has equal work.

An element is summed up by one node in the order of k, so it has the same bits on every grid.
docs/collectives.md has the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from d1_golden.params import LINE_BYTES, DieParams
from numpy.typing import NDArray

from d1.compiler.cache import program
from d1.compiler.choice import choose_schedule, instructions
from d1.compiler.kernel import stream_table
from d1.compiler.layout import pack_operand, unpack_result
from d1.compiler.schedule import Schedule
from d1.compiler.stream import ARRIVED, Stream
from d1.compiler.tile import OperandFormats, Tile, ceil_div
from d1.device import Call
from d1.errors import SramOverflowError
from d1.fabric.fan_out import chain, fan_out
from d1.fabric.mesh import Mesh

__all__ = ["Band", "choose_bands", "live_grids", "panel_steps", "streamed_matmul"]

_Node = tuple[int, int]
#: A program gets so many cycles for each instruction, and so many more, before it is given up.
_CYCLES_PER_INSTRUCTION, _EXTRA_CYCLES = 20, 100_000
#: Cycles from the arrival of the last line of a panel to the first step, beside those of lines.
_FILL_CYCLES = 100
#: Steps that a part of the result should at least take at once: fewer are not worth their start.
_LEAST_STEPS = 64


@dataclass(frozen=True)
class Band:
    """A grid of nodes that multiply rows of the left operand with the whole right one.

    Parameters
    ----------
    rows, columns
        Of the die; each row has a live node in each column.
    row_tiles, column_tiles
        Tiles of the result that each node computes.

    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    row_tiles: int
    column_tiles: int

    @property
    def tiles(self) -> int:
        """Tiles that a node computes."""
        return self.row_tiles * self.column_tiles


def choose_bands(die: DieParams, m: int, n: int, formats: OperandFormats) -> tuple[Band, ...]:
    """Return the grids on which the node with the most work has the least, top to bottom.

    Parameters
    ----------
    die
        The die.
    m, n
        Size of the result.
    formats
        Of the operands.

    """
    tile = Tile(die.node, formats)
    m_tiles, n_tiles = ceil_div(m, tile.register_lines), ceil_div(n, tile.memory_lines)
    grids = list(live_grids(die))
    widths = [ceil_div(n_tiles, len(columns)) for _, columns in grids]

    def reach(work: int) -> int:
        """Return the tiles from top to bottom that nodes of so much work each cover."""
        return sum(len(rows) * (work // u) for (rows, _), u in zip(grids, widths, strict=True))

    low, high = 1, m_tiles * max(widths)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reach(middle) >= m_tiles else (middle + 1, high)
    bands = []
    left = m_tiles
    for (rows, columns), width in zip(grids, widths, strict=True):
        height = min(low // width, ceil_div(max(left, 0), len(rows)))
        if height:
            used = ceil_div(left, height)
            wide = ceil_div(n_tiles, width)
            bands.append(Band(rows[:used], columns[:wide], height, width))
            left -= height * len(bands[-1].rows)
    return tuple(bands)


def live_grids(die: DieParams) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield neighbouring rows with the same live columns, and these, from north to south."""
    live = set(die.live_nodes)
    rows: list[int] = []
    same: tuple[int, ...] = ()
    for row in range(1, die.rows + 2):
        columns = tuple(c for c in range(1, die.columns + 1) if (c, row) in live)
        if rows and columns != same:
            yield tuple(rows), same
            rows = []
        if columns:
            rows.append(row)
        same = columns


def panel_steps(schedule: Schedule) -> tuple[int, ...]:
    """Return how the steps of a streamed product are best cut into panels.

    What comes before the first step is idle time, so the first panel is small; but each further
    panel costs a pass of all sums through the accumulators. The second travels while the first is
    multiplied.

    Parameters
    ----------
    schedule
        The whole product of a node.

    """
    steps, tile = schedule.steps, schedule.tile
    lines_per_step = (
        schedule.register_tiles * tile.register_bytes + schedule.memory_tiles * tile.memory_bytes
    ) / (tile.halves * LINE_BYTES)
    sums = schedule.register_tiles * schedule.memory_tiles
    carry = sums * tile.result_vectors

    def idle(first: int) -> float:
        if first == steps:
            return lines_per_step * steps
        second = max(lines_per_step * (steps - first) - sums * first, 0)
        return lines_per_step * first + carry + _FILL_CYCLES + second

    even = 2 * tile.halves
    first = min((*range(even, steps, even), steps), key=idle)
    return (first, steps - first) if first < steps else (steps,)


def streamed_matmul(
    mesh: Mesh,
    left: NDArray[np.generic],
    right: NDArray[np.generic],
    formats: OperandFormats,
    *,
    observe: Callable[[], None] | None = None,
) -> tuple[NDArray[np.float32], int]:
    """Return the product of two operands, and the cycles from the first start to the last end.

    Where it does not fit in the nodes' SRAM it is cut, and the cycles are those of all parts;
    those in which the host brings operands and takes results are not among them.

    Parameters
    ----------
    mesh
        Where to run.
    left : [m, k]
        Codes.
    right : [n, k]
        Codes, k last.
    formats
        Of both.
    observe
        Called before the first start and after the last end of each part.

    Raises
    ------
    SramOverflowError
        Not even one tile fits.
    DeviceError
        A node did not do its part.

    """
    (m, k), n = left.shape, right.shape[0]
    result = np.empty((m, n), np.float32)
    cycles = 0
    with mesh.lock:
        for rows, columns, part in _parts(mesh.params, m, n, k, formats, mesh.data.free):
            # What is summed up stays in the nodes from one piece of k to the next.
            with mesh.data.scratch(part.data_bytes(part.piece_steps)) as base:
                for piece in part.pieces_of_k():
                    calls = part.calls(mesh, left[rows, piece], right[columns, piece], piece, base)
                    outputs = mesh.call(calls, max_cycles=part.max_cycles, observe=observe)
                    cycles += mesh.call_cycles
            result[rows, columns] = part.unpack(outputs)
    return result, cycles


@dataclass(frozen=True)
class _Part:
    """A part of the result whose sums, and the operands of some steps, fit in the nodes' SRAM.

    Parameters
    ----------
    die
        The die.
    m, n, k
        Sizes of the part in elements.
    formats
        Of the operands.
    capacity
        Bytes of SRAM that each node has for it.

    """

    die: DieParams
    m: int
    n: int
    k: int
    formats: OperandFormats
    capacity: int

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Who computes what."""
        return choose_bands(self.die, self.m, self.n, self.formats)

    @cached_property
    def tile(self) -> Tile:
        """A tile of the result."""
        return Tile(self.die.node, self.formats)

    @property
    def steps(self) -> int:
        """Steps that sum up a tile."""
        return ceil_div(self.k, self.tile.terms)

    @cached_property
    def fitting_steps(self) -> int:
        """The most steps whose operands fit beside the sums."""
        fitting, beyond = 0, self.steps + 1
        while fitting + 1 < beyond:
            middle = (fitting + beyond) // 2
            fits = self.data_bytes(middle) <= self.capacity
            fitting, beyond = (middle, beyond) if fits else (fitting, middle)
        return fitting if fitting == self.steps else fitting - fitting % self.tile.halves

    @cached_property
    def piece_steps(self) -> int:
        """Steps of a piece of k: they fit, and pieces are nearly equal."""
        pieces = ceil_div(self.steps, self.fitting_steps)
        if pieces == 1:
            return self.steps
        return ceil_div(ceil_div(self.steps, pieces), self.tile.halves) * self.tile.halves

    @property
    def max_cycles(self) -> int:
        """Cycles after which a program is given up."""
        streams = [self.stream(band, self.piece_steps)[0] for band in self.bands]
        most = max(sum(map(instructions, stream.panels)) for stream in streams)
        return _EXTRA_CYCLES + _CYCLES_PER_INSTRUCTION * most

    def pieces_of_k(self) -> Iterator[slice]:
        """Return the pieces of k that are multiplied one after the other."""
        terms = self.piece_steps * self.tile.terms
        for start in range(0, self.k, terms):
            yield slice(start, min(start + terms, self.k))

    def stream(self, band: Band, steps: int, *, accumulate: bool = False) -> tuple[Stream, bool]:
        """Return a node's program for so many steps, and whether the operands change sides."""
        tiles = (band.row_tiles, band.column_tiles)
        chosen, swapped = choose_schedule(self.die.node, 1, *tiles, self.steps, self.formats)
        whole = replace(chosen, steps=steps)
        return Stream.of(whole, panel_steps(whole), accumulate=accumulate), swapped

    def data_bytes(self, steps: int) -> int:
        """Return the bytes of SRAM that a node needs for so many steps."""
        sizes = []
        for band in self.bands:
            stream, _ = self.stream(band, steps)
            # Around dead routers each receiver may need a transfer of its own.
            transfers = len(band.rows) + len(band.columns) if self.die.dead_routers else 2
            sizes.append(stream.data_bytes(transfers * len(stream.panels)))
        return max(sizes)

    def calls(
        self,
        mesh: Mesh,
        left: NDArray[np.generic],
        right: NDArray[np.generic],
        piece: slice,
        base: int,
    ) -> dict[_Node, Call]:
        """Return what each node is to do for a piece of k, with its shares of the operands.

        Parameters
        ----------
        mesh
            The nodes.
        left : [m, k of the piece]
        right : [n, k of the piece]
        piece
            Of k.
        base
            Where the data is to begin in every node.

        """
        steps = ceil_div(piece.stop - piece.start, self.tile.terms)
        calls: dict[_Node, Call] = {}
        for band, rows in zip(self.bands, self.rows_of_bands(), strict=True):
            stream, swapped = self.stream(band, steps, accumulate=piece.start > 0)
            on_band = _OnBand(mesh, band, stream, swapped, base)
            calls |= on_band.calls(left[rows], right, is_last=piece.stop == self.k)
        return calls

    def rows_of_bands(self) -> Iterator[slice]:
        """Yield the rows of the result that each band computes."""
        first = 0
        for band in self.bands:
            rows = len(band.rows) * band.row_tiles * self.tile.register_lines
            yield slice(first, min(first + rows, self.m))
            first += rows

    def unpack(self, outputs: Mapping[_Node, Sequence[NDArray[np.uint8]]]) -> NDArray[np.float32]:
        """Return the part of the result from what all nodes left."""
        result = np.empty((self.m, self.n), np.float32)
        for band, rows in zip(self.bands, self.rows_of_bands(), strict=True):
            stream, swapped = self.stream(band, self.piece_steps)
            height = band.row_tiles * self.tile.register_lines
            width = band.column_tiles * self.tile.memory_lines
            of_band = result[rows]
            for i, row in enumerate(band.rows):
                for j, column in enumerate(band.columns):
                    (stored,) = outputs[column, row]
                    tile = unpack_result(stored, stream.panels[0])[0]
                    target = of_band[i * height : (i + 1) * height, j * width : (j + 1) * width]
                    whole = tile.T if swapped else tile
                    target[...] = whole[: target.shape[0], : target.shape[1]]
        return result


@dataclass(frozen=True)
class _OnBand:
    """The programs of a band and what lies where.

    Parameters
    ----------
    mesh
        The nodes of the die.
    band
        Those that take part.
    stream
        What each of them computes.
    swapped
        Whether the right operand is on the register side.
    base
        Where the data begins in every node.

    """

    mesh: Mesh
    band: Band
    stream: Stream
    swapped: bool
    base: int

    def calls(
        self, left: NDArray[np.generic], right: NDArray[np.generic], *, is_last: bool
    ) -> dict[_Node, Call]:
        """Return what each node is to do with its shares of the operands.

        Parameters
        ----------
        left : [rows of the band, k]
        right : [n, k]
        is_last
            Whether the result is wanted.

        """
        rows = self._operands(left, len(self.band.rows), of_rows=True)
        columns = self._operands(right, len(self.band.columns), of_rows=False)
        code = program(self.stream)
        outputs = ((self.base, self.stream.output_bytes),) if is_last else ()
        calls = {}
        for i, row in enumerate(self.band.rows):
            for j, column in enumerate(self.band.columns):
                shares = self._shares(j, len(self.band.columns), rows[i], of_rows=True)
                shares += self._shares(i, len(self.band.rows), columns[j], of_rows=False)
                inputs = (*shares, *self._lists((column, row), i, j))
                calls[column, row] = Call(code, self.base, self.stream.threads, inputs, outputs)
        return calls

    def _side(self, panel: Schedule, of_rows: bool) -> tuple[int, int]:
        """Return where an operand of a panel is in the data, and its lines of SRAM."""
        if of_rows is self.swapped:
            return panel.memory_start, ceil_div(panel.memory_bytes, LINE_BYTES)
        return panel.register_start, ceil_div(panel.register_bytes, LINE_BYTES)

    def _operands(
        self, codes: NDArray[np.generic], parts: int, *, of_rows: bool
    ) -> list[list[NDArray[np.uint8]]]:
        """Return the panels of each row or column of the band, as they lie in SRAM."""
        panel = self.stream.panels[0]
        tile = panel.tile
        on_memory_side = of_rows is self.swapped
        groups = panel.memory_groups if on_memory_side else panel.register_groups
        lanes = tile.memory_lines if on_memory_side else tile.register_lines
        tiles = panel.memory_tiles if on_memory_side else panel.register_tiles
        found = []
        for part in range(parts):
            lines = codes[part * tiles * lanes : (part + 1) * tiles * lanes]
            packed, start = [], 0
            for each in self.stream.panels:
                of_panel = lines[None, :, start : start + each.steps * tile.terms]
                start += each.steps * tile.terms
                packed.append(pack_operand(of_panel, groups, lanes, tile.word_bytes).view(np.uint8))
            found.append(packed)
        return found

    def _shares(
        self, member: int, members: int, panels: list[NDArray[np.uint8]], *, of_rows: bool
    ) -> list[tuple[int, NDArray[np.generic]]]:
        """Return address and contents of a node's share of each panel of an operand."""
        shares: list[tuple[int, NDArray[np.generic]]] = []
        for panel, packed in zip(self.stream.panels, panels, strict=True):
            start, lines = self._side(panel, of_rows)
            own = _share(lines, member, members)
            contents = packed[own.start * LINE_BYTES : own.stop * LINE_BYTES]
            if contents.size:
                shares.append((self.base + start + own.start * LINE_BYTES, contents))
        return shares

    def _lists(self, place: _Node, i: int, j: int) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Yield address and contents of a node's table of passes and its lists."""
        in_row = [(column, place[1]) for column in self.band.columns]
        in_column = [(place[0], row) for row in self.band.rows]
        at = self.stream.lists
        sends, arrivals = [], []
        for panel in self.stream.panels:
            transfers = []
            posts = 0
            for member, members, of_rows in ((j, in_row, True), (i, in_column, False)):
                start, lines = self._side(panel, of_rows)
                shares = [_share(lines, n, len(members)) for n in range(len(members))]
                if len(members) == 1:
                    continue
                posts += sum(1 for share in shares if share)
                if own := shares[member]:
                    address = self.base + start + own.start * LINE_BYTES
                    transfers += fan_out(
                        self.mesh,
                        place,
                        members,
                        local=address,
                        remote=address,
                        lines=len(own),
                        arrival=ARRIVED,
                    )
            arrivals.append(posts)
            sends.append(at if transfers else 0)
            if transfers:
                yield self.base + at, chain(transfers, self.base + at)
                at += len(transfers) * LINE_BYTES
        yield self.base + self.stream.table, stream_table(self.stream, sends, arrivals)


def _share(lines: int, member: int, members: int) -> range:
    """Return the lines of an operand that a member of a row or column holds at first."""
    return range(lines * member // members, lines * (member + 1) // members)


def _parts(
    die: DieParams, m: int, n: int, k: int, formats: OperandFormats, capacity: int
) -> Iterator[tuple[slice, slice, _Part]]:
    """Yield parts of the result that fit in SRAM, with their rows and columns."""
    part = _Part(die, m, n, k, formats, capacity)
    while part.fitting_steps < min(part.steps, _LEAST_STEPS):
        if max(part.m, part.n) == 1:
            raise SramOverflowError(
                f"one step of one tile must fit in the {capacity} bytes free for data (SRAM: "
                f"{die.node.sram_bytes} bytes), not need {part.data_bytes(1)} bytes"
            )
        if part.m >= part.n:
            part = replace(part, m=ceil_div(part.m, 2))
        else:
            part = replace(part, n=ceil_div(part.n, 2))
    for top in range(0, m, part.m):
        for first in range(0, n, part.n):
            rows, columns = slice(top, min(top + part.m, m)), slice(first, min(first + part.n, n))
            height, width = rows.stop - rows.start, columns.stop - columns.start
            yield rows, columns, replace(part, m=height, n=width)
