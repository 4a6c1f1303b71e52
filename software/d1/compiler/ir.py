"""Graphs of kernels over named tensors: what the passes of the compiler work on.

A graph is a list of kernels in order. A kernel is a nest of loops, a matrix product, or the
arrangement of an operand in matrix tiles; its domain is the points that its expressions are
computed for. All can be printed.
"""

from __future__ import annotations

import enum
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from d1_golden.params import NodeParams
from numpy.typing import NDArray

from d1.compiler.expressions import Expr, Ref

__all__ = [
    "AllReduce",
    "Choice",
    "Computation",
    "DType",
    "Exchange",
    "Graph",
    "Kernel",
    "Loops",
    "Operator",
    "Pack",
    "Product",
    "Receive",
    "Repeat",
    "Send",
    "Stochastic",
    "Store",
    "Tensor",
    "TileLayout",
]


class DType(enum.Enum):
    """How the words of a tensor are read. All take 32 bits."""

    F32 = "f32"
    I32 = "i32"
    #: 0 and 1.
    BOOL = "bool"


@dataclass(frozen=True)
class Operator:
    """An operator of PyTorch that a kernel computes.

    Parameters
    ----------
    name
        Its name.
    source
        File and line of the model that it is from; nothing if that is not known.

    """

    name: str
    source: str = ""

    def __str__(self) -> str:
        return self.name


def named(operators: Iterable[Operator]) -> str:
    """Return operators, each once, with the lines that they are from."""
    return ", ".join(
        f"{operator} ({operator.source})" if operator.source else str(operator)
        for operator in dict.fromkeys(operators)
    )


