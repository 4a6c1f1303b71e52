"""Code of a nest of loops: element by element, along rows, and down outer dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from d1_golden.params import NodeParams

from d1.compiler.evaluation import Evaluator, Point, Row, is_aligned, reduction, row_values
from d1.compiler.expressions import Expr, Kind, Ref, ordered
from d1.compiler.ir import Loops, Store
from d1.compiler.loop_nest import nest
from d1.compiler.tile_code import Code, Scalar, Vector

__all__ = ["Options", "joined_dimensions", "lower_loops", "simplified"]


@dataclass(frozen=True)
class Options:
    """What costs registers and can be done without.

    Parameters
    ----------
    unroll
        Vectors of a row at a time.
    whole_row
        Rows of up to so many vectors are kept in registers.
    hoist
        Whether constants stay in registers.

    """

    unroll: int
    whole_row: int
    hoist: bool


def lower_loops(kernel: Loops, params: NodeParams, options: Options) -> tuple[Code, Evaluator]:
    """Return the code of a kernel.

    Raises
    ------
    RegisterPressureError
        It needs more registers than there are, but maybe not with other options.

    """
    lanes = params.fp32_lanes
    kernel = simplified(kernel, lanes)
    code = Code()
    evaluator = Evaluator(code, lanes, len(kernel.domain), hoist=options.hoist)
    lowering = _Lowering(kernel, code, evaluator, params, options)
    if kernel.reduced:
        lowering.outer()
    elif lowering.levels:
        lowering.rows()
    else:
        lowering.elements()
    return code, evaluator


def simplified(kernel: Loops, lanes: int) -> Loops:
    """Return the same kernel with as few dimensions as possible."""
    kernel = joined_dimensions(kernel)
    values = [store.value for store in kernel.stores]
    pitch = -(-kernel.domain[-1] // lanes) * lanes
    flat = (
        len(kernel.domain) == 2
        and not kernel.reduced
        and not any(value.has(Kind.ROW_REDUCE, Kind.INDEX, Kind.GATHER) for value in values)
        and all(is_aligned(ref, lanes) and ref.strides == (pitch, 1) for ref in _refs(kernel))
    )
    if not flat:
        return kernel
    return _map_refs(
        replace(kernel, domain=(kernel.domain[0] * pitch,)),
        lambda ref: replace(ref, strides=(1,)),
    )


def joined_dimensions(kernel: Loops) -> Loops:
    """Return the same kernel with outer dimensions joined where nothing tells them apart."""
    for n in range(len(kernel.domain) - 2 - kernel.reduced, 0, -1):
        values = [store.value for store in kernel.stores]
        indexed = {node.attribute for node in ordered(values) if node.kind is Kind.INDEX}
        joined = _joined(kernel, n) if not {n - 1, n} & indexed else None
        kernel = kernel if joined is None else _renumbered(joined, n)
    return kernel


def _renumbered(kernel: Loops, n: int) -> Loops:
    """Return a kernel in which indices behind a joined dimension have their new numbers."""

    def change(expr: Expr) -> Expr | None:
        if expr.kind is Kind.INDEX and expr.attribute > n:
            return Expr.index(expr.attribute - 1)
        return None

    stores = tuple(Store(s.target, s.value.map(change)) for s in kernel.stores)
    return replace(kernel, stores=stores)


def _refs(kernel: Loops) -> Iterator[Ref]:
    for store in kernel.stores:
        yield store.target
        yield from store.value.refs()


def _map_refs(kernel: Loops, change: Callable[[Ref], Ref]) -> Loops:
    return replace(
        kernel,
        stores=tuple(Store(change(s.target), s.value.map_refs(change)) for s in kernel.stores),
    )


def _joined(kernel: Loops, n: int) -> Loops | None:
    """Return a kernel with dimensions n - 1 and n as one, if every place allows it."""
    size = kernel.domain[n]
    if any(ref.strides[n - 1] != ref.strides[n] * size for ref in _refs(kernel)):
        return None
    domain = (*kernel.domain[: n - 1], kernel.domain[n - 1] * size, *kernel.domain[n + 1 :])

    def change(ref: Ref) -> Ref:
        return replace(ref, strides=(*ref.strides[: n - 1], *ref.strides[n:]))

    return _map_refs(replace(kernel, domain=domain), change)


@dataclass
class _Lowering:
    kernel: Loops
    code: Code
    evaluator: Evaluator
    params: NodeParams
    options: Options

    def __post_init__(self) -> None:
        self.lanes = self.params.fp32_lanes
        self.size = self.kernel.domain[-1]
        self.values = [store.value for store in self.kernel.stores]
        self.levels = _levels(self.values)
        self.row_of = row_values(self.values, len(self.kernel.domain))
        self.row_stores = [s for s in self.kernel.stores if not s.target.strides[-1]]
        self.element_stores = [s for s in self.kernel.stores if s.target.strides[-1]]
        for store in self.row_stores:
            if self.kernel.domain[-1] > 1 and not self.row_of[store.value]:
                raise ValueError(f"a row has one value of {store.target}, not {store.value}")
        self.masked = bool(self.levels) or any(
            node.kind is Kind.GATHER
            or (
                node.kind is Kind.LOAD
                and node.attribute.strides[-1]
                and not is_aligned(node.attribute, self.lanes)
            )
            for node in ordered(self.values)
        )

    def elements(self) -> None:
        """Emit a kernel without reductions."""
        *outer, _ = self.kernel.domain
        full, tail = self._chunks()
        unroll = next(
            u
            for u in (4, 2, 1)
            if u <= self.options.unroll and full % u == 0 and (full // u >= 4 or u == 1 or outer)
        )
        if full:
            with nest(self.code, [*outer, full // unroll], self.params.threads) as indices:
                row = Row(indices[:-1])
                start = self.code.multiply(indices[-1], unroll * self.lanes)
                self._store_elements(
                    [self._point(row, start, n) for n in range(unroll)], self.kernel.stores
                )
        if tail:
            with nest(self.code, outer, self.params.threads) as indices:
                point = Point(Row(tuple(indices)), full * self.lanes, tail)
                self._store_elements([point], self.kernel.stores)

    def rows(self) -> None:
        """Emit a kernel with reductions along rows."""
        full, tail = self._chunks()
        with nest(self.code, self.kernel.domain[:-1], self.params.threads) as indices:
            row = Row(indices)
            if full + bool(tail) <= self.options.whole_row:
                points = [self._point(row, 0, n) for n in range(full)]
                points += [Point(row, full * self.lanes, tail)] if tail else []
                for level in self.levels:
                    for reduce in level:
                        self._reduce_row(reduce, points)
                self._store_elements(points, self.kernel.stores)
                return
            for level in self.levels:
                self._reduce_level(row, level, full, tail)
            self._prepare(row, self.values)
            self._along_row(
                row, full, tail, lambda points: self._store_elements(points, self.element_stores)
            )
            self._store_elements([Point(row, 0, self.lanes)], self.row_stores)

    def outer(self) -> None:
        """Emit a kernel with reductions over outer dimensions."""
        reduced = self.kernel.reduced
        parallel = self.kernel.domain[: -1 - reduced]
        full, tail = self._chunks()
        if full:
            with nest(self.code, [*parallel, full], self.params.threads) as indices:
                column = self.code.multiply(indices[-1], self.lanes)
                self._reduce_outer(indices[:-1], column, self.lanes)
        if tail:
            with nest(self.code, parallel, self.params.threads) as indices:
                self._reduce_outer(indices, full * self.lanes, tail)

    def _chunks(self) -> tuple[int, int]:
        """Return the whole vectors of a row and the elements of one more."""
        full, tail = divmod(self.size, self.lanes)
        return (full, tail) if self.masked or not tail else (full + 1, 0)

    def _point(self, row: Row, start: Scalar | int, chunk: int) -> Point:
        """Return a whole vector so many behind a start."""
        column = self.code.add(start, chunk * self.lanes)
        return Point(row, column, self.lanes)

    def _store_elements(self, points: Sequence[Point], stores: Sequence[Store]) -> None:
        if not stores:
            return
        self.evaluator.evaluate([store.value for store in stores], points)
        for store in stores:
            self.evaluator.store(store, points)

    def _operand(self, reduce: Expr, point: Point) -> Vector:
        """Return what a reduction is of, with nothing in lanes that are no elements."""
        value = self.evaluator.value(reduce.args[0], point)
        return self.evaluator.valid_or(value, point, reduction(reduce.attribute).neutral)

    def _reduce_row(self, reduce: Expr, points: Sequence[Point]) -> None:
        """Emit a reduction of a row that is in registers."""
        self.evaluator.evaluate(reduce.args, points)
        vectors = [self._operand(reduce, point) for point in points]
        self._finish_row(reduce, vectors, points[0].row)

    def _finish_row(self, reduce: Expr, vectors: list[Vector], row: Row) -> None:
        total = self._combined(reduce, vectors)
        lanes = reduction(reduce.attribute).lanes
        assert lanes is not None, f"{reduce.attribute} must not combine lanes"
        row.values[reduce] = self.evaluator.unary(lanes, total)

    def _combined(self, reduce: Expr, vectors: list[Vector]) -> Vector:
        """Return vectors combined, neighbours first."""
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=False)
            joined = [self.evaluator.binary(reduce.attribute, a, b) for a, b in pairs]
            vectors = joined + vectors[len(vectors) & ~1 :]
        return vectors[0]

    def _reduce_level(self, row: Row, level: Sequence[Expr], full: int, tail: int) -> None:
        """Emit reductions of a row that does not fit in registers."""
        unroll = self._unroll(full)
        sums = {reduce: [self._neutral(reduce) for _ in range(unroll)] for reduce in level}

        def add(points: Sequence[Point]) -> None:
            self.evaluator.evaluate([reduce.args[0] for reduce in level], points)
            for reduce in level:
                for total, point in zip(sums[reduce], points, strict=False):
                    self._add_to(reduce, total, self._operand(reduce, point))

        self._prepare(row, [reduce.args[0] for reduce in level])
        self._along_row(row, full, tail, add)
        for reduce in level:
            self._finish_row(reduce, sums[reduce], row)

    def _prepare(self, row: Row, roots: Sequence[Expr]) -> None:
        """Emit what loops along a row use and need not compute again for each vector."""
        ready: list[Expr] = []
        known: dict[Expr, bool] = {}
        for node in ordered(roots):
            known[node] = node in row.values or (
                node.kind is not Kind.ROW_REDUCE
                and all(known[arg] for arg in node.args)
                and self.row_of[node]
            )
            if known[node] and node.kind is not Kind.CONSTANT:
                ready.append(node)
        self.evaluator.evaluate(ready, [Point(row, 0, self.lanes)])

    def _add_to(self, reduce: Expr, total: Vector, value: Vector) -> None:
        self.code.emit(reduce.attribute, vd=total, vs1=total, vs2=value)

    def _neutral(self, reduce: Expr) -> Vector:
        """Return a new register with what changes nothing."""
        start = self.evaluator.constant(reduction(reduce.attribute).neutral)
        total = self.code.vector()
        self.code.emit("vor.i32", vd=total, vs1=start, vs2=start)
        return total

    def _unroll(self, full: int) -> int:
        return next(u for u in (4, 2, 1) if u <= self.options.unroll and full % u == 0)

    def _along_row(
        self, row: Row, full: int, tail: int, emit: Callable[[Sequence[Point]], None]
    ) -> None:
        """Emit something for each vector of a row."""
        unroll = self._unroll(full)
        known = dict(row.values)
        with self.code.loop(0, full // unroll) as n:
            start = self.code.multiply(n, unroll * self.lanes)
            emit([self._point(row, start, chunk) for chunk in range(unroll)])
            # What was computed inside the loop is not there behind it.
            row.values = dict(known)
        if tail:
            emit([Point(row, full * self.lanes, tail)])

    def _reduce_outer(
        self, outer: tuple[Scalar | int, ...], column: Scalar | int, valid: int
    ) -> None:
        """Emit the reductions of a vector of columns, and what is made of them."""
        kernel, code = self.kernel, self.code
        reduces = [node for node in ordered(self.values) if node.kind is Kind.OUTER_REDUCE]
        *extents, last = kernel.domain[-1 - kernel.reduced : -1]
        unroll = self._unroll(last)
        sums = {reduce: [self._neutral(reduce) for _ in range(unroll)] for reduce in reduces}
        with ExitStack() as loops:
            indices = [loops.enter_context(code.loop(0, extent)) for extent in extents]
            first = loops.enter_context(code.loop(0, last, unroll))
            points = [
                Point(Row((*outer, *indices, code.add(first, n))), column, valid)
                for n in range(unroll)
            ]
            self.evaluator.evaluate([reduce.args[0] for reduce in reduces], points)
            for reduce in reduces:
                for total, point in zip(sums[reduce], points, strict=True):
                    self._add_to(reduce, total, self.evaluator.value(reduce.args[0], point))
        point = Point(Row((*outer, *kernel.reduced * (0,))), column, valid)
        for reduce in reduces:
            point.values[reduce] = self._combined(reduce, sums[reduce])
        self._store_elements([point], kernel.stores)


def _levels(values: Sequence[Expr]) -> list[list[Expr]]:
    """Return the reductions along rows, those first that others are made of."""
    depth: dict[Expr, int] = {}
    levels: list[list[Expr]] = []
    for node in ordered(values):
        below = max((depth[arg] for arg in node.args), default=0)
        depth[node] = below + (node.kind is Kind.ROW_REDUCE)
        if node.kind is Kind.ROW_REDUCE:
            if below == len(levels):
                levels.append([])
            levels[below].append(node)
    return levels
