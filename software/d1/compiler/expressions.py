"""What a kernel computes for one element: expressions over tensors, constants and indices.

An operation is an instruction of the node's vector lanes, by its name in the instruction table, so
an expression says to the bit what is computed. Equal expressions are one object.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from d1.compiler.ir import Tensor

__all__ = ["Expr", "Kind", "Ref", "ordered"]


class Kind(enum.Enum):
    """What an expression is at its top."""

    LOAD = "load"
    CONSTANT = "constant"
    #: The index along a dimension of the domain, an integer.
    INDEX = "index"
    OPERATION = "operation"
    #: All of the innermost dimension combined.
    ROW_REDUCE = "row_reduce"
    #: All of the reduced outer dimensions combined, element by element of the innermost one.
    OUTER_REDUCE = "outer_reduce"
    #: The element of a tensor whose place, in words, is another expression.
    GATHER = "gather"
    #: The sum of a product.
    ACCUMULATOR = "accumulator"


@dataclass(frozen=True)
class Ref:
    """Elements of a tensor, one for each point of a kernel's domain.

    Parameters
    ----------
    tensor
        Whose.
    offset
        Words to the first.
    strides
        Words from one to the next along each dimension of the domain; 0: the same.

    """

    tensor: Tensor
    offset: int
    strides: tuple[int, ...]

    def __str__(self) -> str:
        place = f"+{self.offset}" if self.offset else ""
        return f"{self.tensor.name}{place}[{', '.join(map(str, self.strides))}]"


_interned: WeakValueDictionary[tuple[Any, ...], Expr] = WeakValueDictionary()


class Expr:
    """A node of an expression; made by the class methods, never changed.

    Members
    -------
    kind, args
        What it is, and of what.
    attribute
        By kind: the `Ref` loaded, the 32 bits of a constant, the dimension of an index, the name
        of an instruction, the name of the instruction that combines, the tensor gathered from.
    is_mask
        Whether its values are true and false instead of words of 32 bits.

    """

    __slots__ = ("__weakref__", "args", "attribute", "is_mask", "kind")

    def __init__(self, kind: Kind, args: tuple[Expr, ...], attribute: Any) -> None:
        self.kind, self.args, self.attribute = kind, args, attribute
        self.is_mask = kind is Kind.OPERATION and attribute in _MASK_RESULTS

    @classmethod
    def _make(cls, kind: Kind, args: tuple[Expr, ...], attribute: Any) -> Expr:
        key = (kind, tuple(map(id, args)), attribute)
        found = _interned.get(key)
        if found is None:
            found = _interned[key] = cls(kind, args, attribute)
        return found

    @classmethod
    def load(cls, ref: Ref) -> Expr:
        """Return the word at a place that depends on the indices alone."""
        return cls._make(Kind.LOAD, (), ref)

    @classmethod
    def number(cls, value: float) -> Expr:
        """Return an FP32 constant."""
        try:
            bits = struct.unpack("<I", struct.pack("<f", value))[0]
        except OverflowError:
            bits = 0x7F800000 if value > 0 else 0xFF800000
        return cls.word(bits)

    @classmethod
    def word(cls, bits: int) -> Expr:
        """Return a constant of 32 bits."""
        return cls._make(Kind.CONSTANT, (), bits & 0xFFFFFFFF)

    @classmethod
    def index(cls, dimension: int) -> Expr:
        """Return the index along a dimension of the domain."""
        return cls._make(Kind.INDEX, (), dimension)

    @classmethod
    def op(cls, instruction: str, *args: Expr) -> Expr:
        """Return what an instruction of the lanes makes of its operands."""
        return cls._make(Kind.OPERATION, args, instruction)

    @classmethod
    def row_reduce(cls, instruction: str, arg: Expr) -> Expr:
        """Return what an instruction makes of all elements of the innermost dimension."""
        return cls._make(Kind.ROW_REDUCE, (arg,), instruction)

    @classmethod
    def outer_reduce(cls, instruction: str, arg: Expr) -> Expr:
        """Return what an instruction makes of all elements of the reduced outer dimensions."""
        return cls._make(Kind.OUTER_REDUCE, (arg,), instruction)

    @classmethod
    def gather(cls, tensor: Tensor, place: Expr) -> Expr:
        """Return the word of a tensor at a place counted in words from its start."""
        return cls._make(Kind.GATHER, (place,), tensor)

    @classmethod
    def accumulator(cls) -> Expr:
        """Return the sum of the product whose epilogue this is in."""
        return cls._make(Kind.ACCUMULATOR, (), None)

    def __str__(self) -> str:
        arguments = ", ".join(map(str, self.args))
        match self.kind:
            case Kind.LOAD:
                return str(self.attribute)
            case Kind.CONSTANT:
                value = struct.unpack("<f", struct.pack("<I", self.attribute))[0]
                plain = self.attribute == 0 or 1e-6 < abs(value) < 1e9
                return f"{value:g}" if plain else f"{self.attribute:#x}"
            case Kind.INDEX:
                return f"i{self.attribute}"
            case Kind.ACCUMULATOR:
                return "sum"
            case Kind.GATHER:
                return f"{self.attribute.name}[{arguments}]"
            case Kind.ROW_REDUCE:
                return f"row {self.attribute}({arguments})"
            case Kind.OUTER_REDUCE:
                return f"all {self.attribute}({arguments})"
            case _:
                return f"{self.attribute}({arguments})"

    def map(self, change: Callable[[Expr], Expr | None]) -> Expr:
        """Return the expression with the parts replaced for which `change` returns others."""
        results: dict[Expr, Expr] = {}
        for node in ordered([self]):
            new = change(node)
            if new is None:
                args = tuple(results[arg] for arg in node.args)
                new = node if args == node.args else Expr._make(node.kind, args, node.attribute)
            results[node] = new
        return results[self]

    def map_down(self, change: Callable[[Expr], Expr | None]) -> Expr:
        """Return the same as `map`, but leave alone what is below a part that is replaced."""
        results: dict[Expr, Expr] = {}

        def changed(node: Expr) -> Expr:
            if node not in results:
                new = change(node)
                if new is None:
                    args = tuple(changed(arg) for arg in node.args)
                    new = node if args == node.args else Expr._make(node.kind, args, node.attribute)
                results[node] = new
            return results[node]

        return changed(self)

    def map_refs(self, change: Callable[[Ref], Ref]) -> Expr:
        """Return the expression with other places loaded from."""
        return self.map(lambda e: Expr.load(change(e.attribute)) if e.kind is Kind.LOAD else None)

    def refs(self) -> Iterator[Ref]:
        """Yield what is loaded."""
        for node in ordered([self]):
            if node.kind is Kind.LOAD:
                yield node.attribute

    def tensors(self) -> Iterator[Tensor]:
        """Yield the tensors that are read."""
        for node in ordered([self]):
            if node.kind is Kind.LOAD:
                yield node.attribute.tensor
            elif node.kind is Kind.GATHER:
                yield node.attribute

    def has(self, *kinds: Kind) -> bool:
        """Return whether something of these kinds is in it."""
        return any(node.kind in kinds for node in ordered([self]))


#: Instructions whose result is a mask.
_MASK_RESULTS = frozenset(
    "vfeq.f32 vflt.f32 vfle.f32 vseq.i32 vslt.i32 vsltu.i32 mand mor mxor mandn".split()
)


def ordered(roots: Iterable[Expr]) -> list[Expr]:
    """Return all nodes of expressions, operands before what uses them, each once."""
    done: dict[Expr, None] = {}
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done[node] = None
        else:
            stack.append((node, True))
            stack += [(arg, False) for arg in reversed(node.args)]
    return list(done)
