"""Write the program of a matrix product for its schedule.

Data at a0: the result, the register side, the memory side (`layout` gives their inner order). The
program walks through the blocks of tiles in the order of the result:

    for each product of the batch, for each group of q memory-side tiles,
        for each group of p register-side tiles:
            sum up the block over k; store it

Only the register-side tiles of the next vector are loaded ahead, in the other of two sets of
registers, so that no matrix instruction waits for its load. The first matrix instruction on an
accumulator overwrites it; where sums are continued they are written to the accumulators instead.
"""

from __future__ import annotations

from collections.abc import Callable

from d1_golden.csr import CSR_BY_NAME
from d1_golden.numerics import Cfp8Config, Cfp8Format

from d1.compiler.emitter import Emitter
from d1.compiler.schedule import REGISTER_SIDE_VECTORS, Schedule

__all__ = ["generate"]

# Scalar registers.
_RUN_END, _REGISTER_END, _MEMORY_END, _BATCH_END, _SCRATCH = 5, 6, 7, 8, 9
_DATA = 10  # a0: also the place in the result
_REGISTER_START, _REGISTER, _MEMORY_START, _MEMORY = 11, 12, 13, 14
_CONSTANTS = range(16, 32)

#: Vector registers that accumulators pass through, and how many of them are on their way at once.
_CARRIERS = range(REGISTER_SIDE_VECTORS, 32)
_IN_FLIGHT = 8


def generate(schedule: Schedule) -> bytes:
    """Return the machine code for a schedule; starts with a0 = address of the data, ends in ecall.

    Position independent. Uses no memory but its data and changes no CSR but mcfp8a and mcfp8b.
    """
    code = Emitter(_CONSTANTS, _SCRATCH)
    if schedule.formats:
        for name, config in zip(("mcfp8a", "mcfp8b"), schedule.formats, strict=True):
            code.set(_SCRATCH, _cfp8_csr(config))
            code.emit("csrrw", rd=0, csr=CSR_BY_NAME[name].number, rs1=_SCRATCH)
    vector_bytes = schedule.params.vector_bytes
    code.add(_REGISTER_START, _DATA, schedule.output_bytes)
    code.add(_MEMORY_START, _DATA, schedule.output_bytes + schedule.register_bytes)
    panel = schedule.vectors * vector_bytes  # one tile's worth of an operand
    product = schedule.register_tiles * panel
    with code.repeat(schedule.batch, pointer=_REGISTER_START, step=product, end=_BATCH_END):
        for memory in schedule.memory_groups:
            group = memory.size * panel
            with code.repeat(memory.count, pointer=_MEMORY_START, step=group, end=_MEMORY_END):
                code.add(_REGISTER, _REGISTER_START, 0)
                for register in schedule.register_groups:
                    block = _Block(code, schedule, register.size, memory.size)
                    block.load_first()
                    with code.repeat(
                        register.count,
                        pointer=_REGISTER,
                        step=register.size * panel,
                        end=_REGISTER_END,
                    ):
                        block.sum_up()
                        block.store()
                code.add(_MEMORY_START, _MEMORY_START, group)
        code.add(_REGISTER_START, _REGISTER_START, product)
    code.emit("ecall")
    return code.program()


def _cfp8_csr(config: Cfp8Config) -> int:
    """Return the value of mcfp8a and mcfp8b that means a format."""
    return config.bias | (config.format is Cfp8Format.CFP8_1_5_2) << 6


