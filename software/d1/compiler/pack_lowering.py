"""Code that arranges an operand of a product in tiles of BF16 or CFP8.

What memory has along its rows may be what is summed over, or the lines. Either way some vectors of
FP32 make a few of BF16 or CFP8, whose pieces are exchanged until each vector is a tile. With T
terms in a word of a line, 4 of BF16 or 8 of CFP8:

    along k        R rows of L numbers -> L / T tiles      words of T numbers change places
    along lines    T rows of L numbers -> 2 tiles          a transpose of each tile

Where the sizes end within a tile, what is summed over is filled up with zeros; lines are not.

The format of CFP8 is a word in SRAM. Where the rounding is stochastic, each thread counts its
random numbers from a place of its own, so that they do not depend on when it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from d1_golden.csr import CSR_BY_NAME
from d1_golden.numerics import Rounding
from d1_golden.params import NodeParams

from d1.compiler.evaluation import Evaluator, Point, Row
from d1.compiler.expressions import Expr, Kind
from d1.compiler.ir import Pack, Stochastic, Tensor, TileLayout
from d1.compiler.loop_nest import nest
from d1.compiler.tile_code import Code, Scalar, Vector

__all__ = ["lower_pack"]

_WORD = 4
#: Bit from which on the counters of random numbers differ between threads.
_THREAD_BIT = 30


def lower_pack(pack: Pack, params: NodeParams) -> tuple[Code, Evaluator]:
    """Return the code of a kernel."""
    code = Code()
    evaluator = Evaluator(code, params.fp32_lanes, len(pack.domain))
    lowering = _Lowering(pack, code, evaluator, params)
    lowering.set_up()
    if _is_along_lines(pack):
        lowering.along_lines()
    else:
        lowering.along_k()
    lowering.clean_up()
    return code, evaluator


def _is_along_lines(pack: Pack) -> bool:
    """Return whether rows in memory are lines of the operand: more is loaded that way."""
    strides = [ref.strides for ref in pack.value.refs()]
    return sum(s[-2] == 1 for s in strides) > sum(s[-1] == 1 for s in strides)


def _swapped(expr: Expr, rank: int) -> Expr:
    """Return an expression with the last two dimensions of its domain exchanged."""

    def change(node: Expr) -> Expr | None:
        if node.kind is Kind.LOAD:
            ref = node.attribute
            *outer, lines, k = ref.strides
            return Expr.load(type(ref)(ref.tensor, ref.offset, (*outer, k, lines)))
        if node.kind is Kind.INDEX and node.attribute >= rank - 2:
            return Expr.index(2 * rank - 3 - node.attribute)
        return None

    return expr.map(change)


@dataclass
class _Lowering:
    pack: Pack
    code: Code
    evaluator: Evaluator
    params: NodeParams

    def __post_init__(self) -> None:
        tiles = self.pack.target.tiles
        assert tiles is not None
        self.layout: TileLayout = tiles
        self.lanes = self.params.fp32_lanes
        self.height = self.params.matrix_rows
        self.tiles = tiles.tiles
        self.terms = tiles.terms
        self.steps = tiles.vectors
        self.size = self.params.vector_bytes
        # Vectors of FP32 whose numbers are one of a tile.
        self.parts = self.terms // 2
        self.conversion = "vcvt.bf16.f32" if self.pack.format is None else "vcvt.cfp8.f32"

    def set_up(self) -> None:
        """Emit what says how numbers are rounded."""
        if self.pack.format is not None:
            self._set("mcfp8c", self._word(self.pack.format))
        if self.pack.stochastic is not None:
            self._set("mseed", self._seed(self.pack.stochastic))
            self._set("mround", self.code.scalar("add", Rounding.STOCHASTIC, 0))

    def clean_up(self) -> None:
        """Emit what undoes `set_up` for others, who round to nearest even."""
        if self.pack.stochastic is not None:
            self._set("mround", self.code.scalar("add", Rounding.NEAREST_EVEN, 0))

    def _set(self, csr: str, value: Scalar) -> None:
        self.code.emit("csrrw", rd=0, csr=CSR_BY_NAME[csr].number, rs1=value)

    def _word(self, tensor: Tensor, number: int = 0) -> Scalar:
        address = self.code.add(self.evaluator.address(tensor), _WORD * number)
        return self.code.scalar("load32", address)

    def _seed(self, of: Stochastic) -> Scalar:
        """Return the seed of a thread: a key, and where it counts from."""
        scalar = self.code.scalar
        key = scalar("xor", self._word(of.seed, 0), self._word(of.stream))
        thread = scalar("shl", self.code.thread, _THREAD_BIT)
        start = scalar("and", scalar("add", self._word(of.seed, 1), thread), (1 << 32) - 1)
        return scalar("or", scalar("shl", key, 32), start)

    def along_k(self) -> None:
        """Emit a kernel for rows in memory along what is summed over."""
        whole, left = divmod(self.layout.lines, self.height)
        batch = self.pack.domain[:-2]
        if whole:
            with nest(self.code, [*batch, whole], self.params.threads) as indices:
                self._tile_row(indices[:-1], indices[-1], self.height)
        if left:
            with nest(self.code, batch, self.params.threads) as indices:
                self._tile_row(indices, whole, left)

    def _tile_row(self, batch: tuple[Scalar | int, ...], tile: Scalar | int, lines: int) -> None:
        """Emit the tiles of R lines."""
        # Where a vector has less numbers than a word of a tile, two of them.
        size = max(self.lanes, self.terms)
        whole, left = divmod(self.layout.k, size)
        place, step = self._place(batch, tile)
        first = self.code.multiply(tile, self.height)
        per_chunk = size // self.terms

        def emit(chunk: Scalar | int, valid: int) -> None:
            rows = [Row((*batch, self.code.add(first, line))) for line in range(lines)]
            start = self.code.multiply(chunk, size)
            points = [
                Point(row, self.code.add(start, n), min(valid - n, self.lanes))
                for row in rows
                for n in range(0, size, self.lanes)
            ]
            tiles = self._tiles_along_k(points)
            to = self.code.add(place, self._times(chunk, step, per_chunk))
            for n in range(math.ceil(valid / self.terms)):
                self._store(tiles[n], to, step, n)

        with self.code.loop(0, whole) as chunk:
            emit(chunk, size)
        if left:
            emit(whole, left)

    def _times(self, chunk: Scalar | int, step: Scalar | int, factor: int) -> Scalar | int:
        if isinstance(step, int):
            return self.code.multiply(chunk, step * factor)
        if isinstance(chunk, int):
            return self.code.multiply(step, chunk * factor)
        return self.code.multiply(self.code.scalar("mul", chunk, step), factor)

    def _store(self, tile: Vector, to: Scalar | int, step: Scalar | int, number: int) -> None:
        """Emit the storing of the tile of a step so many behind a place."""
        self.code.emit(
            "vst", vs2=tile, rs1=self.code.add(to, self.code.multiply(step, number)), imm=0
        )

    def _place(
        self, batch: tuple[Scalar | int, ...], tile: Scalar | int
    ) -> tuple[Scalar | int, Scalar | int]:
        """Return where the first tile of R lines goes, and bytes from one step to the next."""
        code, group = self.code, min(self.layout.group, self.tiles)
        flat: Scalar | int = 0
        for index, extent in zip(batch, self.pack.domain[:-2], strict=True):
            flat = code.add(code.multiply(flat, extent), index)
        base = code.add(
            self.evaluator.address(self.pack.target),
            code.multiply(flat, self.tiles * self.steps * self.size),
        )
        if isinstance(tile, int):
            inner: Scalar | int = tile % group
            start: Scalar | int = tile - tile % group
            members: Scalar | int = min(group, self.tiles - (tile - tile % group))
        else:
            inner = code.scalar("urem", tile, group)
            start = code.scalar("sub", tile, inner)
            members = group
            if self.tiles % group:
                members = code.scalar("minimum", group, code.scalar("sub", self.tiles, start))
        base = code.add(base, code.multiply(start, self.steps * self.size))
        base = code.add(base, code.multiply(inner, self.size))
        return base, code.multiply(members, self.size)

    def _tiles_along_k(self, points: list[Point]) -> list[Vector]:
        """Return the tiles of the numbers along k of each of R lines."""
        pieces = []
        count = max(self.lanes // self.terms, 1)
        for n in range(0, len(points), 4):
            some = points[n : n + 4]
            self.evaluator.evaluate([self.pack.value], [p for p in some if p.valid > 0])
            values = [self._value(self.pack.value, point) for point in some]
            values += [self.evaluator.constant(0)] * (-len(values) % self.parts)
            pieces += self._rounded(values)
        pieces += [self.evaluator.constant(0)] * (count - len(pieces))
        if count == 1:
            return pieces
        order = self.evaluator.kept(
            "words", lambda lane: _word_order(lane, self.parts, self.lanes // self.parts)
        )
        pieces = [self.evaluator.binary("vshuf", piece, order) for piece in pieces]
        distance = count // 2
        while distance:
            for n in range(count):
                if not n & distance:
                    a, b = self._exchanged(pieces[n], pieces[n + distance], distance, count)
                    pieces[n], pieces[n + distance] = a, b
            distance //= 2
        return pieces

    def _exchanged(self, a: Vector, b: Vector, distance: int, count: int) -> tuple[Vector, Vector]:
        """Return two vectors of some elements with elements exchanged across the diagonal."""
        width = self.lanes // count
        bits = sum(1 << lane for lane in range(self.lanes) if not lane // width & distance)
        mask = self.evaluator.lanes_mask(bits)
        if 2 * distance == count:
            middle = self._slid(a, b, distance * width)
            return (
                self.evaluator.select(mask, a, middle),
                self.evaluator.select(mask, middle, b),
            )
        right = self._slid(b, b, self.lanes - distance * width)
        left = self._slid(a, a, distance * width)
        return self.evaluator.select(mask, a, right), self.evaluator.select(mask, left, b)

    def _slid(self, a: Vector, b: Vector, lanes: int) -> Vector:
        result = self.code.vector()
        self.code.emit("vslide", vd=result, vs1=a, vs2=b, slide=lanes)
        return result

    def _value(self, expr: Expr, point: Point) -> Vector:
        """Return a value with zeros behind the end of what is summed over."""
        if point.valid <= 0:
            return self.evaluator.constant(0)
        return self.evaluator.valid_or(self.evaluator.value(expr, point), point, 0)

    def _rounded(self, values: Sequence[Vector]) -> list[Vector]:
        """Return some vectors each as one of BF16 or CFP8."""
        results = []
        for n in range(0, len(values), self.parts):
            result = self.code.vector()
            for part, value in enumerate(values[n : n + self.parts]):
                self.code.emit(self.conversion, vd=result, vs1=value, part=part)
            results.append(result)
        return results

    def along_lines(self) -> None:
        """Emit a kernel for rows in memory along the lines."""
        whole, left = divmod(self.layout.lines, self.lanes)
        batch = self.pack.domain[:-2]
        value = _swapped(self.pack.value, len(self.pack.domain))
        if whole:
            with nest(self.code, [*batch, whole], self.params.threads) as indices:
                self._two_tiles(value, indices[:-1], indices[-1], self.lanes)
        if left:
            with nest(self.code, batch, self.params.threads) as indices:
                self._two_tiles(value, indices, whole, left)

    def _two_tiles(
        self, value: Expr, batch: tuple[Scalar | int, ...], chunk: Scalar | int, valid: int
    ) -> None:
        """Emit all steps of a vector of lines: two tiles."""
        code = self.code
        first = code.multiply(chunk, 2)
        count = math.ceil(valid / self.height)
        places = [self._place(batch, code.add(first, n)) for n in range(count)]
        column = code.multiply(chunk, self.lanes)
        whole, left = divmod(self.layout.k, self.terms)

        def emit(step: Scalar | int, terms: int) -> None:
            k = code.multiply(step, self.terms)
            rows = [Row((*batch, code.add(k, n))) for n in range(terms)]
            points = [Point(row, column, valid) for row in rows]
            self.evaluator.evaluate([value], points)
            vectors = [self.evaluator.value(value, point) for point in points]
            vectors += [self.evaluator.constant(0)] * (self.terms - terms)
            tiles = self._tiles_along_lines(vectors)
            for tile, (place, distance) in zip(tiles, places, strict=False):
                to = code.add(place, self._times(step, distance, 1))
                self._store(tile, to, 0, 0)

        with code.loop(0, whole) as step:
            emit(step, self.terms)
        if left:
            emit(whole, left)

    def _tiles_along_lines(self, vectors: list[Vector]) -> list[Vector]:
        """Return the two tiles of a step."""
        a, b = map(self._halves_together, self._rounded(vectors))
        transpose = "vtrans.b16" if self.pack.format is None else "vtrans.b8"
        tiles = self._exchanged(a, b, 1, 2)
        return [self.evaluator.unary(transpose, tile) for tile in tiles]

    def _halves_together(self, piece: Vector) -> Vector:
        """Return the first halves of some rows in a vector, then the second ones."""
        half = self.lanes // (2 * self.parts)
        if not half:
            # Half a lane is the two columns of an operand tile, which are transposed.
            return self.evaluator.unary("vtrans.b16", piece)
        order = self.evaluator.kept("halves", lambda lane: _half_order(lane, self.parts, half))
        return self.evaluator.binary("vshuf", piece, order)


def _bits(lane: Expr, shift: int, count: int) -> Expr:
    """Return some values that the bits of the number of a lane have from one on."""
    shifted = Expr.op("vsrl.i32", lane, Expr.word(shift)) if shift else lane
    return Expr.op("vand.i32", shifted, Expr.word(count - 1))


def _sum(*terms: tuple[Expr, int]) -> Expr:
    """Return a sum of multiples."""
    products = [Expr.op("vmul.i32", value, Expr.word(factor)) for value, factor in terms]
    return reduce(lambda a, b: Expr.op("vadd.i32", a, b), products)


def _word_order(lane: Expr, rows: int, row_lanes: int) -> Expr:
    """Return where the lanes come from that put words of some rows, two lanes each, together."""
    shift = rows.bit_length()
    row, word = _bits(lane, 1, rows), _bits(lane, shift, 1 << 8)
    return _sum((row, row_lanes), (word, 2), (_bits(lane, 0, 2), 1))


def _half_order(lane: Expr, rows: int, half: int) -> Expr:
    """Return where the lanes come from that put the halves of some rows together."""
    shift = half.bit_length() - 1
    row, which = _bits(lane, shift, rows), _bits(lane, shift + rows.bit_length() - 1, 2)
    return _sum((row, 2 * half), (which, half), (_bits(lane, 0, half), 1))
