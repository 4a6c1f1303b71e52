"""Joins kernels, so that values stay in registers instead of going through SRAM.

Two ways, which need nothing but the places that kernels load from and store to:

- *Inlining*: what a kernel computes element by element is computed where it is loaded, by its one
  reader, whatever the reader's loops.
- *Joining*: two kernels over the same domain become one, if the second reads what the first stored
  at the same point. Rows stay in registers between a reduction and what uses it, and what follows a
  product is computed from its sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from d1.compiler.evaluation import is_aligned
from d1.compiler.executable import lower
from d1.compiler.expressions import Expr, Kind, Ref, ordered
from d1.compiler.ir import (
    Computation,
    Graph,
    Kernel,
    Loops,
    Pack,
    Product,
    Store,
    Tensor,
    reads,
    writes,
)
from d1.compiler.loops_lowering import joined_dimensions
from d1.compiler.tile_code import RegisterPressureError

__all__ = ["fused", "refined"]

#: Operations that may be computed again for every reader.
_CHEAP = 1
#: Operations of one kernel.
_MOST_OPERATIONS = 90


def fused(graph: Graph) -> Graph:
    """Return a graph that computes the same outputs with fewer kernels."""
    kernels = _with_packs_once(graph.kernels)
    kernels = _inlined(graph, kernels)
    kernels = _with_packs_once(kernels)
    return replace(graph, kernels=_joined(graph, kernels))


def _operations(values: Sequence[Expr]) -> int:
    leaves = (Kind.LOAD, Kind.CONSTANT, Kind.INDEX, Kind.ACCUMULATOR)
    return sum(node.kind not in leaves for node in ordered(values))


def _values(kernel: Kernel) -> list[Expr]:
    if not isinstance(kernel, Computation):
        return []
    if isinstance(kernel, Pack):
        return [kernel.value]
    return [store.value for store in kernel.stores]


def _with_values(kernel: Computation, change: Callable[[Expr], Expr]) -> Computation:
    if isinstance(kernel, Pack):
        return replace(kernel, value=change(kernel.value))
    stores = tuple(Store(s.target, change(s.value)) for s in kernel.stores)
    return replace(kernel, stores=stores)


def _fits(kernel: Computation, graph: Graph) -> bool:
    """Return whether a kernel can be computed with the registers that there are."""
    if _operations(_values(kernel)) > _MOST_OPERATIONS:
        return False
    if isinstance(kernel, Product) and not _is_epilogue(kernel, graph.params.fp32_lanes):
        return False
    try:
        lower(kernel, graph.params)
    except RegisterPressureError:
        return False
    return True


def _is_epilogue(kernel: Product, lanes: int) -> bool:
    """Return whether expressions can be computed from the sums of a product."""
    for node in ordered(_values(kernel)):
        if node.kind in (Kind.INDEX, Kind.GATHER, Kind.ROW_REDUCE, Kind.OUTER_REDUCE):
            return False
        if node.kind is Kind.LOAD and node.attribute.strides[-1]:
            if not is_aligned(node.attribute, lanes):
                return False
    return all(store.target.strides[-1] for store in kernel.stores)


def _with_packs_once(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return kernels in which nothing is arranged in the same tiles twice."""
    known: dict[object, Tensor] = {}
    other: dict[Tensor, Tensor] = {}
    result: list[Kernel] = []
    for kernel in kernels:
        if isinstance(kernel, Pack):
            how = (kernel.format, kernel.stochastic)
            key = (kernel.domain, kernel.value, kernel.target.tiles, how)
            if key in known:
                other[kernel.target] = known[key]
                continue
            known[key] = kernel.target
        elif isinstance(kernel, Product):
            left, right = kernel.left, kernel.right
            kernel = replace(kernel, left=other.get(left, left), right=other.get(right, right))
        result.append(kernel)
    return result


# Inlining.


