"""Random vector programs of several threads, with what the golden node makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from d1_golden.isa import (
    INSTRUCTIONS,
    Instruction,
    OperandKind,
    Unit,
    decode,
    encode,
    operand_count,
)
from d1_golden.memory_map import ThreadRegister, ThreadStatus
from d1_golden.node import GoldenNode
from d1_golden.params import NodeParams

from .vector_bench import VectorOperation

__all__ = ["VECTOR_UNITS", "VectorProgrammer"]

#: Units of the instructions that the vector unit executes.
VECTOR_UNITS = tuple(unit for unit in Unit if unit.name.startswith(("VECTOR_", "MATRIX")))
_MEMORY = (Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.MATRIX_MEMORY)
_GATHERS = (Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER)
_CSRS = ("mcfp8a", "mcfp8b", "mcfp8c", "mround", "mseed")
#: Scalar registers with a purpose: the thread's window, the same out of range, free values, and
#: where results go.
_WINDOW, _OUTSIDE, _VALUES, _RESULTS = 1, 2, range(3, 10), (0, *range(11, 16))
_WINDOW_BYTES = 8192
_ACCESSED_BYTES = 1024
_CODE_BYTES = 64
#: Vector registers that hold the offsets of gathers, and are written by nothing else.
_OFFSETS = range(28, 32)


class VectorProgrammer:
    """Makes operations for a vector unit, with what the golden node says comes of them.

    Every thread has a window of memory of its own.

    Parameters
    ----------
    params
        Of the node.
    seed
        Of everything random.

    Members
    -------
    golden : GoldenNode
        What memory, registers and accumulators must be after all operations made so far.
    """

    def __init__(self, params: NodeParams, seed: int):
        self.params = params
        self.golden = GoldenNode(params)
        self._rng = random.Random(seed)
        numpy_rng = np.random.default_rng(seed)
        threads = params.threads
        self.golden.memory[:] = numpy_rng.integers(0, 256, params.sram_bytes, np.uint8)
        # Ordinary numbers among the patterns, so that arithmetic is not all NaNs and infinities.
        words = self.golden.memory.view(np.float32)
        words[::3] = numpy_rng.normal(size=len(words[::3])).astype(np.float32)
        for number in range(threads):
            thread = self.golden.threads[number]
            thread.x[_WINDOW] = self._window(number)
            thread.x[_OUTSIDE] = params.sram_bytes - 8
            for register in _VALUES:
                thread.x[register] = self._rng.getrandbits(64)
            for register in _VALUES[:3]:  # numbers of rows and columns
                thread.x[register] = self._rng.randrange(10) | self._rng.randrange(10) << 8
            for name in ("mcfp8a", "mcfp8b", "mcfp8c"):
                thread.write_csr(name, self._rng.randrange(128))
            thread.write_csr("mseed", self._rng.getrandbits(64))
        #: SRAM before the first operation.
        self.memory = bytearray(self.golden.memory.tobytes())

    def _window(self, thread: int) -> int:
        return (thread + 1) * _WINDOW_BYTES

    def step(self, thread: int, word: int) -> VectorOperation:
        """Let the golden thread carry out an instruction; return it as an operation."""
        state = self.golden.threads[thread]
        row = decode(word)
        assert row is not None and row.unit in VECTOR_UNITS, f"{word:#x} is no vector instruction"
        base = int(state.x[word >> 15 & 31])
        offset = next(
            (
                o.extract(word)
                * (self.params.vector_bytes if o.kind is OperandKind.VECTOR_OFFSET else 1)
                for o in row.operands
                if o.name.startswith("imm")
            ),
            0,
        )
        fields = {"scalar": base, **{name: state.read_csr(name) for name in _CSRS}}
        if row.unit in _MEMORY:
            fields["address"] = base + offset
        self._execute(thread, word)
        scalar = fault = None
        if row.syntax.startswith("rd") and word >> 7 & 31:
            scalar = (word >> 7 & 31, int(state.x[word >> 7 & 31]))
        if state.status is ThreadStatus.FAULTED:
            assert row.unit in _GATHERS, f"{row.name} must not fault"
            fault = state.register(ThreadRegister.FAULT_VALUE)
        return VectorOperation(insn=word, fields=fields, scalar=scalar, fault=fault)

    def _execute(self, thread: int, word: int) -> None:
        """Run one instruction of one thread, from a line of its own."""
        code = thread * _CODE_BYTES
        halt = encode("ecall")
        before = self.golden.memory[code : code + 8].copy()
        self.golden.memory[code : code + 8].view(np.uint32)[:] = word, halt
        x10 = int(self.golden.threads[thread].x[10])
        self.golden.start(code, x10, thread)
        self.golden.finish(4)
        self.golden.memory[code : code + 8] = before

    def preamble(self, thread: int) -> list[VectorOperation]:
        """Return operations that set every register: good offsets for gathers, else anything."""
        zeros = [
            self.step(thread, encode("mzero", acc_d=n)) for n in range(self.params.accumulators)
        ]
        load = [self.step(thread, encode("vld", vd=n, rs1=_WINDOW, imm=n % 16)) for n in range(28)]
        masks = [
            self.step(thread, encode("vmv.m.x", md=n, rs1=self._rng.choice(_VALUES)))
            for n in range(8)
        ]
        # Offsets come from memory: a table at the end of the window.
        table = self._window(thread) + _WINDOW_BYTES - len(_OFFSETS) * self.params.vector_bytes
        lanes = self.params.fp32_lanes
        loads = []
        for index, register in enumerate(_OFFSETS):
            span = (64, 256, _ACCESSED_BYTES, _ACCESSED_BYTES)[index]
            offsets = [4 * self._rng.randrange(span // 4) for _ in range(lanes)]
            if register == _OFFSETS[-1]:
                offsets[self._rng.randrange(lanes)] = self._rng.choice([2, 0xFFFF_FFFC])
            at = table + index * self.params.vector_bytes
            content = np.array(offsets, np.uint32).view(np.uint8)
            self.golden.memory[at : at + len(content)] = content
            self.memory[at : at + len(content)] = content.tobytes()
            place = (at - self._window(thread)) // self.params.vector_bytes
            loads.append(self.step(thread, encode("vld", vd=register, rs1=_WINDOW, imm=place)))
        return [*zeros, *load, *masks, *loads]

    def body(
        self, thread: int, length: int, weights: Mapping[Unit, float] | None = None
    ) -> list[VectorOperation]:
        """Return random instructions; `weights` are relative frequencies of units, else all 1."""
        rows = [row for row in INSTRUCTIONS if row.unit in VECTOR_UNITS]
        counts = {unit: sum(row.unit is unit for row in rows) for unit in VECTOR_UNITS}
        chances = [(weights or {}).get(row.unit, 0 if weights else 1) / counts[row.unit]
                   for row in rows]  # fmt: skip
        operations = []
        for row in self._rng.choices(rows, chances, k=length):
            if row.unit is Unit.VECTOR_CONVERT and self._rng.random() < 0.3:
                self.golden.threads[thread].write_csr("mround", self._rng.randrange(2))
            operations.append(self.step(thread, self._word(row)))
        return operations

    def _word(self, row: Instruction) -> int:
        """Return a row with random operands."""
        rng = self._rng
        memory = row.unit in _MEMORY
        lines = _ACCESSED_BYTES // (1 if row.access_bytes else self.params.vector_bytes)
        special: dict[str, Callable[[], int]] = {
            "rs1": lambda: _WINDOW if memory else rng.choice(_VALUES),
            "rd": lambda: rng.choice(_RESULTS),
            "vd": self._register,
            "vs1": self._register,
            "vs2": self._register,
            "vs3": self._register,
        }
        if row.unit in _GATHERS:
            # The table of offsets has one bad vector.
            special["rs1"] = lambda: _OUTSIDE if rng.random() < 0.05 else _WINDOW
            special["vs2"] = lambda: rng.choice((*_OFFSETS, *_OFFSETS[:-1], *_OFFSETS[:-1]))
        operands = {}
        for operand in row.operands:
            count = operand_count(row, operand, self.params)
            if operand.name in special:
                value = special[operand.name]()
            elif operand.name.startswith("imm") and memory:
                value = rng.randrange(lines) // (row.access_bytes or 1) * (row.access_bytes or 1)
                value = min(value, operand.maximum)
            else:
                value = rng.randrange(operand.maximum + 1 if count is None else count)
            operands[operand.name] = value
        return encode(row.name, **operands)

    def _register(self) -> int:
        """Return a vector register that anything may write; some are chosen often."""
        return self._rng.randrange(6 if self._rng.random() < 0.6 else _OFFSETS[0])

    def dump(self, thread: int) -> list[VectorOperation]:
        """Return stores of every vector register and accumulator, and moves of every mask."""
        words: list[int] = []
        place = _ACCESSED_BYTES // self.params.vector_bytes

        def store(register: int) -> None:
            nonlocal place
            words.append(encode("vst", vs2=register, rs1=_WINDOW, imm=place))
            place += 1

        for register in range(32):
            store(register)
        for acc in range(self.params.accumulators):
            for part in range(self.params.accumulator_parts):
                words.append(encode("mrd", vd=part, acc_s=acc, part=part))
                store(part)
        words += [encode("vmv.x.m", rd=_RESULTS[1 + n % 5], ms1=n) for n in range(8)]
        return [self.step(thread, word) for word in words]

    def differences(self, memory: Sequence[int]) -> list[int]:
        """Return the addresses at which memory is not that of the golden node."""
        mine = np.frombuffer(bytes(memory), np.uint8)
        return np.flatnonzero(mine != self.golden.memory).tolist()
