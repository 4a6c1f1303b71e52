"""Kernels as LLVM IR: scalar code as such, instructions of Xd1 as `.insn` in inline assembly.

The assembly is volatile and touches memory, so LLVM keeps it in order and around it computes
addresses, turns loops and allocates scalar registers. Vector registers are numbers in the text, of
which LLVM knows nothing.
"""

from __future__ import annotations

from d1_golden.isa import INSTRUCTION_BY_NAME, OperandKind, encode

from d1.compiler.tile_code import (
    Allocation,
    Block,
    Code,
    If,
    Loop,
    Mask,
    Scalar,
    Vector,
    VectorOp,
    allocate,
)

__all__ = ["function", "module"]

_TRIPLE = "riscv64-unknown-unknown-unknown"
#: A table of jumps would be a constant, to be linked.
_ATTRIBUTES = '"no-jump-tables"="true"'
#: Scalars of one statement of assembly; each takes a register.
_MOST_OPERANDS = 10
#: Fields of RISC-V's R format that can be scalar registers: lowest bit of each.
_REGISTER_FIELDS = {"rd": 7, "rs1": 15, "rs2": 20}
_COMPARISONS = {"ult": "icmp ult", "eq": "icmp eq"}


def module(functions: dict[str, str]) -> str:
    """Return a module of functions, given by name."""
    return "\n".join([f'target triple = "{_TRIPLE}"', "", *functions.values()])


def function(name: str, code: Code) -> str:
    """Return a kernel as a function of the address of its arguments and the thread's number.

    Raises
    ------
    RegisterPressureError
        There are not enough vector or mask registers.

    """
    writer = _Writer(allocate(code))
    writer.block(code.body)
    body = "\n".join(writer.lines)
    head = f"define void @{name}(i64 %arguments, i64 %thread) {_ATTRIBUTES}"
    return f"{head} {{\nentry:\n{body}\n  ret void\n}}\n"


def instruction(op: VectorOp, allocation: Allocation, scalars: list[Scalar]) -> str:
    """Return an instruction as assembly, which refers to scalars by their places in a list."""
    row = INSTRUCTION_BY_NAME[op.name]
    values: dict[str, int] = {}
    places: dict[str, str] = {}
    for name, value in op.operands.items():
        if isinstance(value, Scalar):
            values[name] = 0
            if value not in scalars:
                scalars.append(value)
            places[name] = f"${scalars.index(value)}"
        else:
            values[name] = (
                allocation.registers[value] if isinstance(value, (Vector, Mask)) else value
            )
    word = encode(op.name, **values)
    registers = []
    for name, lsb in _REGISTER_FIELDS.items():
        scalar = name in places and any(
            o.name == name and o.kind is OperandKind.SCALAR for o in row.operands
        )
        registers.append(places[name] if scalar else f"x{word >> lsb & 31}")
    fields = ", ".join(registers)
    return f".insn r {word & 0x7F:#04x}, {word >> 12 & 7}, {word >> 25:#04x}, {fields}"


