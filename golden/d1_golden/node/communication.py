"""Transfers, semaphores, barrier and linked records of the golden node, compiled.

Golden twin of `d1_rtl.node.transfer_engine`, `semaphores`, `barrier` and `link_unit`; the rules are
in docs/transfers.md.

Transfers to the own node happen at once. Requests to other nodes are put into
`TransferState.outgoing`, from which `take_outgoing` takes them; `accept_replies` takes the replies,
for which the thread's next fence waits. A list to other nodes is done one descriptor at a
time.

Instructions that may fault return a cause and a value: `NO_CAUSE` and the result (of links) or 0,
or the exception and what mtval is to be. A transfer instruction is executed when `transfers_wait`
is false; as it may write to the own control block, others threads may run after it. `swait`,
`barrier` and `fence` return whether the thread goes on; if not, it executes them again later.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from d1_golden.csr import Cause
from d1_golden.memory_map import (
    LOCAL_BITS,
    CounterRegister,
    IdentityRegister,
    TransferRegister,
)
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, POST_FLAG, SEMAPHORE_FLAGS, Opcode
from d1_golden.params import LINE_BYTES
from d1_golden.transfer import (
    MAX_DESCRIPTORS,
    MAX_HOPS,
    MAX_LINES,
    TransferFault,
    TransferOp,
)

from . import packet_door
from .ecc_state import check_line, store
from .packet_door import is_between, serve_request
from .state import (
    BARRIER_OPEN,
    IDENTITY_LINE,
    NOT_WAITING,
    TRANSFER_LINE,
    WAITS_FOR_BARRIER,
    WAITS_FOR_SEMAPHORE,
    WAITS_FOR_TRANSFER,
)
from .transfer_state import CONTEXTS, LIST_CONTEXT, LISTS, OUTGOING, READS

__all__ = [
    "NO_CAUSE",
    "accept_replies",
    "barrier",
    "bcast",
    "fence",
    "lfind",
    "lwalk",
    "post",
    "pull",
    "push",
    "spost",
    "swait",
    "take_outgoing",
    "transfer_fault",
    "transfers_wait",
    "xlist",
]

#: No exception, where a cause is returned.
NO_CAUSE = np.uint64(0xFF)

_ZERO, _ONE = np.uint64(0), np.uint64(1)
_WORDS = PACKET_DTYPE.itemsize // 8
_LINE = np.uint64(LINE_BYTES)
_LINE_WORDS = LINE_BYTES // 8
_IN_LINE = np.uint64(LINE_BYTES - 1)
_LINE_SHIFT = np.uint64((LINE_BYTES - 1).bit_length())
_IN_WORD = np.uint64(7)
_LOCAL = np.uint64((1 << LOCAL_BITS) - 1)
_LOCAL_SIZE = np.uint64(1 << LOCAL_BITS)
_LOCAL_SHIFT = np.uint64(LOCAL_BITS)
_ADDRESS_BITS = np.uint64(56)
_LOW_HALF = np.uint64(0xFFFF_FFFF)
_ALL_BYTES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_NODE = int(IdentityRegister.NODE)
_PACKETS_SENT = int(CounterRegister.PACKETS_SENT)

_LOAD_MISALIGNED, _LOAD_ACCESS = (
    np.uint64(Cause.LOAD_MISALIGNED),
    np.uint64(Cause.LOAD_ACCESS_FAULT),
)
_STORE_MISALIGNED = np.uint64(Cause.STORE_MISALIGNED)
_HARDWARE_ERROR = np.uint64(Cause.HARDWARE_ERROR)
_STORE_ACCESS = np.uint64(Cause.STORE_ACCESS_FAULT)

_PUSH, _PULL = np.uint64(TransferOp.PUSH), np.uint64(TransferOp.PULL)
_BCAST, _POST = np.uint64(TransferOp.BCAST), np.uint64(TransferOp.POST)
_XLIST = np.uint64(TransferOp.XLIST)
_READ, _WRITE = np.uint64(Opcode.READ), np.uint64(Opcode.WRITE)
_POST_REQUEST, _BROADCAST = np.uint64(Opcode.POST), np.uint64(Opcode.BROADCAST)
_READ_REPLY, _FAULT_REPLY = np.uint64(Opcode.READ_REPLY), np.uint64(Opcode.FAULT_REPLY)
_ACK_FLAG, _POST_FLAG = np.uint64(ACK_FLAG), np.uint64(POST_FLAG)
_SEMAPHORE = np.uint64(SEMAPHORE_FLAGS)
_BAD_POST = ~(_POST_FLAG | _SEMAPHORE) & np.uint64(0xFF)

_DESCRIPTOR, _LOCAL_FAULT = np.uint64(TransferFault.DESCRIPTOR), np.uint64(TransferFault.LOCAL)
_REMOTE = np.uint64(TransferFault.REMOTE)
_UNCORRECTABLE = np.uint64(TransferFault.UNCORRECTABLE)
_OUTSTANDING = int(TransferRegister.OUTSTANDING)
_FAULTS, _FAULT_KIND = int(TransferRegister.FAULTS), int(TransferRegister.FAULT_KIND)
_FAULT_ADDRESS = int(TransferRegister.FAULT_ADDRESS)

#: Bits of a tag: a READ, whose number is below; the request is acknowledged; nobody waits.
_READ_TAG, _ACK_TAG = np.uint64(1 << 15), np.uint64(1 << 14)
_NOBODY = np.uint64(1 << 13)
#: Columns of `TransferState.reads`.
_READ_BUSY, _READ_CONTEXT, _READ_LOCAL = range(3)
#: Elements of `TransferState.counts`.
_OUTGOING_COUNT, _NEXT_READ, _LIST_COUNT = range(3)
#: Elements of `TransferState.list`: the list that runs ...
_STEP, _THREAD, _ADDRESS, _LEFT, _FAULTED = range(5)
#: ... and its descriptor.
_OP, _LINE_INDEX, _LINES, _COMPLETION, _ARRIVAL, _CORNER, _NEXT = range(5, 12)
_LOCAL_LINE, _REMOTE_LINE, _LOCAL_STRIDE, _REMOTE_STRIDE = range(12, 16)
_NO_LIST, _FETCH, _TRANSFER, _DRAIN = (np.uint64(step) for step in range(4))


# Semaphores and barrier.


@njit
def spost(number, semaphore):
    """Post a semaphore of the own node."""
    packet_door.post(number, semaphore)


@njit
def swait(number, thread, semaphore, waiting):
    """Take one from a semaphore and return True, or let the thread wait for it."""
    if semaphore[number] == _ZERO:
        waiting[thread] = np.uint64(WAITS_FOR_SEMAPHORE) + number
        return False
    semaphore[number] -= _ONE
    waiting[thread] = np.uint64(NOT_WAITING)
    return True


@njit
def barrier(members, thread, waiting, barrier_arrived):
    """Return True if all threads of a set are at the barrier, or let the thread wait for them.

    A set of none is all threads; the own thread always belongs to it.
    """
    if waiting[thread] == np.uint64(BARRIER_OPEN):
        waiting[thread] = np.uint64(NOT_WAITING)
        return True
    every = (_ONE << np.uint64(waiting.size)) - _ONE
    members = (members & every if members & every else every) | _ONE << np.uint64(thread)
    barrier_arrived[thread] = members
    for other in range(waiting.size):
        if members >> np.uint64(other) & _ONE and barrier_arrived[other] != members:
            waiting[thread] = np.uint64(WAITS_FOR_BARRIER)
            return False
    for other in range(waiting.size):
        if members >> np.uint64(other) & _ONE:
            barrier_arrived[other] = _ZERO
            waiting[other] = np.uint64(BARRIER_OPEN)
    waiting[thread] = np.uint64(NOT_WAITING)
    return True


# Linked records.


@njit
def _corrupt_words(address, state):
    """Read the line at an address of SRAM; return a bit for each word that cannot be corrected."""
    if state.ecc.wrong[0] == 0:
        return np.uint64(0)
    return np.uint64(check_line(state.ecc, address >> _LINE_SHIFT))


@njit
def _is_corrupt(words, address):
    """Return whether the word at an address is one of those in a line."""
    return words >> (address >> np.uint64(3) & np.uint64(_LINE_WORDS - 1)) & _ONE != _ZERO


@njit
def _record_fault(address, state):
    """Return the exception of reading the word at an address, or NO_CAUSE."""
    if address & _IN_WORD:
        return _LOAD_MISALIGNED
    if address >= np.uint64(state.memory8.size):
        return _LOAD_ACCESS
    return NO_CAUSE


@njit
def lwalk(start, links, state):
    """Return (NO_CAUSE, the record `links` links after `start`), 0 if the list ends before."""
    record = start
    hops = 0
    while links != _ZERO and record != _ZERO:
        cause = _record_fault(record, state)
        if hops == MAX_HOPS:
            cause = _LOAD_ACCESS
        if cause == NO_CAUSE and _is_corrupt(_corrupt_words(record, state), record):
            cause = _HARDWARE_ERROR
        if cause != NO_CAUSE:
            return cause, record
        record = state.memory64[record >> np.uint64(3)]
        links -= _ONE
        hops += 1
    return NO_CAUSE, record


@njit
def lfind(start, key, state):
    """Return (NO_CAUSE, the first record from `start` on with this key), 0 if there is none."""
    record = start
    hops = 0
    while record != _ZERO:
        cause = _record_fault(record, state)
        if hops == MAX_HOPS:
            cause = _LOAD_ACCESS
        if cause != NO_CAUSE:
            return cause, record
        place = record + np.uint64(8)
        cause = _record_fault(place, state)
        if cause != NO_CAUSE:
            return cause, place
        corrupt = _corrupt_words(record, state)
        corrupt_key = corrupt if place & _IN_LINE else _corrupt_words(place, state)
        if _is_corrupt(corrupt_key, place):
            return _HARDWARE_ERROR, place
        if state.memory64[place >> np.uint64(3)] == key:
            break
        if _is_corrupt(corrupt, record):
            return _HARDWARE_ERROR, record
        record = state.memory64[record >> np.uint64(3)]
        hops += 1
    return NO_CAUSE, record


# Checks.


@njit
def _range_fault(first, lines, size):
    """Return whether lines from `first` on are 1 misaligned, 2 outside `size` bytes, or 0."""
    if first & _IN_LINE:
        return 1
    if first >= size or lines * _LINE > size - first:
        return 2
    return 0


@njit
def transfer_fault(op, x1, x2, count, sram_bytes):
    """Return the exception of a transfer instruction, NO_CAUSE if it has none, and its value.

    Golden twin of `d1_rtl.node.transfer_check`.

    Parameters
    ----------
    op : TransferOp
    x1, x2
        Its operands.
    count
        Lines as encoded: 0 stands for 32.
    sram_bytes
        Size of the SRAM.
    """
    if op == _POST:
        return (_STORE_ACCESS if x1 >> _ADDRESS_BITS else NO_CAUSE), x1
    lines = count if count else np.uint64(MAX_LINES)
    local = x1 & _LOW_HALF if op == _BCAST else x1
    found = _range_fault(local, _ONE if op == _XLIST else lines, sram_bytes)
    if found:
        if op == _PULL:
            return (_STORE_MISALIGNED if found == 1 else _STORE_ACCESS), x1
        return (_LOAD_MISALIGNED if found == 1 else _LOAD_ACCESS), x1
    if op == _XLIST:
        return NO_CAUSE, _ZERO
    found = _range_fault(x2 & _LOCAL, lines, _LOCAL_SIZE)
    if found != 1 and x2 >> _ADDRESS_BITS:
        found = 2
    if found == 0 and op == _BCAST and not _is_rectangle(x2 >> _LOCAL_SHIFT, x1 >> np.uint64(32)):
        found = 2
    if found:
        if op == _PULL:
            return (_LOAD_MISALIGNED if found == 1 else _LOAD_ACCESS), x2
        return (_STORE_MISALIGNED if found == 1 else _STORE_ACCESS), x2
    return NO_CAUSE, _ZERO


@njit
def _is_rectangle(near, far):
    """Return whether a rectangle has its near corner nowhere after its far corner."""
    return is_between(near, near, far)


# Packets out and in.


@njit
def _note_fault(kind, address, context, state):
    """Note a fault in the status line; a fault of the list ends it."""
    registers = state.control[TRANSFER_LINE]
    registers[_FAULTS] += _ONE
    if registers[_FAULT_KIND] == _ZERO:
        registers[_FAULT_KIND] = kind
        registers[_FAULT_ADDRESS] = address
    if context == LIST_CONTEXT:
        state.transfer.list[_FAULTED] = _ONE


@njit
def _expect(context, replies, state):
    """Count replies that a context waits for more (or fewer)."""
    state.transfer.outstanding[context] += replies
    state.control[TRANSFER_LINE, _OUTSTANDING] += np.uint64(replies)


@njit
def _accept(reply, state):
    """Take a reply to one of the node's own requests; one that nobody waits for is dropped."""
    transfer = state.transfer
    opcode, tag = reply[0] & np.uint64(0xFF), reply[0] >> np.uint64(16) & np.uint64(0xFFFF)
    context = np.int64(CONTEXTS)
    if tag & _READ_TAG:
        read = transfer.reads[tag & np.uint64(READS - 1)]
        if read[_READ_BUSY] == _ZERO or (opcode != _READ_REPLY and opcode != _FAULT_REPLY):
            return
        context = np.int64(read[_READ_CONTEXT])
        read[_READ_BUSY] = _ZERO
        _expect(context, -1, state)
        if opcode == _READ_REPLY:
            if state.ecc.wrong[0] != 0:
                store(state.ecc, read[_READ_LOCAL] >> _LINE_SHIFT, _ALL_BYTES)
            first = np.int64(read[_READ_LOCAL] >> np.uint64(3))
            state.memory64[first : first + _LINE_WORDS] = reply[3:]
    else:
        if not tag & _NOBODY:
            context = np.int64(tag & np.uint64(7))
        if tag & _ACK_TAG and context < CONTEXTS and transfer.outstanding[context] > 0:
            _expect(context, -1, state)
    if opcode == _FAULT_REPLY:
        _note_fault(_REMOTE, reply[1], context, state)


