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
    "IDENTITY",
    "LOCAL_BITS",
    "MACHINE_ID",
    "REGISTERS",
    "SRAM_BASE",
    "THREAD_BASE",
    "Access",
    "Command",
    "CounterRegister",
    "IdentityRegister",
    "Register",
    "ThreadRegister",
    "ThreadStatus",
    "identity_values",
    "register_address",
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
#: The performance counters.
COUNTER_BASE = CONTROL_BASE + 0x3000

#: First identity register: "D1" in ASCII above the version of this map.
MACHINE_ID = 0x4431_0001


class _RegisterEnum(enum.IntEnum):
    """Index of each register in its line, and what the register means."""

    doc: str

    def __new__(cls, value: int, doc: str) -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.doc = doc
        return member


class IdentityRegister(_RegisterEnum):
    """Index of each register in the identity line (read only)."""

    MACHINE = 0, '"D1" in ASCII above the version of this map'
    NODE = 1, "the node's own address bits 55..24"
    SRAM_BYTES = 2, "bytes of SRAM"
    MATRIX = 3, "R in bits 7..0, C in 15..8, K in 23..16"
    VECTOR_BYTES = 4, "bytes of a vector register"
    THREADS = 5, "hardware threads"
    ACCUMULATORS = 6, "accumulators of a thread"
    DOT_FRACTION_BITS = 7, "F of the fused dot product"


class ThreadRegister(_RegisterEnum):
    """Index of each register in a thread's line."""

    PC = 0, "where COMMAND.START starts the thread; not changed by running"
    ARG = 1, "copied to x10 (a0) at the start"
    COMMAND = 2, "starts or stops the thread; reads 0"
    STATUS = 3, "what the thread is doing, or how it ended"
    CAUSE = 4, "the exception that halted or faulted the thread, an mcause code"
    FAULT_PC = 5, "address of the instruction that halted or faulted the thread"
    FAULT_VALUE = 6, "what mtval would have held"
    CYCLES = 7, "cycles from the start to the stop, or until now while running"


class CounterRegister(_RegisterEnum):
    """Index of each performance counter (read only, 64 bits, count from reset)."""

    CYCLES = 0, "cycles in which a thread was running"
    INSTRUCTIONS = 1, "instructions retired"
    MATRIX_STEPS = 2, "matrix steps entered into the matrix unit"
    REQUESTS = 3, "request packets carried out"
    REPLIES = 4, "reply packets made"
    FAULT_REPLIES = 5, "of these, fault replies"
    BANK_CONFLICTS = 6, "cycles in which an SRAM access of the core waited for its bank"
    ISSUE_STALLS = 7, "cycles in which an instruction was ready to issue and did not"


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
    """One 64-bit control register of a node with one thread line shown for thread 0."""

    name: str
    address: int
    access: Access
    doc: str


def register_address(register: enum.IntEnum, thread: int = 0) -> int:
    """Return the local address of a control register, of thread `thread` where it has one."""
    match register:
        case IdentityRegister():
            return IDENTITY + 8 * register
        case ThreadRegister():
            return THREAD_BASE + LINE_BYTES * thread + 8 * register
        case CounterRegister():
            return COUNTER_BASE + 8 * register
    raise TypeError(f"register must be a control register, not {register!r}")


def _access(register: enum.IntEnum) -> Access:
    if register in (ThreadRegister.PC, ThreadRegister.ARG) and isinstance(register, ThreadRegister):
        return Access.READ_WRITE
    if register is ThreadRegister.COMMAND:
        return Access.WRITE_ONLY
    return Access.READ_ONLY


#: Every control register of one thread's node.
REGISTERS: tuple[Register, ...] = tuple(
    Register(
        f"{kind.__name__.removesuffix('Register').lower()}.{register.name.lower()}",
        register_address(register),
        _access(register),
        register.doc,
    )
    for kind in (IdentityRegister, ThreadRegister, CounterRegister)
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