def _inlined(graph: Graph, kernels: list[Kernel]) -> list[Kernel]:
    by_number = dict(enumerate(kernels))
    readers: defaultdict[Tensor, set[int]] = defaultdict(set)

    def put(number: int, kernel: Kernel) -> None:
        by_number[number] = kernel
        for tensor in reads(kernel):
            readers[tensor].add(number)

    for number, kernel in enumerate(kernels):
        put(number, kernel)
    for number in range(len(kernels)):
        producer = by_number[number]
        if not _may_be_inlined(producer, graph):
            continue
        assert isinstance(producer, Loops)
        (store,) = producer.stores
        of_result = sorted(readers[store.target.tensor])
        if len(of_result) != 1 and _operations([store.value]) > _CHEAP:
            continue
        changed = [(n, _with_producer(by_number[n], producer, graph)) for n in of_result]
        if not all(kernel for _, kernel in changed):
            continue
        del by_number[number]
        for tensor in reads(producer):
            readers[tensor].discard(number)
        for n, reader in changed:
            assert reader is not None
            put(n, reader)
    return list(by_number.values())


def _may_be_inlined(kernel: Kernel, graph: Graph) -> bool:
    return (
        isinstance(kernel, Loops)
        and not kernel.reduced
        and len(kernel.stores) == 1
        and kernel.stores[0].target.tensor not in graph.outputs
        and not kernel.stores[0].value.has(Kind.ROW_REDUCE)
        and all(kernel.stores[0].target.strides)
    )


def _with_producer(kernel: Kernel, producer: Loops, graph: Graph) -> Kernel | None:
    """Return a kernel that computes what it loaded from another; None if it cannot."""
    if not isinstance(kernel, Computation):
        return None
    source = joined_dimensions(producer)
    (store,) = source.stores
    tensor = store.target.tensor
    cost = _operations([store.value])
    # Words that say how to round are read without being part of a value.
    if not any(tensor in value.tensors() for value in _values(kernel)):
        return None
    for node in ordered(_values(kernel)):
        if node.kind is Kind.GATHER and node.attribute is tensor:
            return None
        if node.kind is Kind.LOAD and node.attribute.tensor is tensor:
            ref, domain = node.attribute, kernel.domain
            again = any(not s and n > 1 for s, n in zip(ref.strides[:-1], domain, strict=False))
            if _map(ref, domain, source) is None or (again and cost > _CHEAP):
                return None
            if ref.strides[-1] > 1 and cost > _CHEAP:
                return None

    def change(node: Expr) -> Expr | None:
        if node.kind is Kind.LOAD and node.attribute.tensor is tensor:
            mapping = _map(node.attribute, kernel.domain, source)
            assert mapping is not None
            return mapping.applied(store.value)
        return _simplified(node)

    result = _with_values(kernel, lambda value: _clean(value.map(change)))
    result = replace(result, operators=producer.operators + kernel.operators)
    return result if _fits(result, graph) else None


def _simplified(node: Expr) -> Expr | None:
    """Return a mask that was stored as a word and loaded, as a mask."""
    if node.kind is Kind.OPERATION and node.attribute == "vsltu.i32":
        zero, word = node.args
        if zero is Expr.word(0) and word.kind is Kind.OPERATION and word.attribute == "vsel":
            one, other, mask = word.args
            if one is Expr.word(1) and other is Expr.word(0):
                return mask
    return None


def _clean(value: Expr) -> Expr:
    return value.map(_simplified)


@dataclass(frozen=True)
class _Mapping:
    """Indices of one domain as sums of multiples of those of another.

    Parameters
    ----------
    offsets
        Of each index.
    factors
        Of each index, by dimension of the other domain.

    """

    offsets: tuple[int, ...]
    factors: tuple[tuple[int, ...], ...]

    def applied(self, value: Expr) -> Expr:
        """Return an expression for the points of the other domain."""

        def change(node: Expr) -> Expr | None:
            if node.kind is Kind.LOAD:
                ref: Ref = node.attribute
                count = len(self.factors[0])
                strides = tuple(
                    sum(f[n] * s for f, s in zip(self.factors, ref.strides, strict=True))
                    for n in range(count)
                )
                moved = sum(o * s for o, s in zip(self.offsets, ref.strides, strict=True))
                return Expr.load(Ref(ref.tensor, ref.offset + moved, strides))
            if node.kind is Kind.INDEX:
                return self._index(node.attribute)
            return None

        return value.map(change)

    def _index(self, dimension: int) -> Expr:
        result = Expr.word(self.offsets[dimension])
        for n, factor in enumerate(self.factors[dimension]):
            if factor:
                index = Expr.index(n)
                if factor > 1:
                    index = Expr.op("vmul.i32", index, Expr.word(factor))
                zero = result is Expr.word(0)
                result = index if zero else Expr.op("vadd.i32", result, index)
        return result


