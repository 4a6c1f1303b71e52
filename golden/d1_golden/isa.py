"""The instruction table: RV64IM_Zicsr_Zifencei and Xd1, each instruction once.

Decoder, assembler, disassembler, interpreter, random-program generator and the ISA page of the
documentation are all derived from :data:`INSTRUCTIONS`.

Semantics are statements in a small Python vocabulary which the golden interpreter compiles as they
stand. All values are unsigned 64-bit:

========================= ========================================================================
`x[n]`                    scalar register n; x[0] reads 0 and drops what is written to it
`a`, `b`                  x[rs1], x[rs2]
`imm`                     the immediate, sign-extended where its operand is signed
`pc`, `next_pc`           address of this instruction, and of the next: pc + 4 if not assigned
`addr`                    for memory instructions the effective address; see `Unit`
`load(addr, n)`           n bytes, little endian, zero-extended; `store(addr, n, value)` likewise
`sext(v, n)`              the low n bits of v, sign-extended; `zext(v, n)` zero-extended
`lt(p, q)`                1 if p < q as signed numbers, else 0; `ltu` as unsigned numbers
`sra(v, n)`               arithmetic shift right
`csr(n)`                  CSR n before this instruction; `set_csr(n, v)` writes it
`v[n]`, `acc[n]`          vector register n, accumulator n
`vload`, `vstore`, ...    one vector register from or to memory; the rest is in docs/isa.md
========================= ========================================================================

Ref: The RISC-V Instruction Set Manual, Volume I: Unprivileged ISA, chapters 2, 4, 5, 6, 7 and 34.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "INSTRUCTIONS",
    "INSTRUCTION_BY_NAME",
    "OPERANDS",
    "Extension",
    "Instruction",
    "Operand",
    "OperandKind",
    "Unit",
    "decode",
    "encode",
]


class OperandKind(enum.Enum):
    """What an operand field selects."""

    SCALAR = "x"
    VECTOR = "v"
    ACCUMULATOR = "acc"
    PART = "part"
    CSR = "csr"
    IMMEDIATE = "imm"
    #: An immediate that counts vector registers: multiplied by `NodeParams.vector_bytes`.
    VECTOR_OFFSET = "voffset"


@dataclass(frozen=True)
class Operand:
    """A field of an instruction word.

    `slices` are (lowest bit in the word, width, lowest bit in the value), so that the scattered
    immediates of RISC-V are described like any other field.
    """

    name: str
    kind: OperandKind
    slices: tuple[tuple[int, int, int], ...]
    signed: bool = False

    @property
    def bits(self) -> int:
        """Width of the value, implied low zero bits included."""
        return max(value_lsb + width for _, width, value_lsb in self.slices)

    @property
    def alignment(self) -> int:
        """What a value must be a multiple of."""
        return 1 << min(value_lsb for _, _, value_lsb in self.slices)

    @property
    def minimum(self) -> int:
        """Least value."""
        return -(1 << self.bits - 1) if self.signed else 0

    @property
    def maximum(self) -> int:
        """Greatest value."""
        top = 1 << self.bits - (1 if self.signed else 0)
        return top - self.alignment

    def extract(self, word: int) -> int:
        """Return the operand's value in an instruction word."""
        value = 0
        for lsb, width, value_lsb in self.slices:
            value |= (word >> lsb & (1 << width) - 1) << value_lsb
        if self.signed and value >> self.bits - 1:
            value -= 1 << self.bits
        return value

    def insert(self, value: int) -> int:
        """Return the bits of an instruction word that hold `value`.

        Raises
        ------
        ValueError
            If the value does not fit.

        """
        if not self.minimum <= value <= self.maximum or value % self.alignment:
            multiple = f", a multiple of {self.alignment}" if self.alignment > 1 else ""
            raise ValueError(
                f"{self.name} must be in {self.minimum}..{self.maximum}{multiple}, not {value!r}"
            )
        word = 0
        for lsb, width, value_lsb in self.slices:
            word |= (value >> value_lsb & (1 << width) - 1) << lsb
        return word

    @property
    def word_mask(self) -> int:
        """The bits of an instruction word that this field fills."""
        mask = 0
        for lsb, width, _ in self.slices:
            mask |= (1 << width) - 1 << lsb
        return mask


_X, _V, _ACC = OperandKind.SCALAR, OperandKind.VECTOR, OperandKind.ACCUMULATOR
_IMM, _VOFF = OperandKind.IMMEDIATE, OperandKind.VECTOR_OFFSET

