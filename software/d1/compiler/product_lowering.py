"""Code of a matrix product: blocks of accumulators, and what becomes of each sum.

Which thread computes which blocks says a `Schedule`; a table in SRAM brings it to the threads. The
code of a block is as [programming](programming.md) has it: the tiles of one side are loaded into
registers one step ahead, those of the other come straight from SRAM. Sums leave by rows: two
accumulators side by side make vectors of a row, on which the expressions are computed. A vector of
CFP8 has the operands of two steps, of which only the first is done where k ends there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product as pairs

import numpy as np
from d1_golden.csr import CSR_BY_NAME
from d1_golden.numerics import BF16, Cfp8Config, Cfp8Format
from d1_golden.params import NodeParams
from numpy.typing import NDArray

from d1.compiler.choice import estimate_cycles, instructions, spread
from d1.compiler.evaluation import Evaluator, Point, Row
from d1.compiler.expressions import Expr, Ref
from d1.compiler.ir import Product
from d1.compiler.loops_lowering import Options
from d1.compiler.schedule import BlockKind, Pass, Schedule
from d1.compiler.tile import OperandFormats, Tile, ceil_div
from d1.compiler.tile_code import Code, Scalar, Vector

__all__ = ["CFP8_OPERANDS", "lower_product", "product_schedule", "product_table"]

#: Operands of CFP8; which ones is known when the program runs.
CFP8_OPERANDS: OperandFormats = (Cfp8Config(Cfp8Format.CFP8_1_4_3, 0),) * 2

_WORD = 4
_UNROLL = 4
#: Words of an entry of the table before the places of the expressions.
_KIND, _COUNT, _REGISTER, _MEMORY, _PLACES = range(5)


@lru_cache(maxsize=4096)
def product_schedule(
    params: NodeParams,
    batch: int,
    rows: int,
    columns: int,
    k: int,
    formats: OperandFormats = BF16,
) -> Schedule:
    """Return how a product is walked through: left operand in registers, whole vectors of rows."""
    tile = Tile(params, formats)
    row_tiles = ceil_div(rows, tile.register_lines)
    # Two tiles side by side are a vector of a row.
    column_tiles = 2 * ceil_div(columns, 2 * tile.memory_lines)
    schedules = (
        Schedule(
            params=params,
            batch=batch,
            register_tiles=row_tiles,
            memory_tiles=column_tiles,
            steps=ceil_div(k, tile.terms),
            register_group=p,
            memory_group=q,
            formats=formats,
            threads=params.threads,
            leads=tuple(lead & ~1 for lead in spread(params.threads, q)),
            unroll=_UNROLL,
        )
        for p, q in tile.block_sizes()
        if q % 2 == 0 and p <= row_tiles and q <= column_tiles
    )
    return min(schedules, key=lambda s: (estimate_cycles(s), instructions(s)))


@dataclass(frozen=True)
class _Kind:
    """Blocks with the same code: tiles, and rows that are rows of the result."""

    block: BlockKind
    rows: int


@dataclass(frozen=True)
class _Entry:
    """A pass as the table has it."""

    kind: _Kind
    taken: Pass


def _entries(product: Product, schedule: Schedule) -> list[list[_Entry]]:
    """Return the passes of each thread; a block with less rows is one of its own."""
    rows = product.domain[-2]
    height = schedule.tile.register_lines

    def divided(taken: Pass) -> Iterator[_Entry]:
        p = taken.kind.p
        last = taken.register_tile + (taken.count - 1) * p
        left = rows - last * height
        if left >= p * height:
            yield _Entry(_Kind(taken.kind, p * height), taken)
            return
        if taken.count > 1:
            yield _Entry(_Kind(taken.kind, p * height), replace(taken, count=taken.count - 1))
        step = (taken.count - 1) * p * schedule.vectors * schedule.tile.register_bytes
        short = replace(taken, count=1, register=taken.register + step, register_tile=last)
        yield _Entry(_Kind(taken.kind, left), short)

    threads = [[e for p in passes for e in divided(p)] for passes in schedule.passes]
    return threads + [[] for _ in range(schedule.params.threads - len(threads))]


def _refs(product: Product) -> list[Ref]:
    """Return the places that the expressions load from and store to."""
    refs = (ref for store in product.stores for ref in (store.target, *store.value.refs()))
    return list(dict.fromkeys(refs))


def _kinds(threads: list[list[_Entry]]) -> list[_Kind]:
    return list(dict.fromkeys(entry.kind for entries in threads for entry in entries))


def _schedule(product: Product, params: NodeParams) -> Schedule:
    *batch, rows, columns = product.domain
    formats = BF16 if product.formats is None else CFP8_OPERANDS
    return product_schedule(params, int(np.prod(batch)), rows, columns, product.k, formats)


def product_table(product: Product, params: NodeParams) -> NDArray[np.uint32]:
    """Return the table of a product: where the entries of each thread are, how many, entries.

    Of an entry the words say the kind of blocks, how many, where their operands begin, and where
    the elements of each expression do: in bytes from the start of each tensor.
    """
    schedule = _schedule(product, params)
    threads = _entries(product, schedule)
    refs, kinds = _refs(product), _kinds(threads)
    tile = schedule.tile
    starts: list[int] = []
    words: list[int] = []
    for entries in threads:
        starts.append(_WORD * (2 * len(threads) + len(words)))
        for entry in entries:
            taken = entry.taken
            indices = (
                *map(int, np.unravel_index(taken.batch, product.domain[:-2] or (1,))),
                taken.register_tile * tile.register_lines,
                taken.memory_tile * tile.memory_lines,
            )[-len(product.domain) :]
            words += [kinds.index(entry.kind), taken.count]
            words += [taken.register - schedule.register_start]
            words += [taken.memory - schedule.memory_start]
            for ref in refs:
                steps = zip(indices, ref.strides, strict=True)
                place = ref.offset + sum(i * stride for i, stride in steps)
                words.append(_WORD * place)
    counts = [len(entries) for entries in threads]
    return np.array([*starts, *counts, *words], np.int64).astype(np.uint32)


def lower_product(product: Product, params: NodeParams, options: Options) -> tuple[Code, Evaluator]:
    """Return the code of a product; the argument behind those of the tensors is its table.

    Of the options `unroll` says how many vectors of two rows expressions are computed for at a
    time.

    Raises
    ------
    RegisterPressureError
        It needs more registers than there are, but maybe not with other options.

    """
    schedule = _schedule(product, params)
    threads = _entries(product, schedule)
    refs = _refs(product)
    code = Code()
    evaluator = _BlockEvaluator(code, params.fp32_lanes, len(product.domain), hoist=options.hoist)
    left, right = evaluator.address(product.left), evaluator.address(product.right)
    for ref in refs:
        evaluator.address(ref.tensor)
    for csr, which in zip(("mcfp8a", "mcfp8b"), product.formats or (), strict=False):
        value = code.scalar("load32", evaluator.address(which))
        code.emit("csrrw", rd=0, csr=CSR_BY_NAME[csr].number, rs1=value)
    with code.at_entry():
        table = code.argument(len(evaluator.tensors) + 1)
    mine = code.scalar("add", table, code.scalar("mul", code.thread, _WORD))
    start = code.scalar("add", table, code.scalar("load32", mine))
    count = code.scalar("load32", code.scalar("add", mine, _WORD * len(threads)))
    entry_words = _PLACES + len(refs)
    with code.loop(0, count) as number:
        entry = code.add(start, code.multiply(number, _WORD * entry_words))

        def word(n: int) -> Scalar:
            return code.scalar("load32", code.add(entry, _WORD * n))

        register = code.scalar("add", left, word(_REGISTER))
        memory = code.scalar("add", right, word(_MEMORY))
        places = {
            ref: code.scalar("add", evaluator.address(ref.tensor), word(_PLACES + n))
            for n, ref in enumerate(refs)
        }
        kind_number, blocks = word(_KIND), word(_COUNT)
        for n, kind in enumerate(_kinds(threads)):
            with code.when(code.scalar("eq", kind_number, n)), code.loop(0, blocks) as block:
                height = kind.block.p * schedule.tile.register_lines
                evaluator.places = {
                    ref: code.add(place, code.multiply(block, _WORD * height * ref.strides[-2]))
                    for ref, place in places.items()
                }
                step = kind.block.p * schedule.vectors * schedule.tile.register_bytes
                _Block(
                    product=product,
                    schedule=schedule,
                    kind=kind,
                    code=code,
                    evaluator=evaluator,
                    at_once=options.unroll,
                    register=code.add(register, code.multiply(block, step)),
                    memory=memory,
                ).emit()
    return code, evaluator


class _BlockEvaluator(Evaluator):
    """Evaluates points of a block; indices count from its first row and column."""

    places: dict[Ref, Scalar | int]

    def place(self, ref: Ref, point: Point, within: range) -> tuple[Scalar, int]:
        row, column = point.row.indices[-1], point.column
        assert isinstance(row, int) and isinstance(column, int)
        base = self.places[ref]
        offset = _WORD * (row * ref.strides[-2] + column * ref.strides[-1])
        if offset not in within and offset:
            base, offset = self.code.add(base, offset), 0
        assert isinstance(base, Scalar)
        return base, offset


@dataclass
class _Block:
    """Emits one block of p x q tiles."""

    product: Product
    schedule: Schedule
    kind: _Kind
    code: Code
    evaluator: Evaluator
    at_once: int
    register: Scalar | int
    memory: Scalar | int

    def emit(self) -> None:
        block, tile, code = self.kind.block, self.schedule.tile, self.code
        head, body, repeats, tail = self.schedule.runs(block)
        sets = [[code.vector() for _ in range(block.p)] for _ in range(2)]
        # Every run behind the first begins with set 0.
        first = head & 1
        self._load(sets[first], self.register, 0)
        last = head if not (repeats or tail) else None
        self._run(self.register, self.memory, head, sets, first, starts=True, last=last)

        def places(vector: Scalar | int) -> tuple[Scalar | int, Scalar | int]:
            return (
                code.add(self.register, code.multiply(vector, block.p * tile.register_bytes)),
                code.add(self.memory, code.multiply(vector, block.panel * tile.memory_bytes)),
            )

        with code.loop(0, repeats) as n:
            # The last time round this loads past the block: not used, and within the tensor.
            self._run(*places(code.add(code.multiply(n, body), head)), body, sets, 0)
        if tail:
            end = places(head + repeats * body)
            self._run(*end, 1, sets, 0, halves=1, starts=not head, last=1)
        for i, part in pairs(range(block.p), range(tile.result_vectors)):
            row = i * tile.register_lines + 2 * part
            if row < self.kind.rows:
                self._store_rows(i, part, row)

    def _load(self, registers: list[Vector], base: Scalar | int, vector: int) -> None:
        for i, register in enumerate(registers):
            self.code.emit("vld", vd=register, rs1=base, imm=vector * len(registers) + i)

    def _run(
        self,
        register: Scalar | int,
        memory: Scalar | int,
        vectors: int,
        sets: list[list[Vector]],
        first: int,
        *,
        halves: int | None = None,
        starts: bool = False,
        last: int | None = None,
    ) -> None:
        """Emit steps; the register-side tiles of the first are loaded."""
        block = self.kind.block
        tile = self.schedule.tile
        for vector in range(vectors):
            current = sets[first ^ vector & 1]
            if vector + 1 != last:
                self._load(sets[first ^ vector & 1 ^ 1], register, vector + 1)
            for half, i, j in pairs(range(halves or tile.halves), range(block.p), range(block.q)):
                self.code.emit(
                    tile.step(half, first=starts and vector == half == 0),
                    acc_d=i * block.q + j,
                    vs2=current[i],
                    rs1=memory,
                    imm=vector * block.panel + j,
                )

    def _store_rows(self, i: int, part: int, row: int) -> None:
        """Emit what becomes of two rows of the sums."""
        columns = self.schedule.tile.memory_lines
        rank, q = len(self.product.domain), self.kind.block.q
        pairs_at_once = max(self.at_once // 2, 1)
        for first in range(0, q, 2 * pairs_at_once):
            points = []
            rows = [Row((*(rank - 2) * (0,), row + n)) for n in range(min(2, self.kind.rows - row))]
            for j in range(first, min(first + 2 * pairs_at_once, q), 2):
                vectors = self._rows_of(i * q + j, part)
                for line, vector in zip(rows, vectors, strict=False):
                    point = Point(line, j * columns, self.evaluator.lanes)
                    point.values[Expr.accumulator()] = vector
                    points.append(point)
            for n in range(0, len(points), self.at_once):
                self._finish(points[n : n + self.at_once])

    def _finish(self, points: list[Point]) -> None:
        """Emit the expressions for some points."""
        stores = self.product.stores
        self.evaluator.evaluate([store.value for store in stores], points)
        for store in stores:
            self.evaluator.store(store, points)

    def _rows_of(self, accumulator: int, part: int) -> tuple[Vector, Vector]:
        """Return two rows of two accumulators side by side."""
        code, columns = self.code, self.schedule.tile.memory_lines
        a, b, middle = code.vector(), code.vector(), code.vector()
        code.emit("mrd", vd=a, acc_s=accumulator, part=part)
        code.emit("mrd", vd=b, acc_s=accumulator + 1, part=part)
        code.emit("vslide", vd=middle, vs1=a, vs2=b, slide=columns)
        lower_lanes = self.evaluator.first_lanes(columns)
        return (
            self.evaluator.select(lower_lanes, a, middle),
            self.evaluator.select(lower_lanes, middle, b),
        )
