"""Blocks that the vector lanes sum up."""

from __future__ import annotations

from d1.compiler.block import MEMORY_START, REGISTER, RESULT, Block

__all__ = ["LaneBlock"]


class LaneBlock(Block):
    """A block of FP32, in vector registers: p numbers, each in every lane, times q vectors.

    A register is loaded with what the next step needs right behind its last use in this one. The
    loads go to the slot that the matrix unit leaves free. Parameters are those of `Block`.
    """

    def load_first(self) -> None:  # noqa: D102
        for i in range(self.kind.p):
            self._load_number(i, 0)
        for j in range(self.kind.q):
            self._load_vector(j, 0, MEMORY_START)

    def begin(self) -> None:  # noqa: D102
        for number in range(self.kind.p * self.kind.q):
            if self.schedule.accumulate:
                self.code.emit("vld", vd=number, rs1=RESULT, imm=self.result_vector(number))
            else:
                self.code.emit("vbc.x", vd=number, rs1=0)

    def run(  # noqa: D102
        self,
        vectors: int,
        *,
        halves: int | None = None,
        starts: bool = False,
        last: int | None = None,
    ) -> None:
        p, q = self.kind.p, self.kind.q
        for vector in range(vectors):
            ahead = vector + 1 != last
            for i in range(p):
                for j in range(q):
                    self.code.emit(
                        "vfmadd.f32", vd=i * q + j, vs1=self._number(i), vs2=self._vector(j)
                    )
                    if ahead and i == p - 1:
                        self._load_vector(j, vector + 1, self.memory)
                if ahead:
                    self._load_number(i, vector + 1)
        self.move_pointers(vectors)

    def finish(self) -> None:  # noqa: D102
        for number in range(self.kind.p * self.kind.q):
            self.code.emit("vst", vs2=number, rs1=RESULT, imm=self.result_vector(number))

    def _number(self, i: int) -> int:
        return self.kind.p * self.kind.q + i

    def _vector(self, j: int) -> int:
        return self.kind.p * self.kind.q + self.kind.p + j

    def _load_number(self, i: int, vector: int) -> None:
        place = vector * self.kind.p + i
        imm = place * self.schedule.tile.register_bytes
        self.code.emit("vldb", vd=self._number(i), rs1=REGISTER, imm=imm)

    def _load_vector(self, j: int, vector: int, base: int) -> None:
        imm = vector * self.kind.panel + j
        self.code.emit("vld", vd=self._vector(j), rs1=base, imm=imm)