#: Every operand field, by the name it has in `Instruction.syntax`. Names that start with `imm` are
#: the one immediate of their instruction, called `imm` in its semantics.
OPERANDS: dict[str, Operand] = {
    operand.name: operand
    for operand in (
        Operand("rd", _X, ((7, 5, 0),)),
        Operand("rs1", _X, ((15, 5, 0),)),
        Operand("rs2", _X, ((20, 5, 0),)),
        Operand("imm_i", _IMM, ((20, 12, 0),), signed=True),
        Operand("imm_s", _IMM, ((7, 5, 0), (25, 7, 5)), signed=True),
        Operand("imm_b", _IMM, ((8, 4, 1), (25, 6, 5), (7, 1, 11), (31, 1, 12)), signed=True),
        Operand("imm_u", _IMM, ((12, 20, 12),), signed=True),
        Operand("imm_j", _IMM, ((21, 10, 1), (20, 1, 11), (12, 8, 12), (31, 1, 20)), signed=True),
        Operand("imm_shamt6", _IMM, ((20, 6, 0),)),
        Operand("imm_shamt5", _IMM, ((20, 5, 0),)),
        Operand("imm_z", _IMM, ((15, 5, 0),)),
        Operand("csr", OperandKind.CSR, ((20, 12, 0),)),
        Operand("vd", _V, ((7, 5, 0),)),
        Operand("vs1", _V, ((15, 5, 0),)),
        Operand("vs2", _V, ((20, 5, 0),)),
        Operand("imm_vi", _VOFF, ((20, 12, 0),), signed=True),
        Operand("imm_vs", _VOFF, ((7, 5, 0), (25, 7, 5)), signed=True),
        Operand("imm_vm", _VOFF, ((11, 1, 0), (25, 7, 1))),
        Operand("acc_d", _ACC, ((7, 4, 0),)),
        Operand("acc_s", _ACC, ((15, 4, 0),)),
        Operand("part", OperandKind.PART, ((20, 5, 0),)),
    )
}


class Extension(enum.Enum):
    """Where an instruction is specified."""

    RV64I = "RV64I"
    RV64M = "RV64M"
    ZICSR = "Zicsr"
    ZIFENCEI = "Zifencei"
    MACHINE = "machine mode"
    XD1 = "Xd1"


class Unit(enum.Enum):
    """The part of the node that executes an instruction.

    For LOAD and STORE `addr` is a + imm and `Instruction.access_bytes` its size; for VECTOR_LOAD,
    VECTOR_STORE and MATRIX_MEMORY it is a + imm x vector size.
    """

    ALU = enum.auto()
    BRANCH = enum.auto()
    MULDIV = enum.auto()
    LOAD = enum.auto()
    STORE = enum.auto()
    CSR = enum.auto()
    SYSTEM = enum.auto()
    VECTOR_LOAD = enum.auto()
    VECTOR_STORE = enum.auto()
    VECTOR_CONVERT = enum.auto()
    VECTOR_FP32 = enum.auto()
    MATRIX = enum.auto()
    MATRIX_MEMORY = enum.auto()


@dataclass(frozen=True)
class Instruction:
    """One row of the table.

    An instruction word is this instruction if `word & mask == match`.
    """

    name: str
    extension: Extension
    unit: Unit
    match: int
    mask: int
    syntax: str
    semantics: str
    access_bytes: int = 0
    doc: str = ""

    @property
    def operands(self) -> tuple[Operand, ...]:
        """The operand fields in the order of the syntax."""
        names = self.syntax.replace("(", ",").replace(")", "").split(",")
        return tuple(OPERANDS[n.strip()] for n in names if n.strip())


_OP_LOAD, _OP_MISC_MEM, _OP_IMM, _OP_AUIPC, _OP_IMM32 = 0x03, 0x0F, 0x13, 0x17, 0x1B
_OP_STORE, _OP, _OP_LUI, _OP32, _OP_BRANCH = 0x23, 0x33, 0x37, 0x3B, 0x63
_OP_JALR, _OP_JAL, _OP_SYSTEM = 0x67, 0x6F, 0x73
_CUSTOM0, _CUSTOM1, _CUSTOM2, _CUSTOM3 = 0x0B, 0x2B, 0x5B, 0x7B


