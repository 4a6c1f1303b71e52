"""What random programs are made of: the frequency of each unit, and the options of a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from d1_golden.isa import Unit
from d1_golden.params import LINE_BYTES

from .random_meetings import Meeting

__all__ = ["DEFAULT_MIX", "SCALAR_MIX", "VECTOR_UNITS", "ProgramOptions"]

#: Relative frequency of instructions by unit: such that every row of the table is executed more
#: than a hundred times in a million instructions.
DEFAULT_MIX: Mapping[Unit, float] = {
    Unit.ALU: 25,
    Unit.BRANCH: 10,
    Unit.MULDIV: 8,
    Unit.LOAD: 10,
    Unit.STORE: 10,
    Unit.CSR: 4,
    Unit.SYSTEM: 3,
    Unit.VECTOR_LOAD: 7,
    Unit.VECTOR_STORE: 6,
    Unit.VECTOR_GATHER: 2,
    Unit.VECTOR_SCATTER: 2,
    Unit.VECTOR_CONVERT: 6,
    Unit.VECTOR_SIMD: 16,
    Unit.VECTOR_MOVE: 12,
    Unit.MATRIX: 10,
    Unit.MATRIX_READ: 2,
    Unit.MATRIX_MEMORY: 6,
    Unit.TRANSFER: 1,
    Unit.SEMAPHORE: 1,
    Unit.LINK: 1,
}

#: RV64IM without system instructions: what any RISC-V model can run.
SCALAR_MIX: Mapping[Unit, float] = {
    unit: DEFAULT_MIX[unit] for unit in (Unit.ALU, Unit.BRANCH, Unit.MULDIV, Unit.LOAD, Unit.STORE)
}

#: Units whose instructions have vector registers, masks or accumulators.
VECTOR_UNITS = frozenset(
    unit for unit in Unit if unit.name.startswith("VECTOR") or unit.name.startswith("MATRIX")
)


@dataclass(frozen=True, kw_only=True)
class ProgramOptions:
    """What a random program is made of.

    Parameters
    ----------
    length
        Instructions of the body, about.
    mix
        Relative frequency of instructions by unit. Without vector and matrix units the program
        does not touch them at all; the same holds for CSRs.
    traps
        Fraction of body items that raise an exception, 0..1. With more than 0 a handler is
        installed.
    control
        Whether loads and stores may go to the control block.
    vector_fault
        Whether the program ends by a vector fault in place of an `ecall`.
    base
        Address of the program, a multiple of 64.
    data_bytes
        Size of the data window, a multiple of 64 and at least 8192.
    max_loop
        Most rounds of a loop.
    thread
        The thread that runs it.
    node
        Address bits 55..24 of the node, to which its transfers go.
    meetings
        Where it meets the programs of other threads, in order.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    """

    length: int = 300
    mix: Mapping[Unit, float] = field(default_factory=lambda: DEFAULT_MIX)
    traps: float = 0.0
    control: bool = False
    vector_fault: bool = False
    base: int = 0
    data_bytes: int = 8192
    max_loop: int = 6
    thread: int = 0
    node: int = 0
    meetings: tuple[Meeting, ...] = ()

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1, not {self.length!r}")
        if not self.mix or min(self.mix.values()) < 0 or not sum(self.mix.values()) > 0:
            raise ValueError(f"mix must have a positive weight and no negative, not {self.mix!r}")
        if not 0 <= self.traps <= 1:
            raise ValueError(f"traps must be in 0..1, not {self.traps!r}")
        if self.base < 0 or self.base % LINE_BYTES:
            raise ValueError(f"base must be a multiple of {LINE_BYTES}, not {self.base!r}")
        if self.data_bytes < 8192 or self.data_bytes % LINE_BYTES:
            raise ValueError(
                f"data_bytes must be a multiple of {LINE_BYTES} of at least 8192, "
                f"not {self.data_bytes!r}"
            )
        if self.max_loop < 1:
            raise ValueError(f"max_loop must be at least 1, not {self.max_loop!r}")
        if not 0 <= self.thread <= 3:
            raise ValueError(f"thread must be in 0..3, not {self.thread!r}")
        if not 0 <= self.node < 1 << 32:
            raise ValueError(f"node must be in 0..{(1 << 32) - 1}, not {self.node!r}")

    @property
    def uses_vectors(self) -> bool:
        """Whether it has vector or matrix instructions."""
        return any(self.mix.get(unit) for unit in VECTOR_UNITS)

    @property
    def uses_csrs(self) -> bool:
        """Whether it reads or writes CSRs, if only in the trap handler."""
        return bool(self.mix.get(Unit.CSR) or self.traps)
