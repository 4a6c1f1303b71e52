"""Parameters of the machine and its named presets."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = [
    "DIES",
    "LINE_BYTES",
    "MAX_SIDE",
    "PRESETS",
    "DieParams",
    "NodeParams",
    "preset",
]

#: Bytes of an SRAM line: one row of one bank, and the payload of one packet.
LINE_BYTES = 64
#: Columns and rows that a die may have: places and doors fit the routers' tables.
MAX_SIDE = 30


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class NodeParams:
    """Everything that fixes the shape of one training node.

    Parameters
    ----------
    name
        What the preset is called.
    matrix_rows, matrix_cols, matrix_depth
        R, C and K of the matrix unit: one step multiplies an R x K tile by a K x C tile. R equals
        C, so that both operand tiles fill one vector register, and K is 4, the number of products
        in the fused dot-product block.
    accumulators
        R x C FP32 accumulators in each thread.
    threads
        Hardware threads.
    issue_groups
        Threads that issue in one cycle, each a group of instructions: 1 or 2.
    issue_width
        Instructions of a group at most: 2 or 4.
    scalar_slots
        Scalar instructions that start in one cycle: half of them in ALUs, half in address units.
    instruction_lines
        Lines of the instruction store, the copy of SRAM that is fetched from.
    branch_targets
        Entries of the branch target buffer.
    semaphores
        Semaphores of the node, each a 16-bit count. Always 32: instructions name one in 5 bits.
    sram_bytes
        Bytes of SRAM.
    sram_banks
        Banks of single-ported SRAM; consecutive lines are in consecutive banks.
    dot_fraction_bits
        F: fraction bits kept by the fused dot product below the largest exponent
        (docs/numerics.md). At most 26, so that the sum fits 32 bits.

    Raises
    ------
    ValueError
        If a parameter is out of its range; the message names it and its value.

    """

    name: str
    matrix_rows: int
    matrix_cols: int
    matrix_depth: int = 4
    accumulators: int = 8
    threads: int = 1
    issue_groups: int = 2
    issue_width: int = 4
    scalar_slots: int = 4
    instruction_lines: int = 8
    branch_targets: int = 8
    semaphores: int = 32
    sram_bytes: int
    sram_banks: int
    dot_fraction_bits: int = 26

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "name" and (not isinstance(value, int) or value <= 0):
                raise ValueError(f"{field.name} must be a positive integer, not {value!r}")
        if self.matrix_rows not in (2, 4, 8):
            raise ValueError(f"matrix_rows must be 2, 4 or 8, not {self.matrix_rows!r}")
        if self.matrix_cols != self.matrix_rows:
            raise ValueError(
                f"matrix_cols must equal matrix_rows ({self.matrix_rows}), not {self.matrix_cols!r}"
            )
        if self.matrix_depth != 4:
            raise ValueError(f"matrix_depth must be 4, not {self.matrix_depth!r}")
        if not 8 <= self.accumulators <= 16:
            raise ValueError(f"accumulators must be in 8..16, not {self.accumulators!r}")
        if self.threads > 4:
            raise ValueError(f"threads must be in 1..4, not {self.threads!r}")
        if self.issue_groups > 2:
            raise ValueError(f"issue_groups must be 1 or 2, not {self.issue_groups!r}")
        if self.issue_width not in (2, 4):
            raise ValueError(f"issue_width must be 2 or 4, not {self.issue_width!r}")
        if self.scalar_slots not in (2, 4):
            raise ValueError(f"scalar_slots must be 2 or 4, not {self.scalar_slots!r}")
        for name in ("instruction_lines", "branch_targets"):
            value = getattr(self, name)
            if not _is_power_of_two(value) or value < 4:
                raise ValueError(f"{name} must be a power of two of at least 4, not {value!r}")
        if self.semaphores != 32:
            raise ValueError(f"semaphores must be 32, not {self.semaphores!r}")
        if not _is_power_of_two(self.sram_banks):
            raise ValueError(f"sram_banks must be a power of two, not {self.sram_banks!r}")
        if self.sram_bytes % (self.sram_banks * LINE_BYTES) or self.sram_bytes > 1 << 23:
            raise ValueError(
                f"sram_bytes must be a multiple of {self.sram_banks * LINE_BYTES} (banks x line) "
                f"and at most {1 << 23}, not {self.sram_bytes!r}"
            )
        if not 16 <= self.dot_fraction_bits <= 26:
            raise ValueError(f"dot_fraction_bits must be in 16..26, not {self.dot_fraction_bits!r}")

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector register: one R x K tile of BF16."""
        return self.matrix_rows * self.matrix_depth * 2

    @property
    def fp32_lanes(self) -> int:
        """FP32 lanes of a vector register."""
        return self.vector_bytes // 4

    @property
    def accumulator_bytes(self) -> int:
        """Bytes of one accumulator: R x C FP32."""
        return self.matrix_rows * self.matrix_cols * 4

    @property
    def accumulator_parts(self) -> int:
        """Vector registers that one accumulator fills."""
        return self.accumulator_bytes // self.vector_bytes

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates of one matrix instruction: R x C x K."""
        return self.matrix_rows * self.matrix_cols * self.matrix_depth

    @property
    def bank_lines(self) -> int:
        """Lines in one SRAM bank."""
        return self.sram_bytes // (self.sram_banks * LINE_BYTES)

    @property
    def sram_text(self) -> str:
        """Size and banks of SRAM, for people."""
        banks = f"{self.sram_banks} banks" if self.sram_banks > 1 else "one bank"
        return f"{self.sram_bytes // 1024} KiB in {banks}"


#: The named presets. `d1` is the machine itself, `fpga` fits an ECP5-85F, `tiny` is the smallest
#: node that exercises every path.
PRESETS: dict[str, NodeParams] = {
    params.name: params
    for params in (
        NodeParams(
            name="d1",
            matrix_rows=8,
            matrix_cols=8,
            threads=4,
            scalar_slots=4,
            instruction_lines=128,
            branch_targets=128,
            sram_bytes=1280 * 1024,
            sram_banks=16,
        ),
        NodeParams(
            name="fpga",
            matrix_rows=2,
            matrix_cols=2,
            threads=2,
            issue_groups=1,
            issue_width=2,
            scalar_slots=2,
            instruction_lines=16,
            branch_targets=16,
            sram_bytes=256 * 1024,
            sram_banks=1,
        ),
        NodeParams(
            name="tiny",
            matrix_rows=2,
            matrix_cols=2,
            threads=4,
            scalar_slots=4,
            instruction_lines=8,
            branch_targets=8,
            sram_bytes=64 * 1024,
            sram_banks=8,
        ),
    )
}


def preset(name: str) -> NodeParams:
    """Return the preset called `name`.

    Raises
    ------
    ValueError
        If there is no such preset; the message lists those that exist.

    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise ValueError(f"preset must be one of {known}, not {name!r}") from None


