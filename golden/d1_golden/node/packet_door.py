"""The packet door of the golden node, compiled; golden twin of `d1_rtl.node.packet_door`.

The rules are in docs/packets.md. A packet is a row of 64-bit words: header (opcode, flags, tag,
source), address, mask, eight words of data.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from d1_golden.memory_map import LOCAL_BITS, SEMAPHORE_BITS, CounterRegister, IdentityRegister
from d1_golden.packet import ACK_FLAG, POST_FLAG, SEMAPHORE_FLAGS, Opcode
from d1_golden.params import LINE_BYTES

from .control_block import control_line, write_control
from .ecc_state import check_line, store
from .state import IDENTITY_LINE

__all__ = ["is_between", "is_well_formed", "post", "serve", "serve_request"]

_LINE_WORDS = LINE_BYTES // 8
_NODE = int(IdentityRegister.NODE)
_ALL_BYTES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_LOCAL = np.uint64((1 << LOCAL_BITS) - 1)
_LOCAL_SHIFT = np.uint64(LOCAL_BITS)
_IN_LINE = np.uint64(LINE_BYTES - 1)
_LINE_SHIFT = np.uint64((LINE_BYTES - 1).bit_length())
_REQUESTS, _REPLIES = int(CounterRegister.REQUESTS), int(CounterRegister.REPLIES)
_FAULT_REPLIES = int(CounterRegister.FAULT_REPLIES)
_READ, _WRITE, _POST = np.uint64(Opcode.READ), np.uint64(Opcode.WRITE), np.uint64(Opcode.POST)
_BROADCAST = np.uint64(Opcode.BROADCAST)
_READ_REPLY, _FAULT_REPLY = np.uint64(Opcode.READ_REPLY), np.uint64(Opcode.FAULT_REPLY)
_WRITE_REPLY = np.uint64(Opcode.WRITE_REPLY)
_POSTS, _ACK, _SEMAPHORE = np.uint64(POST_FLAG), np.uint64(ACK_FLAG), np.uint64(SEMAPHORE_FLAGS)
_ZERO_FLAG = ~(_POSTS | _ACK | _SEMAPHORE) & np.uint64(0xFF)
_FULL = np.uint64((1 << SEMAPHORE_BITS) - 1)
_ZERO = np.uint64(0)

#: What a request touches besides a row of the control block.
_SRAM, _NOTHING, _SEMAPHORE_ONLY = -1, -2, -3


@njit
def post(number, semaphore):
    """Add one to a semaphore; the greatest count stays."""
    if semaphore[number] != _FULL:
        semaphore[number] += np.uint64(1)


@njit
def is_between(place, near, far):
    """Return whether the node at `place` is in the rectangle from `near` to `far`.

    All three are address bits 55..24; each of their four bytes is compared.
    """
    for n in range(4):
        shift = np.uint64(8 * n)
        byte = place >> shift & np.uint64(0xFF)
        if byte < near >> shift & np.uint64(0xFF) or byte > far >> shift & np.uint64(0xFF):
            return False
    return True


@njit
def is_well_formed(opcode, flags, local, mask):
    """Return whether opcode, flags, local offset and mask go together; all are uint64."""
    posts = flags & _POSTS != _ZERO
    if flags & _ZERO_FLAG or (flags & _SEMAPHORE and not posts):
        return False
    if opcode == _READ:
        return flags == _ZERO
    if opcode == _POST:
        return posts and local == _ZERO
    if opcode == _BROADCAST:
        return flags & _ACK == _ZERO and mask >> np.uint64(32) == _ZERO
    return opcode == _WRITE


@njit
def _target(request, state):
    """Return what a request touches: a row of the control block, `_SRAM`, ..., or `_NOTHING`."""
    opcode, flags = request[0] & np.uint64(0xFF), request[0] >> np.uint64(8) & np.uint64(0xFF)
    address, mask = request[1], request[2]
    place, local = address >> _LOCAL_SHIFT, address & _LOCAL
    node = state.control[IDENTITY_LINE, _NODE]
    if not is_well_formed(opcode, flags, local, mask) or local & _IN_LINE:
        return _NOTHING
    if opcode == _BROADCAST:
        if place >> np.uint64(32) or not is_between(node, place, mask):
            return _NOTHING
        mask = _ALL_BYTES
    elif place != _ZERO and place != node:
        return _NOTHING
    if opcode == _POST:
        return _SEMAPHORE_ONLY
    if local < np.uint64(state.memory8.size):
        return _SRAM
    line = control_line(local, state.control_row)
    if line < 0:
        return _NOTHING
    if opcode == _WRITE:
        for register in range(_LINE_WORDS):
            lanes = mask >> np.uint64(8 * register) & np.uint64(0xFF)
            if lanes != _ZERO and lanes != np.uint64(0xFF):
                return _NOTHING
    return line


@njit
def _write(target, request, mask, state):
    """Write what `mask` covers of the line to SRAM or to the control block."""
    if target == _SRAM:
        first = request[1] & _LOCAL
        if state.ecc.wrong[0] != 0:
            store(state.ecc, first >> _LINE_SHIFT, mask)
        if mask == _ALL_BYTES:
            state.memory64[first >> np.uint64(3) :][:_LINE_WORDS] = request[3:]
            return
        data = request[3:].view(np.uint8)
        for i in range(LINE_BYTES):
            if mask >> np.uint64(i) & np.uint64(1):
                state.memory8[first + np.uint64(i)] = data[i]
        return
    # COMMAND comes after PC and ARG, so one packet may set and start a thread.
    for register in range(_LINE_WORDS):
        if mask >> np.uint64(8 * register) & np.uint64(1):
            write_control(target, register, request[3 + register], state)


@njit
def _read(target, address, data, state):
    """Read a line of SRAM or of the control block."""
    if target == _SRAM:
        data[:] = state.memory64[(address & _LOCAL) >> np.uint64(3) :][:_LINE_WORDS]
    else:
        data[:] = state.control[target]


@njit
def serve_request(request, reply, state):
    """Carry out a request; return whether there is a reply.

    Parameters
    ----------
    request : uint64[11]
        The packet.
    reply : uint64[11]
        Becomes the reply if there is one.
    state : NodeState
        The node.
    """
    header, address = request[0], request[1]
    opcode, flags = header & np.uint64(0xFF), header >> np.uint64(8) & np.uint64(0xFF)
    state.counter[_REQUESTS] += np.uint64(1)
    target = _target(request, state)
    answer = _ZERO
    if target == _NOTHING:
        answer = _FAULT_REPLY
        state.counter[_FAULT_REPLIES] += np.uint64(1)
    elif opcode == _READ:
        answer = _READ_REPLY
        if target == _SRAM and state.ecc.wrong[0] != 0:
            if check_line(state.ecc, (address & _LOCAL) >> _LINE_SHIFT):
                answer = _FAULT_REPLY
                state.counter[_FAULT_REPLIES] += np.uint64(1)
    else:
        if target != _SEMAPHORE_ONLY:
            mask = _ALL_BYTES if opcode == _BROADCAST else request[2]
            _write(target, request, mask, state)
        if flags & _POSTS:
            post(flags & _SEMAPHORE, state.semaphore)
        if flags & _ACK:
            answer = _WRITE_REPLY
    if answer == _ZERO:
        return False
    reply[:] = _ZERO
    reply[0] = header & ~np.uint64(0xFFFF) | answer
    reply[1] = address
    if answer == _READ_REPLY:
        _read(target, address, reply[3:], state)
    state.counter[_REPLIES] += np.uint64(1)
    return True


@njit
def _plain_line(request, node, sram_bytes):
    """Return the first word in SRAM of a READ or WRITE of a whole line there, else -1.

    One that is not plain may be as right as one that is; it only takes longer to carry out.
    """
    kind, place = request[0] & np.uint64(0xFFFF), request[1] >> _LOCAL_SHIFT
    local = request[1] & _LOCAL
    if kind != _READ and (kind != _WRITE or request[2] != _ALL_BYTES):
        return -1
    if local & _IN_LINE or local >= np.uint64(sram_bytes) or (place != _ZERO and place != node):
        return -1
    return np.int64(local >> np.uint64(3))


@njit
def serve(requests, replies, state):
    """Carry out requests in order; write the replies and return how many there are.

    Reads and writes of whole lines, which are most of them, take a tenth of the time of others:
    they do not hand on the state, whose many arrays would be counted references each time.

    Parameters
    ----------
    requests : uint64[n, 11]
        Packets.
    replies : uint64[n, 11]
        The first entries become the replies.
    state : NodeState
        The node.
    """
    count = 0
    memory64, counter, wrong = state.memory64, state.counter, state.ecc.wrong
    node = state.control[IDENTITY_LINE, _NODE]
    for i in range(requests.shape[0]):
        word = _plain_line(requests[i], node, state.memory8.size) if wrong[0] == 0 else -1
        if word < 0:
            if serve_request(requests[i], replies[count], state):
                count += 1
            continue
        counter[_REQUESTS] += np.uint64(1)
        if requests[i, 0] & np.uint64(0xFF) == _WRITE:
            for n in range(_LINE_WORDS):
                memory64[word + n] = requests[i, 3 + n]
            continue
        counter[_REPLIES] += np.uint64(1)
        replies[count, 0] = requests[i, 0] & ~np.uint64(0xFFFF) | _READ_REPLY
        replies[count, 1] = requests[i, 1]
        replies[count, 2] = _ZERO
        for n in range(_LINE_WORDS):
            replies[count, 3 + n] = memory64[word + n]
        count += 1
    return count