def _map(ref: Ref, domain: Sequence[int], source: Loops) -> _Mapping | None:
    """Return the indices at which a kernel stored what is loaded; None if that is not simple."""
    target = source.stores[0].target
    order = sorted(
        (n for n, size in enumerate(source.domain) if size > 1), key=lambda n: -target.strides[n]
    )

    def parts(distance: int) -> dict[int, int] | None:
        found = {}
        for n in order:
            found[n], distance = divmod(distance, target.strides[n])
        return None if distance else found

    if any(stride < 0 for stride in ref.strides) or ref.offset < 0:
        return None
    offsets = parts(ref.offset)
    factors = [
        parts(stride if size > 1 else 0) for stride, size in zip(ref.strides, domain, strict=True)
    ]
    if offsets is None or any(f is None for f in factors):
        return None
    for n in order:
        most = offsets[n] + sum(
            f[n] * (size - 1) for f, size in zip(factors, domain, strict=True) if f is not None
        )
        if most >= source.domain[n]:
            return None
    rank = range(len(source.domain))
    return _Mapping(
        tuple(offsets.get(n, 0) for n in rank),
        tuple(tuple(f.get(n, 0) if f else 0 for f in factors) for n in rank),
    )


# Joining.


def _joined(graph: Graph, kernels: list[Kernel]) -> list[Kernel]:
    kernels = list(kernels)
    at = 0
    while at < len(kernels):
        sources = set(reads(kernels[at]))
        before = [n for n in range(at) if not sources.isdisjoint(writes(kernels[n]))]
        for n in reversed(before):
            changed = _join(graph, kernels, n, at)
            if changed is not None:
                kernels = changed
                at = max(n - 1, -1)
                break
        at += 1
    return kernels


def _join(graph: Graph, kernels: list[Kernel], first: int, second: int) -> list[Kernel] | None:
    """Return kernels with two of them as one; None where that cannot be."""
    a, b = kernels[first], kernels[second]
    if not isinstance(b, Loops) or not isinstance(a, (Loops, Product)) or b.reduced:
        return None
    if isinstance(a, Loops) and a.reduced:
        return None
    between = kernels[first + 1 : second]
    written = set(writes(a))
    later = {tensor for kernel in between for tensor in writes(kernel)}
    down = all(written.isdisjoint(reads(kernel)) for kernel in between)
    up = later.isdisjoint(reads(b))
    if not (down or up):
        return None
    kernel = _merged(graph, kernels, a, b, second)
    if kernel is None:
        return None
    if down:
        return [*kernels[:first], *between, kernel, *kernels[second + 1 :]]
    return [*kernels[:first], kernel, *between, *kernels[second + 1 :]]