def _row(
    name: str,
    extension: Extension,
    unit: Unit,
    syntax: str,
    semantics: str,
    opcode: int,
    *,
    funct3: int | None = None,
    funct7: int | None = None,
    word: int | None = None,
    access_bytes: int = 0,
    doc: str = "",
) -> Instruction:
    """Return a row whose mask covers every bit that is not an operand (hints of FENCE excepted)."""
    match = opcode if word is None else word
    if funct3 is not None:
        match |= funct3 << 12
    if funct7 is not None:
        match |= funct7 << 25
    row = Instruction(name, extension, unit, match, 0, syntax, semantics, access_bytes, doc)
    mask = 0xFFFF_FFFF
    for operand in row.operands:
        mask &= ~operand.word_mask
    if unit is Unit.SYSTEM and name in ("fence", "fence.i"):
        mask = 0x0000_707F  # the other fields are reserved for finer fences and are to be ignored
    return Instruction(name, extension, unit, match, mask, syntax, semantics, access_bytes, doc)


def _rv64i() -> list[Instruction]:
    ext, rows = Extension.RV64I, []

    def alu(name: str, f3: int, f7: int, semantics: str, op: int = _OP) -> None:
        rows.append(_row(name, ext, Unit.ALU, "rd, rs1, rs2", semantics, op, funct3=f3, funct7=f7))

    def alu_imm(name: str, f3: int, semantics: str, op: int = _OP_IMM) -> None:
        rows.append(_row(name, ext, Unit.ALU, "rd, rs1, imm_i", semantics, op, funct3=f3))

    def shift(name: str, f3: int, f7: int, semantics: str, op: int = _OP_IMM) -> None:
        shamt = "imm_shamt6" if op == _OP_IMM else "imm_shamt5"
        rows.append(
            _row(name, ext, Unit.ALU, f"rd, rs1, {shamt}", semantics, op, funct3=f3, funct7=f7)
        )

    def branch(name: str, f3: int, condition: str) -> None:
        text = f"next_pc = pc + imm if {condition} else next_pc"
        rows.append(_row(name, ext, Unit.BRANCH, "rs1, rs2, imm_b", text, _OP_BRANCH, funct3=f3))

    def load(name: str, f3: int, size: int, value: str) -> None:
        rows.append(
            _row(name, ext, Unit.LOAD, "rd, imm_i(rs1)", f"x[rd] = {value}", _OP_LOAD, funct3=f3,
                 access_bytes=size)
        )  # fmt: skip

    def store(name: str, f3: int, size: int) -> None:
        text = f"store(addr, {size}, b)"
        rows.append(
            _row(name, ext, Unit.STORE, "rs2, imm_s(rs1)", text, _OP_STORE, funct3=f3,
                 access_bytes=size)
        )  # fmt: skip

    rows.append(_row("lui", ext, Unit.ALU, "rd, imm_u", "x[rd] = imm", _OP_LUI))
    rows.append(_row("auipc", ext, Unit.ALU, "rd, imm_u", "x[rd] = pc + imm", _OP_AUIPC))
    rows.append(
        _row("jal", ext, Unit.BRANCH, "rd, imm_j", "x[rd] = pc + 4; next_pc = pc + imm", _OP_JAL)
    )
    rows.append(
        _row("jalr", ext, Unit.BRANCH, "rd, imm_i(rs1)",
             "x[rd] = pc + 4; next_pc = zext(a + imm, 64) >> 1 << 1", _OP_JALR, funct3=0)
    )  # fmt: skip
    branch("beq", 0, "a == b")
    branch("bne", 1, "a != b")
    branch("blt", 4, "lt(a, b)")
    branch("bge", 5, "not lt(a, b)")
    branch("bltu", 6, "ltu(a, b)")
    branch("bgeu", 7, "not ltu(a, b)")
    load("lb", 0, 1, "sext(load(addr, 1), 8)")
    load("lh", 1, 2, "sext(load(addr, 2), 16)")
    load("lw", 2, 4, "sext(load(addr, 4), 32)")
    load("ld", 3, 8, "load(addr, 8)")
    load("lbu", 4, 1, "load(addr, 1)")
    load("lhu", 5, 2, "load(addr, 2)")
    load("lwu", 6, 4, "load(addr, 4)")
    for f3, name in enumerate(("sb", "sh", "sw", "sd")):
        store(name, f3, 1 << f3)
    alu_imm("addi", 0, "x[rd] = a + imm")
    alu_imm("slti", 2, "x[rd] = lt(a, imm)")
    alu_imm("sltiu", 3, "x[rd] = ltu(a, imm)")
    alu_imm("xori", 4, "x[rd] = a ^ imm")
    alu_imm("ori", 6, "x[rd] = a | imm")
    alu_imm("andi", 7, "x[rd] = a & imm")
    shift("slli", 1, 0x00, "x[rd] = a << imm")
    shift("srli", 5, 0x00, "x[rd] = a >> imm")
    shift("srai", 5, 0x20, "x[rd] = sra(a, imm)")
    alu("add", 0, 0x00, "x[rd] = a + b")
    alu("sub", 0, 0x20, "x[rd] = a - b")
    alu("sll", 1, 0x00, "x[rd] = a << (b & 63)")
    alu("slt", 2, 0x00, "x[rd] = lt(a, b)")
    alu("sltu", 3, 0x00, "x[rd] = ltu(a, b)")
    alu("xor", 4, 0x00, "x[rd] = a ^ b")
    alu("srl", 5, 0x00, "x[rd] = a >> (b & 63)")
    alu("sra", 5, 0x20, "x[rd] = sra(a, b & 63)")
    alu("or", 6, 0x00, "x[rd] = a | b")
    alu("and", 7, 0x00, "x[rd] = a & b")
    alu_imm("addiw", 0, "x[rd] = sext(a + imm, 32)", _OP_IMM32)
    shift("slliw", 1, 0x00, "x[rd] = sext(a << imm, 32)", _OP_IMM32)
    shift("srliw", 5, 0x00, "x[rd] = sext(zext(a, 32) >> imm, 32)", _OP_IMM32)
    shift("sraiw", 5, 0x20, "x[rd] = sra(sext(a, 32), imm)", _OP_IMM32)
    alu("addw", 0, 0x00, "x[rd] = sext(a + b, 32)", _OP32)
    alu("subw", 0, 0x20, "x[rd] = sext(a - b, 32)", _OP32)
    alu("sllw", 1, 0x00, "x[rd] = sext(a << (b & 31), 32)", _OP32)
    alu("srlw", 5, 0x00, "x[rd] = sext(zext(a, 32) >> (b & 31), 32)", _OP32)
    alu("sraw", 5, 0x20, "x[rd] = sra(sext(a, 32), b & 31)", _OP32)
    return rows


