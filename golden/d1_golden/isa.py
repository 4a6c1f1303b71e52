"""The instruction table: RV64IM_Zicsr_Zifencei and Xd1, each instruction once.

Decoder, assembler, disassembler, interpreter, random-program generator and the ISA page of the
documentation are all derived from :data:`INSTRUCTIONS`.

Semantics are statements in a small Python vocabulary which the golden interpreter compiles as they
stand. All values are unsigned 64-bit. Words that are not here are named after their instruction, or
in docs/isa.md:

========================= ========================================================================
`x[n]`                    scalar register n; x[0] reads 0 and drops what is written to it
`a`, `b`                  x[rs1], x[rs2]
`imm`                     the immediate, sign-extended where its operand is signed
`pc`, `next_pc`           address of this instruction, and of the next: pc + 4 if not assigned
`addr`                    of instructions with access to memory the address: a and the offset
`load(addr, n)`           n bytes, little endian, zero-extended; `store(addr, n, value)` likewise
`sext(v, n)`              the low n bits of v, sign-extended; `zext(v, n)` zero-extended
`lt(p, q)`                1 if p < q as signed numbers, else 0; `ltu` as unsigned numbers
`sra(v, n)`               arithmetic shift right
`mulh`, `mulhsu`, `mulhu` bits 127..64 of the product of two signed, a signed and an unsigned, or
                          two unsigned numbers
`div`, `rem`              quotient toward zero and remainder of signed numbers, `divu`, `remu` of
                          unsigned ones; by zero all ones and the dividend; -2^63 by -1: -2^63 and 0
`csr(n)`                  CSR n before this instruction; `set_csr(n, v)` writes it
`trap(cause, value)`      the exception `cause`, with `value` for mtval
`v[n]`, `acc[n]`, `m[n]`  vector register n, accumulator n, mask register n (bit i is lane i)
`LANES`                   32-bit lanes of a vector register
========================= ========================================================================

Ref: The RISC-V Instruction Set Manual, Volume I: Unprivileged ISA, chapters 2, 4, 5, 6, 7 and 34.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .params import NodeParams

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
    "is_legal",
    "operand_count",
]


class OperandKind(enum.Enum):
    """What an operand field selects."""

    SCALAR = "x"
    VECTOR = "v"
    ACCUMULATOR = "acc"
    MASK = "m"
    PART = "part"
    #: One lane of a vector register.
    LANE = "lane"
    #: How many lanes a pair of vector registers is moved by.
    SLIDE = "slide"
    CSR = "csr"
    #: An immediate that names one of the node's semaphores.
    SEMAPHORE = "semaphore"
    #: An immediate that is a set of threads, bit n for thread n; 0 for all of them.
    THREADS = "threads"
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
_IMM, _VOFF, _M = OperandKind.IMMEDIATE, OperandKind.VECTOR_OFFSET, OperandKind.MASK

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
        Operand("vs3", _V, ((7, 5, 0),)),
        Operand("md", _M, ((7, 3, 0),)),
        Operand("ms1", _M, ((15, 3, 0),)),
        Operand("ms2", _M, ((20, 3, 0),)),
        Operand("ms", _M, ((25, 3, 0),)),
        Operand("lane", OperandKind.LANE, ((20, 5, 0),)),
        Operand("slide", OperandKind.SLIDE, ((25, 5, 0),)),
        Operand("imm_lines", _IMM, ((7, 5, 0),)),
        Operand("imm_sem", OperandKind.SEMAPHORE, ((15, 5, 0),)),
        Operand("imm_post", OperandKind.SEMAPHORE, ((20, 5, 0),)),
        Operand("imm_threads", OperandKind.THREADS, ((15, 5, 0),)),
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

    For LOAD and STORE `addr` is a + imm and `Instruction.access_bytes` its size. For VECTOR_LOAD,
    VECTOR_STORE and MATRIX_MEMORY it is a + imm x vector size, of a whole vector, but where
    `access_bytes` is not 0 (vldb) a + imm.
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
    VECTOR_GATHER = enum.auto()
    VECTOR_SCATTER = enum.auto()
    VECTOR_CONVERT = enum.auto()
    VECTOR_SIMD = enum.auto()
    VECTOR_MOVE = enum.auto()
    MATRIX = enum.auto()
    MATRIX_READ = enum.auto()
    MATRIX_MEMORY = enum.auto()
    TRANSFER = enum.auto()
    SEMAPHORE = enum.auto()
    LINK = enum.auto()


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
        special("fence", Extension.RV64I, 0x0000_000F, "fence()",
                "waits until all earlier memory accesses and all transfers of the thread are done"),
        special("fence.i", Extension.ZIFENCEI, 0x0000_100F, "pass",
                "later instructions of the thread are fetched after its earlier stores"),
        special("ecall", Extension.RV64I, 0x0000_0073, "trap(ENVIRONMENT_CALL, 0)",
                "with mtvec = 0: the thread halts"),
        special("ebreak", Extension.RV64I, 0x0010_0073, "trap(BREAKPOINT, pc)", ""),
        special("mret", Extension.MACHINE, 0x3020_0073,
                "set_csr(MSTATUS, MPIE | (mpie() and MIE)); next_pc = csr(MEPC)",
                "MIE takes MPIE, MPIE becomes 1"),
        special("wfi", Extension.MACHINE, 0x1050_0073, "pass", "no interrupts: does not wait"),
    ]  # fmt: skip


def _vector_memory() -> list[Instruction]:
    """Return vector loads, stores, gathers and scatters."""
    ext = Extension.XD1

    def by_op4(op4: int, name: str, unit: Unit, syntax: str, text: str, doc: str) -> Instruction:
        # The mask field is the low bits of funct7.
        return _row(name, ext, unit, syntax, text, _CUSTOM0, funct3=3, funct7=op4 << 3, doc=doc)

    load, store = Unit.VECTOR_LOAD, Unit.VECTOR_STORE
    gather, scatter = Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER
    words = "lane i: the word at a + vs2[i], unsigned byte offsets"
    return [
        _row("vld", ext, load, "vd, imm_vi(rs1)", "v[vd] = vload(addr)", _CUSTOM0,
             funct3=0, doc="load a vector register"),
        _row("vst", ext, store, "vs2, imm_vs(rs1)", "vstore(addr, v[vs2])", _CUSTOM0,
             funct3=1, doc="store a vector register"),
        _row("vldb", ext, load, "vd, imm_i(rs1)", "v[vd] = vbc_x(load(addr, 4))", _CUSTOM0,
             funct3=2, access_bytes=4, doc="load one word into every lane"),
        by_op4(0, "vld.m", load, "vd, (rs1), ms", "v[vd] = vsel(vload(addr), v[vd], m[ms])",
               "load the lanes in the mask, the others stay"),
        by_op4(1, "vst.m", store, "vs3, (rs1), ms",
               "vstore(addr, vsel(v[vs3], vload(addr), m[ms]))", "store the lanes in the mask"),
        by_op4(2, "vgather", gather, "vd, (rs1), vs2", "v[vd] = vgather(a, v[vs2])", words),
        by_op4(3, "vgather.m", gather, "vd, (rs1), vs2, ms",
               "v[vd] = vgather_m(a, v[vs2], v[vd], m[ms])",
               "the lanes in the mask, the others stay"),
        by_op4(4, "vscatter", scatter, "vs3, (rs1), vs2", "vscatter(a, v[vs2], v[vs3])",
               f"{words}; of two lanes at one address the higher one stays"),
        by_op4(5, "vscatter.m", scatter, "vs3, (rs1), vs2, ms",
               "vscatter_m(a, v[vs2], v[vs3], m[ms])", "the lanes in the mask"),
    ]  # fmt: skip


def _vector_convert() -> list[Instruction]:
    def convert(f3: int, name: str, value: str, doc: str) -> Instruction:
        return _row(name, Extension.XD1, Unit.VECTOR_CONVERT, "vd, vs1, part", f"v[vd] = {value}",
                    _CUSTOM2, funct3=f3, funct7=0, doc=doc)  # fmt: skip

    return [
        convert(0, "vcvt.f32.bf16", "fp32_from_bf16(v[vs1], part)",
                "part p (0..1) of vs1's BF16 values to FP32, exact"),
        convert(1, "vcvt.bf16.f32", "bf16_from_fp32(v[vd], v[vs1], part)",
                "vs1's FP32 values to part p (0..1) of vd in BF16, rounded as mround says; the "
                "rest of vd stays"),
        convert(2, "vcvt.f32.cfp8", "fp32_from_cfp8(v[vs1], part)",
                "part p (0..3) of vs1's CFP8 values (mcfp8c) to FP32, exact"),
        convert(3, "vcvt.cfp8.f32", "cfp8_from_fp32(v[vd], v[vs1], part)",
                "vs1's FP32 values to part p (0..3) of vd in CFP8 (mcfp8c), rounded as mround "
                "says; the rest of vd stays"),
    ]  # fmt: skip


def _simd() -> list[Instruction]:
    """Return FP32 and 32-bit integer operations lane by lane, and reductions over the lanes."""

    def lanes(f3: int, f7: int, name: str, syntax: str, value: str, doc: str) -> Instruction:
        target = "m[md]" if syntax.startswith("md") else "v[vd]"
        return _row(name, Extension.XD1, Unit.VECTOR_SIMD, syntax, f"{target} = {value}",
                    _CUSTOM2, funct3=f3, funct7=f7, doc=doc)  # fmt: skip

    def two(f3: int, f7: int, name: str, doc: str, target: str = "vd") -> Instruction:
        value = f"{name.replace('.', '_')}(v[vs1], v[vs2])"
        return lanes(f3, f7, name, f"{target}, vs1, vs2", value, doc)

    def one(f3: int, f7: int, name: str, doc: str) -> Instruction:
        return lanes(f3, f7, name, "vd, vs1", f"{name.replace('.', '_')}(v[vs1])", doc)

    def fused(f7: int, name: str, doc: str) -> Instruction:
        value = f"{name.replace('.', '_')}(v[vs1], v[vs2], v[vd])"
        return lanes(4, f7, name, "vd, vs1, vs2", value, doc)

    tree = "in every lane; pairs of neighbouring lanes first"
    signed, unsigned = "signed numbers", "unsigned numbers"
    return [
        two(4, 0, "vfadd.f32", "vs1 + vs2"),
        two(4, 1, "vfsub.f32", "vs1 - vs2"),
        two(4, 2, "vfmul.f32", "vs1 x vs2"),
        fused(3, "vfmadd.f32", "vs1 x vs2 + vd, rounded once"),
        fused(4, "vfnmadd.f32", "-(vs1 x vs2) + vd, rounded once"),
        two(4, 5, "vfmin.f32", "the lesser; -0 is less than +0; of a number and a NaN the number"),
        two(4, 6, "vfmax.f32", "the greater, likewise"),
        one(4, 7, "vfrcp.f32", "1 / vs1, approximately"),
        one(4, 8, "vfrsqrt.f32", "1 / the square root of vs1, approximately"),
        one(4, 9, "vfexp2.f32", "2 to the power of vs1, approximately"),
        two(4, 16, "vfeq.f32", "lanes where vs1 = vs2; never with a NaN", "md"),
        two(4, 17, "vflt.f32", "lanes where vs1 < vs2; never with a NaN", "md"),
        two(4, 18, "vfle.f32", "lanes where vs1 <= vs2; never with a NaN", "md"),
        one(4, 24, "vfredsum.f32", f"sum of vs1's lanes, {tree}"),
        one(4, 25, "vfredmin.f32", f"least of vs1's lanes, {tree}"),
        one(4, 26, "vfredmax.f32", f"greatest of vs1's lanes, {tree}"),
        one(4, 32, "vcvt.i32.f32",
            "to signed integer, nearest even, clamped to the range; a NaN to the greatest"),
        one(4, 33, "vcvt.f32.i32", "signed integer to FP32, to nearest even"),
        two(5, 0, "vadd.i32", "vs1 + vs2"),
        two(5, 1, "vsub.i32", "vs1 - vs2"),
        two(5, 2, "vmul.i32", "low 32 bits of vs1 x vs2"),
        two(5, 3, "vand.i32", "vs1 & vs2"),
        two(5, 4, "vor.i32", "vs1 | vs2"),
        two(5, 5, "vxor.i32", "vs1 ^ vs2"),
        two(5, 6, "vsll.i32", "vs1 shifted left by bits 4..0 of vs2"),
        two(5, 7, "vsrl.i32", "vs1 shifted right by bits 4..0 of vs2, zeros enter"),
        two(5, 8, "vsra.i32", "the same, the sign enters"),
        two(5, 9, "vmin.i32", f"the lesser of {signed}"),
        two(5, 10, "vmax.i32", f"the greater of {signed}"),
        two(5, 11, "vminu.i32", f"the lesser of {unsigned}"),
        two(5, 12, "vmaxu.i32", f"the greater of {unsigned}"),
        two(5, 16, "vseq.i32", "lanes where vs1 = vs2", "md"),
        two(5, 17, "vslt.i32", f"lanes where vs1 < vs2 as {signed}", "md"),
        two(5, 18, "vsltu.i32", f"lanes where vs1 < vs2 as {unsigned}", "md"),
        one(5, 24, "vredsum.i32", "sum of vs1's lanes in every lane, low 32 bits"),
        one(5, 25, "vredmin.i32", f"least of vs1's lanes as {signed} in every lane"),
        one(5, 26, "vredmax.i32", f"greatest of vs1's lanes as {signed} in every lane"),
        one(5, 27, "vredminu.i32", f"least of vs1's lanes as {unsigned} in every lane"),
        one(5, 28, "vredmaxu.i32", f"greatest of vs1's lanes as {unsigned} in every lane"),
    ]  # fmt: skip


def _moves() -> list[Instruction]:
    """Return select, masks, transposes and everything else that only moves bits."""

    def move(f3: int, f7: int, name: str, syntax: str, text: str, doc: str = "") -> Instruction:
        return _row(name, Extension.XD1, Unit.VECTOR_MOVE, syntax, text, _CUSTOM2, funct3=f3,
                    funct7=f7, doc=doc)  # fmt: skip

    def by_op4(op4: int, name: str, syntax: str, text: str, doc: str = "") -> Instruction:
        return move(6, op4 << 3, name, syntax, text, doc)

    def masks(op4: int, name: str, doc: str) -> Instruction:
        return by_op4(op4, name, "md, ms1, ms2", f"m[md] = {name}(m[ms1], m[ms2])", doc)

    def permute(f7: int, name: str, doc: str) -> Instruction:
        return move(7, f7, name, "vd, vs1", f"v[vd] = {name.replace('.', '_')}(v[vs1])", doc)

    def pad(f7: int, bits: int, shape: str) -> Instruction:
        return move(7, f7, f"vpad.b{bits}", "vd, vs2, rs1", f"v[vd] = vpad_b{bits}(v[vs2], a)",
                    f"of {shape} elements of {bits} bits keep the first rows (bits 7..0 of rs1) "
                    "and columns (15..8), the rest is 0")  # fmt: skip

    return [
        by_op4(0, "vsel", "vd, vs1, vs2, ms", "v[vd] = vsel(v[vs1], v[vs2], m[ms])",
               "lanes in the mask from vs1, the others from vs2"),
        masks(1, "mand", "lanes in both masks"),
        masks(2, "mor", "lanes in either mask"),
        masks(3, "mxor", "lanes in one mask but not in both"),
        masks(4, "mandn", "lanes in ms1 but not in ms2"),
        by_op4(5, "vmv.m.x", "md, rs1", "m[md] = vmv_m_x(a, LANES)", "bit i of rs1 for lane i"),
        by_op4(6, "vmv.x.m", "rd, ms1", "x[rd] = vmv_x_m(m[ms1])", "lane i to bit i, the rest 0"),
        permute(0, "vtrans.b8", "transpose 8 x R elements of 8 bits to R x 8"),
        permute(1, "vtrans.b16", "transpose 4 x R elements of 16 bits to R x 4"),
        permute(2, "vtrans.b32", "transpose P x Q elements of 32 bits to Q x P"),
        permute(3, "vtransi.b8", "undo vtrans.b8"),
        permute(4, "vtransi.b16", "undo vtrans.b16"),
        move(7, 5, "vshuf", "vd, vs1, vs2", "v[vd] = vshuf(v[vs1], v[vs2])",
             "vd[i] = vs1[vs2[i] mod LANES]"),
        move(7, 6, "vbc.x", "vd, rs1", "v[vd] = vbc_x(a)", "low 32 bits of rs1 into every lane"),
        move(7, 7, "vbc.l", "vd, vs1, lane", "v[vd] = vbc_l(v[vs1], lane)",
             "one lane into every lane"),
        move(7, 8, "vmv.x.v", "rd, vs1, lane", "x[rd] = vmv_x_v(v[vs1], lane)",
             "one lane, sign-extended"),
        pad(9, 8, "R x 8"),
        pad(10, 16, "R x 4"),
        pad(11, 32, "P x Q"),
        _row("vslide", Extension.XD1, Unit.VECTOR_MOVE, "vd, vs1, vs2, slide",
             "v[vd] = vslide(v[vs1], v[vs2], slide)", _CUSTOM2, funct3=7, funct7=32,
             doc="vd[i] = lane i + n of vs1 followed by vs2; n at most LANES"),
    ]  # fmt: skip


def _communication() -> list[Instruction]:
    """Return transfers between nodes, semaphores, the barrier and linked records."""

    def row(f7: int, name: str, unit: Unit, syntax: str, text: str, doc: str) -> Instruction:
        return _row(name, Extension.XD1, unit, syntax, text, _CUSTOM1, funct3=6, funct7=f7,
                    doc=doc)  # fmt: skip

    lines = "imm lines (0: 32)"
    return [
        row(0, "push", Unit.TRANSFER, "rs1, rs2, imm_lines", "push(a, b, imm)",
            f"write {lines} from local rs1 to the global address rs2"),
        row(1, "pull", Unit.TRANSFER, "rs1, rs2, imm_lines", "pull(a, b, imm)",
            f"read {lines} from the global address rs2 to local rs1"),
        row(2, "bcast", Unit.TRANSFER, "rs1, rs2, imm_lines", "bcast(a, b, imm)",
            f"write {lines} from local rs1 to a rectangle of nodes, rs2"),
        row(3, "post", Unit.TRANSFER, "rs1, imm_post", "post(a, imm)",
            "add 1 to a semaphore of the node in which the global address rs1 is"),
        row(4, "xlist", Unit.TRANSFER, "rs1", "xlist(a)",
            "start the list of transfers at local rs1"),
        row(5, "spost", Unit.SEMAPHORE, "imm_sem", "spost(imm)",
            "add 1 to a semaphore of the own node; 65535 stays"),
        row(6, "swait", Unit.SEMAPHORE, "imm_sem", "swait(imm)",
            "wait until a semaphore is not 0, then subtract 1"),
        row(7, "barrier", Unit.SEMAPHORE, "imm_threads", "barrier(imm)",
            "wait until every thread of the set (0: of the node) waits for the same set"),
        row(8, "lwalk", Unit.LINK, "rd, rs1, rs2", "x[rd] = lwalk(a, b)",
            "from p = rs1 follow rs2 links p = load(p, 8), or as many as there are before p = 0"),
        row(9, "lfind", Unit.LINK, "rd, rs1, rs2", "x[rd] = lfind(a, b)",
            "the first record of the list at rs1 whose 64-bit key at +8 is rs2, or 0"),
    ]  # fmt: skip


def _matrix() -> list[Instruction]:
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

    return [
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
        _row("mrd", ext, Unit.MATRIX_READ, "vd, acc_s, part", "v[vd] = acc_part(acc[acc_s], part)",
             _CUSTOM3, funct3=7, funct7=1, doc="read part p of an accumulator, row-major FP32"),
        _row("mwr", ext, Unit.MATRIX, "acc_d, vs1, part",
             "acc[acc_d] = set_acc_part(acc[acc_d], v[vs1], part)", _CUSTOM3, funct3=7, funct7=2,
             doc="write part p of an accumulator; the rest stays"),
    ]  # fmt: skip


def _xd1() -> list[Instruction]:
    return [
        *_vector_memory(),
        *_vector_convert(),
        *_simd(),
        *_moves(),
        *_matrix(),
        *_communication(),
    ]


#: The table, in the order of the documentation.
INSTRUCTIONS: tuple[Instruction, ...] = (*_rv64i(), *_rv64m(), *_system(), *_xd1())

INSTRUCTION_BY_NAME: dict[str, Instruction] = {row.name: row for row in INSTRUCTIONS}


def decode(word: int) -> Instruction | None:
    """Return the row that an instruction word is, or None if it is illegal.

    Operand values that a preset does not have are illegal too, but do not depend on this table
    alone: see `operand_count`; unknown CSRs are for the node to check.
    """
    for row in _BY_OPCODE.get(word & 0x7F, ()):
        if word & row.mask == row.match:
            return row
    return None


def operand_count(row: Instruction, operand: Operand, params: NodeParams) -> int | None:
    """Return how many values from 0 on an operand may have on a node, None if all that fit.

    Any other value makes the word an illegal instruction.
    """
    match operand.kind:
        case OperandKind.ACCUMULATOR:
            return params.accumulators
        case OperandKind.PART if row.unit is Unit.VECTOR_CONVERT:
            return 2 if "bf16" in row.name else 4
        case OperandKind.PART:
            return params.accumulator_parts
        case OperandKind.LANE:
            return params.fp32_lanes
        case OperandKind.SLIDE:
            return params.fp32_lanes + 1
        case OperandKind.SEMAPHORE:
            return params.semaphores
        case OperandKind.THREADS:
            return 1 << params.threads
    return None


def is_legal(word: int, params: NodeParams) -> bool:
    """Tell whether a word is in the table with operands that a node has, CSRs not looked at."""
    row = decode(word)
    if row is None:
        return False
    counts = ((operand_count(row, operand, params), operand) for operand in row.operands)
    return all(count is None or operand.extract(word) < count for count, operand in counts)


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
