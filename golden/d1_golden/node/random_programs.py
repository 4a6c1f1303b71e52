"""Seeded random programs made from the ISA table, for comparing two nodes.

A program sets every register from a random image, runs a random body and ends by writing every
register to memory and halting, so that memory alone tells whether two nodes agree. It always ends:
control flow is made of blocks that are skipped, repeated a counted number of times, or called.

Registers with a purpose are never the destination of a random instruction: x26 points into the
data window, x25 and x27 count loops, x24 links calls, x28 and x29 belong to the trap handler, which
skips the instruction that trapped and folds cause and value into x29.

Not generated, because golden and RTL may differ: reads of cycle counters and of anything that
depends on time, stores to code, and vector faults and jumps out of memory, which end a program.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from d1_golden.assembler import disassemble, load_immediate
from d1_golden.csr import CSR_BY_NAME, CSRS
from d1_golden.isa import INSTRUCTIONS, Instruction, Operand, OperandKind, Unit, decode, encode
from d1_golden.memory_map import CONTROL_BASE, ThreadRegister, register_address
from d1_golden.packet import write_requests
from d1_golden.params import LINE_BYTES, NodeParams

__all__ = [
    "CORNERS",
    "DEFAULT_MIX",
    "SCALAR_MIX",
    "ProgramOptions",
    "RandomProgram",
    "random_program",
    "shrink",
]

_DATA, _LINK, _HANDLER, _FOLD = 26, 24, 28, 29
_COUNTERS = (27, 25)
_FREE = tuple(n for n in range(32) if n not in (_DATA, _LINK, _HANDLER, _FOLD, *_COUNTERS))
_NOP = encode("addi", rd=0, rs1=0, imm=0)
_M64 = (1 << 64) - 1

#: Operands at the edges of the number ranges; every image starts with them.
CORNERS: tuple[int, ...] = tuple(
    value & _M64
    for value in (
        0, 1, 2, -1, -2, 63, 64, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFF_FFFF, 0x8000_0000,
        0xFFFF_FFFF, 0x1_0000_0000, -0x8000_0000, -0x8000_0001, (1 << 63) - 1, 1 << 63,
        (1 << 63) + 1, 0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA,
    )
)  # fmt: skip

#: Relative frequency of instructions by unit.
DEFAULT_MIX: Mapping[Unit, float] = {
    Unit.ALU: 25,
    Unit.BRANCH: 10,
    Unit.MULDIV: 8,
    Unit.LOAD: 10,
    Unit.STORE: 10,
    Unit.CSR: 4,
    Unit.SYSTEM: 2,
    Unit.VECTOR_LOAD: 6,
    Unit.VECTOR_STORE: 5,
    Unit.VECTOR_CONVERT: 6,
    Unit.VECTOR_SIMD: 8,
    Unit.MATRIX: 10,
    Unit.MATRIX_MEMORY: 6,
}

#: RV64IM without system instructions: what any RISC-V model can run.
SCALAR_MIX: Mapping[Unit, float] = {
    unit: DEFAULT_MIX[unit] for unit in (Unit.ALU, Unit.BRANCH, Unit.MULDIV, Unit.LOAD, Unit.STORE)
}

_VECTOR_UNITS = {
    Unit.VECTOR_LOAD,
    Unit.VECTOR_STORE,
    Unit.VECTOR_CONVERT,
    Unit.VECTOR_SIMD,
    Unit.MATRIX,
    Unit.MATRIX_MEMORY,
}
_TIME_CSRS = {"mcycle", "cycle"}
_CSR_READS = [csr.number for csr in CSRS if csr.name not in _TIME_CSRS]
_CSR_WRITES = [
    csr.number
    for csr in CSRS
    if not csr.read_only and csr.name not in {*_TIME_CSRS, "mtvec", "minstret"}
]
#: CSRs that the end of a program writes to memory.
_DUMPED_CSRS = (
    "mstatus", "mscratch", "mepc", "mcause", "mtval",
    "mcfp8a", "mcfp8b", "mcfp8c", "mround", "mseed", "minstret",
)  # fmt: skip


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
    base
        Address of the program, a multiple of 64.
    data_bytes
        Size of the data window, a multiple of 64 and at least 8192.
    max_loop
        Most rounds of a loop.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    """

    length: int = 300
    mix: Mapping[Unit, float] = field(default_factory=lambda: DEFAULT_MIX)
    traps: float = 0.0
    control: bool = False
    base: int = 0
    data_bytes: int = 8192
    max_loop: int = 6

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


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomProgram:
    """A program with its data, and where its results are.

    Members
    -------
    params, options, seed
        What it was made from.
    words : uint32[n]
        Instructions from `options.base`, where it starts.
    body : range
        Which of the words are random; the others set up and dump.
    data_base : int
        Address of `data`, the initial data window.
    dump : tuple of (name, address, size)
        Where each register is after the end, in bytes.
    max_instructions : int
        Bound on the instructions executed.
    """

    params: NodeParams
    options: ProgramOptions
    seed: int
    words: NDArray[np.uint32]
    body: range
    data_base: int
    data: NDArray[np.uint8]
    dump: tuple[tuple[str, int, int], ...]
    max_instructions: int

    @property
    def end(self) -> int:
        """Address after everything that the program reads or writes."""
        _, address, size = self.dump[-1]
        return -(-(address + size) // LINE_BYTES) * LINE_BYTES

    def requests(self) -> NDArray[np.void]:
        """Return the WRITE packets that load program and data; what is dumped is cleared."""
        dump = self.dump[0][1]
        return np.concatenate(
            [
                write_requests(self.options.base, self.words.view(np.uint8)),
                write_requests(self.data_base, self.data),
                write_requests(dump, bytes(self.end - dump)),
            ]
        )

    def differences(
        self, expected: NDArray[np.uint8], actual: NDArray[np.uint8]
    ) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield name, expected and actual bytes of everything that differs after the end.

        `expected` and `actual` are SRAM from address 0, at least up to `end`. Data is compared in
        words of 8 bytes, named by address.
        """
        places = [(f"[{a:#x}]", a, 8) for a in range(self.data_base, self.dump[0][1], 8)]
        for name, address, size in (*self.dump, *places):
            left, right = (m[address : address + size].tobytes() for m in (expected, actual))
            if left != right:
                yield name, left, right

    def listing(self) -> str:
        """Return the body as assembly, without its nops."""
        lines = []
        for index in self.body:
            word, pc = int(self.words[index]), self.options.base + 4 * index
            if word != _NOP:
                lines.append(f"{pc:8x}: {word:08x}  {disassemble(word, pc)}")
        return "\n".join(lines)


@dataclass
class _Block:
    """Position-independent instructions and how many of them are executed at most."""

    words: list[int] = field(default_factory=list)
    cost: int = 0

    def add(self, *words: int) -> None:
        self.words += words
        self.cost += len(words)

    def __iadd__(self, other: _Block) -> _Block:
        self.words += other.words
        self.cost += other.cost
        return self


class _Generator:
    """Makes the body of one program."""

    def __init__(self, params: NodeParams, options: ProgramOptions, rng: random.Random):
        self.params, self.options, self.rng = params, options, rng
        self.units = list(options.mix)
        self.weights = [options.mix[unit] for unit in self.units]
        self.rows = {unit: [row for row in INSTRUCTIONS if row.unit is unit] for unit in self.units}
        self.makers: dict[Unit, Callable[[], _Block]] = {
            Unit.LOAD: lambda: self.access(Unit.LOAD),
            Unit.STORE: lambda: self.access(Unit.STORE),
            Unit.VECTOR_LOAD: lambda: self.vector_access(Unit.VECTOR_LOAD),
            Unit.VECTOR_STORE: lambda: self.vector_access(Unit.VECTOR_STORE),
            Unit.MATRIX_MEMORY: lambda: self.vector_access(Unit.MATRIX_MEMORY),
            Unit.CSR: self.csr_access,
            Unit.SYSTEM: self.system,
            Unit.MULDIV: self.arithmetic,
        }

    def free(self) -> int:
        return self.rng.choice(_FREE)

    def pointer(self) -> int:
        """Return a free register other than x0, to hold an address."""
        return self.rng.choice(_FREE[1:])

    def immediate(self, operand: Operand) -> int:
        edges = (0, operand.alignment, -operand.alignment, operand.minimum, operand.maximum)
        if self.rng.random() < 0.3:
            return self.rng.choice([e for e in edges if operand.minimum <= e <= operand.maximum])
        steps = (operand.maximum - operand.minimum) // operand.alignment
        return operand.minimum + operand.alignment * self.rng.randint(0, steps)

    def part_count(self, row: Instruction) -> int:
        """Return how many values of `part` are legal."""
        if row.unit is Unit.VECTOR_CONVERT:
            return 2 if "bf16" in row.name else 4
        return self.params.accumulator_parts

    def operand(self, row: Instruction, operand: Operand) -> int:
        """Return a legal random value."""
        match operand.kind:
            case OperandKind.SCALAR:
                return self.free() if operand.name == "rd" else self.rng.randrange(32)
            case OperandKind.VECTOR:
                # Few registers are used often: instructions that depend on each other.
                return self.rng.randrange(32 if self.rng.random() < 0.3 else 6)
            case OperandKind.ACCUMULATOR:
                return self.rng.randrange(self.params.accumulators)
            case OperandKind.PART:
                return self.rng.randrange(self.part_count(row))
        return self.immediate(operand)

    def instruction(self, row: Instruction, **fixed: int) -> int:
        """Return a word of `row` with random operands except those given."""
        values = {o.name: fixed.get(o.name, self.operand(row, o)) for o in row.operands}
        return encode(row.name, **values)

    def plain(self, unit: Unit) -> _Block:
        return _Block([self.instruction(self.rng.choice(self.rows[unit]))], 1)

    def arithmetic(self) -> _Block:
        """Return a multiplication or division, often with operands from the corners."""
        block = _Block()
        row = self.rng.choice(self.rows[Unit.MULDIV])
        if self.rng.random() < 0.5:
            return self.plain(Unit.MULDIV)
        rs1, rs2 = self.pointer(), self.pointer()
        for register in (rs1, rs2):
            offset = 8 * self.rng.randrange(len(CORNERS)) - self.options.data_bytes // 2
            block.add(*load_immediate(register, offset))
            block.add(encode("add", rd=register, rs1=register, rs2=_DATA))
            block.add(encode("ld", rd=register, imm=0, rs1=register))
        block.add(self.instruction(row, rs1=rs1, rs2=rs2))
        return block

    def access(self, unit: Unit) -> _Block:
        """Return an aligned scalar load or store in the data window or the control block."""
        block = _Block()
        row = self.rng.choice(self.rows[unit])
        size = row.access_bytes
        register = {Unit.LOAD: "rd", Unit.STORE: "rs2"}[unit]
        value = self.free() if unit is Unit.LOAD else self.rng.randrange(32)
        base = _DATA
        offset = size * self.rng.randrange(-2048 // size, 2048 // size)
        if self.options.control and size == 8 and self.rng.random() < 0.1:
            base = self.pointer()
            block.add(*load_immediate(base, self.control_register(unit)))
            offset = 0
        elif self.rng.random() < 0.3:  # an address that depends on data
            base = self.pointer()
            block.add(encode("andi", rd=base, rs1=self.free(), imm=2048 - 8))
            block.add(encode("add", rd=base, rs1=base, rs2=_DATA))
        block.add(encode(row.name, **{register: value, "rs1": base, "imm": offset}))
        return block

    def control_register(self, unit: Unit) -> int:
        """Return the address of a register whose contents do not depend on time."""
        places = [CONTROL_BASE + 8 * n for n in range(8)]
        places.append(register_address(ThreadRegister.ARG))
        if unit is Unit.LOAD:
            places.append(register_address(ThreadRegister.PC))
            places.append(register_address(ThreadRegister.STATUS))
        return self.rng.choice(places)

    def vector_access(self, unit: Unit) -> _Block:
        """Return an aligned vector load, store or matrix instruction on the data window."""
        block = _Block()
        row = self.rng.choice(self.rows[unit])
        size = self.params.vector_bytes
        (offset,) = (o for o in row.operands if o.kind is OperandKind.VECTOR_OFFSET)
        half = self.options.data_bytes // 2 // size
        base, low, high = _DATA, max(offset.minimum, -half), min(offset.maximum, half - 1)
        if self.rng.random() < 0.3:
            base, high = self.pointer(), min(high, half - 2048 // size)
            block.add(encode("andi", rd=base, rs1=self.free(), imm=2048 - size))
            block.add(encode("add", rd=base, rs1=base, rs2=_DATA))
        place = self.rng.randint(low, high)
        block.add(self.instruction(row, rs1=base, **{offset.name: place}))
        return block

    def csr_access(self) -> _Block:
        row = self.rng.choice(self.rows[Unit.CSR])
        if self.rng.random() < 0.4 and row.name not in ("csrrw", "csrrwi"):
            source = "rs1" if "rs1" in row.syntax else "imm_z"
            return _Block(
                [self.instruction(row, csr=self.rng.choice(_CSR_READS), **{source: 0})], 1
            )
        return _Block([self.instruction(row, csr=self.rng.choice(_CSR_WRITES))], 1)

    def system(self) -> _Block:
        return _Block([encode(self.rng.choice(("fence", "fence.i", "wfi")))], 1)

    def trap(self) -> _Block:
        """Return instructions of which one traps, or that return from a trap."""
        makers = (
            lambda: _Block([encode("ecall")], 1),
            lambda: _Block([encode("ebreak")], 1),
            lambda: _Block([self.illegal()], 1),
            self.bad_access,
            self.bad_jump,
            self.return_from_trap,
        )
        return self.rng.choice(makers)()

    def illegal(self) -> int:
        """Return an illegal word: no such encoding, or an operand that the node has not."""
        match self.rng.randrange(4):
            case 0:
                return encode("csrrw", rd=self.free(), csr=0x5C0, rs1=self.free())
            case 1:
                return encode("csrrwi", rd=self.free(), csr=CSR_BY_NAME["instret"].number, imm=1)
            case 2 if self.params.accumulators < 16:
                acc = self.rng.randrange(self.params.accumulators, 16)
                return encode("mzero", acc_d=acc)
        while True:
            word = self.rng.getrandbits(32)
            if decode(word) is None:
                return word

    def bad_access(self) -> _Block:
        """Return a scalar access that is misaligned or outside memory."""
        row = self.rng.choice([r for r in INSTRUCTIONS if r.unit in (Unit.LOAD, Unit.STORE)])
        block = _Block()
        base = self.pointer()
        register = "rd" if row.unit is Unit.LOAD else "rs2"
        outside = (self.params.sram_bytes, CONTROL_BASE - 64, 1 << 24, 1 << 40, -8 & _M64)
        if row.access_bytes > 1 and self.rng.random() < 0.5:
            address = self.options.base + self.rng.randrange(1, row.access_bytes)
        elif row.access_bytes < 8 and self.rng.random() < 0.3:
            address = CONTROL_BASE
        else:
            address = self.rng.choice(outside)
        block.add(*load_immediate(base, address))
        block.add(encode(row.name, **{register: self.free(), "rs1": base, "imm": 0}))
        return block

    def bad_jump(self) -> _Block:
        """Return a jump to an address that is not a multiple of 4."""
        rows = [row for row in INSTRUCTIONS if row.unit is Unit.BRANCH]
        row = self.rng.choice(rows)
        if row.name == "jalr":
            base = self.pointer()
            return _Block(
                [encode("auipc", rd=base, imm=0), self.instruction(row, rs1=base, imm_i=6)], 2
            )
        (offset,) = (o.name for o in row.operands if o.name.startswith("imm"))
        return _Block([self.instruction(row, **{offset: 6})], 1)

    def return_from_trap(self) -> _Block:
        """Return an mret to the instruction after it."""
        pointer = self.pointer()
        mepc = CSR_BY_NAME["mepc"].number
        words = [
            encode("auipc", rd=pointer, imm=0),
            encode("addi", rd=pointer, rs1=pointer, imm=16),
            encode("csrrw", rd=self.free(), csr=mepc, rs1=pointer),
            encode("mret"),
        ]
        return _Block(words, len(words))

    def item(self, size: int, depth: int, callable_: bool) -> _Block:
        """Return one item of at most about `size` instructions."""
        if self.options.traps and self.rng.random() < self.options.traps:
            return self.trap()
        (unit,) = self.rng.choices(self.units, self.weights)
        if unit is Unit.BRANCH:
            return self.control_flow(size, depth, callable_)
        return self.makers.get(unit, lambda: self.plain(unit))()

    def control_flow(self, size: int, depth: int, callable_: bool) -> _Block:
        inner = self.rng.randint(1, max(1, min(size, 12)))
        kind = self.rng.random()
        if kind < 0.2 and depth < len(_COUNTERS):
            return self.loop(inner, depth, callable_)
        if kind < 0.3 and callable_:
            return self.call(inner, depth)
        body = self.items(inner, depth, callable_)
        over = 4 * (len(body.words) + 1)
        block = _Block()
        if kind < 0.45:
            block.add(encode("jal", rd=self.free(), imm=over))
        elif kind < 0.6:
            pointer = self.pointer()
            low = self.rng.randrange(-64, 64)
            block.add(encode("auipc", rd=pointer, imm=0))
            block.add(encode("addi", rd=pointer, rs1=pointer, imm=over + 8 - low))
            block.add(encode("jalr", rd=self.free(), rs1=pointer, imm=low + self.rng.randrange(2)))
            if over + 8 + 64 >= 2048:
                return body
        else:
            rows = [r for r in self.rows[Unit.BRANCH] if not r.name.startswith("jal")]
            block.add(self.instruction(self.rng.choice(rows), imm_b=over))
        if over >= 4096:
            return body
        block += body
        return block

    def loop(self, size: int, depth: int, callable_: bool) -> _Block:
        counter, rounds = _COUNTERS[depth], self.rng.randint(1, self.options.max_loop)
        body = self.items(size, depth + 1, callable_)
        body.add(encode("addi", rd=counter, rs1=counter, imm=-1))
        back = -4 * len(body.words)
        if back < -4096:
            return body
        body.add(encode("bne", rs1=counter, rs2=0, imm=back))
        return _Block(
            [encode("addi", rd=counter, rs1=0, imm=rounds), *body.words], 1 + rounds * body.cost
        )

    def call(self, size: int, depth: int) -> _Block:
        """Return a subroutine, jumped over, and a call back to it."""
        body = self.items(size, depth, False)
        body.add(encode("jalr", rd=0, rs1=_LINK, imm=0))
        words = [
            encode("jal", rd=0, imm=4 * (len(body.words) + 1)),
            *body.words,
            encode("jal", rd=_LINK, imm=-4 * len(body.words)),
        ]
        return _Block(words, 2 + body.cost)

    def items(self, size: int, depth: int, callable_: bool) -> _Block:
        block = _Block()
        while len(block.words) < size:
            block += self.item(size - len(block.words), depth, callable_)
        return block


def _image(params: NodeParams, options: ProgramOptions, seed: int) -> NDArray[np.uint8]:
    """Return the initial data window: corners, then numbers of all kinds."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, options.data_bytes, np.uint8)
    lines = image.view(np.uint16).reshape(-1, LINE_BYTES // 2)
    # Three lines of four hold BF16 numbers near 1, so that few sums overflow; in FP32 lanes they
    # are the upper halves.
    near = rng.integers(0, 1 << 16, lines.shape, np.uint16) & 0x83FF
    ordinary = rng.integers(0, 4, (len(lines), 1)) > 0
    lines[:] = np.where(ordinary, near | np.uint16(0x3C00), lines)
    # Zeros, subnormals, Inf and NaN where they are rare enough to leave something else.
    special = np.array([0, 0x8000, 1, 0x7F80, 0xFF80, 0x7FC1, 0x0080, 0x7F7F], np.uint16)
    rare = rng.random(lines.shape) < 0.002
    lines[rare] = rng.choice(special, int(rare.sum()))
    image.view(np.uint64)[: len(CORNERS)] = CORNERS
    return image


def _set_up(params: NodeParams, options: ProgramOptions, data: int, rng: random.Random) -> _Block:
    """Return the words that set every register from the data window."""
    block = _Block()
    if options.mix.get(Unit.CSR):
        for name in ("mcfp8a", "mcfp8b", "mcfp8c", "mround", "mseed"):
            csr = CSR_BY_NAME[name]
            block.add(*load_immediate(1, rng.getrandbits(64) & csr.write_mask))
            block.add(encode("csrrw", rd=0, csr=csr.number, rs1=1))
    block.add(*load_immediate(_DATA, data + options.data_bytes // 2))
    if options.mix.keys() & _VECTOR_UNITS:
        for n in range(32):
            limit = min(options.data_bytes // 2 // params.vector_bytes, 2048)
            block.add(encode("vld", vd=n, rs1=_DATA, imm=rng.randrange(-limit, limit)))
        for accumulator in range(params.accumulators):
            for part in range(params.accumulator_parts):
                block.add(encode("mwr", acc_d=accumulator, vs1=rng.randrange(32), part=part))
    for n in (n for n in range(1, 32) if n != _DATA):
        block.add(encode("ld", rd=n, rs1=_DATA, imm=8 * rng.randrange(-256, 256)))
    return block


def _handler() -> list[int]:
    """Return the trap handler: folds mcause and mtval into x29, skips the instruction."""
    number = {name: CSR_BY_NAME[name].number for name in ("mepc", "mcause", "mtval")}
    return [
        encode("slli", rd=_FOLD, rs1=_FOLD, imm=1),
        encode("csrrs", rd=_HANDLER, csr=number["mcause"], rs1=0),
        encode("add", rd=_FOLD, rs1=_FOLD, rs2=_HANDLER),
        encode("csrrs", rd=_HANDLER, csr=number["mtval"], rs1=0),
        encode("xor", rd=_FOLD, rs1=_FOLD, rs2=_HANDLER),
        encode("csrrs", rd=_HANDLER, csr=number["mepc"], rs1=0),
        encode("addi", rd=_HANDLER, rs1=_HANDLER, imm=4),
        encode("csrrw", rd=0, csr=number["mepc"], rs1=_HANDLER),
        encode("mret"),
    ]


def _epilogue(
    params: NodeParams, options: ProgramOptions, dump: int
) -> tuple[list[int], tuple[tuple[str, int, int], ...]]:
    """Return the words that write every register from address `dump` and halt, and the places."""
    words = load_immediate(_DATA, dump)
    places: list[tuple[str, int, int]] = []
    address = dump
    for n in (n for n in range(1, 32) if n != _DATA):
        words.append(encode("sd", rs2=n, rs1=_DATA, imm=address - dump))
        places.append((f"x{n}", address, 8))
        address += 8
    if options.mix.get(Unit.CSR) or options.traps:
        for name in _DUMPED_CSRS:
            words.append(encode("csrrs", rd=1, csr=CSR_BY_NAME[name].number, rs1=0))
            words.append(encode("sd", rs2=1, rs1=_DATA, imm=address - dump))
            places.append((name, address, 8))
            address += 8
    if options.mix.keys() & _VECTOR_UNITS:
        size = params.vector_bytes
        address = -(-address // LINE_BYTES) * LINE_BYTES
        sources: list[tuple[str, int, list[int]]] = [(f"v{n}", n, []) for n in range(32)]
        sources += [
            (f"acc{a}.{part}", 0, [encode("mrd", vd=0, acc_s=a, part=part)])
            for a in range(params.accumulators)
            for part in range(params.accumulator_parts)
        ]
        for name, register, before in sources:
            words += [*before, encode("vst", vs2=register, rs1=_DATA, imm=(address - dump) // size)]
            places.append((name, address, size))
            address += size
    words += [encode("csrrw", rd=0, csr=CSR_BY_NAME["mtvec"].number, rs1=0), encode("ecall")]
    return words, tuple(places)


def random_program(
    params: NodeParams, seed: int, options: ProgramOptions | None = None
) -> RandomProgram:
    """Return the random program of a seed.

    Raises
    ------
    ValueError
        If program and data do not fit the node's SRAM.

    """
    options = options or ProgramOptions()
    rng = random.Random(seed)
    generator = _Generator(params, options, rng)
    body = generator.items(options.length, 0, True)
    handler = _handler() if options.traps else []
    # Addresses depend on the length of what loads them; 64 words are more than that takes.
    fixed = 64 + 32 + 32 + params.accumulators * params.accumulator_parts
    code_bytes = 4 * (3 * fixed + len(body.words) + len(handler))
    data = -(-(options.base + code_bytes) // LINE_BYTES) * LINE_BYTES
    dump = data + options.data_bytes

    start = _set_up(params, options, data, rng).words
    epilogue, places = _epilogue(params, options, dump)
    if handler:
        # jal over the handler, whose address auipc leaves in x28.
        install = [
            encode("auipc", rd=_HANDLER, imm=0),
            encode("addi", rd=_HANDLER, rs1=_HANDLER, imm=16),
            encode("csrrw", rd=0, csr=CSR_BY_NAME["mtvec"].number, rs1=_HANDLER),
            encode("jal", rd=0, imm=4 * (len(handler) + 1)),
        ]
        start = [*install, *handler, *start]
    words = np.array([*start, *body.words, *epilogue], np.uint32)
    program = RandomProgram(
        params=params,
        options=options,
        seed=seed,
        words=words,
        body=range(len(start), len(start) + len(body.words)),
        data_base=data,
        data=_image(params, options, seed),
        dump=places,
        max_instructions=len(start) + len(epilogue) + body.cost * (1 + len(handler)),
    )
    if 4 * len(words) > code_bytes or program.end > params.sram_bytes:
        raise ValueError(
            f"program must fit {params.sram_bytes} bytes of SRAM, not end at {program.end:#x}"
        )
    return program


def shrink(program: RandomProgram, fails: Callable[[RandomProgram], bool]) -> RandomProgram:
    """Return the program with as much of its body as possible replaced by nops.

    Parameters
    ----------
    program
        A program for which `fails` holds.
    fails
        Whether a program still shows the failure. A program without its loop counters may not
        end: bound its run by `max_instructions`.

    Raises
    ------
    ValueError
        If the program does not fail.

    """
    if not fails(program):
        raise ValueError(f"program must fail before it is shrunk; seed {program.seed} does not")
    size = len(program.body)
    while size:
        for first in range(program.body.start, program.body.stop, size):
            words = program.words.copy()
            words[first : min(first + size, program.body.stop)] = _NOP
            candidate = replace(program, words=words)
            if not np.array_equal(words, program.words) and fails(candidate):
                program = candidate
        size //= 2
    return program
