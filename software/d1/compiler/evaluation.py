"""Emits the code of expressions, for several points of a domain at a time.

A point is a vector of elements along the innermost dimension. Operations of several points are
interleaved, so that none waits for the one before. What is the same for all elements of a row is
computed once for the points of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from d1_golden.isa import INSTRUCTION_BY_NAME, OPERANDS

from d1.compiler.expressions import Expr, Kind, Ref, ordered
from d1.compiler.ir import Store, Tensor
from d1.compiler.tile_code import Code, Mask, Scalar, Vector

__all__ = ["Evaluator", "Point", "Row", "is_aligned", "reduction", "row_values"]

_WORD = 4
#: Constants kept in registers for all of a kernel; others are made where they are used.
_MOST_CONSTANTS = 14
#: Instructions that add to their destination.
_ACCUMULATING = ("vfmadd.f32", "vfnmadd.f32")

Register = Vector | Mask


@dataclass(frozen=True)
class Reduction:
    """How lanes are combined, if they can be, and with what nothing is changed."""

    lanes: str | None
    neutral: int


_REDUCTIONS = {
    "vfadd.f32": Reduction("vfredsum.f32", 0),
    "vfmax.f32": Reduction("vfredmax.f32", 0xFF800000),
    "vfmin.f32": Reduction("vfredmin.f32", 0x7F800000),
    "vfmul.f32": Reduction(None, 0x3F800000),
    "vadd.i32": Reduction("vredsum.i32", 0),
    "vmul.i32": Reduction(None, 1),
    "vmax.i32": Reduction("vredmax.i32", 0x80000000),
    "vmin.i32": Reduction("vredmin.i32", 0x7FFFFFFF),
}


def reduction(instruction: str) -> Reduction:
    """Return how the lanes of what an instruction combined are combined."""
    return _REDUCTIONS[instruction]


@dataclass(eq=False)
class Row:
    """Indices of the outer dimensions, and what is known for all of the row."""

    indices: tuple[Scalar | int, ...]
    values: dict[Expr, Register] = field(default_factory=dict)


@dataclass(eq=False)
class Point:
    """A vector of elements: of which row, from which column, how many of them are elements."""

    row: Row
    column: Scalar | int
    valid: int
    values: dict[Expr, Register] = field(default_factory=dict)


def row_values(roots: Iterable[Expr], rank: int) -> dict[Expr, bool]:
    """Return of every node of some expressions whether it is the same for all of a row."""
    result: dict[Expr, bool] = {}
    for node in ordered(roots):
        match node.kind:
            case Kind.ROW_REDUCE:
                result[node] = True
            case Kind.ACCUMULATOR | Kind.OUTER_REDUCE:
                result[node] = False
            case Kind.INDEX:
                result[node] = node.attribute != rank - 1
            case Kind.LOAD:
                result[node] = not node.attribute.strides[-1]
            case _:
                result[node] = all(result[arg] for arg in node.args)
    return result


def is_aligned(ref: Ref, lanes: int) -> bool:
    """Return whether vectors of a row are vectors in memory."""
    *outer, last = ref.strides
    return last == 1 and not any(x % lanes for x in (ref.offset, *outer))


class Evaluator:
    """Emits what expressions need, and knows which argument is the address of which tensor.

    Parameters
    ----------
    code
        Where the code goes.
    lanes
        Lanes of a vector.
    rank
        Dimensions of the domain.
    hoist
        Whether constants are kept in registers.

    Members
    -------
    tensors : list of Tensor
        Those whose addresses are arguments 1, 2 and so on; argument 0 is that of a vector of the
        numbers of lanes.

    """

    def __init__(self, code: Code, lanes: int, rank: int, *, hoist: bool = True) -> None:
        self.code, self.lanes, self.rank = code, lanes, rank
        self.tensors: list[Tensor] = []
        self._addresses: dict[Tensor, Scalar] = {}
        self._hoist = hoist
        self._hoisted: dict[int | str | tuple[str, int], Register] = {}

    def address(self, tensor: Tensor) -> Scalar:
        """Return the address of a tensor."""
        if tensor not in self._addresses:
            self.tensors.append(tensor)
            with self.code.at_entry():
                self._addresses[tensor] = self.code.argument(len(self.tensors))
        return self._addresses[tensor]

    def evaluate(self, roots: Sequence[Expr], points: Sequence[Point]) -> None:
        """Compute expressions for points; results are in `values` of points and rows."""
        row_of = row_values(roots, self.rank)
        for expr in self._wanted(roots, points, row_of):
            if row_of[expr]:
                for row in dict.fromkeys(point.row for point in points):
                    if expr not in row.values:
                        first = next(p for p in points if p.row is row)
                        row.values[expr] = self._compute(expr, first, row.values)
            else:
                for point in points:
                    if expr not in point.values:
                        known = {**{a: point.row.values[a] for a in expr.args if row_of[a]}}
                        known |= {a: point.values[a] for a in expr.args if not row_of[a]}
                        point.values[expr] = self._compute(expr, point, known)

    def _wanted(
        self, roots: Sequence[Expr], points: Sequence[Point], row_of: dict[Expr, bool]
    ) -> list[Expr]:
        """Return what has to be computed for what is wanted and not known."""
        wanted: dict[Expr, None] = {}
        stack = [(root, False) for root in reversed(list(roots))]
        while stack:
            expr, ready = stack.pop()
            if expr in wanted:
                continue
            if ready:
                wanted[expr] = None
                continue
            tables = [p.row.values if row_of[expr] else p.values for p in points]
            if all(expr in table for table in tables):
                continue
            stack.append((expr, True))
            stack += [(arg, False) for arg in reversed(expr.args)]
        return list(wanted)

    def value(self, expr: Expr, point: Point) -> Vector:
        """Return the register of a value that is known for a point."""
        register = point.values.get(expr) or point.row.values[expr]
        assert isinstance(register, Vector)
        return register

    def store(self, store: Store, points: Sequence[Point]) -> None:
        """Emit the storing of a value that is known, for each point; for a row once."""
        if store.target.strides[-1]:
            for point in points:
                base, offset = self.place(store.target, point, _range("imm_vs", 4 * self.lanes))
                vector = self.value(store.value, point)
                self.code.emit("vst", vs2=vector, rs1=base, imm=offset // (_WORD * self.lanes))
            return
        for row in dict.fromkeys(point.row for point in points):
            first = next(p for p in points if p.row is row)
            self._store_row(store, first)

    def _store_row(self, store: Store, point: Point) -> None:
        target, code = store.target, self.code
        vector = self.value(store.value, point)
        whole = target.tensor.shape[-1:] in ((1,), ()) and not any(
            x % self.lanes for x in (target.offset, *target.strides)
        )
        if whole:
            base, offset = self.place(target, point, _range("imm_vs", 4 * self.lanes))
            code.emit("vst", vs2=vector, rs1=base, imm=offset // (_WORD * self.lanes))
            return
        # One word of a vector: a store under a mask of one lane.
        base, offset = self.place(target, point, range(0))
        place = code.add(base, offset)
        size = _WORD * self.lanes
        lane = code.scalar("lshr", code.scalar("and", place, size - 1), 2)
        mask = code.mask()
        code.emit("vmv.m.x", md=mask, rs1=code.scalar("shl", 1, lane))
        line = code.scalar("and", place, -size)
        code.emit("vst.m", vs3=vector, rs1=line, ms=mask)

    def constant(self, bits: int) -> Vector:
        """Return a vector with a word in all lanes."""
        return self._keep(bits, lambda: self._splat(bits))

    def lanes_mask(self, bits: int) -> Mask:
        """Return the mask with some bits."""
        key = ("mask", bits)
        if key not in self._hoisted:
            with self.code.at_entry():
                mask = self.code.mask()
                self.code.emit("vmv.m.x", md=mask, rs1=self._scalar(bits))
            self._hoisted[key] = mask
        register = self._hoisted[key]
        assert isinstance(register, Mask)
        return register

    def first_lanes(self, count: int) -> Mask:
        """Return the mask of the first lanes."""
        return self.lanes_mask((1 << count) - 1)

    def kept(self, key: str, of_lane: Callable[[Expr], Expr]) -> Vector:
        """Return a vector computed from the numbers of lanes, kept in a register."""

        def make() -> Vector:
            expr = of_lane(Expr.index(self.rank - 1))
            point = Point(Row((0,) * (self.rank - 1)), 0, self.lanes)
            self.evaluate([expr], [point])
            return self.value(expr, point)

        return self._keep(key, make)

    def binary(self, instruction: str, a: Vector, b: Vector) -> Vector:
        """Return the result of an instruction on two vectors."""
        result = self.code.vector()
        self.code.emit(instruction, vd=result, vs1=a, vs2=b)
        return result

    def unary(self, instruction: str, a: Vector) -> Vector:
        """Return the result of an instruction on a vector."""
        result = self.code.vector()
        self.code.emit(instruction, vd=result, vs1=a)
        return result

    def select(self, mask: Mask, a: Vector, b: Vector) -> Vector:
        """Return the lanes in a mask from one vector and the others from another."""
        result = self.code.vector()
        self.code.emit("vsel", vd=result, vs1=a, vs2=b, ms=mask)
        return result

    def valid_or(self, vector: Vector, point: Point, bits: int) -> Vector:
        """Return a point's value with the lanes that are no elements replaced."""
        if point.valid >= self.lanes:
            return vector
        return self.select(self.first_lanes(point.valid), vector, self.constant(bits))

    def place(self, ref: Ref, point: Point, within: range) -> tuple[Scalar, int]:
        """Return an address and bytes to add to it, for the first element of a point.

        Parameters
        ----------
        ref, point
            Where.
        within
            What may be left to add.

        """
        code = self.code
        base: Scalar | int = self.address(ref.tensor)
        offset = ref.offset
        for index, stride in zip((*point.row.indices, point.column), ref.strides, strict=True):
            if isinstance(index, int):
                offset += index * stride
            else:
                base = code.add(base, code.multiply(index, _WORD * stride))
        offset *= _WORD
        if offset not in within and offset:
            base, offset = code.add(base, offset), 0
        assert isinstance(base, Scalar)
        return base, offset

    def _compute(self, expr: Expr, point: Point, known: dict[Expr, Register]) -> Register:
        match expr.kind:
            case Kind.LOAD:
                return self._load(expr.attribute, point)
            case Kind.CONSTANT:
                return self.constant(expr.attribute)
            case Kind.INDEX:
                return self._index(expr.attribute, point)
            case Kind.GATHER:
                return self._gather(expr, point, known)
            case Kind.OPERATION:
                return self._operation(expr, known)
            case _:
                raise ValueError(f"{expr.kind.value} must have been computed before, not be here")

    def _operation(self, expr: Expr, known: dict[Expr, Register]) -> Register:
        row = INSTRUCTION_BY_NAME[expr.attribute]
        names = [operand.name for operand in row.operands]
        sources = [known[arg] for arg in expr.args]
        result = self.code.mask() if expr.is_mask else self.code.vector()
        if expr.attribute in _ACCUMULATING:
            self.code.emit("vor.i32", vd=result, vs1=sources[2], vs2=sources[2])
        operands = dict(zip(names, (result, *sources), strict=False))
        self.code.emit(expr.attribute, **operands)
        return result

    def _load(self, ref: Ref, point: Point) -> Vector:
        code, result = self.code, self.code.vector()
        size = _WORD * self.lanes
        if ref.strides[-1] == 0:
            base, offset = self.place(ref, point, _range("imm_i", 1))
            code.emit("vldb", vd=result, rs1=base, imm=offset)
        elif is_aligned(ref, self.lanes):
            base, offset = self.place(ref, point, _range("imm_vi", size))
            code.emit("vld", vd=result, rs1=base, imm=offset // size)
        else:
            base, offset = self.place(ref, point, range(0))
            step = _WORD * ref.strides[-1]
            self._emit_gather(result, base, self._lane_offsets(step), point)
        return result

    def _gather(self, expr: Expr, point: Point, known: dict[Expr, Register]) -> Vector:
        places = known[expr.args[0]]
        assert isinstance(places, Vector)
        offsets = self.binary("vsll.i32", places, self.constant(2))
        result = self.code.vector()
        self._emit_gather(result, self.address(expr.attribute), offsets, point)
        return result

    def _emit_gather(self, result: Vector, base: Scalar, offsets: Vector, point: Point) -> None:
        if point.valid < self.lanes:
            mask = self.first_lanes(point.valid)
            self.code.emit("vgather.m", vd=result, rs1=base, vs2=offsets, ms=mask)
        else:
            self.code.emit("vgather", vd=result, rs1=base, vs2=offsets)

    def _index(self, dimension: int, point: Point) -> Vector:
        last = dimension == self.rank - 1
        index = point.column if last else point.row.indices[dimension]
        if isinstance(index, int):
            start = self.constant(index)
        else:
            start = self.code.vector()
            self.code.emit("vbc.x", vd=start, rs1=index)
        return self.binary("vadd.i32", start, self._lane_numbers()) if last else start

    def _lane_numbers(self) -> Vector:
        def make() -> Vector:
            result = self.code.vector()
            self.code.emit("vld", vd=result, rs1=self.code.argument(0), imm=0)
            return result

        return self._keep("lanes", make)

    def _lane_offsets(self, step: int) -> Vector:
        def make() -> Vector:
            return self.binary("vmul.i32", self._lane_numbers(), self._splat(step))

        return self._keep(("step", step), make)

    def _splat(self, bits: int) -> Vector:
        result = self.code.vector()
        self.code.emit("vbc.x", vd=result, rs1=self._scalar(bits))
        return result

    def _scalar(self, value: int) -> Scalar:
        signed = value - (1 << 32) if value >> 31 else value
        return self.code.scalar("add", signed, 0)

    def _keep(self, key: int | str | tuple[str, int], make: Callable[[], Vector]) -> Vector:
        """Return what is kept under a key, made at the kernel's entry if there is room."""
        if key in self._hoisted:
            register = self._hoisted[key]
        elif not self._hoist or len(self._hoisted) >= _MOST_CONSTANTS:
            register = make()
        else:
            with self.code.at_entry():
                register = self._hoisted[key] = make()
        assert isinstance(register, Vector)
        return register


def _range(operand: str, unit: int) -> range:
    """Return the bytes that an immediate reaches."""
    row = OPERANDS[operand]
    return range(row.minimum * unit, row.maximum * unit + 1)