@njit
def _send(state):
    """Send the request in `packet[0]`: to the own node at once, to others by way of `outgoing`."""
    transfer = state.transfer
    request, reply = transfer.packet[0], transfer.packet[1]
    state.counter[_PACKETS_SENT] += _ONE
    node, place = state.control[IDENTITY_LINE, _NODE], request[1] >> _LOCAL_SHIFT
    own, others = place == node, place != node
    if request[0] & np.uint64(0xFF) == _BROADCAST:
        own, others = is_between(node, place, request[2]), request[2] != place or place != node
    if others:
        transfer.outgoing[transfer.counts[_OUTGOING_COUNT]] = request
        transfer.counts[_OUTGOING_COUNT] += 1
    if own and serve_request(request, reply, state):
        _accept(reply, state)


@njit
def _header(opcode, flags, tag, state):
    """Return the first word of a request."""
    source = state.control[IDENTITY_LINE, _NODE]
    return opcode | flags << np.uint64(8) | tag << np.uint64(16) | source << np.uint64(32)


@njit
def _send_line(op, context, local, remote, corner, post, last, state):
    """Send the request for one line, or for a post.

    Parameters
    ----------
    op : TransferOp
        PUSH, PULL, BCAST or POST.
    context
        Who waits for it.
    local, remote
        Local address and remote address of the line.
    corner
        Far corner of a broadcast.
    post
        `POST_FLAG` and the semaphore to post at the remote end, or 0.
    last
        Whether it is the last line: then a PUSH is acknowledged.
    state : NodeState
        The node.
    """
    transfer = state.transfer
    request = transfer.packet[0]
    request[:] = _ZERO
    request[1] = remote
    who = np.uint64(context)
    good = op == _POST or local < np.uint64(state.memory8.size)
    if not good:
        _note_fault(_LOCAL_FAULT, local, context, state)
    elif (op == _PUSH or op == _BCAST) and _corrupt_words(local, state):
        good = False
        _note_fault(_UNCORRECTABLE, local, context, state)
    if not good:
        if op != _PUSH:
            return
        post = _ZERO
    if op == _PULL:
        number = transfer.counts[_NEXT_READ]
        transfer.counts[_NEXT_READ] = (number + 1) % READS
        transfer.reads[number] = _ONE, who, local
        request[0] = _header(_READ, _ZERO, _READ_TAG | np.uint64(number), state)
        _expect(context, 1, state)
    elif op == _POST:
        request[0] = _header(_POST_REQUEST, post | _ACK_FLAG, _ACK_TAG | who, state)
        _expect(context, 1, state)
    else:
        if good:
            request[2] = _ALL_BYTES
            first = np.int64(local >> np.uint64(3))
            request[3:] = state.memory64[first : first + _LINE_WORDS]
        if op == _BCAST:
            request[0] = _header(_BROADCAST, post, _NOBODY, state)
            request[2] = corner
        elif last:
            request[0] = _header(_WRITE, post | _ACK_FLAG, _ACK_TAG | who, state)
            _expect(context, 1, state)
        else:
            request[0] = _header(_WRITE, _ZERO, who, state)
    _send(state)


