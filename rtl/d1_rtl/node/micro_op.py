"""What the stages of the core hand on: fetched words, micro-operations and trapped causes.

Every encoding that the instruction table already has is taken from there; what is added is the
choice of an operation inside a unit, which follows from an instruction's name.
"""

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Cat, Const, Value, signed
from amaranth.lib import data, enum
from d1_golden import isa
from d1_golden.csr import Cause
from d1_golden.isa import OPERANDS, Operand
from d1_golden.memory_map import LOCAL_BITS

from .interfaces import THREAD_BITS

__all__ = [
    "OP_BITS",
    "SIMPLE_OPS",
    "VECTOR_MEMORY_UNITS",
    "VECTOR_UNITS",
    "AluOp",
    "BranchOp",
    "CsrOp",
    "FetchFault",
    "MulDivOp",
    "OperandA",
    "SemaphoreOp",
    "SystemOp",
    "Trap",
    "TrapCause",
    "Unit",
    "field",
    "is_one_of",
    "micro_op_layout",
    "scalar_registers",
    "slot_layout",
]


#: Bits of the choice of an operation in a unit.
OP_BITS = 6


class Unit(enum.Enum, shape=5):
    """Which unit executes: the values of :class:`d1_golden.isa.Unit`, and NONE."""

    NONE = 0  #: not an instruction
    ALU = isa.Unit.ALU.value
    BRANCH = isa.Unit.BRANCH.value
    MULDIV = isa.Unit.MULDIV.value
    LOAD = isa.Unit.LOAD.value
    STORE = isa.Unit.STORE.value
    CSR = isa.Unit.CSR.value
    SYSTEM = isa.Unit.SYSTEM.value
    VECTOR_LOAD = isa.Unit.VECTOR_LOAD.value
    VECTOR_STORE = isa.Unit.VECTOR_STORE.value
    VECTOR_GATHER = isa.Unit.VECTOR_GATHER.value
    VECTOR_SCATTER = isa.Unit.VECTOR_SCATTER.value
    VECTOR_CONVERT = isa.Unit.VECTOR_CONVERT.value
    VECTOR_SIMD = isa.Unit.VECTOR_SIMD.value
    VECTOR_MOVE = isa.Unit.VECTOR_MOVE.value
    MATRIX = isa.Unit.MATRIX.value
    MATRIX_READ = isa.Unit.MATRIX_READ.value
    MATRIX_MEMORY = isa.Unit.MATRIX_MEMORY.value
    TRANSFER = isa.Unit.TRANSFER.value
    SEMAPHORE = isa.Unit.SEMAPHORE.value
    LINK = isa.Unit.LINK.value


#: Units whose instructions access memory from a vector queue.
VECTOR_MEMORY_UNITS = (
    Unit.VECTOR_LOAD,
    Unit.VECTOR_STORE,
    Unit.VECTOR_GATHER,
    Unit.VECTOR_SCATTER,
    Unit.MATRIX_MEMORY,
)
#: Units whose instructions go through a vector queue.
VECTOR_UNITS = (
    *VECTOR_MEMORY_UNITS,
    Unit.VECTOR_CONVERT,
    Unit.VECTOR_SIMD,
    Unit.VECTOR_MOVE,
    Unit.MATRIX,
    Unit.MATRIX_READ,
)


class AluOp(enum.Enum, shape=4):
    """Integer operations; the `w` instructions are the same on 32 bits."""

    ADD = 0
    SUB = 1
    SLL = 2
    SLT = 3
    SLTU = 4
    XOR = 5
    SRL = 6
    SRA = 7
    OR = 8
    AND = 9


#: Integer operations that an address unit executes too: what its adder does, and logic.
SIMPLE_OPS = (AluOp.ADD, AluOp.XOR, AluOp.OR, AluOp.AND)


class BranchOp(enum.Enum, shape=4):
    """Conditions of branches, and the two jumps."""

    BEQ = 0
    BNE = 1
    BLT = 2
    BGE = 3
    BLTU = 4
    BGEU = 5
    JAL = 6
    JALR = 7


class MulDivOp(enum.Enum, shape=4):
    """Multiplications and divisions; the `w` instructions are the same on 32 bits."""

    MUL = 0
    MULH = 1
    MULHSU = 2
    MULHU = 3
    DIV = 4
    DIVU = 5
    REM = 6
    REMU = 7


class CsrOp(enum.Enum, shape=4):
    """How a CSR instruction changes its CSR; the `i` forms take the field of rs1 as number."""

    CSRRW = 0
    CSRRS = 1
    CSRRC = 2


class SystemOp(enum.Enum, shape=4):
    """Instructions that steer the thread itself."""

    FENCE = 0
    FENCE_I = 1
    ECALL = 2
    EBREAK = 3
    MRET = 4
    WFI = 5


class SemaphoreOp(enum.Enum, shape=4):
    """Instructions by which threads wait for each other."""

    SPOST = 0
    SWAIT = 1
    BARRIER = 2


class OperandA(enum.Enum, shape=2):
    """First operand of the ALU."""

    ZERO = 0
    RS1 = 1
    PC = 2


