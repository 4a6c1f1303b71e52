"""Sums over all nodes in the middle of a program: its code, and what it is told on each node.

Every node is the owner of some lines of each tensor: line n of node n modulo their number. After a
barrier all push the lines to their owners; the four threads of each owner add up what came in, in
the order of `d1.fabric.collectives`, by column in each row, then by row; the owner broadcasts the
sums. So every node adds equally much, and no sum waits for another as where rows and columns take
turns, which costs less up to some tens of nodes.

    lists of lines to owners  ->  sums of own lines  ->  one broadcast from each owner

The program reads a block, which is its table: words, the block of the barrier, two lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import lcm, prod
from typing import NamedTuple

import numpy as np
from d1_golden.assembler import assemble
from d1_golden.fabric.place import Place
from d1_golden.params import LINE_BYTES, NodeParams
from d1_golden.transfer import TransferOp, descriptor
from numpy.typing import NDArray

from d1.compiler.ir import AllReduce, DType, Tensor
from d1.fabric.collectives import Group, barrier_subroutine
from d1.fabric.fan_out import chain

__all__ = ["all_reduce_code", "block_bytes", "blocks", "inbox_tensor"]

_Node = tuple[int, int]
#: Vectors that a thread adds up at a time.
_VECTORS = 4
_WORD = 8


class _Semaphores(NamedTuple):
    """What is posted: on the way to the root of the barrier and from it; lines to owners; results.

    Sums along columns have others than all other ones: who is in the same column may already wait
    in such a sum while this node is still in one along its row.
    """

    up: int
    down: int
    lines: int
    results: int

    @staticmethod
    def of(nodes: tuple[int, int]) -> _Semaphores:
        """Return those of a sum over some columns and rows."""
        columns, _ = nodes
        return _Semaphores(24, 25, 26, 27) if columns == 1 else _Semaphores(28, 29, 30, 31)


@cache
def all_reduce_code(params: NodeParams, instruction: str, nodes: tuple[int, int]) -> bytes:
    """Return the machine code, position independent, for all threads of a node.

    Parameters
    ----------
    params
        The node.
    instruction
        What combines.
    nodes
        Columns and rows of the nodes whose tensors are combined.

    """
    semaphores = _Semaphores.of(nodes)
    return assemble(
        _exchange_source(semaphores)
        + _sum_source(params, instruction)
        + _results_source(semaphores)
    ).code


def _exchange_source(semaphores: _Semaphores) -> str:
    """Return the code up to where all lines of a node have come in."""
    return f"""
        mv a7, ra
        ld a6, {_WORD}(a0)              # the block
        bnez a1, meet
        ld a0, 0(a6)                    # block of the barrier
        call barrier_of_group
        ld t0, {_WORD}(a6)              # lists: lines to their owners, ...
        xlist t0
        ld t0, {2 * _WORD}(a6)          # pushes that bring lines to this node
wait:   beqz t0, meet
        swait {semaphores.lines}
        addi t0, t0, -1
        j wait
meet:   barrier 0
"""


def _sum_source(params: NodeParams, instruction: str) -> str:
    """Return the code with which four threads add up the lines of a node."""
    chunk = _VECTORS * params.vector_bytes

    def each(line: str) -> str:
        return "\n".join(
            line.format(first=n, second=n + _VECTORS, third=n + 2 * _VECTORS)
            for n in range(_VECTORS)
        )

    return f"""
        ld a2, {3 * _WORD}(a6)          # where lines come in
        ld a3, {4 * _WORD}(a6)          # bytes from each node
        add a4, a2, a3
        li t0, {chunk}
        mul t1, a1, t0
        add a2, a2, t1
        li a5, {params.threads * chunk}
next:   bgeu a2, a4, summed
        mv t1, a2
        addi t2, a6, {8 * _WORD}        # nodes in each row
        ld t3, 0(t2)
{each("        vld v{first}, {first}(t1)")}
column: addi t3, t3, -1
        beqz t3, row
        add t1, t1, a3
{each("        vld v{second}, {first}(t1)")}
{each(f"        {instruction} v{{first}}, v{{first}}, v{{second}}")}
        j column
row:    addi t2, t2, {_WORD}
        ld t3, 0(t2)
        beqz t3, store
        add t1, t1, a3
{each("        vld v{second}, {first}(t1)")}
more:   addi t3, t3, -1
        beqz t3, add_row
        add t1, t1, a3
{each("        vld v{third}, {first}(t1)")}
{each(f"        {instruction} v{{second}}, v{{second}}, v{{third}}")}
        j more
add_row:
{each(f"        {instruction} v{{first}}, v{{first}}, v{{second}}")}
        j row
store:
{each("        vst v{first}, {first}(a2)")}
        add a2, a2, a5
        j next
summed: barrier 0
"""


def _results_source(semaphores: _Semaphores) -> str:
    """Return the code from the sums of a node to the results of all."""
    return f"""
        bnez a1, done
        ld t0, {5 * _WORD}(a6)          # ... results to all
        beqz t0, take
        xlist t0
