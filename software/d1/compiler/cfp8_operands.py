"""A pass that has products multiply CFP8 instead of BF16.

Every operand gets the exponent bias of CFP8 with which its greatest magnitude still fits, so that
nothing is clamped. The node looks for that magnitude itself: the bias is a word in SRAM, which the
kernels that round and multiply load. An operand that depends on a gradient is 1-5-2 and rounded
stochastically, any other 1-4-3 and rounded to nearest even. Sums stay FP32.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from d1_golden.numerics import FP32, Cfp8Format
from d1_golden.numerics.formats import CFP8_BIASES

from d1.compiler import math_functions as f
from d1.compiler.builder import Builder, Value
from d1.compiler.expressions import Expr, Kind, Ref
from d1.compiler.ir import (
    Choice,
    DType,
    Kernel,
    Pack,
    Product,
    Repeat,
    Stochastic,
    Tensor,
    reads,
    writes,
)
from d1.compiler.product_lowering import CFP8_OPERANDS
from d1.compiler.tile import CFP8_FORMAT_BIT

__all__ = ["use_cfp8"]

#: What streams of random numbers are apart, so that no few bits tell them from each other: 2^32 by
#: the golden ratio, odd.
_STREAM_STEP = 0x9E3779B9
#: What the seeds of nodes are apart, likewise: any odd number.
_NODE_STEP = 0x2545F491


def use_cfp8(builder: Builder, own: Collection[Tensor] = (), number: Tensor | None = None) -> None:
    """Change the products of a graph that has been built.

    What is computed from a gradient is another one.

    Parameters
    ----------
    builder
        Of the graph.
    own
        On several nodes: the tensors of which each has another part. These are rounded by random
        numbers of the node, as the errors of its part should be independent of those of others.
    number
        The input that holds the number of the node.

    """
    change = _Change(builder, own, number)
    builder.graph.kernels = change.changed(builder.graph.kernels)


class _Change:
    def __init__(self, builder: Builder, own: Collection[Tensor], number: Tensor | None) -> None:
        self.builder = builder
        self.own, self.number = own, number
        self.own_seed: Value | None = None
        self.gradients = set(builder.graph.gradients)
        self.packs: dict[Tensor, Pack] = {}
        self.formats: dict[object, Tensor] = {}
        self.streams = 0

    def changed(self, kernels: Sequence[Kernel]) -> list[Kernel]:
        """Return kernels with those for CFP8 in the place of others."""
        # What is known of tensors outside may not hold in a loop, nor outside what was found there.
        known, self.formats = self.formats, {}

        def emit() -> None:
            for kernel in kernels:
                self._add(kernel)

        _, result = self.builder.apart(emit)
        self.formats = known
        return result

    def _add(self, kernel: Kernel) -> None:
        if not self.gradients.isdisjoint(reads(kernel)):
            self.gradients.update(writes(kernel))
        match kernel:
            case Pack():
                self.packs[kernel.target] = kernel
                return
            case Product():
                self._add_product(kernel)
                return
            case Choice():
                then, otherwise = (self.changed(part) for part in (kernel.then, kernel.otherwise))
                kernel = replace(kernel, then=tuple(then), otherwise=tuple(otherwise))
            case Repeat():
                condition, body = (self.changed(part) for part in (kernel.condition, kernel.body))
                kernel = replace(kernel, condition=tuple(condition), body=tuple(body))
        self.builder.graph.kernels.append(kernel)

    def _add_product(self, kernel: Product) -> None:
        targets = self.builder.operands(kernel.domain, kernel.k, CFP8_OPERANDS)
        with self.builder.naming(kernel.operators):
            left, right = (
                self._packed(self.packs[old], new)
                for old, new in zip((kernel.left, kernel.right), targets, strict=True)
            )
            product = replace(kernel, left=targets[0], right=targets[1], formats=(left, right))
            self.builder.graph.kernels.append(product)

    def _packed(self, pack: Pack, target: Tensor) -> Tensor:
        """Arrange an operand in CFP8 tiles; return the word that says which CFP8."""
        is_gradient = not self.gradients.isdisjoint(reads(pack))
        which = self._format(pack, Cfp8Format.CFP8_1_5_2 if is_gradient else Cfp8Format.CFP8_1_4_3)
        stochastic = self._stochastic(pack) if is_gradient else None
        self.builder.graph.kernels.append(
            replace(pack, target=target, format=which, stochastic=stochastic)
        )
        return which

    def _stochastic(self, pack: Pack) -> Stochastic:
        seed, _ = self.builder.random_key()
        if self.number is not None and any(tensor in self.own for tensor in reads(pack)):
            seed = self.own_seed = self.own_seed or self._seed_of_node(seed, self.number)
        self.streams += 1
        word = np.array([self.streams * _STREAM_STEP], np.int64).astype(np.int32)
        stream = self.builder.constant(word)
        return Stochastic(seed.ref.tensor, stream.ref.tensor)

    def _seed_of_node(self, seed: Value, number: Tensor) -> Value:
        step = Expr.op("vmul.i32", Expr.load(Ref(number, 0, (0,))), Expr.word(_NODE_STEP))
        words = Expr.op("vadd.i32", self.builder.load(seed), step)
        return self.builder.compute(seed.shape, DType.I32, words)

    def _format(self, pack: Pack, split: Cfp8Format) -> Tensor:
        elements = _elements(pack)
        places = zip(elements.ref.strides, elements.shape, strict=True)
        key = (elements.ref.tensor, elements.ref.offset, tuple(places), split)
        if key not in self.formats:
            self.formats[key] = self._greatest(elements, split).ref.tensor
        return self.formats[key]

    def _greatest(self, elements: Value, split: Cfp8Format) -> Value:
        """Return the word of the format in which the greatest magnitude of elements fits."""
        builder = self.builder
        *outer, last = elements.shape
        rows = math.prod(outer)
        flat = elements.reshape((rows, last))
        if flat is not None and rows > (parts := math.gcd(rows, builder.params.threads)) > 1:
            # Each thread looks at some of the rows.
            flat = flat.reshape((parts, rows // parts, last))
            assert flat is not None
            flat = builder.reduce("vfmax.f32", flat, [1], keepdim=False, before=f.absolute)
        found = flat or elements
        return builder.reduce(
            "vfmax.f32",
            found,
            range(len(found.shape)),
            keepdim=False,
            dtype=DType.I32,
            before=f.absolute,
            behind=lambda greatest: _format_word(greatest, split),
        )


def _elements(pack: Pack) -> Value:
    """Return what an operand consists of, in the order in which it is in memory."""
    if pack.value.kind is Kind.GATHER:
        tensor = pack.value.attribute
        return Value(tensor.ref(), tensor.shape)
    if pack.value.kind is not Kind.LOAD:
        raise ValueError(f"an operand must be loaded or gathered, not {pack.value}")
    ref = pack.value.attribute
    used = [n for n, s in enumerate(ref.strides) if s and pack.domain[n] > 1]
    order = sorted(used, key=lambda n: -ref.strides[n])
    strides, shape = (tuple(of[n] for n in order) for of in (ref.strides, pack.domain))
    return Value(replace(ref, strides=strides or (0,)), shape or (1,))


def _format_word(greatest: Expr, split: Cfp8Format) -> Expr:
    """Return format and bias, as CSRs have them, for numbers up to a magnitude.

    The greatest number of the format has all bits set; what is above in its last binade needs the
    next one, to which this addition carries.
    """
    beyond = Expr.word((1 << (FP32.mantissa_bits - split.mantissa_bits)) - 1)
    moved = Expr.op("vadd.i32", greatest, beyond)
    exponent = Expr.op("vsrl.i32", moved, Expr.word(FP32.mantissa_bits))
    most = FP32.bias + (1 << split.exponent_bits) - 1
    bias = Expr.op("vsub.i32", Expr.word(most), exponent)
    bias = Expr.op("vmax.i32", bias, Expr.word(CFP8_BIASES[0]))
    bias = Expr.op("vmin.i32", bias, Expr.word(CFP8_BIASES[-1]))
    return Expr.op("vor.i32", bias, Expr.word(split << CFP8_FORMAT_BIT))
