"""Loops over the outer dimensions of a domain, divided among the threads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from d1.compiler.tile_code import Code, Scalar

__all__ = ["nest"]

#: A dimension is divided by itself if its threads are busy for so much of the time.
_GOOD_BALANCE = 0.85


@contextmanager
def nest(code: Code, extents: Sequence[int], threads: int) -> Iterator[tuple[Scalar | int, ...]]:
    """Do what is emitted inside for every point of some extents, each by one of the threads.

    The first dimension whose size goes well into the threads is divided. Where none does, all of
    them are counted as one.

    Parameters
    ----------
    code
        Where the loops go.
    extents
        How often, in each dimension.
    threads
        How many threads there are.

    """
    divided = next((n for n, e in enumerate(extents) if _balance(e, threads) >= _GOOD_BALANCE), -1)
    if divided < 0 and len(extents) > 1:
        with nest(code, [math.prod(extents)], threads) as (flat,):
            yield _indices(code, flat, extents)
        return
    divided = max(divided, 0)
    with ExitStack() as loops:
        indices: list[Scalar | int] = []
        for n, extent in enumerate(extents):
            start, stop = _share(code, extent, threads) if n == divided else (0, extent)
            indices.append(loops.enter_context(code.loop(start, stop)))
        if not extents:
            loops.enter_context(code.when(code.scalar("eq", code.thread, 0)))
        yield tuple(indices)


def _balance(extent: int, threads: int) -> float:
    return extent / (threads * math.ceil(extent / threads)) if extent else 1.0


def _share(code: Code, extent: int, threads: int) -> tuple[Scalar | int, Scalar | int]:
    """Return the thread's part of an extent."""
    part = math.ceil(extent / threads)
    start = code.scalar("mul", code.thread, part)
    return start, code.scalar("minimum", code.scalar("add", start, part), extent)


def _indices(code: Code, flat: Scalar | int, extents: Sequence[int]) -> tuple[Scalar | int, ...]:
    """Return the indices of the point with a number."""
    indices: list[Scalar | int] = []
    for extent in reversed(extents[1:]):
        indices.append(code.scalar("urem", flat, extent))
        flat = code.scalar("udiv", flat, extent)
    return (flat, *reversed(indices))
