"""Write the program of a product for its schedule, and the table of passes that it reads.

All threads run the same program. Each finds its passes in the table by its number and has the
blocks of one after the other computed by the code for their kind:

    for each pass of the thread:
        for each block of the pass: sum it up over k; store it

Data at a0: the result, the register side, the memory side (`layout` gives their inner order), the
table. A pass is five words: which code (0: the end), then where result, register side and memory
side begin and where the register side ends, in bytes from a0. Before all passes the table says
where those of each thread begin.
"""

from __future__ import annotations

import numpy as np
from d1_golden.csr import CSR_BY_NAME
from d1_golden.numerics import Cfp8Config, Cfp8Format
from numpy.typing import NDArray

from d1.compiler.block import DATA, MEMORY_START, REGISTER, RESULT, Block
from d1.compiler.emitter import Emitter
from d1.compiler.lane_block import LaneBlock
from d1.compiler.matrix_block import MatrixBlock
from d1.compiler.schedule import PASS_BYTES, Schedule

__all__ = ["generate", "pass_table"]

# Scalar registers besides those of `block`.
_CODE, _ENTRY, _SCRATCH = 7, 8, 9
_REGISTER_END, _PASS = 6, 15
_CONSTANTS = range(16, 32)

_WORD_BYTES = 4


def generate(schedule: Schedule) -> bytes:
    """Return the machine code for a schedule; starts with a0 = address of the data, ends in ecall.

    Runs in threads 0 to `len(schedule.passes)` - 1. Position independent. Uses no memory but its
    data and changes no CSR but mcfp8a and mcfp8b.
    """
    code = Emitter(_CONSTANTS, _SCRATCH)
    if isinstance(schedule.formats, tuple):
        for name, config in zip(("mcfp8a", "mcfp8b"), schedule.formats, strict=True):
            code.set(_SCRATCH, _cfp8_csr(config))
            code.emit("csrrw", rd=0, csr=CSR_BY_NAME[name].number, rs1=_SCRATCH)
    _find_passes(code, schedule)
    _take_pass(code)
    # Which code: each entry of this table is a jump.
    code.place("table")
    code.emit("ecall")
    for number in range(len(schedule.kinds)):
        code.jump(f"kind {number}")
    for number, kind in enumerate(schedule.kinds):
        code.place(f"kind {number}")
        block: Block = (LaneBlock if schedule.tile.in_lanes else MatrixBlock)(code, schedule, kind)
        block.load_first()
        with code.until(REGISTER, _REGISTER_END):
            block.sum_up()
            block.store()
        code.jump("next pass")
    return code.program()


def pass_table(schedule: Schedule) -> NDArray[np.uint32]:
    """Return the table of passes, which lies behind the memory side."""
    entries = {kind: _WORD_BYTES * (n + 1) for n, kind in enumerate(schedule.kinds)}
    step = schedule.vectors * schedule.tile.register_bytes
    starts: list[int] = []
    words: list[int] = []
    behind_starts = schedule.table + _WORD_BYTES * len(schedule.passes)
    for passes in schedule.passes:
        starts.append(behind_starts + _WORD_BYTES * len(words))
        for p in passes:
            end = p.register + p.count * p.kind.p * step
            words += (entries[p.kind], p.result, p.register, p.memory, end)
        words += [0] * (PASS_BYTES // _WORD_BYTES)
    return np.array(starts + words, np.uint32)


def _find_passes(code: Emitter, schedule: Schedule) -> None:
    """Emit the search for the thread's first pass and for the jumps."""
    code.emit("csrrs", rd=_ENTRY, csr=CSR_BY_NAME["mhartid"].number, rs1=0)
    code.add(_PASS, DATA, schedule.table)
    code.emit("slli", rd=_ENTRY, rs1=_ENTRY, imm=_WORD_BYTES.bit_length() - 1)
    code.emit("add", rd=_PASS, rs1=_PASS, rs2=_ENTRY)
    code.emit("lwu", rd=_PASS, rs1=_PASS, imm=0)
    code.address(_CODE, "table")
    code.emit("add", rd=_PASS, rs1=_PASS, rs2=DATA)


def _take_pass(code: Emitter) -> None:
    """Emit the loading of a pass and the jump to its code."""
    code.place("next pass")
    registers = (_ENTRY, RESULT, REGISTER, MEMORY_START, _REGISTER_END)
    for word, register in enumerate(registers):
        code.emit("lwu", rd=register, rs1=_PASS, imm=_WORD_BYTES * word)
    code.add(_PASS, _PASS, PASS_BYTES)
    code.emit("add", rd=_ENTRY, rs1=_ENTRY, rs2=_CODE)
    for register in registers[1:]:
        code.emit("add", rd=register, rs1=register, rs2=DATA)
    code.emit("jalr", rd=0, rs1=_ENTRY, imm=0)


def _cfp8_csr(config: Cfp8Config) -> int:
    """Return the value of mcfp8a and mcfp8b that means a format."""
    return config.bias | (config.format is Cfp8Format.CFP8_1_5_2) << 6
