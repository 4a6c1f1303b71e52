"""Assembler and disassembler, derived from the instruction table.

The assembler serves tests, examples and generated kernels; it knows labels, `.word`, `.dword`,
`.align`, `.zero` and the pseudo-instructions of :data:`PSEUDO`. Larger programs come from a
compiler as ELF files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .csr import CSR_BY_NAME, CSRS
from .isa import INSTRUCTION_BY_NAME, Operand, OperandKind, decode, encode

__all__ = ["PSEUDO", "REGISTER_NAMES", "Program", "assemble", "disassemble", "load_immediate"]

#: ABI names of x0..x31.
REGISTER_NAMES: tuple[str, ...] = (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1",
    *(f"a{n}" for n in range(8)), *(f"s{n}" for n in range(2, 12)), *(f"t{n}" for n in range(3, 7)),
)  # fmt: skip

#: What the numbered registers that are not scalar are called.
_PREFIXES = {OperandKind.VECTOR: "v", OperandKind.ACCUMULATOR: "acc", OperandKind.MASK: "m"}
_REGISTERS = {name: n for n, name in enumerate(REGISTER_NAMES)}
_REGISTERS |= {f"x{n}": n for n in range(32)} | {"fp": 8}
_CSR_NAMES = {csr.number: csr.name for csr in CSRS}

#: Pseudo-instructions: operand names and what each stands for. `li` (its length depends on its
#: value) and `la` (two instructions, relative to pc) are handled apart.
PSEUDO: dict[str, tuple[tuple[str, ...], str]] = {
    "nop": ((), "addi x0, x0, 0"),
    "mv": (("d", "s"), "addi {d}, {s}, 0"),
    "not": (("d", "s"), "xori {d}, {s}, -1"),
    "neg": (("d", "s"), "sub {d}, x0, {s}"),
    "seqz": (("d", "s"), "sltiu {d}, {s}, 1"),
    "snez": (("d", "s"), "sltu {d}, x0, {s}"),
    "j": (("t",), "jal x0, {t}"),
    "call": (("t",), "jal ra, {t}"),
    "ret": ((), "jalr x0, 0(ra)"),
    "beqz": (("s", "t"), "beq {s}, x0, {t}"),
    "bnez": (("s", "t"), "bne {s}, x0, {t}"),
    "csrr": (("d", "c"), "csrrs {d}, {c}, x0"),
    "csrw": (("c", "s"), "csrrw x0, {c}, {s}"),
}


@dataclass
class Program:
    """Machine code at a base address, with the addresses of its labels."""

    base: int
    code: bytes
    labels: dict[str, int] = field(default_factory=dict)


def load_immediate(rd: int, value: int) -> list[int]:
    """Return the shortest usual sequence of words that puts a 64-bit constant in x[rd]."""
    value = (value + (1 << 63)) % (1 << 64) - (1 << 63)
    if -2048 <= value < 2048:
        return [encode("addi", rd=rd, rs1=0, imm=value)]
    low = (value + 2048) % 4096 - 2048
    if -(1 << 31) <= value < 1 << 31:
        upper = (value - low + (1 << 31)) % (1 << 32) - (1 << 31)
        words = [encode("lui", rd=rd, imm=upper)]
        return [*words, encode("addiw", rd=rd, rs1=rd, imm=low)] if low else words
    high, shift = value - low >> 12, 12
    while not high & 1:
        high, shift = high >> 1, shift + 1
    words = [*load_immediate(rd, high), encode("slli", rd=rd, rs1=rd, imm=shift)]
    return [*words, encode("addi", rd=rd, rs1=rd, imm=low)] if low else words


def _operand_text(operand: Operand, value: int) -> str:
    match operand.kind:
        case OperandKind.SCALAR:
            return REGISTER_NAMES[value]
        case OperandKind.CSR:
            return _CSR_NAMES.get(value, hex(value))
    return f"{_PREFIXES.get(operand.kind, '')}{value}"


def disassemble(word: int, pc: int | None = None) -> str:
    """Return the text of an instruction word; branch targets are absolute where `pc` is given."""
    row = decode(word)
    if row is None:
        return f".word {word:#010x}"
    text = row.syntax
    for operand in row.operands:
        value = operand.extract(word)
        shown = _operand_text(operand, value)
        if pc is not None and operand.name in ("imm_b", "imm_j"):
            shown = hex(pc + value)
        text = re.sub(rf"\b{operand.name}\b", shown, text, count=1)
    return f"{row.name} {text}".rstrip()


def _operand_value(operand: Operand, text: str, pc: int, labels: dict[str, int]) -> int:
    prefix = _PREFIXES.get(operand.kind)
    if operand.kind is OperandKind.SCALAR:
        if text not in _REGISTERS:
            raise ValueError(f"{operand.name} must be a scalar register, not {text!r}")
        return _REGISTERS[text]
    if prefix is not None:
        if not re.fullmatch(rf"{prefix}\d+", text):
            raise ValueError(f"{operand.name} must be a register {prefix}<n>, not {text!r}")
        return int(text.removeprefix(prefix))
    if operand.kind is OperandKind.CSR and text in CSR_BY_NAME:
        return CSR_BY_NAME[text].number
    if text in labels:
        return labels[text] - (pc if operand.name in ("imm_b", "imm_j") else 0)
    return _number(operand.name, text, "a number or a label")


def _number(what: str, text: str, expected: str = "a number") -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f"{what} must be {expected}, not {text!r}") from None


def _split(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[,()]", text) if part.strip()]


def _load_address(rd: int, distance: int) -> list[int]:
    """Return the two words that put pc + `distance` in x[rd]."""
    low = (distance + 2048) % 4096 - 2048
    return [encode("auipc", rd=rd, imm=distance - low), encode("addi", rd=rd, rs1=rd, imm=low)]


def _words(statement: str, pc: int, labels: dict[str, int]) -> list[int]:
    name, _, rest = statement.partition(" ")
    arguments = _split(rest)
    if name in ("li", "la"):
        meaning = "constant" if name == "li" else "label"
        if len(arguments) != 2 or arguments[0] not in _REGISTERS:
            raise ValueError(f"{name} must be `{name} rd, {meaning}`, not {statement!r}")
        rd, text = _REGISTERS[arguments[0]], arguments[1]
        if name == "la":
            if text not in labels:
                raise ValueError(f"la must name a label, not {text!r}")
            return _load_address(rd, labels[text] - pc)
        return load_immediate(rd, _number("constant of li", text))
    if name in PSEUDO:
        names, expansion = PSEUDO[name]
        if len(arguments) != len(names):
            raise ValueError(f"{name} must have {len(names)} operands, not {len(arguments)}")
        return _words(expansion.format(**dict(zip(names, arguments, strict=True))), pc, labels)
    if name not in INSTRUCTION_BY_NAME:
        raise ValueError(f"instruction must be one of the ISA table, not {name!r}")
    row = INSTRUCTION_BY_NAME[name]
    operands = row.operands
    if len(arguments) != len(operands):
        raise ValueError(f"{name} must be `{name} {row.syntax}`, not {statement!r}")
    values = {
        operand.name: _operand_value(operand, argument, pc, labels)
        for operand, argument in zip(operands, arguments, strict=True)
    }
    return [encode(name, **values)]


def _directive(statement: str, pc: int, labels: dict[str, int]) -> bytes | None:
    name, _, rest = statement.partition(" ")
    match name:
        case ".word" | ".dword":
            size = 4 if name == ".word" else 8
            values = (
                labels[t] if t in labels else _number(name, t, "numbers or labels")
                for t in _split(rest)
            )
            return b"".join((v & (1 << 8 * size) - 1).to_bytes(size, "little") for v in values)
        case ".zero":
            return bytes(_number(name, rest))
        case ".align":
            return bytes(-pc % (1 << _number(name, rest)))
    return None


def assemble(text: str, base: int = 0) -> Program:
    """Assemble `text` at address `base`.

    Raises
    ------
    ValueError
        If a line cannot be assembled; the message gives its number and what was expected.

    """
    lines: list[tuple[int, str]] = []
    labels: dict[str, int] = {}
    pc = base
    for number, line in enumerate(text.splitlines(), 1):
        statement = " ".join(line.split("#")[0].split())
        while found := re.match(r"([A-Za-z_.$][\w.$]*): ?", statement):
            if found[1] in labels:
                raise ValueError(
                    f"line {number}: label must be defined once, not {found[1]!r} again"
                )
            labels[found[1]] = pc
            statement = statement[found.end() :]
        if statement:
            lines.append((number, statement))
            pc += _size(statement, pc, number)
    code = bytearray()
    for number, statement in lines:
        pc = base + len(code)
        try:
            data = _directive(statement, pc, labels)
            if data is None:
                words = _words(statement, pc, labels)
                data = b"".join(word.to_bytes(4, "little") for word in words)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        code += data
    return Program(base, bytes(code), labels)


def _size(statement: str, pc: int, number: int) -> int:
    """Return the bytes of a statement before the labels after it are known."""
    name, _, rest = statement.partition(" ")
    if name in (".word", ".dword"):
        return (4 if name == ".word" else 8) * len(_split(rest))
    try:
        data = _directive(statement, pc, {})
        if data is not None:
            return len(data)
        if name == "la":
            return 8
        return 4 * len(_words(statement, pc, {})) if name == "li" else 4
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