class FetchFault(enum.Enum, shape=2):
    """Why a word could not be fetched."""

    NONE = 0
    MISALIGNED = 1
    ACCESS = 2
    HARDWARE = 3  #: its line has a word that cannot be corrected


class TrapCause(enum.Enum, shape=6):
    """Exception codes: those of :class:`d1_golden.csr.Cause`."""

    INSTRUCTION_MISALIGNED = Cause.INSTRUCTION_MISALIGNED
    INSTRUCTION_ACCESS_FAULT = Cause.INSTRUCTION_ACCESS_FAULT
    ILLEGAL_INSTRUCTION = Cause.ILLEGAL_INSTRUCTION
    BREAKPOINT = Cause.BREAKPOINT
    LOAD_MISALIGNED = Cause.LOAD_MISALIGNED
    LOAD_ACCESS_FAULT = Cause.LOAD_ACCESS_FAULT
    STORE_MISALIGNED = Cause.STORE_MISALIGNED
    STORE_ACCESS_FAULT = Cause.STORE_ACCESS_FAULT
    ENVIRONMENT_CALL = Cause.ENVIRONMENT_CALL
    VECTOR_FAULT = Cause.VECTOR_FAULT
    HARDWARE_ERROR = Cause.HARDWARE_ERROR


class Trap(data.Struct):
    """An exception: why, where and the value that goes with it."""

    cause: TrapCause
    pc: 64
    value: 64


def field(word: Value, operand: str | Operand) -> Value:
    """Return an operand of an instruction word as the table describes it, sign-extended if signed.

    A vector offset is not scaled.
    """
    if isinstance(operand, str):
        operand = OPERANDS[operand]
    pieces: list[Value] = []
    filled = 0
    for word_lsb, width, value_lsb in sorted(operand.slices, key=lambda piece: piece[2]):
        pieces += [Const(0, value_lsb - filled), word[word_lsb : word_lsb + width]]
        filled = value_lsb + width
    value = Cat(*pieces)
    return value.as_signed() if operand.signed else value


def is_one_of(value: Any, *members: enum.Enum) -> Value:
    """Return whether an enumerated signal is one of some members."""
    return value.as_value().matches(*(Const.cast(member) for member in members))


def scalar_registers(uop: Any, insn: Value) -> Iterator[tuple[Value, Value]]:
    """Yield the scalar registers of a decoded instruction: whether it has one, and its number."""
    for used, name in ((uop.reads_rs1, "rs1"), (uop.reads_rs2, "rs2"), (uop.writes_rd, "rd")):
        yield used, field(insn, name)


def micro_op_layout() -> data.StructLayout:
    """Return the layout of a decoded instruction.

    Fields
    ------
    unit
        Who executes it; NONE for a word that is no instruction of this node.
    op
        What that unit does: a value of its operation type.
    word
        Operate on the low 32 bits and sign-extend the result.
    size_log2, unsigned
        Of a scalar load or store: log2 of its bytes, and whether a load is zero-extended.
    a, b_immediate
        Operands of the ALU; b is x[rs2] otherwise.
    immediate
        The immediate in bytes: a vector offset is scaled already.
    writes_rd, reads_rs1, reads_rs2
        Scalar registers; false for x0.
    reads_vs1, reads_vs2, reads_vd, writes_vd
        Vector registers.
    first, cfp8, half
        Of a matrix step: see `matrix_unit.matrix_operation_layout`.
    reads_m, reads_m1, reads_m2, writes_m
        Mask registers `ms`, `ms1`, `ms2` and `md`.
    broadcast, masked
        Of a vector memory access: one word for all lanes; the lanes of mask `ms` only.
    """
    return data.StructLayout(
        {
            "unit": Unit,
            "op": OP_BITS,
            "word": 1,
            "size_log2": 2,
            "unsigned": 1,
            "a": OperandA,
            "b_immediate": 1,
            "immediate": signed(32),
            "writes_rd": 1,
            "reads_rs1": 1,
            "reads_rs2": 1,
            "reads_vs1": 1,
            "reads_vs2": 1,
            "reads_vd": 1,
            "writes_vd": 1,
            "first": 1,
            "cfp8": 1,
            "half": 1,
            "reads_m": 1,
            "reads_m1": 1,
            "reads_m2": 1,
            "writes_m": 1,
            "broadcast": 1,
            "masked": 1,
        }
    )


def slot_layout() -> data.StructLayout:
    """Return the layout of an instruction in an issue slot, with its scalar operands.

    Fields
    ------
    valid, thread
        There is one, of that thread.
    group, order
        Which of the two groups of its cycle it was issued with, and its place there.
    pc, insn, fault, uop
        Where it is, what it is, and why it could not be fetched.
    predicted, target, start
        A branch that was predicted to be taken, to where, and the first address of its fetch.
    x1, x2
        x[rs1] and x[rs2].
    """
    return data.StructLayout(
        {
            "valid": 1,
            "thread": THREAD_BITS,
            "group": 1,
            "order": 2,
            "pc": LOCAL_BITS,
            "insn": 32,
            "fault": FetchFault,
            "predicted": 1,
            "target": LOCAL_BITS,
            "start": LOCAL_BITS,
            "uop": micro_op_layout(),
            "x1": 64,
            "x2": 64,
        }
    )