def _rv64m() -> list[Instruction]:
    """Multiply and divide; division by zero and overflow give the values that RV64M fixes."""
    rows = [
        ("mul", 0, _OP, "x[rd] = a * b"),
        ("mulh", 1, _OP, "x[rd] = mulh(a, b)"),
        ("mulhsu", 2, _OP, "x[rd] = mulhsu(a, b)"),
        ("mulhu", 3, _OP, "x[rd] = mulhu(a, b)"),
        ("div", 4, _OP, "x[rd] = div(a, b)"),
        ("divu", 5, _OP, "x[rd] = divu(a, b)"),
        ("rem", 6, _OP, "x[rd] = rem(a, b)"),
        ("remu", 7, _OP, "x[rd] = remu(a, b)"),
        ("mulw", 0, _OP32, "x[rd] = sext(a * b, 32)"),
        ("divw", 4, _OP32, "x[rd] = sext(div(sext(a, 32), sext(b, 32)), 32)"),
        ("divuw", 5, _OP32, "x[rd] = sext(divu(zext(a, 32), zext(b, 32)), 32)"),
        ("remw", 6, _OP32, "x[rd] = sext(rem(sext(a, 32), sext(b, 32)), 32)"),
        ("remuw", 7, _OP32, "x[rd] = sext(remu(zext(a, 32), zext(b, 32)), 32)"),
    ]
    return [
        _row(name, Extension.RV64M, Unit.MULDIV, "rd, rs1, rs2", semantics, op, funct3=f3, funct7=1)
        for name, f3, op, semantics in rows
    ]


