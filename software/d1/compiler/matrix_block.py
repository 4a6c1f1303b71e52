"""Blocks that the matrix unit sums up."""

from __future__ import annotations

from collections.abc import Callable

from d1.compiler.block import REGISTER, RESULT, Block
from d1.compiler.emitter import Emitter
from d1.compiler.schedule import BlockKind, Schedule
from d1.compiler.tile import REGISTER_SIDE_VECTORS

__all__ = ["MatrixBlock"]

#: Vector registers that accumulators pass through, and how many of them are on their way at once.
_CARRIERS = range(REGISTER_SIDE_VECTORS, 32)
_IN_FLIGHT = 8


class MatrixBlock(Block):
    """A block of BF16 or CFP8, in the accumulators.

    Only the register-side tiles of the next vector are loaded ahead, in the other of two sets of
    registers, so that no matrix instruction waits for its load. The first matrix instruction on an
    accumulator overwrites it; where sums are continued they are written to the accumulators
    instead. Parameters are those of `Block`.
    """

    def __init__(self, code: Emitter, schedule: Schedule, kind: BlockKind) -> None:
        super().__init__(code, schedule, kind)
        # Chosen so that every run after the head starts with set 0.
        self._first_set = self.head & 1

    def load_first(self) -> None:  # noqa: D102
        self._load(self._first_set, 0)

    def begin(self) -> None:  # noqa: D102
        if self.schedule.accumulate:
            self._carry(self._load_part, self._write_part)

    def run(  # noqa: D102
        self,
        vectors: int,
        *,
        halves: int | None = None,
        starts: bool = False,
        last: int | None = None,
    ) -> None:
        register_set = self._first_set if starts else 0
        for vector in range(vectors):
            if vector + 1 != last:
                self._load(1 - register_set, vector + 1)
            for half in range(halves or self.schedule.tile.halves):
                first = starts and vector == half == 0 and not self.schedule.accumulate
                self._steps(self.schedule.tile.step(half, first=first), register_set, vector)
            register_set = 1 - register_set
        self.move_pointers(vectors)

    def finish(self) -> None:  # noqa: D102
        self._carry(self._read_part, self._store_part)

    def _load(self, register_set: int, vector: int) -> None:
        for i in range(self.kind.p):
            vd = register_set * (REGISTER_SIDE_VECTORS // 2) + i
            self.code.emit("vld", vd=vd, rs1=REGISTER, imm=vector * self.kind.p + i)

    def _steps(self, mnemonic: str, register_set: int, vector: int) -> None:
        for i in range(self.kind.p):
            for j in range(self.kind.q):
                self.code.emit(
                    mnemonic,
                    acc_d=i * self.kind.q + j,
                    vs2=register_set * (REGISTER_SIDE_VECTORS // 2) + i,
                    rs1=self.memory,
                    imm=vector * self.kind.panel + j,
                )

    def _carry(self, take: Callable[[int, int], None], put: Callable[[int, int], None]) -> None:
        """Move every part of every accumulator, so many on their way at once as hides latency."""
        parts = self.kind.p * self.kind.q * self.schedule.tile.result_vectors
        for part in range(parts + _IN_FLIGHT):
            if part >= _IN_FLIGHT:
                put(part - _IN_FLIGHT, _CARRIERS[(part - _IN_FLIGHT) % len(_CARRIERS)])
            if part < parts:
                take(part, _CARRIERS[part % len(_CARRIERS)])

    def _load_part(self, part: int, vector: int) -> None:
        self.code.emit("vld", vd=vector, rs1=RESULT, imm=self.result_vector(part))

    def _store_part(self, part: int, vector: int) -> None:
        self.code.emit("vst", vs2=vector, rs1=RESULT, imm=self.result_vector(part))

    def _read_part(self, part: int, vector: int) -> None:
        accumulator, part = divmod(part, self.schedule.tile.result_vectors)
        self.code.emit("mrd", vd=vector, acc_s=accumulator, part=part)

    def _write_part(self, part: int, vector: int) -> None:
        accumulator, part = divmod(part, self.schedule.tile.result_vectors)
        self.code.emit("mwr", acc_d=accumulator, vs1=vector, part=part)
