"""The code for one block of a product: what the units that sum it up have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from d1.compiler.emitter import Emitter
from d1.compiler.schedule import BlockKind, Schedule

__all__ = ["DATA", "MEMORY", "MEMORY_START", "REGISTER", "RESULT", "Block"]

# Scalar registers: the data; where a block is in the result, the register side and the memory side.
DATA, RESULT, REGISTER, MEMORY_START, MEMORY = 10, 11, 12, 13, 14
_RUN_END = 5


class Block(ABC):
    """The code for one block of p x q tiles.

    The first operands of a block are loaded before it starts. It moves the pointers into result
    and register side on to the block that lies behind.

    Parameters
    ----------
    code
        Where the code is appended.
    schedule
        What the block is of.
    kind
        Its size.

    """

    def __init__(self, code: Emitter, schedule: Schedule, kind: BlockKind) -> None:
        self.code, self.schedule, self.kind = code, schedule, kind
        self.head, self.body, self.repeats, self.tail = schedule.runs(kind)
        # One run needs no pointer of its own to move along the memory side.
        self.single_run = not self.repeats and not self.tail
        self.memory = MEMORY_START if self.single_run else MEMORY

    @abstractmethod
    def load_first(self) -> None:
        """Emit the loading of a block's first operands."""

    def sum_up(self) -> None:
        """Emit the sum of all of k; the first operands are loaded."""
        self.begin()
        self.code.add(self.memory, MEMORY_START, 0)
        last = self.head if self.single_run else None
        self.run(self.head, starts=True, last=last)
        if self.repeats:
            step = self.body * self.kind.p * self.schedule.tile.register_bytes
            with self.code.repeat(self.repeats, pointer=REGISTER, step=step, end=_RUN_END):
                # The last time round this loads past the block: not used, and within the data.
                self.run(self.body)
        if self.tail:
            self.run(1, halves=1, starts=not self.head, last=1)

    def store(self) -> None:
        """Emit the storing of the sums and the loading of the next block's first operands."""
        self.load_first()
        self.finish()
        kind, tile = self.kind, self.schedule.tile
        self.code.add(RESULT, RESULT, kind.p * kind.panel * tile.result_bytes)

    @abstractmethod
    def begin(self) -> None:
        """Emit what has to be done before the first step."""

    @abstractmethod
    def run(
        self,
        vectors: int,
        *,
        halves: int | None = None,
        starts: bool = False,
        last: int | None = None,
    ) -> None:
        """Emit a straight run and move the pointers past it.

        Parameters
        ----------
        vectors
            Vectors along k.
        halves
            Steps of each; all if None.
        starts
            The first step is the first of the block.
        last
            Behind so many vectors nothing more is loaded.

        """

    @abstractmethod
    def finish(self) -> None:
        """Emit the storing of the sums."""

    def move_pointers(self, vectors: int) -> None:
        """Emit what brings the pointers past some vectors."""
        tile = self.schedule.tile
        self.code.add(REGISTER, REGISTER, vectors * self.kind.p * tile.register_bytes)
        if not self.single_run:
            self.code.add(MEMORY, MEMORY, vectors * self.kind.panel * tile.memory_bytes)

    def result_vector(self, number: int) -> int:
        """Return where a vector of the block's sums is: vectors from the place of the block."""
        tile, vector = divmod(number, self.schedule.tile.result_vectors)
        i, j = divmod(tile, self.kind.q)
        return (i * self.kind.panel + j) * self.schedule.tile.result_vectors + vector
