"""Code of one kernel: scalar addresses and loops around instructions on tiles and vectors.

This is the level below kernels and above LLVM IR. Scalars are values computed once; loops and
conditions are blocks inside blocks; instructions of Xd1 are in order, by their names in the
instruction table. Their vector and mask registers are virtual, as many as wanted, and may be
written more than once; `allocate` gives them those of the node. Accumulators are numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = [
    "Allocation",
    "Block",
    "Code",
    "If",
    "Loop",
    "Mask",
    "RegisterPressureError",
    "Scalar",
    "Vector",
    "VectorOp",
    "allocate",
]

_VECTOR_REGISTERS, _MASK_REGISTERS = 32, 8


class RegisterPressureError(Exception):
    """A kernel needs more registers at once than there are."""


@dataclass(eq=False)
class Scalar:
    """A 64-bit integer: `op` of `args`, which are scalars or numbers."""

    op: str
    args: tuple[Scalar | int, ...] = ()
    name: str = ""


@dataclass(eq=False)
class Vector:
    """A virtual vector register."""

    number: int


@dataclass(eq=False)
class Mask:
    """A virtual mask register."""

    number: int


Operand = Scalar | Vector | Mask | int


@dataclass(eq=False)
class VectorOp:
    """An instruction of Xd1; operands by the names of the instruction table."""

    name: str
    operands: dict[str, Operand]


@dataclass(eq=False)
class Block:
    """What is done in order."""

    items: list[Scalar | VectorOp | Loop | If | Block] = field(default_factory=list)


@dataclass(eq=False)
class Loop:
    """A block for each value of a scalar from `start`, by `step`, below `stop`."""

    variable: Scalar
    start: Scalar | int
    stop: Scalar | int
    step: Scalar | int
    body: Block


@dataclass(eq=False)
class If:
    """A block for the case that a condition is not 0."""

    condition: Scalar
    body: Block


class Code:
    """Code of one kernel, in the making.

    Members
    -------
    body : Block
        All of it.
    entry : Block
        What is done first, once: constants.
    arguments : int
        How many arguments there are.

    """

    def __init__(self) -> None:
        self.entry = Block()
        self.body = Block([self.entry])
        self.arguments = 0
        self._block = self.body
        self._names = 0
        self.thread = Scalar("thread", name="%thread")

    def scalar(self, op: str, *args: Scalar | int) -> Scalar:
        """Append the computation of a scalar: an LLVM operation, or `load32`, `load64` of SRAM.

        `store64` of an address and a value has none.
        """
        value = Scalar(op, args, self._name())
        self._block.items.append(value)
        return value

    def add(self, a: Scalar | int, b: Scalar | int) -> Scalar | int:
        """Return a sum."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if b == 0:
            return a
        if a == 0:
            return b
        return self.scalar("add", a, b)

    def multiply(self, a: Scalar | int, b: int) -> Scalar | int:
        """Return a multiple."""
        if isinstance(a, int):
            return a * b
        return 0 if b == 0 else a if b == 1 else self.scalar("mul", a, b)

    def argument(self, number: int) -> Scalar:
        """Return an argument: a 64-bit word of the kernel's call."""
        self.arguments = max(self.arguments, number + 1)
        return self.scalar("argument", number)

    def vector(self) -> Vector:
        """Return a new vector register."""
        self._names += 1
        return Vector(self._names)

    def mask(self) -> Mask:
        """Return a new mask register."""
        self._names += 1
        return Mask(self._names)

    def emit(self, name: str, **operands: Operand) -> None:
        """Append an instruction of Xd1."""
        self._block.items.append(VectorOp(name, operands))

    @contextmanager
    def loop(
        self, start: Scalar | int, stop: Scalar | int, step: Scalar | int = 1
    ) -> Iterator[Scalar | int]:
        """Repeat what is emitted inside; gives the loop's variable."""
        if all(isinstance(x, int) for x in (start, stop, step)):
            assert isinstance(start, int) and isinstance(stop, int) and isinstance(step, int)
            if start < stop <= start + step:
                yield start
                return
        variable = Scalar("variable", name=self._name())
        outer, body = self._block, Block()
        outer.items.append(Loop(variable, start, stop, step, body))
        self._block = body
        yield variable
        self._block = outer

    @contextmanager
    def at_entry(self) -> Iterator[None]:
        """Do what is emitted inside first, once."""
        outer, self._block = self._block, self.entry
        yield
        self._block = outer

    @contextmanager
    def when(self, condition: Scalar) -> Iterator[None]:
        """Do what is emitted inside if a condition is not 0."""
        outer, body = self._block, Block()
        outer.items.append(If(condition, body))
        self._block = body
        yield
        self._block = outer

    def _name(self) -> str:
        self._names += 1
        return f"%s{self._names}"

    def __str__(self) -> str:
        return "\n".join(_print(self.body, 0))


