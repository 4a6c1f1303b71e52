"""Tiles: what one accumulator holds, and what a step along k takes to add to it.

The matrix unit sums up R x C tiles in its accumulators, four terms of BF16 or CFP8 a step. Products
of FP32 are summed up by the vector lanes: a tile is one line by so many as there are lanes, in a
vector register, and a step adds one term.
"""

from __future__ import annotations

from dataclasses import dataclass

from d1_golden.numerics import BF16, FP32, Cfp8Config, FloatFormat
from d1_golden.params import NodeParams

__all__ = ["CFP8_FORMAT_BIT", "OperandFormats", "Tile", "ceil_div"]

#: BF16, FP32, or the CFP8 formats of two operands.
OperandFormats = tuple[Cfp8Config, Cfp8Config] | FloatFormat

#: Bit of `mcfp8a`, `mcfp8b` and `mcfp8c` that has the number of the format; the bias is below.
CFP8_FORMAT_BIT = 6

#: Vector registers for two sets of register-side tiles; the others carry accumulators out.
REGISTER_SIDE_VECTORS = 16
_VECTOR_REGISTERS = 32
_FP32_BYTES = 4


def ceil_div(value: int, divisor: int) -> int:
    """Return the quotient rounded up."""
    return -(-value // divisor)


@dataclass(frozen=True)
class Tile:
    """The tile of a node for operands of some formats.

    Parameters
    ----------
    params
        The node.
    formats
        BF16, FP32, or the CFP8 of both operands.

    Raises
    ------
    ValueError
        The formats are of no unit of the node.

    """

    params: NodeParams
    formats: OperandFormats = BF16

    def __post_init__(self) -> None:
        if not isinstance(self.formats, tuple) and self.formats not in (BF16, FP32):
            raise ValueError(f"formats must be BF16, FP32 or two of CFP8, not {self.formats!r}")

    @property
    def in_lanes(self) -> bool:
        """Whether vector lanes sum it up, not the matrix unit."""
        return self.formats == FP32

    @property
    def register_lines(self) -> int:
        """Rows or columns of the result that it has along the register side."""
        return 1 if self.in_lanes else self.params.matrix_rows

    @property
    def memory_lines(self) -> int:
        """Rows or columns of the result that it has along the memory side."""
        return self.params.fp32_lanes if self.in_lanes else self.params.matrix_cols

    @property
    def terms(self) -> int:
        """Terms of k that one step adds."""
        return 1 if self.in_lanes else self.params.matrix_depth

    @property
    def halves(self) -> int:
        """Steps that a vector holds operands for."""
        return 2 if isinstance(self.formats, tuple) else 1

    @property
    def word_bytes(self) -> int:
        """Bytes that a vector has of each line of an operand."""
        return _FP32_BYTES if self.in_lanes else 2 * self.params.matrix_depth

    @property
    def register_bytes(self) -> int:
        """Bytes of a tile of the register side for the steps of one vector."""
        return self.register_lines * self.word_bytes

    @property
    def memory_bytes(self) -> int:
        """Bytes of a tile of the memory side for the steps of one vector."""
        return self.memory_lines * self.word_bytes

    @property
    def result_bytes(self) -> int:
        """Bytes of the sums."""
        return self.register_lines * self.memory_lines * _FP32_BYTES

    @property
    def result_vectors(self) -> int:
        """Vectors of the sums."""
        return self.result_bytes // self.params.vector_bytes

    @property
    def is_square(self) -> bool:
        """Whether either operand may be on either side."""
        return self.register_lines == self.memory_lines

    def step(self, half: int, *, first: bool) -> str:
        """Return the matrix instruction of a step, one operand in memory.

        Parameters
        ----------
        half
            Of a vector, where it has the operands of two steps.
        first
            Whether it is the first on its accumulator.

        """
        operands = "bf16" if self.halves == 1 else ("cfp8.lo", "cfp8.hi")[half]
        return f"{'mmul' if first else 'mmac'}.{operands}.vm"

    def block_sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the tiles p x q that a thread can sum up at once.

        In lanes, registers hold the sums and the operands of one step.
        """
        if self.in_lanes:
            sizes = (
                (p, q)
                for p in range(1, _VECTOR_REGISTERS)
                for q in range(1, _VECTOR_REGISTERS)
                if p * q + p + q <= _VECTOR_REGISTERS
            )
        else:
            accumulators = self.params.accumulators
            sizes = (
                (p, q)
                for p in range(1, min(accumulators, REGISTER_SIDE_VECTORS // 2) + 1)
                for q in range(1, accumulators // p + 1)
            )
        return tuple(sizes)