class _Writer:
    """Writes the basic blocks of a function."""

    def __init__(self, allocation: Allocation) -> None:
        self.allocation = allocation
        self.lines: list[str] = []
        self.label = "%entry"
        self._labels = 0
        self._assembly: list[str] = []
        self._scalars: list[Scalar] = []

    def block(self, block: Block) -> None:
        for item in block.items:
            match item:
                case VectorOp():
                    self._vector(item)
                case Scalar():
                    self._scalar(item)
                case Loop():
                    self._flush()
                    self._loop(item)
                case If():
                    self._flush()
                    self._if(item)
                case Block():
                    self.block(item)
        self._flush()

    def _vector(self, op: VectorOp) -> None:
        if op in self.allocation.needless:
            return
        if len(self._scalars) >= _MOST_OPERANDS:
            self._flush()
        self._assembly.append(instruction(op, self.allocation, self._scalars))

    def _flush(self) -> None:
        """Write the instructions that have been collected as one statement."""
        if not self._assembly:
            return
        text = "\\0A".join(self._assembly)
        constraints = ",".join(["r"] * len(self._scalars) + ["~{memory}"])
        operands = ", ".join(f"i64 {scalar.name}" for scalar in self._scalars)
        self.lines.append(f'  call void asm sideeffect "{text}", "{constraints}"({operands})')
        self._assembly, self._scalars = [], []

    def _scalar(self, value: Scalar) -> None:
        """Write a scalar; instructions that do not use it may come behind, those before do not."""
        args = [_value(arg) for arg in value.args]
        name, lines = value.name, self.lines
        match value.op:
            case "argument":
                lines.append(f"  {name}.a = add i64 %arguments, {8 * int(args[0])}")
                lines.append(f"  {name}.p = inttoptr i64 {name}.a to ptr")
                lines.append(f"  {name} = load i64, ptr {name}.p, align 8")
            case "load32" | "load64":
                self._flush()
                bits = int(value.op[4:])
                lines.append(f"  {name}.p = inttoptr i64 {args[0]} to ptr")
                loaded = name if bits == 64 else f"{name}.w"
                lines.append(f"  {loaded} = load i{bits}, ptr {name}.p, align {bits // 8}")
                if bits == 32:
                    lines.append(f"  {name} = zext i32 {loaded} to i64")
            case "store64":
                self._flush()
                lines.append(f"  {name}.p = inttoptr i64 {args[0]} to ptr")
                lines.append(f"  store i64 {args[1]}, ptr {name}.p, align 8")
            case "ult" | "eq":
                lines.append(f"  {name}.b = {_COMPARISONS[value.op]} i64 {args[0]}, {args[1]}")
                lines.append(f"  {name} = zext i1 {name}.b to i64")
            case "minimum":
                lines.append(f"  {name}.b = icmp ult i64 {args[0]}, {args[1]}")
                lines.append(f"  {name} = select i1 {name}.b, i64 {args[0]}, i64 {args[1]}")
            case "udiv" | "urem":
                # Of 32 bits, for which LLVM multiplies by numbers that need no constant in memory.
                lines.append(f"  {name}.a = trunc i64 {args[0]} to i32")
                lines.append(f"  {name}.w = {value.op} i32 {name}.a, {args[1]}")
                lines.append(f"  {name} = zext i32 {name}.w to i64")
            case _:
                lines.append(f"  {name} = {value.op} i64 {', '.join(args)}")

    def _loop(self, loop: Loop) -> None:
        head, body, behind = (self._new_label(kind) for kind in ("head", "body", "behind"))
        before, name = self.label, loop.variable.name
        lines = self.lines
        lines.append(f"  br label {head}")
        lines.append(f"{head[1:]}:")
        phi = len(lines)
        lines.append("")
        lines.append(f"  {name}.c = icmp ult i64 {name}, {_value(loop.stop)}")
        lines.append(f"  br i1 {name}.c, label {body}, label {behind}")
        lines.append(f"{body[1:]}:")
        self.label = body
        self.block(loop.body)
        lines.append(f"  {name}.n = add i64 {name}, {_value(loop.step)}")
        lines.append(f"  br label {head}")
        start = _value(loop.start)
        lines[phi] = f"  {name} = phi i64 [{start}, {before}], [{name}.n, {self.label}]"
        lines.append(f"{behind[1:]}:")
        self.label = behind

    def _if(self, branch: If) -> None:
        body, behind = (self._new_label(kind) for kind in ("then", "behind"))
        condition = branch.condition.name
        label = f"{condition}.i{self._labels}"
        self.lines.append(f"  {label} = icmp ne i64 {condition}, 0")
        self.lines.append(f"  br i1 {label}, label {body}, label {behind}")
        self.lines.append(f"{body[1:]}:")
        self.label = body
        self.block(branch.body)
        self.lines.append(f"  br label {behind}")
        self.lines.append(f"{behind[1:]}:")
        self.label = behind

    def _new_label(self, kind: str) -> str:
        self._labels += 1
        return f"%{kind}{self._labels}"


def _value(value: Scalar | int) -> str:
    return value.name if isinstance(value, Scalar) else str(value)
