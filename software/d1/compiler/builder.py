"""Builds graphs of kernels operator by operator, over values that may be views of tensors.

Every operation is a kernel of its own here; `fusion` joins them. Shapes broadcast as in numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from d1_golden.numerics import BF16
from d1_golden.params import NodeParams
from numpy.typing import NDArray

from d1.compiler.expressions import Expr, Kind, Ref
from d1.compiler.ir import (
    Choice,
    DType,
    Graph,
    Kernel,
    Loops,
    Operator,
    Pack,
    Product,
    Repeat,
    Store,
    Tensor,
    TileLayout,
)
from d1.compiler.product_lowering import product_schedule
from d1.compiler.tile import OperandFormats

__all__ = ["Builder", "Value", "as_word", "divided", "inverse"]

Result = TypeVar("Result")


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

    def memory_order(self) -> tuple[int, ...]:
        """Return the dimensions in the order in which memory has them, where rows are another one.

        Where the last dimension is along rows, or none is, that is their own order.
        """
        order = range(len(self.shape))
        strides = {n: self.ref.strides[n] for n in order if self.shape[n] > 1}
        is_plain = 1 not in strides.values() or min(strides.values()) <= 0
        if is_plain or strides.get(len(self.shape) - 1, 1) == 1:
            return tuple(order)
        return tuple(sorted(order, key=lambda n: -strides.get(n, math.inf)))

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
        self._random = 0

    def tensor(self, shape: Sequence[int], dtype: DType, kind: str = "t") -> Tensor:
        """Return a new tensor."""
        self._count += 1
        name = f"{kind}{self._count}"
        return Tensor(name, tuple(shape) or (1,), dtype, self.params.fp32_lanes)

    def input(self, shape: Sequence[int], dtype: DType) -> Value:
        """Return a new input.

        Of an image, batch by channels by two dimensions or more, channels are the last dimension in
        memory if it takes less that way.
        """
        order = tuple(range(len(shape)))
        tensor = self.tensor(shape, dtype, "in")
        if len(shape) > 3:
            channels_last = (0, *order[2:], 1)
            other = replace(tensor, shape=tuple(shape[n] for n in channels_last))
            if other.words < tensor.words:
                order, tensor = channels_last, other
        self.graph.inputs.append(tensor)
        return _whole(tensor, [shape[n] for n in order]).permute(inverse(order))

    def random_key(self) -> tuple[Value, int]:
        """Return the seed, and how many times it was asked for before."""
        if self.graph.seed is None:
            self.graph.seed = self.input((2,), DType.I32).ref.tensor
        self._random += 1
        return _whole(self.graph.seed, self.graph.seed.shape), self._random - 1

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
        """Return a function of the elements of some values and of constants.

        The result is in memory as the operands are, if they agree.
        """
        values = [operand for operand in operands if isinstance(operand, Value)]
        shape = np.broadcast_shapes(*(value.shape for value in values))
        orders = {v.memory_order() for v in values if math.prod(v.shape) == math.prod(shape) > 1}
        order = orders.pop() if len(orders) == 1 else ()
        if len(order) != len(shape):
            order = tuple(range(len(shape)))
        args = [
            self.load(x.broadcast(shape).permute(order)) if isinstance(x, Value) else x
            for x in operands
        ]
        result = self.compute([shape[n] for n in order], dtype, function(*args))
        return result.permute(inverse(order))

    def constant(self, numbers: NDArray[Any]) -> Value:
        """Return integers, truth values or others that are known when the graph is compiled."""
        dtype, words = _words_of(numbers)
        tensor = self.tensor(numbers.shape, dtype, "constant")
        contents = np.zeros((tensor.rows, tensor.pitch), np.uint32)
        contents[:, : tensor.shape[-1]] = words.reshape(tensor.rows, -1)
        return _whole(replace(tensor, contents=contents.reshape(-1)), numbers.shape)

    def copy(self, value: Value) -> Value:
        """Return the value in a tensor of its own, in the order of its dimensions."""
        return self.compute(value.shape, value.dtype, self.load(value))

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
        reduced = {d % rank for d in dims}
        by_rows = rank - 1 in reduced
        sizes = [1 if n in reduced and not by_rows else m for n, m in enumerate(value.shape)]
        in_memory = Value(value.ref, tuple(sizes)).memory_order()
        last = in_memory[-1]
        dtype = dtype or value.dtype
        if last in reduced and len(reduced) > 1:
            partial = self.reduce(
                instruction, value, [*reduced - {last}], keepdim=True, dtype=dtype, before=before
            )
            whole = self.reduce(instruction, partial, [last], keepdim=True, behind=behind)
            shape = [1 if n in reduced else size for n, size in enumerate(value.shape)]
            kept = [size for n, size in enumerate(shape) if keepdim or n not in reduced]
            return self.reshape(whole, kept)
        parallel = [n for n in in_memory if n not in reduced]
        sizes = [1 if n in reduced else size for n, size in enumerate(value.shape)]
        kept = [n for n in in_memory if keepdim or n not in reduced]
        result = self.tensor([sizes[n] for n in kept], dtype)
        places = dict(zip(kept, result.strides, strict=False))
        target = [0 if n in reduced else places[n] for n in range(rank)]
        element = as_word(before(self.load(value)))
        if last in reduced:
            order = [*parallel, last]
            total = Expr.row_reduce(instruction, element)
        else:
            order = [*parallel[:-1], *sorted(reduced), last]
            total = Expr.outer_reduce(instruction, element)

        def ordered(ref: Ref) -> Ref:
            return replace(ref, strides=tuple(ref.strides[n] for n in order))

        def change(node: Expr) -> Expr | None:
            if node.kind is Kind.LOAD:
                return Expr.load(ordered(node.attribute))
            if node.kind is Kind.INDEX:
                return Expr.index(order.index(node.attribute))
            return None

        store = Store(ordered(Ref(result, 0, tuple(target))), as_word(behind(total).map(change)))
        count = 0 if last in reduced else len(reduced)
        domain = tuple(value.shape[n] for n in order)
        self.graph.kernels.append(Loops(domain, (store,), count))
        whole = _whole(result, [sizes[n] for n in kept])
        return whole.permute([kept.index(n) for n in sorted(kept)])

    def reduce_domain(
        self, instruction: str, domain: Sequence[int], expr: Expr, dtype: DType
    ) -> Value:
        """Return an expression combined along all dimensions but the first and the last."""
        first, *reduced, last = domain
        result = self.tensor((first, last), dtype)
        row, column = result.strides
        target = Ref(result, 0, (row, *len(reduced) * (0,), column))
        value = Expr.outer_reduce(instruction, expr) if reduced else expr
        store = Store(target, value)
        self.graph.kernels.append(Loops(tuple(domain), (store,), len(reduced)))
        return _whole(result, (first, last))

    def matmul(self, a: Value, b: Value) -> Value:
        """Return the product of matrices, or of batches of them."""
        batch = tuple(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
        rows, k, columns = a.shape[-2], a.shape[-1], b.shape[-1]
        a, b = a.broadcast((*batch, rows, k)), b.broadcast((*batch, k, columns))
        b = b.permute([*range(len(batch)), -1, -2])
        return self.product((*batch, rows, columns), k, self.load(a), self.load(b))

    def product(self, shape: Sequence[int], k: int, left: Expr, right: Expr) -> Value:
        """Return a batch of products of matrices.

        Parameters
        ----------
        shape
            Batch dimensions, rows, columns.
        k
            Terms of a sum.
        left, right
            Elements for batch dimensions, rows and k, and for batch dimensions, columns and k.

        """
        result = self.tensor(shape, DType.F32)
        if self.fp32_products:
            return self._lane_product(left, right, k, result)
        packed = []
        for tensor, value in zip(self.operands(shape, k, BF16), (left, right), strict=True):
            packed.append(tensor)
            self.graph.kernels.append(Pack(tensor.shape, tensor, value))
        store = Store(result.ref(), Expr.accumulator())
        self.graph.kernels.append(Product(tuple(shape), packed[0], packed[1], k, (store,)))
        return _whole(result, shape)

    def operands(
        self, shape: Sequence[int], k: int, formats: OperandFormats
    ) -> tuple[Tensor, Tensor]:
        """Return new tensors in tiles for the operands of a product; parameters as in `product`."""
        *batch, rows, columns = shape
        count = math.prod(batch)
        schedule = product_schedule(self.params, count, rows, columns, k, formats)
        terms = schedule.tile.terms * schedule.tile.halves

        def operand(lines: int, tiles: int, group: int) -> Tensor:
            layout = TileLayout(count, lines, k, tiles, group, terms)
            return replace(self.tensor((*batch, lines, k), DType.F32, "p"), tiles=layout)

        return (
            operand(rows, schedule.register_tiles, schedule.register_group),
            operand(columns, schedule.memory_tiles, schedule.memory_group),
        )

    def _lane_product(self, left: Expr, right: Expr, k: int, result: Tensor) -> Value:
        """Return a product in FP32: k is a reduced dimension."""
        *batch, rows, columns = result.shape

        def of_row(ref: Ref) -> Ref:
            *outer, row, term = ref.strides
            return replace(ref, strides=(*outer, row, term, 0))

        def of_column(ref: Ref) -> Ref:
            *outer, column, term = ref.strides
            return replace(ref, strides=(*outer, 0, term, column))

        *outer, row, column = result.strides
        target = Ref(result, 0, (*outer, row, 0, column))
        terms = Expr.op("vfmul.f32", left.map_refs(of_row), right.map_refs(of_column))
        store = Store(target, Expr.outer_reduce("vfadd.f32", terms))
        self.graph.kernels.append(Loops((*batch, rows, k, columns), (store,), 1))
        return _whole(result, result.shape)

    def choose(
        self,
        predicate: Value,
        then: Callable[[], Sequence[Value]],
        otherwise: Callable[[], Sequence[Value]],
    ) -> list[Value]:
        """Return the results of one of two parts of a graph, of which only that one is computed.

        Parameters
        ----------
        predicate
            One word: 0 for the second.
        then, otherwise
            Append the kernels of a part and return its results, of the same shapes.

        """
        word = self.copy(predicate).ref.tensor
        first, then_kernels = self.apart(then)
        results = [self._empty_like(value) for value in first]
        then_kernels += self._moves(results, first)
        second, otherwise_kernels = self.apart(otherwise)
        otherwise_kernels += self._moves(results, second)
        tensors = tuple(result.ref.tensor for result in results)
        kernel = Choice(word, tensors, tuple(then_kernels), tuple(otherwise_kernels))
        self.graph.kernels.append(kernel)
        return results

    def repeat(
        self,
        condition: Callable[[Sequence[Value]], Value],
        body: Callable[[Sequence[Value]], Sequence[Value]],
        start: Sequence[Value],
    ) -> list[Value]:
        """Return what values become while a condition on them holds.

        Parameters
        ----------
        condition, body
            Append the kernels for some values, and return one word, or the next values.
        start
            The first values.

        """
        results = [self._empty_like(value) for value in start]
        self.graph.kernels += self._moves(results, start)
        (word,), condition_kernels = self.apart(lambda: [self.copy(condition(results))])
        # The results may be the values before in another order: they are moved when all are known.
        new, body_kernels = self.apart(lambda: [self.copy(value) for value in body(results)])
        self.graph.kernels.append(
            Repeat(
                tuple(condition_kernels),
                word.ref.tensor,
                tuple(result.ref.tensor for result in results),
                tuple(body_kernels),
                tuple(self._moves(results, new)),
            )
        )
        return results

    def apart(self, emit: Callable[[], Result]) -> tuple[Result, list[Kernel]]:
        """Return what a function returns, and the kernels that it would append."""
        outer, self.graph.kernels = self.graph.kernels, []
        try:
            return emit(), self.graph.kernels
        finally:
            self.graph.kernels = outer

    @contextmanager
    def naming(self, operators: tuple[Operator, ...]) -> Iterator[None]:
        """Say of kernels that are appended inside what they are of, if it has not been said."""
        first = len(self.graph.kernels)
        yield
        self.graph.kernels[first:] = [
            kernel if kernel.operators else replace(kernel, operators=operators)
            for kernel in self.graph.kernels[first:]
        ]

    def _empty_like(self, value: Value) -> Value:
        return _whole(self.tensor(value.shape, value.dtype), value.shape)

    def _moves(self, targets: Sequence[Value], values: Sequence[Value]) -> list[Loops]:
        """Return kernels that write values to tensors."""
        return [
            Loops(
                target.shape or (1,),
                (Store(target.ref.tensor.ref(), as_word(self.load(value))),),
            )
            for target, value in zip(targets, values, strict=True)
        ]


def _words_of(numbers: NDArray[Any]) -> tuple[DType, NDArray[np.uint32]]:
    """Return the type that numbers have on the node, and their words."""
    match numbers.dtype.kind:
        case "f":
            return DType.F32, numbers.astype(np.float32).view(np.uint32)
        case "b":
            return DType.BOOL, numbers.astype(np.uint32)
        case _:
            return DType.I32, numbers.astype(np.int32).view(np.uint32)


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """Return the order of dimensions that undoes another."""
    return tuple(order.index(n) for n in range(len(order)))


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
