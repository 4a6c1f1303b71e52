"""Matrix products."""

from __future__ import annotations

import torch

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.torch.lowerings.elementwise import pointwise
from d1.torch.lowerings.registry import UnsupportedError, lowering

aten = torch.ops.aten


@lowering(aten.mm.default, aten.bmm.default)
def matmul(builder: Builder, a: Value, b: Value) -> Value:
    """Lower a product of matrices or of batches of them."""
    if not a.dtype is b.dtype is DType.F32:
        raise UnsupportedError(f"operands of types {a.dtype.value} and {b.dtype.value}")
    return builder.matmul(a, b)


@lowering(aten.addmm.default, aten.baddbmm.default)
def add_product(
    builder: Builder, addend: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1
) -> Value:
    """Lower beta x addend + alpha x product, where a beta of 0 ignores the addend."""
    product = matmul(builder, a, b)
    if alpha != 1:
        product = pointwise(
            builder, lambda x: f.multiply(x, Expr.number(alpha)), product, of=DType.F32
        )
    if beta == 0:
        return product

    def scaled_sum(x: Expr, y: Expr) -> Expr:
        return f.add(x, y if beta == 1 else f.multiply(y, Expr.number(beta)))

    return pointwise(builder, scaled_sum, product, addend, of=DType.F32)


@lowering(aten.mv.default)
def vector_product(builder: Builder, a: Value, b: Value) -> Value:
    """Lower a matrix times a vector."""
    column = builder.reshape(b, (*b.shape, 1))
    return builder.reshape(matmul(builder, a, column), a.shape[:1])


@lowering(aten.addmv.default)
def add_vector_product(
    builder: Builder, addend: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1
) -> Value:
    """Lower the same with an addend."""
    addend = builder.reshape(addend.broadcast(a.shape[:1]), (a.shape[0], 1))
    column = builder.reshape(b, (*b.shape, 1))
    result = add_product(builder, addend, a, column, beta=beta, alpha=alpha)
    return builder.reshape(result, a.shape[:1])


@lowering(aten.dot.default)
def dot(builder: Builder, a: Value, b: Value) -> Value:
    """Lower the product of two vectors."""
    row, column = builder.reshape(a, (1, *a.shape)), builder.reshape(b, (*b.shape, 1))
    return builder.reshape(matmul(builder, row, column), ())