def _system() -> list[Instruction]:
    def csr(name: str, f3: int, syntax: str, value: str, doc: str) -> Instruction:
        text = f"old = csr(n); set_csr(n, {value}); x[rd] = old"
        return _row(name, Extension.ZICSR, Unit.CSR, syntax, text, _OP_SYSTEM, funct3=f3, doc=doc)

    def special(name: str, ext: Extension, word: int, semantics: str, doc: str) -> Instruction:
        return _row(name, ext, Unit.SYSTEM, "", semantics, 0, word=word, doc=doc)

    no_write = "with {} the CSR is not written"
    return [
        csr("csrrw", 1, "rd, csr, rs1", "a", ""),
        csr("csrrs", 2, "rd, csr, rs1", "old | a", no_write.format("rs1 = x0")),
        csr("csrrc", 3, "rd, csr, rs1", "old & ~a", no_write.format("rs1 = x0")),
        csr("csrrwi", 5, "rd, csr, imm_z", "imm", ""),
        csr("csrrsi", 6, "rd, csr, imm_z", "old | imm", no_write.format("imm = 0")),
        csr("csrrci", 7, "rd, csr, imm_z", "old & ~imm", no_write.format("imm = 0")),
        special("fence", Extension.RV64I, 0x0000_000F, "pass",
                "waits until all earlier memory accesses of the thread are done"),
        special("fence.i", Extension.ZIFENCEI, 0x0000_100F, "pass",
                "later instructions are fetched after earlier stores"),
        special("ecall", Extension.RV64I, 0x0000_0073, "trap(ENVIRONMENT_CALL, 0)",
                "with mtvec = 0: the thread halts"),
        special("ebreak", Extension.RV64I, 0x0010_0073, "trap(BREAKPOINT, pc)", ""),
        special("mret", Extension.MACHINE, 0x3020_0073,
                "set_csr(MSTATUS, MPIE | (mpie() and MIE)); next_pc = csr(MEPC)",
                "MIE takes MPIE, MPIE becomes 1"),
        special("wfi", Extension.MACHINE, 0x1050_0073, "pass", "no interrupts: does not wait"),
    ]  # fmt: skip


def _xd1() -> list[Instruction]:
    ext = Extension.XD1

    def matrix(f3: int, name: str, step: str, doc: str) -> list[Instruction]:
        return [
            _row(f"{name}.vv", ext, Unit.MATRIX, "acc_d, vs1, vs2",
                 step.format(d="acc[acc_d]", a="v[vs1]", b="v[vs2]"),
                 _CUSTOM3, funct3=f3, funct7=0, doc=doc),
            _row(f"{name}.vm", ext, Unit.MATRIX_MEMORY, "acc_d, vs2, imm_vm(rs1)",
                 step.format(d="acc[acc_d]", a="v[vs2]", b="vload(addr)"),
                 _CUSTOM1, funct3=f3, doc=doc),
        ]  # fmt: skip

    def lanes(f7: int, name: str, value: str, doc: str) -> Instruction:
        return _row(f"{name}.f32", ext, Unit.VECTOR_FP32, "vd, vs1, vs2", f"v[vd] = {value}",
                    _CUSTOM2, funct3=4, funct7=f7, doc=doc)  # fmt: skip

    rows = [
        _row("vld", ext, Unit.VECTOR_LOAD, "vd, imm_vi(rs1)", "v[vd] = vload(addr)", _CUSTOM0,
             funct3=0, doc="load a vector register"),
        _row("vst", ext, Unit.VECTOR_STORE, "vs2, imm_vs(rs1)", "vstore(addr, v[vs2])", _CUSTOM0,
             funct3=1, doc="store a vector register"),
        _row("vcvt.f32.bf16", ext, Unit.VECTOR_CONVERT, "vd, vs1, part",
             "v[vd] = fp32_from_bf16(v[vs1], part)", _CUSTOM2, funct3=0, funct7=0,
             doc="part p (0..1) of vs1's BF16 values to FP32, exact"),
        _row("vcvt.bf16.f32", ext, Unit.VECTOR_CONVERT, "vd, vs1, part",
             "v[vd] = bf16_from_fp32(v[vd], v[vs1], part)", _CUSTOM2, funct3=1, funct7=0,
             doc="vs1's FP32 values to part p (0..1) of vd in BF16, rounded as mround says; the "
                 "rest of vd stays"),
        _row("vcvt.f32.cfp8", ext, Unit.VECTOR_CONVERT, "vd, vs1, part",
             "v[vd] = fp32_from_cfp8(v[vs1], part)", _CUSTOM2, funct3=2, funct7=0,
             doc="part p (0..3) of vs1's CFP8 values (mcfp8c) to FP32, exact"),
        _row("vcvt.cfp8.f32", ext, Unit.VECTOR_CONVERT, "vd, vs1, part",
             "v[vd] = cfp8_from_fp32(v[vd], v[vs1], part)", _CUSTOM2, funct3=3, funct7=0,
             doc="vs1's FP32 values to part p (0..3) of vd in CFP8 (mcfp8c), rounded as mround "
                 "says; the rest of vd stays"),
        lanes(0, "vfadd", "fp32_add(v[vs1], v[vs2])", "vs1 + vs2"),
        lanes(1, "vfsub", "fp32_sub(v[vs1], v[vs2])", "vs1 - vs2"),
        lanes(2, "vfmul", "fp32_mul(v[vs1], v[vs2])", "vs1 x vs2"),
        lanes(3, "vfmadd", "fp32_fma(v[vs1], v[vs2], v[vd])", "vs1 x vs2 + vd, rounded once"),
        lanes(4, "vfnmadd", "fp32_fnma(v[vs1], v[vs2], v[vd])", "-(vs1 x vs2) + vd, rounded once"),
        lanes(5, "vfmin", "fp32_min(v[vs1], v[vs2])",
              "the lesser number; -0 is less than +0, a NaN is no number"),
        lanes(6, "vfmax", "fp32_max(v[vs1], v[vs2])", "the greater number, likewise"),
        *matrix(0, "mmul.bf16", "{d} = matrix_step(0, {a}, {b})",
                "acc = A B: the R x 4 tile A times the transpose of the C x 4 tile B"),
        *matrix(1, "mmac.bf16", "{d} = matrix_step({d}, {a}, {b})", "acc = acc + A B"),
        *matrix(2, "mmul.cfp8.lo", "{d} = matrix_step(0, cfp8a({a}, 0), cfp8b({b}, 0))",
                "acc = A B on columns 0..3 of R x 8 and C x 8 tiles of CFP8 (mcfp8a, mcfp8b)"),
        *matrix(3, "mmac.cfp8.lo", "{d} = matrix_step({d}, cfp8a({a}, 0), cfp8b({b}, 0))",
                "acc = acc + A B on columns 0..3"),
        *matrix(4, "mmul.cfp8.hi", "{d} = matrix_step(0, cfp8a({a}, 1), cfp8b({b}, 1))",
                "acc = A B on columns 4..7"),
        *matrix(5, "mmac.cfp8.hi", "{d} = matrix_step({d}, cfp8a({a}, 1), cfp8b({b}, 1))",
                "acc = acc + A B on columns 4..7"),
        _row("mzero", ext, Unit.MATRIX, "acc_d", "acc[acc_d] = 0", _CUSTOM3, funct3=7, funct7=0,
             doc="clear an accumulator to +0"),
        _row("mrd", ext, Unit.MATRIX, "vd, acc_s, part", "v[vd] = acc_part(acc[acc_s], part)",
             _CUSTOM3, funct3=7, funct7=1, doc="read part p of an accumulator, row-major FP32"),
        _row("mwr", ext, Unit.MATRIX, "acc_d, vs1, part",
             "acc[acc_d] = set_acc_part(acc[acc_d], v[vs1], part)", _CUSTOM3, funct3=7, funct7=2,
             doc="write part p of an accumulator; the rest stays"),
    ]  # fmt: skip
    return rows


