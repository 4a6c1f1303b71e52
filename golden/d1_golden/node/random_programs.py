"""Seeded random programs made from the ISA table, for comparing two nodes.

A program sets every register from a random image, runs a random body and ends by writing every
register to memory and halting, so that memory alone tells whether two nodes agree. It always ends:
control flow is made of blocks that are skipped, repeated a counted number of times, or called, and
every wait is for something that is sure to come.

In memory lie the code, the data window, tables (linked records and transfer lists) that are only
read, and what the end writes. The trap handler skips the instruction that trapped and folds cause
and value into x29. Programs of several threads have memory of their own, but for their meetings.

Not generated, because golden and RTL may differ: reads of cycle counters and of anything that
depends on time, stores to code without `fence.i`, accesses of two threads to the same memory that
nothing orders. Vector faults and jumps out of memory end a program and are not in its body.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from d1_golden.assembler import disassemble, load_immediate
from d1_golden.csr import CSR_BY_NAME
from d1_golden.isa import INSTRUCTIONS, Unit, decode, encode
from d1_golden.packet import write_requests
from d1_golden.params import LINE_BYTES, NodeParams

from .random_blocks import CORNERS, DATA, FOLD, HANDLER, Block, BodyGenerator
from .random_options import DEFAULT_MIX, SCALAR_MIX, ProgramOptions
from .random_tables import Tables

__all__ = [
    "CORNERS",
    "DEFAULT_MIX",
    "SCALAR_MIX",
    "ProgramOptions",
    "RandomProgram",
    "count_rows",
    "random_program",
    "shrink",
]

_NOP = encode("addi", rd=0, rs1=0, imm=0)
#: Mask registers of a thread.
_MASKS = 8
#: CSRs that the end of a program writes to memory.
_DUMPED_CSRS = (
    "mstatus", "mscratch", "mepc", "mcause", "mtval",
    "mcfp8a", "mcfp8b", "mcfp8c", "mround", "mseed", "minstret",
)  # fmt: skip


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
        Address of `data`, the initial data window and the tables behind it.
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

    def alone(self) -> RandomProgram:
        """Return the program without what waits for other threads, or lets them wait."""
        words = self.words.copy()
        for place in self.body:
            row = decode(int(words[place]))
            if row is not None and row.unit == Unit.SEMAPHORE:
                words[place] = _NOP
        return replace(self, words=words)

    def listing(self) -> str:
        """Return the body as assembly, without its nops."""
        lines = []
        for index in self.body:
            word, pc = int(self.words[index]), self.options.base + 4 * index
            if word != _NOP:
                lines.append(f"{pc:8x}: {word:08x}  {disassemble(word, pc)}")
        return "\n".join(lines)


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


def _set_up(params: NodeParams, options: ProgramOptions, data: int, rng: random.Random) -> Block:
    """Return the words that set every register from the data window."""
    block = Block()
    if options.mix.get(Unit.CSR):
        for name in ("mcfp8a", "mcfp8b", "mcfp8c", "mround", "mseed"):
            csr = CSR_BY_NAME[name]
            block.add(*load_immediate(1, rng.getrandbits(64) & csr.write_mask))
            block.add(encode("csrrw", rd=0, csr=csr.number, rs1=1))
    block.add(*load_immediate(DATA, data + options.data_bytes // 2))
    if options.uses_vectors:
        for n in range(32):
            limit = min(options.data_bytes // 2 // params.vector_bytes, 2048)
            block.add(encode("vld", vd=n, rs1=DATA, imm=rng.randrange(-limit, limit)))
        for accumulator in range(params.accumulators):
            for part in range(params.accumulator_parts):
                block.add(encode("mwr", acc_d=accumulator, vs1=rng.randrange(32), part=part))
    for n in (n for n in range(1, 32) if n != DATA):
        block.add(encode("ld", rd=n, rs1=DATA, imm=8 * rng.randrange(-256, 256)))
    if options.uses_vectors:
        for mask in range(_MASKS):
            block.add(encode("vmv.m.x", md=mask, rs1=rng.randrange(1, 32)))
    return block


def _handler() -> list[int]:
    """Return the trap handler: folds mcause and mtval into x29, skips the instruction."""
    number = {name: CSR_BY_NAME[name].number for name in ("mepc", "mcause", "mtval")}
    return [
        encode("slli", rd=FOLD, rs1=FOLD, imm=1),
        encode("csrrs", rd=HANDLER, csr=number["mcause"], rs1=0),
        encode("add", rd=FOLD, rs1=FOLD, rs2=HANDLER),
        encode("csrrs", rd=HANDLER, csr=number["mtval"], rs1=0),
        encode("xor", rd=FOLD, rs1=FOLD, rs2=HANDLER),
        encode("csrrs", rd=HANDLER, csr=number["mepc"], rs1=0),
        encode("addi", rd=HANDLER, rs1=HANDLER, imm=4),
        encode("csrrw", rd=0, csr=number["mepc"], rs1=HANDLER),
        encode("mret"),
    ]


def _epilogue(
    params: NodeParams, options: ProgramOptions, dump: int, rng: random.Random
) -> tuple[list[int], tuple[tuple[str, int, int], ...]]:
    """Return the words that write every register from address `dump` and end, and the places."""
    words = load_immediate(DATA, dump)
    places: list[tuple[str, int, int]] = []
    address = dump
    for n in (n for n in range(1, 32) if n != DATA):
        words.append(encode("sd", rs2=n, rs1=DATA, imm=address - dump))
        places.append((f"x{n}", address, 8))
        address += 8
    if options.uses_csrs:
        for name in _DUMPED_CSRS:
            words.append(encode("csrrs", rd=1, csr=CSR_BY_NAME[name].number, rs1=0))
            words.append(encode("sd", rs2=1, rs1=DATA, imm=address - dump))
            places.append((name, address, 8))
            address += 8
    if options.uses_vectors:
        for mask in range(_MASKS):
            words.append(encode("vmv.x.m", rd=1, ms1=mask))
            words.append(encode("sd", rs2=1, rs1=DATA, imm=address - dump))
            places.append((f"m{mask}", address, 8))
            address += 8
        size = params.vector_bytes
        address = -(-address // LINE_BYTES) * LINE_BYTES
        sources: list[tuple[str, int, list[int]]] = [(f"v{n}", n, []) for n in range(32)]
        sources += [
            (f"acc{a}.{part}", 0, [encode("mrd", vd=0, acc_s=a, part=part)])
            for a in range(params.accumulators)
            for part in range(params.accumulator_parts)
        ]
        for name, register, before in sources:
            words += [*before, encode("vst", vs2=register, rs1=DATA, imm=(address - dump) // size)]
            places.append((name, address, size))
            address += size
    words.append(encode("csrrw", rd=0, csr=CSR_BY_NAME["mtvec"].number, rs1=0))
    words += _vector_fault(params, rng) if options.vector_fault else [encode("ecall")]
    return words, tuple(places)


def _vector_fault(params: NodeParams, rng: random.Random) -> list[int]:
    """Return words of which the last faults: an address that is misaligned or outside memory."""
    units = (Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.MATRIX_MEMORY, Unit.VECTOR_GATHER,
             Unit.VECTOR_SCATTER)  # fmt: skip
    unit = rng.choice(units)
    row = rng.choice([row for row in INSTRUCTIONS if row.unit is unit])
    base, lanes = 5, 6
    bad = rng.choice((params.sram_bytes, params.sram_bytes - 2, 1 << 32, -4))
    # A gather or scatter has offsets 0 but in one lane, which is in every mask.
    words = load_immediate(base, bad)
    if unit in (Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER):
        place = rng.randrange(params.fp32_lanes)
        words = [
            *load_immediate(base, 1 << place),
            encode("vmv.m.x", md=1, rs1=base),
            *load_immediate(base, rng.choice((params.sram_bytes, 2))),
            encode("vbc.x", vd=lanes, rs1=base),
            encode("vbc.x", vd=0, rs1=0),
            encode("vsel", vd=lanes, vs1=lanes, vs2=0, ms=1),
            *load_immediate(base, params.sram_bytes // 2),
        ]
    fixed = {"rs1": base, "vs2": lanes, "ms": 1}
    operands = {o.name: fixed.get(o.name, 0) for o in row.operands}
    return [*words, encode(row.name, **operands)]


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
    tables = Tables(
        params,
        node=options.node,
        thread=options.thread,
        data_bytes=options.data_bytes,
        rng=rng,
    )
    body = BodyGenerator(params, options, tables, rng).body()
    handler = _handler() if options.traps else []
    # Addresses depend on the length of what loads them; 64 words are more than that takes.
    fixed = 64 + 32 + 32 + _MASKS + params.accumulators * params.accumulator_parts
    code_bytes = 4 * (3 * fixed + len(body.words) + len(handler))
    data = -(-(options.base + code_bytes) // LINE_BYTES) * LINE_BYTES
    dump = data + options.data_bytes + tables.size

    start = _set_up(params, options, data, rng).words
    epilogue, places = _epilogue(params, options, dump, rng)
    if handler:
        # jal over the handler, whose address auipc leaves in x28.
        install = [
            encode("auipc", rd=HANDLER, imm=0),
            encode("addi", rd=HANDLER, rs1=HANDLER, imm=16),
            encode("csrrw", rd=0, csr=CSR_BY_NAME["mtvec"].number, rs1=HANDLER),
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
        data=np.concatenate([_image(params, options, seed), tables.image(data)]),
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


def count_rows(program: RandomProgram, retired: NDArray[np.void]) -> Counter[str]:
    """Return how often each row of the ISA table was executed, by name.

    Instructions that trapped to the program's handler are among them; one that stopped the thread
    is not.

    Parameters
    ----------
    program
        What ran.
    retired
        What its thread retired, `RETIRE_DTYPE`[n].

    Raises
    ------
    ValueError
        If a word that is no instruction retired.

    """
    counts: Counter[str] = Counter()
    words = retired["insn"]
    for word, count in zip(*np.unique(words, return_counts=True), strict=True):
        row = decode(int(word))
        if row is None:
            raise ValueError(f"retired words must be instructions, not {int(word):#010x}")
        counts[row.name] += int(count)
    # The handler reads the address of what trapped.
    mepc = encode("csrrs", rd=HANDLER, csr=CSR_BY_NAME["mepc"].number, rs1=0)
    places = (retired["value"][words == mepc].astype(np.int64) - program.options.base) // 4
    for place in places:
        row = decode(int(program.words[place]))
        if row is not None:
            counts[row.name] += 1
    return counts