# Instructions.


@njit
def _has_room(state):
    """Return whether the requests of one instruction can be held."""
    transfer = state.transfer
    if transfer.counts[_OUTGOING_COUNT] + MAX_LINES > OUTGOING:
        return False
    # Numbers of READs are given in turn, and the last of those needed may still be under way.
    number = transfer.counts[_NEXT_READ]
    for n in range(MAX_LINES):
        if transfer.reads[(number + n) % READS, _READ_BUSY]:
            return False
    return True


@njit
def transfers_wait(thread, waiting, state):
    """Return True and let the thread wait if a transfer instruction cannot be begun now."""
    if _has_room(state) and state.transfer.counts[_LIST_COUNT] < LISTS:
        waiting[thread] = np.uint64(NOT_WAITING)
        return False
    waiting[thread] = np.uint64(WAITS_FOR_TRANSFER)
    return True


@njit
def _transfer(op, x1, x2, count, thread, state):
    """Do a transfer of lines; return its cause and value."""
    cause, value = transfer_fault(op, x1, x2, count, np.uint64(state.memory8.size))
    if cause != NO_CAUSE:
        return cause, value
    lines = count if count else np.uint64(MAX_LINES)
    local = x1 & _LOCAL
    for n in range(np.int64(lines)):
        step = np.uint64(n) * _LINE
        last = np.uint64(n) + _ONE == lines
        _send_line(op, thread, local + step, x2 + step, x1 >> np.uint64(32), _ZERO, last, state)
    return NO_CAUSE, _ZERO