take:   ld t0, {6 * _WORD}(a6)          # results that come to this node
piece:  beqz t0, sent
        swait {semaphores.results}
        addi t0, t0, -1
        j piece
sent:   fence
done:   mv ra, a7
        ret
{barrier_subroutine(semaphores.up, semaphores.down)}
"""


def inbox_tensor(
    params: NodeParams, sources: Sequence[Tensor], nodes: tuple[int, int], name: str
) -> Tensor:
    """Return the tensor in which lines of sources come in."""
    words = prod(nodes) * _slot_bytes(params, [t.bytes for t in sources], prod(nodes)) // 4
    return Tensor(name, (words,), DType.F32, params.fp32_lanes)


def block_bytes(kernel: AllReduce) -> int:
    """Return how many bytes the block of a node takes."""
    columns, rows = kernel.nodes
    lists = len(kernel.sources) * (columns * rows + 1)
    return _words_bytes(rows) + (3 + lists) * LINE_BYTES


def blocks(
    kernel: AllReduce,
    params: NodeParams,
    group: Group,
    block: int,
    addresses: Mapping[Tensor, int],
) -> dict[_Node, NDArray[np.uint8]]:
    """Return the blocks of all nodes.

    Parameters
    ----------
    kernel
        The sum.
    params
        The node.
    group
        The nodes.
    block, addresses
        Where the block and the tensors are, the same in every node.

    """
    members = group.members
    lines = [_lines(source.bytes) for source in kernel.sources]
    slot = _slot_bytes(params, [t.bytes for t in kernel.sources], len(members))
    inbox = addresses[kernel.inbox]
    assert group.barrier_bytes == 3 * LINE_BYTES, "all routers work"
    first = block + _words_bytes(len(group.rows))
    barriers = group.barrier_blocks(first, _Semaphores.of(kernel.nodes).down)
    result = {}
    for number, place in enumerate(members):
        own = [range(number, count, len(members)) for count in lines]
        send_list = first + group.barrier_bytes
        # Each begins with itself, so that not all send to the same node at the same time.
        sends = [
            push
            for owner in (*range(number, len(members)), *range(number))
            for push in _to_owner(kernel, addresses, members, owner, inbox + number * slot)
        ]
        give_list = send_list + len(sends) * LINE_BYTES
        gives = _to_all(kernel, addresses, group, place, own)
        words = [
            first,
            send_list,
            len(members) * sum(map(bool, own)),
            inbox,
            slot,
            give_list if gives else 0,
            sum(min(count, len(members)) for count in lines),
            0,
            *map(len, group.rows.values()),
            0,
        ]
        contents = np.zeros(block_bytes(kernel), np.uint8)
        parts = {
            block: np.array(words, np.uint64).view(np.uint8),
            first: barriers[place],
            send_list: chain(sends, send_list).view(np.uint8),
        }
        if gives:
            parts[give_list] = chain(gives, give_list).view(np.uint8)
        for address, part in parts.items():
            contents[address - block : address - block + part.size] = part
        result[place] = contents
    return result


def _to_owner(
    kernel: AllReduce,
    addresses: Mapping[Tensor, int],
    members: Sequence[_Node],
    owner: int,
    slot: int,
) -> Iterator[NDArray[np.void]]:
    """Yield what brings a node's lines to their owner, to its slot in the inbox there."""
    for source in kernel.sources:
        share = range(owner, _lines(source.bytes), len(members))
        if share:
            yield descriptor(
                TransferOp.PUSH,
                local=addresses[source] + share.start * LINE_BYTES,
                local_stride=share.step * LINE_BYTES,
                remote=Place(*members[owner]).address(slot),
                lines=len(share),
                arrival=_Semaphores.of(kernel.nodes).lines,
            )
        slot += len(share) * LINE_BYTES


def _to_all(
    kernel: AllReduce,
    addresses: Mapping[Tensor, int],
    group: Group,
    place: _Node,
    own: Sequence[range],
) -> list[NDArray[np.void]]:
    """Return what brings the sums of an owner to all nodes."""
    gives = []
    local = addresses[kernel.inbox]
    for share, result in zip(own, kernel.results, strict=True):
        if share:
            gives += group.fan_out(
                place,
                local,
                addresses[result] + share.start * LINE_BYTES,
                len(share),
                share.step * LINE_BYTES,
                _Semaphores.of(kernel.nodes).results,
            )
        local += len(share) * LINE_BYTES
    return gives


def _lines(size: int) -> int:
    return -(-size // LINE_BYTES)


def _slot_bytes(params: NodeParams, sizes: Sequence[int], nodes: int) -> int:
    """Return how many bytes of an inbox what comes from one node takes."""
    most = sum(-(-_lines(size) // nodes) for size in sizes) * LINE_BYTES
    unit = lcm(LINE_BYTES, _VECTORS * params.vector_bytes)
    return -(-most // unit) * unit


def _words_bytes(rows: int) -> int:
    """Return the bytes of the words that a block begins with."""
    return _lines(_WORD * (8 + rows + 1)) * LINE_BYTES
