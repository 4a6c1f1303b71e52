"""How many cycles a kernel will take: its code walked through without running it.

Each thread's loops are followed with the numbers that their bounds follow from. Of a loop whose
turns are alike two are walked through and the rest is multiplied. A vector instruction starts a
cycle after the one before it in its thread, or when its operands are there; that gives the cycles
of a thread alone. Together they are bound by what they share:

    cycles = call + (longest^4 + (busy + waiting)^4)^(1/4)
    longest: the cycles of the longest thread
    busy   = max(slot 0, slot 1, half of all, passes through the lanes)
    waiting: `choice.waiting`, for the slot that is busy and the other one

The fourth power makes a soft maximum: where both are equal, it is a fifth more than one of them.
Constants are fitted to kernels of a perceptron and of the GPT in the examples on the RTL.

Memory banks, the result ports of a thread and the fetching of code are left out; so what is said is
less than what the RTL takes where these count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from d1_golden.isa import INSTRUCTION_BY_NAME, Unit
from d1_golden.numerics.elementary import EXP2, RECIPROCAL, RECIPROCAL_SQRT
from d1_golden.params import NodeParams

from d1.compiler.choice import waiting
from d1.compiler.executable import LoweredKernel
from d1.compiler.tile_code import Block, If, Loop, Mask, Scalar, Vector, VectorOp, is_copy

__all__ = ["Cost", "kernel_cost"]

#: Cycles of a call: the table's walk, the kernel's begin and end, the barrier.
_CALL = 60
#: Cycles of a scalar operation, of a turn of a loop, and of a condition.
_SCALAR, _TURN, _CONDITION = 0.3, 4.0, 3.0
#: Cycles until a result can be used; the lanes' is for each pass.
_LOAD_LATENCY, _MOVE_LATENCY, _LANES_LATENCY = 1, 3, 4
_SLOT_0 = (Unit.VECTOR_CONVERT, Unit.VECTOR_SIMD, Unit.VECTOR_MOVE, Unit.MATRIX_READ)
_MATRIX = (Unit.MATRIX, Unit.MATRIX_MEMORY)
_INDEXED = (Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER)
_STEPS = {
    "vfrcp.f32": len(RECIPROCAL.steps),
    "vfrsqrt.f32": len(RECIPROCAL_SQRT.steps),
    "vfexp2.f32": len(EXP2.steps),
}
#: Where the table of a product is, as the walk sees it: no other address is as large.
_TABLE = 1 << 40
_WRITTEN = ("vd", "md", "acc_d")


@dataclass
class Cost:
    """What a kernel needs.

    Parameters
    ----------
    slot_0, slot_1, either
        Vector instructions that only one of the slots takes, and those that go into any.
    passes
        Passes through the lanes.
    threads
        Cycles of each thread as if it was alone.

    """

    slot_0: float = 0
    slot_1: float = 0
    either: float = 0
    passes: float = 0
    threads: list[float] = field(default_factory=list)

    @property
    def cycles(self) -> float:
        """Cycles that the kernel will take."""
        total = self.slot_0 + self.slot_1 + self.either
        busy = max(self.slot_0, self.slot_1, total / 2, self.passes)
        active = sum(1 for cycles in self.threads if cycles >= max(self.threads) / 2)
        idle = waiting(busy, total - busy if total > busy else 0, active) if busy else 0
        longest = max(self.threads, default=0)
        return _CALL + (longest**4 + (busy + idle) ** 4) ** 0.25

    def add(self, other: Cost, times: float) -> None:
        """Add what another one's shared parts are, so many times."""
        self.slot_0 += times * other.slot_0
        self.slot_1 += times * other.slot_1
        self.either += times * other.either
        self.passes += times * other.passes


def kernel_cost(kernel: LoweredKernel, params: NodeParams) -> Cost:
    """Return what a kernel needs.

    Parameters
    ----------
    kernel
        With its code.
    params
        The node.

    """
    cost = Cost()
    for thread in range(params.threads):
        walk = _Walk(kernel, params, thread)
        walk.block(kernel.code.body)
        cost.add(walk.cost, 1)
        cost.threads.append(walk.time)
    return cost


