"""The state of a golden node as flat arrays, shared by the compiled interpreter and by Python."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d1_golden.csr import CSR_BY_NAME, CSRS
from d1_golden.memory_map import (
    CONTROL_BASE,
    COUNTER_BASE,
    COUNTER_LINES,
    ECC_BASE,
    IDENTITY,
    SEMAPHORE_BASE,
    THREAD_BASE,
    TRANSFER_BASE,
    control_lines,
    identity_values,
)
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_golden.numerics.formats import Cfp8Config, Cfp8Format
from d1_golden.params import LINE_BYTES, NodeParams

from .ecc_state import EccState, new_ecc_state
from .transfer_state import TransferState, new_transfer_state

__all__ = [
    "BARRIER_OPEN",
    "COUNTER_LINE",
    "CSR_INDEX",
    "DISCARD",
    "ECC_LINE",
    "IDENTITY_LINE",
    "NOT_WAITING",
    "SEMAPHORE_LINE",
    "THREAD_LINE",
    "TRANSFER_LINE",
    "WAITS_FOR_BARRIER",
    "WAITS_FOR_SEMAPHORE",
    "WAITS_FOR_TRANSFER",
    "NodeState",
    "csr_reset_values",
    "csr_write_masks",
    "new_state",
]

#: Where a result for x0 goes: one scalar register more than the machine has, never read.
DISCARD = 32
#: First rows of `NodeState.control` of each kind; the threads are last.
IDENTITY_LINE = 0
COUNTER_LINE = 1
ECC_LINE = COUNTER_LINE + COUNTER_LINES
TRANSFER_LINE = ECC_LINE + 1
SEMAPHORE_LINE = TRANSFER_LINE + 1
THREAD_LINE = SEMAPHORE_LINE + 4

#: Values of `NodeState.waiting`. A thread that waits has not executed the instruction that made it
#: wait; it executes it again once it is let go.
NOT_WAITING = 0
#: For semaphore n: this + n. It goes on when the count is not 0.
WAITS_FOR_SEMAPHORE = 1
#: It goes on when the last thread has come to the barrier and sets `BARRIER_OPEN`.
WAITS_FOR_BARRIER = 64
BARRIER_OPEN = 65
#: For replies to its transfers, or for room to begin one.
WAITS_FOR_TRANSFER = 66

_ALIASES = {"cycle": "mcycle", "instret": "minstret"}
_STORED = [csr for csr in CSRS if csr.name not in _ALIASES]

#: From a CSR's number to its place in `NodeState.csr`; the read-only counters share a place with
#: the machine-mode ones.
CSR_INDEX: dict[int, int] = {csr.number: index for index, csr in enumerate(_STORED)}
CSR_INDEX |= {
    CSR_BY_NAME[alias].number: CSR_INDEX[CSR_BY_NAME[name].number]
    for alias, name in _ALIASES.items()
}


class NodeState(NamedTuple):
    """Everything a node remembers, and the working memory of its interpreter.

    T is the number of threads; what threads have of their own is indexed by the thread first.

    Members
    -------
    memory8, memory16, memory32, memory64 : NDArray
        SRAM, four views of the same bytes.
    tag : uint32[words]
        The instruction word from which `decoded` was made. The interpreter compares it with
        memory at every fetch, so decoding needs no invalidation.
    decoded : uint64[words]
        Instructions decoded once; see `interpreter`.
    x : uint64[T, 33]
        Scalar registers; x[:, 0] is 0, x[:, 32] takes what is written to x0.
    vector : uint64[T, 32, vector_bytes / 8]
        Vector registers.
    accumulator : uint32[T, accumulators, R * C]
        FP32 bit patterns, row-major.
    mask : uint64[T, 8]
        Mask registers: bit n for lane n.
    csr : uint64[T, n]
        By `CSR_INDEX`.
    control : uint64[lines, 8]
        The lines of the control block: rows from `IDENTITY_LINE` and so on.
    control_row : int16[n]
        Row of `control` by the offset from CONTROL_BASE in lines, -1 where no line is.
    counter : uint64[8 * COUNTER_LINES]
        By `CounterRegister`; part of `control`.
    semaphore : uint64[semaphores]
        Counts of the semaphores; part of `control`.
    pc : uint64[T]
        Address of the next instruction.
    waiting : uint64[T]
        What a running thread waits for: `NOT_WAITING`, `WAITS_FOR_SEMAPHORE` + n ...
    barrier_arrived : uint64[T]
        While a thread waits for a barrier, the threads that are to come to it, a bit each.
    turn : int64[3]
        The thread that executes, and how long it may; see `schedule`.
    ecc : EccState
        Words with flipped bits, and the registers about them; part of `control`.
    transfer : TransferState
        Transfers to other nodes and lists under way.
    cfp8_bf16 : uint16[128, 256]
        BF16 code of every CFP8 code, by the value of an mcfp8 CSR.
    vector_result : uint64[vector_bytes / 8]
        Scratch: a vector result before it is written.
    tile_a, tile_b : uint16[vector_bytes / 2]
        Scratch: CFP8 operand tiles widened to BF16.
    step_scratch : int32[8 * C]
        Scratch of `matrix_step`.
    """

    memory8: NDArray[np.uint8]
    memory16: NDArray[np.uint16]
    memory32: NDArray[np.uint32]
    memory64: NDArray[np.uint64]
    tag: NDArray[np.uint32]
    decoded: NDArray[np.uint64]
    x: NDArray[np.uint64]
    vector: NDArray[np.uint64]
    accumulator: NDArray[np.uint32]
    mask: NDArray[np.uint64]
    csr: NDArray[np.uint64]
    control: NDArray[np.uint64]
    control_row: NDArray[np.int16]
    counter: NDArray[np.uint64]
    semaphore: NDArray[np.uint64]
    pc: NDArray[np.uint64]
    waiting: NDArray[np.uint64]
    barrier_arrived: NDArray[np.uint64]
    turn: NDArray[np.int64]
    ecc: EccState
    transfer: TransferState
    cfp8_bf16: NDArray[np.uint16]
    vector_result: NDArray[np.uint64]
    tile_a: NDArray[np.uint16]
    tile_b: NDArray[np.uint16]
    step_scratch: NDArray[np.int32]


def csr_reset_values(threads: int) -> NDArray[np.uint64]:
    """Return the reset value of every CSR of every thread, by thread and `CSR_INDEX`."""
    values = np.tile(np.array([csr.reset for csr in _STORED], np.uint64), (threads, 1))
    values[:, CSR_INDEX[CSR_BY_NAME["mhartid"].number]] = range(threads)
    return values


def csr_write_masks() -> NDArray[np.uint64]:
    """Return the bits that a write changes in every CSR, by `CSR_INDEX`."""
    return np.array([csr.write_mask for csr in _STORED], np.uint64)


def _control_rows(params: NodeParams) -> NDArray[np.int16]:
    """Return the row of `NodeState.control` of every line of the control block, by its offset."""
    first = {
        IDENTITY: IDENTITY_LINE,
        COUNTER_BASE: COUNTER_LINE,
        ECC_BASE: ECC_LINE,
        TRANSFER_BASE: TRANSFER_LINE,
        SEMAPHORE_BASE: SEMAPHORE_LINE,
        THREAD_BASE: THREAD_LINE,
    }
    lines = control_lines(params)
    rows = np.full((lines[-1] - CONTROL_BASE) // LINE_BYTES + 1, -1, np.int16)
    for address in lines:
        base = max(base for base in first if base <= address)
        rows[(address - CONTROL_BASE) // LINE_BYTES] = first[base] + (address - base) // LINE_BYTES
    return rows


def _cfp8_table() -> NDArray[np.uint16]:
    codes = np.arange(256, dtype=np.uint8)
    return np.stack(
        [
            cfp8_to_bf16_array(codes, Cfp8Config(Cfp8Format(value >> 6), value & 63))
            for value in range(128)
        ]
    )


def new_state(params: NodeParams, node_id: int) -> NodeState:
    """Return the state of a node after power-up: everything zero except what has a reset value."""
    memory = np.zeros(params.sram_bytes // 8, np.uint64)
    words = params.sram_bytes // 4
    threads = params.threads
    control = np.zeros((THREAD_LINE + threads, LINE_BYTES // 8), np.uint64)
    control[IDENTITY_LINE] = identity_values(params, node_id)
    return NodeState(
        memory8=memory.view(np.uint8),
        memory16=memory.view(np.uint16),
        memory32=memory.view(np.uint32),
        memory64=memory,
        tag=np.zeros(words, np.uint32),
        decoded=np.zeros(words, np.uint64),
        x=np.zeros((threads, 33), np.uint64),
        vector=np.zeros((threads, 32, params.vector_bytes // 8), np.uint64),
        accumulator=np.zeros(
            (threads, params.accumulators, params.matrix_rows * params.matrix_cols), np.uint32
        ),
        mask=np.zeros((threads, 8), np.uint64),
        csr=csr_reset_values(threads),
        control=control,
        control_row=_control_rows(params),
        counter=control[COUNTER_LINE:ECC_LINE].reshape(-1),
        semaphore=control[SEMAPHORE_LINE:THREAD_LINE].reshape(-1),
        pc=np.zeros(threads, np.uint64),
        waiting=np.zeros(threads, np.uint64),
        barrier_arrived=np.zeros(threads, np.uint64),
        turn=np.zeros(3, np.int64),
        ecc=new_ecc_state(params, control[ECC_LINE]),
        transfer=new_transfer_state(),
        cfp8_bf16=_cfp8_table(),
        vector_result=np.zeros(params.vector_bytes // 8, np.uint64),
        tile_a=np.zeros(params.vector_bytes // 2, np.uint16),
        tile_b=np.zeros(params.vector_bytes // 2, np.uint16),
        step_scratch=np.zeros(8 * params.matrix_cols, np.int32),
    )
