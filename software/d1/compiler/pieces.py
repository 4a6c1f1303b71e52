"""A kernel that does not fit in SRAM, as kernels over parts of its domain.

Each piece works on *windows*: tensors of its own, of just those words of the kernel's tensors that
the piece reads or writes. The host fills and empties them. Of a tensor whose elements are found by
places that are computed from indices alone, a window is all from the first of them to the last.
Pieces over parts of the same size have the same code.

Dimensions are halved one after the other, always the one with which the piece becomes smallest,
until it fits. As long as no dimension has to be divided that is summed over, results have the bits
of the undivided kernel. Else partial results of the pieces are combined by one more kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product as combinations

import numpy as np
from d1_golden.numerics import BF16
from d1_golden.params import LINE_BYTES, NodeParams
from numpy.typing import NDArray

from d1.compiler.computed_places import evaluated, is_known, of_data
from d1.compiler.expressions import Expr, Kind, Ref, ordered
from d1.compiler.ir import (
    Computation,
    DType,
    Loops,
    Pack,
    Product,
    Stochastic,
    Store,
    Tensor,
    TileLayout,
)
from d1.compiler.layout import pack_operand
from d1.compiler.product_lowering import CFP8_OPERANDS, product_schedule
from d1.compiler.schedule import Groups

__all__ = ["Piece", "Window", "pieces"]

#: Terms of a matrix step.
_TERMS = 4
#: Tiles of a product's rows or columns, and matrix steps, that are not divided further.
_LEAST_TILES, _LEAST_STEPS = 8, 64
#: Points of a piece for which places are computed to tell how large it is.
_LOOKED_AT = 1 << 13


@dataclass(frozen=True, eq=False)
class Window:
    """Words of a tensor that are a tensor of their own for a piece.

    Parameters
    ----------
    whole, part
        The tensors.
    places, inside
        Which words of the whole one are which ones of the other.

    """

    whole: Tensor
    part: Tensor
    places: NDArray[np.int64]
    inside: NDArray[np.int64]

    def taken(self, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return the words of the part from those of the whole."""
        result = np.zeros(self.part.words, np.uint32)
        result[self.inside] = words[self.places]
        return result

    def put(self, words: NDArray[np.uint32], whole: NDArray[np.uint32]) -> None:
        """Write the words of the part to their places in the whole."""
        whole[self.places] = words[self.inside]


@dataclass(frozen=True, eq=False)
class Piece:
    """A kernel over a part of a domain, with what it reads and writes.

    Parameters
    ----------
    kernel
        Its tensors are the parts of windows, or read as a whole where places are computed.
    inputs, outputs
        The windows.

    """

    kernel: Computation
    inputs: tuple[Window, ...]
    outputs: tuple[Window, ...]


def pieces(kernel: Computation, params: NodeParams, limit: int) -> list[Piece]:
    """Return the pieces of a kernel in order; none where it cannot be divided so that they fit.

    Parameters
    ----------
    kernel
        The kernel.
    params
        The node.
    limit
        Bytes that the tensors of a piece may take.

    """
    return list(_pieces(kernel, params, limit, 0) or ())


def _pieces(
    kernel: Computation, params: NodeParams, limit: int, first_term: int
) -> list[Piece] | None:
    """Return pieces; of a product from some term of its operands on."""
    division = _Division.of(kernel, params)
    aim = limit
    while (extents := division.fitting(aim)) is not None:
        if any(extents[n] < division.sizes[n] for n in division.summed):
            return _combined(division, extents, limit, first_term)
        ranges = [range(0, size, e) for size, e in zip(division.sizes, extents, strict=True)]
        result = []
        for start in combinations(*ranges):
            ends = zip(division.sizes, start, extents, strict=True)
            sizes = [min(size - first, extent) for size, first, extent in ends]
            split = [len(r) > 1 for r in ranges]
            result.append(_Cut(kernel, params, start, sizes, split, first_term).piece())
        most = max(_bytes(w.part for w in (*piece.inputs, *piece.outputs)) for piece in result)
        if most <= limit:
            return result
        # Some find their elements farther apart than those that were looked at.
        aim = division.bytes(extents) - 1
    return None


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(LINE_BYTES * math.ceil(tensor.bytes / LINE_BYTES) for tensor in tensors)


