"""Instructions of random programs: items of a few words, in any order and at any address.

Registers with a purpose are never the destination of a random instruction: x26 points into the
data window, x25 and x27 count loops, x24 links calls, x28 and x29 belong to the trap handler.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from d1_golden.assembler import load_immediate
from d1_golden.csr import CSR_BY_NAME, CSRS
from d1_golden.isa import (
    INSTRUCTION_BY_NAME,
    INSTRUCTIONS,
    Instruction,
    Operand,
    OperandKind,
    Unit,
    decode,
    encode,
    operand_count,
)
from d1_golden.memory_map import CONTROL_BASE, LOCAL_BITS, ThreadRegister, register_address
from d1_golden.params import LINE_BYTES, NodeParams
from d1_golden.transfer import MAX_LINES

from .random_meetings import PRIVATE_SEMAPHORES, Meeting
from .random_options import ProgramOptions
from .random_tables import RECORD_BYTES, Tables

__all__ = ["CORNERS", "DATA", "FOLD", "HANDLER", "TIME_CSRS", "Block", "BodyGenerator"]

#: Scalar registers with a purpose: where the data window's middle is, links of calls, those of the
#: trap handler.
DATA, LINK, HANDLER, FOLD = 26, 24, 28, 29
_COUNTERS = (27, 25)
_FREE = tuple(n for n in range(32) if n not in (DATA, LINK, HANDLER, FOLD, *_COUNTERS))
_M64 = (1 << 64) - 1
#: Bytes that a gather or scatter reaches, a power of two.
_LANE_WINDOW = 2048

#: Operands at the edges of the number ranges; every image starts with them.
CORNERS: tuple[int, ...] = tuple(
    value & _M64
    for value in (
        0, 1, 2, -1, -2, 63, 64, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFF_FFFF, 0x8000_0000,
        0xFFFF_FFFF, 0x1_0000_0000, -0x8000_0000, -0x8000_0001, (1 << 63) - 1, 1 << 63,
        (1 << 63) + 1, 0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA,
    )
)  # fmt: skip

#: CSRs whose value depends on time.
TIME_CSRS = frozenset({"mcycle", "cycle"})
_CSR_READS = [csr.number for csr in CSRS if csr.name not in TIME_CSRS]
_CSR_WRITES = [
    csr.number
    for csr in CSRS
    if not csr.read_only and csr.name not in {*TIME_CSRS, "mtvec", "minstret"}
]


@dataclass
class Block:
    """Position-independent instructions and how many of them are executed at most.

    Members
    -------
    words : list of int
        The instructions.
    cost : int
        How many are executed at most.
    """

    words: list[int] = field(default_factory=list)
    cost: int = 0

    def add(self, *words: int) -> None:
        """Append instructions that are executed once."""
        self.words += words
        self.cost += len(words)

    @classmethod
    def of(cls, *words: int) -> Block:
        """Return the block of some instructions that are executed once."""
        return cls(list(words), len(words))

    def __iadd__(self, other: Block) -> Block:
        self.words += other.words
        self.cost += other.cost
        return self


class BodyGenerator:
    """Makes the body of one program: items of a few instructions, each of use by itself.

    Parameters
    ----------
    params
        The node.
    options
        What is wanted.
    tables
        What lies behind the data window.
    rng
        What decides.

    """

    def __init__(
        self, params: NodeParams, options: ProgramOptions, tables: Tables, rng: random.Random
    ):
        self.params, self.options, self.tables, self.rng = params, options, tables, rng
        self.units = list(options.mix)
        self.weights = [options.mix[unit] for unit in self.units]
        self.rows = {unit: [row for row in INSTRUCTIONS if row.unit is unit] for unit in Unit}
        self.half = options.data_bytes // 2
        self.makers: dict[Unit, Callable[[], Block]] = {
            Unit.LOAD: lambda: self.access(Unit.LOAD),
            Unit.STORE: lambda: self.access(Unit.STORE),
            Unit.VECTOR_LOAD: lambda: self.vector_access(Unit.VECTOR_LOAD),
            Unit.VECTOR_STORE: lambda: self.vector_access(Unit.VECTOR_STORE),
            Unit.MATRIX_MEMORY: lambda: self.vector_access(Unit.MATRIX_MEMORY),
            Unit.VECTOR_GATHER: lambda: self.lane_access(Unit.VECTOR_GATHER),
            Unit.VECTOR_SCATTER: lambda: self.lane_access(Unit.VECTOR_SCATTER),
            Unit.VECTOR_MOVE: self.move,
            Unit.CSR: self.csr_access,
            Unit.SYSTEM: self.system,
            Unit.MULDIV: self.arithmetic,
            Unit.TRANSFER: self.transfer,
            Unit.SEMAPHORE: self.semaphore,
            Unit.LINK: self.link,
        }

    def body(self) -> Block:
        """Return the whole body: items, and the meetings with other threads between them."""
        meetings = [m for m in self.options.meetings if self.options.thread in m.threads]
        block = Block()
        for meeting in meetings:
            block += self.items(self.options.length // (len(meetings) + 1), 0, True)
            block += self.meet(meeting)
        block += self.items(max(1, self.options.length - len(block.words)), 0, True)
        return block

    def free(self) -> int:
        """Return a register without a purpose, x0 among them."""
        return self.rng.choice(_FREE)

    def pointer(self) -> int:
        """Return a free register other than x0, to hold an address."""
        return self.rng.choice(_FREE[1:])

    def immediate(self, operand: Operand) -> int:
        """Return a random value of an immediate, often one at the edge of its range."""
        edges = (0, operand.alignment, -operand.alignment, operand.minimum, operand.maximum)
        if self.rng.random() < 0.3:
            return self.rng.choice([e for e in edges if operand.minimum <= e <= operand.maximum])
        steps = (operand.maximum - operand.minimum) // operand.alignment
        return operand.minimum + operand.alignment * self.rng.randint(0, steps)

    def operand(self, row: Instruction, operand: Operand) -> int:
        """Return a legal random value."""
        match operand.kind:
            case OperandKind.SCALAR:
                return self.free() if operand.name == "rd" else self.rng.randrange(32)
            case OperandKind.VECTOR:
                # Few registers are used often: instructions that depend on each other.
                return self.rng.randrange(32 if self.rng.random() < 0.3 else 6)
            case OperandKind.MASK:
                return self.rng.randrange(8 if self.rng.random() < 0.5 else 3)
        count = operand_count(row, operand, self.params)
        return self.immediate(operand) if count is None else self.rng.randrange(count)

    def instruction(self, row: Instruction, **fixed: int) -> int:
        """Return a word of `row` with random operands except those given."""
        values = {o.name: fixed.get(o.name, self.operand(row, o)) for o in row.operands}
        return encode(row.name, **values)

    def plain(self, unit: Unit) -> Block:
        """Return an instruction of a unit with random operands."""
        return Block.of(self.instruction(self.rng.choice(self.rows[unit])))

    def arithmetic(self) -> Block:
        """Return a multiplication or division, often with operands from the corners."""
        block = Block()
        row = self.rng.choice(self.rows[Unit.MULDIV])
        if self.rng.random() < 0.5:
            return self.plain(Unit.MULDIV)
        rs1, rs2 = self.pointer(), self.pointer()
        for register in (rs1, rs2):
            offset = 8 * self.rng.randrange(len(CORNERS)) - self.half
            block.add(*self.point(register, offset))
            block.add(encode("ld", rd=register, imm=0, rs1=register))
        block.add(self.instruction(row, rs1=rs1, rs2=rs2))
        return block

    def access(self, unit: Unit) -> Block:
        """Return an aligned scalar load or store in the data window or the control block."""
        block = Block()
        row = self.rng.choice(self.rows[unit])
        size = row.access_bytes
        register = {Unit.LOAD: "rd", Unit.STORE: "rs2"}[unit]
        value = self.free() if unit is Unit.LOAD else self.rng.randrange(32)
        base = DATA
        offset = size * self.rng.randrange(-2048 // size, 2048 // size)
        if self.options.control and size == 8 and self.rng.random() < 0.1:
            base = self.pointer()
            block.add(*load_immediate(base, self.control_register(unit)))
            offset = 0
        elif self.rng.random() < 0.3:  # an address that depends on data
            base = self.pointer()
            block.add(encode("andi", rd=base, rs1=self.free(), imm=2048 - 8))
            block.add(encode("add", rd=base, rs1=base, rs2=DATA))
        block.add(encode(row.name, **{register: value, "rs1": base, "imm": offset}))
        return block

    def control_register(self, unit: Unit) -> int:
        """Return the address of a register whose contents do not depend on time."""
        places = [CONTROL_BASE + 8 * n for n in range(8)]
        thread = self.options.thread
        places.append(register_address(ThreadRegister.ARG, thread))
        if unit is Unit.LOAD:
            places.append(register_address(ThreadRegister.PC, thread))
            places.append(register_address(ThreadRegister.STATUS, thread))
        return self.rng.choice(places)

    def vector_access(self, unit: Unit) -> Block:
        """Return an aligned vector load, store or matrix instruction on the data window."""
        row = self.rng.choice(self.rows[unit])
        size = row.access_bytes or self.params.vector_bytes
        offsets = [operand for operand in row.operands if operand.name.startswith("imm")]
        if not offsets:
            base = self.pointer()
            place = size * self.rng.randrange(-self.half // size, self.half // size)
            return Block.of(*self.point(base, place), self.instruction(row, rs1=base))
        (offset,) = offsets
        # What the offset counts.
        unit_bytes = size if offset.kind is OperandKind.VECTOR_OFFSET else 1
        base, block = DATA, Block()
        low = max(offset.minimum * unit_bytes, -self.half)
        high = min(offset.maximum * unit_bytes, self.half - size)
        if self.rng.random() < 0.3:
            base, high = self.pointer(), min(high, self.half - 2048)
            block.add(encode("andi", rd=base, rs1=self.free(), imm=2048 - size))
            block.add(encode("add", rd=base, rs1=base, rs2=DATA))
        place = self.rng.randint(-(-low // size), high // size) * size
        block.add(self.instruction(row, rs1=base, **{offset.name: place // unit_bytes}))
        return block

    def lane_access(self, unit: Unit) -> Block:
        """Return a gather or scatter in the data window; lanes not in its mask may be anywhere."""
        row = self.rng.choice(self.rows[unit])
        base, limit = self.pointer(), self.pointer()
        lanes, source = self.rng.sample(range(32), 2)
        mask = self.rng.randrange(8)
        block = Block.of(
            encode("addi", rd=limit, rs1=0, imm=_LANE_WINDOW - 4),
            encode("vbc.x", vd=lanes, rs1=limit),
            encode("vand.i32", vd=lanes, vs1=lanes, vs2=source),
        )
        masked = any(operand.name == "ms" for operand in row.operands)
        if masked and self.rng.random() < 0.5:
            block.add(encode("vsel", vd=lanes, vs1=lanes, vs2=source, ms=mask))
        place = 4 * self.rng.randrange(-self.half // 4, (self.half - _LANE_WINDOW) // 4)
        block.add(*self.point(base, place))
        block.add(self.instruction(row, rs1=base, vs2=lanes, ms=mask))
        return block

    def move(self) -> Block:
        """Return a move; padding often with counts that matter."""
        row = self.rng.choice(self.rows[Unit.VECTOR_MOVE])
        if not row.name.startswith("vpad") or self.rng.random() < 0.3:
            return Block.of(self.instruction(row))
        rows, columns = self.rng.randrange(10), self.rng.randrange(8)
        counts = self.pointer()
        return Block.of(
            encode("addi", rd=counts, rs1=0, imm=rows | columns << 8),
            self.instruction(row, rs1=counts),
        )

    def csr_access(self) -> Block:
        """Return a read or write of a CSR whose value does not depend on time."""
        row = self.rng.choice(self.rows[Unit.CSR])
        if self.rng.random() < 0.4 and row.name not in ("csrrw", "csrrwi"):
            source = "rs1" if "rs1" in row.syntax else "imm_z"
            return Block([self.instruction(row, csr=self.rng.choice(_CSR_READS), **{source: 0})], 1)
        return Block.of(self.instruction(row, csr=self.rng.choice(_CSR_WRITES)))

    def system(self) -> Block:
        """Return an instruction that changes nothing, or one that changes the program."""
        if self.rng.random() < 0.4:
            return self.self_modification()
        return Block.of(encode(self.rng.choice(("fence", "fence.i", "wfi"))))

    def self_modification(self) -> Block:
        """Return instructions that write one of those after them, and fetch it anew."""
        pointer, new = self.rng.sample(_FREE[1:], 2)
        old, written = (self.instruction(self.rng.choice(self.rows[Unit.ALU])) for _ in range(2))
        value = load_immediate(new, written - (written >> 31 << 32))
        before = self.free_of_memory(self.rng.randrange(3)).words
        words = [
            encode("auipc", rd=pointer, imm=0),
            *value,
            encode("sw", rs2=new, rs1=pointer, imm=4 * (len(value) + 3 + len(before))),
            encode("fence.i"),
            *before,
            old,
        ]
        return Block.of(*words)

    def free_of_memory(self, count: int) -> Block:
        """Return instructions that do not touch memory."""
        return Block.of(
            *(self.instruction(self.rng.choice(self.rows[Unit.ALU])) for _ in range(count))
        )

    def point(self, register: int, offset: int) -> list[int]:
        """Return the words that put an address in a register: how far it is from x[DATA]."""
        if -2048 <= offset < 2048:
            return [encode("addi", rd=register, rs1=DATA, imm=offset)]
        words = load_immediate(register, offset)
        return [*words, encode("add", rd=register, rs1=register, rs2=DATA)]

    def add_node(self, register: int, shift: int, other: int) -> list[int]:
        """Return the words that add the own node's address bits, shifted, to a register.

        They use a third register, `other`.
        """
        if not self.options.node:
            return []
        words = load_immediate(other, self.options.node << shift)
        return [*words, encode("add", rd=register, rs1=register, rs2=other)]

    def own_semaphore(self) -> int:
        """Return a semaphore that no other thread uses."""
        return PRIVATE_SEMAPHORES * self.options.thread + self.rng.randrange(PRIVATE_SEMAPHORES)

    def transfer(self) -> Block:
        """Return a transfer from the lower half of the data window to the upper, and its end."""
        row = self.rng.choice(self.rows[Unit.TRANSFER])
        makers = {"post": self.remote_post, "xlist": self.transfer_list}
        if row.name in makers:
            return makers[row.name]()
        lines = self.rng.choice((1, 1, 2, 3, 5, MAX_LINES))
        local, remote, other = self.rng.sample(_FREE[1:], 3)
        window = self.half // LINE_BYTES  # lines of a half; the window begins at a line
        source = LINE_BYTES * self.rng.randrange(window - lines + 1) - self.half
        target = LINE_BYTES * self.rng.randrange(window, 2 * window - lines + 1) - self.half
        ends = (target, source) if row.name == "pull" else (source, target)
        point = [*self.point(local, ends[0]), *self.point(remote, ends[1])]
        point += self.add_node(remote, LOCAL_BITS, other)
        block = Block.of(encode("fence"), *point)
        if row.name == "bcast":  # the far corner is the own node
            block.add(*self.add_node(local, 32, other))
        block.add(encode(row.name, rs1=local, rs2=remote, imm=lines % MAX_LINES))
        block += self.free_of_memory(self.rng.randrange(3))
        if row.name == "bcast":
            # A broadcast is not acknowledged: the transfer after it, the same way, is.
            block.add(*point, encode("push", rs1=local, rs2=remote, imm=1))
        block.add(encode("fence"))
        return block

    def remote_post(self) -> Block:
        """Return a post to the own node as to any, and the wait for it."""
        node, number = self.pointer(), self.own_semaphore()
        block = Block(load_immediate(node, self.options.node << LOCAL_BITS))
        block.cost = len(block.words)
        block.add(encode("post", rs1=node, imm=number))
        block += self.free_of_memory(self.rng.randrange(3))
        block.add(encode("swait", imm=number))
        return block

    def transfer_list(self) -> Block:
        """Return the start of a list, and the waits for all that it posts."""
        one, pointer = self.rng.choice(self.tables.lists), self.pointer()
        block = Block.of(encode("fence"), *self.point(pointer, self.half + one.offset))
        block.add(encode("xlist", rs1=pointer))
        block += self.free_of_memory(self.rng.randrange(3))
        block.add(*(encode("swait", imm=number) for number in one.semaphores), encode("fence"))
        return block

    def semaphore(self) -> Block:
        """Return posts of an own semaphore and as many waits, or a barrier of the own thread."""
        if self.rng.random() < 0.4:
            return Block.of(encode("barrier", imm=1 << self.options.thread))
        number, count = self.own_semaphore(), self.rng.randint(1, 3)
        block = Block.of(*[encode("spost", imm=number)] * count)
        block += self.free_of_memory(self.rng.randrange(3))
        block.add(*[encode("swait", imm=number)] * count)
        return block

    def link(self) -> Block:
        """Return a walk along linked records, or a search in them."""
        row = self.rng.choice(self.rows[Unit.LINK])
        record, count = self.rng.sample(_FREE[1:], 2)
        place = RECORD_BYTES * self.rng.randrange(self.tables.records)
        if row.name == "lwalk":
            number = self.rng.choice((0, 1, 2, 5, 40))
        else:
            number = self.rng.choice((*self.tables.keys, self.rng.getrandbits(64)))
        block = Block.of(*self.point(record, self.half + place), *load_immediate(count, number))
        block.add(self.instruction(row, rs1=record, rs2=count))
        return block

    def meet(self, meeting: Meeting) -> Block:
        """Return what the thread does at a meeting: give, meet, take."""
        thread, block = self.options.thread, Block()
        if thread in meeting.givers:
            block += self.give(meeting.line(thread))
            block.add(encode("fence"))
        if meeting.semaphore is None:
            members = sum(1 << n for n in meeting.threads)
            everyone = members == (1 << self.params.threads) - 1
            block.add(encode("barrier", imm=0 if everyone and thread & 1 else members))
        elif thread in meeting.givers:
            block.add(encode("spost", imm=meeting.semaphore))
        else:
            block.add(encode("swait", imm=meeting.semaphore))
        if thread in meeting.takers:
            for giver in meeting.givers:
                block += self.take(meeting.line(giver))
        return block

    def give(self, address: int) -> Block:
        """Return stores that fill a line."""
        pointer, size = self.pointer(), self.params.vector_bytes
        block = Block()
        block.add(*load_immediate(pointer, address))
        if self.options.uses_vectors and self.rng.random() < 0.5:
            for n in range(LINE_BYTES // size):
                block.add(encode("vst", vs2=self.rng.randrange(32), rs1=pointer, imm=n))
        else:
            for n in range(LINE_BYTES // 8):
                block.add(encode("sd", rs2=self.rng.randrange(32), rs1=pointer, imm=8 * n))
        return block

    def take(self, address: int) -> Block:
        """Return loads from a line."""
        pointer, size = self.pointer(), self.params.vector_bytes
        block = Block()
        block.add(*load_immediate(pointer, address))
        if self.options.uses_vectors:
            place = self.rng.randrange(LINE_BYTES // size)
            block.add(encode("vld", vd=self.rng.randrange(32), rs1=pointer, imm=place))
        place = 8 * self.rng.randrange(LINE_BYTES // 8)
        block.add(encode("ld", rd=self.free(), rs1=pointer, imm=place))
        return block

    def trap(self) -> Block:
        """Return instructions of which one traps, or that return from a trap."""
        makers = (
            lambda: Block.of(encode("ecall")),
            lambda: Block.of(encode("ebreak")),
            lambda: Block.of(self.illegal()),
            self.bad_access,
            *([self.bad_communication] if self.options.mix.get(Unit.TRANSFER) else []),
            self.bad_jump,
            self.return_from_trap,
        )
        return self.rng.choice(makers)()

    def illegal(self) -> int:
        """Return an illegal word: no such encoding, or an operand that the node has not."""
        match self.rng.randrange(5):
            case 0:
                return encode("csrrw", rd=self.free(), csr=0x5C0, rs1=self.free())
            case 1:
                return encode("csrrwi", rd=self.free(), csr=CSR_BY_NAME["instret"].number, imm=1)
            case 2 if self.params.accumulators < 16:
                acc = self.rng.randrange(self.params.accumulators, 16)
                return encode("mzero", acc_d=acc)
            case 3:
                lane = self.rng.randrange(self.params.fp32_lanes + 1, 32)
                row, name = self.rng.choice((("vbc.l", "lane"), ("vslide", "slide")))
                return self.instruction(INSTRUCTION_BY_NAME[row], **{name: lane})
        while True:
            word = self.rng.getrandbits(32)
            if decode(word) is None:
                return word

    def bad_access(self) -> Block:
        """Return a scalar access that is misaligned or outside memory."""
        row = self.rng.choice([r for r in INSTRUCTIONS if r.unit in (Unit.LOAD, Unit.STORE)])
        block = Block()
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

    def bad_communication(self) -> Block:
        """Return a transfer or a walk along links that is refused."""
        name = self.rng.choice(("push", "pull", "bcast", "post", "xlist", "lwalk", "lfind"))
        first, second = self.rng.sample(_FREE[1:], 2)
        inside, outside = self.options.base, self.params.sram_bytes
        bad = self.rng.choice((outside, 1 << 40, inside + 4))
        values = {first: bad, second: 0}
        if name == "post":
            values[first] = 1 << 56
        elif name == "bcast":  # the upper half of its first operand is no address
            values[first] = self.rng.choice((outside, inside + 4))
        elif name in ("push", "pull") and self.rng.random() < 0.5:
            values = {first: inside, second: self.rng.choice((1 << 56, inside + 8))}
        elif name == "lwalk":
            record = self.rng.choice(self.tables.bad_records)
            block = Block.of(*self.point(first, self.half + record))
            block.add(encode("addi", rd=second, rs1=0, imm=self.rng.randint(2, 9)))
            block.add(encode("lwalk", rd=self.free(), rs1=first, rs2=second))
            return block
        block = Block()
        for register, value in values.items():
            block.add(*load_immediate(register, value))
        block.add(self.instruction(INSTRUCTION_BY_NAME[name], rs1=first, rs2=second))
        return block

    def bad_jump(self) -> Block:
        """Return a jump to an address that is not a multiple of 4."""
        rows = [row for row in INSTRUCTIONS if row.unit is Unit.BRANCH]
        row = self.rng.choice(rows)
        if row.name == "jalr":
            base = self.pointer()
            return Block(
                [encode("auipc", rd=base, imm=0), self.instruction(row, rs1=base, imm_i=6)], 2
            )
        (offset,) = (o.name for o in row.operands if o.name.startswith("imm"))
        return Block.of(self.instruction(row, **{offset: 6}))

    def return_from_trap(self) -> Block:
        """Return an mret to the instruction after it."""
        pointer = self.pointer()
        mepc = CSR_BY_NAME["mepc"].number
        words = [
            encode("auipc", rd=pointer, imm=0),
            encode("addi", rd=pointer, rs1=pointer, imm=16),
            encode("csrrw", rd=self.free(), csr=mepc, rs1=pointer),
            encode("mret"),
        ]
        return Block(words, len(words))

    def item(self, size: int, depth: int, callable_: bool) -> Block:
        """Return one item of at most about `size` instructions."""
        if self.options.traps and self.rng.random() < self.options.traps:
            return self.trap()
        (unit,) = self.rng.choices(self.units, self.weights)
        if unit is Unit.BRANCH:
            return self.control_flow(size, depth, callable_)
        return self.makers.get(unit, lambda: self.plain(unit))()

    def control_flow(self, size: int, depth: int, callable_: bool) -> Block:
        """Return a loop, a call, or items that a branch or jump may pass over."""
        inner = self.rng.randint(1, max(1, min(size, 12)))
        kind = self.rng.random()
        if kind < 0.2 and depth < len(_COUNTERS):
            return self.loop(inner, depth, callable_)
        if kind < 0.3 and callable_:
            return self.call(inner, depth)
        body = self.items(inner, depth, callable_)
        over = 4 * (len(body.words) + 1)
        block = Block()
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

    def loop(self, size: int, depth: int, callable_: bool) -> Block:
        """Return items that are repeated."""
        counter, rounds = _COUNTERS[depth], self.rng.randint(1, self.options.max_loop)
        body = self.items(size, depth + 1, callable_)
        body.add(encode("addi", rd=counter, rs1=counter, imm=-1))
        back = -4 * len(body.words)
        if back < -4096:
            return body
        body.add(encode("bne", rs1=counter, rs2=0, imm=back))
        return Block(
            [encode("addi", rd=counter, rs1=0, imm=rounds), *body.words], 1 + rounds * body.cost
        )

    def call(self, size: int, depth: int) -> Block:
        """Return a subroutine, jumped over, and a call back to it."""
        body = self.items(size, depth, False)
        body.add(encode("jalr", rd=0, rs1=LINK, imm=0))
        words = [
            encode("jal", rd=0, imm=4 * (len(body.words) + 1)),
            *body.words,
            encode("jal", rd=LINK, imm=-4 * len(body.words)),
        ]
        return Block(words, 2 + body.cost)

    def items(self, size: int, depth: int, callable_: bool) -> Block:
        """Return items until they have about `size` words.

        Parameters
        ----------
        size
            Words.
        depth
            Loops around them: as many loops may be inside as counters are left.
        callable_
            Whether calls may be among them.

        """
        block = Block()
        while len(block.words) < size:
            block += self.item(size - len(block.words), depth, callable_)
        return block
