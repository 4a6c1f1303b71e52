"""The address map: where SRAM and the control block are, and what each control register does.

An address is 64 bits: bits 23..0 are the offset inside a node, bits 31..24 the node's column,
39..32 its row, 47..40 and 55..48 the die's column and row. Bits 63..56 are zero. In a node's own
loads, stores and jumps only the local offset is used and bits 63..24 must be zero.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Self

from .params import LINE_BYTES, NodeParams

__all__ = [
    "CONTROL_BASE",
    "COUNTER_BASE",
    "COUNTER_LINES",
    "ECC_BASE",
    "IDENTITY",
    "LINK_BASE",
    "LOCAL_BITS",
    "MACHINE_ID",
    "REGISTERS",
    "ROUTER_BASE",
    "ROUTER_BITS",
    "ROUTE_TABLE_BASE",
    "ROUTE_TABLE_REGISTERS",
    "ROUTE_TABLE_SIDE",
    "SEMAPHORE_BASE",
    "SEMAPHORE_BITS",
    "SERDES_BASE",
    "SERDES_STRIDE",
    "SRAM_BASE",
    "THREAD_BASE",
    "TRANSFER_BASE",
    "Access",
    "Command",
    "CounterRegister",
    "EccRegister",
    "IdentityRegister",
    "IssueSlot",
    "LinkRegister",
    "Register",
    "RouteTableRegister",
    "RouterRegister",
    "SemaphoreRegister",
    "SerdesCommand",
    "SerdesRegister",
    "StallCause",
    "ThreadRegister",
    "ThreadStatus",
    "TransferRegister",
    "control_lines",
    "identity_values",
    "issue_counter",
    "issue_slots",
    "register_address",
    "router_lines",
    "serdes_lines",
    "stall_counter",
    "thread_counter",
]

#: Bits of an offset inside a node.
LOCAL_BITS = 24
#: Where SRAM starts; its size is `NodeParams.sram_bytes`.
SRAM_BASE = 0x00_0000
#: Where the control block starts. All its registers are 64 bits wide and accessed whole.
CONTROL_BASE = 0x80_0000
#: The identity registers, one line.
IDENTITY = CONTROL_BASE
#: The thread registers, one line for each thread.
THREAD_BASE = CONTROL_BASE + 0x1000
#: The performance counters, four lines.
COUNTER_BASE = CONTROL_BASE + 0x3000
#: The registers of the SRAM's error correction, one line.
ECC_BASE = CONTROL_BASE + 0x4000
#: The semaphores, a register each.
SEMAPHORE_BASE = CONTROL_BASE + 0x5000
#: What the transfer engine does, one line.
TRANSFER_BASE = CONTROL_BASE + 0x6000
#: The registers of the routers at the node's place; they are there even where the node is dead.
ROUTER_BASE = CONTROL_BASE + 0x1_0000
#: Bits of an offset from `ROUTER_BASE`: all these addresses are the routers', none the node's.
ROUTER_BITS = 16
#: The routing table: an entry of 4 bits for each place of a square with this side.
ROUTE_TABLE_BASE = ROUTER_BASE
ROUTE_TABLE_SIDE = 32
#: Registers of the table: two for each row.
ROUTE_TABLE_REGISTERS = ROUTE_TABLE_SIDE * ROUTE_TABLE_SIDE // 16
#: Packets counted at the routers' outputs, a line for each plane.
LINK_BASE = ROUTER_BASE + 0x240
#: The registers of a SerDes link's end, among those of the routers beside it, and from those of the
#: link on one side of a place to the next one's: north, east, south, west.
SERDES_BASE = ROUTER_BASE + 0x8000
SERDES_STRIDE = 0x100

#: Registers of a line.
_LINE_REGISTERS = LINE_BYTES // 8
#: Bits of a semaphore's count; those above read 0 and are not kept.
SEMAPHORE_BITS = 16

#: First identity register: "D1" in ASCII above the version of this map.
MACHINE_ID = 0x4431_0001


class _DocumentedEnum(enum.IntEnum):
    """A number and what it means."""

    doc: str

    def __new__(cls, value: int, doc: str) -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.doc = doc
        return member


class IdentityRegister(_DocumentedEnum):
    """Index of each register in the identity line (read only)."""

    MACHINE = 0, '"D1" in ASCII above the version of this map'
    NODE = 1, "the node's own address bits 55..24"
    SRAM_BYTES = 2, "bytes of SRAM"
    MATRIX = 3, "R in bits 7..0, C in 15..8, K in 23..16"
    VECTOR_BYTES = 4, "bytes of a vector register"
    THREADS = 5, "hardware threads"
    ACCUMULATORS = 6, "accumulators of a thread"
    DOT_FRACTION_BITS = 7, "F of the fused dot product"


class ThreadRegister(_DocumentedEnum):
    """Index of each register in a thread's line."""

    PC = 0, "where COMMAND.START starts the thread; not changed by running"
    ARG = 1, "copied to x10 (a0) at the start"
    COMMAND = 2, "starts or stops the thread; reads 0"
    STATUS = 3, "what the thread is doing, or how it ended"
    CAUSE = 4, "the exception that halted or faulted the thread, an mcause code"
    FAULT_PC = 5, "address of the instruction that halted or faulted the thread"
    FAULT_VALUE = 6, "what mtval would have held"
    CYCLES = 7, "cycles from the start to the stop, or until now while running"