@dataclass(frozen=True)
class _Division:
    """What can be divided of a kernel.

    Parameters
    ----------
    kernel, params
        The kernel, the node.
    sizes
        Its dimensions; of a product also the terms of a sum.
    least
        What they are not divided below.
    summed
        Those that results are combined over.

    """

    kernel: Computation
    params: NodeParams
    sizes: tuple[int, ...]
    least: tuple[int, ...]
    summed: tuple[int, ...]

    @staticmethod
    def of(kernel: Computation, params: NodeParams) -> _Division:
        lanes, outer = params.fp32_lanes, len(kernel.domain) - 2
        match kernel:
            case Product():
                lines = _LEAST_TILES * lanes // 2
                sizes = (*kernel.domain, kernel.k)
                least = (*outer * (1,), lines, lines, _LEAST_STEPS * _TERMS)
                return _Division(kernel, params, sizes, least, (len(sizes) - 1,))
            case Pack():
                assert kernel.target.tiles is not None
                least = (*outer * (1,), lanes // 2, max(lanes, kernel.target.tiles.terms))
                return _Division(kernel, params, kernel.domain, least, ())
            case Loops():
                rows = any(store.value.has(Kind.ROW_REDUCE) for store in kernel.stores)
                last = kernel.domain[-1] if rows else lanes
                least = (*(outer + 1) * (1,), last)
                summed = range(outer + 1 - kernel.reduced, outer + 1)
                return _Division(kernel, params, kernel.domain, least, tuple(summed))

    def fitting(self, limit: int) -> tuple[int, ...] | None:
        """Return sizes of a piece that fits; those that are summed over are divided last."""
        extents = self.sizes
        while self.bytes(extents) > limit:
            halved = [
                (n in self.summed, self.bytes(smaller), smaller)
                for n in range(len(extents))
                if (smaller := self._halved(extents, n)) != extents
            ]
            if not halved:
                return None
            *_, extents = min(halved)
        return extents

    def _halved(self, extents: tuple[int, ...], n: int) -> tuple[int, ...]:
        least = self.least[n]
        half = min(least * math.ceil(extents[n] / 2 / least), extents[n])
        return (*extents[:n], half, *extents[n + 1 :])

    def bytes(self, extents: Sequence[int]) -> int:
        """Return what the tensors of a piece take."""
        kernel, domain = self.kernel, extents[: len(self.kernel.domain)]
        refs = dict.fromkeys(_refs(kernel))
        tensors = [_compact(ref, domain)[0] for ref in refs]
        tensors += _gathered_in(kernel, domain)
        match kernel:
            case Product():
                tensors += _operands(kernel, self.params, domain, extents[-1])
            case Pack():
                tensors.append(_packed(kernel, domain))
        return _bytes(tensors)


def _values(kernel: Computation) -> list[Expr]:
    return [kernel.value] if isinstance(kernel, Pack) else [s.value for s in kernel.stores]


def _refs(kernel: Computation) -> Iterator[Ref]:
    """Yield the places that a kernel loads from and stores to."""
    for value in _values(kernel):
        yield from value.refs()
    if not isinstance(kernel, Pack):
        for store in kernel.stores:
            yield store.target


def _gathers(kernel: Computation) -> list[Expr]:
    """Return the elements that are found by computed places."""
    return [node for node in ordered(_values(kernel)) if node.kind is Kind.GATHER]


def _has_window(gather: Expr) -> bool:
    (place,) = gather.args
    return is_known(place) and not of_data(place)


def _gathered_in(kernel: Computation, sizes: Sequence[int]) -> list[Tensor]:
    """Return what elements are found in, of pieces of some sizes, as far as it can be told.

    Of the first piece, one in the middle and the last the ends of each dimension are looked at.
    """
    gathers = _gathers(kernel)
    result = [gather.attribute for gather in gathers if not _has_window(gather)]
    counts = [math.ceil(size / own) for size, own in zip(kernel.domain, sizes, strict=True)]
    ends = _LOOKED_AT
    while ends > 1 and math.prod(min(2 * ends, size) for size in sizes) > _LOOKED_AT:
        ends //= 2
    for gather in filter(_has_window, gathers):
        spans = []
        for part in (0.0, 0.5, 1.0):
            indices = []
            for whole, own, count in zip(kernel.domain, sizes, counts, strict=True):
                start = own * int(part * (count - 1))
                stop = min(start + own, whole)
                first, last = np.arange(start, stop)[:ends], np.arange(start, stop)[-ends:]
                indices.append(np.union1d(first, last))
            spans.append(_span(gather, indices))
        result.append(_gathered_part(gather, max(len(span) for span in spans)))
    return list(dict.fromkeys(result))


def _span(gather: Expr, indices: Sequence[NDArray[np.int64]]) -> range:
    """Return the words from the first to the last that is found."""
    places = evaluated(gather.args[0], np.ix_(*indices), {})
    return range(int(places.min()), int(places.max()) + 1)


def _gathered_part(gather: Expr, words: int) -> Tensor:
    """Return a tensor for some words; a little more, so that many pieces have the same."""
    whole: Tensor = gather.attribute
    unit = max(whole.lanes, 1 << max(words.bit_length() - 4, 0))
    size = min(unit * math.ceil(words / unit), max(whole.words, words))
    return Tensor(f"{whole.name}'", (size,), whole.dtype, whole.lanes)


def _compact(ref: Ref, domain: Sequence[int]) -> tuple[Tensor, Ref]:
    """Return a tensor of just the elements of a place, and the same place in it."""
    used = [n for n, stride in enumerate(ref.strides) if stride and domain[n] > 1]
    lanes = ref.tensor.lanes
    shape = [domain[n] for n in used]
    last = len(domain) - 1
    # One number for each row is the start of a row of its own, where it was before.
    if not used or (used[-1] != last and min(ref.strides[n] for n in used) >= lanes):
        shape.append(1)
    tensor = Tensor(f"{ref.tensor.name}'", tuple(shape), ref.tensor.dtype, lanes)
    strides = dict(zip(used, tensor.strides, strict=False))
    # A row of one element is still a row where it is stored.
    if ref.strides[last] and last not in strides:
        strides[last] = 1
    return tensor, Ref(tensor, 0, tuple(strides.get(n, 0) for n in range(len(domain))))


def _places(ref: Ref, domain: Sequence[int]) -> NDArray[np.int64]:
    """Return the words of a place for each point of a domain; 0 strides and sizes of 1 once."""
    result = np.array([ref.offset], np.int64)
    for stride, size in zip(ref.strides, domain, strict=True):
        if stride and size > 1:
            result = np.add.outer(result, stride * np.arange(size)).reshape(-1)
    return result


def _operands(
    kernel: Product, params: NodeParams, domain: Sequence[int], k: int
) -> tuple[Tensor, Tensor]:
    """Return the operands of a product over a part of the domain, in the tiles that it takes."""
    *batch, rows, columns = domain
    count = math.prod(batch)
    formats = BF16 if kernel.formats is None else CFP8_OPERANDS
    s = product_schedule(params, count, rows, columns, k, formats)
    return (
        _in_tiles(kernel.left, count, rows, k, s.register_tiles, s.register_group),
        _in_tiles(kernel.right, count, columns, k, s.memory_tiles, s.memory_group),
    )


def _in_tiles(whole: Tensor, batch: int, lines: int, k: int, tiles: int, group: int) -> Tensor:
    """Return a part of an operand, in tiles of its own."""
    assert whole.tiles is not None
    layout = TileLayout(batch, lines, k, tiles, group, whole.tiles.terms)
    return replace(whole, name=f"{whole.name}'", tiles=layout)


def _packed(kernel: Pack, domain: Sequence[int]) -> Tensor:
    """Return the target of the arrangement of a part of an operand."""
    *batch, lines, k = domain
    tiles = math.ceil(lines / (kernel.target.lanes // 2))
    return _in_tiles(kernel.target, math.prod(batch), lines, k, tiles, 1)


def _word_places(tensor: Tensor) -> NDArray[np.int64]:
    """Return where each word of terms of an operand in tiles is: [batch, lines, words]."""
    tiles = tensor.tiles
    assert tiles is not None
    shape = (tiles.batch, tiles.lines, tiles.vectors)
    numbers = np.arange(1, math.prod(shape) + 1, dtype=np.uint64).reshape(shape)
    groups = Groups.cover(tiles.tiles, tiles.group)
    packed = pack_operand(numbers, groups, tensor.lanes // 2, 8)
    used = np.flatnonzero(packed)
    result = np.empty(math.prod(shape), np.int64)
    result[packed[used].astype(np.int64) - 1] = used
    return result.reshape(shape)


@dataclass
class _Cut:
    """Makes one piece of a kernel.

    Parameters
    ----------
    kernel, params
        The kernel, the node.
    start, sizes
        Which part of the dimensions.
    split
        Which of them are divided at all.
    first_term
        Of the operands of a product.

    """

    kernel: Computation
    params: NodeParams
    start: Sequence[int]
    sizes: Sequence[int]
    split: Sequence[bool]
    first_term: int

    def __post_init__(self) -> None:
        self.rank = len(self.kernel.domain)
        self.domain = tuple(self.sizes[: self.rank])
        self.windows: dict[Ref, tuple[Window, Ref]] = {}
        self.found: dict[Expr, tuple[Window, Expr]] = {}

    def piece(self) -> Piece:
        """Return the piece."""
        kernel = self.kernel
        if isinstance(kernel, Pack):
            value = self._changed(kernel.value)
            target = _packed(kernel, self.domain)
            output = self._operand_window(kernel.target, target, *self._range(-2), *self._range(-1))
            pack = replace(kernel, domain=self.domain, target=target, value=value)
            if pack.stochastic is not None:
                pack = replace(pack, stochastic=self._stream(pack.stochastic))
            return Piece(pack, self._inputs(), (output,))
        values = [self._changed(store.value) for store in kernel.stores]
        inputs = self._inputs()
        outputs = [self._window(store.target) for store in kernel.stores]
        stores = tuple(Store(ref, v) for (_, ref), v in zip(outputs, values, strict=True))
        windows = tuple(window for window, _ in outputs)
        if isinstance(kernel, Loops):
            return Piece(replace(kernel, domain=self.domain, stores=stores), inputs, windows)
        k = self.sizes[-1]
        left, right = _operands(kernel, self.params, self.domain, k)
        terms = self.first_term, k
        inputs += (
            self._operand_window(kernel.left, left, *self._range(-2), *terms),
            self._operand_window(kernel.right, right, *self._range(-1), *terms),
        )
        product = replace(kernel, domain=self.domain, left=left, right=right, k=k, stores=stores)
        return Piece(product, inputs, windows)

    def _stream(self, whole: Stochastic) -> Stochastic:
        """Return random numbers for this piece alone."""
        assert whole.stream.contents is not None
        first = np.ravel_multi_index(tuple(self.start), self.kernel.domain)
        contents = whole.stream.contents + np.uint32(first)
        return replace(whole, stream=replace(whole.stream, contents=contents))

    def _range(self, dimension: int) -> tuple[int, int]:
        n = self.rank + dimension
        return self.start[n], self.sizes[n]

    def _inputs(self) -> tuple[Window, ...]:
        found = (window for window, _ in self.found.values())
        return (*(window for window, _ in self.windows.values()), *found)

    def _moved(self, ref: Ref) -> Ref:
        """Return a place from the start of the part on."""
        steps = zip(self.start, ref.strides, strict=False)
        return replace(ref, offset=ref.offset + sum(n * stride for n, stride in steps))

    def _window(self, ref: Ref) -> tuple[Window, Ref]:
        """Return the window of a place, and the place in it."""
        part, inside = _compact(ref, self.domain)
        places = _places(self._moved(ref), self.domain)
        return Window(ref.tensor, part, places, _places(inside, self.domain)), inside

    def _changed(self, value: Expr) -> Expr:
        """Return an expression for the points of the part."""

        def change(node: Expr) -> Expr | None:
            if node.kind is Kind.LOAD:
                return Expr.load(self._loaded(node.attribute))
            if node.kind is Kind.INDEX and self.split[node.attribute]:
                start = self._word(f"start{node.attribute}", self.start[node.attribute])
                return Expr.op("vadd.i32", node, start)
            if node.kind is Kind.GATHER and _has_window(node):
                return self._gathered(node)
            return None

        return value.map_down(change)

    def _gathered(self, gather: Expr) -> Expr:
        """Return an element that is found in a window."""
        if gather not in self.found:
            ends = zip(self.start, self.domain, strict=False)
            span = _span(gather, [np.arange(first, first + size) for first, size in ends])
            part = _gathered_part(gather, len(span))
            window = Window(gather.attribute, part, np.array(span), np.arange(len(span)))
            self.found[gather] = window, self._word(f"first of {part.name}", span.start)
        window, first = self.found[gather]
        place = Expr.op("vsub.i32", self._changed(gather.args[0]), first)
        return Expr.gather(window.part, place)

    def _loaded(self, ref: Ref) -> Ref:
        if ref.tensor.contents is not None:
            return self._constant(ref)
        if ref not in self.windows:
            self.windows[ref] = self._window(ref)
        return self.windows[ref][1]

    def _constant(self, ref: Ref) -> Ref:
        """Return the place of what the part needs of a tensor that is known."""
        window, inside = self._window(ref)
        assert ref.tensor.contents is not None
        contents = window.taken(ref.tensor.contents)
        return replace(inside, tensor=replace(window.part, contents=contents))

    def _word(self, name: str, value: int) -> Expr:
        """Return a number of this part; in memory, so that all parts have the same code."""
        words, lanes = np.array([value], np.uint32), self.params.fp32_lanes
        tensor = Tensor(name, (1,), DType.I32, lanes, contents=words)
        return Expr.load(Ref(tensor, 0, self.rank * (0,)))

    def _operand_window(
        self, whole: Tensor, part: Tensor, line: int, lines: int, term: int, terms: int
    ) -> Window:
        """Return the window of some lines and terms of an operand in tiles."""
        batches = np.arange(math.prod(self.kernel.domain[:-2])).reshape(self.kernel.domain[:-2])
        here = tuple(slice(*self._bounds(n)) for n in range(self.rank - 2))
        chosen = batches[here].reshape(-1)
        assert whole.tiles is not None
        per_word = whole.tiles.terms
        words = slice(term // per_word, math.ceil((term + terms) / per_word))
        places = _word_places(whole)[chosen, line : line + lines, words].reshape(-1)
        inside = _word_places(part).reshape(-1)
        halves = np.arange(2)
        return Window(
            whole,
            part,
            np.add.outer(2 * places, halves).reshape(-1),
            np.add.outer(2 * inside, halves).reshape(-1),
        )

    def _bounds(self, n: int) -> tuple[int, int]:
        return self.start[n], self.start[n] + self.sizes[n]


# Dimensions that are summed over.


def _combined(
    division: _Division, extents: Sequence[int], limit: int, first_term: int
) -> list[Piece] | None:
    """Return pieces that compute partial results, and those that combine them."""
    kernel, params = division.kernel, division.params
    ranges = [range(0, division.sizes[n], extents[n]) for n in division.summed]
    assert isinstance(kernel, (Loops, Product))
    kind = Kind.ACCUMULATOR if isinstance(kernel, Product) else Kind.OUTER_REDUCE
    sums = [node for node in ordered(_values(kernel)) if node.kind is kind]
    *outer, last = kernel.domain
    parallel = outer[: len(outer) - getattr(kernel, "reduced", 0)]
    shape = (math.prod(map(len, ranges)), *parallel, last)
    partial = {
        node: Tensor(f"partial{n}", shape, DType.F32, params.fp32_lanes)
        for n, node in enumerate(sums)
    }
    result: list[Piece] = []
    for number, firsts in enumerate(combinations(*ranges)):
        start = dict(zip(division.summed, firsts, strict=True))
        sizes = {n: min(extents[n], division.sizes[n] - first) for n, first in start.items()}
        some = _partial(kernel, partial, number, start, sizes)
        more = _pieces(some, params, limit, first_term + firsts[0])
        if more is None:
            return None
        result += more
    more = _pieces(_final(kernel, partial, len(parallel)), params, limit, 0)
    return None if more is None else result + more


def _partial(
    kernel: Loops | Product,
    partial: Mapping[Expr, Tensor],
    number: int,
    start: Mapping[int, int],
    sizes: Mapping[int, int],
) -> Loops | Product:
    """Return a kernel that computes the sums of a part of what is summed over."""
    reduced = kernel.reduced if isinstance(kernel, Loops) else 0

    def target(tensor: Tensor) -> Ref:
        plane, *outer, last = tensor.strides
        return Ref(tensor, number * plane, (*outer, *reduced * (0,), last))

    stores = tuple(Store(target(tensor), node) for node, tensor in partial.items())
    if isinstance(kernel, Product):
        return replace(kernel, k=next(iter(sizes.values())), stores=stores)

    def change(node: Expr) -> Expr | None:
        if node.kind is Kind.LOAD:
            ref: Ref = node.attribute
            moved = sum(first * ref.strides[n] for n, first in start.items())
            return Expr.load(replace(ref, offset=ref.offset + moved))
        if node.kind is Kind.INDEX and start.get(node.attribute):
            return Expr.op("vadd.i32", node, Expr.word(start[node.attribute]))
        return None

    domain = tuple(sizes.get(n, size) for n, size in enumerate(kernel.domain))
    stores = tuple(Store(store.target, store.value.map(change)) for store in stores)
    return replace(kernel, domain=domain, stores=stores)


def _final(kernel: Loops | Product, partial: Mapping[Expr, Tensor], parallel: int) -> Loops:
    """Return the kernel that combines partial results: a sum over their number."""
    count = next(iter(partial.values())).shape[0]
    domain = (*kernel.domain[:parallel], count, kernel.domain[-1])
    last = len(kernel.domain) - 1

    def places(ref: Ref) -> Ref:
        return replace(ref, strides=(*ref.strides[:parallel], 0, ref.strides[-1]))

    def change(node: Expr) -> Expr | None:
        if node in partial:
            plane, *outer, step = partial[node].strides
            loaded = Expr.load(Ref(partial[node], 0, (*outer, plane, step)))
            return Expr.outer_reduce(node.attribute or "vfadd.f32", loaded)
        if node.kind is Kind.LOAD:
            return Expr.load(places(node.attribute))
        if node.kind is Kind.INDEX and node.attribute >= parallel:
            return Expr.index(parallel + 1) if node.attribute == last else Expr.word(0)
        return None

    stores = tuple(Store(places(s.target), s.value.map(change)) for s in kernel.stores)
    return Loops(domain, stores, 1, operators=kernel.operators)