@njit
def push(x1, x2, count, thread, state):
    """Write local lines from x1 on to the remote address x2."""
    return _transfer(_PUSH, x1, x2, count, thread, state)


@njit
def pull(x1, x2, count, thread, state):
    """Read lines from the remote address x2 to local x1."""
    return _transfer(_PULL, x1, x2, count, thread, state)


@njit
def bcast(x1, x2, count, thread, state):
    """Write local lines from bits 31..0 of x1 on to the nodes from x2 to bits 63..32 of x1."""
    return _transfer(_BCAST, x1, x2, count, thread, state)


@njit
def post(x1, number, thread, state):
    """Post a semaphore of the node at address x1."""
    cause, value = transfer_fault(_POST, x1, _ZERO, _ZERO, np.uint64(state.memory8.size))
    if cause == NO_CAUSE:
        _send_line(_POST, thread, _ZERO, x1 & ~_LOCAL, _ZERO, _POST_FLAG | number, True, state)
    return cause, value


@njit
def xlist(x1, thread, state):
    """Start the list whose first descriptor is at x1."""
    cause, value = transfer_fault(_XLIST, x1, _ZERO, _ZERO, np.uint64(state.memory8.size))
    if cause == NO_CAUSE:
        transfer = state.transfer
        transfer.lists[transfer.counts[_LIST_COUNT]] = x1, np.uint64(thread)
        transfer.counts[_LIST_COUNT] += 1
        _advance_lists(state)
    return cause, value


