"""A graph as each of several nodes computes it, from how its inputs are divided.

Each kernel is divided along the one dimension of its domain that walks through what is divided of
its operands; what is not divided, it computes as a whole. What follows from that:

- a result in whose place the dimension is seen, is divided as the dimension walks through it;
- a reduction over the dimension leaves every node with a part of the sum. It stays so through
  operations that may be done with the parts, and is summed up over the nodes (`AllReduce`) where it
  is needed for something else, or is an output.

A whole tensor that a divided kernel needs a part of is computed once more, divided. Branches and
loops every node runs as a whole. A graph that is divided already, along the other side of a
rectangle, may be divided again: its sums are sums of parts then.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from d1.compiler.builder import Builder
from d1.compiler.expressions import Expr, Kind, Ref, ordered
from d1.compiler.ir import (
    AllReduce,
    Choice,
    DType,
    Graph,
    Kernel,
    Loops,
    Pack,
    Product,
    Repeat,
    Store,
    Tensor,
    writes,
)
from d1.compiler.renaming import renamed
from d1.parallel.all_reduce import inbox_tensor
from d1.parallel.gathered_places import moves_with
from d1.parallel.placement import (
    REPLICATED,
    Partial,
    Placement,
    Split,
    local_ref,
    local_shape,
    walked,
)

__all__ = ["Partition", "PartitionError", "partitioned"]

_SUM = "vfadd.f32"


class PartitionError(Exception):
    """A graph cannot be divided like that; the message says why."""


@dataclass(frozen=True)
class Partition:
    """What each node computes.

    Parameters
    ----------
    builder
        Of the graph, which is the same for all nodes.
    inputs
        For each input of it: of which input of the whole graph, and which part.
    outputs
        For each output of the whole graph: in which tensor it is, and which part of it.
    rank
        The input that holds the number of the node, if one is needed.
    placements
        How each tensor of the whole graph comes to lie.
    own
        The tensors of which each node has another part.

    """

    builder: Builder
    inputs: dict[Tensor, tuple[Tensor, Placement]]
    outputs: dict[Tensor, tuple[Tensor, Placement]]
    rank: Tensor | None
    placements: dict[Tensor, Placement]
    own: frozenset[Tensor]

    @property
    def graph(self) -> Graph:
        """What each node computes."""
        return self.builder.graph


def partitioned(graph: Graph, nodes: tuple[int, int], splits: Mapping[Tensor, Split]) -> Partition:
    """Return a graph as each node of a rectangle computes it.

    Parameters
    ----------
    graph
        As the operators were lowered, before fusion.
    nodes
        Columns and rows; parts are numbered row by row.
    splits
        The inputs that are divided, and how; every node gets the whole of others.

    Raises
    ------
    PartitionError
        A size is not a multiple of the number of nodes, or a kernel needs what other nodes have.

    """
    for tensor, split in splits.items():
        if tensor.shape[split.dim] % math.prod(nodes):
            raise PartitionError(
                f"dimension {split.dim} of {tensor} is not a multiple of {math.prod(nodes)} nodes"
            )
    partitioner = _Partitioner(graph, nodes, splits)
    for kernel in graph.kernels:
        if not isinstance(kernel, Pack):
            with partitioner.builder.naming(kernel.operators):
                partitioner.add(kernel)
    return partitioner.finished()


class _State(enum.Enum):
    """What nodes have of the value of an expression, besides a part of a sum."""

    #: All the same.
    SAME = "same"
    #: Each its own points.
    OWN = "own"


@dataclass(frozen=True)
class _Operands:
    """A kernel as loops: of a product, those over the terms of its sums too.

    Parameters
    ----------
    domain
        Sizes.
    values
        What is computed.
    factors
        What else is computed: the operands of a product.
    targets
        Where values are stored.

    """

    domain: tuple[int, ...]
    values: tuple[Expr, ...]
    factors: tuple[Expr, ...]
    targets: tuple[Ref, ...]

    def refs(self) -> list[Ref]:
        """Return all that is loaded."""
        return [n.attribute for n in self._nodes() if n.kind is Kind.LOAD]

    def gathers(self) -> list[Expr]:
        """Return all that is gathered."""
        return [node for node in self._nodes() if node.kind is Kind.GATHER]

    def _nodes(self) -> list[Expr]:
        return ordered([*self.factors, *self.values])


class _Partitioner:
    def __init__(
        self, graph: Graph, nodes: tuple[int, int], splits: Mapping[Tensor, Split]
    ) -> None:
        self.graph, self.grid, self.nodes = graph, nodes, math.prod(nodes)
        self.builder = Builder(graph.params)
        self.placements: dict[Tensor, Placement] = {
            tensor: splits.get(tensor, REPLICATED) for tensor in graph.inputs
        }
        self.packs = {k.target: k for k in graph.kernels if isinstance(k, Pack)}
        self.producers = {
            tensor: k for k in graph.kernels if not isinstance(k, Pack) for tensor in writes(k)
        }
        self.local: dict[tuple[Tensor, Placement], Tensor] = {}
        self.sources: dict[Tensor, tuple[Tensor, Placement]] = {}
        self.rank: Tensor | None = None

    def add(self, kernel: Kernel) -> None:
        """Add a kernel, divided if an operand is."""
        if isinstance(kernel, (Choice, Repeat)):
            whole = renamed(kernel, self._whole)
            self.builder.graph.kernels.append(whole)
            self.placements |= dict.fromkeys(writes(kernel), REPLICATED)
            return
        if isinstance(kernel, AllReduce):
            self._add_sum(kernel)
            return
        operands = self._operands(kernel)
        j = self._dimension(kernel, operands)
        if j is None and (instruction := self._linear(operands)):
            for tensor in writes(kernel):
                self.placements[tensor] = Partial(instruction)
        else:
            for target, value in zip(operands.targets, operands.values, strict=True):
                self.placements[target.tensor] = self._result(kernel, operands, target, value, j)
        self._emit(kernel, operands, j)

    def _add_sum(self, kernel: AllReduce) -> None:
        """Add a sum over other nodes than those that this divides over: each has its part of it."""
        sources, results = [], []
        for source, result in zip(kernel.sources, kernel.results, strict=True):
            placement = self.placements[source]
            if isinstance(placement, Partial):
                placement = REPLICATED
            sources.append(self._local(source, placement))
            results.append(self._new(result, placement))
            self.placements[result] = placement
        self._sum(tuple(sources), tuple(results), kernel.instruction, kernel.nodes)

    def _sum(
        self,
        sources: tuple[Tensor, ...],
        results: tuple[Tensor, ...],
        instruction: str,
        nodes: tuple[int, int],
    ) -> None:
        graph = self.builder.graph
        inbox = inbox_tensor(graph.params, sources, nodes, f"inbox{results[0].name}")
        graph.kernels.append(AllReduce(sources, results, inbox, instruction, nodes))

    def finished(self) -> Partition:
        """Return what has been made."""
        outputs: dict[Tensor, tuple[Tensor, Placement]] = {}
        for tensor in self.graph.outputs:
            placement = self.placements[tensor]
            if isinstance(placement, Partial):
                placement = REPLICATED
            outputs[tensor] = self._local(tensor, placement), placement
        graph = self.builder.graph
        graph.outputs = list(dict.fromkeys(tensor for tensor, _ in outputs.values()))
        if self.graph.seed is not None:
            graph.seed = self._local(self.graph.seed, REPLICATED)
            self._number()
        graph.gradients = [t for t, (of, _) in self.sources.items() if of in self.graph.gradients]
        own = (part for (_, placement), part in self.local.items() if placement != REPLICATED)
        return Partition(
            self.builder, self.sources, outputs, self.rank, self.placements, frozenset(own)
        )

    # What a kernel does with its operands.

    def _operands(self, kernel: Kernel) -> _Operands:
        match kernel:
            case Loops():
                values = tuple(store.value for store in kernel.stores)
                targets = tuple(store.target for store in kernel.stores)
                return _Operands(kernel.domain, values, (), targets)
            case Product():
                return self._product_operands(kernel)
        raise PartitionError(f"a kernel that is not one of a single node: {kernel}")

    def _product_operands(self, kernel: Product) -> _Operands:
        """Return a product over batch, rows, columns, terms."""
        batch, rank = range(len(kernel.domain) - 2), len(kernel.domain) + 1
        left = _over(self.packs[kernel.left].value, [*batch, rank - 3, rank - 1], rank)
        right = _over(self.packs[kernel.right].value, [*batch, rank - 2, rank - 1], rank)
        values = tuple(store.value for store in kernel.stores)
        targets = tuple(replace(s.target, strides=(*s.target.strides, 0)) for s in kernel.stores)
        return _Operands((*kernel.domain, kernel.k), values, (left, right), targets)

    def _dimension(self, kernel: Kernel, operands: _Operands) -> int | None:
        """Return the dimension along which a kernel is divided; None if no operand is."""
        split = [r for r in operands.refs() if self._is_split(r.tensor)]
        gathers = [e for e in operands.gathers() if self._is_split(e.attribute)]
        if not split and not gathers:
            return None
        candidates = [
            j
            for j in range(len(operands.domain))
            if all(self._walks(ref, operands.domain, j) for ref in split)
            and all(self._gathers(e, operands.domain, j) for e in gathers)
        ]
        for j in candidates:
            if self._can_divide_others(operands, j):
                return j
        names = ", ".join(
            f"{tensor} ({self.placements[tensor]})"
            for tensor in dict.fromkeys(
                [*(r.tensor for r in split), *(e.attribute for e in gathers)]
            )
        )
        raise PartitionError(f"no dimension divides {str(kernel).splitlines()[0]} with {names}")

    def _is_split(self, tensor: Tensor) -> bool:
        return isinstance(self.placements.get(tensor), Split)

    def _walks(self, ref: Ref, domain: Sequence[int], j: int) -> bool:
        return walked(ref, domain, j, self.nodes) == self.placements[ref.tensor]

    def _gathers(self, gather: Expr, domain: Sequence[int], j: int) -> bool:
        tensor = gather.attribute
        if self.placements[tensor] != Split(0):
            return False
        block = tensor.shape[0] * tensor.strides[0] // self.nodes
        return moves_with(gather.args[0], domain, j, self.nodes, block)

    def _can_divide_others(self, operands: _Operands, j: int) -> bool:
        """Return whether a node can get its part of operands that are whole so far."""
        return all(
            not ref.strides[j]
            or ref.tensor.contents is not None
            or self._is_split(ref.tensor)
            or (
                (split := walked(ref, operands.domain, j, self.nodes)) is not None
                and self._can_be(ref.tensor, split)
            )
            for ref in operands.refs()
        )

    def _can_be(self, tensor: Tensor, split: Split) -> bool:
        """Return whether a whole tensor can be computed divided instead."""
        if tensor in self.graph.inputs:
            return True
        if tensor.contents is not None or self.placements[tensor] != REPLICATED:
            return False
        producer = self.producers[tensor]
        if isinstance(producer, (AllReduce, Choice, Repeat)):
            return False
        operands = self._operands(producer)
        j = self._dimension_of(operands, tensor, split)
        return (
            j is not None
            and self._result_of(operands, tensor, j) == split
            and self._can_divide_others(operands, j)
        )

    def _dimension_of(self, operands: _Operands, tensor: Tensor, split: Split) -> int | None:
        """Return the dimension that walks through what a kernel stores."""
        (target,) = (t for t in operands.targets if t.tensor is tensor)
        dims = range(len(operands.domain))
        return next(
            (j for j in dims if walked(target, operands.domain, j, self.nodes) == split), None
        )

    def _result_of(self, operands: _Operands, tensor: Tensor, j: int) -> Placement | None:
        kernel = self.producers[tensor]
        for target, value in zip(operands.targets, operands.values, strict=True):
            if target.tensor is tensor:
                try:
                    return self._result(kernel, operands, target, value, j)
                except PartitionError:
                    return None
        return None

    def _result(
        self, kernel: Kernel, operands: _Operands, target: Ref, value: Expr, j: int | None
    ) -> Placement:
        """Return how a result comes to lie if a kernel is divided along a dimension."""
        if j is None:
            return REPLICATED
        reduced = kernel.reduced if isinstance(kernel, Loops) else 0
        state = self._state(value, operands.domain, reduced, j, partial=False)
        if state is None:
            raise PartitionError(f"a sum over all nodes is needed within {target.tensor}")
        if isinstance(state, Partial):
            return state
        if not target.strides[j]:
            if state is _State.OWN:
                raise PartitionError(f"no node has all that {target.tensor} depends on")
            return REPLICATED
        split = walked(target, operands.domain, j, self.nodes)
        if split is None:
            raise PartitionError(f"{target.tensor} is not written part by part")
        return split

    def _linear(self, operands: _Operands) -> str | None:
        """Return what combines the parts that a kernel makes of parts; None if it may not."""
        if not any(isinstance(self.placements.get(r.tensor), Partial) for r in operands.refs()):
            return None
        if operands.factors:
            return None
        states = {
            self._state(value, operands.domain, 0, None, partial=True) for value in operands.values
        }
        return _SUM if states == {Partial(_SUM)} else None

    def _state(
        self, value: Expr, domain: Sequence[int], reduced: int, j: int | None, *, partial: bool
    ) -> _State | Partial | None:
        """Return what nodes have of a value; None where it would need all parts of a sum.

        Parameters
        ----------
        value, domain, reduced
            The expression, its domain, how many dimensions outer reductions are over.
        j
            The dimension that is divided.
        partial
            Whether parts of sums are read as such.

        """
        states: dict[Expr, _State | Partial] = {}
        last = len(domain) - 1
        for node in ordered([value]):
            of_args = [states[arg] for arg in node.args]
            state: _State | Partial | None = _State.OWN if _State.OWN in of_args else _State.SAME
            match node.kind:
                case Kind.LOAD:
                    placement = self.placements.get(node.attribute.tensor)
                    if partial and isinstance(placement, Partial):
                        state = placement
                    elif j is not None and node.attribute.strides[j]:
                        state = _State.OWN
                case Kind.INDEX if node.attribute == j:
                    state = _State.OWN
                case Kind.ACCUMULATOR if j is not None:
                    state = Partial(_SUM) if j == last else _State.OWN
                case Kind.ROW_REDUCE | Kind.OUTER_REDUCE:
                    over = [last] if node.kind is Kind.ROW_REDUCE else range(last - reduced, last)
                    state = _reduced(node.attribute, of_args[0], j in over)
                case _ if any(isinstance(s, Partial) for s in of_args):
                    state = _combined(node, of_args)
            if state is None:
                return None
            states[node] = state
        return states[value]

    # What a node does.

    def _emit(self, kernel: Kernel, operands: _Operands, j: int | None) -> None:
        """Add a kernel as each node runs it."""
        linear = any(
            isinstance(self.placements[target.tensor], Partial) for target in operands.targets
        )
        keeps = linear and j is None

        def mapped(ref: Ref) -> Ref:
            placement = self.placements.get(ref.tensor, REPLICATED)
            if ref.tensor.contents is not None:
                if j is not None and ref.strides[j]:
                    raise PartitionError(f"each node needs another part of {ref.tensor}")
                return ref
            if j is not None and ref.strides[j]:
                split = walked(ref, operands.domain, j, self.nodes)
                assert split is not None
                placement = split
            elif not (keeps and isinstance(placement, Partial)):
                placement = REPLICATED
            return local_ref(ref, self._local(ref.tensor, placement), placement)

        results = {}
        for target, value in zip(operands.targets, operands.values, strict=True):
            tensor = target.tensor
            results[tensor] = self.placements[tensor]
            if j is not None and not isinstance(self.placements[tensor], Partial):
                results[tensor] = self._result(kernel, operands, target, value, j)
        domain = tuple(
            size // self.nodes if n == j else size for n, size in enumerate(operands.domain)
        )
        if isinstance(kernel, Product):
            left, right = (
                self._mapped(factor, operands.domain, j, mapped) for factor in operands.factors
            )
            self._emit_product(kernel, domain, left, right, results)
            return
        assert isinstance(kernel, Loops)
        stores = []
        for store in kernel.stores:
            value = self._mapped(store.value, operands.domain, j, mapped)
            placement = results[store.target.tensor]
            part = self._new(store.target.tensor, placement)
            stores.append(Store(local_ref(store.target, part, placement), value))
        self.builder.graph.kernels.append(Loops(domain, tuple(stores), kernel.reduced))

    def _emit_product(
        self,
        kernel: Product,
        domain: tuple[int, ...],
        left: Expr,
        right: Expr,
        results: Mapping[Tensor, Placement],
    ) -> None:
        *shape, k = domain
        batch, rank = range(len(shape) - 2), len(shape) + 1
        left = _back(left, [*batch, rank - 3, rank - 1])
        right = _back(right, [*batch, rank - 2, rank - 1])
        (store,) = kernel.stores
        assert store.value is Expr.accumulator() and store.target == store.target.tensor.ref()
        tensor = store.target.tensor
        self.local[tensor, results[tensor]] = self.builder.product(shape, k, left, right).ref.tensor

    def _mapped(
        self,
        value: Expr,
        domain: Sequence[int],
        j: int | None,
        mapped: Callable[[Ref], Ref],
    ) -> Expr:
        """Return an expression over a node's points."""

        def own(node: Expr) -> Expr | None:
            # Within its own part a node counts from 0, as constants do.
            if node.kind is Kind.LOAD and node.attribute.tensor.contents is None:
                return Expr.load(mapped(node.attribute))
            return None

        def change(node: Expr) -> Expr | None:
            if node.kind is Kind.LOAD:
                return Expr.load(mapped(node.attribute))
            if node.kind is Kind.INDEX and node.attribute == j:
                assert j is not None
                return self._index(j, domain)
            if node.kind is Kind.GATHER:
                tensor = node.attribute
                if self._is_split(tensor):
                    place = node.args[0].map(own)
                    return Expr.gather(self._local(tensor, self.placements[tensor]), place)
                return Expr.gather(self._local(tensor, REPLICATED), node.args[0].map_down(change))
            return None

        return value.map_down(change)

    def _index(self, j: int, domain: Sequence[int]) -> Expr:
        """Return an index along the divided dimension, counted from the start of the whole."""
        rank = Expr.load(Ref(self._number(), 0, len(domain) * (0,)))
        first = Expr.op("vmul.i32", rank, Expr.word(domain[j] // self.nodes))
        return Expr.op("vadd.i32", Expr.index(j), first)

    def _number(self) -> Tensor:
        """Return the input that holds the number of the node."""
        if self.rank is None:
            self.rank = self.builder.input((1,), DType.I32).ref.tensor
        return self.rank

    def _whole(self, tensor: Tensor) -> Tensor:
        """Return what every node has all of: known before, or written in a branch or a loop."""
        is_known = tensor in self.placements or (tensor, REPLICATED) in self.local
        if tensor.contents is None and not is_known:
            new = self.builder.tensor(tensor.shape, tensor.dtype)
            self.local[tensor, REPLICATED] = replace(new, tiles=tensor.tiles)
        return self._local(tensor, REPLICATED)

    def _new(self, tensor: Tensor, placement: Placement) -> Tensor:
        shape = local_shape(tensor.shape, placement, self.nodes)
        new = self.builder.tensor(shape, tensor.dtype)
        self.local[tensor, placement] = new
        return new

    def _local(self, tensor: Tensor, placement: Placement) -> Tensor:
        """Return what a node has of a tensor; add what it takes to get it."""
        if tensor.contents is not None:
            return tensor
        if (tensor, placement) not in self.local:
            self._make(tensor, placement)
        return self.local[tensor, placement]

    def _make(self, tensor: Tensor, placement: Placement) -> None:
        known = self.placements[tensor]
        if tensor in self.graph.inputs:
            shape = local_shape(tensor.shape, placement, self.nodes)
            new = self.builder.tensor(shape, tensor.dtype, "in")
            self.builder.graph.inputs.append(new)
            self.sources[new] = tensor, placement
            self.local[tensor, placement] = new
        elif isinstance(known, Partial) and placement == REPLICATED:
            source = self.local[tensor, known]
            result = self._new(tensor, REPLICATED)
            with self.builder.naming(self.producers[tensor].operators):
                self._sum((source,), (result,), known.instruction, self.grid)
        elif known == REPLICATED and isinstance(placement, Split):
            kernel = self.producers[tensor]
            operands = self._operands(kernel)
            with self.builder.naming(kernel.operators):
                self._emit(kernel, operands, self._dimension_of(operands, tensor, placement))
        else:
            raise PartitionError(f"{tensor} is divided, and needed otherwise")


def _over(value: Expr, dims: Sequence[int], rank: int) -> Expr:
    """Return an expression over a larger domain, of which its own dimensions are some."""

    def change(node: Expr) -> Expr | None:
        if node.kind is Kind.INDEX:
            return Expr.index(dims[node.attribute])
        if node.kind is Kind.LOAD:
            strides = dict(zip(dims, node.attribute.strides, strict=True))
            wider = tuple(strides.get(n, 0) for n in range(rank))
            return Expr.load(replace(node.attribute, strides=wider))
        return None

    return value.map(change)


def _back(value: Expr, dims: Sequence[int]) -> Expr:
    """Return an expression of `_over` over its own domain."""

    def change(node: Expr) -> Expr | None:
        if node.kind is Kind.INDEX:
            return Expr.index(dims.index(node.attribute))
        if node.kind is Kind.LOAD:
            own = tuple(node.attribute.strides[n] for n in dims)
            return Expr.load(replace(node.attribute, strides=own))
        return None

    return value.map(change)


def _reduced(instruction: str, of: _State | Partial, is_divided: bool) -> _State | Partial | None:
    """Return what nodes have of a reduction."""
    if isinstance(of, Partial):
        return of if of.instruction == instruction == _SUM and not is_divided else None
    return Partial(instruction) if is_divided else of


def _combined(node: Expr, of_args: Sequence[_State | Partial]) -> Partial | None:
    """Return what nodes have of an operation on parts of sums; None if it needs all parts."""
    if node.kind is not Kind.OPERATION:
        return None
    parts = [n for n, state in enumerate(of_args) if isinstance(state, Partial)]
    if any(of_args[n] != Partial(_SUM) for n in parts):
        return None
    others = [n for n in range(len(of_args)) if n not in parts]
    if any(of_args[n] is _State.OWN for n in others):
        return None
    match node.attribute:
        case "vfadd.f32" | "vfsub.f32":
            linear = not others
        case "vfmul.f32":
            linear = len(parts) == 1
        case "vsel":
            zero = Expr.word(0)
            linear = 2 in others and all(node.args[n] is zero for n in others if n != 2)
        case _:
            linear = False
    return Partial(_SUM) if linear else None