class IssueSlot(_DocumentedEnum):
    """Where an instruction starts; nodes with two scalar slots have ALU0 and ADDRESS0 only."""

    ALU0 = 0, "arithmetic, branches, CSRs; the only one that multiplies and divides"
    ALU1 = 1, "arithmetic"
    ADDRESS0 = 2, "loads, stores, the addresses of vector accesses; additions and logic"
    ADDRESS1 = 3, "the same"
    VECTOR0 = 4, "SIMD, conversion, move, accumulator read-out, memory"
    VECTOR1 = 5, "matrix, memory, gather and scatter"


class StallCause(_DocumentedEnum):
    """Why a thread did not issue.

    A running thread that issues nothing in a cycle counts that cycle for what its next
    instruction waits for, one of the causes before VECTOR_OPERAND. A thread with instructions in
    its vector queue of which none starts in a cycle counts it for what the oldest of them waits
    for, one of the others: the two are independent of each other.
    """

    FETCH = 0, "the next instruction is not there"
    OPERAND = 1, "a scalar register is not yet written"
    SLOT = 2, "other instructions have the slots or the unit"
    QUEUE = 3, "the vector queue is full"
    ORDER = 4, "memory order, a fence, or an instruction that runs alone"
    WAIT = 5, "a semaphore or a barrier"
    BLOCKED = 6, "a gather, scatter or link traversal is under way"
    VECTOR_OPERAND = 7, "a vector or mask register is not yet written"
    VECTOR_SLOT = 8, "other instructions have the vector slot or the unit"
    ACCUMULATOR = 9, "an accumulator is not yet written or read"
    VECTOR_BANK = 10, "other accesses have the bank of SRAM"
    RESULT = 11, "the register file's write port is taken when the result would come"

    @property
    def is_vector(self) -> bool:
        """Whether the cause holds up the vector queue, not the thread's issue."""
        return self >= StallCause.VECTOR_OPERAND


class CounterRegister(_DocumentedEnum):
    """Index of each performance counter (read only, 64 bits, count from reset)."""

    CYCLES = 0, "cycles in which a thread was running"
    INSTRUCTIONS = 1, "instructions retired, of all threads"
    MATRIX_STEPS = 2, "matrix steps entered into the matrix unit"
    REQUESTS = 3, "request packets carried out"
    REPLIES = 4, "reply packets made"
    FAULT_REPLIES = 5, "of these, fault replies"
    BANK_CONFLICTS = 6, "cycles in which an SRAM access of the core waited for its bank"
    MATRIX_BUSY = 7, "cycles in which the matrix unit had a step to do"
    INSTRUCTIONS_0 = 8, "instructions retired by thread 0"
    INSTRUCTIONS_1 = 9, "by thread 1"
    INSTRUCTIONS_2 = 10, "by thread 2"
    INSTRUCTIONS_3 = 11, "by thread 3"
    ISSUED_ALU0 = 12, "instructions issued to the first ALU"
    ISSUED_ALU1 = 13, "to the second ALU"
    ISSUED_ADDRESS0 = 14, "to the first address unit"
    ISSUED_ADDRESS1 = 15, "to the second address unit"
    ISSUED_VECTOR0 = 16, "to the first vector slot"
    ISSUED_VECTOR1 = 17, "to the second vector slot"
    PACKETS_SENT = 18, "request packets sent by the node's own programs"
    STALL_FETCH = 19, f"thread-cycles without issue: {StallCause.FETCH.doc}"
    STALL_OPERAND = 20, f"the same: {StallCause.OPERAND.doc}"
    STALL_SLOT = 21, f"the same: {StallCause.SLOT.doc}"
    STALL_QUEUE = 22, f"the same: {StallCause.QUEUE.doc}"
    STALL_ORDER = 23, f"the same: {StallCause.ORDER.doc}"
    STALL_WAIT = 24, f"the same: {StallCause.WAIT.doc}"
    STALL_BLOCKED = 25, f"the same: {StallCause.BLOCKED.doc}"
    STALL_VECTOR_OPERAND = 26, f"thread-cycles of vector queues: {StallCause.VECTOR_OPERAND.doc}"
    STALL_VECTOR_SLOT = 27, f"the same: {StallCause.VECTOR_SLOT.doc}"
    STALL_ACCUMULATOR = 28, f"the same: {StallCause.ACCUMULATOR.doc}"
    STALL_VECTOR_BANK = 29, f"the same: {StallCause.VECTOR_BANK.doc}"
    STALL_RESULT = 30, f"the same: {StallCause.RESULT.doc}"