@dataclass(frozen=True, kw_only=True)
class DieParams:
    """A die: a grid of places, each with a node and its routers.

    Places are (column, row), both counted from 1, row 1 in the north.

    Parameters
    ----------
    name
        What the preset is called.
    node
        The nodes, all alike.
    columns, rows
        Size of the grid.
    dead_cores
        Places without a working node; their routers work.
    dead_routers
        Places where nothing works.

    Raises
    ------
    ValueError
        If a parameter is out of its range; the message names it and its value.

    """

    name: str
    node: NodeParams
    columns: int
    rows: int
    dead_cores: tuple[tuple[int, int], ...] = ()
    dead_routers: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("columns", "rows"):
            value = getattr(self, name)
            if not 1 <= value <= MAX_SIDE:
                raise ValueError(f"{name} must be in 1..{MAX_SIDE}, not {value!r}")
        for name in ("dead_cores", "dead_routers"):
            places = tuple(sorted({(column, row) for column, row in getattr(self, name)}))
            for column, row in places:
                if not (1 <= column <= self.columns and 1 <= row <= self.rows):
                    raise ValueError(
                        f"{name} must be places of the {self.columns} x {self.rows} grid, "
                        f"not {(column, row)!r}"
                    )
            object.__setattr__(self, name, places)
        if not self.live_nodes:
            raise ValueError(f"dead_cores and dead_routers must leave a node, not {self.name!r}")

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """All places, row by row."""
        return tuple((c, r) for r in range(1, self.rows + 1) for c in range(1, self.columns + 1))

    @property
    def live_routers(self) -> tuple[tuple[int, int], ...]:
        """The places whose routers work, row by row."""
        dead = set(self.dead_routers)
        return tuple(place for place in self.places if place not in dead)

    @property
    def live_nodes(self) -> tuple[tuple[int, int], ...]:
        """The places with a working node, row by row."""
        dead = {*self.dead_cores, *self.dead_routers}
        return tuple(place for place in self.places if place not in dead)


#: The named dies. `d1` is the machine's, 354 of 360 nodes live; that the dead ones are at the
#: south end of the last column is our choice. `tiny` is for tests.
DIES: dict[str, DieParams] = {
    params.name: params
    for params in (
        DieParams(
            name="d1",
            node=PRESETS["d1"],
            columns=18,
            rows=20,
            dead_cores=tuple((18, row) for row in range(15, 21)),
        ),
        DieParams(name="tiny", node=PRESETS["tiny"], columns=3, rows=3),
    )
}
