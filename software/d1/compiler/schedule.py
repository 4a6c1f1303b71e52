"""How one product that fits in SRAM is walked through by the matrix unit.

The product is cut in tiles of R x C. A *block* of p x q tiles is held in the accumulators while k
runs: for each k the p tiles of one operand are loaded in vector registers (the *register side*) and
each meets the q tiles of the other (the *memory side*), which the matrix instruction reads from
SRAM by itself. A step over k thus takes p loads and p q matrix instructions.

Which operand is on the register side does not matter to the result: C^T = B^T A^T is summed in the
same order, and the terms of a fused dot product have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from d1_golden.isa import OPERANDS
from d1_golden.numerics import Cfp8Config
from d1_golden.params import NodeParams

__all__ = ["Groups", "OperandFormats", "Schedule", "ceil_div", "choose_schedule"]

#: CFP8 of the register side and of the memory side, or None where both are BF16.
OperandFormats = tuple[Cfp8Config, Cfp8Config] | None

#: Vector registers for two sets of register-side tiles; the others carry accumulators out.
REGISTER_SIDE_VECTORS = 16
#: Matrix instructions between two uses of an accumulator below which the unit would wait.
_STEP_LATENCY = 4
#: Instructions of one straight run over k: bounds the size of a program.
_LONGEST_RUN = 256
#: Instructions around a block: pointers, loop, and the branch taken.
_BLOCK_OVERHEAD = 7


def ceil_div(value: int, divisor: int) -> int:
    """Return the quotient rounded up."""
    return -(-value // divisor)


@dataclass(frozen=True)
class Groups:
    """`count` groups of `size` tiles each, from tile `first` on."""

    first: int
    count: int
    size: int

    @staticmethod
    def cover(tiles: int, size: int) -> tuple[Groups, ...]:
        """Return groups of `size` tiles and, where they do not go evenly, a smaller last one."""
        count, rest = divmod(tiles, size)
        groups = (Groups(0, count, size), Groups(count * size, 1, rest))
        return tuple(g for g in groups if g.count and g.size)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Everything that a program for a product depends on.

    Parameters
    ----------
    params
        The node.
    batch
        Independent products of the same shape, one after the other.
    register_tiles, memory_tiles
        Tiles of the result along the operand in registers and the one in memory.
    steps
        Matrix steps that sum up one tile: a quarter of k, rounded up.
    register_group, memory_group
        p and q: tiles of a block each way.
    formats
        CFP8 of the register and the memory side; None: BF16.
    accumulate
        Whether the result in SRAM is the sum so far (of smaller k), to be continued.

    """

    params: NodeParams
    batch: int
    register_tiles: int
    memory_tiles: int
    steps: int
    register_group: int
    memory_group: int
    formats: OperandFormats = None
    accumulate: bool = False

    @property
    def halves(self) -> int:
        """Matrix steps that one vector holds operands for."""
        return 2 if self.formats else 1

    @property
    def vectors(self) -> int:
        """Vectors along k."""
        return ceil_div(self.steps, self.halves)

    @property
    def register_groups(self) -> tuple[Groups, ...]:
        """The tiles of the register side, p by p."""
        return Groups.cover(self.register_tiles, self.register_group)

    @property
    def memory_groups(self) -> tuple[Groups, ...]:
        """The tiles of the memory side, q by q."""
        return Groups.cover(self.memory_tiles, self.memory_group)

    @property
    def output_bytes(self) -> int:
        """Bytes of the result; it lies at the start of the data."""
        tiles = self.batch * self.register_tiles * self.memory_tiles
        return tiles * self.params.accumulator_bytes

    @property
    def register_bytes(self) -> int:
        """Bytes of the register side; it lies after the result."""
        return self.batch * self.register_tiles * self.vectors * self.params.vector_bytes

    @property
    def memory_bytes(self) -> int:
        """Bytes of the memory side; it lies last."""
        return self.batch * self.memory_tiles * self.vectors * self.params.vector_bytes

    @property
    def data_bytes(self) -> int:
        """Bytes of all data, with the room past the end that loading ahead may touch."""
        ahead = self.register_group * self.params.vector_bytes
        return self.output_bytes + self.register_bytes + self.memory_bytes + ahead

    @property
    def instructions(self) -> int:
        """About how many instructions the program executes, and cycles it takes if none waits."""
        total = 0
        for r in self.register_groups:
            for m in self.memory_groups:
                tiles = r.size * m.size
                vector = r.size + self.halves * max(tiles, _STEP_LATENCY)
                carry = 2 * tiles * self.params.accumulator_parts * (2 if self.accumulate else 1)
                total += r.count * m.count * (self.vectors * vector + carry + _BLOCK_OVERHEAD)
        return self.batch * total

    def runs(self, register_size: int, memory_size: int) -> tuple[int, int, int, int]:
        """Return how a block of this size is cut along its vectors into straight runs of code.

        Returns
        -------
        head, body, repeats, tail
            Vectors of the first run, of the one that is repeated (even), how often that is, and
            vectors of the last run: 1 where the last vector is used by half, else 0.

        """
        tail = self.steps % self.halves
        main = self.vectors - tail
        instructions = register_size * (1 + self.halves * memory_size)
        reach = (OPERANDS["imm_vm"].maximum + 1) // memory_size
        body = min(reach, _LONGEST_RUN // instructions) & ~1
        repeats = max(ceil_div(main, body) - 1, 0)
        return main - repeats * body, body, repeats, tail


def _block_sizes(params: NodeParams) -> Iterator[tuple[int, int]]:
    for p in range(1, min(params.accumulators, REGISTER_SIDE_VECTORS // 2) + 1):
        for q in range(1, params.accumulators // p + 1):
            yield p, q


@lru_cache(maxsize=4096)
def choose_schedule(
    params: NodeParams,
    batch: int,
    row_tiles: int,
    column_tiles: int,
    steps: int,
    formats: OperandFormats = None,
) -> tuple[Schedule, bool]:
    """Return the schedule with the fewest instructions for a product.

    Parameters
    ----------
    params, batch, steps
        As in `Schedule`.
    row_tiles, column_tiles
        Tiles of the result in each direction.
    formats
        CFP8 of the left and the right operand; None: BF16.

    Returns
    -------
    schedule, swapped
        `swapped`: the right operand is on the register side and the result is transposed.

    """

    def candidate(swapped: bool, p: int, q: int) -> Schedule:
        register, memory = (column_tiles, row_tiles) if swapped else (row_tiles, column_tiles)
        return Schedule(
            params=params,
            batch=batch,
            register_tiles=register,
            memory_tiles=memory,
            steps=steps,
            register_group=p,
            memory_group=q,
            formats=formats[::-1] if formats and swapped else formats,
        )

    candidates = [
        (candidate(swapped, p, q), swapped)
        for swapped in (False, True)
        for p, q in _block_sizes(params)
        if p <= (column_tiles if swapped else row_tiles)
        and q <= (row_tiles if swapped else column_tiles)
    ]
    return min(candidates, key=lambda c: c[0].instructions)