#: Lines of counters; what is left of the last one reads 0.
COUNTER_LINES = -(-len(CounterRegister) // _LINE_REGISTERS)


class EccRegister(_DocumentedEnum):
    """Index of each register of the SRAM's error correction (docs/ecc.md).

    A log entry has the byte address of a 64-bit word in bits 31..0, its syndrome in 39..32, and
    63 set.
    """

    CORRECTED = 0, "words found with one wrong bit, by reads, stores of parts and scrubbing"
    UNCORRECTABLE = 1, "words found with more, likewise"
    LAST_CORRECTED = 2, "address, syndrome << 32, valid << 63 of the newest; a write clears it"
    FIRST_UNCORRECTABLE = 3, "the same of the first since a write cleared it"
    SCRUB_INTERVAL = 4, "cycles from one scrubbed line to the next; 0: off"
    INJECT_DATA = 5, "bits that an injection flips in the word"
    INJECT_CHECK = 6, "and in its check byte, bits 7..0"
    INJECT_ADDRESS = 7, "a write flips them in the word stored at this address, once"


class SemaphoreRegister(_DocumentedEnum):
    """The register of a semaphore."""

    COUNT = 0, "count of the semaphore, 16 bits; threads that wait for it see what is written"


class TransferRegister(_DocumentedEnum):
    """Index of each register in the line of the transfer engine (docs/transfers.md)."""

    OUTSTANDING = 0, "replies that the node's transfers wait for"
    FAULTS = 1, "faults of transfers; a write clears it, FAULT_KIND and FAULT_ADDRESS"
    FAULT_KIND = 2, "kind of the first (`TransferFault`), 0: none"
    FAULT_ADDRESS = 3, "address of the first: local, of a descriptor, or remote"


class RouteTableRegister(_DocumentedEnum):
    """The registers of the routing table (docs/router.md)."""

    ENTRIES = 0, "entries of row n / 2: column 16 (n mod 2) + k in bits 4k+3..4k, of register n"


class RouterRegister(_DocumentedEnum):
    """Index of each register in the line of the routers (docs/router.md)."""

    EXITS = 0, "entries of other dies: north in bits 3..0, east 7..4, south 11..8, west 15..12"
    CORE_DISABLED = 1, "1: nothing goes to the node; requests to it are refused"
    DROPPED = 2, "packets that nobody got: broadcasts and replies without a node to go to"
    REFUSED = 3, "requests that were answered with FAULT_REPLY in place of a node"


class LinkRegister(_DocumentedEnum):
    """Index of each counter of packets that left by an output of the routers."""

    REQUEST_LOCAL = 0, "requests to the node or, in its place, to the routers' control"
    REQUEST_NORTH = 1, "requests to the north"
    REQUEST_EAST = 2, "to the east"
    REQUEST_SOUTH = 3, "to the south"
    REQUEST_WEST = 4, "to the west"
    REPLY_LOCAL = 8, "replies likewise"
    REPLY_NORTH = 9, "replies to the north"
    REPLY_EAST = 10, "to the east"
    REPLY_SOUTH = 11, "to the south"
    REPLY_WEST = 12, "to the west"


class SerdesRegister(_DocumentedEnum):
    """Index of each register of a SerDes link's end (docs/link.md).

    Counters are 32 bits wide and wrap.
    """

    STATUS = 0, "`LinkState` 3..0; `RowMode` from 5..4, to 7..6; rows come 8, there 9; reversed 10"
    LANES = 1, "lanes that arrive here 7..0, there 15..8; wires locked 23..16; lanes crossed 31..24"
    SESSIONS = 2, "resets of this end, modulo 65 535, in bits 15..0; of the other one 31..16"
    COMMAND = 3, "starts training or the search for lanes (`SerdesCommand`, bits); reads 0"
    DISABLED = 4, "bit n of 7..0: wire n is not used to receive; all: the link is down"
    LOST_REQUESTS = 5, "requests that may not have left the other end before its resets"
    LOST_REPLIES = 6, "replies likewise"
    REFUSED = 7, "requests refused and replies dropped because all wires were disabled"
    BAD_ROWS = 8, "rows with a block that is neither data nor control, or a mixture of both"
    BAD_FRAMES = 9, "frames and status rows with a wrong CRC or number of rows"
    LOST_FRAMES = 10, "times that a frame was missing, or one came again"
    REPLAYS = 11, "times that frames were sent again"
    RETRAINS = 12, "times that the training began anew"
    PEER_RESETS = 13, "resets of the other end that were noticed"
    BAD_HEADERS = 14, "blocks with an invalid sync header, of all lanes"
    BOND_LOSSES = 15, "times that rows stopped coming: a lane lost, or another number of lanes"


class SerdesCommand(enum.IntFlag):
    """Bits of SerdesRegister.COMMAND; each acts once, and nothing is lost by it."""

    RETRAIN = 1  #: both ends train again
    RESTART = 2  #: this end looks for blocks, lanes and their order anew


class Command(enum.IntEnum):
    """Values of ThreadRegister.COMMAND; any other value changes nothing."""

    START = 1  #: from IDLE, HALTED or FAULTED; ignored while RUNNING
    STOP = 2  #: a running thread finishes the instructions it has issued and becomes IDLE


class ThreadStatus(enum.IntEnum):
    """Values of ThreadRegister.STATUS."""

    IDLE = 0
    RUNNING = 1
    HALTED = 2  #: ended by `ecall` with no trap handler: the normal end of a kernel
    FAULTED = 3  #: stopped by any other exception with no trap handler, or by a vector fault


class Access(enum.Enum):
    """What a write to a register does."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    WRITE_ONLY = "wo"


@dataclass(frozen=True)
class Register:
    """One 64-bit control register; of thread 0, semaphore 0 and so on where each has its own."""

    name: str
    address: int
    access: Access
    doc: str


def register_address(register: enum.IntEnum, index: int = 0) -> int:
    """Return the local address of a control register, of thread, semaphore, link ... `index`."""
    match register:
        case IdentityRegister():
            return IDENTITY + 8 * register
        case ThreadRegister():
            return THREAD_BASE + LINE_BYTES * index + 8 * register
        case CounterRegister():
            return COUNTER_BASE + 8 * register
        case EccRegister():
            return ECC_BASE + 8 * register
        case SemaphoreRegister():
            return SEMAPHORE_BASE + 8 * index
        case TransferRegister():
            return TRANSFER_BASE + 8 * register
        case RouteTableRegister():
            return ROUTE_TABLE_BASE + 8 * index
        case RouterRegister():
            return ROUTER_BASE + 8 * (ROUTE_TABLE_REGISTERS + register)
        case LinkRegister():
            return LINK_BASE + 8 * register
        case SerdesRegister():
            return SERDES_BASE + SERDES_STRIDE * index + 8 * register
    raise TypeError(f"register must be a control register, not {register!r}")


def issue_slots(params: NodeParams) -> tuple[IssueSlot, ...]:
    """Return the slots that a node has, in ascending order."""
    units = params.scalar_slots // 2
    return (
        *(IssueSlot.ALU0, IssueSlot.ALU1)[:units],
        *(IssueSlot.ADDRESS0, IssueSlot.ADDRESS1)[:units],
        IssueSlot.VECTOR0,
        IssueSlot.VECTOR1,
    )


def thread_counter(thread: int) -> CounterRegister:
    """Return the counter of the instructions of a thread."""
    return CounterRegister[f"INSTRUCTIONS_{thread}"]


def issue_counter(slot: IssueSlot) -> CounterRegister:
    """Return the counter of the instructions issued to a slot."""
    return CounterRegister[f"ISSUED_{slot.name}"]


def stall_counter(cause: StallCause) -> CounterRegister:
    """Return the counter of the cycles lost to a cause."""
    return CounterRegister[f"STALL_{cause.name}"]


def control_lines(params: NodeParams) -> tuple[int, ...]:
    """Return the local addresses of the lines of the control block, in ascending order.

    An access to a line that is not among them is a fault.
    """

    def lines(base: int, count: int = 1) -> range:
        return range(base, base + LINE_BYTES * count, LINE_BYTES)

    return (
        *lines(IDENTITY),
        *lines(THREAD_BASE, params.threads),
        *lines(COUNTER_BASE, COUNTER_LINES),
        *lines(ECC_BASE),
        *lines(SEMAPHORE_BASE, params.semaphores // _LINE_REGISTERS),
        *lines(TRANSFER_BASE),
    )


def router_lines() -> tuple[int, ...]:
    """Return the local addresses of the lines of the routers, in ascending order.

    An access to a line from `ROUTER_BASE` on that is not among them is a fault.
    """
    lines = {
        address - address % LINE_BYTES
        for address in (
            *(
                register_address(RouteTableRegister.ENTRIES, n)
                for n in range(ROUTE_TABLE_REGISTERS)
            ),
            *map(register_address, RouterRegister),
            *map(register_address, LinkRegister),
        )
    }
    return tuple(sorted(lines))


def serdes_lines(index: int = 0) -> tuple[int, ...]:
    """Return the local addresses of the lines of a SerDes link's end, in ascending order."""
    addresses = (register_address(register, index) for register in SerdesRegister)
    return tuple(sorted({address - address % LINE_BYTES for address in addresses}))


#: What a write does to the registers that are not read only, by kind and name: members of
#: different kinds are equal when their numbers are.
_ACCESS: dict[tuple[type[enum.IntEnum], str], Access] = {
    (ThreadRegister, "PC"): Access.READ_WRITE,
    (ThreadRegister, "ARG"): Access.READ_WRITE,
    (ThreadRegister, "COMMAND"): Access.WRITE_ONLY,
    (EccRegister, "LAST_CORRECTED"): Access.READ_WRITE,
    (EccRegister, "FIRST_UNCORRECTABLE"): Access.READ_WRITE,
    (EccRegister, "SCRUB_INTERVAL"): Access.READ_WRITE,
    (EccRegister, "INJECT_DATA"): Access.READ_WRITE,
    (EccRegister, "INJECT_CHECK"): Access.READ_WRITE,
    (EccRegister, "INJECT_ADDRESS"): Access.WRITE_ONLY,
    (SemaphoreRegister, "COUNT"): Access.READ_WRITE,
    (TransferRegister, "FAULTS"): Access.READ_WRITE,
    (RouteTableRegister, "ENTRIES"): Access.READ_WRITE,
    (RouterRegister, "EXITS"): Access.READ_WRITE,
    (RouterRegister, "CORE_DISABLED"): Access.READ_WRITE,
    (SerdesRegister, "COMMAND"): Access.WRITE_ONLY,
    (SerdesRegister, "DISABLED"): Access.READ_WRITE,
}

#: Every control register; of thread 0, semaphore 0 and so on where each has its own.
REGISTERS: tuple[Register, ...] = tuple(
    Register(
        f"{kind.__name__.removesuffix('Register').lower()}.{register.name.lower()}",
        register_address(register),
        _ACCESS.get((kind, register.name), Access.READ_ONLY),
        register.doc,
    )
    for kind in (
        IdentityRegister,
        ThreadRegister,
        CounterRegister,
        EccRegister,
        SemaphoreRegister,
        TransferRegister,
        RouteTableRegister,
        RouterRegister,
        LinkRegister,
        SerdesRegister,
    )
    for register in kind
)


def identity_values(params: NodeParams, node: int = 0) -> tuple[int, ...]:
    """Return the contents of the identity line of a node with address bits 55..24 = `node`."""
    values = {
        IdentityRegister.MACHINE: MACHINE_ID,
        IdentityRegister.NODE: node,
        IdentityRegister.SRAM_BYTES: params.sram_bytes,
        IdentityRegister.MATRIX: params.matrix_rows
        | params.matrix_cols << 8
        | params.matrix_depth << 16,
        IdentityRegister.VECTOR_BYTES: params.vector_bytes,
        IdentityRegister.THREADS: params.threads,
        IdentityRegister.ACCUMULATORS: params.accumulators,
        IdentityRegister.DOT_FRACTION_BITS: params.dot_fraction_bits,
    }
    return tuple(values[register] for register in IdentityRegister)
