"""Control and status registers of a thread, and the exception causes.

Ref: The RISC-V Instruction Set Manual, Volume II: Privileged Architecture, chapters 2 and 3.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["CSRS", "CSR_BY_NAME", "MISA", "MSTATUS_RESET", "Cause", "Csr"]

#: RV64 with extensions I, M and X (non-standard).
MISA = 2 << 62 | 1 << 8 | 1 << 12 | 1 << 23
#: MPP is fixed to machine mode (3).
MSTATUS_RESET = 3 << 11
_MIE_MPIE = 1 << 3 | 1 << 7
_M64 = (1 << 64) - 1


class Cause(enum.IntEnum):
    """Exception codes of mcause."""

    INSTRUCTION_MISALIGNED = 0
    INSTRUCTION_ACCESS_FAULT = 1
    ILLEGAL_INSTRUCTION = 2
    BREAKPOINT = 3
    LOAD_MISALIGNED = 4
    LOAD_ACCESS_FAULT = 5
    STORE_MISALIGNED = 6
    STORE_ACCESS_FAULT = 7
    ENVIRONMENT_CALL = 11
    #: A word of SRAM with more flipped bits than can be corrected (docs/ecc.md).
    HARDWARE_ERROR = 19
    #: Custom: a vector or matrix operand that is not aligned to the vector size or not in SRAM.
    VECTOR_FAULT = 24


@dataclass(frozen=True)
class Csr:
    """One CSR: a write changes the bits of `write_mask`; all others keep their reset value.

    CSRs whose number has bits 11..10 set are read only; writing one is an illegal instruction.
    """

    name: str
    number: int
    reset: int
    write_mask: int
    doc: str

    @property
    def read_only(self) -> bool:
        """Whether an attempt to write is an illegal instruction."""
        return self.number >> 10 == 3


#: Every CSR; an access to any other number is an illegal instruction.
CSRS: tuple[Csr, ...] = (
    Csr("mstatus", 0x300, MSTATUS_RESET, _MIE_MPIE, "MIE and MPIE; MPP reads 3"),
    Csr("misa", 0x301, MISA, 0, "RV64IMX"),
    Csr("mie", 0x304, 0, 0, "no interrupts: zero"),
    Csr("mtvec", 0x305, 0, _M64 & ~3, "trap handler, direct mode; 0: exceptions stop the thread"),
    Csr("mscratch", 0x340, 0, _M64, "for the trap handler"),
    Csr("mepc", 0x341, 0, _M64 & ~3, "address of the instruction that trapped"),
    Csr("mcause", 0x342, 0, 1 << 63 | 0x3F, "why it trapped (`Cause`)"),
    Csr("mtval", 0x343, 0, _M64, "the bad address or instruction"),
    Csr("mip", 0x344, 0, 0, "no interrupts: zero"),
    Csr(
        "mcfp8a",
        0x7C0,
        7,
        0x7F,
        "CFP8 of a matrix instruction's first operand: 5..0 bias, 6 set: 1-5-2, clear: 1-4-3",
    ),
    Csr("mcfp8b", 0x7C1, 7, 0x7F, "the same for the second operand"),
    Csr("mcfp8c", 0x7C2, 7, 0x7F, "the same for conversions"),
    Csr("mround", 0x7C3, 0, 1, "rounding of conversions: 0 nearest even, 1 stochastic"),
    Csr(
        "mseed",
        0x7C4,
        0,
        _M64,
        "stochastic rounding: 31..0 counter, 63..32 key; every stochastic "
        "conversion adds the number of FP32 lanes to the counter",
    ),
    Csr("mcycle", 0xB00, 0, _M64, "cycles while the thread runs (golden model: instructions)"),
    Csr("minstret", 0xB02, 0, _M64, "instructions retired"),
    Csr("cycle", 0xC00, 0, 0, "mcycle, read only"),
    Csr("instret", 0xC02, 0, 0, "minstret, read only"),
    Csr("mvendorid", 0xF11, 0, 0, "zero: not a commercial implementation"),
    Csr("marchid", 0xF12, 0, 0, "zero"),
    Csr("mimpid", 0xF13, 0, 0, "zero"),
    Csr("mhartid", 0xF14, 0, 0, "number of the thread in its node"),
)

CSR_BY_NAME: dict[str, Csr] = {csr.name: csr for csr in CSRS}