def _merged(
    graph: Graph, kernels: list[Kernel], a: Loops | Product, b: Loops, second: int
) -> Loops | Product | None:
    if isinstance(a, Loops) and a.domain[-1] != b.domain[-1]:
        a, b = _of_rows(a, b.domain[-1]), _of_rows(b, a.domain[-1])
    if isinstance(a, Product):
        b = joined_dimensions(b)
    domain = _common(a.domain, b.domain)
    if domain is None:
        return None
    if isinstance(a, Product) and (a.domain[-2] == 1 or domain[-2:] != a.domain[-2:]):
        # Rows of a product are no batch.
        return None
    first, other = refined(a, domain), refined(b, domain)
    assert isinstance(other, Loops)
    stored = {store.target.tensor: store for store in first.stores}

    def known(node: Expr) -> Store | None:
        if node.kind is Kind.LOAD:
            return stored.get(node.attribute.tensor)
        return None

    for node in ordered(_values(other)):
        store = known(node)
        if store is not None and not _same_place(node.attribute, store.target, domain):
            return None
        if node.kind is Kind.GATHER and node.attribute in stored:
            return None

    def change(node: Expr) -> Expr | None:
        store = known(node)
        return store.value if store is not None else None

    used = {
        tensor
        for n, kernel in enumerate(kernels)
        if kernel is not a and n != second
        for tensor in reads(kernel)
    } | set(graph.outputs)
    stores = [store for store in first.stores if store.target.tensor in used]
    stores += [Store(s.target, _clean(s.value.map(change))) for s in other.stores]
    result = replace(first, stores=tuple(stores), operators=a.operators + b.operators)
    return result if _fits(result, graph) else None


def _of_rows(kernel: Loops, size: int) -> Loops:
    """Return a kernel with one element in each row as one of values of rows of some size."""
    if kernel.domain[-1] != 1 or any(value.has(Kind.ROW_REDUCE) for value in _values(kernel)):
        return kernel
    last = len(kernel.domain) - 1

    def change_ref(ref: Ref) -> Ref:
        return replace(ref, strides=(*ref.strides[:-1], 0))

    def change(node: Expr) -> Expr | None:
        if node.kind is Kind.LOAD:
            return Expr.load(change_ref(node.attribute))
        if node.kind is Kind.INDEX and node.attribute == last:
            return Expr.word(0)
        return None

    stores = tuple(Store(change_ref(s.target), s.value.map(change)) for s in kernel.stores)
    return replace(kernel, domain=(*kernel.domain[:-1], size), stores=stores)


def _same_place(a: Ref, b: Ref, domain: Sequence[int]) -> bool:
    steps = zip(a.strides, b.strides, domain, strict=True)
    return a.offset == b.offset and all(x == y or size == 1 for x, y, size in steps)


def _common(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    """Return the domain of which two domains are joined dimensions; the last must be equal."""
    if a[-1] != b[-1]:
        return None
    left, right = [n for n in a[:-1] if n > 1], [n for n in b[:-1] if n > 1]
    result: list[int] = []
    while left and right:
        x, y = left.pop(), right.pop()
        least = min(x, y)
        if x % least or y % least:
            return None
        result.insert(0, least)
        if x > least:
            left.append(x // least)
        if y > least:
            right.append(y // least)
    return None if left or right else (*result, a[-1])


def refined(kernel: Loops | Product, domain: Sequence[int]) -> Loops | Product:
    """Return the same kernel over a domain in which outer dimensions are split.

    Dimensions of size 1 may have gone.
    """
    pieces: list[tuple[int, int]] = []
    new = list(domain[:-1])
    for old in range(len(kernel.domain) - 2, -1, -1):
        size, inner = kernel.domain[old], 1
        while size > 1:
            extent = new.pop()
            pieces.insert(0, (old, inner))
            inner, size = inner * extent, size // extent
    last = len(kernel.domain) - 1

    def change_ref(ref: Ref) -> Ref:
        strides = tuple(ref.strides[old] * inner for old, inner in pieces)
        return replace(ref, strides=(*strides, ref.strides[-1]))

    def change(node: Expr) -> Expr | None:
        if node.kind is Kind.LOAD:
            return Expr.load(change_ref(node.attribute))
        if node.kind is Kind.INDEX:
            if node.attribute == last:
                return Expr.index(len(pieces))
            result: Expr = Expr.word(0)
            for n, (old, inner) in enumerate(pieces):
                if old == node.attribute:
                    part = Expr.op("vmul.i32", Expr.index(n), Expr.word(inner))
                    result = Expr.op("vadd.i32", result, part)
            return result
        return None

    stores = tuple(Store(change_ref(s.target), s.value.map(change)) for s in kernel.stores)
    return replace(kernel, domain=tuple(domain), stores=stores)
