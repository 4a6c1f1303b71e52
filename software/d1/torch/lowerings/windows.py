"""Windows that move over an image, or over anything with one dimension or more behind channels.

A window of a convolution or of a pooling is no copy: the elements that it meets are a value with
more dimensions, at other strides. Where the image has a border, or is taken apart to put zeros in
between, that is one kernel before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from d1.compiler.builder import Builder, Value
from d1.compiler.expressions import Expr
from d1.torch.lowerings.indexing import spread

__all__ = ["Geometry", "flattened", "framed", "windows"]


@dataclass(frozen=True)
class Geometry:
    """Where the windows are; each member has a number for each dimension of the image.

    Parameters
    ----------
    kernel
        Size of a window.
    stride
        From one window to the next.
    padding
        Border on both sides.
    dilation
        From one element of a window to the next.

    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(
        cls,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> Geometry:
        """Return a geometry; one number may stand for all dimensions, no stride for the kernel."""

        def full(numbers: Sequence[int]) -> tuple[int, ...]:
            return tuple(numbers) * (len(kernel) // len(numbers))

        return cls(tuple(kernel), full(stride or kernel), full(padding), full(dilation))

    def reach(self, n: int) -> int:
        """Return the distance from the first to the last element of a window."""
        return self.dilation[n] * (self.kernel[n] - 1)

    def outputs(self, sizes: Sequence[int], *, ceil: bool = False) -> tuple[int, ...]:
        """Return how many windows an image has; rounded up, they may reach beyond its border."""
        counts = []
        for n, size in enumerate(sizes):
            rest = size + 2 * self.padding[n] - self.reach(n) - 1
            count = (rest + (self.stride[n] - 1 if ceil else 0)) // self.stride[n] + 1
            # The last one begins inside, or in the border before.
            if ceil and (count - 1) * self.stride[n] >= size + self.padding[n]:
                count -= 1
            counts.append(count)
        return tuple(counts)

    def extents(self, outputs: Sequence[int]) -> tuple[int, ...]:
        """Return the sizes of the image with its border that so many windows need."""
        return tuple(
            (count - 1) * self.stride[n] + self.reach(n) + 1 for n, count in enumerate(outputs)
        )

    def bordered(self, builder: Builder, x: Value, outputs: Sequence[int], fill: Expr) -> Value:
        """Return the image with the border that some windows need."""
        return framed(builder, x, self.padding, (1,) * len(outputs), self.extents(outputs), fill)

    def windows_of_inputs(
        self, builder: Builder, y: Value, sizes: Sequence[int], fill: Expr
    ) -> Value:
        """Return for each element of an image the results of the windows that it is in.

        The last element of the kernel comes first. Where there is no window is `fill`.
        """
        before = [self.reach(n) - padding for n, padding in enumerate(self.padding)]
        total = [size + self.reach(n) for n, size in enumerate(sizes)]
        apart = framed(builder, y, before, self.stride, total, fill)
        return windows(apart, sizes, replace(self, stride=(1,) * len(sizes)))


def framed(
    builder: Builder,
    x: Value,
    before: Sequence[int],
    step: Sequence[int],
    sizes: Sequence[int],
    fill: Expr,
) -> Value:
    """Return an image in a frame of other sizes: its first element so far inside, then by steps."""
    lead = len(x.shape) - len(sizes)
    places = {
        lead + n: (before[n], step[n])
        for n, size in enumerate(sizes)
        if before[n] or step[n] > 1 or size != x.shape[lead + n]
    }
    if not places:
        return x
    return spread(builder, x, (*x.shape[:lead], *sizes), places, fill)


def windows(x: Value, outputs: Sequence[int], geometry: Geometry) -> Value:
    """Return what windows meet of an image with its border.

    Parameters
    ----------
    x
        The image; dimensions before those of the geometry stay.
    outputs
        How many windows along each dimension.
    geometry
        Their kernel, stride and dilation.

    """
    lead = len(x.shape) - len(outputs)
    inner = x.ref.strides[lead:]
    strides = (
        *x.ref.strides[:lead],
        *(s * step for s, step in zip(inner, geometry.stride, strict=True)),
        *(s * step for s, step in zip(inner, geometry.dilation, strict=True)),
    )
    shape = (*x.shape[:lead], *outputs, *geometry.kernel)
    return Value(replace(x.ref, strides=strides), shape)


def flattened(
    builder: Builder, x: Value, batch: Sequence[int], lines: Sequence[int], terms: Sequence[int]
) -> Expr:
    """Return the elements of a value for a domain of batch, lines and terms.

    Where places are not at strides in that domain, they are sums of constants: what the line adds,
    and what the term adds.

    Parameters
    ----------
    builder
        Where.
    x
        The value.
    batch, lines, terms
        Which of its dimensions become which of the domain.

    """
    groups = (batch, lines, terms)
    shape = [math.prod(x.shape[n] for n in group) for group in groups]
    viewed = x.permute([*batch, *lines, *terms]).reshape(shape)
    if viewed is not None and min(viewed.ref.strides) >= 0:
        return builder.load(viewed)
    place = Expr.word(x.ref.offset)
    for n, group in enumerate(groups):
        if shape[n] == 1:
            continue
        steps = np.ix_(*(np.arange(x.shape[k]) * x.ref.strides[k] for k in group))
        offsets = sum(steps, start=np.zeros((), np.int64))
        table = builder.constant(offsets.reshape(-1)).ref
        strides = tuple(int(k == n) for k in range(len(groups)))
        place = Expr.op("vadd.i32", place, Expr.load(replace(table, strides=strides)))
    return Expr.gather(x.ref.tensor, place)
