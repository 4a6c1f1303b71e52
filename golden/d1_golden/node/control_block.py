"""The control block of the golden node, compiled.

Golden twin of `d1_rtl.node.control_block`; the rules are in docs/memory_map.md.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from d1_golden.memory_map import (
    CONTROL_BASE,
    SEMAPHORE_BITS,
    Command,
    EccRegister,
    ThreadRegister,
    ThreadStatus,
    TransferRegister,
)
from d1_golden.params import LINE_BYTES

from .ecc_state import write_register
from .state import ECC_LINE, NOT_WAITING, SEMAPHORE_LINE, THREAD_LINE, TRANSFER_LINE

_PC, _ARG = int(ThreadRegister.PC), int(ThreadRegister.ARG)
_COMMAND, _STATUS = int(ThreadRegister.COMMAND), int(ThreadRegister.STATUS)
_START, _STOP = np.uint64(Command.START), np.uint64(Command.STOP)
_IDLE, _RUNNING = np.uint64(ThreadStatus.IDLE), np.uint64(ThreadStatus.RUNNING)
_FAULTS = int(TransferRegister.FAULTS)
_INJECT_ADDRESS = int(EccRegister.INJECT_ADDRESS)
_LINE_INSTRUCTIONS = np.uint64(LINE_BYTES // 4)


@njit
def control_line(local, control_row):
    """Return the row of `NodeState.control` at a local address, -1 where no register is."""
    line = (local - np.uint64(CONTROL_BASE)) // np.uint64(LINE_BYTES)
    if local < np.uint64(CONTROL_BASE) or line >= np.uint64(control_row.size):
        return np.int64(-1)
    return np.int64(control_row[line])


@njit
def write_control(line, register, value, state):
    """Write one control register of line `line`; read-only ones ignore it."""
    if line >= THREAD_LINE:
        _write_thread(line - THREAD_LINE, register, value, state)
    elif line >= SEMAPHORE_LINE:
        state.control[line, register] = value & np.uint64((1 << SEMAPHORE_BITS) - 1)
    elif line == ECC_LINE:
        write_register(state.ecc, state.memory64, register, value)
        if register == _INJECT_ADDRESS and value < np.uint64(state.memory8.size):
            _forget_decoded(value // np.uint64(LINE_BYTES), state)
    elif line == TRANSFER_LINE and register == _FAULTS:
        state.control[line, _FAULTS:] = 0


@njit
def _forget_decoded(line, state):
    """Make the next fetch from a line look at its words, and at whether they can be corrected."""
    for word in range(line * _LINE_INSTRUCTIONS, (line + np.uint64(1)) * _LINE_INSTRUCTIONS):
        state.tag[word] = ~state.memory32[word]


@njit
def _write_thread(thread, register, value, state):
    """Write a register of a thread's line."""
    registers = state.control[THREAD_LINE + thread]
    if register == _PC or register == _ARG:
        registers[register] = value
    elif register == _COMMAND:
        if value == _START and registers[_STATUS] != _RUNNING:
            registers[_STATUS:] = 0
            registers[_STATUS] = _RUNNING
            state.pc[thread] = registers[_PC]
            state.x[thread, 10] = registers[_ARG]
            _forget_waits(thread, state)
        elif value == _STOP and registers[_STATUS] == _RUNNING:
            registers[_STATUS] = _IDLE
            _forget_waits(thread, state)


@njit
def _forget_waits(thread, state):
    """Let a thread wait for nothing."""
    state.waiting[thread] = np.uint64(NOT_WAITING)
    state.barrier_arrived[thread] = np.uint64(0)