@njit
def fence(thread, waiting, state):
    """Return whether all transfers of a thread are complete, or let it wait for them."""
    if _is_pending(thread, state):
        waiting[thread] = np.uint64(WAITS_FOR_TRANSFER)
        return False
    waiting[thread] = np.uint64(NOT_WAITING)
    return True


@njit
def _is_pending(thread, state):
    """Return whether a transfer that a thread started is not complete."""
    transfer = state.transfer
    if transfer.outstanding[thread] > 0:
        return True
    if transfer.list[_STEP] != _NO_LIST and transfer.list[_THREAD] == np.uint64(thread):
        return True
    for n in range(transfer.counts[_LIST_COUNT]):
        if transfer.lists[n, 1] == np.uint64(thread):
            return True
    return False


# Lists.


@njit
def _stride(word):
    """Return the signed stride in the low half of a word, modulo 2^64."""
    return np.uint64(np.int64(word << np.uint64(32)) >> np.int64(32))


@njit
def _is_good_descriptor(words):
    """Return whether a descriptor is well-formed; its `next` is not looked at."""
    opcode, wait = words[0] & np.uint64(0xFF), words[0] >> np.uint64(8) & np.uint64(0xFF)
    completion = words[0] >> np.uint64(16) & np.uint64(0xFF)
    arrival = words[0] >> np.uint64(24) & np.uint64(0xFF)
    lines = words[0] >> np.uint64(32) & np.uint64(0xFFFF)
    zeros = words[0] >> np.uint64(48) | words[4] >> np.uint64(32) | words[6] | words[7]
    if opcode > _POST or wait > _ONE or (completion | arrival) & _BAD_POST or zeros:
        return False
    if words[2] >> _ADDRESS_BITS:
        return False
    if opcode == _POST:
        return arrival & _POST_FLAG != _ZERO
    if lines == _ZERO or words[1] >> _LOCAL_SHIFT:
        return False
    if (words[1] | words[2] | words[3] | words[3] >> np.uint64(32)) & _IN_LINE:
        return False
    return opcode != _BCAST or _is_rectangle(words[2] >> _LOCAL_SHIFT, words[4])


