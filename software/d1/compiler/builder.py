"""Builds graphs of kernels operator by operator, over values that may be views of tensors.

Every operation is a kernel of its own here; `fusion` joins them. Shapes broadcast as in numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from d1_golden.params import NodeParams

from d1.compiler.expressions import Expr, Ref
from d1.compiler.ir import DType, Graph, Loops, Pack, Product, Store, Tensor, TileLayout
from d1.compiler.product_lowering import product_schedule

__all__ = ["Builder", "Value", "as_word", "divided"]


@dataclass(frozen=True)
class Value:
    """Elements of a tensor in the order of some shape.

    Parameters
    ----------
    ref
        Where they are, for a domain of this shape.
    shape
        Sizes.

    """

    ref: Ref
    shape: tuple[int, ...]

    @property
    def dtype(self) -> DType:
        """What the elements are."""
        return self.ref.tensor.dtype

    def broadcast(self, shape: Sequence[int]) -> Value:
        """Return the value with another shape, in which its sizes of 1 may have grown."""
        missing = len(shape) - len(self.shape)
        strides = [0] * missing + [
            stride if size == wanted else 0
            for stride, size, wanted in zip(
                self.ref.strides, self.shape, shape[missing:], strict=True
            )
        ]
        return Value(replace(self.ref, strides=tuple(strides)), tuple(shape))

    def broadcast_back(self, shape: Sequence[int]) -> Value:
        """Return the value repeated along more dimensions behind its own."""
        missing = len(shape) - len(self.shape)
        strides = (*self.ref.strides, *missing * (0,))
        return Value(replace(self.ref, strides=strides), tuple(shape))

    def permute(self, order: Sequence[int]) -> Value:
        """Return the value with its dimensions in another order."""
        strides = tuple(self.ref.strides[n] for n in order)
        return Value(replace(self.ref, strides=strides), tuple(self.shape[n] for n in order))

    def slice(self, dimension: int, start: int, size: int, step: int = 1) -> Value:
        """Return some of the elements along a dimension."""
        stride = self.ref.strides[dimension]
        strides, shape = list(self.ref.strides), list(self.shape)
        strides[dimension], shape[dimension] = stride * step, size
        ref = Ref(self.ref.tensor, self.ref.offset + start * stride, tuple(strides))
        return Value(ref, tuple(shape))

    def reshape(self, shape: Sequence[int]) -> Value | None:
        """Return the value in another shape, or None where its elements must be moved for that."""
        # Sizes of 1 have no stride that matters.
        dims = [(n, s) for n, s in zip(self.shape, self.ref.strides, strict=True) if n != 1]
        strides: list[int] = []
        rest = list(dims)
        for size in shape:
            if size == 1:
                strides.append(0)
                continue
            if not rest:
                return None
            # Join dimensions until there are enough elements, then split off what is wanted.
            n, stride = rest.pop(0)
            while n % size and rest:
                m, inner = rest.pop(0)
                if stride != inner * m:
                    return None
                n, stride = n * m, inner
            if n % size:
                return None
            if n > size:
                rest.insert(0, (n // size, stride))
            strides.append(stride * (n // size))
        return None if rest else Value(replace(self.ref, strides=tuple(strides)), tuple(shape))


class Builder:
    """Appends kernels to a graph.

    Parameters
    ----------
    params
        The node.
    fp32_products
        Whether products are computed in FP32 by the lanes instead of in BF16 by the matrix unit.

    Members
    -------
    graph : Graph
        What has been built.

    """

    def __init__(self, params: NodeParams, *, fp32_products: bool = False) -> None:
        self.params = params
        self.graph = Graph(params)
        self.fp32_products = fp32_products
        self._count = 0

    def tensor(self, shape: Sequence[int], dtype: DType, kind: str = "t") -> Tensor:
        """Return a new tensor."""
        self._count += 1
        name = f"{kind}{self._count}"
        return Tensor(name, tuple(shape) or (1,), dtype, self.params.fp32_lanes)

    def input(self, shape: Sequence[int], dtype: DType) -> Value:
        """Return a new input."""
        tensor = self.tensor(shape, dtype, "in")
        self.graph.inputs.append(tensor)
        return _whole(tensor, shape)

    def output(self, value: Value) -> Value:
        """Make a value an output; return it, in a tensor that is one."""
        tensor = value.ref.tensor
        if tensor in self.graph.inputs or tensor.contents is not None:
            value = self.copy(value)
            tensor = value.ref.tensor
        if tensor not in self.graph.outputs:
            self.graph.outputs.append(tensor)
        return value

    def load(self, value: Value, shape: Sequence[int] | None = None) -> Expr:
        """Return the element of a value, for a domain of a shape that it broadcasts to."""
        ref = value.broadcast(shape or value.shape or (1,)).ref
        loaded = Expr.load(ref)
        if value.dtype is DType.BOOL:
            return Expr.op("vsltu.i32", Expr.word(0), loaded)
        return loaded

    def compute(self, shape: Sequence[int], dtype: DType, expr: Expr) -> Value:
        """Return a new value, of an expression for each element."""
        tensor = self.tensor(shape, dtype)
        domain = tuple(shape) or (1,)
        store = Store(tensor.ref(), as_word(expr))
        self.graph.kernels.append(Loops(domain, (store,)))
        return _whole(tensor, shape)

    def elementwise(
        self, function: Callable[..., Expr], *operands: Value | Expr, dtype: DType
    ) -> Value:
        """Return a function of the elements of some values and of constants."""
        values = [operand for operand in operands if isinstance(operand, Value)]
        shape = np.broadcast_shapes(*(value.shape for value in values))
        args = [self.load(x, shape) if isinstance(x, Value) else x for x in operands]
        return self.compute(shape, dtype, function(*args))

    def copy(self, value: Value) -> Value:
        """Return the value in a tensor of its own."""
        return self.elementwise(lambda x: x, value, dtype=value.dtype)

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """Return a value with another shape, copied if it must be."""
        viewed = value.reshape(shape)
        if viewed is not None:
            return viewed
        if value != _whole(value.ref.tensor, value.shape):
            value = self.copy(value)
            viewed = value.reshape(shape)
            if viewed is not None:
                return viewed
        return self._moved(value, tuple(shape))

    def _moved(self, value: Value, shape: tuple[int, ...]) -> Value:
        """Return a whole tensor in another shape, whose rows are others."""
        flat: Expr = Expr.word(0)
        for n, size in enumerate(shape):
            flat = _integer("vadd.i32", _integer("vmul.i32", flat, size), Expr.index(n))
        place: Expr = Expr.word(0)
        strides = value.ref.strides
        for n in range(len(value.shape) - 1, -1, -1):
            size = value.shape[n]
            quotient = divided(flat, size) if n else Expr.word(0)
            index = Expr.op("vsub.i32", flat, _integer("vmul.i32", quotient, size))
            index = index if n else flat
            place = _integer("vadd.i32", place, _integer("vmul.i32", index, strides[n]))
            flat = quotient
        place = _integer("vadd.i32", place, Expr.word(value.ref.offset))
        gathered = Expr.gather(value.ref.tensor, place)
        return self.compute(shape, value.dtype, gathered)

    def reduce(
        self,
        instruction: str,
        value: Value,
        dims: Sequence[int],
        *,
        keepdim: bool,
        dtype: DType | None = None,
        before: Callable[[Expr], Expr] = lambda x: x,
        behind: Callable[[Expr], Expr] = lambda x: x,
    ) -> Value:
        """Return the elements combined along some dimensions.

        Parameters
        ----------
        instruction
            What combines.
        value
            Of what.
        dims
            Dimensions.
        keepdim
            Whether they stay, with size 1.
        dtype
            Type of the result, if another one.
        before, behind
            What is made of each element, and of each result.

        """
        rank = len(value.shape)
        reduced = sorted({d % rank for d in dims})
        last = rank - 1
        shape = [1 if n in reduced else size for n, size in enumerate(value.shape)]
        dtype = dtype or value.dtype
        if last in reduced and len(reduced) > 1:
            partial = self.reduce(
                instruction, value, reduced[:-1], keepdim=True, dtype=dtype, before=before
            )
            whole = self.reduce(instruction, partial, [last], keepdim=True, behind=behind)
            kept = [size for n, size in enumerate(shape) if keepdim or n not in reduced]
            return self.reshape(whole, kept)
        parallel = [n for n in range(rank) if n not in reduced]
        kept = shape if keepdim else [value.shape[n] for n in parallel]
        result = self.tensor(kept, dtype)
        target = list(result.strides)
        if not keepdim:
            strides = iter(target if parallel else [0])
            target = [0 if n in reduced else next(strides) for n in range(rank)]
        target = [0 if n in reduced else stride for n, stride in enumerate(target)]
        element = as_word(before(self.load(value)))
        if last in reduced:
            order = [*parallel, last]
            total = Expr.row_reduce(instruction, element)
        else:
            order = [*parallel[:-1], *reduced, last]
            total = Expr.outer_reduce(instruction, element)

        def ordered(ref: Ref) -> Ref:
            return replace(ref, strides=tuple(ref.strides[n] for n in order))

        store = Store(
            ordered(Ref(result, 0, tuple(target))), as_word(behind(total).map_refs(ordered))
        )
        count = 0 if last in reduced else len(reduced)
        domain = tuple(value.shape[n] for n in order)
        self.graph.kernels.append(Loops(domain, (store,), count))
        return _whole(result, kept)

    def reduce_domain(
        self, instruction: str, domain: Sequence[int], expr: Expr, dtype: DType
    ) -> Value:
        """Return an expression combined along all dimensions but the first and the last."""
        first, *reduced, last = domain
        result = self.tensor((first, last), dtype)
        row, column = result.strides
        target = Ref(result, 0, (row, *len(reduced) * (0,), column))
        store = Store(target, Expr.outer_reduce(instruction, expr))
        self.graph.kernels.append(Loops(tuple(domain), (store,), len(reduced)))
        return _whole(result, (first, last))

    def matmul(self, a: Value, b: Value) -> Value:
        """Return the product of matrices, or of batches of them."""
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        rows, k, columns = a.shape[-2], a.shape[-1], b.shape[-1]
        a, b = a.broadcast((*batch, rows, k)), b.broadcast((*batch, k, columns))
        result = self.tensor((*batch, rows, columns), DType.F32)
        if self.fp32_products:
            return self._lane_product(a, b, result)
        schedule = product_schedule(self.params, math.prod(batch), rows, columns, k)
        sides = (
            (a, schedule.register_tiles, schedule.register_group),
            (
                b.permute([*range(len(batch)), -1, -2]),
                schedule.memory_tiles,
                schedule.memory_group,
            ),
        )
        packed = []
        for value, count, group in sides:
            layout = TileLayout(math.prod(batch), value.shape[-2], k, count, group)
            packed.append(replace(self.tensor(value.shape, DType.F32, "p"), tiles=layout))
            self.graph.kernels.append(Pack(value.shape, packed[-1], self.load(value)))
        store = Store(result.ref(), Expr.accumulator())
        shape = (*batch, rows, columns)
        self.graph.kernels.append(Product(shape, packed[0], packed[1], k, (store,)))
        return _whole(result, shape)

    def _lane_product(self, a: Value, b: Value, result: Tensor) -> Value:
        """Return a product in FP32: k is a reduced dimension."""
        *batch, rows, k = a.shape
        columns = b.shape[-1]
        domain = (*batch, rows, k, columns)
        *outer, row, term = a.ref.strides
        left = replace(a.ref, strides=(*outer, row, term, 0))
        *outer, term, column = b.ref.strides
        right = replace(b.ref, strides=(*outer, 0, term, column))
        *outer, row, column = result.strides
        target = Ref(result, 0, (*outer, row, 0, column))
        terms = Expr.op("vfmul.f32", Expr.load(left), Expr.load(right))
        store = Store(target, Expr.outer_reduce("vfadd.f32", terms))
        self.graph.kernels.append(Loops(domain, (store,), 1))
        return _whole(result, (*batch, rows, columns))


def as_word(expr: Expr) -> Expr:
    """Return an expression as a word: of a mask 1 for true."""
    if expr.is_mask:
        return Expr.op("vsel", Expr.word(1), Expr.word(0), expr)
    return expr


def _whole(tensor: Tensor, shape: Sequence[int]) -> Value:
    """Return all of a tensor; one of one element may have no dimensions."""
    return Value(replace(tensor.ref(), strides=tensor.strides if shape else ()), tuple(shape))


def _integer(instruction: str, a: Expr, b: Expr | int) -> Expr:
    """Return a sum or product of integers, simplified."""
    b = Expr.word(b) if isinstance(b, int) else b
    zero, one = Expr.word(0), Expr.word(1)
    if instruction == "vadd.i32":
        if zero in (a, b):
            return b if a is zero else a
    elif zero in (a, b):
        return zero
    elif one in (a, b):
        return b if a is one else a
    return Expr.op(instruction, a, b)


def divided(value: Expr, divisor: int) -> Expr:
    """Return the quotient, rounded down, of an integer below 2^22 and a constant.

    (value + 1/2) / divisor - 1/2 is at least 1 / (2 divisor) from where it would be rounded to the
    wrong integer, which is more than FP32 is wrong by.
    """
    if divisor == 1:
        return value
    half = Expr.op("vfadd.f32", Expr.op("vcvt.f32.i32", value), Expr.number(0.5))
    scaled = Expr.op("vfmul.f32", half, Expr.number(1 / divisor))
    return Expr.op("vcvt.i32.f32", Expr.op("vfsub.f32", scaled, Expr.number(0.5)))