def _print(block: Block, depth: int) -> Iterator[str]:
    pad = "    " * depth
    for item in block.items:
        match item:
            case Scalar():
                yield f"{pad}{item.name} = {item.op} {', '.join(map(_text, item.args))}"
            case VectorOp():
                operands = ", ".join(f"{k}={_text(v)}" for k, v in item.operands.items())
                yield f"{pad}{item.name} {operands}"
            case Loop():
                values = (_text(x) for x in (item.start, item.stop, item.step))
                yield f"{pad}for {item.variable.name} in {' to '.join(values)}:"
                yield from _print(item.body, depth + 1)
            case If():
                yield f"{pad}if {_text(item.condition)}:"
                yield from _print(item.body, depth + 1)
            case Block():
                yield from _print(item, depth)


def _text(value: Operand) -> str:
    match value:
        case Scalar():
            return value.name
        case Vector():
            return f"v'{value.number}"
        case Mask():
            return f"m'{value.number}"
        case _:
            return str(value)


@dataclass(frozen=True)
class Allocation:
    """The registers of the node that virtual ones have, and copies that are none."""

    registers: dict[Vector | Mask, int]
    needless: frozenset[VectorOp]


def is_copy(op: VectorOp) -> bool:
    """Return whether an instruction only copies a register."""
    operands = op.operands
    return op.name == "vor.i32" and operands["vs1"] is operands["vs2"]


@dataclass
class _Interval:
    start: int
    end: int


def allocate(code: Code) -> Allocation:
    """Give every virtual register one of the node's, from the first instruction on it to the last.

    A register that is used in a loop and was used before it is kept through all of the loop.

    Raises
    ------
    RegisterPressureError
        There are not enough.

    """
    intervals: dict[Vector | Mask, _Interval] = {}
    operations: list[VectorOp] = []
    _find_intervals(code.body, intervals, operations)
    registers: dict[Vector | Mask, int] = {}
    needless = set()
    # The register that was free for longest is taken, so that nothing waits for its last reader.
    free: dict[type, deque[int]] = {
        Vector: deque(range(_VECTOR_REGISTERS)),
        Mask: deque(range(_MASK_REGISTERS)),
    }
    for time, op in enumerate(operations):
        used = [r for r in op.operands.values() if isinstance(r, (Vector, Mask))]
        ending = [r for r in dict.fromkeys(used) if intervals[r].end == time]
        starting = [r for r in dict.fromkeys(used) if r not in registers]
        if is_copy(op) and starting and ending and ending != starting:
            registers[starting[0]] = registers[ending[0]]
            needless.add(op)
            continue
        for register in ending:
            if register in registers:
                free[type(register)].append(registers[register])
        for register in starting:
            kind = free[type(register)]
            if not kind:
                raise RegisterPressureError(f"no register is left for {op.name}")
            registers[register] = kind.popleft()
            if intervals[register].end == time:
                kind.append(registers[register])
    return Allocation(registers, frozenset(needless))


def _find_intervals(
    block: Block, intervals: dict[Vector | Mask, _Interval], operations: list[VectorOp]
) -> None:
    for item in block.items:
        if isinstance(item, VectorOp):
            time = len(operations)
            operations.append(item)
            for register in item.operands.values():
                if isinstance(register, (Vector, Mask)):
                    intervals.setdefault(register, _Interval(time, time)).end = time
        elif isinstance(item, Block):
            _find_intervals(item, intervals, operations)
        elif isinstance(item, If):
            _find_intervals(item.body, intervals, operations)
        elif isinstance(item, Loop):
            first = len(operations)
            _find_intervals(item.body, intervals, operations)
            for interval in intervals.values():
                if interval.start < first <= interval.end:
                    interval.end = len(operations) - 1