@njit
def _fetch_descriptor(state):
    """Begin the next descriptor of the list that runs, or end the list."""
    running = state.transfer.list
    address = running[_ADDRESS]
    running[_STEP] = _DRAIN
    size = np.uint64(state.memory8.size)
    words = state.transfer.packet[0]
    bad = _range_fault(address, _ONE, size) != 0 or running[_LEFT] == _ZERO
    if not bad and _corrupt_words(address, state):
        _note_fault(_UNCORRECTABLE, address, LIST_CONTEXT, state)
        return
    if not bad:
        first = np.int64(address >> np.uint64(3))
        words[:_LINE_WORDS] = state.memory64[first : first + _LINE_WORDS]
        bad = not _is_good_descriptor(words)
    if bad:
        _note_fault(_DESCRIPTOR, address, LIST_CONTEXT, state)
        return
    running[_STEP] = _TRANSFER
    running[_LEFT] -= _ONE
    running[_OP] = words[0] & np.uint64(0xFF)
    running[_COMPLETION] = words[0] >> np.uint64(16) & np.uint64(0xFF)
    running[_ARRIVAL] = words[0] >> np.uint64(24) & np.uint64(0xFF)
    running[_LINES] = words[0] >> np.uint64(32) & np.uint64(0xFFFF)
    running[_LINE_INDEX] = _ZERO
    running[_LOCAL_LINE] = words[1]
    running[_REMOTE_LINE] = words[2]
    if running[_OP] == _POST:
        running[_LINES] = _ONE
        running[_LOCAL_LINE] = _ZERO
        running[_REMOTE_LINE] &= ~_LOCAL
    running[_LOCAL_STRIDE] = _stride(words[3])
    running[_REMOTE_STRIDE] = _stride(words[3] >> np.uint64(32))
    running[_CORNER] = words[4]
    running[_NEXT] = words[5]


