"""The state of a golden node as flat arrays, shared by the compiled interpreter and by Python."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from d1_golden.csr import CSR_BY_NAME, CSRS
from d1_golden.memory_map import identity_values
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_golden.numerics.formats import Cfp8Config, Cfp8Format
from d1_golden.params import LINE_BYTES, NodeParams

__all__ = [
    "COUNTER_LINE",
    "CSR_INDEX",
    "DISCARD",
    "IDENTITY_LINE",
    "THREAD_LINE",
    "NodeState",
    "csr_reset_values",
    "csr_write_masks",
    "new_state",
]

#: Where a result for x0 goes: one scalar register more than the machine has, never read.
DISCARD = 32
#: Rows of `NodeState.control`.
IDENTITY_LINE, THREAD_LINE, COUNTER_LINE = range(3)

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
    """Everything a node with one thread remembers, and the working memory of its interpreter.

    Members
    -------
    memory8, memory16, memory32, memory64 : NDArray
        SRAM, four views of the same bytes.
    tag : uint32[words]
        The instruction word from which `decoded` was made. The interpreter compares it with
        memory at every fetch, so decoding needs no invalidation.
    decoded : uint64[words]
        Instructions decoded once; see `interpreter`.
    x : uint64[33]
        Scalar registers; x[0] is 0, x[32] takes what is written to x0.
    vector : uint64[32, vector_bytes / 8]
        Vector registers.
    accumulator : uint32[accumulators, R * C]
        FP32 bit patterns, row-major.
    mask : uint64[8]
        Mask registers: bit n for lane n.
    csr : uint64[n]
        By `CSR_INDEX`.
    control : uint64[3, 8]
        The identity, thread and counter lines of the control block.
    pc : uint64[1]
        Address of the next instruction.
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
    pc: NDArray[np.uint64]
    cfp8_bf16: NDArray[np.uint16]
    vector_result: NDArray[np.uint64]
    tile_a: NDArray[np.uint16]
    tile_b: NDArray[np.uint16]
    step_scratch: NDArray[np.int32]


def csr_reset_values() -> NDArray[np.uint64]:
    """Return the reset value of every CSR, by `CSR_INDEX`."""
    return np.array([csr.reset for csr in _STORED], np.uint64)


def csr_write_masks() -> NDArray[np.uint64]:
    """Return the bits that a write changes in every CSR, by `CSR_INDEX`."""
    return np.array([csr.write_mask for csr in _STORED], np.uint64)


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
    control = np.zeros((3, LINE_BYTES // 8), np.uint64)
    control[IDENTITY_LINE] = identity_values(params, node_id)
    return NodeState(
        memory8=memory.view(np.uint8),
        memory16=memory.view(np.uint16),
        memory32=memory.view(np.uint32),
        memory64=memory,
        tag=np.zeros(words, np.uint32),
        decoded=np.zeros(words, np.uint64),
        x=np.zeros(33, np.uint64),
        vector=np.zeros((32, params.vector_bytes // 8), np.uint64),
        accumulator=np.zeros(
            (params.accumulators, params.matrix_rows * params.matrix_cols), np.uint32
        ),
        mask=np.zeros(8, np.uint64),
        csr=csr_reset_values(),
        control=control,
        pc=np.zeros(1, np.uint64),
        cfp8_bf16=_cfp8_table(),
        vector_result=np.zeros(params.vector_bytes // 8, np.uint64),
        tile_a=np.zeros(params.vector_bytes // 2, np.uint16),
        tile_b=np.zeros(params.vector_bytes // 2, np.uint16),
        step_scratch=np.zeros(8 * params.matrix_cols, np.int32),
    )
