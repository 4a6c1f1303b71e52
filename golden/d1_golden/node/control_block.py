"""The door and the control block of the golden node, compiled.

Golden twin of `d1_rtl.node.packet_door` and `d1_rtl.node.control_block`; the rules are in
docs/packets.md and docs/memory_map.md.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from d1_golden.memory_map import (
    CONTROL_BASE,
    LOCAL_BITS,
    SEMAPHORE_BITS,
    Command,
    CounterRegister,
    IdentityRegister,
    ThreadRegister,
    ThreadStatus,
)
from d1_golden.packet import Opcode
from d1_golden.params import LINE_BYTES

from .state import IDENTITY_LINE, NOT_WAITING, SEMAPHORE_LINE, THREAD_LINE

_LINE_WORDS = LINE_BYTES // 8
_ALL_BYTES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_NODE = int(IdentityRegister.NODE)
_PC, _ARG = int(ThreadRegister.PC), int(ThreadRegister.ARG)
_COMMAND, _STATUS = int(ThreadRegister.COMMAND), int(ThreadRegister.STATUS)
_START, _STOP = np.uint64(Command.START), np.uint64(Command.STOP)
_IDLE, _RUNNING = np.uint64(ThreadStatus.IDLE), np.uint64(ThreadStatus.RUNNING)
_REQUESTS, _REPLIES = int(CounterRegister.REQUESTS), int(CounterRegister.REPLIES)
_FAULT_REPLIES = int(CounterRegister.FAULT_REPLIES)
_READ, _WRITE = np.uint64(Opcode.READ), np.uint64(Opcode.WRITE)
_READ_REPLY, _FAULT_REPLY = np.uint64(Opcode.READ_REPLY), np.uint64(Opcode.FAULT_REPLY)

#: What a request touches besides a row of the control block.
_SRAM, _NOTHING = -1, -2


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


@njit
def _target(header, address, mask, sram_bytes, node, control_row):
    """Return what a request addresses: a control line, `_SRAM`, or `_NOTHING` if at fault."""
    opcode, reserved = header & np.uint64(0xFF), header >> np.uint64(8) & np.uint64(0xFF)
    place = address >> np.uint64(LOCAL_BITS)
    local = address & np.uint64((1 << LOCAL_BITS) - 1)
    if (opcode != _READ and opcode != _WRITE) or reserved != np.uint64(0):
        return _NOTHING
    if (place != np.uint64(0) and place != node) or local & np.uint64(LINE_BYTES - 1):
        return _NOTHING
    if local < sram_bytes:
        return _SRAM
    line = control_line(local, control_row)
    if line < 0:
        return _NOTHING
    if opcode == _WRITE:
        for register in range(_LINE_WORDS):
            lanes = mask >> np.uint64(8 * register) & np.uint64(0xFF)
            if lanes != np.uint64(0) and lanes != np.uint64(0xFF):
                return _NOTHING
    return line


@njit
def _write_sram(line_bytes, request, memory8, local):
    """Write the bytes of a line whose mask bit is set."""
    mask = request[2]
    if mask == _ALL_BYTES:
        for i in range(LINE_BYTES):
            memory8[local + np.uint64(i)] = line_bytes[i]
    else:
        for i in range(LINE_BYTES):
            if mask >> np.uint64(i) & np.uint64(1):
                memory8[local + np.uint64(i)] = line_bytes[i]


@njit
def serve(requests, replies, state):
    """Carry out requests in order; write the replies and return how many there are.

    Parameters
    ----------
    requests : uint64[n, 11]
        Packets as 64-bit words: header, address, mask, eight words of data.
    replies : uint64[n, 11]
        Zero; the first entries become the replies.
    state : NodeState
        The node.
    """
    memory8, memory64, control = state.memory8, state.memory64, state.control
    counters = state.counter
    count = 0
    for i in range(requests.shape[0]):
        request = requests[i]
        header, address, mask = request[0], request[1], request[2]
        counters[_REQUESTS] += np.uint64(1)
        line = _target(
            header,
            address,
            mask,
            np.uint64(memory8.size),
            control[IDENTITY_LINE, _NODE],
            state.control_row,
        )
        local = address & np.uint64((1 << LOCAL_BITS) - 1)
        write = header & np.uint64(0xFF) == _WRITE
        if line == _SRAM and write:
            _write_sram(request[3:].view(np.uint8), request, memory8, local)
        elif line >= 0 and write:
            # COMMAND comes after PC and ARG, so one packet may set and start a thread.
            for register in range(_LINE_WORDS):
                if mask >> np.uint64(8 * register) & np.uint64(1):
                    write_control(line, register, request[3 + register], state)
        else:
            reply = replies[count]
            opcode = _FAULT_REPLY if line == _NOTHING else _READ_REPLY
            reply[0] = header & ~np.uint64(0xFFFF) | opcode
            reply[1] = address
            if line == _SRAM:
                reply[3:] = memory64[local >> np.uint64(3) :][:_LINE_WORDS]
            elif line >= 0:
                reply[3:] = control[line]
            count += 1
            counters[_REPLIES] += np.uint64(1)
            if line == _NOTHING:
                counters[_FAULT_REPLIES] += np.uint64(1)
    return count