@dataclass(frozen=True)
class TileLayout:
    """Arrangement of a batch of matrices in tiles of the matrix unit.

    `layout.pack_operand` has the order. What is a line and what is summed over says the product.

    Parameters
    ----------
    batch, lines, k
        Sizes.
    tiles
        Tiles along the lines; there may be more than lines need.
    group
        Tiles of a group.
    terms
        Terms of each line in a vector: 4 of BF16, 8 of CFP8.

    """

    batch: int
    lines: int
    k: int
    tiles: int
    group: int
    terms: int = 4

    @property
    def vectors(self) -> int:
        """Vectors of a tile along k."""
        return -(-self.k // self.terms)


@dataclass(frozen=True, eq=False)
class Tensor:
    """Words in SRAM under a name.

    Parameters
    ----------
    name
        Unique in its graph.
    shape
        Sizes; the last dimension is padded to whole vectors in memory.
    dtype
        What the words are.
    lanes
        Words of a vector.
    tiles
        Where it is an operand in tiles: how. Then `shape` is only for print.
    contents
        Words that are known when the graph is compiled.

    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    lanes: int
    tiles: TileLayout | None = None
    contents: NDArray[np.uint32] | None = field(default=None, repr=False)

    @property
    def pitch(self) -> int:
        """Words from one row to the next."""
        last = self.shape[-1] if self.shape else 1
        return -(-last // self.lanes) * self.lanes

    @property
    def rows(self) -> int:
        """Rows of the last dimension."""
        return math.prod(self.shape[:-1])

    @property
    def words(self) -> int:
        """Words that it takes."""
        if self.contents is not None:
            return self.contents.size
        if self.tiles is None:
            return self.rows * self.pitch
        # A tile fills a vector; loading ahead reads one group past the end.
        tiles = self.tiles.batch * self.tiles.tiles
        return self.lanes * (tiles * self.tiles.vectors + self.tiles.group)

    @property
    def bytes(self) -> int:
        """Bytes that it takes."""
        return 4 * self.words

    @property
    def strides(self) -> tuple[int, ...]:
        """Words from one element to the next along each dimension."""
        rows = [self.pitch * math.prod(self.shape[n + 1 : -1]) for n in range(len(self.shape) - 1)]
        return (*rows, 1) if self.shape else ()

    def ref(self) -> Ref:
        """Return all of its elements, for a domain of its shape."""
        return Ref(self, 0, self.strides)

    def __str__(self) -> str:
        tiles = f" in tiles by {self.tiles.group}" if self.tiles else ""
        return f"{self.name}: {self.dtype.value}[{', '.join(map(str, self.shape))}]{tiles}"


@dataclass(frozen=True)
class Store:
    """An element of a tensor for each point of a domain, and its value."""

    target: Ref
    value: Expr

    def __str__(self) -> str:
        return f"{self.target} = {self.value}"


class _Accesses:
    """What a kernel reads and writes, looked for once."""

    @cached_property
    def read(self) -> tuple[Tensor, ...]:
        """Tensors that it reads, each once."""
        assert isinstance(self, Kernel)
        return tuple(dict.fromkeys(_reads(self)))

    @cached_property
    def written(self) -> tuple[Tensor, ...]:
        """Tensors that it writes, each once."""
        assert isinstance(self, Kernel)
        return tuple(dict.fromkeys(_writes(self)))


@dataclass(frozen=True)
class Loops(_Accesses):
    """Expressions for each point of a domain.

    Parameters
    ----------
    domain
        Sizes: outer dimensions, `reduced` ones, the innermost.
    stores
        What is computed.
    reduced
        How many of the outer dimensions outer reductions are over.
    operators
        What it computes, as operators of PyTorch; for explanations and errors alone.

    """

    domain: tuple[int, ...]
    stores: tuple[Store, ...]
    reduced: int = 0
    operators: tuple[Operator, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        sizes = " x ".join(map(str, self.domain))
        over = f", {self.reduced} reduced" if self.reduced else ""
        return f"loops {sizes}{over}\n" + _lines(self.stores)


@dataclass(frozen=True)
class Product(_Accesses):
    """A batch of matrix products, and what becomes of each sum.

    Parameters
    ----------
    domain
        Batch dimensions, rows, columns.
    left, right
        Operands in tiles. The lines of the left one are rows, of the right one columns.
    k
        Terms of a sum.
    stores
        What is computed from a sum.
    operators
        What it computes, as operators of PyTorch; for explanations and errors alone.
    formats
        Of operands in CFP8, the words that say which: as `mcfp8a` and `mcfp8b` have it.

    """

    domain: tuple[int, ...]
    left: Tensor
    right: Tensor
    k: int
    stores: tuple[Store, ...]
    operators: tuple[Operator, ...] = field(default=(), compare=False)
    formats: tuple[Tensor, Tensor] | None = None

    def __str__(self) -> str:
        sizes = " x ".join(map(str, self.domain))
        factors = [self.left.name, self.right.name]
        if self.formats is not None:
            names = zip(factors, self.formats, strict=True)
            factors = [f"{factor} in cfp8 of {name.name}" for factor, name in names]
        return f"product {sizes} over {self.k}: {' '.join(factors)}\n{_lines(self.stores)}"


@dataclass(frozen=True)
class Stochastic:
    """What the random numbers of a stochastic rounding are made of.

    Parameters
    ----------
    seed
        Two words that the host draws for each run.
    stream
        A word that tells it from others, known when the graph is compiled.

    """

    seed: Tensor
    stream: Tensor


@dataclass(frozen=True)
class Pack(_Accesses):
    """An expression rounded to BF16 or CFP8 and arranged in tiles.

    Parameters
    ----------
    domain
        Batch dimensions, lines, k.
    target
        The tensor in tiles.
    value
        For each point.
    operators
        What it computes, as operators of PyTorch; for explanations and errors alone.
    format
        For CFP8, the word that says which, as `mcfp8c` has it.
    stochastic
        How it is rounded, if not to nearest even.

    """

    domain: tuple[int, ...]
    target: Tensor
    value: Expr
    operators: tuple[Operator, ...] = field(default=(), compare=False)
    format: Tensor | None = None
    stochastic: Stochastic | None = None

    @property
    def scalars(self) -> tuple[Tensor, ...]:
        """What it reads besides the value, word by word."""
        of_rounding = (self.stochastic.seed, self.stochastic.stream) if self.stochastic else ()
        return of_rounding if self.format is None else (self.format, *of_rounding)

    def __str__(self) -> str:
        sizes = " x ".join(map(str, self.domain))
        to = f" to cfp8 of {self.format.name}" if self.format else ""
        how = f", stochastic by {self.stochastic.seed.name}" if self.stochastic else ""
        return f"pack {sizes}{to}{how}\n    {self.target.name} = {self.value}"


@dataclass(frozen=True)
class AllReduce(_Accesses):
    """Tensors combined element by element with those of other nodes, node to node.

    Parameters
    ----------
    sources
        What each node has; whole rows are combined, with what is behind their ends.
    results
        What all of them get, as many of the same sizes.
    inbox
        Where what the others send comes in.
    instruction
        What combines.
    nodes
        Columns and rows of nodes.
    operators
        What it computes, as operators of PyTorch; for explanations and errors alone.

    """

    sources: tuple[Tensor, ...]
    results: tuple[Tensor, ...]
    inbox: Tensor
    instruction: str
    nodes: tuple[int, int]
    operators: tuple[Operator, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        columns, rows = self.nodes
        lines = [
            f"    {result.name} = {source.name}"
            for source, result in zip(self.sources, self.results, strict=True)
        ]
        return f"all {self.instruction} over {columns} x {rows} nodes\n" + "\n".join(lines)


@dataclass(frozen=True)
class Send(_Accesses):
    """Tensors pushed to other nodes; done when they are there.

    Parameters
    ----------
    parcels
        Each: a tensor, which has a place in both nodes; the number of the other node; the semaphore
        that is posted there behind it.
    operators
        What it computes, as operators of PyTorch; for explanations and errors alone.

    """

    parcels: tuple[tuple[Tensor, int, int], ...]
    operators: tuple[Operator, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        lines = [
            f"    {tensor.name} to node {node}, semaphore {semaphore}"
            for tensor, node, semaphore in self.parcels
        ]
        return "send\n" + "\n".join(lines)


@dataclass(frozen=True)
class Receive(_Accesses):
    """A wait for tensors that other nodes push.

    Parameters
    ----------
    tensors
        They are inputs of the graph: they may come at any time.
    posts
        Semaphores, and how often each is posted for them.
    operators
        What it computes, as operators of PyTorch; for explanations and errors alone.

    """

    tensors: tuple[Tensor, ...]
    posts: tuple[tuple[int, int], ...]
    operators: tuple[Operator, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        names = ", ".join(tensor.name for tensor in self.tensors)
        posts = ", ".join(f"{count} of semaphore {semaphore}" for semaphore, count in self.posts)
        return f"receive {names}: {posts}"


@dataclass(frozen=True)
class Choice(_Accesses):
    """Kernels of which a word in SRAM decides whether they run, or others instead.

    Parameters
    ----------
    predicate
        The word: not 0 for the first.
    results
        What both write.
    then, otherwise
        The kernels.
    operators
        What it computes, as operators of PyTorch; for explanations and errors alone.

    """

    predicate: Tensor
    results: tuple[Tensor, ...]
    then: tuple[Kernel, ...]
    otherwise: tuple[Kernel, ...]
    operators: tuple[Operator, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        then, otherwise = (_nested(kernels) for kernels in (self.then, self.otherwise))
        return f"if {self.predicate.name}\n{then}\nelse\n{otherwise}"


@dataclass(frozen=True)
class Repeat(_Accesses):
    """Kernels that run again and again, as long as a word in SRAM is not 0.

    Parameters
    ----------
    condition
        The kernels that compute the word, each time.
    predicate
        The word.
    results
        What is the same tensors before, in and behind the loop.
    body
        What is done if it is not 0.
    moves
        Then, the writing of `results`.
    operators
        What it computes, as operators of PyTorch; for explanations and errors alone.

    """

    condition: tuple[Kernel, ...]
    predicate: Tensor
    results: tuple[Tensor, ...]
    body: tuple[Kernel, ...]
    moves: tuple[Loops, ...]
    operators: tuple[Operator, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        condition, body = (_nested(k) for k in (self.condition, (*self.body, *self.moves)))
        return f"while {self.predicate.name}\n{condition}\ndo\n{body}"


#: A kernel of one node.
Computation = Loops | Product | Pack
#: What a node does with others.
Exchange = AllReduce | Send | Receive
Kernel = Computation | Exchange | Choice | Repeat


def _nested(kernels: Sequence[Kernel]) -> str:
    return textwrap.indent("\n".join(map(str, kernels)), "    ")


def _lines(stores: tuple[Store, ...]) -> str:
    return "\n".join(f"    {store}" for store in stores)


@dataclass
class Graph:
    """Kernels in order, and the tensors that come in and go out.

    Parameters
    ----------
    params
        The node.
    inputs
        What the host writes.
    outputs
        What it reads.
    kernels
        In order.
    gradients
        The inputs that are gradients.
    seed
        The input of two words that the host draws for each run, if random numbers are made of them.

    """

    params: NodeParams
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    seed: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Return all tensors, in the order in which they come up."""
        found = dict.fromkeys(self.inputs)
        for kernel in self.kernels:
            found |= dict.fromkeys((*reads(kernel), *writes(kernel)))
        return list(found)

    def __str__(self) -> str:
        lines = [f"input {tensor}" for tensor in self.inputs]
        lines += [str(kernel) for kernel in self.kernels]
        return "\n".join(lines + [f"output {tensor}" for tensor in self.outputs])


def reads(kernel: Kernel) -> tuple[Tensor, ...]:
    """Return the tensors that a kernel reads, of several also those that they write."""
    return kernel.read


def writes(kernel: Kernel) -> tuple[Tensor, ...]:
    """Return the tensors that a kernel writes."""
    return kernel.written


def _reads(kernel: Kernel) -> Iterator[Tensor]:
    if isinstance(kernel, Pack):
        yield from kernel.value.tensors()
        yield from kernel.scalars
        return
    if isinstance(kernel, AllReduce):
        yield from kernel.sources
        return
    if isinstance(kernel, Send):
        yield from (tensor for tensor, _, _ in kernel.parcels)
        return
    if isinstance(kernel, Receive):
        yield from kernel.tensors
        return
    if isinstance(kernel, (Choice, Repeat)):
        yield kernel.predicate
        yield from kernel.results
        for inner in parts(kernel):
            yield from reads(inner)
        return
    if isinstance(kernel, Product):
        yield kernel.left
        yield kernel.right
        yield from kernel.formats or ()
    for store in kernel.stores:
        yield from store.value.tensors()


def _writes(kernel: Kernel) -> Iterator[Tensor]:
    if isinstance(kernel, Pack):
        yield kernel.target
        return
    if isinstance(kernel, AllReduce):
        yield from kernel.results
        yield kernel.inbox
        return
    if isinstance(kernel, (Send, Receive)):
        return
    if isinstance(kernel, (Choice, Repeat)):
        for inner in parts(kernel):
            yield from writes(inner)
        return
    for store in kernel.stores:
        yield store.target.tensor


def parts(kernel: Choice | Repeat) -> tuple[Kernel, ...]:
    """Return the kernels of one that is made of several."""
    if isinstance(kernel, Choice):
        return (*kernel.then, *kernel.otherwise)
    return (*kernel.condition, *kernel.body, *kernel.moves)


def flat(kernels: Iterable[Kernel]) -> Iterator[Computation | Exchange]:
    """Yield kernels with the parts of those that are made of several in their place."""
    for kernel in kernels:
        if isinstance(kernel, (Choice, Repeat)):
            yield from flat(parts(kernel))
        else:
            yield kernel