class _Walk:
    """The way of one thread through the code of a kernel.

    Members
    -------
    time
        The cycle.
    cost
        What has been needed of what threads share.

    """

    def __init__(self, kernel: LoweredKernel, params: NodeParams, thread: int) -> None:
        self.table = [] if kernel.table is None else kernel.table.tolist()
        self.table_argument = len(kernel.tensors) + 1
        self.lanes = params.fp32_lanes
        self.values: dict[Scalar, int | None] = {kernel.code.thread: thread}
        self.ready: dict[object, float] = {}
        self.time = 0.0
        self.cost = Cost()

    def block(self, block: Block) -> None:
        for item in block.items:
            match item:
                case VectorOp():
                    if not is_copy(item):
                        self._vector(item)
                case Scalar():
                    self.values[item] = self._scalar(item)
                    self.time += _SCALAR
                case Loop():
                    self._loop(item)
                case If():
                    self.time += _CONDITION
                    if self._value(item.condition) != 0:  # or not known: then it is done
                        self.block(item.body)
                case Block():
                    self.block(item)

    def _vector(self, op: VectorOp) -> None:
        unit = INSTRUCTION_BY_NAME[op.name].unit
        passes = self._passes(op.name) if unit is Unit.VECTOR_SIMD else 0
        start = self.time + 1
        for name, register in _registers(op):
            if name not in _WRITTEN or _accumulates(op.name):
                start = max(start, self.ready.get(register, 0))
        if unit in _SLOT_0:
            latency = 1 + _LANES_LATENCY * passes if passes else _MOVE_LATENCY
            self.cost.slot_0 += 1
        elif unit in _MATRIX:
            latency = _MOVE_LATENCY
            self.cost.slot_1 += 1
        elif unit in _INDEXED:
            latency = self.lanes  # about as many lines
            start += latency
            self.cost.slot_1 += latency
        else:
            latency = _LOAD_LATENCY
            self.cost.either += 1
        self.cost.passes += passes
        for name, register in _registers(op):
            if name in _WRITTEN:
                self.ready[register] = start + latency
        self.time = start

    def _passes(self, name: str) -> int:
        if name.startswith(("vfred", "vred")):
            return (self.lanes - 1).bit_length()
        return _STEPS.get(name, 1)

    def _loop(self, loop: Loop) -> None:
        bounds = self._values(loop.start, loop.stop, loop.step)
        start, stop, step = bounds or (0, 1, 1)  # not known: one turn
        turns = max(0, -(-(stop - start) // step))
        if not turns:
            self.time += _CONDITION
            return
        if _tells_apart(loop):
            for n in range(turns):
                self._turn(loop, start + n * step if bounds else None)
            return
        self._turn(loop, start if bounds else None)
        if turns == 1:
            return
        first, cost_before = self.time, self.cost
        self.cost = Cost()
        self._turn(loop, start if bounds else None)
        more = (turns - 2) * (self.time - first)
        cost_before.add(self.cost, turns - 1)
        self.cost = cost_before
        self.time += more
        self.ready = {register: at + more for register, at in self.ready.items()}

    def _turn(self, loop: Loop, value: int | None) -> None:
        self.values[loop.variable] = value
        self.time += _TURN
        self.block(loop.body)

    def _value(self, value: Scalar | int) -> int | None:
        return value if isinstance(value, int) else self.values.get(value)

    def _values(self, *values: Scalar | int) -> list[int] | None:
        """Return the values of some scalars; None if one follows from data."""
        known = [self._value(value) for value in values]
        return None if None in known else [value for value in known if value is not None]

    def _scalar(self, scalar: Scalar) -> int | None:
        """Return the value of a scalar; None if it follows from data."""
        args = self._values(*scalar.args)
        if args is None:
            return None
        if scalar.op == "argument":
            return _TABLE if args[0] == self.table_argument else 0
        if scalar.op.startswith("load"):
            word = (args[0] - _TABLE) // 4
            return self.table[word] if 0 <= word < len(self.table) else None
        return _OPERATIONS[scalar.op](*args) if scalar.op in _OPERATIONS else None


_OPERATIONS: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "udiv": lambda a, b: a // b,
    "urem": lambda a, b: a % b,
    "minimum": min,
    "eq": lambda a, b: int(a == b),
    "ult": lambda a, b: int(a < b),
}


def _accumulates(name: str) -> bool:
    """Return whether an instruction reads what it writes."""
    return name.startswith(("mmac", "vfmadd", "vfmsub", "vfnm"))


def _registers(op: VectorOp) -> list[tuple[str, object]]:
    """Return the registers of an instruction with the names of their fields."""
    found: list[tuple[str, object]] = []
    for name, value in op.operands.items():
        if isinstance(value, (Vector, Mask)):
            found.append((name, value))
        elif name.startswith("acc"):
            found.append((name, ("acc", value)))
    return found


def _tells_apart(loop: Loop) -> bool:
    """Return whether bounds or conditions inside a loop follow from its variable."""
    known: dict[int, bool] = {id(loop.variable): True}

    def follows(value: Scalar | int) -> bool:
        return isinstance(value, Scalar) and known.get(id(value), False)

    def inside(block: Block) -> bool:
        for item in block.items:
            match item:
                case Scalar():
                    known[id(item)] = any(follows(arg) for arg in item.args)
                case Loop():
                    if any(map(follows, (item.start, item.stop, item.step))) or inside(item.body):
                        return True
                case If():
                    if follows(item.condition) or inside(item.body):
                        return True
                case Block():
                    if inside(item):
                        return True
        return False

    return inside(loop.body)