#: The table, in the order of the documentation.
INSTRUCTIONS: tuple[Instruction, ...] = (*_rv64i(), *_rv64m(), *_system(), *_xd1())

INSTRUCTION_BY_NAME: dict[str, Instruction] = {row.name: row for row in INSTRUCTIONS}


def decode(word: int) -> Instruction | None:
    """Return the row that an instruction word is, or None if it is illegal.

    Operand values that a preset does not have (an accumulator or part number too large, an unknown
    CSR) are illegal too, but are for the node to check: they do not depend on this table alone.
    """
    for row in _BY_OPCODE.get(word & 0x7F, ()):
        if word & row.mask == row.match:
            return row
    return None


def encode(name: str, **operands: int) -> int:
    """Return the instruction word of `name` with operands by the names in its syntax.

    The immediate may be given as `imm` whatever its field is called.

    Raises
    ------
    ValueError
        If there is no such instruction, an operand is missing or unknown, or a value does not fit.

    """
    try:
        row = INSTRUCTION_BY_NAME[name]
    except KeyError:
        raise ValueError(f"instruction must be one of the ISA table, not {name!r}") from None
    word = row.match
    given = dict(operands)
    for operand in row.operands:
        key = "imm" if operand.name.startswith("imm") and "imm" in given else operand.name
        if key not in given:
            raise ValueError(f"{name} needs operand {operand.name} ({name} {row.syntax})")
        try:
            word |= operand.insert(given.pop(key))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if given:
        raise ValueError(f"{name} has no operand {', '.join(given)} ({name} {row.syntax})")
    return word


_BY_OPCODE: dict[int, list[Instruction]] = {}
for _instruction in INSTRUCTIONS:
    _BY_OPCODE.setdefault(_instruction.match & 0x7F, []).append(_instruction)