class _Block:
    """The code for one block of p x q tiles."""

    def __init__(self, code: Emitter, schedule: Schedule, p: int, q: int) -> None:
        self.code, self.schedule, self.p, self.q = code, schedule, p, q
        self.vector_bytes = schedule.params.vector_bytes
        self.head, self.body, self.repeats, self.tail = schedule.runs(p, q)
        # Chosen so that every run after the head starts with set 0.
        self.first_set = self.head & 1
        # One run needs no pointer of its own to move along the memory side.
        self.single_run = not self.repeats and not self.tail
        self.memory = _MEMORY_START if self.single_run else _MEMORY

    def load_first(self) -> None:
        """Load the register side's first vectors."""
        self._load(self.first_set, 0)

    def sum_up(self) -> None:
        """Compute the block; its first register-side vectors are loaded."""
        if self.schedule.accumulate:
            self._carry(self._load_part, self._write_part)
        self.code.add(self.memory, _MEMORY_START, 0)
        last = self.head if self.single_run else None
        self._run(self.head, self.first_set, overwrite=not self.schedule.accumulate, last=last)
        if self.repeats:
            step = self.body * self.p * self.vector_bytes
            with self.code.repeat(self.repeats, pointer=_REGISTER, step=step, end=_RUN_END):
                # The last time round this loads past the block: not used, and within the data.
                self._run(self.body, 0)
        if self.tail:
            overwrite = not self.head and not self.schedule.accumulate
            self._run(1, 0, halves=1, overwrite=overwrite, last=1)

    def store(self) -> None:
        """Store the block and load the next one's first register-side vectors meanwhile."""
        self._load(self.first_set, 0)
        self._carry(self._read_part, self._store_part)
        self.code.add(_DATA, _DATA, self.p * self.q * self.schedule.params.accumulator_bytes)

    def _load(self, register_set: int, vector: int) -> None:
        for i in range(self.p):
            vd = register_set * (REGISTER_SIDE_VECTORS // 2) + i
            self.code.emit("vld", vd=vd, rs1=_REGISTER, imm=vector * self.p + i)

    def _run(
        self,
        vectors: int,
        register_set: int,
        *,
        halves: int | None = None,
        overwrite: bool = False,
        last: int | None = None,
    ) -> None:
        """Emit a straight run and move the pointers past it; nothing is loaded after `last`."""
        for vector in range(vectors):
            if vector + 1 != last:
                self._load(1 - register_set, vector + 1)
            for half in range(halves or self.schedule.halves):
                first = overwrite and vector == 0 and half == 0
                self._steps(_mnemonic(self.schedule, half, first), register_set, vector)
            register_set = 1 - register_set
        self.code.add(_REGISTER, _REGISTER, vectors * self.p * self.vector_bytes)
        if not self.single_run:
            self.code.add(_MEMORY, _MEMORY, vectors * self.q * self.vector_bytes)

    def _steps(self, mnemonic: str, register_set: int, vector: int) -> None:
        for i in range(self.p):
            for j in range(self.q):
                self.code.emit(
                    mnemonic,
                    acc_d=i * self.q + j,
                    vs2=register_set * (REGISTER_SIDE_VECTORS // 2) + i,
                    rs1=self.memory,
                    imm=vector * self.q + j,
                )

    def _carry(self, take: Callable[[int, int], None], put: Callable[[int, int], None]) -> None:
        """Move every part of every accumulator, so many on their way at once as hides latency."""
        parts = self.p * self.q * self.schedule.params.accumulator_parts
        for part in range(parts + _IN_FLIGHT):
            if part >= _IN_FLIGHT:
                put(part - _IN_FLIGHT, _CARRIERS[(part - _IN_FLIGHT) % len(_CARRIERS)])
            if part < parts:
                take(part, _CARRIERS[part % len(_CARRIERS)])

    def _load_part(self, part: int, vector: int) -> None:
        self.code.emit("vld", vd=vector, rs1=_DATA, imm=part)

    def _store_part(self, part: int, vector: int) -> None:
        self.code.emit("vst", vs2=vector, rs1=_DATA, imm=part)

    def _read_part(self, part: int, vector: int) -> None:
        accumulator, part = divmod(part, self.schedule.params.accumulator_parts)
        self.code.emit("mrd", vd=vector, acc_s=accumulator, part=part)

    def _write_part(self, part: int, vector: int) -> None:
        accumulator, part = divmod(part, self.schedule.params.accumulator_parts)
        self.code.emit("mwr", acc_d=accumulator, vs1=vector, part=part)


def _mnemonic(schedule: Schedule, half: int, first: bool) -> str:
    name = "mmul" if first else "mmac"
    if schedule.formats is None:
        return f"{name}.bf16.vm"
    return f"{name}.cfp8.{('lo', 'hi')[half]}.vm"
