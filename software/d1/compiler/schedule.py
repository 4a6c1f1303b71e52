"""How one product that fits in SRAM is walked through by the threads of a node.

The product is cut in tiles (`Tile`). A *block* of p x q tiles is summed up while k runs: for each k
the p tiles of one operand are loaded in vector registers (the *register side*) and each meets the q
tiles of the other (the *memory side*), which the matrix instruction reads from SRAM by itself. A
step over k thus takes p loads and p q matrix instructions. FP32 has the p numbers of the register
side broadcast and loads the q vectors of the memory side too.

Which operand is on the register side does not matter to the result: C^T = B^T A^T is summed in the
same order, and the terms of a fused dot product have none.

Every block belongs to one thread. Threads divide the blocks, in the order of the result, in nearly
equal shares. Where all of them finished their blocks at the same time, they would all read out
accumulators at once and leave the matrix unit idle meanwhile; so a thread may begin with a *lead*,
only some tiles of its first block, and leave the others for the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest

from d1_golden.isa import OPERANDS
from d1_golden.numerics import BF16
from d1_golden.params import NodeParams

from d1.compiler.tile import OperandFormats, Tile, ceil_div

__all__ = ["PASS_BYTES", "BlockKind", "Groups", "Pass", "Schedule"]

_WORD_BYTES = 4
#: Bytes of a pass in the table that the program reads: five words of 32 bits.
PASS_BYTES = 5 * _WORD_BYTES


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


@dataclass(frozen=True, order=True)
class BlockKind:
    """Blocks that the same code computes: `p` x `q` tiles, in a memory group of `panel` tiles."""

    p: int
    q: int
    panel: int


@dataclass(frozen=True)
class Pass:
    """Blocks of one kind, side by side along the register side, that a thread computes in turn.

    Parameters
    ----------
    kind
        Their size.
    count
        How many they are.
    result, register, memory
        Where the first one's tiles are: bytes from the start of the data.
    batch, register_tile, memory_tile
        Which tiles these are, of which product.

    """

    kind: BlockKind
    count: int
    result: int
    register: int
    memory: int
    batch: int
    register_tile: int
    memory_tile: int


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
        Steps that sum up one tile: k divided by `Tile.terms`, rounded up.
    register_group, memory_group
        p and q: tiles of a block each way.
    formats
        BF16, FP32, or CFP8 of the register and the memory side.
    accumulate
        Whether the result in SRAM is the sum so far (of smaller k), to be continued.
    threads
        Threads that divide the blocks.
    leads
        For each thread the memory-side tiles of its first block that it begins with; 0, and for
        threads beyond: all.
    unroll
        Vectors along k of a loop's body; even.
    register_at, memory_at
        Where the sides are: bytes from the start of the data. By default the register side lies
        behind the result and the memory side behind that.

    Raises
    ------
    ValueError
        There are not so many threads, or `unroll` is not even.

    """

    params: NodeParams
    batch: int
    register_tiles: int
    memory_tiles: int
    steps: int
    register_group: int
    memory_group: int
    formats: OperandFormats = BF16
    accumulate: bool = False
    threads: int = 1
    leads: tuple[int, ...] = ()
    unroll: int = 4
    register_at: int | None = None
    memory_at: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= self.params.threads:
            raise ValueError(f"threads must be in 1..{self.params.threads}, not {self.threads!r}")
        if self.unroll < 2 or self.unroll % 2:
            raise ValueError(f"unroll must be even and at least 2, not {self.unroll!r}")

    @cached_property
    def tile(self) -> Tile:
        """What one accumulator holds."""
        return Tile(self.params, self.formats)

    @property
    def vectors(self) -> int:
        """Vectors along k."""
        return ceil_div(self.steps, self.tile.halves)

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
        return self.batch * self.register_tiles * self.memory_tiles * self.tile.result_bytes

    @property
    def register_bytes(self) -> int:
        """Bytes of the register side, in whole vectors."""
        whole = self.batch * self.register_tiles * self.vectors * self.tile.register_bytes
        return ceil_div(whole, self.params.vector_bytes) * self.params.vector_bytes

    @property
    def memory_bytes(self) -> int:
        """Bytes of the memory side."""
        return self.batch * self.memory_tiles * self.vectors * self.tile.memory_bytes

    @property
    def register_start(self) -> int:
        """Where the register side is: bytes from the start of the data."""
        return self.output_bytes if self.register_at is None else self.register_at

    @property
    def memory_start(self) -> int:
        """Where the memory side is: bytes from the start of the data."""
        behind = self.register_start + self.register_bytes
        return behind if self.memory_at is None else self.memory_at

    @property
    def table(self) -> int:
        """Where the table of passes is: bytes from the start of the data."""
        return self.memory_start + self.memory_bytes

    @property
    def table_bytes(self) -> int:
        """Bytes of the table: for each thread where its passes are, and those with an end."""
        passes = sum(len(passes) + 1 for passes in self.passes)
        return len(self.passes) * _WORD_BYTES + passes * PASS_BYTES

    @property
    def data_bytes(self) -> int:
        """Bytes of all data, with the room past the end that loading ahead may touch."""
        ahead = max(self.register_group, self.memory_group) * self.params.vector_bytes
        return self.table + self.table_bytes + ahead

    @cached_property
    def kinds(self) -> tuple[BlockKind, ...]:
        """Kinds of blocks that there are, the first ones of the threads first."""
        in_order = (p for turn in zip_longest(*self.passes) for p in turn if p)
        return tuple(dict.fromkeys(p.kind for p in in_order))

    @cached_property
    def passes(self) -> tuple[tuple[Pass, ...], ...]:
        """What each thread computes, one pass after the other; less threads if blocks are few."""
        shares: list[list[Pass]] = [[] for _ in range(self.threads)]
        strips = list(self._strips())
        total = sum(s.count * s.kind.p * s.kind.q for s in strips)
        done, thread = 0, 0
        for strip in strips:
            weight, rest = strip.kind.p * strip.kind.q, strip
            while rest.count:
                # The share of a thread ends at the block that brings it nearest to its due.
                due = total * (thread + 1) - done * self.threads
                take = rest.count
                if thread + 1 < self.threads:
                    take = min(take, (due + weight * self.threads // 2) // (weight * self.threads))
                if take > 0:
                    shares[thread].append(replace(rest, count=take))
                    rest = self._behind(rest, take)
                    done += take * weight
                if rest.count:
                    thread += 1
        leads = (*self.leads, *self.threads * (0,))[: self.threads]
        return tuple(
            tuple(self._with_lead(share, lead))
            for share, lead in zip(shares, leads, strict=True)
            if share
        )

    def runs(self, kind: BlockKind) -> tuple[int, int, int, int]:
        """Return how a block is cut along its vectors into straight runs of code.

        Returns
        -------
        head, body, repeats, tail
            Vectors of the first run, of the one that is repeated (even), how often that is, and
            vectors of the last run: 1 where the last vector is used by half, else 0.

        """
        tail = self.steps % self.tile.halves
        main = self.vectors - tail
        # One vector is loaded ahead, and offsets are counted in vectors but for single numbers.
        operand = "imm_i" if self.tile.in_lanes else "imm_vm"
        reach = (OPERANDS[operand].maximum + 1) // kind.panel
        if self.tile.in_lanes:
            numbers = (OPERANDS["imm_i"].maximum + 1) // (kind.p * self.tile.register_bytes)
            reach = min(reach, numbers)
        body = max(min(reach - 1, self.unroll) & ~1, 2)
        repeats = max(ceil_div(main, body) - 1, 0)
        return main - repeats * body, body, repeats, tail

    def _strips(self) -> Iterator[Pass]:
        """Yield all blocks in the order of the result, as passes."""
        tile, vectors = self.tile, self.vectors
        for product in range(self.batch):
            for m in self.memory_groups:
                for group in range(m.count):
                    memory_tile = m.first + group * m.size
                    for r in self.register_groups:
                        tiles = self.register_tiles * (product * self.memory_tiles + memory_tile)
                        yield Pass(
                            BlockKind(r.size, m.size, m.size),
                            r.count,
                            (tiles + r.first * m.size) * tile.result_bytes,
                            self.register_start
                            + (product * self.register_tiles + r.first)
                            * vectors
                            * tile.register_bytes,
                            self.memory_start
                            + (product * self.memory_tiles + memory_tile)
                            * vectors
                            * tile.memory_bytes,
                            product,
                            r.first,
                            memory_tile,
                        )

    def _behind(self, strip: Pass, blocks: int) -> Pass:
        """Return what is left of a pass behind its first blocks."""
        kind, tile = strip.kind, self.tile
        return replace(
            strip,
            count=strip.count - blocks,
            result=strip.result + blocks * kind.p * kind.panel * tile.result_bytes,
            register=strip.register + blocks * kind.p * self.vectors * tile.register_bytes,
            register_tile=strip.register_tile + blocks * kind.p,
        )

    def _with_lead(self, share: list[Pass], lead: int) -> Iterator[Pass]:
        """Yield the passes of a thread with the first block's tiles behind the lead at the end."""
        first = share[0]
        if not 0 < lead < first.kind.q:
            yield from share
            return
        single = replace(first, count=1)
        yield replace(single, kind=replace(first.kind, q=lead))
        if first.count > 1:
            yield self._behind(first, 1)
        yield from share[1:]
        yield replace(
            single,
            kind=replace(first.kind, q=first.kind.q - lead),
            result=single.result + lead * self.tile.result_bytes,
            memory=single.memory + lead * self.tile.memory_bytes,
            memory_tile=single.memory_tile + lead,
        )