@njit
def _send_descriptor(state):
    """Send the lines of a descriptor that can be held; return whether that was all of them."""
    running = state.transfer.list
    while running[_LINE_INDEX] < running[_LINES]:
        if not _has_room(state):
            return False
        op, arrival = running[_OP], running[_ARRIVAL]
        remote = running[_REMOTE_LINE]
        running[_LINE_INDEX] += _ONE
        last = running[_LINE_INDEX] == running[_LINES]
        post = arrival if last and op != _PULL else _ZERO
        _send_line(
            *(op, LIST_CONTEXT, running[_LOCAL_LINE], remote, running[_CORNER], post, last, state)
        )
        if last and op == _PULL and arrival:
            # READs cannot post: a POST follows the last one.
            place = remote & ~_LOCAL
            _send_line(_POST, LIST_CONTEXT, _ZERO, place, _ZERO, arrival, True, state)
        running[_LOCAL_LINE] = (running[_LOCAL_LINE] + running[_LOCAL_STRIDE]) & _LOCAL
        offset = (remote + running[_REMOTE_STRIDE]) & _LOCAL
        running[_REMOTE_LINE] = (remote & ~_LOCAL) | offset
    return True


@njit
def _advance_lists(state):
    """Go on with the lists until they are done or have to wait."""
    transfer = state.transfer
    running, count = transfer.list, transfer.counts
    while True:
        if running[_STEP] == _NO_LIST:
            if count[_LIST_COUNT] == 0:
                return
            running[_ADDRESS], running[_THREAD] = transfer.lists[0, 0], transfer.lists[0, 1]
            running[_LEFT], running[_FAULTED] = np.uint64(MAX_DESCRIPTORS), _ZERO
            count[_LIST_COUNT] -= 1
            for n in range(count[_LIST_COUNT]):
                transfer.lists[n] = transfer.lists[n + 1]
            running[_STEP] = _FETCH
        elif running[_STEP] == _FETCH:
            _fetch_descriptor(state)
        elif running[_STEP] == _TRANSFER:
            if not _send_descriptor(state) or transfer.outstanding[LIST_CONTEXT] > 0:
                return
            running[_STEP] = _DRAIN
            if running[_FAULTED] == _ZERO:
                if running[_COMPLETION] & _POST_FLAG:
                    packet_door.post(running[_COMPLETION] & _SEMAPHORE, state.semaphore)
                if running[_NEXT] != _ZERO:
                    running[_ADDRESS] = running[_NEXT]
                    running[_STEP] = _FETCH
        else:
            if transfer.outstanding[LIST_CONTEXT] > 0:
                return
            running[_STEP] = _NO_LIST


# The node's other side.


@njit
def after_packets(state):
    """Go on with what packets may have made possible."""
    _advance_lists(state)
    for thread in range(state.waiting.size):
        if state.waiting[thread] == np.uint64(WAITS_FOR_TRANSFER):
            # It executes its instruction again, and waits again if it must.
            state.waiting[thread] = np.uint64(NOT_WAITING)


@njit
def accept_replies(replies, state):
    """Take replies to the node's own requests, uint64[n, 11], and go on with what waited."""
    for n in range(replies.shape[0]):
        _accept(replies[n], state)
    after_packets(state)


@njit
def take_outgoing(requests, state):
    """Move requests to other nodes, oldest first, to uint64[n, 11]; return how many there were."""
    transfer = state.transfer
    count = transfer.counts[_OUTGOING_COUNT]
    requests[:count] = transfer.outgoing[:count]
    transfer.counts[_OUTGOING_COUNT] = 0
    after_packets(state)
    return count
