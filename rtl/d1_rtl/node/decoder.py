"""Instruction decoder, generated from the instruction table."""

from amaranth.hdl import Const, Module, Mux, Value
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.isa import INSTRUCTIONS, Instruction, OperandKind, operand_count
from d1_golden.isa import Unit as TableUnit
from d1_golden.params import NodeParams

from .convert_unit import ConvertOp
from .link_unit import LinkOp
from .matrix_unit import MatrixOp
from .micro_op import (
    AluOp,
    BranchOp,
    CsrOp,
    MulDivOp,
    OperandA,
    SemaphoreOp,
    SystemOp,
    Unit,
    field,
    micro_op_layout,
)
from .move_unit import MoveOp
from .simd_unit import SimdOp
from .transfer_engine import TransferOp

__all__ = ["Decoder"]

_OPCODE_BITS = 7
_MATRIX_MOVES = {"mzero": MatrixOp.ZERO, "mwr": MatrixOp.WRITE}
_MEMORY = (
    TableUnit.VECTOR_LOAD,
    TableUnit.VECTOR_STORE,
    TableUnit.VECTOR_GATHER,
    TableUnit.VECTOR_SCATTER,
)
#: Operations of the units whose operations have the names of their instructions.
_BY_NAME: dict[TableUnit, type[enum.Enum]] = {
    TableUnit.BRANCH: BranchOp,
    TableUnit.SYSTEM: SystemOp,
    TableUnit.VECTOR_SIMD: SimdOp,
    TableUnit.VECTOR_MOVE: MoveOp,
    TableUnit.TRANSFER: TransferOp,
    TableUnit.SEMAPHORE: SemaphoreOp,
    TableUnit.LINK: LinkOp,
}


def _operation(row: Instruction) -> enum.Enum | None:
    """Return the operation of a row's unit that has the row's name, or None if it needs none."""
    name = row.name.upper().replace(".", "_")
    has_immediate = any(operand.name.startswith("imm") for operand in row.operands)
    if row.unit in _BY_NAME:
        return _BY_NAME[row.unit][name]
    match row.unit:
        case TableUnit.ALU:
            if OperandA.RS1 is not _operand_a(row):
                return AluOp.ADD  # lui and auipc
            base = name.removesuffix("W") if _is_word(row) else name
            return AluOp[base.replace("I", "") if has_immediate else base]
        case TableUnit.MULDIV:
            return MulDivOp[name.removesuffix("W") if _is_word(row) else name]
        case TableUnit.CSR:
            return CsrOp[name.removesuffix("I")]
        case TableUnit.MATRIX | TableUnit.MATRIX_MEMORY:
            return _MATRIX_MOVES.get(row.name, MatrixOp.STEP)
        case TableUnit.VECTOR_CONVERT:
            _, to, source = name.replace("F32", "FP32").split("_")
            return ConvertOp[f"{to}_FROM_{source}"]
    return None


def _is_word(row: Instruction) -> bool:
    return row.unit in (TableUnit.ALU, TableUnit.MULDIV) and "32" in row.semantics


def _operand_a(row: Instruction) -> OperandA:
    if any(operand.name == "rs1" for operand in row.operands):
        return OperandA.RS1
    return OperandA.PC if "pc" in row.semantics else OperandA.ZERO


class Decoder(wiring.Component):
    """Turn an instruction word into a micro-operation; golden twin: `d1_golden.isa.decode`.

    A word that is not in the table, or names an accumulator, a part or a lane that the preset does
    not have, decodes to unit NONE. CSR numbers are checked where the CSRs are. Combinational.

    Parameters
    ----------
    params
        Which accumulators and parts there are, and the scale of vector offsets.

    Members
    -------
    insn : In(32)
    uop : Out(micro_op_layout())

    Ref: The RISC-V Instruction Set Manual, Volume I: Unprivileged ISA, chapter 35, "RV32/64G
    Instruction Set Listings".
    """

    #: The instruction word.
    insn: In(32)
    #: What it says.
    uop: Out(micro_op_layout())

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        rows: dict[int, list[Instruction]] = {}
        for row in INSTRUCTIONS:
            rows.setdefault(row.match & (1 << _OPCODE_BITS) - 1, []).append(row)
        with m.Switch(self.insn[:_OPCODE_BITS]):
            for opcode, group in rows.items():
                with m.Case(opcode), m.Switch(self.insn):
                    for row in group:
                        with m.Case(_pattern(row)):
                            self._decode_row(m, row)
        return m

    def _decode_row(self, m: Module, row: Instruction) -> None:
        """Set the outputs for one row of the table."""
        uop, insn = self.uop, self.insn
        kinds = {operand.name: operand for operand in row.operands}
        legal = self._legal(row)
        m.d.comb += [
            uop.unit.eq(Mux(legal, Unit(row.unit.value), Unit.NONE)),
            uop.word.eq(_is_word(row)),
            uop.a.eq(_operand_a(row)),
            uop.b_immediate.eq("rs2" not in kinds),
            uop.size_log2.eq(max(row.access_bytes, 1).bit_length() - 1),
            uop.unsigned.eq("sext" not in row.semantics),
            uop.writes_rd.eq("rd" in kinds and field(insn, "rd").any()),
            uop.reads_rs1.eq("rs1" in kinds and field(insn, "rs1").any()),
            uop.reads_rs2.eq("rs2" in kinds and field(insn, "rs2").any()),
            uop.reads_vs1.eq("vs1" in kinds),
            uop.reads_vs2.eq("vs2" in kinds),
            uop.reads_vd.eq("vs3" in kinds or "v[vd]" in row.semantics.partition("=")[2]),
            uop.writes_vd.eq("vd" in kinds),
            uop.first.eq(row.name.startswith("mmul")),
            uop.cfp8.eq(".cfp8." in row.name),
            uop.half.eq(".hi." in row.name),
            uop.reads_m.eq("ms" in kinds),
            uop.reads_m1.eq("ms1" in kinds),
            uop.reads_m2.eq("ms2" in kinds),
            uop.writes_m.eq("md" in kinds),
            uop.broadcast.eq(row.unit is TableUnit.VECTOR_LOAD and row.access_bytes > 0),
            uop.masked.eq(row.unit in _MEMORY and "ms" in kinds),
        ]
        if (operation := _operation(row)) is not None:
            m.d.comb += uop.op.eq(operation)
        for name, operand in kinds.items():
            if operand.kind is OperandKind.IMMEDIATE:
                m.d.comb += uop.immediate.eq(field(insn, name))
            elif operand.kind is OperandKind.VECTOR_OFFSET:
                scale = self._params.vector_bytes.bit_length() - 1
                m.d.comb += uop.immediate.eq(field(insn, name) << scale)

    def _legal(self, row: Instruction) -> Value:
        """Return whether the preset has what the operands of the word name."""
        legal: Value = Const(1)
        for operand in row.operands:
            count = operand_count(row, operand, self._params)
            if count is not None and count <= operand.maximum:
                legal = legal & (field(self.insn, operand) < count)
        return legal


def _pattern(row: Instruction) -> str:
    """Return the bits of a row as a pattern of `Switch`, operands as don't-cares."""
    return "".join(
        str(row.match >> bit & 1) if row.mask >> bit & 1 else "-" for bit in reversed(range(32))
    )
